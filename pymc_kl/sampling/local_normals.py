"""A normal for each copy of a mode, whose covariance is the metric of NUTS there."""

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations.components import Components, effective_number
from pymc_kl.modes.draws import ModeDraws

DRAWS_A_DIMENSION = 5  # effective draws a dimension above which a covariance is fitted, not variances alone; our choice
LEAST_COPY_DRAWS = 10  # least number of draws of a copy that gets a normal of its own; our choice


def local_normals(draws: ModeDraws) -> Components:
    """Fit a normal to each copy of each mode where there are draws enough, and weight it by its mass."""
    copies, counts = np.unique(draws.copy[draws.copy >= 0], return_counts=True)
    parts = [np.flatnonzero(draws.copy == copy) for copy in copies[counts >= LEAST_COPY_DRAWS]]
    parts = parts or [np.arange(len(draws))]
    mass = np.array([draws.weights[rows].sum() for rows in parts])
    mass = np.maximum(mass, 1 / len(draws))  # a copy whose draws have no weight may still have mass
    means, covariances = zip(*(_moments(draws.x[rows], draws.weights[rows]) for rows in parts), strict=True)
    return Components(mass / mass.sum(), np.array(means), np.array([np.linalg.cholesky(c) for c in covariances]))


def _moments(x: Array, weights: Array) -> tuple[Array, Array]:
    """Compute mean (d,) and covariance (d, d) of draws (n, d), weighted if the effective draws are enough for that.

    If even all draws, unweighted, are too few for a covariance, it is diagonal.
    """
    enough = DRAWS_A_DIMENSION * x.shape[1]
    ess = effective_number(weights) if weights.any() else 0.0
    used = weights / weights.sum() if ess > max(enough, LEAST_COPY_DRAWS) else np.full(len(x), 1 / len(x))
    mean = used @ x
    covariance = np.atleast_2d(np.cov(x.T, aweights=used))
    return mean, covariance if len(x) > enough else np.diag(np.diag(covariance))


def within_covariance(normals: Components) -> Array:
    """Average the covariances of normals by their masses (d, d): the covariance of all draws would span the modes."""
    return np.tensordot(normals.weights, normals.covariances, axes=1)


def reordered(normals: Components, order: IntArray) -> Components:
    """Return the normals in another order of the coordinates (d,)."""
    trils = np.linalg.cholesky(normals.covariances[:, order[:, None], order])
    return Components(normals.weights, normals.locs[:, order], trils)
