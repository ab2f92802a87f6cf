"""Controls with one mode: nothing may report a second one here."""

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.dist_math import normal_lcdf
from scipy import stats
from scipy.special import log_expit, log_ndtr

from .gaussians import gaussian_problem
from .line import Line, line_optima, maximum
from .problem import LOG_2PI, Array, Optimum, Problem, moment_optima


def standard_normal(d: int = 10) -> Problem:
    """N(0, I)."""
    itself = Optimum(np.zeros(d), np.eye(d), 0.0, 0.0)

    def build() -> pm.Model:
        with pm.Model() as model:
            pm.Normal("x", 0.0, 1.0, shape=d)
        return model

    return Problem(
        name=f"standard_normal_{d}",
        model=build,
        log_density=lambda x: np.asarray(-0.5 * (x**2).sum(1) - d * LOG_2PI / 2),
        d=d,
        locations=np.zeros((1, d)),
        log_z=0.0,
        mean=itself.mean,
        cov=itself.cov,
        sample=lambda n, rng: rng.standard_normal((n, d)),
        reverse={"meanfield": itself, "fullrank": itself},
        forward={"meanfield": itself, "fullrank": itself},
    )


def equicorrelated(d: int = 10, rho: float = 0.5) -> Problem:
    """N(0, Σ) with unit variances and one correlation."""
    return gaussian_problem(f"equicorrelated_{d}", np.zeros(d), np.where(np.eye(d) > 0, 1.0, rho))


def mean_field_gaussian(rho: float = 0.9, d: int = 2) -> Problem:
    """N(0, Σ), the textbook case of a mean-field q that is too narrow or too wide."""
    return gaussian_problem("mean_field_gaussian", np.zeros(d), np.where(np.eye(d) > 0, 1.0, rho))


def gaussian_condition(d: int = 20, condition: float = 1000.0, seed: int = 0) -> Problem:
    """N(m, Σ) with m random and Σ a random rotation of variances from condition^-½ to condition^½."""
    rng = np.random.default_rng(seed)
    rotation = stats.ortho_group.rvs(d, random_state=rng)
    cov = (rotation * np.geomspace(condition**-0.5, condition**0.5, d)) @ rotation.T
    return gaussian_problem("gaussian_condition", rng.standard_normal(d), (cov + cov.T) / 2)


def banana() -> Problem:
    """x1 ~ N(0, 1), x2 | x1 ~ N(x1², 0.5)."""

    def build() -> pm.Model:
        with pm.Model() as model:
            x1 = pm.Normal("x1", 0.0, 1.0)
            pm.Normal("x2", x1**2, 0.5)
        return model

    def log_density(x: Array) -> Array:
        return np.asarray(stats.norm.logpdf(x[:, 0]) + stats.norm.logpdf(x[:, 1], x[:, 0] ** 2, 0.5))

    def sample(n: int, rng: np.random.Generator) -> Array:
        z = rng.standard_normal((n, 2))
        return np.column_stack([z[:, 0], z[:, 0] ** 2 + 0.5 * z[:, 1]])

    mean, cov = np.array([0.0, 1.0]), np.diag([1.0, 2.25])
    return Problem(
        name="banana",
        model=build,
        log_density=log_density,
        d=2,
        locations=np.zeros((1, 2)),
        log_z=0.0,
        mean=mean,
        cov=cov,
        sample=sample,
        forward=moment_optima(mean, cov),
    )


def funnel_optimum(m: int, var_v: float, var_x: float) -> Optimum:
    """State a mean-field normal with its divergences from the funnel, both in closed form."""
    reverse = 0.5 * (var_v / 9 - 1 - np.log(var_v / 9))
    reverse += 0.5 * m * (var_x * np.exp(var_v / 2) - 1 - np.log(var_x))
    forward = 0.5 * (9 / var_v - 1 - np.log(9 / var_v))
    forward += 0.5 * m * (np.exp(4.5) / var_x - 1 + np.log(var_x))
    return Optimum(np.zeros(m + 1), np.diag(np.r_[var_v, np.full(m, var_x)]), float(reverse), float(forward))


def funnel(m: int = 9) -> Problem:
    """v ~ N(0, 3), x_i | v ~ N(0, e^(v/2)): one region, whose maximum at v = -9m/2 represents nothing."""

    def build() -> pm.Model:
        with pm.Model() as model:
            v = pm.Normal("v", 0.0, 3.0)
            pm.Normal("x", 0.0, pt.exp(v / 2), shape=m)
        return model

    def log_density(x: Array) -> Array:
        conditional = -0.5 * (x[:, 1:] ** 2).sum(1) * np.exp(-x[:, 0]) - m / 2 * (LOG_2PI + x[:, 0])
        return np.asarray(stats.norm.logpdf(x[:, 0], 0.0, 3.0) + conditional)

    def sample(n: int, rng: np.random.Generator) -> Array:
        z = rng.standard_normal((n, m + 1))
        return np.column_stack([3 * z[:, 0], np.exp(1.5 * z[:, [0]]) * z[:, 1:]])

    var_v = 18 / (2 + 9 * m)
    forward = funnel_optimum(m, 9.0, float(np.exp(4.5)))
    return Problem(
        name="funnel",
        model=build,
        log_density=log_density,
        d=m + 1,
        log_z=0.0,
        mean=forward.mean,
        cov=forward.cov,
        sample=sample,
        reverse={"meanfield": funnel_optimum(m, var_v, float(np.exp(-var_v / 2)))},
        forward={"meanfield": forward, "fullrank": forward},
    )


