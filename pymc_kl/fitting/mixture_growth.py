"""Growth of a mixture that maximises the ELBO: the component whose split gains most is split in two."""

import time
from collections.abc import Callable
from dataclasses import replace
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.approximations import Mixture
from pymc_kl.fitting.maximise import MAX_CLIMB_STEPS
from pymc_kl.fitting.mixture_elbo import MixtureParameters, maximise_mixture
from pymc_kl.fitting.points import balanced_normals
from pymc_kl.numerics.lbfgs import ValueAndGrad
from pymc_kl.progress import Report, silent

TRIAL_DRAWS = 64  # least number of points of a component, while mixtures of several sizes are tried; our choice
TRIAL_DRAWS_A_DIMENSION = 6  # the same least number of points for each dimension; the larger of both holds; our choice
TRIAL_GAIN = 1e-3  # nats: a trial ends when its next step is expected to gain less; our choice
TRIAL_STEPS = 100  # most steps of a trial; our choice
FINE_MIXTURE_NUMBERS = 2**15  # points of all components times dimensions that the chosen mixture is maximised on
COMPONENT_WORTH = 0.01  # nats of ELBO on fresh points that one more component must gain; our choice
SPLITS_TRIED = 2  # worst-fitting components whose splits are tried before growth ends; our choice
MOST_COMPONENTS = 12  # most components where their number is not given; our choice
MOST_SPLIT = 100  # most components of a mixture that is grown by splitting them one by one; our choice
TOLD_FROM = 5.0  # seconds of growth to come from which they are told; our choice
GROWTH_NUMBERS = 2**31  # components cubed times points times squared dimensions: about two minutes; our choice
SPREAD = 0.6  # part of the variance by which one half of a split is wider, and the other narrower; our choice


class Trial(NamedTuple):
    """A mixture maximised on few points, and log p̃ - log q (M, n) at draws of its components on fresh ones."""

    mixture: Mixture
    gains: Array

    @property
    def elbo(self) -> float:
        """Nats."""
        return float(self.mixture.weights @ self.gains.mean(axis=1))

    def worst(self, n: int) -> list[int]:
        """List n components, or all, within which log p̃ - log q varies most, by weight: they fit worst."""
        return np.argsort(-self.mixture.weights * self.gains.var(axis=1))[:n].tolist()


def most_components(d: int) -> int:
    """Return how many components a mixture may be asked to have: the time of all trials grows as their cube."""
    return int(np.clip(np.cbrt(GROWTH_NUMBERS / (_n_trial_draws(d) * d**2)), MOST_COMPONENTS, MOST_SPLIT))


def _n_trial_draws(d: int) -> int:
    """Return the number of points of a component in trials, a power of 2."""
    return int(2 ** np.ceil(np.log2(max(TRIAL_DRAWS, TRIAL_DRAWS_A_DIMENSION * d))))


def grow_mixture(
    value_and_grad: ValueAndGrad,
    mixture: Mixture,
    n_components: int | None,
    rng: np.random.Generator,
    report: Report = silent,
) -> Mixture:
    """Maximise a mixture's ELBO; split components while that gains, or up to `n_components`; end on more points.

    The component that fits worst is split, into two halves side by side or one within the other, whichever reaches the
    higher ELBO.
    """
    d = mixture.d
    n = _n_trial_draws(d)
    z, fresh = balanced_normals(n, d, rng), balanced_normals(4 * n, d, rng)

    def tried(start: Mixture) -> Trial:
        found = maximise_mixture(value_and_grad, start, z, tolerance=TRIAL_GAIN, max_steps=TRIAL_STEPS)
        return Trial(found, MixtureParameters(found).gains(value_and_grad, fresh))

    best = _grown(tried, tried(mixture), n_components, report)
    report(f"{best.n_components} components, on more points")
    n = max(2 ** int(np.log2(FINE_MIXTURE_NUMBERS / (d * best.n_components))), 2 * n)
    steps = MAX_CLIMB_STEPS * MOST_COMPONENTS // max(best.n_components, MOST_COMPONENTS)  # each costs more of many
    return maximise_mixture(value_and_grad, best, balanced_normals(n, d, rng), max_steps=steps)


def _grown(tried: Callable[[Mixture], Trial], best: Trial, n_components: int | None, report: Report) -> Mixture:
    """Split one component after another until no split gains enough, or there are as many as asked for."""
    enough = COMPONENT_WORTH if n_components is None else -np.inf
    most, since = n_components or MOST_COMPONENTS, time.monotonic()
    for m in range(best.mixture.n_components, most):
        left = (time.monotonic() - since) * ((most / m) ** 3 - 1)  # the time of all trials grows as the cube
        report(f"{m} of {most} components" + (f", at most about {left:.0f} s to go" if left > TOLD_FROM else ""))
        least = best.elbo + enough
        trials = (_best_split(tried, best.mixture, k) for k in best.worst(SPLITS_TRIED))
        grown = next((trial for trial in trials if trial.elbo > least), None)
        if grown is None:
            break
        best = grown
    return best.mixture


def _best_split(tried: Callable[[Mixture], Trial], mixture: Mixture, k: int) -> Trial:
    """Split component k in the way that gains most."""
    return max((tried(split(mixture, k, how)) for how in SPLITS), key=attrgetter("elbo"))


def _apart(loc: Array, tril: Array) -> tuple[Array, Array]:
    """Halve a normal along its longest axis."""
    axis, length, _ = np.linalg.svd(tril)
    step = 0.5 * length[0] * axis[:, 0]
    half = np.linalg.cholesky(tril @ tril.T - np.outer(step, step))
    return loc + np.outer([1, -1], step), half[None].repeat(2, axis=0)


def _concentric(loc: Array, tril: Array) -> tuple[Array, Array]:
    """Halve a normal into a narrow and a wide one, as heavy tails ask for."""
    return loc[None].repeat(2, axis=0), np.sqrt(1 + np.array([-1, 1]) * SPREAD)[:, None, None] * tril


SPLITS = (_apart, _concentric)


def split(mixture: Mixture, k: int, how: Callable[[Array, Array], tuple[Array, Array]]) -> Mixture:
    """Cut component k in two halves that together keep its mean and covariance."""
    locs, trils = how(mixture.locs[k], mixture.scale_trils[k])
    rest = np.arange(mixture.n_components) != k
    return replace(
        mixture,
        weights=np.concatenate([mixture.weights[rest], np.full(2, mixture.weights[k] / 2)]),
        locs=np.concatenate([mixture.locs[rest], locs]),
        scale_trils=np.concatenate([mixture.scale_trils[rest], trils]),
    )
