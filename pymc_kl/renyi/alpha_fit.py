"""The Gaussian that minimises Rényi's divergence D_α(p‖q), between the reverse KL (α → 0) and the forward (α → 1).

D_α(p‖q)/α = -log ∫ p^α q^(1-α) / (α (1-α)) tends to KL(q‖p) as α → 0 and to KL(p‖q) as α → 1. At its minima over
Gaussians, q has the moments of the density proportional to p^α q^(1-α) [1]_. For small α they are found by gradient
[2]_, as those of the ELBO are; beyond, by matching moments of draws of p and of q together, whose importance weights
p^α q^(1-α) / (α p + (1-α) q) are never above 1. At α = 1 those are the moments of the draws of p.

References
----------
.. [1] Minka, T. (2005). Divergence measures and message passing. Microsoft Research, MSR-TR-2005-173.
.. [2] Li, Y. and Turner, R. E. (2016). Rényi divergence variational inference. NeurIPS 29.
   https://arxiv.org/abs/1602.02311
"""

from dataclasses import replace

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from pymc_kl._typing import Array
from pymc_kl.approximations import MeanField
from pymc_kl.approximations.fullrank import unpack_factor
from pymc_kl.fitting.gaussian_elbo import GaussianRows, rows_of
from pymc_kl.fitting.points import finite_value_and_grad
from pymc_kl.numerics.lbfgs import ValueAndGrad
from pymc_kl.renyi.problem import MixtureDraws, PathFit, PathProblem

GRADIENT_BELOW = 0.25  # α below which fits are found by gradient: moment matching is slow there, 1-α a step; our choice
MAX_ALPHA_STEPS = 300  # most steps, of L-BFGS or of moment matching; our choice
MAX_EXTRAPOLATION = 4.0  # longest step of SQUAREM, as a multiple of a step of moment matching; our choice
MATCHED_WITHIN = 1e-9  # nats of Jeffreys' divergence a dimension: moment matching ends after a smaller step; our choice


def fit_at[G: PathFit](start: G, alpha: float, problem: PathProblem) -> G | None:
    """Follow a fit to the nearest minimum of D_α(p‖q); None where draws are too few for a covariance."""
    return _climb(start, alpha, problem) if alpha < GRADIENT_BELOW else _match(start, alpha, problem)


def _climb[G: PathFit](start: G, alpha: float, problem: PathProblem) -> G:
    """Minimise by L-BFGS from where a fit stands."""
    rows = rows_of([start])

    def loss(theta: Array) -> tuple[float, Array]:
        value, slope = renyi_bound(rows, theta, alpha, problem.target.log_density_and_grad, problem.z)
        return -value, -slope

    found = minimize(
        loss,
        np.zeros(rows.size),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MAX_ALPHA_STEPS, "maxcor": 20, "ftol": 1e-13, "gtol": 1e-7},
    )
    fit: G = rows.fit(found.x, 0)
    return fit


def renyi_bound(
    rows: GaussianRows, theta: Array, alpha: float, value_and_grad: ValueAndGrad, z: Array
) -> tuple[float, Array]:
    """Estimate log E_q[(p̃/q)^α]/α, the ELBO at α = 0, up to a constant, and its gradient in theta (P,)."""
    one = np.zeros(1, dtype=np.int64)
    with np.errstate(all="ignore"):  # a step may overflow: it is then shortened
        x, half_log_det = rows.draw(theta[None], one, z)
        value, grad = finite_value_and_grad(value_and_grad, x[0])
    log_ratio = value + 0.5 * (z**2).sum(axis=1)
    pulled = softmax(alpha * log_ratio)[:, None] * grad
    slope = rows.pull_back(theta[None], one, pulled.sum(axis=0)[None], len(z) * rows.by_noise(pulled[None], z))
    return float(_power_mean(log_ratio, alpha) + half_log_det[0]), slope[0]


def _power_mean(log_ratio: Array, power: float) -> float:
    """Log of the power mean of ratios (n,): log E[ratio^power]/power, and E[log ratio] at power 0."""
    if power == 0:
        return float(log_ratio.mean())
    return float(logsumexp(power * log_ratio) - np.log(len(log_ratio))) / power


def _match[G: PathFit](start: G, alpha: float, problem: PathProblem) -> G | None:
    """Match the moments of p^α q^(1-α) until they no longer change; draws of q are made anew in each step.

    By Jensen's inequality each step raises log ∫ p^α q^(1-α) (an MM algorithm), but the distance to the optimum shrinks
    only by a factor of about 1-α; so every two steps are extrapolated by SQUAREM [1]_.

    References
    ----------
    .. [1] Varadhan, R. and Roland, C. (2008). Simple and globally convergent methods for accelerating the convergence
       of any EM algorithm. Scandinavian Journal of Statistics 35(2), 335-353. doi:10.1111/j.1467-9469.2007.00585.x
    """
    fit = start
    for _ in range(MAX_ALPHA_STEPS):
        steps = [fit]
        for _ in range(2):
            new = _step(steps[-1], alpha, problem)
            if new is None:
                return None
            if jeffreys_divergence(new, steps[-1]) < MATCHED_WITHIN * fit.d:
                return new
            steps.append(new)
        fit = _extrapolated(*steps)
    return fit


def _step[G: PathFit](fit: G, alpha: float, problem: PathProblem) -> G | None:
    """Give a fit the moments of p^α q^(1-α); None where too few effective draws are left for a covariance."""
    draws = MixtureDraws.of(fit, alpha, problem)
    weights = draws.weights(fit, alpha)
    if 1 / (weights**2).sum() < fit.d + 1:
        return None
    return _unpacked(fit, _packed(type(fit).fit_forward(draws.x, weights)))


def _extrapolated[G: PathFit](first: G, second: G, third: G) -> G:
    """Extrapolate three fits of a sequence to where it tends, by at most MAX_EXTRAPOLATION steps."""
    points = [_packed(fit) for fit in (first, second, third)]
    step, bend = points[1] - points[0], points[2] - 2 * points[1] + points[0]
    length = float(np.clip(np.linalg.norm(step) / max(float(np.linalg.norm(bend)), 1e-300), 1, MAX_EXTRAPOLATION))
    return _unpacked(first, points[0] + 2 * length * step + length**2 * bend)


def _packed(fit: PathFit) -> Array:
    """Put the mean, and the Cholesky factor with the logarithm of its diagonal, in one array."""
    if isinstance(fit, MeanField):
        return np.concatenate([fit.loc, np.log(fit.scale)])
    factor = np.tril(fit.scale_tril, -1) + np.diag(np.log(np.diag(fit.scale_tril)))
    return np.concatenate([fit.loc, factor[np.tril_indices(fit.d)]])


def _unpacked[G: PathFit](like: G, packed: Array) -> G:
    d = like.d
    if isinstance(like, MeanField):
        return replace(like, loc=packed[:d], scale=np.exp(packed[d:]))
    return replace(like, loc=packed[:d], scale_tril=unpack_factor(packed[d:], d))


def jeffreys_divergence(one: PathFit, two: PathFit) -> float:
    """Compute KL in both directions between two normals, added, in nats."""
    step = one.loc - two.loc
    total = -2.0 * one.d
    for first, second in ((one, two), (two, one)):
        whitened = solve_triangular(second.scale_tril, np.column_stack([first.scale_tril, step]), lower=True)
        total += float((whitened**2).sum())
    return 0.5 * total
