"""The full-rank Gaussian; its forward-KL fit matches the mean and the covariance of the draws exactly."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from scipy.linalg import solve_triangular

from pymc_kl._typing import Array
from pymc_kl.approximations.estimation.moments import weighted_moments
from pymc_kl.approximations.family import Family
from pymc_kl.approximations.training import Training
from pymc_kl.numerics.constants import LOG_2PI


@dataclass(frozen=True, kw_only=True, eq=False)
class FullRank(Family):
    """Gaussian with any covariance.

    Parameters
    ----------
    loc : array (d,)
        Mean, unconstrained space.
    scale_tril : array (d, d)
        Lower Cholesky factor of the covariance.
    """

    family: ClassVar[str] = "fullrank"

    loc: Array
    scale_tril: Array

    @classmethod
    def fit(cls, draws: Training) -> Self:
        """Match mean and covariance, which minimises KL(p‖q)."""
        mean, covariance = weighted_moments(draws.x, draws.weights)
        return cls(loc=mean, scale_tril=np.linalg.cholesky(covariance))

    @property
    def d(self) -> int:
        """Number of unconstrained dimensions."""
        return self.loc.size

    @cached_property
    def covariance(self) -> Array:
        """Covariance (d, d), unconstrained space."""
        return self.scale_tril @ self.scale_tril.T

    def _sample(self, n: int, rng: np.random.Generator) -> Array:
        return self.loc + rng.standard_normal((n, self.d)) @ self.scale_tril.T

    def _log_prob(self, x: Array) -> Array:
        z = solve_triangular(self.scale_tril, (x - self.loc).T, lower=True, check_finite=False)
        log_det = np.log(np.diag(self.scale_tril)).sum()
        return -0.5 * (z**2).sum(axis=0) - log_det - 0.5 * self.d * LOG_2PI


def unpack_factor(packed: Array, d: int) -> Array:
    """Lay out lower triangles (..., d (d + 1) / 2), row by row, their diagonals in logs, as factors (..., d, d)."""
    factor = np.zeros((*packed.shape[:-1], d, d))
    factor[..., *np.tril_indices(d)] = packed
    diagonal = np.diag_indices(d)
    factor[..., *diagonal] = np.exp(factor[..., *diagonal])
    return factor
