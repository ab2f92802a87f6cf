"""Coverage of the modes: their masses under q compared with those under p, and how much of each mode q covers."""

from collections.abc import Sequence

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.modes.masses import NORMAL_95, RULE_OF_THREE, Masses
from pymc_kl.modes.numbering import ELSEWHERE
from pymc_kl.numerics.estimate import UNKNOWN, Estimate
from pymc_kl.scores.draws import ApproximationDraws, ReferenceDraws, function_of_masses_se, region_means
from pymc_kl.scores.missed_modes import LEAST_MASS

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

    A mode is missed if the upper bound of its mass under q is below a tenth of its mass under p. Otherwise it is
    'under' or 'over' if its mass under q is below 0.8 or above 1.25 times that under p by more than two standard
    errors, to which both masses contribute. Draws of q are too few to say any of it of a mode that may hold a
    hundredth of p if the lower bound of its mass under q is below that tenth too.
    """
    return [_verdict(p, q, k, float(lower)) for k, lower in enumerate(_lower(q)[:-1])]


def _verdict(p: Masses, q: Masses, k: int, lower: float) -> str:
    most = p.mass[k] if p.mass[k] > 2 * p.se[k] else np.nan_to_num(p.upper[k], nan=1.0)
    if p.mass[k] == 0 and q.mass[k] - 2 * q.se[k] > OVER_ABOVE * p.upper[k]:
        return "over"
    if q.upper[k] < MISSED_BELOW * most:
        return "missed"
    if q.mass[k] + 2 * np.hypot(q.se[k], UNDER_BELOW * p.se[k]) < UNDER_BELOW * p.mass[k]:
        return "under"
    if q.mass[k] - 2 * np.hypot(q.se[k], OVER_ABOVE * p.se[k]) > OVER_ABOVE * p.mass[k]:
        return "over"
    return TOO_FEW_DRAWS if lower < MISSED_BELOW * p.mass[k] and p.mass[k] > LEAST_MASS else "covered"


def _lower(masses: Masses) -> Array:
    """Lower 95 % bound of a mass; 1 - 3 / n where every draw fell in it."""
    bound = np.where(masses.mass < 1 - 1e-9, masses.mass - NORMAL_95 * masses.se, 1 - RULE_OF_THREE / masses.ess)
    return np.maximum(bound, 0.0)
