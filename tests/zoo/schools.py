"""Eight schools: given tau a normal linear model, so all truths are integrals over log tau."""

from functools import partial

import numpy as np
import pymc as pm
from scipy import stats

from .line import Line, maximum
from .problem import LOG_2PI, Array, Problem, moment_optima

SCHOOL_Y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
SCHOOL_SIGMA = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def _schools_model(*, centred: bool) -> pm.Model:
    with pm.Model(coords={"school": list("ABCDEFGH")}) as model:
        mu = pm.Normal("mu", 0.0, 5.0)
        tau = pm.HalfCauchy("tau", 5.0)
        if centred:
            theta = pm.Normal("theta", mu, tau, dims="school")
        else:
            offset = pm.Normal("offset", 0.0, 1.0, dims="school")
            theta = pm.Deterministic("theta", mu + tau * offset, dims="school")
        pm.Normal("y", theta, SCHOOL_SIGMA, observed=SCHOOL_Y, dims="school")
    return model


def _schools_log_density(x: Array, *, centred: bool) -> Array:
    mu, tau, rest = x[:, [0]], np.exp(x[:, [1]]), x[:, 2:]
    theta = rest if centred else mu + tau * rest
    loc, scale = (mu, tau) if centred else (0.0, 1.0)
    prior = stats.norm.logpdf(mu, 0, 5) + stats.halfcauchy.logpdf(tau, scale=5) + x[:, [1]]
    schools = stats.norm.logpdf(rest, loc, scale) + stats.norm.logpdf(SCHOOL_Y, theta, SCHOOL_SIGMA)
    return np.asarray(prior[:, 0] + np.sum(schools, axis=1))


def _schools_log_tau(log_tau: Array) -> Array:
    """Unnormalised density of log tau, (n, 1) -> (n,), with mu and the schools integrated out."""
    tau = np.exp(log_tau)
    variances = SCHOOL_SIGMA**2 + tau**2
    precision = 1 / 25 + (1 / variances).sum(1)
    pull = (SCHOOL_Y / variances).sum(1)
    logs = -0.5 * (SCHOOL_Y**2 / variances + np.log(variances) + LOG_2PI).sum(1)
    logs += 0.5 * pull**2 / precision - 0.5 * np.log(25 * precision)
    return np.asarray(logs + stats.halfcauchy.logpdf(tau[:, 0], scale=5) + log_tau[:, 0])


def _schools_given_tau(tau: Array) -> tuple[Array, Array]:
    """Mean (n, 9) and covariance (n, 9, 9) of (mu, offsets) given tau (n,): a normal linear model."""
    weights = SCHOOL_SIGMA**-2
    precision = np.tile(np.eye(9), (len(tau), 1, 1))
    precision[:, 0, 0] = 1 / 25 + weights.sum()
    precision[:, 0, 1:] = precision[:, 1:, 0] = tau[:, None] * weights
    precision[:, range(1, 9), range(1, 9)] += tau[:, None] ** 2 * weights
    pull = np.column_stack([np.full(len(tau), weights @ SCHOOL_Y), tau[:, None] * (weights * SCHOOL_Y)])
    cov = np.linalg.inv(precision)
    return np.einsum("nij,nj->ni", cov, pull), cov


def _schools_map(tau: Array, *, centred: bool) -> Array:
    """Matrices (n, 10, 9) that take (mu, offsets) to the flat vector, whose log tau stays empty."""
    matrix = np.zeros((len(tau), 10, 9))
    matrix[:, 0, 0] = 1
    matrix[:, range(2, 10), range(1, 9)] = tau[:, None] if centred else 1
    matrix[:, 2:, 0] = 1 if centred else 0
    return matrix


def _schools_moments(line: Line, *, centred: bool) -> tuple[Array, Array]:
    """Mean and covariance of the flat vector, by the law of total covariance over log tau."""
    tau = np.exp(line.nodes)
    matrix = _schools_map(tau, centred=centred)
    inner_mean, inner_cov = _schools_given_tau(tau)
    means = np.einsum("nij,nj->ni", matrix, inner_mean)
    means[:, 1] = line.nodes
    share = np.exp(line.log_p) * (line.nodes[1] - line.nodes[0])
    within = np.einsum("n,nij,njk,nlk->il", share, matrix, inner_cov, matrix, optimize=True)
    mean = share @ means
    return mean, within + ((means - mean).T * share) @ (means - mean)


def _schools_sample(line: Line, n: int, rng: np.random.Generator, *, centred: bool) -> Array:
    log_tau = line.draw(n, rng)
    mean, cov = _schools_given_tau(np.exp(log_tau))
    inner = mean + np.einsum("nij,nj->ni", np.linalg.cholesky(cov), rng.standard_normal((n, 9)))
    x = np.einsum("nij,nj->ni", _schools_map(np.exp(log_tau), centred=centred), inner)
    x[:, 1] = log_tau
    return x


def _schools_mode() -> Array:
    """Find the mode of the non-centred vector: the best log tau, with the rest at its conditional mean."""

    def complete(log_tau: Array) -> Array:
        inner = _schools_given_tau(np.exp(log_tau[:, 0]))[0]
        return np.column_stack([inner[:, 0], log_tau[:, 0], inner[:, 1:]])

    best = maximum(lambda t: _schools_log_density(complete(t), centred=False), -10.0, 6.0)
    return complete(np.array([[best]]))


def eight_schools(*, centred: bool = True) -> Problem:
    """Eight schools with mu ~ N(0, 5), tau ~ HalfCauchy(5); flat vector (mu, log tau, schools).

    Centred, the log density has no maximum: it grows without bound as tau goes to 0.
    """
    line = Line.tabulate(_schools_log_tau, -25.0, 9.0, 4001)
    mean, cov = _schools_moments(line, centred=centred)
    return Problem(
        name="eight_schools_centred" if centred else "eight_schools_noncentred",
        model=partial(_schools_model, centred=centred),
        log_density=partial(_schools_log_density, centred=centred),
        d=10,
        locations=None if centred else _schools_mode(),
        log_z=line.log_z,
        mean=mean,
        cov=cov,
        sample=partial(_schools_sample, line, centred=centred),
        forward=moment_optima(mean, cov),
    )
