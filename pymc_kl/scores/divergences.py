"""Divergences between p and an approximation q, in both directions, and their chain rule over modes.

numpy inside, draws in, numbers with standard errors out; nothing here knows a model. Arrays over regions have
K + 1 entries: the K modes and, last, everywhere else, so that every distribution over regions sums to 1.
"""

from dataclasses import dataclass

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.modes.masses import Masses
from pymc_kl.numerics.estimate import UNKNOWN, Estimate, effective_size, mean_estimate, tail_index
from pymc_kl.numerics.khat import KHAT_RELIABLE
from pymc_kl.scores.draws import ApproximationDraws, ReferenceDraws, function_of_masses_se, region_means


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

    Where the masses do not come from counting draws, their errors add to that of the expectation, by the delta
    method. Where the tail of log p̃ - log q is too heavy for a finite variance, the error is infinite.
    """
    if p.log_prob is None:
        return UNKNOWN
    log_ratio = p.log_density - p.log_prob
    estimate = mean_estimate(log_ratio, p.weights)
    if tail_index(log_ratio) > KHAT_RELIABLE:  # infinite from 0.5 on, but k-hat has an error of 0.1 to 0.2
        return Estimate(estimate.value, float("inf"))
    counted = p.masses.known and p.masses.covariance is None
    if counted or not np.isfinite(estimate.value):
        return estimate
    local = region_means(log_ratio, p)
    residual = log_ratio - np.nan_to_num(local)[p.mode]
    local = np.where(np.isnan(local), p.unvisited, local)
    within = mean_estimate(residual, p.weights).se
    local = np.where(np.isnan(local), estimate.value, local)
    return Estimate(estimate.value, float(np.hypot(within, function_of_masses_se(local, p.masses))))


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
    local = region_means(log_ratio, p) - log_evidence.value
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
    """Return the effective number of draws, those of all chains together."""
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
    """Apply the chain rule to KL(first‖second), given the mean log ratio by region, `local` (K + 1,), and its error."""
    w, v = first.mass, second.mass
    v_known = np.where(v > 0, v, np.minimum(second.upper, 1.0))
    has = w > 0
    log_ratio = np.zeros_like(w)
    log_ratio[has] = np.log(w[has] / v_known[has])
    between = float((w * log_ratio).sum())
    between_se = float(np.hypot(function_of_masses_se(log_ratio, first), function_of_masses_se(-w / v_known, second)))
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
    """Standard error of Σ w log(w / v) due to regions without draws of the first density: w is taken as 1/n there."""
    unseen = (first.mass == 0) & (v > 0)
    w = first.upper[unseen] / 3
    return float(np.linalg.norm(w * np.log(w / v[unseen])))
