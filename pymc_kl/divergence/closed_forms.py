"""KL(p‖q) in closed form, in nats: one function a family, one registry line a pair of families.

A formula takes the two densities and returns one divergence for each independent entry of the variable;
`closed_form` adds the entries up. Parameters are those of the operator: a gamma has a scale.
"""

from collections.abc import Callable

import numpy as np
from pymc.distributions.continuous import WeibullBetaRV
from pytensor.tensor.random import basic as rv
from scipy.special import betaln, digamma, gammaln, kl_div, rel_entr
from scipy.special import gamma as gamma_function

from pymc_kl._typing import Array
from pymc_kl.approximations.fullrank import FullRank
from pymc_kl.approximations.meanfield import MeanField
from pymc_kl.divergence.densities import Density

type ClosedForm = Callable[[Density, Density], Array]


def closed_form(p: Density, q: Density) -> float | None:
    """Compute KL(p‖q), or None for a pair that the registry doesn't hold."""
    formula = CLOSED_FORMS.get((p.family, q.family))
    if formula is None:
        return None
    with np.errstate(all="ignore"):
        entries = formula(p, q)
    batch = p.shape[: len(p.shape) - max(p.ndim_supp, q.ndim_supp)]
    divergence = float(np.broadcast_to(entries, batch).sum())
    if np.isnan(divergence):
        raise ValueError(
            f"the parameters of p ({p.name}) and q ({q.name}) must be finite and inside their ranges; "
            f"got {_listed(p)} and {_listed(q)}."
        )
    return divergence


def _listed(density: Density) -> str:
    return ", ".join(np.array2string(parameter, threshold=6) for parameter in density.parameters)


def normal(p: Density, q: Density) -> Array:
    """Compare normals (also log-normals: KL is invariant under a change of variable)."""
    (loc_p, sd_p), (loc_q, sd_q) = p.parameters, q.parameters
    return np.log(sd_q / sd_p) + (sd_p**2 + (loc_p - loc_q) ** 2) / (2 * sd_q**2) - 0.5


def multivariate_normal(p: Density, q: Density) -> Array:
    """Compare Gaussians of any covariance, through their Cholesky factors."""
    (loc_p, tril_p), (loc_q, tril_q) = _loc_and_tril(p), _loc_and_tril(q)
    whitened = np.linalg.solve(tril_q, tril_p)
    shift = np.linalg.solve(tril_q, (loc_p - loc_q)[..., None])
    squares = (whitened**2).sum(axis=(-2, -1)) + (shift**2).sum(axis=(-2, -1))
    log_det_ratio = _log_diagonal(tril_q) - _log_diagonal(tril_p)
    return np.asarray(log_det_ratio + 0.5 * (squares - tril_p.shape[-1]))


def _log_diagonal(tril: Array) -> Array:
    """Compute the log determinant of a Cholesky factor."""
    log_diagonal: Array = np.log(np.diagonal(tril, axis1=-2, axis2=-1))
    return np.asarray(log_diagonal.sum(axis=-1))


def _loc_and_tril(density: Density) -> tuple[Array, Array]:
    """Express any Gaussian by its location (..., d) and the Cholesky factor (..., d, d) of its covariance."""
    loc, scale = density.parameters
    if density.family in (rv.NormalRV, MeanField):
        scale = np.broadcast_to(scale, density.shape)[..., None] * np.eye(density.shape[-1])
    elif density.family is rv.MvNormalRV:
        scale = np.linalg.cholesky(scale)
    return np.broadcast_to(loc, density.shape), scale


def gamma(p: Density, q: Density) -> Array:
    """Compare gammas; an exponential is a gamma of shape 1."""
    return _gamma(*_shape_and_scale(p), *_shape_and_scale(q))


def inverse_gamma(p: Density, q: Density) -> Array:
    """Compare the gammas that the reciprocals follow."""
    (alpha_p, beta_p), (alpha_q, beta_q) = p.parameters, q.parameters
    return _gamma(alpha_p, 1 / beta_p, alpha_q, 1 / beta_q)


def _shape_and_scale(density: Density) -> tuple[Array, Array]:
    *alpha, scale = density.parameters
    return (alpha[0] if alpha else np.ones(())), scale


def _gamma(alpha_p: Array, scale_p: Array, alpha_q: Array, scale_q: Array) -> Array:
    ratio = scale_p / scale_q
    return (
        (alpha_p - alpha_q) * digamma(alpha_p)
        + gammaln(alpha_q)
        - gammaln(alpha_p)
        - alpha_q * np.log(ratio)
        + alpha_p * (ratio - 1)
    )


def beta(p: Density, q: Density) -> Array:
    """Compare betas."""
    (a_p, b_p), (a_q, b_q) = p.parameters, q.parameters
    return (
        betaln(a_q, b_q)
        - betaln(a_p, b_p)
        + (a_p - a_q) * digamma(a_p)
        + (b_p - b_q) * digamma(b_p)
        + (a_q - a_p + b_q - b_p) * digamma(a_p + b_p)
    )


