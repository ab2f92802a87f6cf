"""Coverage of the modes: their masses under q compared with those under p, and how much of each mode q covers."""

from collections.abc import Sequence

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.modes.masses import Masses
from pymc_kl.modes.numbering import ELSEWHERE
from pymc_kl.numerics.estimate import UNKNOWN, Estimate
from pymc_kl.scores.draws import ApproximationDraws, ReferenceDraws, function_of_masses_se, region_means

HDR_PROB = 0.9  # probability of q's highest-density region in which draws of p are counted; our choice
MISSED_BELOW = 0.1  # mass of a mode under q over its mass under p; with less it is missed; our choice
UNDER_BELOW = 0.8  # the same ratio; with less the mode holds too little of q; our choice
OVER_ABOVE = 1.25  # the same ratio; with more the mode holds too much of q; our choice
REACH = 10.0  # times the median depth of log p̃ below a mode's top from which a fit does not reach it; our choice
TOO_FEW_DRAWS = "too few draws"


def entropic_coverage(masses: Masses) -> Estimate:
    """Entropic mode coverage (Blessing et al. 2024, arXiv 2406.07423): -Σ v log v / log K over the K modes.

    The masses v are those of the K modes divided by their sum. 1 means that they are equal, which is the best value
    only if those of p are; NaN for one mode.
    """
    k = len(masses.mass) - 1
    inside = masses.mass[:k].sum()
    if k < 2 or inside <= 0:
        return UNKNOWN
    v = masses.mass[:k] / inside
    log_v = np.log(np.where(v > 0, v, 1.0))
    value = float(-(v * log_v).sum() / np.log(k))
    slope = np.append(-log_v - value * np.log(k), 0.0) / (inside * np.log(k))
    return Estimate(value, function_of_masses_se(slope, masses))


def mass_jsd(p: Masses, q: Masses) -> Estimate:
    """Jensen-Shannon divergence, base 2, between the masses of the regions under p and q."""
    w, v = p.mass, q.mass
    middle = (w + v) / 2
    log_w = np.log2(np.where(w > 0, w, 1.0) / np.where(w > 0, middle, 1.0))
    log_v = np.log2(np.where(v > 0, v, 1.0) / np.where(v > 0, middle, 1.0))
    value = 0.5 * float((w * log_w + v * log_v).sum())
    return Estimate(
        value, float(np.hypot(function_of_masses_se(0.5 * log_w, p), function_of_masses_se(0.5 * log_v, q)))
    )


def mass_tv(p: Masses, q: Masses) -> Estimate:
    """Total variation ½ Σ|w - v| between the masses of the regions under p and q."""
    value = 0.5 * float(np.abs(p.mass - q.mass).sum())
    slope = 0.5 * np.sign(p.mass - q.mass)
    return Estimate(value, float(np.hypot(function_of_masses_se(slope, p), function_of_masses_se(slope, q))))


def hdr_coverage(p: ReferenceDraws, q: ApproximationDraws) -> Array:
    """Share (K + 1,) of each region's draws of p inside q's 90 % highest-density region."""
    if p.log_prob is None or q.log_prob is None:
        return np.full(len(p.masses.mass), np.nan)
    floor = np.quantile(q.log_prob, 1 - HDR_PROB)
    return region_means((p.log_prob >= floor).astype(float), p)


def mass_ratio(p: Masses, q: Masses) -> tuple[Array, Array]:
    """v_k / w_k and its standard error (K + 1,); NaN where p has no draws."""
    has = p.mass > 0
    w = np.where(has, p.mass, np.nan)
    ratio = q.mass / w
    return ratio, np.sqrt((q.se / w) ** 2 + (ratio * p.se / w) ** 2)


def within_reach(mode: IntArray, log_density: Array, own: Sequence[Array], top: Array) -> IntArray:
    """Count draws of q (n,) as elsewhere that lead to a mode from so far that they do not reach it.

    Parameters
    ----------
    mode : array (n,) of int
        Where a climb from each draw ends, -1 for elsewhere.
    log_density : array (n,)
        log p̃ there, nats.
    own : sequence of array
        log p̃ at the draws of p in each of K modes.
    top : array (K,)
        log p̃ at each mode.

    Returns
    -------
    array (n,) of int
        A mode is reached if any draw lies as high as its own, or ten times as far below its top as half of them do,
        as draws twice or three times too wide do in many dimensions.
    """
    reached = mode.copy()
    for k in np.unique(mode[mode >= 0]):
        if len(own[k]):
            depth = np.fmax(own[k].max(), top[k]) - own[k]
            least = np.fmax(own[k].max(), top[k]) - max(depth.max(), REACH * np.median(depth))
            if log_density[mode == k].max() < least:
                reached[mode == k] = ELSEWHERE
    return reached


def verdicts(p: Masses, q: Masses) -> list[str]:
    """Return a verdict on each of the K modes: 'missed', 'under', 'covered' or 'over', or 'too few draws'.

    A mode is missed if the upper bound of its mass under q is below a tenth of its mass under p. Otherwise the 95 %
    interval of its mass under q over that under p decides, to which the errors of both add: it is 'under' if all of it
    is below 0.8, 'over' if all is above 1.25, 'covered' if all is between, and 'too few draws' if it reaches across
    either, so that none of it can be told. The bounds of v - c·w are those of Zou and Donner (2008,
    doi:10.1002/sim.3095), which hold where no draw fell.
    """
    too_little, too_much = (_within_bounds(p, q, c) for c in (UNDER_BELOW, OVER_ABOVE))
    return [
        "missed" if _is_missed(p, q, k) else _verdict(too_little[:, k], too_much[:, k]) for k in range(len(p.mass) - 1)
    ]


def _is_missed(p: Masses, q: Masses, k: int) -> bool:
    most = p.mass[k] if p.mass[k] > 2 * p.se[k] else np.nan_to_num(p.upper[k], nan=1.0)
    return bool(q.upper[k] < MISSED_BELOW * most)


def _verdict(too_little: Array, too_much: Array) -> str:
    """Judge by the bounds (2,) of v - 0.8 w and of v - 1.25 w; bounds of NaN tell nothing."""
    if too_little[1] < 0:
        return "under"
    if too_much[0] > 0:
        return "over"
    return "covered" if too_little[0] >= 0 and too_much[1] <= 0 else TOO_FEW_DRAWS


def _within_bounds(p: Masses, q: Masses, c: float) -> Array:
    """Lower and upper 95 % bounds (2, K + 1) of v - c·w, given intervals of each mass v of q and w of p."""
    (v_low, v_high), (w_low, w_high) = q.interval(), p.interval()
    v, w = q.mass, p.mass
    least = np.hypot(v - v_low, c * (w_high - w))
    most = np.hypot(v_high - v, c * (w - w_low))
    return np.stack([v - c * w - least, v - c * w + most])
