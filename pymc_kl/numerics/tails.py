"""How heavy the tail of a mean's terms is: whether they have a finite variance, and how much of it draws may not show.

A generalized Pareto distribution is fitted to the terms above a threshold, which is as low as the fit stays good
(Anderson and Darling's test). So a bounded cluster of terms far from the others is judged by its own upper end, not by
the gap below it, and a tail that is Pareto's all along is judged by many terms.
"""

from typing import Literal, NamedTuple

import numpy as np
from scipy.special import softmax

from pymc_kl._typing import Array, IntArray
from pymc_kl.numerics.estimate import MIN_RATIOS, Estimate, mean_estimate
from pymc_kl.numerics.khat import KHAT_FINITE_VARIANCE
from pymc_kl.numerics.power_law import power_law

LEAST_TAIL = 10  # terms: smallest tail that is fitted; our choice
MOST_TAIL = 1000  # terms: largest tail; the index has an error of 0.05 then; our choice
TAIL_STEP = 1.5  # factor between the sizes of tails that are tried; our choice
MISFIT = 0.8  # Anderson and Darling's A² from which a fit is rejected: about 10 %; Choulakian and Stephens 2001
LEAST_FITTED = 5  # terms above a threshold, below which no tail is fitted; our choice
DOUBT = 1.0  # standard errors of the index k that are left open, one way and the other; our choice
POWER_LAW = 3.0  # nats: evidence from which a tail is a power law's: odds of 20 to 1; our choice
CERTAIN_LAW = 30.0  # nats: evidence from which the index of that law decides, too: odds of 1e13 to 1; our choice
NEGLIGIBLE_SE = 1e-3  # nats: standard error so small that it is never refused; a hundredth of the ELBO gap's limit
MOST_SMOOTHED = 0.45  # index with which the tail's part in a variance is smoothed, at the most; our choice


type Heavy = Literal["upper", "lower", "either"]


class Tail(NamedTuple):
    """A generalized Pareto tail: index, its scale, how many terms it was fitted to, and A² of the fit."""

    k: float
    scale: float
    size: int
    misfit: float


NO_TAIL = Tail(float("-inf"), 0.0, 0, 0.0)


def tail_index(values: Array) -> float:
    """Return the index of the upper tail of values: no finite variance from 0.5 on, no mean from 1 on.

    -inf for values without a tail, +inf where one is not finite.
    """
    if not np.isfinite(values).all():
        return float("inf")
    return _tail(np.sort(values.ravel())).k


def tailed_mean(
    values: Array,
    weights: Array | None = None,
    *,
    heavy: Heavy = "either",
    foreign: Array | None = None,
    regions: IntArray | None = None,
) -> Estimate:
    """Estimate an expectation from draws, as :func:`mean_estimate` does, with an error that heeds the terms' tail.

    What the largest terms add to the variance is taken from a generalized Pareto distribution fitted to them. The
    error is infinite where the index of that tail is above 0.5, which is to have no finite variance, by its standard
    error or more, unless the error of the mean is below a thousandth of a nat. Fewer than 25 draws have no tail.
    Only the side `heavy` can have an infinite variance: log(p/q) under q has a light upper tail, whatever p and q
    are, since E_q[p/q] = 1 leaves at most exp(-t) of q where it exceeds t.

    Where values are a log ratio of two densities, `foreign` is the logarithm of the one that the draws are not from.
    It decides whether the variance is finite, since the log density of draws themselves has a light tail; and it
    tells sooner: the ratio may fall before it rises, and its tail begins further out. Where a side is named, both
    tails must be too heavy, by their standard errors or more. Else the draws' own density tells a power law, which
    goes on as it is, from a tail that grows lighter further out, as that of a banana does: only the former has no
    finite variance, and its index need only come within a standard error of 0.5. `regions` have a tail each.
    """
    plain = mean_estimate(values, weights)
    if not (np.isfinite(plain.se) and plain.se > 0) or values.size < MIN_RATIOS:
        return plain
    terms = _centred(values, weights)
    efficiency = float(values.var(ddof=1) / plain.se**2 / values.size) if weights is None else 1.0
    widening, endless = _widening(terms, efficiency)
    refused = endless and heavy in ("either", "upper" if terms.max() > -terms.min() else "lower")
    if foreign is not None:
        named = heavy != "either"
        wider, alone = _widening(_centred(foreign, weights), efficiency, doubts=1 if named else -1)
        widening = max(widening, wider)
        if named:
            refused = refused and alone
        else:
            law = power_law(values + foreign, foreign, weights, regions)
            least = POWER_LAW if alone else CERTAIN_LAW if law.k > KHAT_FINITE_VARIANCE else float("inf")
            refused = min(efficiency, 1.0) * law.evidence > least
    return Estimate(plain.value, float("inf") if refused and plain.se > NEGLIGIBLE_SE else plain.se * widening)


