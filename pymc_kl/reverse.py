"""Our own reverse-KL fits: maximise the ELBO deterministically from where a fit stands.

The expectation is taken over fixed standard normal draws whose mean and covariance are exactly 0 and I, so
that the ELBO of a Gaussian target is maximised exactly and a quasi-Newton method can be used (Giordano,
Ingram and Broderick 2024, https://jmlr.org/papers/v25/23-1015.html).
"""

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.stats.qmc import MultivariateNormalQMC

from pymc_kl._typing import Array, RandomSeed
from pymc_kl.approximations import FullRank, MeanField
from pymc_kl.climb import ValueAndGrad
from pymc_kl.estimates import Estimate, mean_estimate

type Gaussian = MeanField | FullRank

FIT_DRAWS = 512  # fixed points on which the ELBO is maximised, at least; 6 or 12 a dimension if that is more
CHECK_DRAWS = 4000  # fresh draws on which the gain is measured
ELBO_GAP_TOLERANCE = 0.1  # nats: a mean that is off by 0.45 standard deviations in one dimension
GAIN_TOLERANCE = 1e-6  # nats that a step must gain for another to follow
LOWEST = -1e10  # nats; stands for a log density that is not finite


@dataclass(frozen=True, eq=False)
class Convergence:
    """Whether a reverse-KL fit has arrived at an optimum of its family.

    Attributes
    ----------
    polished : Approximation
        The optimum of the family that is uphill from the fit.
    elbo_gap : Estimate
        What the ELBO gains by polishing, nats.
    gradient : Estimate
        Length of the ELBO's gradient at the fit, nats for a step of one standard deviation, and the length
        that Monte Carlo error alone would give.
    converged : bool
    """

    polished: Gaussian
    elbo_gap: Estimate
    gradient: Estimate
    converged: bool


def check_convergence(value_and_grad: ValueAndGrad, fit: Gaussian, *, random_seed: RandomSeed = None) -> Convergence:
    """Polish a Gaussian reverse-KL fit from where it stands and measure what that gains.

    Parameters
    ----------
    value_and_grad : callable
        (n, d) -> log p̃ (n,) and its gradient (n, d).
    fit : MeanField or FullRank
    random_seed : int, Generator, SeedSequence or None

    Returns
    -------
    Convergence
        The gain is measured on fresh draws, the same for both fits. It has converged if the gain is at most
        0.1 nats, give or take two standard errors.
    """
    rng = np.random.default_rng(random_seed)
    polished = polish(value_and_grad, fit, rng=rng)
    z = rng.standard_normal((CHECK_DRAWS, fit.d))
    before, grad = _elbo_terms(value_and_grad, fit, z)
    after, _ = _elbo_terms(value_and_grad, polished, z)
    gap = mean_estimate(after - before)
    if not gap.value > 0:  # polishing gained nothing: the fit stands at its optimum
        polished = fit
    return Convergence(
        polished=polished,
        elbo_gap=gap,
        gradient=_gradient_length(fit, grad, z),
        converged=bool(gap.value - 2 * gap.se <= ELBO_GAP_TOLERANCE),
    )


def polish(
    value_and_grad: ValueAndGrad, fit: Gaussian, *, rng: np.random.Generator, n_draws: int = FIT_DRAWS
) -> Gaussian:
    """Maximise the ELBO within the family, from where the fit stands, on `n_draws` points or what d asks for."""
    per_dimension = 6 if isinstance(fit, MeanField) else 12
    n = 2 ** int(np.ceil(np.log2(max(n_draws, per_dimension * fit.d))))  # Sobol' points are even at powers of 2
    z = _balanced_normals(n, fit.d, rng)
    parameters = _MeanFieldParameters(fit) if isinstance(fit, MeanField) else _FullRankParameters(fit)

    def loss(theta: Array) -> tuple[float, Array]:
        with np.errstate(all="ignore"):  # a step of the line search may lead out of all bounds, and is taken back
            found, slope = evaluate(theta)
        return (found, slope) if np.isfinite(found) else (-LOWEST, np.zeros_like(theta))

    def evaluate(theta: Array) -> tuple[float, Array]:
        loc, tril, log_det = parameters.unpack(theta)
        value, grad = value_and_grad(loc + z @ tril.T)
        good = np.isfinite(value) & np.isfinite(grad).all(axis=1)
        value = np.where(good, value, LOWEST)
        grad = np.where(good[:, None], grad, 0.0)
        slope = parameters.pull_back(theta, grad.mean(axis=0), grad.T @ z / len(z))
        return -float(value.mean() + log_det), -slope

    start = np.zeros(parameters.size)
    options = {"maxiter": 300, "ftol": GAIN_TOLERANCE / max(abs(loss(start)[0]), 1.0)}
    result = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)  # type: ignore[call-overload]
    loc, tril, _ = parameters.unpack(result.x)
    info = MappingProxyType({"loss": float(result.fun), "n_evaluations": int(result.nfev) * len(z)})
    changes: dict[str, Any] = {"loc": loc, "info": info}
    changes |= {"scale": np.diag(tril).copy()} if isinstance(fit, MeanField) else {"scale_tril": tril}
    return replace(fit, **changes)


