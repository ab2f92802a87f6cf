"""What an approximation q is worth beside p: divergences both ways, their chain rule over modes, reliability, coverage.

numpy inside, draws in, numbers with standard errors out; nothing here knows a model. Arrays over regions have
K + 1 entries: the K modes and, last, everywhere else, so that every distribution over regions sums to 1.
"""

from dataclasses import dataclass

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.masses import Masses
from pymc_kl.numerics.estimate import UNKNOWN, Estimate, effective_size, mean_estimate, pareto_k
from pymc_kl.numerics.khat import KHAT_RELIABLE
from pymc_kl.tails import TailDraws, share_below, tail_index, tail_of

HDR_PROB = 0.9
MISSED_BELOW = 0.1  # a mode with less than a tenth of its mass is missed
UNDER_BELOW, OVER_ABOVE = 0.8, 1.25  # covered means within a quarter


@dataclass(frozen=True, eq=False)
class ReferenceDraws:
    """Draws of p, with what q says of them.

    Attributes
    ----------
    log_density, log_prob : array (chain, draw)
        log p̃ and log q at the draws, nats; log_prob is None where q has no density.
    mode : array (chain, draw) of int
        Region of each draw, K for elsewhere.
    weights : array (chain, draw), optional
    masses : Masses
    unvisited : array (K + 1,)
        Mean of log p̃ - log q over local draws of modes that no draw visited; NaN for the others.
    tail : TailDraws, optional
        More draws of p, for what lies far out; those above by default.
    """

    log_density: Array
    log_prob: Array | None
    mode: IntArray
    weights: Array | None
    masses: Masses
    unvisited: Array
    tail: TailDraws | None = None


@dataclass(frozen=True, eq=False)
class ApproximationDraws:
    """Independent draws of q (n,): log p̃, log q (None without density), region (K for elsewhere), masses."""

    log_density: Array
    log_prob: Array | None
    mode: IntArray
    masses: Masses


@dataclass(frozen=True, eq=False)
class ChainRule:
    """A divergence split into what is lost between regions and within them; the two parts add up exactly.

    Attributes
    ----------
    between, within : Estimate
        Nats.
    within_each : array (K + 1,)
        Divergence within each region; NaN where either side has no draws.
    within_each_se : array (K + 1,)
    is_bound : bool
        A region with mass under one side has no draws of the other: `between` is a lower bound, reached if
        that side had three draws' worth of mass there.
    """

    between: Estimate
    within: Estimate
    within_each: Array
    within_each_se: Array
    is_bound: bool


def elbo(q: ApproximationDraws) -> Estimate:
    """E_q[log p̃ - log q] in nats."""
    return UNKNOWN if q.log_prob is None else mean_estimate(q.log_density - q.log_prob)


def eubo(p: ReferenceDraws) -> Estimate:
    """E_p[log p̃ - log q] in nats.

    Where masses do not come from counting draws, the error has a part for the masses': how much the
    expectation would change if they were others. Where the terms' tail has no finite variance, the
    error is infinite.
    """
    if p.log_prob is None:
        return UNKNOWN
    log_ratio = p.log_density - p.log_prob
    estimate = mean_estimate(log_ratio, p.weights)
    if tail_index(log_ratio) > KHAT_RELIABLE:  # their variance ends at 0.5, but k-hat is good to 0.1 or 0.2
        return Estimate(estimate.value, float("inf"))
    counted = p.masses.known and p.masses.covariance is None
    if counted or not np.isfinite(estimate.value):
        return estimate
    local = _region_means(log_ratio, p)
    residual = log_ratio - np.nan_to_num(local)[p.mode]
    local = np.where(np.isnan(local), p.unvisited, local)
    within = mean_estimate(residual, p.weights).se
    local = np.where(np.isnan(local), estimate.value, local)
    return Estimate(estimate.value, float(np.hypot(within, _shares_se(local, p.masses))))


def _region_means(values: Array, p: ReferenceDraws) -> Array:
    weights = np.ones_like(values) if p.weights is None else p.weights
    k = len(p.masses.mass)
    total = np.bincount(p.mode.ravel(), weights=weights.ravel(), minlength=k)
    summed = np.bincount(p.mode.ravel(), weights=(weights * values).ravel(), minlength=k)
    return np.asarray(np.where(total > 0, summed / np.where(total > 0, total, 1.0), np.nan))


def _shares_se(slope: Array, masses: Masses) -> float:
    """Standard error of a function of the masses whose partial derivatives are `slope` (K + 1,).

    Since masses sum to 1, only differences of the slopes matter; for a multinomial sample this is exact.
    """
    if masses.covariance is not None:
        return float(np.sqrt(max(float(slope @ masses.covariance @ slope), 0.0)))
    centred = slope - (masses.mass * slope).sum()
    left = np.maximum(1 - masses.mass, masses.se)
    return float(np.sqrt((centred**2 * masses.se**2 / left).sum()))


