"""Divergences between p and an approximation q, in both directions, without clamping, each with its standard error.

numpy inside, draws in, numbers out; nothing here knows a model.
"""

import numpy as np

from pymc_kl._typing import Array, BoolArray
from pymc_kl.modes.masses import Masses
from pymc_kl.numerics.estimate import UNKNOWN, Estimate, effective_size, mean_estimate
from pymc_kl.numerics.intervals import RULE_OF_THREE
from pymc_kl.numerics.tails import tailed_mean
from pymc_kl.scores.draws import ApproximationDraws, ReferenceDraws, function_of_masses_se, region_means


def elbo(q: ApproximationDraws, p: Masses, log_evidence: Estimate) -> Estimate:
    """E_q[log p̃ - log q] in nats; its error is infinite where the terms' tail is too heavy for a finite variance.

    Where q has no draws in a mode of p, what it may hold there adds to the error: see :func:`unseen_gain`.
    """
    if q.log_prob is None:
        return UNKNOWN
    drawn = tailed_mean(q.log_density - q.log_prob, heavy="lower", foreign=q.log_density)
    unseen = unseen_gain(p, q.masses, log_evidence.value - drawn.value)
    return Estimate(drawn.value, float(np.hypot(drawn.se, unseen)))


def unseen_gain(p: Masses, q: Masses, reverse_kl: float) -> float:
    """Bound what q adds to its ELBO in the modes where none of its draws fell, were it a draw's worth of mass v each.

    Over a mode, log p̃ - log q averages log Z + log(w / v) at the most, by Jensen's inequality; the ELBO is log Z less
    the reverse KL, nats, which counts as 0 where it is not known.
    """
    w = (p.mass if p.known else np.minimum(p.upper, 1.0))[:-1]
    v = q.upper[:-1] / RULE_OF_THREE
    unseen = (q.mass[:-1] == 0) & (w > v)
    most = np.log(w[unseen] / v[unseen]) + max(np.nan_to_num(reverse_kl, posinf=0.0), 0.0)
    return float((v[unseen] * most).sum())


def eubo(p: ReferenceDraws) -> Estimate:
    """E_p[log p̃ - log q] in nats.

    Where the masses do not come from counting draws, their errors add to that of the expectation, by the delta
    method. Where the tail of log p̃ - log q is too heavy for a finite variance, the error is infinite.
    """
    return forward_kl(p, Estimate(0.0, 0.0))


def forward_kl(p: ReferenceDraws, log_evidence: Estimate) -> Estimate:
    """KL(p‖q) = EUBO - log Z, in nats; never clamped at zero.

    Where masses and log Z come from the same normalising constants Z_k, these enter both terms: the derivative by
    log Z_k is w_k (e_k - EUBO - 1), with e_k the mean of log p̃ - log q over the region.
    """
    return expected_log_ratio(p, log_evidence, np.zeros(len(p.masses.mass)))


def reverse_kl(q: ApproximationDraws, p: Masses, log_evidence: Estimate) -> Estimate:
    """KL(q‖p) = log Z - ELBO, in nats; never clamped at zero."""
    lower = elbo(q, p, log_evidence)
    return Estimate(log_evidence.value - lower.value, float(np.hypot(lower.se, log_evidence.se)))


def expected_log_ratio(p: ReferenceDraws, log_evidence: Estimate, offset: Array) -> Estimate:
    """E_p[log p̃ - log q - offset] - log Z in nats, with an offset for each region (K + 1,)."""
    if p.log_prob is None:
        return UNKNOWN
    terms = p.log_density - p.log_prob - offset[p.mode]
    value = mean_estimate(terms, p.weights).value
    counted = p.masses.known and p.masses.covariance is None
    if counted or not np.isfinite(value):
        drawn, others = tailed_mean(terms, p.weights, foreign=p.log_prob, regions=p.mode).se, log_evidence.se
    else:
        local = region_means(terms, p)
        foreign = p.log_prob - np.nan_to_num(region_means(p.log_prob, p))[p.mode]
        drawn = tailed_mean(terms - np.nan_to_num(local)[p.mode], p.weights, foreign=foreign, regions=p.mode).se
        local = np.where(np.isnan(local), p.unvisited - offset, local)
        slope = np.where(np.isnan(local), value, local)
        others = function_of_masses_se(slope, p.masses, -log_evidence.se)
    errors = (drawn, others, fit_se(p, np.ones(terms.shape, dtype=bool)))
    return Estimate(value - log_evidence.value, float(np.linalg.norm(errors)))


def fit_se(p: ReferenceDraws, inside: BoolArray) -> float:
    """Standard error of the mean of log q over some draws (chain, draw) of p, because q was fitted to the same."""
    if p.fit_variance is None or p.log_prob is None:
        return 0.0
    w = np.where(inside, 1.0 if p.weights is None else p.weights, 0.0)
    efficiency = effective_size(p.log_density - p.log_prob) / w.size if p.weights is None else 1.0
    return float(np.sqrt(max(((w / w.sum()) ** 2 * p.fit_variance).sum() / efficiency, 0.0)))
