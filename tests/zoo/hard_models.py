"""Models of data with many copies of a mode, a flat prior or a free rotation; log Z by quadrature where it can be."""

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from scipy.special import logsumexp

from .problem import LOG_2PI, Array

BOUND = 1000.0  # of the intercept's flat prior
PRIOR_SD = 2.0  # of both standard deviations, half-normal
UP_TO = 8.0  # standard deviations beyond which nothing of the integral is left


def latent_classes(n: int = 100) -> pm.Model:
    """Answers of `n` people of three latent classes to six questions: one mode in six copies."""
    rng = np.random.default_rng(0)
    yes, group = rng.uniform(0.1, 0.9, (3, 6)), rng.choice(3, n, p=[0.5, 0.3, 0.2])
    y = (rng.random((n, 6)) < yes[group]).astype(float)
    with pm.Model(coords={"class": range(3), "question": range(6)}) as model:
        w = pm.Dirichlet("w", np.ones(3), dims="class")
        p = pm.Beta("p", 1, 1, dims=("class", "question"))
        log_p = y @ pt.log(p).T + (1 - y) @ pt.log1p(-p).T
        pm.Potential("y", pt.sum(pt.logsumexp(log_p + pt.log(w), axis=1)))
    return model


def tanh_network(n: int = 40) -> pm.Model:
    """Three hidden units, exchangeable and each with a sign that cancels: 3! · 2³ copies of a mode."""
    rng = np.random.default_rng(0)
    x = np.linspace(-2, 2, n)
    y = np.tanh(2 * x - 1) - 0.7 * np.tanh(-1.5 * x - 1.5) + 0.1 * rng.normal(size=n)
    with pm.Model(coords={"unit": range(3)}) as model:
        slope, shift = pm.Normal("slope", 0, 2, dims="unit"), pm.Normal("shift", 0, 2, dims="unit")
        weight = pm.Normal("weight", 0, 1, dims="unit")
        pm.Normal("y", pt.tanh(x[:, None] * slope + shift) @ weight, 0.1, observed=y)
    return model


def probabilistic_pca() -> pm.Model:
    """Two factors whose loadings may be rotated: a ring, and no proper maximum."""
    rng = np.random.default_rng(4)
    y = rng.normal(size=(60, 2)) @ rng.normal(size=(2, 5)) + 0.3 * rng.normal(size=(60, 5))
    with pm.Model() as model:
        w = pm.Normal("W", 0, 1, shape=(5, 2))
        s = pm.HalfNormal("s", 1)
        pm.MvNormal("y", np.zeros(5), cov=w @ w.T + s**2 * np.eye(5), observed=y)
    return model


def _relatives(n: int = 60) -> tuple[Array, Array]:
    """Trait (n,) and relatedness (n, n)."""
    rng = np.random.default_rng(0)
    genes = rng.normal(size=(n, 200))
    related = genes @ genes.T / 200
    inherited = np.linalg.cholesky(related + 1e-6 * np.eye(n)) @ rng.normal(size=n)
    return 2 + 0.8 * inherited + 0.9 * rng.normal(size=n), related


def heritability() -> pm.Model:
    """Two variance components, and an intercept whose prior is flat and wide."""
    y, related = _relatives()
    with pm.Model() as model:
        b = pm.Uniform("b", -BOUND, BOUND)
        inherited, other = pm.HalfNormal("inherited", PRIOR_SD), pm.HalfNormal("other", PRIOR_SD)
        covariance = inherited**2 * related + other**2 * np.eye(len(y))
        pm.MvNormal("y", b * np.ones(len(y)), cov=covariance, observed=y)
    return model


def heritability_log_z(cells: int = 800) -> float:
    """Log Z by quadrature over both standard deviations; over the intercept the integral is a normal's."""
    y, related = _relatives()
    values, vectors = np.linalg.eigh(related)
    z, one = vectors.T @ y, vectors.T @ np.ones(len(y))
    sd = (np.arange(cells) + 0.5) * UP_TO / cells
    variance = sd[:, None, None] ** 2 * values + sd[None, :, None] ** 2
    precision = (one**2 / variance).sum(axis=2)
    square = (z**2 / variance).sum(axis=2) - (one * z / variance).sum(axis=2) ** 2 / precision
    log_likelihood = -0.5 * (square + np.log(variance).sum(axis=2) + len(y) * LOG_2PI)
    log_likelihood += 0.5 * (LOG_2PI - np.log(precision)) - np.log(2 * BOUND)
    log_prior = np.log(2 / PRIOR_SD) - 0.5 * (sd / PRIOR_SD) ** 2 - 0.5 * LOG_2PI
    return float(logsumexp(log_likelihood + log_prior[:, None] + log_prior) + 2 * np.log(UP_TO / cells))