def forward_kl(p: ReferenceDraws, log_evidence: Estimate) -> Estimate:
    """KL(p‖q) = EUBO - log Z, in nats; never clamped at zero."""
    upper = eubo(p)
    return Estimate(upper.value - log_evidence.value, float(np.hypot(upper.se, log_evidence.se)))


def reverse_kl(q: ApproximationDraws, log_evidence: Estimate) -> Estimate:
    """KL(q‖p) = log Z - ELBO, in nats; never clamped at zero."""
    lower = elbo(q)
    return Estimate(log_evidence.value - lower.value, float(np.hypot(lower.se, log_evidence.se)))


def forward_chain_rule(p: ReferenceDraws, q: ApproximationDraws, log_evidence: Estimate) -> ChainRule:
    """Split KL(p‖q) = Σ w_k log(w_k / v_k) + Σ w_k KL(p_k‖q_k)."""
    total = forward_kl(p, log_evidence)
    if p.log_prob is None:
        return _split(total, p.masses, q.masses, None, None)
    log_ratio = p.log_density - p.log_prob
    local = _region_means(log_ratio, p) - log_evidence.value
    weights = np.ones_like(log_ratio) / log_ratio.size if p.weights is None else p.weights
    size = _efficiency(log_ratio, p.weights) * _region_counts(p.mode, weights, len(local))
    return _split(total, p.masses, q.masses, local, _region_se(log_ratio, p.mode, size))


def reverse_chain_rule(p: ReferenceDraws, q: ApproximationDraws, log_evidence: Estimate) -> ChainRule:
    """Split KL(q‖p) = Σ v_k log(v_k / w_k) + Σ v_k KL(q_k‖p_k)."""
    total = reverse_kl(q, log_evidence)
    if q.log_prob is None:
        return _split(total, q.masses, p.masses, None, None)
    log_ratio = q.log_prob - q.log_density
    k = len(q.masses.mass)
    size = np.bincount(q.mode, minlength=k).astype(float)
    summed = np.bincount(q.mode, weights=log_ratio, minlength=k)
    local = np.where(size > 0, summed / np.maximum(size, 1), np.nan) + log_evidence.value
    return _split(total, q.masses, p.masses, local, _region_se(log_ratio, q.mode, size))


def _efficiency(values: Array, weights: Array | None) -> float:
    """Effective draws in all."""
    return effective_size(values) if weights is None else float(weights.sum() ** 2 / (weights**2).sum())


def _region_counts(mode: IntArray, weights: Array, k: int) -> Array:
    return np.bincount(mode.ravel(), weights=weights.ravel(), minlength=k)


def _region_se(values: Array, mode: IntArray, size: Array) -> Array:
    """Standard error of the mean of values in each region, from its number of effective draws (K + 1,)."""
    se = np.full(len(size), np.nan)
    for j in np.flatnonzero(size > 1):
        se[j] = values[mode == j].std() / np.sqrt(size[j])
    return se


def _split(total: Estimate, first: Masses, second: Masses, local: Array | None, local_se: Array | None) -> ChainRule:
    """Apply the chain rule of KL(first‖second) with `local` = mean log ratio, log Z included, per region."""
    w, v = first.mass, second.mass
    v_known = np.where(v > 0, v, np.minimum(second.upper, 1.0))
    has = w > 0
    log_ratio = np.zeros_like(w)
    log_ratio[has] = np.log(w[has] / v_known[has])
    between = float((w * log_ratio).sum())
    between_se = float(np.hypot(_shares_se(log_ratio, first), _shares_se(-w / v_known, second)))
    between_se = float(np.hypot(between_se, _unseen_se(first, v_known)))
    is_bound = bool((has & (v == 0)).any())
    within_each, within_se = np.full_like(w, np.nan), np.full_like(w, np.nan)
    if local is not None and local_se is not None:
        both = has & (v > 0)
        within_each[both] = local[both] - log_ratio[both]
        relative = (first.se[both] / w[both]) ** 2 + (second.se[both] / v[both]) ** 2
        within_se[both] = np.sqrt(local_se[both] ** 2 + relative)
    within = Estimate(total.value - between, float(np.hypot(total.se, between_se)))
    return ChainRule(Estimate(between, between_se), within, within_each, within_se, is_bound)