@dataclass(frozen=True, eq=False)
class _MeanFieldParameters:
    """A shift in standard deviations and a log factor of each standard deviation: (2 d,)."""

    fit: MeanField

    @property
    def size(self) -> int:
        return 2 * self.fit.d

    def unpack(self, theta: Array) -> tuple[Array, Array, float]:
        shift, log_factor = np.split(theta, 2)
        scale = self.fit.scale * np.exp(log_factor)
        return self.fit.loc + self.fit.scale * shift, np.diag(scale), float(np.log(scale).sum())

    def pull_back(self, theta: Array, by_loc: Array, by_tril: Array) -> Array:
        scale = self.fit.scale * np.exp(theta[self.fit.d :])
        return np.concatenate([self.fit.scale * by_loc, scale * np.diag(by_tril) + 1.0])


@dataclass(frozen=True, eq=False)
class _FullRankParameters:
    """A whitened shift and a lower-triangular factor of the Cholesky factor, its diagonal in logs."""

    fit: FullRank

    @property
    def size(self) -> int:
        return self.fit.d + self.fit.d * (self.fit.d + 1) // 2

    def _factor(self, theta: Array) -> Array:
        d = self.fit.d
        factor = np.zeros((d, d))
        factor[np.tril_indices(d)] = theta[d:]
        factor[np.diag_indices(d)] = np.exp(np.diag(factor))
        return factor

    def unpack(self, theta: Array) -> tuple[Array, Array, float]:
        tril = self.fit.scale_tril @ self._factor(theta)
        log_det = float(np.log(np.diag(tril)).sum())
        return self.fit.loc + self.fit.scale_tril @ theta[: self.fit.d], tril, log_det

    def pull_back(self, theta: Array, by_loc: Array, by_tril: Array) -> Array:
        d = self.fit.d
        by_factor = self.fit.scale_tril.T @ by_tril
        diagonal = np.diag_indices(d)
        by_factor[diagonal] = by_factor[diagonal] * np.diag(self._factor(theta)) + 1.0
        return np.concatenate([self.fit.scale_tril.T @ by_loc, by_factor[np.tril_indices(d)]])


def _balanced_normals(n: int, d: int, rng: np.random.Generator) -> Array:
    """Spread standard normal points (n, d) evenly, in opposite pairs, and whiten them: mean 0, covariance I."""
    half = MultivariateNormalQMC(np.zeros(d), rng=rng).random(n // 2)
    z = np.concatenate([half, -half])
    return np.asarray(np.linalg.solve(np.linalg.cholesky(z.T @ z / len(z)), z.T).T)


def _elbo_terms(value_and_grad: ValueAndGrad, fit: Gaussian, z: Array) -> tuple[Array, Array]:
    """Log p̃ - log q at loc + scale z, up to the terms that all fits share, and the gradient of log p̃."""
    value, grad = value_and_grad(fit.loc + z @ fit.scale_tril.T)
    return value + np.log(np.diag(fit.scale_tril)).sum(), grad


def _gradient_length(fit: Gaussian, grad: Array, z: Array) -> Estimate:
    """Length of the ELBO gradient in whitened parameters, with its Monte Carlo noise."""
    slope = grad @ fit.scale_tril
    if isinstance(fit, MeanField):
        terms = np.concatenate([slope, slope * z + 1.0], axis=1)
        mean, variance = terms.mean(axis=0), terms.var(axis=0)
    else:
        outer = slope.T @ z / len(z) + np.eye(fit.d)
        second = (slope**2).T @ z**2 / len(z) - (outer - np.eye(fit.d)) ** 2
        lower = np.tril_indices(fit.d)
        mean = np.concatenate([slope.mean(axis=0), outer[lower]])
        variance = np.concatenate([slope.var(axis=0), second[lower]])
    return Estimate(float(np.linalg.norm(mean)), float(np.sqrt(variance.sum() / len(z))))
