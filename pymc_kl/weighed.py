"""Draws of an approximation, weighted by p̃/q and put in their modes: where chains start, and how wide modes are."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
from scipy.special import softmax

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.adapters import as_approximation
from pymc_kl.alarm import LEAST_MASS
from pymc_kl.approximations import Approximation
from pymc_kl.approximations.components import Components, effective_number
from pymc_kl.estimates import smoothed_weights, systematic
from pymc_kl.modes import MAX_COPY_LABELS, Modes
from pymc_kl.progress import Report, silent
from pymc_kl.scores import MISSED_BELOW
from pymc_kl.search import search_target
from pymc_kl.target import Target, as_target

N_WEIGHED = 4000
N_SEARCH_STARTS = 64  # draws of q that a search for modes starts from, beside its own
PER_DIMENSION = 5  # draws a dimension that a covariance needs to be of use as a metric
LEAST_DRAWS = 10  # in a place that gets a metric of its own
SAME_POINT = 1e-6  # to which a point must come back from the model's own space


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
    folded = modes.fold(x)
    one_copy = modes.symmetry.is_trivial or not modes.proper
    place = folded.mode if one_copy else modes.copy_labels(x, folded.peak)
    return Weighed(x, log_density, weights, folded.mode, place, modes.k)


def warn_of_missed_modes(weighed: Weighed, modes: Modes, consequence: str, *, stacklevel: int) -> None:
    """Warn of modes that are hardly among the draws; see :func:`missed_modes`."""
    if missed := missed_modes(modes, weighed.mode):
        warnings.warn(
            f"{missed}: {consequence} Use a fit that covers every mode, such as the forward mixture of fit_forward().",
            stacklevel=stacklevel + 1,
        )


def missed_modes(modes: Modes, label: IntArray) -> str:
    """Name modes that by Laplace's approximation hold more than a hundredth and are hardly among draws (n,) of q."""
    mass = softmax(modes.log_mass_laplace) if modes.proper else np.ones(1)
    held = np.bincount(label[label >= 0], minlength=modes.k) / len(label)
    lost = np.flatnonzero((mass > LEAST_MASS) & (held < MISSED_BELOW * mass))
    if not len(lost):
        return ""
    names = ", ".join(str(k + 1) for k in lost)
    return (
        f"the approximation misses mode {names} of {modes.k}, which hold{'s' if len(lost) == 1 else ''} about "
        f"{100 * mass[lost].sum():.0f} % of the posterior by Laplace's approximation"
    )


def warn_of_missed_copies(weighed: Weighed, modes: Modes, *, stacklevel: int) -> None:
    """Warn where draws reach fewer copies of a mode than the symmetries of p̃ make."""
    for k in range(modes.k if modes.proper else 0):
        reached, copies = len(np.unique(weighed.place[weighed.mode == k])), int(modes.copies[k])
        if 0 < reached < min(copies, MAX_COPY_LABELS):
            warnings.warn(
                f"the approximation reaches {reached} of the {copies} copies that {', '.join(modes.symmetries)} make "
                f"of mode {k + 1}, and chains will hardly leave {'it' if reached == 1 else 'them'}. Read the draws up "
                "to that symmetry, or jump by a fit to draws of every copy.",
                stacklevel=stacklevel + 1,
            )
            return


def shares(mass: Array, n: int) -> IntArray:
    """Deal n chains to modes of these masses (K,): one to each that holds more than 1/(2n), the rest in proportion."""
    mass = mass / mass.sum()
    counts = np.zeros(len(mass), dtype=np.int64)
    deserving = [k for k in np.argsort(-mass, kind="stable") if mass[k] > 0.5 / n]
    counts[deserving[:n]] = 1
    while counts.sum() < n:
        counts[np.argmax(mass / (2 * counts + 1))] += 1  # Sainte-Laguë
    return counts


def spread(weighed: Weighed, n: int, target: Target, rng: np.random.Generator) -> IntArray:
    """Choose n rows to start chains from: modes by their masses, and within each by weight."""
    usable = _comes_back(weighed.x, target)
    weights = np.where(usable, weighed.weights, 0.0)
    if not weights.any():
        raise ValueError(
            "no draw of the approximation comes back from the model's own space: all are so far out that a transform "
            "rounds them to the boundary. Fit the approximation again, or start chains yourself."
        )
    label = weighed.mode if (weights[weighed.mode >= 0] > 0).any() else np.zeros(len(weights), dtype=np.int64)
    held = np.bincount(label[label >= 0], weights[label >= 0], minlength=weighed.k)
    rows: list[int] = []
    for k, count in enumerate(shares(held, n)):
        if count:
            mine = np.flatnonzero(label == k)
            part = weights[mine] / weights[mine].sum()
            rows.extend(mine[systematic(part, int(count), rng)])
    return rng.permutation(np.array(rows, dtype=np.int64))


def _comes_back(x: Array, target: Target) -> BoolArray:
    """Whether points (n, d) survive the way to the model's own space and back, as what starts PyMC's chains must."""
    own = target.constrain(x)
    values = [own[v.name] for v in target.variables]
    with np.errstate(all="ignore"):
        back = np.concatenate([np.reshape(part, (len(x), -1)) for part in target._unconstrain(*values)], axis=1)
    return np.asarray((np.abs(back - x) <= SAME_POINT * (1 + np.abs(x))).all(axis=1))


def start_points(x: Array, target: Target) -> list[dict[str, Array]]:
    """Put points (n, d) in the model's own space, one dict of its free variables a chain."""
    own = target.constrain(x)
    return [{v.name: np.asarray(own[v.name][i]) for v in target.variables} for i in range(len(x))]


def order_of(target: Target, names: Sequence[str]) -> IntArray:
    """Coordinates of the target (d,) in the order of these value names."""
    places = {v.value_name: np.arange(v.place.start, v.place.stop) for v in target.variables}
    return np.concatenate([places[name] for name in names])