def dirichlet(p: Density, q: Density) -> Array:
    """Compare Dirichlets over the simplex."""
    [a_p], [a_q] = p.parameters, q.parameters
    total_p, total_q = a_p.sum(axis=-1), a_q.sum(axis=-1)
    log_x = digamma(a_p) - digamma(total_p)[..., None]
    normaliser = gammaln(total_p) - gammaln(total_q)
    return normaliser + (gammaln(a_q) - gammaln(a_p) + (a_p - a_q) * log_x).sum(axis=-1)


def half_normal(p: Density, q: Density) -> Array:
    """Compare half-normals of the same location, as PyMC's all are (0)."""
    (_, sd_p), (_, sd_q) = p.parameters, q.parameters
    return np.log(sd_q / sd_p) + sd_p**2 / (2 * sd_q**2) - 0.5


def laplace(p: Density, q: Density) -> Array:
    """Compare Laplace distributions."""
    (loc_p, b_p), (loc_q, b_q) = p.parameters, q.parameters
    distance = np.abs(loc_p - loc_q)
    return np.log(b_q / b_p) + (distance + b_p * np.exp(-distance / b_p)) / b_q - 1


def weibull(p: Density, q: Density) -> Array:
    """Compare Weibulls."""
    (shape_p, scale_p), (shape_q, scale_q) = p.parameters, q.parameters
    log_hazard = np.log(shape_p / shape_q) - shape_p * np.log(scale_p) + shape_q * np.log(scale_q)
    log_x = (shape_p - shape_q) * (np.log(scale_p) - np.euler_gamma / shape_p)
    return log_hazard + log_x + (scale_p / scale_q) ** shape_q * gamma_function(shape_q / shape_p + 1) - 1


def uniform(p: Density, q: Density) -> Array:
    """Compare uniforms: infinite where p reaches out of q."""
    (lower_p, upper_p), (lower_q, upper_q) = p.parameters, q.parameters
    inside = (lower_q <= lower_p) & (upper_p <= upper_q)
    return np.where(inside, np.log((upper_q - lower_q) / (upper_p - lower_p)), np.inf)


def bernoulli(p: Density, q: Density) -> Array:
    """Compare probabilities of 1 and of 0, each known to full precision."""
    (one_p, zero_p), (one_q, zero_q) = p.parameters, q.parameters
    return rel_entr(one_p, one_q) + rel_entr(zero_p, zero_q)


def geometric(p: Density, q: Density) -> Array:
    """Compare the numbers of Bernoulli trials up to the first success, of which p takes 1/p on average."""
    [success_p], [success_q] = p.parameters, q.parameters
    return (rel_entr(success_p, success_q) + rel_entr(1 - success_p, 1 - success_q)) / success_p


def poisson(p: Density, q: Density) -> Array:
    """Compare Poissons."""
    [rate_p], [rate_q] = p.parameters, q.parameters
    return kl_div(rate_p, rate_q)


def categorical(p: Density, q: Density) -> Array:
    """Compare probabilities; a category that one of them lacks has probability 0 there."""
    [weights_p], [weights_q] = p.parameters, q.parameters
    categories = max(weights_p.shape[-1], weights_q.shape[-1])
    return rel_entr(_padded(weights_p, categories), _padded(weights_q, categories)).sum(axis=-1)


def _padded(weights: Array, categories: int) -> Array:
    missing = categories - weights.shape[-1]
    return np.pad(weights, [(0, 0)] * (weights.ndim - 1) + [(0, missing)])


INDEPENDENT_NORMALS = (rv.NormalRV, MeanField)
CORRELATED_NORMALS = (rv.MvNormalRV, FullRank)
GAUSSIANS = INDEPENDENT_NORMALS + CORRELATED_NORMALS

CLOSED_FORMS: dict[tuple[type, type], ClosedForm] = {
    **{(p, q): multivariate_normal for p in GAUSSIANS for q in GAUSSIANS},
    **{(p, q): normal for p in INDEPENDENT_NORMALS for q in INDEPENDENT_NORMALS},
    **{(p, q): gamma for p in (rv.GammaRV, rv.ExponentialRV) for q in (rv.GammaRV, rv.ExponentialRV)},
    (rv.LogNormalRV, rv.LogNormalRV): normal,
    (rv.InvGammaRV, rv.InvGammaRV): inverse_gamma,
    (rv.BetaRV, rv.BetaRV): beta,
    (rv.DirichletRV, rv.DirichletRV): dirichlet,
    (rv.HalfNormalRV, rv.HalfNormalRV): half_normal,
    (rv.LaplaceRV, rv.LaplaceRV): laplace,
    (rv.UniformRV, rv.UniformRV): uniform,
    (WeibullBetaRV, WeibullBetaRV): weibull,
    (rv.BernoulliRV, rv.BernoulliRV): bernoulli,
    (rv.GeometricRV, rv.GeometricRV): geometric,
    (rv.PoissonRV, rv.PoissonRV): poisson,
    (rv.CategoricalRV, rv.CategoricalRV): categorical,
}
