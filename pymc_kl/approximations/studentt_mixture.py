"""The mixture of multivariate t's: several modes, each with tails of its own."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.approximations.component_family import ComponentFamily, Sizes, fit_mixture, total_covariance
from pymc_kl.approximations.components import Components
from pymc_kl.approximations.estimation.fit_data import FitData
from pymc_kl.approximations.estimation.student_ml import fit_student

FRAME_ITERATIONS, FRAME_GAIN = 50, 1e-3  # the frame is for rounding alone: the fit does not depend on it


@dataclass(frozen=True, kw_only=True, eq=False)
class StudentTMixture(ComponentFamily):
    """Mixture of multivariate t's.

    Parameters
    ----------
    weights : array (M,)
        Positive, sum to 1.
    locs : array (M, d)
        Centres of the components, unconstrained space.
    scale_trils : array (M, d, d)
        Lower Cholesky factors of the components' scale matrices.
    dfs : array (M,)
        Degrees of freedom of the components, positive.

    Notes
    -----
    `info` is that of :class:`~pymc_kl.approximations.mixture.Mixture`.

    Examples
    --------
    >>> q = StudentTMixture(
    ...     weights=np.array([0.5, 0.5]), locs=np.array([[-4.0], [4.0]]), scale_trils=np.ones((2, 1, 1)),
    ...     dfs=np.array([3.0, 5.0]),
    ... )
    >>> q.loc, q.covariance.round(4)
    (array([0.]), array([[18.3333]]))
    """

    family: ClassVar[str] = "studentt_mixture"

    dfs: Array

    @classmethod
    def fit_forward(
        cls,
        x: Array,
        weights: Array | None = None,
        *,
        labels: IntArray | None = None,
        blocks: IntArray | None = None,
        max_components: int | None = None,
        n_components: int | None = None,
        rng: np.random.Generator | None = None,
    ) -> Self:
        """Minimise KL(p‖q) over mixtures of multivariate t's, given draws of p.

        Weighted ECM [1]_, started and grown as the Gaussian mixture is. It needs no moments of p. Degrees of freedom
        are fitted to each component, from 0.3 to 1000.

        Parameters
        ----------
        x : array (n, d)
            Draws of p, unconstrained space. Copies count as one draw with their summed weight.
        weights : array (n,), optional
            Not negative; any scale.
        labels : array of int (n,), optional
            The mode of each draw, -1 elsewhere.
        blocks : array of int (n,), optional
            Contiguous blocks of autocorrelated draws: they are held out whole.
        max_components, n_components : int, optional
            At most this many (default: 12 more than there are modes), or exactly this many.
        rng : Generator, optional

        Returns
        -------
        StudentTMixture
            The fit to all draws.

        Raises
        ------
        ValueError
            If there are fewer than d + 1 effective draws, or they lie on a hyperplane.

        References
        ----------
        .. [1] Peel, D. and McLachlan, G. J. (2000). Robust mixture modelling using the t distribution. Statistics
           and Computing 10, 339-348. doi:10.1023/A:1008981510081
        """
        data = FitData.check(x, weights, labels, blocks)
        sizes = Sizes.check(n_components, max_components, data.modes.size)
        return cls._from_components(*fit_mixture(data, heavy_frame(data), sizes, heavy=True, rng=rng))

    @cached_property
    def loc(self) -> Array:
        """Mean of the whole mixture (d,), unconstrained space; NaN where a component has `df` of 1 or less."""
        return self.weights @ self.locs if (self.dfs > 1).all() else np.full(self.d, np.nan)

    @cached_property
    def covariance(self) -> Array:
        """Covariance of the whole mixture (d, d), unconstrained space; NaN where a `df` is 2 or less."""
        if not (self.dfs > 2).all():
            return np.full((self.d, self.d), np.nan)
        covariances = (self.dfs / (self.dfs - 2))[:, None, None] * self._components.covariances
        return total_covariance(self.weights, self.locs, covariances)

    @cached_property
    def _components(self) -> Components:
        return Components(self.weights, self.locs, self.scale_trils, self.dfs)


def heavy_frame(data: FitData) -> tuple[Array, Array]:
    """Find the median (d,) of draws, and the Cholesky factor (d, d) of their scale within modes, without moments."""
    data.check_varies()
    middle = _median(data, np.ones(data.weights.size, dtype=bool))
    residuals = data.x - middle
    for k in data.modes if data.labels.any() else ():
        mine = data.labels == k
        residuals[mine] = data.x[mine] - _median(data, mine)
    fit = fit_student(
        np.ascontiguousarray(residuals.T), data.weights, tolerance=FRAME_GAIN, max_iterations=FRAME_ITERATIONS
    )
    return middle, fit.scale_tril


def _median(data: FitData, rows: BoolArray) -> Array:
    """Find the weighted median (d,) of some draws, coordinate by coordinate."""
    return np.asarray(np.quantile(data.x[rows], 0.5, axis=0, weights=data.weights[rows], method="inverted_cdf"))
