"""The tails of log p̃: how heavy they are, and how much of an approximation lies below them."""

from dataclasses import dataclass

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.numerics.estimate import Estimate, effective_size, pareto_k

SPILL_QUANTILE = 0.001  # of log p̃ under p: below it p has almost no mass


@dataclass(frozen=True, eq=False)
class TailDraws:
    """log p̃ (n,) and weights (n,) of draws of p, and how many independent ones they are worth."""

    log_density: Array
    weights: Array | None
    n_effective: float


def tail_of(log_density: Array, weights: Array | None) -> TailDraws:
    """Take draws of p (chain, draw), weighted or Markov chains, for what they say of the tail."""
    if weights is None:
        return TailDraws(log_density.ravel(), None, effective_size(log_density))
    w = weights.ravel() / weights.sum()
    return TailDraws(log_density.ravel(), w, float(1 / (w**2).sum()))


def share_below(tail: TailDraws, log_density: Array) -> Estimate:
    """Share of draws of q, with log p̃ (n,) at each, below the 0.1 % quantile of log p̃ under p.

    The error has a part for the quantile's own, which is large where draws of p are few.
    """
    factor = 1 + 1 / np.sqrt(SPILL_QUANTILE * tail.n_effective)  # a standard error of the quantile's probability
    probs = np.array([SPILL_QUANTILE / factor, SPILL_QUANTILE, min(SPILL_QUANTILE * factor, 1.0)])
    floors = np.quantile(tail.log_density, probs, weights=tail.weights, method="inverted_cdf")
    low, share, high = ((log_density < floor).mean() for floor in floors)
    n = log_density.size
    smoothed = (share * n + 0.5) / (n + 1)
    return Estimate(float(share), float(np.hypot(np.sqrt(smoothed * (1 - smoothed) / n), (high - low) / 2)))


def tail_index(values: Array) -> float:
    """Pareto k-hat of the upper tail of values above their median: 0.5 and more means no finite variance."""
    excess = values.ravel() - np.median(values)
    if not np.isfinite(excess).all():
        return float("inf")
    upper = excess[excess > 0]
    return pareto_k(np.log(upper)) if len(upper) > 25 else float("-inf")
