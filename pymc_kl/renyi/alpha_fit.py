"""Gaussians between the reverse and the forward KL: the best one at an α, and how far it is from p.

D_α(p‖q)/α = -log ∫ p^α q^(1-α) / (α (1-α)) tends to KL(q‖p) as α → 0 and to KL(p‖q) as α → 1. At its minima over
Gaussians, q has the moments of the tilted density p^α q^(1-α) (Minka 2005, Li and Turner 2016). For small α they are
found by gradient, as those of the ELBO are; beyond, by matching moments of draws of p and of q together, whose weights
p^α q^(1-α) / (α p + (1-α) q) are never above 1. At α = 1 those are the moments of the draws of p.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from pymc_kl._typing import Array
from pymc_kl.approximations import Approximation, FullRank, MeanField
from pymc_kl.approximations.components import effective_number
from pymc_kl.approximations.fullrank import unpack_factor
from pymc_kl.fitting.gaussian_elbo import GaussianRows, rows_of
from pymc_kl.fitting.points import LOWEST
from pymc_kl.model.draws import PosteriorDraws
from pymc_kl.model.target import Target
from pymc_kl.numerics.estimate import Estimate, mean_estimate, systematic
from pymc_kl.numerics.lbfgs import ValueAndGrad
from pymc_kl.reference.bridge_sampling import bridge

GRADIENT_BELOW = 0.25  # α; matching moments gains a factor of 1-α a step
MAX_STEPS = 300
MAX_EXTRAPOLATION = 4.0
SETTLED = 1e-9  # nats a dimension, in both directions, that a step of moment matching still moves

type PathFit = MeanField | FullRank


@dataclass(frozen=True, eq=False)
class PathProblem:
    """What every fit of a path shares.

    Attributes
    ----------
    target : Target
    reference : PosteriorDraws
        Draws that stand for p.
    z : array (n, d)
        Fixed standard normal points, which stand for q.
    log_evidence : Estimate
        log Z, nats.
    """

    target: Target
    reference: PosteriorDraws
    z: Array
    log_evidence: Estimate

    def log_density(self, x: Array) -> Array:
        """Evaluate log p̃ (n,), in nats; where it is not finite, as very low."""
        value = self.target.log_density(x)
        return np.where(np.isfinite(value), value, LOWEST)


def fit_at[G: PathFit](start: G, alpha: float, problem: PathProblem) -> G | None:
    """Follow a fit to the nearest minimum of D_α(p‖q); None where too few draws carry it to span a covariance."""
    return _climb(start, alpha, problem) if alpha < GRADIENT_BELOW else _match(start, alpha, problem)


def _climb[G: PathFit](start: G, alpha: float, problem: PathProblem) -> G:
    rows = rows_of([start])

    def loss(theta: Array) -> tuple[float, Array]:
        value, slope = tilted_bound(rows, theta, alpha, problem.target.log_density_and_grad, problem.z)
        return -value, -slope

    found = minimize(
        loss,
        np.zeros(rows.size),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MAX_STEPS, "maxcor": 20, "ftol": 1e-13, "gtol": 1e-7},
    )
    fit: G = rows.fit(found.x, 0)
    return fit


def tilted_bound(
    rows: GaussianRows, theta: Array, alpha: float, value_and_grad: ValueAndGrad, z: Array
) -> tuple[float, Array]:
    """Estimate log E_q[(p̃/q)^α]/α, the ELBO at α = 0, up to a constant, and its gradient in theta (P,)."""
    one = np.zeros(1, dtype=np.int64)
    with np.errstate(all="ignore"):  # a step may lead out of all bounds, and is taken back
        x, half_log_det = rows.draw(theta[None], one, z)
        value, grad = value_and_grad(x[0])
    good = np.isfinite(value) & np.isfinite(grad).all(axis=1)
    log_ratio = np.where(good, value, LOWEST) + 0.5 * (z**2).sum(axis=1)
    weights = softmax(alpha * log_ratio)
    pulled = weights[:, None] * np.where(good[:, None], grad, 0.0)
    slope = rows.pull_back(theta[None], one, pulled.sum(axis=0)[None], (pulled.T @ z)[None])
    return float(_power_mean(log_ratio, alpha) + half_log_det[0]), slope[0]


def _power_mean(log_ratio: Array, power: float) -> float:
    """Log of the power mean of ratios (n,): log E[ratio^power]/power, and E[log ratio] at power 0."""
    if power == 0:
        return float(log_ratio.mean())
    return float(logsumexp(power * log_ratio) - np.log(len(log_ratio))) / power


@dataclass(frozen=True, eq=False)
class Pooled:
    """Draws x (n, d) of p and q together as draws of their mixture α p + (1-α) q.

    `log_p` (n,) is log p there, `log_base` (n,) the log of what each counts for over the mixture's density.
    """

    x: Array
    log_p: Array
    log_base: Array

    @classmethod
    def of(cls, fit: PathFit, alpha: float, problem: PathProblem) -> "Pooled":
        """Pool the reference with points of a fit; draws of p count for α in all, those of q for the rest."""
        reference, z = problem.reference, problem.z
        at_q = fit.loc + z @ fit.scale_tril.T
        n, weights = len(reference.flat), reference.flat_weights
        share = alpha * (np.full(n, 1 / n) if weights is None else weights)
        mass = np.concatenate([share, np.full(len(z), (1 - alpha) / len(z))])
        x = np.concatenate([reference.flat, at_q])
        log_density = np.concatenate([reference.log_density.ravel(), problem.log_density(at_q)])
        log_p = log_density - problem.log_evidence.value
        with np.errstate(divide="ignore"):
            mixture = np.logaddexp(np.log(alpha) + log_p, np.log1p(-alpha) + fit.log_prob(x))
            log_base = np.log(mass) - mixture
        kept = mass > 0
        return cls(x[kept], log_p[kept], log_base[kept])

    def tilt(self, fit: PathFit, alpha: float) -> Array:
        """Weigh the draws (n,) as draws of p^α q^(1-α)."""
        return softmax(self.log_base + alpha * self.log_p + (1 - alpha) * fit.log_prob(self.x))


def _match[G: PathFit](start: G, alpha: float, problem: PathProblem) -> G | None:
    """Match the moments of the tilted density until they stay, on points that are drawn anew as q moves.

    By Jensen's inequality each match minorises log ∫ p^α q^(1-α) as a function of q, and climbs it, but by a factor
    of 1-α a step; so every two steps are extrapolated (SQUAREM, Varadhan and Roland 2008).
    """
    fit = start
    for _ in range(MAX_STEPS):
        steps = [fit]
        for _ in range(2):
            new = _step(steps[-1], alpha, problem)
            if new is None:
                return None
            if divergence(new, steps[-1]) < SETTLED * fit.d:
                return new
            steps.append(new)
        fit = _extrapolated(*steps)
    return fit


def _step[G: PathFit](fit: G, alpha: float, problem: PathProblem) -> G | None:
    """Give a fit the moments of p^α q^(1-α); None where too few points carry it."""
    pooled = Pooled.of(fit, alpha, problem)
    tilt = pooled.tilt(fit, alpha)
    if 1 / (tilt**2).sum() < fit.d + 1:
        return None
    new = type(fit).fit_forward(pooled.x, tilt)
    return _unpacked(fit, _packed(new))


def _extrapolated[G: PathFit](first: G, second: G, third: G) -> G:
    """Go on from three points of a sequence to where it tends, no further than a factor of MAX_EXTRAPOLATION."""
    points = [_packed(fit) for fit in (first, second, third)]
    step, bend = points[1] - points[0], points[2] - 2 * points[1] + points[0]
    length = float(np.clip(np.linalg.norm(step) / max(float(np.linalg.norm(bend)), 1e-300), 1, MAX_EXTRAPOLATION))
    return _unpacked(first, points[0] + 2 * length * step + length**2 * bend)


def _packed(fit: PathFit) -> Array:
    """Mean, and Cholesky factor with the logarithm of its diagonal, in one array."""
    if isinstance(fit, MeanField):
        return np.concatenate([fit.loc, np.log(fit.scale)])
    factor = np.tril(fit.scale_tril, -1) + np.diag(np.log(np.diag(fit.scale_tril)))
    return np.concatenate([fit.loc, factor[np.tril_indices(fit.d)]])


def _unpacked[G: PathFit](like: G, packed: Array) -> G:
    d = like.d
    if isinstance(like, MeanField):
        return replace(like, loc=packed[:d], scale=np.exp(packed[d:]))
    return replace(like, loc=packed[:d], scale_tril=unpack_factor(packed[d:], d))


@dataclass(frozen=True)
class Distance:
    """D_α(p‖q)/α with its standard error, in nats, and how many points' worth of weight carry the fit."""

    value: float
    se: float
    ess: float