def skew_normal() -> Problem:
    """Skew normal, ξ = 0.5, ω = 2, α = 5: N(ξ, ω) and a Potential 2Φ(α(x - ξ)/ω)."""

    def build() -> pm.Model:
        with pm.Model() as model:
            x = pm.Normal("x", 0.5, 2.0)
            pm.Potential("skew", np.log(2) + normal_lcdf(0.0, 1.0, 5 * (x - 0.5) / 2))
        return model

    def log_density(x: Array) -> Array:
        slope = log_ndtr(5 * (x[:, 0] - 0.5) / 2)
        return np.asarray(np.log(2) + stats.norm.logpdf(x[:, 0], 0.5, 2.0) + slope)

    def sample(n: int, rng: np.random.Generator) -> Array:
        delta = 5 / np.sqrt(26)
        u, v = rng.standard_normal((2, n))
        return (0.5 + 2 * (delta * np.abs(u) + np.sqrt(1 - delta**2) * v))[:, None]

    line = Line.tabulate(log_density, -10.0, 25.0)
    reverse, forward = line_optima(line, log_density, np.array([[2.0, 1.0]]))
    return Problem(
        name="skew_normal",
        model=build,
        log_density=log_density,
        d=1,
        locations=np.array([[maximum(log_density, 0.0, 3.0)]]),
        log_z=0.0,
        mean=np.array([line.mean]),
        cov=np.array([[line.var]]),
        sample=sample,
        reverse=reverse,
        forward=forward,
    )


def student_t_location() -> Problem:
    """mu ~ N(0, 10), y ~ t₄(mu, 1) with twenty observations at the quantiles of a t₄ around 2."""
    y = 2 + stats.t.ppf((np.arange(20) + 0.5) / 20, 4)

    def build() -> pm.Model:
        with pm.Model() as model:
            mu = pm.Normal("mu", 0.0, 10.0)
            pm.StudentT("y", nu=4, mu=mu, sigma=1.0, observed=y)
        return model

    def log_density(x: Array) -> Array:
        return np.asarray(np.sum(stats.t.logpdf(y, 4, loc=x), axis=1) + stats.norm.logpdf(x[:, 0], 0.0, 10.0))

    line = Line.tabulate(log_density, -4.0, 8.0)
    reverse, forward = line_optima(line, log_density, np.array([[2.0, 0.3]]))
    return Problem(
        name="student_t_location",
        model=build,
        log_density=log_density,
        d=1,
        locations=np.array([[maximum(log_density, 1.0, 3.0)]]),
        log_z=line.log_z,
        mean=np.array([line.mean]),
        cov=np.array([[line.var]]),
        sample=lambda n, rng: line.draw(n, rng)[:, None],
        reverse=reverse,
        forward=forward,
    )


def _logistic_mode(covariates: Array, y: Array) -> Array:
    """Go by Newton's iteration to the one mode of a logistic regression with N(0, 1) priors."""
    beta = np.zeros(covariates.shape[1])
    for _ in range(50):
        p = np.exp(log_expit(covariates @ beta))
        hessian = (covariates.T * (p * (1 - p))) @ covariates + np.eye(len(beta))
        beta = beta + np.linalg.solve(hessian, covariates.T @ (y - p) - beta)
    return beta


def logistic_regression(d: int = 30, n: int = 200, seed: int = 0) -> Problem:
    """beta ~ N(0, 1), y ~ Bernoulli(expit(X beta)), simulated; log-concave, evidence and moments unknown."""
    rng = np.random.default_rng(seed)
    covariates = rng.standard_normal((n, d))
    y = (rng.random(n) < np.exp(log_expit(covariates @ rng.normal(0, 0.5, d)))).astype(float)

    def build() -> pm.Model:
        with pm.Model() as model:
            beta = pm.Normal("beta", 0.0, 1.0, shape=d)
            pm.Bernoulli("y", logit_p=(covariates * beta).sum(-1), observed=y.astype(int))
        return model

    def log_density(x: Array) -> Array:
        signed = (2 * y - 1) * (x @ covariates.T)
        return np.asarray(log_expit(signed).sum(1) + stats.norm.logpdf(x).sum(1))

    return Problem(
        name="logistic_regression",
        model=build,
        log_density=log_density,
        d=d,
        locations=_logistic_mode(covariates, y)[None],
    )
