"""A number with its standard error, estimated from draws; effective sample size and Pareto k-hat."""

from contextlib import suppress
from typing import NamedTuple

import numpy as np
from arviz_stats.base import array_stats
from scipy.special import softmax

from pymc_kl._typing import Array, IntArray

NO_TAIL = 1.1  # times the mean: the largest of importance ratios without a tail, which correct nothing; our choice
MIN_RATIOS = 25  # least number of importance ratios, the largest fifth of which k-hat is fitted to; our choice
MIN_CHAIN_DRAWS = 4  # draws: least length of a chain with an R-hat or ESS, which split it in halves; Gelman et al. 2013


class Estimate(NamedTuple):
    """A value and its standard error, in the same unit."""

    value: float
    se: float


UNKNOWN = Estimate(float("nan"), float("nan"))


def mean_estimate(values: Array, weights: Array | None = None) -> Estimate:
    """Estimate an expectation from draws.

    Parameters
    ----------
    values : array (n,) or (chain, draw)
        Independent draws, or Markov chains, whose error comes from ArviZ's effective sample size.
    weights : array like `values`, optional
        Importance weights; with them the draws are taken as independent.

    Returns
    -------
    Estimate
        An infinite value has an error of NaN.
    """
    if weights is not None:
        w = weights / weights.sum()
        mean = float((w * values)[w > 0].sum())
        with np.errstate(invalid="ignore"):
            return Estimate(mean, float(np.sqrt(((w * (values - mean)) ** 2)[w > 0].sum())))
    mean = float(values.mean())
    if not np.isfinite(values).all():
        return Estimate(mean, float("nan"))
    return Estimate(mean, float(values.std(ddof=1)) / np.sqrt(effective_size(values)))


def systematic(weights: Array, n: int, rng: np.random.Generator) -> IntArray:
    """Resample n rows by weights (m,) that sum to 1, systematically: row i comes n·w_i times, rounded up or down."""
    rows = np.searchsorted(np.cumsum(weights), (np.arange(n) + rng.random()) / n)
    return np.asarray(np.minimum(rows, len(weights) - 1))


def effective_size(values: Array) -> float:
    """Return the effective sample size of the mean of draws: n for independent (n,), ArviZ's ESS for (chain, draw).

    Where chains have fewer than four draws, ArviZ has no ESS, and each chain counts as one draw.
    """
    n = float(values.size)
    if values.ndim == 1 or not n or np.ptp(values) == 0:
        return n
    if values.shape[1] < MIN_CHAIN_DRAWS:
        return float(len(values))
    return float(min(array_stats.ess(values, method="mean"), n))


def pareto_k(log_ratio: Array) -> float:
    """Pareto k-hat of importance ratios given their logarithms (n,).

    ArviZ's `psislw` expects negated log ratios, as log likelihoods; this hides that.

    Returns
    -------
    float
        -inf where no ratio exceeds their mean by a tenth, so that there is no tail to fit; +inf where one is infinite
        or all are zero; and NaN where no tail can be fitted: there are fewer than 25 ratios, or many in the tail are
        equal, as zeros are, or the draws of a chain that is stuck.
    """
    return smoothed_weights(log_ratio)[1]


def smoothed_weights(log_ratio: Array) -> tuple[Array, float]:
    """Smooth importance ratios (n,), given their logarithms, as PSIS does; weights sum to 1. See :func:`pareto_k`.

    Where k-hat is NaN the weights (n,) are the ratios themselves, and where it is infinite they are equal.
    """
    log_ratio = np.asarray(log_ratio, dtype=float).ravel()
    n = log_ratio.size
    equal = np.full(n, 1 / max(n, 1))
    if np.isnan(log_ratio).any() or (log_ratio == np.inf).any() or (n and (log_ratio == -np.inf).all()):
        return equal, float("inf")
    if n < 2:
        return equal, float("nan")
    raw = softmax(log_ratio)
    if n * raw.max() < NO_TAIL:
        return raw, float("-inf")
    k = float("nan")
    if n >= MIN_RATIOS:
        with np.errstate(all="ignore"), suppress(ValueError):  # it raises if the tail is one value
            log_weights, k = array_stats.psislw(-log_ratio)
    return (softmax(log_weights) if np.isfinite(k) else raw), float(k)