def distance(fit: PathFit, alpha: float, problem: PathProblem, x: Array) -> Distance:
    """Estimate D_α(p‖q)/α from draws x (n, d) of q and from the reference."""
    reference, log_evidence = problem.reference, problem.log_evidence
    at_q = problem.log_density(x) - fit.log_prob(x)
    at_p = reference.log_density - fit.log_prob(reference.flat).reshape(reference.log_density.shape)

    def estimate(log_z: float) -> Estimate:
        if alpha == 0:
            return mean_estimate(log_z - at_q)
        if alpha == 1:
            return mean_estimate(at_p - log_z, reference.weights)
        log_overlap = _log_overlap(alpha, at_q - log_z, at_p - log_z, reference.weights)
        return Estimate(-log_overlap.value / (alpha * (1 - alpha)), log_overlap.se / (alpha * (1 - alpha)))

    value, se = estimate(log_evidence.value)
    low, high = (estimate(log_evidence.value + sign * log_evidence.se).value for sign in (-1, 1))
    return Distance(value, float(np.hypot(se, (high - low) / 2)), _carrying(fit, alpha, problem))


def _log_overlap(alpha: float, at_q: Array, at_p: Array, weights: Array | None) -> Estimate:
    """Estimate log ∫ p^α q^(1-α) from log p/q at draws of q (n,) and of p (chain, draw), each where its own is higher.

    So no draw counts for more than 1, and a mode that q's draws never reach is seen by those of p. That the same sums
    of p and of q are 1 is known: as control variates they take away what is common to all three.
    """
    in_q, in_p = at_q <= 0, at_p > 0
    sum_q = np.stack([np.exp(power * np.minimum(at_q, 0)) * in_q for power in (alpha, 0, 1)])
    sum_p = np.stack([np.exp((power - 1) * np.maximum(at_p, 0)) * in_p for power in (alpha, 0, 1)])
    flat = sum_p.reshape(3, -1)
    mean = sum_q.mean(axis=1) + np.average(flat, axis=1, weights=None if weights is None else weights.ravel())
    spread = np.cov(sum_q) / sum_q.shape[1]
    used = None if weights is None else weights.ravel()
    spread += np.cov(flat, aweights=used) * (1 / flat.shape[1] if used is None else (used**2).sum())
    part = np.linalg.pinv(spread[1:, 1:], hermitian=True) @ spread[1:, 0]
    contrast = np.array([1.0, *-part])
    value = float(contrast @ mean + part.sum())
    errors = (mean_estimate(contrast @ sum_q).se, mean_estimate(np.tensordot(contrast, sum_p, 1), weights).se)
    if not value > 0:
        return Estimate(float("nan"), float("inf"))
    return Estimate(float(np.log(value)), float(np.hypot(*errors)) / value)


