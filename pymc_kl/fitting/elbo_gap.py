"""The ELBO gap of a reverse-KL fit made elsewhere: what it gains where its ELBO is maximised."""

from dataclasses import dataclass, replace

import numpy as np

from pymc_kl._typing import Array, RandomSeed
from pymc_kl.approximations import FullRank, MeanField
from pymc_kl.fitting.maximise import polish
from pymc_kl.fitting.optima import CHECK_DRAWS
from pymc_kl.numerics.estimate import UNKNOWN, Estimate, mean_estimate
from pymc_kl.numerics.judgement import Answer, at_most
from pymc_kl.numerics.lbfgs import ValueAndGrad
from pymc_kl.numerics.tails import tailed_mean

ELBO_GAP_TOLERANCE = 0.1  # nats; largest gap of a fit that has converged: a mean off by 0.45 sd in one dimension
MOST_CLIMBS = 10  # climbs to an optimum from which one more gains nothing; measured: 2, or 6 among sharp islands
CLIMB_AGAIN_FROM = 0.1  # standard deviations by which a climb that checks an optimum starts beside it; our choice


@dataclass(frozen=True, eq=False)
class Convergence:
    """Whether a reverse-KL fit is at an optimum of its family.

    Attributes
    ----------
    polished : Approximation
        The optimum of the family that climbs from the fit lead to; the fit itself if its ELBO is no lower.
    elbo_gap : Estimate
        ELBO of that optimum less that of the fit, nats; the error is infinite where the tail of what draws gain is too
        heavy for a finite variance.
    gradient : Estimate
        Length of the ELBO's gradient at the fit, nats for a step of one standard deviation, and the length
        that Monte Carlo error alone would give.
    converged : str
        'yes', 'no' or 'cannot tell': whether the gap is at most 0.1 nats, by two standard errors.
    left : Estimate
        ELBO that one more climb, from beside `polished` and on other points, gained, nats. Where it is more than 0.1
        by two standard errors, `polished` is no optimum either.
    """

    polished: MeanField | FullRank
    elbo_gap: Estimate
    gradient: Estimate
    converged: Answer
    left: Estimate

    @property
    def is_optimum(self) -> bool:
        """Whether one more climb from the polished fit gained nothing."""
        return not _matters(self.left)

    def of_polished(self) -> "Convergence":
        """Return what the last climb says of the polished fit itself."""
        return replace(self, elbo_gap=self.left, gradient=UNKNOWN, converged=at_most(self.left, ELBO_GAP_TOLERANCE))


def check_convergence(
    value_and_grad: ValueAndGrad, fit: MeanField | FullRank, *, random_seed: RandomSeed = None
) -> Convergence:
    """Maximise the ELBO of a Gaussian reverse-KL fit from where it stands, and measure the gain.

    Parameters
    ----------
    value_and_grad : callable
        (n, d) -> log p̃ (n,) and its gradient (n, d).
    fit : MeanField or FullRank
    random_seed : int, Generator, SeedSequence or None

    Returns
    -------
    Convergence
        The gain is measured on fresh draws, the same for both fits.
    """
    rng = np.random.default_rng(random_seed)
    polished = polish(value_and_grad, fit, rng=rng)
    z = rng.standard_normal((CHECK_DRAWS, fit.d))
    before, grad = _elbo_terms(value_and_grad, fit, z)
    after, _ = _elbo_terms(value_and_grad, polished, z)
    gained = after - before
    left = mean_estimate(gained)
    if not left.value > 0:
        polished, after = fit, before
    climbs = 1
    while _matters(left) and climbs < MOST_CLIMBS:
        further = polish(value_and_grad, _nudged(polished, rng), rng=rng)
        higher, _ = _elbo_terms(value_and_grad, further, z)
        left = mean_estimate(higher - after)
        climbs += 1
        if _matters(left):
            polished, after, gained = further, higher, higher - before
    gap = tailed_mean(gained)
    return Convergence(polished, gap, _gradient_length(fit, grad, z), _answer(gained, gap), left)


def _answer(gained: Array, gap: Estimate) -> Answer:
    """Judge convergence; a tail too heavy for a finite variance makes a gain that draws show no smaller."""
    return "no" if _matters(mean_estimate(gained)) else at_most(gap, ELBO_GAP_TOLERANCE)


def _matters(gain: Estimate) -> bool:
    """Tell if a gain in ELBO is more than 0.1 nats by two standard errors, or not known."""
    return np.isnan(gain.value) or at_most(gain, ELBO_GAP_TOLERANCE) == "no"


def _nudged[G: MeanField | FullRank](fit: G, rng: np.random.Generator) -> G:
    """Move a fit a tenth of its standard deviations in a random direction, away from a saddle that it may stand on."""
    u = rng.standard_normal(fit.d)
    return replace(fit, loc=fit.loc + CLIMB_AGAIN_FROM * fit.scale_tril @ u / np.linalg.norm(u))


def _elbo_terms(value_and_grad: ValueAndGrad, fit: MeanField | FullRank, z: Array) -> tuple[Array, Array]:
    """Evaluate log p̃ - log q at loc + scale z, up to terms that all fits share, and the gradient of log p̃."""
    value, grad = value_and_grad(fit.loc + z @ fit.scale_tril.T)
    return value + np.log(np.diag(fit.scale_tril)).sum(), grad


def _gradient_length(fit: MeanField | FullRank, grad: Array, z: Array) -> Estimate:
    """Measure the length of the ELBO's gradient by whitened parameters; `se` is the length that noise alone gives."""
    slope = grad @ fit.scale_tril
    if isinstance(fit, MeanField):
        terms = np.concatenate([slope, slope * z + 1.0], axis=1)
        mean, variance = terms.mean(axis=0), terms.var(axis=0)
    else:
        outer = slope.T @ z / len(z) + np.eye(fit.d)
        second = (slope**2).T @ z**2 / len(z) - (outer - np.eye(fit.d)) ** 2
        lower = np.tril_indices(fit.d)
        mean = np.concatenate([slope.mean(axis=0), outer[lower]])
        variance = np.concatenate([slope.var(axis=0), second[lower]])
    return Estimate(float(np.linalg.norm(mean)), float(np.sqrt(variance.sum() / len(z))))
