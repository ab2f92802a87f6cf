"""Shape of an approximation within each mode: how wide it is there, and whether it fits.

Arrays over modes have K entries; NaN where either side has too few draws, or no density.
"""

from collections.abc import Sequence

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.numerics.estimate import UNKNOWN, Estimate, effective_size
from pymc_kl.numerics.judgement import CANNOT_TELL
from pymc_kl.scores.draws import ReferenceDraws
from pymc_kl.scores.marginals import Source

ACCURATE = 0.1  # nats of forward KL within a mode up to which a shape fits: one sd 25 % too small; our choice
NARROW_BELOW = 0.8  # standard deviation of q over that of p; with less q is too narrow; our choice
WIDE_ABOVE = 1.25  # the same ratio; with more q is too wide; our choice
FEWEST_DRAWS = 20  # draws of either side in a mode, or in half of it, from which on it is compared; our choice
WELL_FITTED = "well fitted"


def widths(p: Source, q: Source, k: int) -> tuple[list[Estimate], list[int]]:
    """Divide standard deviations of q by those of p within each of k modes, along the coordinate that differs most.

    Returns the ratio and that coordinate, -1 where there is none. Both have canonical draws, with the mode of each.
    """
    found = [_width(_inside(p, j), _inside(q, j)) for j in range(k)]
    return [ratio for ratio, _ in found], [coordinate for _, coordinate in found]


def sharper(kl: Array, kl_se: Array, p: ReferenceDraws) -> tuple[Array, Array]:
    """Estimate the forward KL (nats) within each of K modes better than by the mass of q there, and its errors.

    With r = log p - log q, it is E[r] + log E[exp(-r)] over draws of p in the mode: neither log Z nor the mass of q
    enters, and the error is small where q is close to p. It does not see mass of q where no draw of p is, so
    `kl` is kept where the two differ by two standard errors.
    """
    kl, kl_se = kl.copy(), kl_se.copy()
    if p.log_prob is None:
        return kl, kl_se
    ratio = p.log_density - p.log_prob
    efficiency = effective_size(ratio) / ratio.size if p.weights is None else 1.0
    weights = np.ones_like(ratio) if p.weights is None else p.weights
    for k in np.flatnonzero(np.isfinite(kl)):
        inside = (p.mode == k) & (weights > 0)
        own = _paired(ratio[inside], weights[inside])
        own = Estimate(own.value, own.se / float(np.sqrt(efficiency)))
        if own.se < kl_se[k] and abs(own.value - kl[k]) <= 2 * float(np.hypot(own.se, kl_se[k])):
            kl[k], kl_se[k] = own
    return kl, kl_se


def _paired(ratio: Array, weights: Array) -> Estimate:
    """Estimate E[r] + log E[exp(-r)] from draws of r (n,) with weights (n,)."""
    if len(ratio) < FEWEST_DRAWS or not np.isfinite(ratio).all():
        return UNKNOWN
    w = weights / weights.sum()
    centred = ratio - w @ ratio
    with np.errstate(over="ignore", invalid="ignore"):
        inverse = np.exp(-centred)
        mean = w @ inverse
        influence = centred + inverse / mean - 1
        return Estimate(float(np.log(mean)), float(np.sqrt((w**2) @ influence**2)))


def shape_verdicts(kl: Array, kl_se: Array, width: Sequence[Estimate]) -> list[str]:
    """Say how q fits within each mode, by intervals of two standard errors.

    'well fitted' where the forward KL (nats) within the mode is at most 0.1; where it is more, 'too narrow' or
    'too wide' if the widths say so, or 'wrong shape'. 'cannot tell' where neither is sure, empty without draws. A
    fit without a density is never well fitted.
    """
    pairs = map(Estimate, map(float, kl), map(float, kl_se))
    return [_shape(pair, ratio) for pair, ratio in zip(pairs, width, strict=True)]


def _shape(kl: Estimate, width: Estimate) -> str:
    if np.isnan(kl.value) and np.isnan(width.value):
        return ""
    if kl.value + 2 * kl.se <= ACCURATE:
        return WELL_FITTED
    known = np.isfinite(kl.value) and np.isfinite(kl.se)
    if known and not kl.value - 2 * kl.se > ACCURATE:
        return CANNOT_TELL
    if width.value + 2 * width.se < NARROW_BELOW:
        return "too narrow"
    if width.value - 2 * width.se > WIDE_ABOVE:
        return "too wide"
    return "wrong shape" if known else CANNOT_TELL


def _inside(source: Source, mode: int) -> tuple[Array, Array]:
    rows = np.ones(len(source.x), dtype=bool) if source.mode is None else source.mode == mode
    rows = rows & (source.weights > 0)
    return source.x[rows], source.weights[rows]


def _width(p: tuple[Array, Array], q: tuple[Array, Array]) -> tuple[Estimate, int]:
    """Find the coordinate that differs most by the first half of the draws, and compare it by the second half.

    By the same draws it would differ by chance alone, the more so in many dimensions. One alone is not chosen.
    """
    d = p[0].shape[1]
    if min(len(p[0]), len(q[0])) < (FEWEST_DRAWS if d == 1 else 2 * FEWEST_DRAWS):
        return UNKNOWN, -1
    first = second = _log_ratio(p, q)
    if d > 1:
        first, second = (_log_ratio(*(_half(draws, i) for draws in (p, q))) for i in (0, 1))
    j = int(np.abs(np.nan_to_num(first[0], posinf=0.0, neginf=0.0)).argmax())
    ratio = float(np.exp(second[0][j]))
    return Estimate(ratio, ratio * float(second[1][j])), j


def _half(draws: tuple[Array, Array], i: int) -> tuple[Array, Array]:
    """Take the first or the second half of weighted draws, by weight."""
    x, weights = draws
    second = np.cumsum(weights) - weights / 2 > weights.sum() / 2
    return x[second == i], weights[second == i]


def _log_ratio(p: tuple[Array, Array], q: tuple[Array, Array]) -> tuple[Array, Array]:
    """Log of the standard deviations of q over those of p (d,), and its standard errors."""
    (log_p, p_se), (log_q, q_se) = _log_sd(*p), _log_sd(*q)
    with np.errstate(invalid="ignore"):
        return log_q - log_p, np.hypot(p_se, q_se)


def _log_sd(x: Array, weights: Array) -> tuple[Array, Array]:
    """Log of the standard deviation of each coordinate (d,) of weighted draws, and its standard error."""
    w = weights / weights.sum()
    squared = (x - w @ x) ** 2
    variance = w @ squared
    with np.errstate(divide="ignore", invalid="ignore"):
        se = np.sqrt((w**2) @ (squared - variance) ** 2) / (2 * variance)
        return 0.5 * np.log(variance), se
