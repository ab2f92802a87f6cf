"""The mean-field Gaussian."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.approximations.estimation.fit_data import check_varies
from pymc_kl.approximations.estimation.moments import weighted_moments
from pymc_kl.approximations.located import Located
from pymc_kl.approximations.training import Training
from pymc_kl.numerics.constants import LOG_2PI


@dataclass(frozen=True, kw_only=True, eq=False)
class MeanField(Located):
    """q(x) = N(x; loc, diag(scale²)): a Gaussian with independent coordinates.

    `loc` (d,) holds the means and `scale` (d,) the standard deviations, on the unconstrained space. The forward fit
    matches the means and variances of the draws exactly.

    Examples
    --------
    >>> import numpy as np
    >>> from pymc_kl.approximations import MeanField
    >>> q = MeanField(loc=np.zeros(2), scale=np.array([1.0, 2.0]))
    >>> q.log_prob(np.zeros((1, 2))).round(4)
    array([-2.531])
    """

    family: ClassVar[str] = "meanfield"
    shapes: ClassVar[dict[str, str]] = {"loc": "d", "scale": "d"}

    scale: Array

    @classmethod
    def fit(cls, draws: Training) -> Self:
        """Match means and variances, which minimises KL(p‖q)."""
        mean, covariance = weighted_moments(draws.x, draws.weights)
        check_varies(draws.x if draws.weights is None else draws.x[draws.weights > 0])
        return cls(loc=mean, scale=np.sqrt(np.diag(covariance)))

    @property
    def scale_tril(self) -> Array:
        """Lower Cholesky factor (d, d) of the covariance: diagonal."""
        return np.diag(self.scale)

    @property
    def covariance(self) -> Array:
        """Covariance (d, d), unconstrained space: diagonal."""
        return np.diag(self.scale**2)

    def _sample(self, n: int, rng: np.random.Generator) -> Array:
        return self.loc + rng.standard_normal((n, self.d)) * self.scale

    def _log_prob(self, x: Array) -> Array:
        z = (x - self.loc) / self.scale
        return -0.5 * (z**2).sum(axis=1) - np.log(self.scale).sum() - 0.5 * self.d * LOG_2PI
