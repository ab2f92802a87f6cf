"""The full-rank Gaussian."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.approximations.estimation.fit_data import FEW_DIMENSIONS, check_enough, check_varies
from pymc_kl.approximations.estimation.moments import weighted_moments
from pymc_kl.approximations.located import Affine
from pymc_kl.approximations.training import Training
from pymc_kl.numerics.constants import LOG_2PI


@dataclass(frozen=True, kw_only=True, eq=False)
class FullRank(Affine):
    """q(x) = N(x; loc, L Lᵀ) with L = scale_tril: a Gaussian with any covariance.

    `loc` (d,) is the mean and `scale_tril` (d, d) the lower Cholesky factor of the covariance, on the unconstrained
    space. The forward fit matches the mean and covariance of the draws exactly.

    Examples
    --------
    >>> import numpy as np
    >>> from pymc_kl.approximations import FullRank
    >>> q = FullRank(loc=np.zeros(2), scale_tril=np.array([[1.0, 0.0], [0.6, 0.8]]))
    >>> q.covariance.round(6).tolist()
    [[1.0, 0.6], [0.6, 1.0]]
    """

    family: ClassVar[str] = "fullrank"

    @classmethod
    def fit(cls, draws: Training) -> Self:
        """Match mean and covariance, which minimises KL(p‖q)."""
        mean, covariance = weighted_moments(draws.x, draws.weights)
        check_varies(draws.x if draws.weights is None else draws.x[draws.weights > 0])
        if draws.x.shape[1] > FEW_DIMENSIONS:
            check_enough(np.ones(len(draws.x)) if draws.weights is None else draws.weights, draws.x.shape[1])
        return cls(loc=mean, scale_tril=np.linalg.cholesky(covariance))

    @cached_property
    def covariance(self) -> Array:
        """Covariance (d, d), unconstrained space."""
        return self.scale_tril @ self.scale_tril.T

    def _sample(self, n: int, rng: np.random.Generator) -> Array:
        return self._from_standard(rng.standard_normal((n, self.d)))

    def _log_prob(self, x: Array) -> Array:
        return -0.5 * (self._to_standard(x) ** 2).sum(axis=1) - self._log_det - 0.5 * self.d * LOG_2PI


def unpack_factor(packed: Array, d: int) -> Array:
    """Lay out lower triangles (..., d (d + 1) / 2), row by row, their diagonals in logs, as factors (..., d, d)."""
    factor = np.zeros((*packed.shape[:-1], d, d))
    factor[..., *np.tril_indices(d)] = packed
    diagonal = np.diag_indices(d)
    factor[..., *diagonal] = np.exp(factor[..., *diagonal])
    return factor