def _carrying(fit: PathFit, alpha: float, problem: PathProblem) -> float:
    """Effective number of the points that a fit rests on."""
    if alpha >= GRADIENT_BELOW:
        return float(1 / (Pooled.of(fit, alpha, problem).tilt(fit, alpha) ** 2).sum())
    x = fit.loc + problem.z @ fit.scale_tril.T
    weights = softmax(alpha * (problem.log_density(x) - fit.log_prob(x)))
    return float(1 / (weights**2).sum())


def log_evidence_of(q: Approximation, log_density: Any, reference: PosteriorDraws, x: Array) -> Estimate:
    """Estimate log Z by bridge sampling between p and q, of which x (n, d) are draws."""
    from_q = log_density(x) - q.log_prob(x)
    from_p = reference.log_density.ravel() - q.log_prob(reference.flat)
    if (weights := reference.flat_weights) is not None:  # as many draws of equal weight as they are worth
        from_p = from_p[systematic(weights, int(effective_number(weights)), np.random.default_rng(0))]
    return bridge(from_p, np.where(np.isfinite(from_q), from_q, -np.inf))[0]


def divergence(one: PathFit, two: PathFit) -> float:
    """KL in both directions between two normals, added, in nats."""
    step = one.loc - two.loc
    total = -2.0 * one.d
    for first, second in ((one, two), (two, one)):
        whitened = solve_triangular(second.scale_tril, np.column_stack([first.scale_tril, step]), lower=True)
        total += float((whitened**2).sum())
    return 0.5 * total
