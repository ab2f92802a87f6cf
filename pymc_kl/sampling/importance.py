"""Draws of an approximation, weighted by p̃/q and put in their modes: where chains start, and how wide modes are."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm

from pymc_kl._typing import Array, IntArray
from pymc_kl.adapters import as_approximation
from pymc_kl.approximations import Approximation
from pymc_kl.approximations.components import Components, effective_number
from pymc_kl.model.target import Target, as_target
from pymc_kl.modes.modes import Modes
from pymc_kl.modes.search import search_target
from pymc_kl.numerics.estimate import smoothed_weights
from pymc_kl.progress import Report, silent

N_WEIGHED = 4000
N_SEARCH_STARTS = 64  # draws of q that a search for modes starts from, beside its own
PER_DIMENSION = 5  # draws a dimension that a covariance needs to be of use as a metric
LEAST_DRAWS = 10  # in a place that gets a metric of its own


@dataclass(frozen=True, eq=False)
class Weighed:
    """Draws of q with importance weights and the mode of each.

    Attributes
    ----------
    x : array (n, d)
        Unconstrained space; only draws where p̃ is positive.
    log_density : array (n,)
        log p̃ in nats.
    weights : array (n,)
        Smoothed importance weights, sum 1; equal for draws of a q without density.
    mode, place : array (n,) of int
        Mode, and mode and copy of it; -1 for elsewhere.
    k : int
        Number of modes.
    """

    x: Array
    log_density: Array
    weights: Array
    mode: IntArray
    place: IntArray
    k: int

    def places(self) -> Components:
        """A normal for each copy of each mode where there are draws enough, in proportion to its mass."""
        d = self.x.shape[1]
        counts = {place: np.sum(self.place == place) for place in np.unique(self.place) if place >= 0}
        held = [np.flatnonzero(self.place == place) for place, n in counts.items() if n >= LEAST_DRAWS]
        if not held:
            held = [np.arange(len(self.x))]
        mass = np.array([self.weights[rows].sum() for rows in held])
        moments = [_moments(self.x[rows], self.weights[rows]) for rows in held]
        mass = np.maximum(mass, 1 / len(self.x))  # where no draw has weight there may yet be mass
        return Components(
            mass / mass.sum(),
            np.array([mean for mean, _ in moments]).reshape(-1, d),
            np.array([np.linalg.cholesky(covariance) for _, covariance in moments]),
        )


def _moments(x: Array, weights: Array) -> tuple[Array, Array]:
    """Mean (d,) and covariance (d, d) of draws (n, d): by weight where that leaves enough of them, else of all.

    Where even all are few for a covariance, only the variances are taken.
    """
    enough = PER_DIMENSION * x.shape[1]
    ess = effective_number(weights) if weights.any() else 0.0
    used = weights / weights.sum() if ess > max(enough, LEAST_DRAWS) else np.full(len(x), 1 / len(x))
    mean = used @ x
    covariance = np.atleast_2d(np.cov(x.T, aweights=used))
    return mean, covariance if len(x) > enough else np.diag(np.diag(covariance))


def within_covariance(places: Components) -> Array:
    """Average the covariances (d, d) of places by their masses: that of all draws would span the modes."""
    return np.tensordot(places.weights, places.covariances, axes=1)


def reordered(places: Components, order: IntArray) -> Components:
    """Give the normals in another order of the coordinates (d,)."""
    trils = np.linalg.cholesky(places.covariances[:, order[:, None], order])
    return Components(places.weights, places.locs[:, order], trils)


def open_approximation(approximation: Any, model: pm.Model | Target | None) -> tuple[Approximation, Target]:
    """Read an approximation, and take its own model unless another is given."""
    target = as_target(getattr(approximation, "target", None) if model is None else model)
    return as_approximation(approximation, model=target), target


def known_modes(
    modes: Modes | None, approximation: Approximation, target: Target, rng: np.random.Generator, report: Report = silent
) -> Modes:
    """Return the modes given, or search for them from the prior and from draws of q."""
    if modes is not None:
        return modes
    starts = {"q": approximation.sample(N_SEARCH_STARTS, random_seed=rng)}
    return search_target(target, None, starts, rng=rng, report=report)


def weigh(approximation: Approximation, target: Target, modes: Modes, rng: np.random.Generator) -> Weighed:
    """Draw from q, weight the draws by p̃/q and find the mode of each."""
    x = approximation.sample(N_WEIGHED, random_seed=rng)
    log_density = target.log_density(x)
    x, log_density = x[log_density > -np.inf], log_density[log_density > -np.inf]
    if not len(x):
        raise ValueError(
            f"none of {N_WEIGHED} draws of the {approximation.family} approximation has a positive density. Fit it to "
            "this model."
        )
    equal = np.full(len(x), 1 / len(x))
    has_density = approximation.has_log_prob
    weights = smoothed_weights(log_density - approximation.log_prob(x))[0] if has_density else equal
    canonical = modes.canonical(x)
    one_copy = modes.symmetry.is_trivial or not modes.proper
    place = canonical.mode if one_copy else modes.copy_labels(x, canonical.maximum)
    return Weighed(x, log_density, weights, canonical.mode, place, modes.k)