def _unseen_se(first: Masses, v: Array) -> float:
    """Standard error of Σ w log(w / v) from regions where no draw of the first side fell: w may be a draw's worth."""
    unseen = (first.mass == 0) & (v > 0)
    w = first.upper[unseen] / 3
    return float(np.linalg.norm(w * np.log(w / v[unseen])))


def khat(q: ApproximationDraws) -> float:
    """Pareto k-hat of p/q under q: below 0.7, importance sampling can correct q where q has mass."""
    return float("nan") if q.log_prob is None else pareto_k(q.log_density - q.log_prob)


def khat_reference(p: ReferenceDraws) -> float:
    """Pareto k-hat of q/p under p."""
    return float("nan") if p.log_prob is None else pareto_k(p.log_prob - p.log_density)


def ess_reverse(q: ApproximationDraws) -> Estimate:
    """(Σw)² / (n Σw²) with w = p̃/q on draws of q: the share of draws that importance sampling keeps."""
    if q.log_prob is None:
        return UNKNOWN
    log_ratio = q.log_density - q.log_prob
    w = np.exp(log_ratio - log_ratio.max())
    first, second = w.mean(), (w**2).mean()
    slope = np.array([2 * first / second, -(first**2) / second**2])
    covariance = np.cov(w, w**2) / len(w)
    return Estimate(float(first**2 / second), float(np.sqrt(max(slope @ covariance @ slope, 0.0))))


def ess_forward(p: ReferenceDraws, log_evidence: Estimate) -> Estimate:
    """1 / E_p[p/q], on draws of p, with log Z from them: the same share, as p sees it."""
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
    return share_below(p.tail or tail_of(p.log_density, p.weights), q.log_density)


def entropic_coverage(masses: Masses) -> Estimate:
    """-Σ v log v / log K over the K modes, renormalised without elsewhere; NaN for one mode.

    Blessing et al. 2024, arXiv 2406.07423. 1 means equal masses, which is right only if p's are.
    """
    k = len(masses.mass) - 1
    inside = masses.mass[:k].sum()
    if k < 2 or inside <= 0:
        return UNKNOWN
    v = masses.mass[:k] / inside
    log_v = np.log(np.where(v > 0, v, 1.0))
    value = float(-(v * log_v).sum() / np.log(k))
    slope = np.append(-log_v - value * np.log(k), 0.0) / (inside * np.log(k))
    return Estimate(value, _shares_se(slope, masses))


def mass_jsd(p: Masses, q: Masses) -> Estimate:
    """Jensen-Shannon divergence, base 2, between the masses of the regions under p and q."""
    w, v = p.mass, q.mass
    middle = (w + v) / 2
    log_w = np.log2(np.where(w > 0, w, 1.0) / np.where(w > 0, middle, 1.0))
    log_v = np.log2(np.where(v > 0, v, 1.0) / np.where(v > 0, middle, 1.0))
    value = 0.5 * float((w * log_w + v * log_v).sum())
    return Estimate(value, float(np.hypot(_shares_se(0.5 * log_w, p), _shares_se(0.5 * log_v, q))))


def mass_tv(p: Masses, q: Masses) -> Estimate:
    """Total variation ½ Σ|w - v| between the masses of the regions under p and q."""
    value = 0.5 * float(np.abs(p.mass - q.mass).sum())
    slope = 0.5 * np.sign(p.mass - q.mass)
    return Estimate(value, float(np.hypot(_shares_se(slope, p), _shares_se(slope, q))))


def hdr_coverage(p: ReferenceDraws, q: ApproximationDraws) -> Array:
    """Share (K + 1,) of each region's draws of p inside q's 90 % highest-density region."""
    if p.log_prob is None or q.log_prob is None:
        return np.full(len(p.masses.mass), np.nan)
    floor = np.quantile(q.log_prob, 1 - HDR_PROB)
    return _region_means((p.log_prob >= floor).astype(float), p)


def mass_ratio(p: Masses, q: Masses) -> tuple[Array, Array]:
    """v_k / w_k and its standard error (K + 1,); NaN where p has no draws."""
    has = p.mass > 0
    w = np.where(has, p.mass, np.nan)
    ratio = q.mass / w
    return ratio, np.sqrt((q.se / w) ** 2 + (ratio * p.se / w) ** 2)


def verdicts(p: Masses, q: Masses) -> list[str]:
    """Say of each of the K modes how q covers it: 'missed', 'under', 'covered' or 'over'.

    A mode is missed if even the upper bound of its mass under q is below a tenth of what it may hold under p.
    'under' and 'over' are said only where the mass leaves 0.8 to 1.25 times p's by more than two standard errors
    of both.
    """
    words = []
    for k in range(len(p.mass) - 1):
        most = p.mass[k] if p.mass[k] > 2 * p.se[k] else p.upper[k]
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
