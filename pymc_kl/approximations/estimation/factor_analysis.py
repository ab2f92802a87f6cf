"""Maximum-likelihood factor analysis: the low-rank plus diagonal covariance nearest in KL to that of draws.

Coordinates have unit variance. The covariance of the draws is `root.T @ root`, with a row of `root` for each draw; it
is not formed where there are fewer draws than coordinates.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import minimize
from scipy.sparse.linalg import LinearOperator, eigsh

from pymc_kl._typing import Array

LEAST_OWN_VARIANCE = 1e-6  # least own variance of a coordinate whose variance is 1; our choice
DENSE = 200  # order up to which LAPACK finds all eigenvectors, beyond only for a tenth of them; our choice
MAX_FACTOR_ITERATIONS = 500  # most iterations of L-BFGS; our choice


@dataclass(frozen=True)
class Standardised:
    """Mean (d,) and deviations (d,) of draws, and a root (m, d) of their correlation matrix."""

    mean: Array
    deviation: Array
    root: Array

    @classmethod
    def of(cls, x: Array, weights: Array) -> Self:
        """Take draws (n, d) and weights (n,) that sum to 1; every coordinate must vary."""
        mean = weights @ x
        rows = np.sqrt(weights)[:, None] * (x - mean)
        deviation = np.sqrt((rows**2).sum(axis=0))
        rows /= deviation
        return cls(mean, deviation, rows if len(rows) <= mean.size else np.linalg.qr(rows, mode="r"))


@dataclass(frozen=True)
class Factors:
    """Loadings (d, r) and own variances (d,) of coordinates of unit variance.

    `loss` is minus the log likelihood, in nats a draw, less a constant.
    """

    loadings: Array
    own: Array
    loss: float = float("nan")
    converged: bool = True

    @property
    def rank(self) -> int:
        """Number of factors, r."""
        return int(self.loadings.shape[1])


def leading_axes(root: Array, rank: int) -> tuple[Array, Array]:
    """Find the largest eigenvalues (r,) of root.T @ root and their eigenvectors (d, r)."""
    m, d = root.shape
    if m < d:
        values, left = _leading(root.T, rank)
        return values, root.T @ left / np.sqrt(np.maximum(values, np.finfo(float).tiny))
    return _leading(root, rank)


def _leading(root: Array, rank: int) -> tuple[Array, Array]:
    """Find eigenvalues and eigenvectors, for a root with at least as many rows as columns."""
    d = root.shape[1]
    if d <= DENSE or rank > d // 10:
        values, vectors = eigh(root.T @ root, subset_by_index=[d - rank, d - 1], check_finite=False)
        return values, vectors
    gram = LinearOperator((d, d), matvec=lambda v: root.T @ (root @ v), dtype=np.dtype(float))
    found = eigsh(gram, rank, v0=np.ones(d), tol=1e-8)
    return np.asarray(found[0], dtype=float), np.asarray(found[1], dtype=float)


def fit_factors(root: Array, rank: int, start: Array | None = None) -> Factors:
    """Fit maximum-likelihood factor analysis (Jöreskog 1967 [1]_) by a matrix-free quasi-Newton method [2]_.

    Given the own variances, the best loadings come from the leading eigenvectors of the covariance after each
    coordinate is divided by the root of its own variance. The search is for the own variances alone. It stops at a
    local maximum.

    Parameters
    ----------
    root : array (m, d)
        `root.T @ root` is the correlation matrix of the draws.
    rank : int
        Number of factors.
    start : array (d,), optional
        Own variances to start from; half of each coordinate's by default.

    Returns
    -------
    Factors
        Own variances are at least `LEAST_OWN_VARIANCE`: less is a Heywood case, where the factors explain all of a
        coordinate.

    References
    ----------
    .. [1] Jöreskog, K. G. (1967). Some contributions to maximum likelihood factor analysis. Psychometrika 32,
       443-482. doi:10.1007/BF02289658
    .. [2] Dai, F., Dutta, S. and Maitra, R. (2020). A matrix-free likelihood method for exploratory factor
       analysis of high-dimensional Gaussian data. Journal of Computational and Graphical Statistics 29, 675-680.
       doi:10.1080/10618600.2019.1704296
    """
    d = root.shape[1]
    if rank == 0:
        return Factors(np.zeros((d, 0)), np.ones(d))
    variances = (root**2).sum(axis=0)
    start = np.full(d, 0.5) if start is None else np.clip(start, LEAST_OWN_VARIANCE, 1.0)

    def loss(log_own: Array) -> tuple[float, Array]:
        """Minus the log likelihood (nats a draw, less a constant), and its gradient."""
        own = np.exp(log_own)
        values, axes = leading_axes(root / np.sqrt(own), rank)
        values = np.maximum(values, 1.0)
        total = log_own.sum() + (variances / own).sum() + (np.log(values) - values + 1).sum()
        return 0.5 * total, 0.5 * (1 - variances / own + axes**2 @ (values - 1))

    found = minimize(
        loss,
        np.log(start),
        jac=True,
        method="L-BFGS-B",
        bounds=[(np.log(LEAST_OWN_VARIANCE), 0.0)] * d,
        options={
            "maxiter": MAX_FACTOR_ITERATIONS,
            "maxfun": 2 * MAX_FACTOR_ITERATIONS,
            "ftol": 1e-11,
            "gtol": 1e-6,
            "maxcor": 20,
        },
    )
    own = np.exp(found.x)
    values, axes = leading_axes(root / np.sqrt(own), rank)
    return Factors(
        np.sqrt(own)[:, None] * axes * np.sqrt(np.maximum(values - 1, 0)), own, float(found.fun), found.status != 1
    )
