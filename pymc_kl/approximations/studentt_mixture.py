"""The mixture of multivariate t's: several modes, each with tails of its own."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from pymc_kl._typing import Array, BoolArray
from pymc_kl.approximations.component_family import ComponentFamily, total_covariance
from pymc_kl.approximations.components import Components
from pymc_kl.approximations.estimation.fit_data import FitData
from pymc_kl.approximations.estimation.student_ml import fit_student

FRAME_ITERATIONS = 50  # most iterations of ECME for the frame; our choice
FRAME_GAIN = 1e-3  # nats a draw: the same ECME stops when an iteration gains less; our choice


@dataclass(frozen=True, kw_only=True, eq=False)
class StudentTMixture(ComponentFamily):
    """q(x) = Σ_m weights_m t(x; dfs_m, locs_m, L_m L_mᵀ) with L = scale_trils: a mixture of multivariate t's.

    The forward fit is weighted ECM [1]_, started and grown as that of the Gaussian mixture. It needs no moments of p.
    Each component has degrees of freedom of its own, fitted from 0.3 to 1000. The other parameters and `info` are
    those of :class:`~pymc_kl.approximations.component_family.ComponentFamily`.

    Parameters
    ----------
    dfs : array (M,)
        Degrees of freedom of the components, positive.

    References
    ----------
    .. [1] Peel, D. and McLachlan, G. J. (2000). Robust mixture modelling using the t distribution. Statistics
       and Computing 10, 339-348. doi:10.1023/A:1008981510081

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
    heavy: ClassVar[bool] = True
    shapes: ClassVar[dict[str, str]] = ComponentFamily.shapes | {"dfs": "M"}

    dfs: Array

    @staticmethod
    def _frame(data: FitData) -> tuple[Array, Array]:
        return heavy_frame(data)

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
    for k in data.modes if data.mode.any() else ():
        mine = data.mode == k
        residuals[mine] = data.x[mine] - _median(data, mine)
    fit = fit_student(np.asfortranarray(residuals), data.weights, tolerance=FRAME_GAIN, max_iterations=FRAME_ITERATIONS)
    return middle, fit.scale_tril


def _median(data: FitData, rows: BoolArray) -> Array:
    """Find the weighted median (d,) of some draws, coordinate by coordinate."""
    return np.asarray(np.quantile(data.x[rows], 0.5, axis=0, weights=data.weights[rows], method="inverted_cdf"))
