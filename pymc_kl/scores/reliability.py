"""Reliability: k-hat and effective sample size of importance sampling from q, and the spill of q."""

import numpy as np
from scipy.special import gammaincinv
from scipy.stats import norm

from pymc_kl._typing import Array
from pymc_kl.numerics.estimate import UNKNOWN, Estimate, effective_size, mean_estimate, pareto_k
from pymc_kl.numerics.khat import khat_se
from pymc_kl.scores.draws import ApproximationDraws, ReferenceDraws, TailDraws, tail_of

SPILL_QUANTILE = 0.001  # probability of the quantile of log p̃ under p below which a draw of q is spill; our choice
LEAST_RANK = 0.3  # part of a draw's weight at its own rank, so that ranks are medians of the probability (Benard 1953)
TAIL_OF_SPILL = 20  # draws of lowest density that tell how fast a tail falls off; our choice


def share_below(tail: TailDraws, log_density: Array, n: float) -> Estimate:
    """Share of draws of q, n of them distinct, with log p̃ at each, below the 0.1 % quantile of log p̃ under p.

    The error includes that of the quantile. The draws of p below it are counted: their number is Poisson's, with
    Jeffreys' interval. Where there are none, the tail goes on as an exponential one from the lowest draw.
    """
    below = SPILL_QUANTILE * tail.n_effective
    counts = np.array([gammaincinv(below + 0.5, norm.cdf(-1)), below, gammaincinv(below + 0.5, norm.cdf(1))])
    order = np.argsort(tail.log_density)
    x, probs = tail.log_density[order], counts / tail.n_effective
    w = np.full(len(x), 1 / len(x)) if tail.weights is None else tail.weights[order] / tail.weights.sum()
    at = np.cumsum(w) - LEAST_RANK * w
    lowest = x[: TAIL_OF_SPILL + 1]
    floors = np.interp(probs, at, x) - (lowest[-1] - lowest).mean() * np.maximum(np.log(at[0] / probs), 0)
    low, share, high = ((log_density < floor).mean() for floor in floors)
    smoothed = (share * n + 0.5) / (n + 1)
    return Estimate(float(share), float(np.hypot(np.sqrt(smoothed * (1 - smoothed) / n), (high - low) / 2)))


def khat(q: ApproximationDraws) -> float:
    """Pareto k-hat of p/q under q: below 0.7, importance sampling can correct q where q has mass."""
    return float("nan") if q.log_prob is None else pareto_k(q.log_density - q.log_prob)


def khat_error(q: ApproximationDraws) -> float:
    """Standard error of that k-hat; NaN without a tail."""
    return khat_se(khat(q), q.log_density.size)


def khat_reference(p: ReferenceDraws) -> float:
    """Pareto k-hat of q/p under p."""
    return float("nan") if p.log_prob is None else pareto_k(p.log_prob - p.log_density)


def khat_reference_error(p: ReferenceDraws) -> float:
    """Standard error of that k-hat, by the effective number of draws of p."""
    if p.log_prob is None:
        return float("nan")
    w = None if p.weights is None else p.weights / p.weights.sum()
    n = effective_size(p.log_prob - p.log_density) if w is None else 1 / (w**2).sum()
    return khat_se(khat_reference(p), float(n))


def ess_reverse(q: ApproximationDraws) -> Estimate:
    """(Σw)² / (n Σw²) with w = p̃/q on draws of q: effective draws of importance sampling, as a share of all."""
    if q.log_prob is None:
        return UNKNOWN
    log_ratio = q.log_density - q.log_prob
    w = np.exp(log_ratio - log_ratio.max())
    first, second = w.mean(), (w**2).mean()
    slope = np.array([2 * first / second, -(first**2) / second**2])
    covariance = np.cov(w, w**2) / len(w)
    return Estimate(float(first**2 / second), float(np.sqrt(max(slope @ covariance @ slope, 0.0))))


def ess_forward(p: ReferenceDraws, log_evidence: Estimate) -> Estimate:
    """1 / E_p[p/q] by draws of p, given log Z: the same share, which sees also where q has too little mass."""
    if p.log_prob is None or not np.isfinite(log_evidence.value):
        return UNKNOWN
    log_ratio = p.log_density - p.log_prob - log_evidence.value
    top = log_ratio.max()
    if top == np.inf:  # q has no density at a draw of p
        return Estimate(0.0, 0.0)
    mean = mean_estimate(np.exp(log_ratio - top), p.weights)
    value = float(np.exp(-top)) / mean.value
    return Estimate(value, value * float(np.hypot(mean.se / mean.value, log_evidence.se)))


def spill(p: ReferenceDraws, q: ApproximationDraws) -> Estimate:
    """Share of q's draws where log p̃ is below its 0.1 % quantile under p."""
    n = float(q.masses.ess[-1])
    return share_below(p.tail or tail_of(p.log_density, p.weights), q.log_density, n)
