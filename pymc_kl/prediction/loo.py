"""Leave-one-out prediction from draws with weights, by Pareto-smoothed importance sampling (PSIS-LOO).

Vehtari, Gelman and Gabry (2017, doi:10.1007/s11222-016-9696-4); for draws of an approximation, Magnusson et al. (2019,
arXiv:1904.10679). Shapes: n draws, N observations.
"""

from dataclasses import dataclass

import numpy as np
from arviz_stats.base import array_stats
from scipy.special import logsumexp

from pymc_kl._typing import Array, BoolArray
from pymc_kl.numerics.estimate import smoothed_weights
from pymc_kl.numerics.khat import KHAT_RELIABLE

LEAST_DRAWS = 100  # draws from which on leave-one-out weights are smoothed and believed; our choice
AT_ONCE = 2**22  # log likelihoods, 32 MB of them, that are smoothed at once; our choice


@dataclass(frozen=True, eq=False)
class Loo:
    """How well each observation is predicted from the others.

    Attributes
    ----------
    elpd : array (N,)
        Expected log predictive density of each, nats.
    pareto_k : array (N,)
        Shape of the tail of its weights.
    p_loo : array (N,)
        What is lost by leaving it out, nats.
    influence : array (n,)
        By how much a draw moves the sum of `elpd`, times n: its mean has the error of that sum.
    good_k : float
        Largest Pareto k of weights to be believed, of so many draws.
    """

    elpd: Array
    pareto_k: Array
    p_loo: Array
    influence: Array
    good_k: float

    @property
    def bad(self) -> BoolArray:
        """Tell which observations (N,) have weights that can't be believed."""
        return np.asarray(~(self.pareto_k <= self.good_k))


def good_k(n: int) -> float:
    """Return the largest Pareto k at which n draws give a reliable mean; Vehtari et al. (2024), equation 13."""
    return float(min(1 - 1 / np.log10(n), KHAT_RELIABLE))


def psis_loo(log_likelihood: Array, log_weights: Array | None = None) -> Loo:
    """Leave out each observation in turn.

    Parameters
    ----------
    log_likelihood : array (n, N)
        log p(y_i | draw) in nats.
    log_weights : array (n,), optional
        Log importance ratios of the posterior to what the draws are of; equal by default.

    Returns
    -------
    Loo
    """
    n, n_observations = log_likelihood.shape
    base = np.zeros(n) if log_weights is None else log_weights - logsumexp(log_weights)
    whole = base - logsumexp(base)
    columns = max(AT_ONCE // n, 1)
    parts = [_some(log_likelihood[:, i : i + columns], base, whole) for i in range(0, n_observations, columns)]
    elpd, k, p_loo, influence = zip(*parts, strict=True)
    return Loo(np.concatenate(elpd), np.concatenate(k), np.concatenate(p_loo), sum(influence, np.zeros(n)), good_k(n))


def _some(log_likelihood: Array, base: Array, whole: Array) -> tuple[Array, Array, Array, Array]:
    """Leave out some observations: elpd, k and p_loo of each, and the influence (n,) of draws on all of them."""
    values = log_likelihood.T
    smoothed = [_smoothed(base - each) for each in values]
    log_w, k = np.array([each for each, _ in smoothed]), np.array([shape for _, shape in smoothed])
    elpd = logsumexp(log_w + values, axis=1)
    lppd = logsumexp(whole + values, axis=1)
    influence = len(base) * (np.exp(log_w + values - elpd[:, None]) - np.exp(log_w)).sum(axis=0)
    return elpd, k, lppd - elpd, influence


def _smoothed(log_ratio: Array) -> tuple[Array, float]:
    """Smooth the largest ratios (n,); log weights sum to 1. Where they are all the same, there is nothing to smooth."""
    try:
        with np.errstate(all="ignore"):
            log_w, k = array_stats.psislw(-log_ratio)  # which takes negative log ratios
    except ValueError:
        weights, k = smoothed_weights(log_ratio)
        with np.errstate(divide="ignore"):
            log_w = np.log(weights)
    return log_w, float(k)
