"""Rényi's divergence of p from a fit, of any order between 0 and 1, and the log evidence that it needs."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from pymc_kl._typing import Array
from pymc_kl.approximations import Approximation
from pymc_kl.approximations.components import effective_number
from pymc_kl.model.draws import PosteriorDraws
from pymc_kl.numerics.estimate import Estimate, mean_estimate, systematic
from pymc_kl.reference.bridge_sampling import bridge
from pymc_kl.renyi.alpha_fit import GRADIENT_BELOW
from pymc_kl.renyi.problem import MixtureDraws, PathFit, PathProblem


@dataclass(frozen=True)
class AlphaDivergence:
    """D_α(p‖q)/α with its standard error, in nats, and the effective number of draws that the fit rests on."""

    value: float
    se: float
    ess: float


def alpha_divergence(fit: PathFit, alpha: float, problem: PathProblem, x: Array) -> AlphaDivergence:
    """Estimate D_α(p‖q)/α from draws x (n, d) of q and from the reference."""
    reference, log_evidence = problem.reference, problem.log_evidence
    at_q = problem.log_density(x) - fit.log_prob(x)
    at_p = reference.log_density - fit.log_prob(reference.flat).reshape(reference.log_density.shape)

    def estimate(log_z: float) -> Estimate:
        return _estimate(alpha, at_q - log_z, at_p - log_z, reference.weights)

    value, se = estimate(log_evidence.value)
    low, high = (estimate(log_evidence.value + sign * log_evidence.se).value for sign in (-1, 1))
    return AlphaDivergence(value, float(np.hypot(se, (high - low) / 2)), _effective_draws(fit, alpha, problem))


def _estimate(alpha: float, at_q: Array, at_p: Array, weights: Array | None) -> Estimate:
    """Estimate D_α(p‖q)/α from log p/q at draws of q (n,) and of p (chain, draw)."""
    if alpha == 0:
        return mean_estimate(-at_q)
    if alpha == 1:
        return mean_estimate(at_p, weights)
    log_overlap = _log_overlap(alpha, at_q, at_p, weights)
    return Estimate(-log_overlap.value / (alpha * (1 - alpha)), log_overlap.se / (alpha * (1 - alpha)))


def _log_overlap(alpha: float, at_q: Array, at_p: Array, weights: Array | None) -> Estimate:
    """Estimate log ∫ p^α q^(1-α) from log p/q at draws of q (n,) and of p (chain, draw), each where its own is higher.

    So no draw has a weight above 1, and modes without draws of q are seen by those of p. The same sums for the
    integrals of q and of p, which are known to be 1, are control variates (Owen and Zhou 2000).
    """
    powers = (alpha, 0, 1)
    terms_q = np.stack([np.exp(power * np.minimum(at_q, 0)) * (at_q <= 0) for power in powers])
    terms_p = np.stack([np.exp((power - 1) * np.maximum(at_p, 0)) * (at_p > 0) for power in powers])
    flat, used = terms_p.reshape(3, -1), None if weights is None else weights.ravel()
    mean = terms_q.mean(axis=1) + np.average(flat, axis=1, weights=used)
    covariance = np.cov(terms_q) / terms_q.shape[1]
    covariance += np.cov(flat, aweights=used) * (1 / flat.shape[1] if used is None else (used**2).sum())
    coefficients = np.linalg.pinv(covariance[1:, 1:], hermitian=True) @ covariance[1:, 0]
    contrast = np.array([1.0, *-coefficients])
    value = float(contrast @ mean + coefficients.sum())
    if not value > 0:
        return Estimate(float("nan"), float("inf"))
    errors = (mean_estimate(contrast @ terms_q).se, mean_estimate(np.tensordot(contrast, terms_p, 1), weights).se)
    return Estimate(float(np.log(value)), float(np.hypot(*errors)) / value)


def _effective_draws(fit: PathFit, alpha: float, problem: PathProblem) -> float:
    """Count the effective draws that a fit rests on."""
    if alpha >= GRADIENT_BELOW:
        weights = MixtureDraws.of(fit, alpha, problem).weights(fit, alpha)
    else:
        x = problem.draws_of(fit)
        weights = softmax(alpha * (problem.log_density(x) - fit.log_prob(x)))
    return float(1 / (weights**2).sum())


def log_evidence_of(
    q: Approximation, log_density: Callable[[Array], Array], reference: PosteriorDraws, x: Array
) -> Estimate:
    """Estimate log Z by bridge sampling between p and q, of which x (n, d) are draws."""
    from_q = log_density(x) - q.log_prob(x)
    from_p = reference.log_density.ravel() - q.log_prob(reference.flat)
    if (weights := reference.flat_weights) is not None:  # resample as many draws of equal weight as are effective
        from_p = from_p[systematic(weights, int(effective_number(weights)), np.random.default_rng(0))]
    return bridge(from_p, np.where(np.isfinite(from_q), from_q, -np.inf))[0]
