"""The low-rank plus diagonal Gaussian."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.approximations.estimation.factor_analysis import Factors, Standardised, fit_factors
from pymc_kl.approximations.estimation.fit_data import FitData
from pymc_kl.approximations.estimation.rank import choose_rank
from pymc_kl.approximations.located import Located
from pymc_kl.approximations.training import Training
from pymc_kl.numerics.constants import LOG_2PI


@dataclass(frozen=True, kw_only=True, eq=False)
class LowRank(Located):
    """q(x) = N(x; loc, F Fᵀ + diag(scale²)) with F = factor: a Gaussian of low-rank plus diagonal covariance.

    `loc` (d,) is the mean, `factor` (d, r) the loadings of r common factors of unit variance, and `scale` (d,) the
    standard deviation, positive, of each coordinate's own part. Draws and densities need no (d, d) matrix: both take
    d r numbers a draw.

    The forward fit is maximum-likelihood factor analysis [1]_; `rank` is the least whose score on draws held out is
    within one paired standard error of the best. Draws may be fewer than d, but two effective ones are needed, and
    every coordinate must vary. Where a factor takes up all of a coordinate (a Heywood case) the coordinate keeps a
    millionth of its variance for its own.

    Notes
    -----
    After `fit_forward`, `info` holds `rank`; `scores`, a held-out score for each rank that was tried;
    `held_out_score` and `held_out_score_se` of the chosen one; `converged`; and `warnings`. Scores are the mean of
    log q, in nats a draw, over one half of the draws for a fit to the other half; NaN where draws are too few.

    References
    ----------
    .. [1] Jöreskog, K. G. (1967). Some contributions to maximum likelihood factor analysis. Psychometrika 32,
       443-482. doi:10.1007/BF02289658

    Examples
    --------
    >>> q = LowRank(loc=np.zeros(2), factor=np.array([[1.0], [2.0]]), scale=np.ones(2))
    >>> q.covariance
    array([[2., 2.],
           [2., 5.]])
    >>> q.log_prob(np.zeros((1, 2))).round(4)
    array([-2.7338])
    """

    family: ClassVar[str] = "lowrank"
    shapes: ClassVar[dict[str, str]] = {"loc": "d", "factor": "dr", "scale": "d"}

    factor: Array
    scale: Array

    @classmethod
    def fit(cls, draws: Training, *, rank: int | None = None) -> Self:
        """Maximise the likelihood by factor analysis, which minimises KL(p‖q).

        `rank` is the number of factors, from 0 to d - 1; held-out draws choose it if not given.
        """
        data = FitData.check(draws.x, draws.weights, blocks=draws.blocks, n_least=2)
        if rank is not None and not 0 <= rank < data.d:
            raise ValueError(f"rank must be from 0 to d - 1 = {data.d - 1}; got {rank}. Use fullrank beyond that.")
        data.check_varies()
        choice = choose_rank(data, cls._from_factors, rank, draws.rng)
        whole = Standardised.of(data.x, data.weights)
        starts = [None] if choice.own is None else [None, choice.own]  # two, since maxima may be local
        factors = min((fit_factors(whole.root, choice.rank, start) for start in starts), key=lambda fit: fit.loss)
        return replace(cls._from_factors(whole, factors), info=choice.info(factors))

    @classmethod
    def _from_factors(cls, draws: Standardised, factors: Factors) -> Self:
        scaled = draws.deviation[:, None] * factors.loadings
        return cls(loc=draws.mean, factor=scaled, scale=draws.deviation * np.sqrt(factors.own))

    @property
    def rank(self) -> int:
        """Number of common factors, r."""
        return int(self.factor.shape[1])

    @cached_property
    def covariance(self) -> Array:
        """Covariance (d, d), unconstrained space."""
        return self.factor @ self.factor.T + np.diag(self.scale**2)

    @cached_property
    def scale_tril(self) -> Array:
        """Lower Cholesky factor (d, d) of the covariance."""
        return np.linalg.cholesky(self.covariance)

    @cached_property
    def _axes(self) -> tuple[Array, Array]:
        """Orthonormal axes (d, r) and variances (r,) of the factors, in coordinates divided by their own deviation."""
        axes, widths, _ = np.linalg.svd(self.factor / self.scale[:, None], full_matrices=False)
        return axes, widths**2

    def _sample(self, n: int, rng: np.random.Generator) -> Array:
        own = rng.standard_normal((n, self.d)) * self.scale
        return self.loc + own + rng.standard_normal((n, self.rank)) @ self.factor.T

    def _log_prob(self, x: Array) -> Array:
        """Evaluate the density by Woodbury's identity, in coordinates whose own deviation is 1.

        The covariance there is I + A diag(v) Aᵀ for orthonormal axes A, and its inverse I - A diag(v / (1 + v)) Aᵀ.
        """
        axes, variances = self._axes
        z = (x - self.loc) / self.scale
        along = z @ axes
        squares = ((z - along @ axes.T) ** 2).sum(axis=1) + along**2 @ (1 / (1 + variances))
        log_det = 2 * np.log(self.scale).sum() + np.log1p(variances).sum()
        return -0.5 * (squares + log_det + self.d * LOG_2PI)
