"""Coverage of the modes: their masses under q compared with those under p, and how much of each mode q covers."""

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.modes.masses import Masses
from pymc_kl.numerics.estimate import UNKNOWN, Estimate
from pymc_kl.scores.draws import ApproximationDraws, ReferenceDraws, function_of_masses_se, region_means

HDR_PROB = 0.9  # probability of q's highest-density region in which draws of p are counted; our choice
MISSED_BELOW = 0.1  # mass of a mode under q over its mass under p; with less it is missed; our choice
UNDER_BELOW = 0.8  # the same ratio; with less the mode holds too little of q; our choice
OVER_ABOVE = 1.25  # the same ratio; with more the mode holds too much of q; our choice


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


def verdicts(p: Masses, q: Masses) -> list[str]:
    """Return a verdict on each of the K modes: 'missed', 'under', 'covered' or 'over'.

    A mode is missed if the upper bound of its mass under q is below a tenth of its mass under p. Otherwise it is
    'under' or 'over' if its mass under q is below 0.8 or above 1.25 times that under p by more than two standard
    errors, to which both masses contribute.
    """
    words = []
    for k in range(len(p.mass) - 1):
        most = p.mass[k] if p.mass[k] > 2 * p.se[k] else np.nan_to_num(p.upper[k], nan=1.0)
        if p.mass[k] == 0 and q.mass[k] - 2 * q.se[k] > OVER_ABOVE * p.upper[k]:
            words.append("over")
        elif q.upper[k] < MISSED_BELOW * most:
            words.append("missed")
        elif q.mass[k] + 2 * np.hypot(q.se[k], UNDER_BELOW * p.se[k]) < UNDER_BELOW * p.mass[k]:
            words.append("under")
        elif q.mass[k] - 2 * np.hypot(q.se[k], OVER_ABOVE * p.se[k]) > OVER_ABOVE * p.mass[k]:
            words.append("over")
        else:
            words.append("covered")
    return words
