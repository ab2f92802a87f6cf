"""The chain rule of both divergences over modes: what is lost between regions, and within each.

Arrays over regions have K + 1 entries: the K modes and, last, everywhere else, so that every distribution over regions
sums to 1.
"""

from dataclasses import dataclass

import numpy as np

from pymc_kl._typing import Array, BoolArray
from pymc_kl.modes.masses import Masses
from pymc_kl.numerics.estimate import UNKNOWN, Estimate, effective_size
from pymc_kl.numerics.intervals import RULE_OF_THREE
from pymc_kl.numerics.tails import Heavy, tailed_mean
from pymc_kl.scores.divergences import expected_log_ratio, fit_se, forward_kl, reverse_kl
from pymc_kl.scores.draws import (
    ApproximationDraws,
    ReferenceDraws,
    function_of_masses_se,
    log_mass_se,
    region_means,
)


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


@dataclass(frozen=True, eq=False)
class _Between:
    """Σ w log(w / v) over regions (K + 1,), with v at its upper bound where no draw fell."""

    kl: Estimate
    log_ratio: Array
    v: Array
    is_bound: bool
    on_both_sides: BoolArray


def forward_chain_rule(p: ReferenceDraws, q: ApproximationDraws, log_evidence: Estimate) -> ChainRule:
    """Split KL(p‖q) = Σ w_k log(w_k / v_k) + Σ w_k KL(p_k‖q_k)."""
    total, between = forward_kl(p, log_evidence), _between(p.masses, q.masses)
    if p.log_prob is None:
        return _split(total, between, UNKNOWN.se, None, None)
    errors = (
        expected_log_ratio(p, log_evidence, between.log_ratio).se,
        function_of_masses_se(p.masses.mass / between.v, q.masses),
        _unseen_se(p.masses, between.v),
    )
    local = region_means(p.log_density - p.log_prob, p) - log_evidence.value
    local_se = np.hypot(_forward_region_se(p), _log_masses_se(p, q, log_evidence))
    return _split(total, between, float(np.linalg.norm(errors)), local, local_se)


def reverse_chain_rule(p: ReferenceDraws, q: ApproximationDraws, log_evidence: Estimate) -> ChainRule:
    """Split KL(q‖p) = Σ v_k log(v_k / w_k) + Σ v_k KL(q_k‖p_k)."""
    total, between = reverse_kl(q, p.masses, log_evidence), _between(q.masses, p.masses)
    if q.log_prob is None:
        return _split(total, between, UNKNOWN.se, None, None)
    log_ratio = q.log_prob - q.log_density
    errors = (
        tailed_mean(log_ratio - between.log_ratio[q.mode], heavy="upper", foreign=q.log_density).se,
        function_of_masses_se(q.masses.mass / between.v, p.masses, log_evidence.se),
        _unseen_se(q.masses, between.v),
    )
    inside = [q.mode == k for k in range(len(between.v))]
    regions = [_mean(log_ratio[rows], q.log_density[rows], heavy="upper") for rows in inside]
    local, local_se = np.array(regions).T
    local_se = np.hypot(local_se, _log_masses_se(p, q, log_evidence))
    return _split(total, between, float(np.linalg.norm(errors)), local + log_evidence.value, local_se)


def _mean(values: Array, foreign: Array, weights: Array | None = None, *, heavy: Heavy = "either") -> Estimate:
    """Estimate the mean of log(first / second) over a region of the first; without an error from one draw."""
    if len(values) < 2:
        return Estimate(float(values[0]) if len(values) else UNKNOWN.value, UNKNOWN.se)
    return tailed_mean(values, weights, heavy=heavy, foreign=foreign)


def _forward_region_se(p: ReferenceDraws) -> Array:
    """Standard error (K + 1,) of the mean of log p̃ - log q in each region: that of the draws, and of a fit to them."""
    if p.log_prob is None:
        return np.full(len(p.masses.mass), np.nan)
    log_ratio = p.log_density - p.log_prob
    efficiency = effective_size(log_ratio) / log_ratio.size if p.weights is None else 1.0
    se = np.full(len(p.masses.mass), np.nan)
    for k in range(len(se)):
        inside = p.mode == k if p.weights is None else (p.mode == k) & (p.weights > 0)
        if inside.sum() > 1:
            weights = None if p.weights is None else p.weights[inside]
            drawn = _mean(log_ratio[inside], p.log_prob[inside], weights).se
            se[k] = np.hypot(drawn / np.sqrt(efficiency), fit_se(p, inside))
    return se


def _log_masses_se(p: ReferenceDraws, q: ApproximationDraws, log_evidence: Estimate) -> Array:
    """Standard error (K + 1,) of log Z_k - log v_k, nats."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.hypot(log_mass_se(p.masses, log_evidence.se), q.masses.se / q.masses.mass)


def _between(first: Masses, second: Masses) -> _Between:
    """Compute KL(first‖second) between the masses of the regions."""
    w, v = first.mass, np.where(second.mass > 0, second.mass, np.minimum(second.upper, 1.0))
    has = w > 0
    log_ratio = np.zeros_like(w)
    log_ratio[has] = np.log(w[has] / v[has])
    errors = (
        function_of_masses_se(log_ratio, first),
        function_of_masses_se(-w / v, second),
        _unseen_se(first, v),
    )
    kl = Estimate(float((w * log_ratio).sum()), float(np.linalg.norm(errors)))
    return _Between(kl, log_ratio, v, bool((has & (second.mass == 0)).any()), has & (second.mass > 0))


def _split(total: Estimate, between: _Between, se: float, local: Array | None, local_se: Array | None) -> ChainRule:
    """Take what is lost between regions from a divergence; `local` (K + 1,) is its mean log ratio by region."""
    each, each_se = np.full_like(between.v, np.nan), np.full_like(between.v, np.nan)
    if local is not None and local_se is not None:
        both = between.on_both_sides
        each[both], each_se[both] = (local - between.log_ratio)[both], local_se[both]
    within = Estimate(total.value - between.kl.value, se)
    return ChainRule(between.kl, within, each, each_se, between.is_bound)


def _unseen_se(first: Masses, v: Array) -> float:
    """Standard error of Σ w log(w / v) due to regions without draws of the first density: w is taken as 1/n there."""
    unseen = (first.mass == 0) & (v > 0)
    w = first.upper[unseen] / RULE_OF_THREE
    return float(np.linalg.norm(w * np.log(w / v[unseen])))
