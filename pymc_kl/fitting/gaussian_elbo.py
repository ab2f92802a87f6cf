"""The ELBO of many Gaussian fits of one family at once, on fixed standard normal points, and its gradient.

Each class holds S fits to start from. The parameters of each are a row theta (P,), zero at the start; a unit step is
about one standard deviation, so that one optimiser suits all families. `draw` maps rows of theta to draws x (S, n, d)
at noise z (n, n_noise) and to log |Σ|/2 (S,); `pull_back` maps the mean gradient of log p̃ by the shift and by the noise
to that of the ELBO by theta, the entropy's gradient included.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations import FullRank, LowRank, MeanField
from pymc_kl.approximations.fullrank import unpack_factor
from pymc_kl.fitting.points import finite_value_and_grad
from pymc_kl.numerics.lbfgs import RowsValueAndGrad, ValueAndGrad

type Gaussian = MeanField | FullRank | LowRank

GAIN_TOLERANCE = 1e-8  # nats: a climb ends when its next step is expected to gain less; our choice
CHUNK_NUMBERS = 2**21  # draws times dimensions that one call evaluates; bounds memory; our choice


@dataclass(frozen=True, eq=False)
class GaussianRows(ABC):
    """S fits of one Gaussian family, each with parameters that are zero at the fit itself."""

    fits: tuple[Any, ...]

    POINTS: ClassVar[int]  # points a dimension of the noise that determine all parameters of the family
    TOLERANCE: ClassVar[float] = GAIN_TOLERANCE

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of parameters of a fit, P."""

    @property
    def n_noise(self) -> int:
        """Number of standard normals that a draw is made of."""
        return self.d

    @property
    def d(self) -> int:
        """Number of dimensions of a draw."""
        return int(self.fits[0].d)

    @cached_property
    def locs(self) -> Array:
        """Means at the start, (S, d)."""
        return np.stack([fit.loc for fit in self.fits])

    @abstractmethod
    def draw(self, theta: Array, rows: IntArray, z: Array) -> tuple[Array, Array]:
        """Map theta (S, P) and noise (n, n_noise) to draws (S, n, d) and half log determinants (S,)."""

    def by_noise(self, grad: Array, z: Array) -> Array:
        """Mean (S, d, n_noise) of gradients (S, n, d) times noise (n, n_noise)."""
        return np.asarray(grad.swapaxes(1, 2) @ z / len(z))

    @abstractmethod
    def pull_back(self, theta: Array, rows: IntArray, by_loc: Array, by_noise: Array) -> Array:
        """Map mean gradients (S, d), and what `by_noise` returns, to the gradient (S, P) of the ELBO."""

    @abstractmethod
    def fit(self, theta: Array, row: int) -> Any:
        """Make the fit of one row."""

    def on(self, value_and_grad: ValueAndGrad, z: Array) -> RowsValueAndGrad:
        """Fix the noise: ELBO (S,), up to a constant, and gradient (S, P) of rows of theta."""
        each = max(CHUNK_NUMBERS // (len(z) * self.d), 1)

        def function(theta: Array, rows: IntArray) -> tuple[Array, Array]:
            parts = [
                self._evaluate(value_and_grad, z, theta[i : i + each], rows[i : i + each])
                for i in range(0, len(rows), each)
            ]
            values, grads = zip(*parts, strict=True) if parts else ((np.empty(0),), (np.empty((0, self.size)),))
            return np.concatenate(values), np.concatenate(grads)

        return function

    def _evaluate(self, value_and_grad: ValueAndGrad, z: Array, theta: Array, rows: IntArray) -> tuple[Array, Array]:
        with np.errstate(all="ignore"):  # a step may overflow: it is then shortened
            x, half_log_det = self.draw(theta, rows, z)
            value, grad = finite_value_and_grad(value_and_grad, x.reshape(-1, self.d))
            value, grad = value.reshape(x.shape[:2]), grad.reshape(x.shape)
            slope = self.pull_back(theta, rows, grad.mean(axis=1), self.by_noise(grad, z))
            return value.mean(axis=1) + half_log_det, slope


@dataclass(frozen=True, eq=False)
class MeanFieldRows(GaussianRows):
    """Mean-field fits; parameters are the shift of the mean, in sd, and the log factor of each sd."""

    POINTS: ClassVar[int] = 6

    @property
    def size(self) -> int:
        """Number of parameters of a fit, 2 d."""
        return 2 * self.d

    @cached_property
    def scales(self) -> Array:
        """Standard deviations at the start, (S, d)."""
        return np.stack([fit.scale for fit in self.fits])

    def draw(self, theta: Array, rows: IntArray, z: Array) -> tuple[Array, Array]:
        """Shift and stretch each coordinate."""
        shift, log_factor = np.split(theta, 2, axis=1)
        start = self.scales[rows]
        scale = start * np.exp(log_factor)
        x = (self.locs[rows] + start * shift)[:, None] + z * scale[:, None]
        return x, np.log(scale).sum(axis=1)

    def by_noise(self, grad: Array, z: Array) -> Array:
        """Mean (S, d) of each gradient times the noise of its own dimension, which alone a scale multiplies."""
        return np.asarray((grad * z).mean(axis=1))

    def pull_back(self, theta: Array, rows: IntArray, by_loc: Array, by_noise: Array) -> Array:
        """Apply the chain rule: gradient by shift, then by log factor, to which the entropy adds 1."""
        start = self.scales[rows]
        return np.concatenate([start * by_loc, start * np.exp(theta[:, self.d :]) * by_noise + 1.0], axis=1)

    def fit(self, theta: Array, row: int) -> MeanField:
        """Make the fit of one row."""
        start, scale = self.fits[row], self.scales[row]
        shift, log_factor = np.split(theta, 2)
        return replace(start, loc=start.loc + scale * shift, scale=scale * np.exp(log_factor))


@dataclass(frozen=True, eq=False)
class FullRankRows(GaussianRows):
    """Full-rank fits; parameters are a whitened shift and a factor T of the Cholesky factor, which becomes L T.

    T is lower triangular, with its diagonal in logs.
    """

    POINTS: ClassVar[int] = 12

    @property
    def size(self) -> int:
        """Number of parameters of a fit."""
        return self.d + self.d * (self.d + 1) // 2

    @cached_property
    def trils(self) -> Array:
        """Cholesky factors at the start, (S, d, d)."""
        return np.stack([fit.scale_tril for fit in self.fits])

    def _factors(self, theta: Array) -> Array:
        return unpack_factor(theta[:, self.d :], self.d)

    def draw(self, theta: Array, rows: IntArray, z: Array) -> tuple[Array, Array]:
        """Draw x = loc + L shift + L T z."""
        start = self.trils[rows]
        tril = start @ self._factors(theta)
        loc = self.locs[rows] + np.einsum("sij,sj->si", start, theta[:, : self.d])
        half_log_det = np.log(np.diagonal(tril, axis1=1, axis2=2)).sum(axis=1)
        return loc[:, None] + z @ tril.swapaxes(1, 2), half_log_det

    def pull_back(self, theta: Array, rows: IntArray, by_loc: Array, by_noise: Array) -> Array:
        """Apply the chain rule through L and T; the entropy adds 1 to the gradient by each log of the diagonal."""
        upper = self.trils[rows].swapaxes(1, 2)
        by_factor = upper @ by_noise
        diagonal = np.diag_indices(self.d)
        by_factor[:, *diagonal] = by_factor[:, *diagonal] * self._factors(theta)[:, *diagonal] + 1.0
        by_shift = np.einsum("sij,sj->si", upper, by_loc)
        return np.concatenate([by_shift, by_factor[:, *np.tril_indices(self.d)]], axis=1)

    def fit(self, theta: Array, row: int) -> FullRank:
        """Make the fit of one row."""
        start = self.fits[row]
        tril = start.scale_tril @ self._factors(theta[None])[0]
        return replace(start, loc=start.loc + start.scale_tril @ theta[: self.d], scale_tril=tril)


@dataclass(frozen=True, eq=False)
class LowRankRows(GaussianRows):
    """Low-rank fits; parameters are a whitened shift, a log factor of each scale, and a whitened change of the factor.

    Whitening divides by S (I + UUᵀ)^½, the scales S times a symmetric root, where U = S⁻¹F.
    """

    POINTS: ClassVar[int] = 6
    TOLERANCE: ClassVar[float] = 1e-6  # nats; coarse, since the ELBO is flat along superfluous factors

    @property
    def rank(self) -> int:
        """Columns of the factor, r."""
        return int(self.fits[0].factor.shape[1])

    @property
    def n_noise(self) -> int:
        """Number of standard normals that a draw is made of: one for each dimension and one for each factor."""
        return self.d + self.rank

    @property
    def size(self) -> int:
        """Number of parameters of a fit, d (2 + r)."""
        return self.d * (2 + self.rank)

    @cached_property
    def scales(self) -> Array:
        """Standard deviations at the start, without the factors, (S, d)."""
        return np.stack([fit.scale for fit in self.fits])

    @cached_property
    def factors(self) -> Array:
        """Factors at the start, (S, d, r)."""
        return np.stack([fit.factor for fit in self.fits])

    @cached_property
    def _axes(self) -> tuple[Array, Array]:
        """Eigenvectors (S, d, r) of UUᵀ, and for each the eigenvalue of (I + UUᵀ)^½ minus 1, (S, r)."""
        axes, size, _ = np.linalg.svd(self.factors / self.scales[:, :, None], full_matrices=False)
        return axes, np.sqrt(1 + size**2) - 1

    def _root(self, rows: IntArray, columns: Array) -> Array:
        """Multiply columns (m, d, k) by (I + UUᵀ)^½, by means of its eigenvectors."""
        axes, longer = (part[rows] for part in self._axes)
        return columns + axes @ (longer[:, :, None] * (axes.swapaxes(1, 2) @ columns))

    def _unpack(self, theta: Array, rows: IntArray) -> tuple[Array, Array, Array]:
        d, start = self.d, self.scales[rows]
        columns = np.concatenate([theta[:, :d, None], theta[:, 2 * d :].reshape(len(theta), d, self.rank)], axis=2)
        moves = start[:, :, None] * self._root(rows, columns)
        return (
            self.locs[rows] + moves[:, :, 0],
            start * np.exp(theta[:, d : 2 * d]),
            self.factors[rows] + moves[:, :, 1:],
        )

    def draw(self, theta: Array, rows: IntArray, z: Array) -> tuple[Array, Array]:
        """Draw x = loc + S z₁ + F z₂; the log determinant needs only an r by r matrix (Sylvester's theorem)."""
        loc, scale, factor = self._unpack(theta, rows)
        own, shared = z[:, : self.d], z[:, self.d :]
        x = loc[:, None] + own * scale[:, None] + shared @ factor.swapaxes(1, 2)
        return x, np.log(scale).sum(axis=1) + 0.5 * np.linalg.slogdet(self._capacitance(scale, factor))[1]

    def _capacitance(self, scale: Array, factor: Array) -> Array:
        whitened = factor / scale[:, :, None]
        matrix = np.eye(self.rank) + whitened.swapaxes(1, 2) @ whitened
        finite = np.isfinite(matrix).all(axis=(1, 2))  # if not, draws are not either, and the step is shortened
        return np.where(finite[:, None, None], matrix, np.eye(self.rank))

    def pull_back(self, theta: Array, rows: IntArray, by_loc: Array, by_noise: Array) -> Array:
        """Apply the chain rule; the entropy's gradient is Σ⁻¹F by F and diag(Σ⁻¹) S by S (Woodbury)."""
        d, start = self.d, self.scales[rows]
        _, scale, factor = self._unpack(theta, rows)
        whitened = factor / scale[:, :, None]
        solved = whitened @ np.linalg.pinv(self._capacitance(scale, factor), hermitian=True)
        by_factor = by_noise[:, :, d:] + solved / scale[:, :, None]
        by_log_scale = scale * np.diagonal(by_noise[:, :, :d], axis1=1, axis2=2) + 1 - (whitened * solved).sum(axis=2)
        by_moves = start[:, :, None] * np.concatenate([by_loc[:, :, None], by_factor], axis=2)
        by_columns = self._root(rows, by_moves)
        return np.concatenate([by_columns[:, :, 0], by_log_scale, by_columns[:, :, 1:].reshape(len(theta), -1)], axis=1)

    def fit(self, theta: Array, row: int) -> LowRank:
        """Make the fit of one row."""
        loc, scale, factor = self._unpack(theta[None], np.array([row]))
        return replace(self.fits[row], loc=loc[0], scale=scale[0], factor=factor[0])


ROWS: dict[type[Any], type[GaussianRows]] = {MeanField: MeanFieldRows, FullRank: FullRankRows, LowRank: LowRankRows}


def rows_of(fits: Sequence[Gaussian]) -> GaussianRows:
    """Collect fits of one family, so that their ELBOs are evaluated together."""
    return ROWS[type(fits[0])](tuple(fits))