def _centred(values: Array, weights: Array | None) -> Array:
    """Return the terms (n,) of the mean of values less that mean; those of no weight are zero."""
    if weights is None:
        return np.asarray(values.ravel() - values.mean())
    kept = weights > 0
    mean = (weights * values)[kept].sum() / weights.sum()
    return np.asarray((weights * np.where(kept, values - mean, 0.0)).ravel())


def _widening(terms: Array, efficiency: float, *, doubts: int = 1) -> tuple[float, bool]:
    """Return by how much the tail of terms with mean 0 widens the root of their mean square, and if that has no limit.

    `efficiency` is that of the draws, effective ones over all. The second answer is by the tail's index less `doubts`
    times its standard error.
    """
    x = np.sort(terms if terms.max() > -terms.min() else -terms)
    tail = _tail(x)
    if not tail.k > 0:
        return 1.0, False
    doubt = DOUBT * (1 + tail.k) / np.sqrt(tail.size * min(efficiency, 1.0))  # its maximum likelihood error
    below, threshold = x[: -tail.size], x[-tail.size - 1]
    k = min(tail.k + doubt, MOST_SMOOTHED)
    scale = k * float(np.median(x[-tail.size :] - threshold)) / (2**k - 1)
    first, second = scale / (1 - k), 2 * scale**2 / ((1 - k) * (1 - 2 * k))
    smoothed = float((below**2).sum()) + tail.size * (threshold**2 + 2 * threshold * first + second)
    return float(np.sqrt(max(smoothed / float((x**2).sum()), 1.0))), tail.k - doubts * doubt > KHAT_FINITE_VARIANCE


def _tail(x: Array) -> Tail:
    """Fit the upper tail of sorted values: the largest that fits, or where the usual one does not, a smaller one."""
    n = len(x)
    if n < MIN_RATIOS:
        return NO_TAIL
    usual = _fitted(x, int(min(np.ceil(3 * np.sqrt(n)), n / 5, MOST_TAIL)))  # 3 √n; Vehtari et al. 2024
    return _grown(x, usual) if usual.misfit < MISFIT else _shrunk(x, usual)


def _grown(x: Array, tail: Tail) -> Tail:
    """Take larger tails as long as they fit; a bounded tail is not worth it."""
    while tail.k > 0 and tail.size * TAIL_STEP < min(len(x) / 2, MOST_TAIL):
        larger = _fitted(x, int(tail.size * TAIL_STEP))
        if larger.misfit >= MISFIT:
            break
        tail = larger
    return tail


def _shrunk(x: Array, usual: Tail) -> Tail:
    """Take smaller tails until one fits or is light; the first one if none does."""
    tail = usual
    while tail.k > KHAT_FINITE_VARIANCE and tail.misfit >= MISFIT:
        if tail.size / TAIL_STEP < LEAST_TAIL:
            return usual
        tail = _fitted(x, int(tail.size / TAIL_STEP))
    return tail


def _fitted(x: Array, size: int) -> Tail:
    """Fit the `size` largest of sorted values."""
    excess = x[-size:] - x[-size - 1]
    excess = excess[excess > 0]
    if len(excess) < LEAST_FITTED:
        return NO_TAIL._replace(size=size)
    index, scale = _pareto(excess)
    if not np.isfinite(index) or index == 0:
        return NO_TAIL._replace(size=size)
    return Tail(index, scale, size, _misfit(excess, index, scale))


def _pareto(excess: Array) -> tuple[float, float]:
    """Fit index and scale to sorted positive values, without a prior (Zhang and Stephens 2009)."""
    n = len(excess)
    grid = np.arange(1, 31 + int(np.sqrt(n)))
    with np.errstate(all="ignore"):  # what is not finite is no tail
        b = (1 - np.sqrt(len(grid) / (grid - 0.5))) / (3 * excess[int(n / 4 + 0.5) - 1]) + 1 / excess[-1]
        k = np.log1p(-b[:, None] * excess).mean(axis=1)
        mean = float(softmax(n * (np.log(-b / k) - k - 1)) @ b)
        index = float(np.log1p(-mean * excess).mean())
    return index, -index / mean


def _misfit(excess: Array, index: float, scale: float) -> float:
    """Anderson and Darling's A² of sorted values under a generalized Pareto distribution; 0 where it is bounded."""
    if index < -0.5:  # where A² has no table, and the tail is light anyway
        return 0.0
    n, survival = len(excess), np.exp(-np.log1p(index * excess / scale) / index)
    survival = np.clip(survival, 1e-12, 1 - 1e-12)
    odd = 2 * np.arange(1, n + 1) - 1
    return float(-n - (odd * (np.log1p(-survival) + np.log(survival[::-1]))).sum() / n)
