"""A factor analysis with free signs: four copies of one mode, where no label is a dimension of an array."""

from functools import cache, partial

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from scipy import optimize, stats

from .problem import LOG_2PI, Array, Problem
from .regions import climb, gradient

N_ITEMS, N_FREE = 6, 11  # items, and loadings that are not fixed at 0
LOADINGS = np.array([[1.2, 0.0], [1.0, 0.3], [1.1, 0.0], [0.2, 1.1], [0.0, 1.2], [0.1, 1.0]])
NOISE_SD = 0.5
LOG_SD_LOC, LOG_SD_SCALE = -0.5, 0.5
FREE = np.r_[LOADINGS[:, 0], LOADINGS[1:, 1]]
SIGNS = np.array([np.r_[np.full(6, a), np.full(5, b), np.ones(6)] for a in (1.0, -1.0) for b in (1.0, -1.0)])


def factor_data(n: int = 30, seed: int = 0) -> Array:
    """Simulate y (n, 6) from two factors."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 2)) @ LOADINGS.T + NOISE_SD * rng.standard_normal((n, N_ITEMS))


def _log_density(y: Array, x: Array) -> Array:
    loadings = np.zeros((len(x), N_ITEMS, 2))
    loadings[:, :, 0], loadings[:, 1:, 1] = x[:, :N_ITEMS], x[:, N_ITEMS:N_FREE]
    cov = loadings @ loadings.transpose(0, 2, 1)
    cov[:, range(N_ITEMS), range(N_ITEMS)] += np.exp(2 * x[:, N_FREE:])
    scatter = np.broadcast_to(y.T @ y, cov.shape)
    distance = np.einsum("nii->n", np.linalg.solve(cov, scatter))
    likelihood = -0.5 * (distance + len(y) * (np.linalg.slogdet(cov)[1] + N_ITEMS * LOG_2PI))
    prior = stats.norm.logpdf(x[:, :N_FREE]).sum(1)
    return likelihood + prior + stats.norm.logpdf(x[:, N_FREE:], LOG_SD_LOC, LOG_SD_SCALE).sum(1)


def _model(y: Array) -> pm.Model:
    with pm.Model(coords={"item": np.arange(N_ITEMS), "observation": np.arange(len(y))}) as model:
        loading = pm.Normal("loading", 0.0, 1.0, shape=N_FREE)
        sigma = pm.LogNormal("sigma", LOG_SD_LOC, LOG_SD_SCALE, dims="item")
        first, second = loading[:N_ITEMS], pt.concatenate([np.zeros(1), loading[N_ITEMS:]])
        # Products and no dot: PyTensor takes twenty seconds to compile its first dot.
        shared = first[:, None] * first + second[:, None] * second
        pm.MvNormal("y", np.zeros(N_ITEMS), cov=shared + pt.diag(sigma**2), observed=y, dims=("observation", "item"))
    return model


@cache
def factor_mode() -> tuple[Array, Array]:
    """Climb from the simulated truth to the mode of its signs: the mode and the inverse of minus its Hessian."""
    log_density = partial(_log_density, factor_data())
    start = np.r_[FREE, np.full(N_ITEMS, np.log(NOISE_SD))]
    found = optimize.minimize(
        lambda x: -float(log_density(x[None])[0]), start, jac=lambda x: -gradient(log_density, x), method="BFGS"
    )
    return climb(log_density, found.x, 3)


def factors() -> Problem:
    """Two factors behind six items, scores integrated out: y ~ N(0, ΛΛᵀ + diag σ²), loadings N(0, 1).

    Λ[0, 1] = 0 fixes the rotation and leaves the sign of each column free, so that flipping the first six
    coordinates, or the next five, changes nothing. The flat vector is Λ[:, 0], Λ[1:, 1], log σ. A search from
    2000 random starts ends at these four modes only, and by symmetry each has mass ¼. log Z pools four runs of
    importance sampling, made once: two from ten t in each copy (a million draws each, k-hat 0.33 and 0.36) and
    two from one t (three million each, k-hat 0.5), together -235.9076 with error 0.0006. Bridge sampling with
    draws of NUTS gave -235.908, error 0.002. Exact draws and moments are not known.
    """
    log_density = partial(_log_density, factor_data())
    return Problem(
        name="factors",
        model=partial(_model, factor_data()),
        log_density=log_density,
        d=N_FREE + N_ITEMS,
        masses=np.full(4, 0.25),
        locations=SIGNS * factor_mode()[0],
        log_z=-235.9076,
        log_z_error=2e-3,
    )
