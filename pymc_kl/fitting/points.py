"""Fixed standard normal points, on which an ELBO is a function of its parameters, and log p̃ at draws made of them."""

import numpy as np
from scipy.stats.qmc import MultivariateNormalQMC

from pymc_kl._typing import Array
from pymc_kl.numerics.lbfgs import ValueAndGrad

LOWEST = -1e10  # nats: value that replaces a log density that is not finite


def balanced_normals(n: int, d: int, rng: np.random.Generator) -> Array:
    """Spread standard normal points (n, d) evenly, in opposite pairs, and whiten them: mean 0, covariance I."""
    half = MultivariateNormalQMC(np.zeros(d), rng=rng).random(2 ** int(np.ceil(np.log2(n // 2))))[: n // 2]
    z = np.concatenate([half, -half])
    return np.asarray(np.linalg.solve(np.linalg.cholesky(z.T @ z / len(z)), z.T).T)


def finite_value_and_grad(value_and_grad: ValueAndGrad, x: Array) -> tuple[Array, Array]:
    """Evaluate log p̃ (n,) and its gradient (n, d); where either is not finite, return LOWEST and a zero gradient."""
    value, grad = value_and_grad(x)
    finite = np.isfinite(value) & np.isfinite(grad).all(axis=1)
    return np.where(finite, value, LOWEST), np.where(finite[:, None], grad, 0.0)
