"""Draws to fit to, checked and without duplicates, and the coordinates in which their covariance is I."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations.components import EFFECTIVE_ROUNDING, Components, WeightedDraws, effective_number
from pymc_kl.modes.numbering import ELSEWHERE

FEW_DIMENSIONS = 20  # up to which a covariance is fitted to as few draws as can give one; our choice
DRAWS_PER_DIMENSION = 3  # in more dimensions: a normal fitted to these loses .16 nats a dimension by Wishart's moments
SMALLEST_PIVOT = 1e-7  # about 5 sqrt(eps); a smaller pivot of a correlation matrix is rounding


@dataclass(frozen=True)
class FitData:
    """Distinct draws (n, d), positive weights (n,) that sum to 1, the mode (-1: none) and block of each."""

    x: Array
    weights: Array
    mode: IntArray
    blocks: IntArray | None

    @classmethod
    def check(
        cls,
        x: Array,
        weights: Array | None,
        mode: IntArray | None = None,
        blocks: IntArray | None = None,
        *,
        n_least: int | None = None,
    ) -> Self:
        """Check the arguments, drop draws of weight zero and merge copies.

        At least `n_least` effective draws must be left; by default as many as a covariance needs:
        d + 1, in many dimensions three each.
        """
        x = _checked_draws(x)
        weights = _checked_weights(weights, len(x))
        mode = np.zeros(len(x), int) if mode is None else mode
        mode = _numbered(_checked_ids("mode", mode, len(x)))
        index, weights = merge_copies(x, weights)
        if blocks is not None:
            blocks = _checked_ids("blocks", blocks, len(x))[index]
        data = cls(x[index], weights / weights.sum(), mode[index], blocks)
        if n_least is None:
            check_enough(data.weights, data.d)
        elif (found := effective_number(data.weights)) < n_least - EFFECTIVE_ROUNDING:
            raise ValueError(_too_few(n_least, "", found))
        return data

    @property
    def d(self) -> int:
        """Number of dimensions."""
        return int(self.x.shape[1])

    @property
    def modes(self) -> IntArray:
        """Numbers of the modes that have draws."""
        return np.unique(self.mode[self.mode >= 0])

    def check_varies(self) -> None:
        """Raise a ValueError if a coordinate does not vary."""
        check_varies(self.x)

    def frame(self) -> tuple[Array, Array]:
        """Compute the mean (d,) and the Cholesky factor (d, d) of the covariance within modes."""
        mean = self.weights @ self.x
        residuals = self.x - mean
        for k in self.modes if self.mode.any() else ():
            rows = self.mode == k
            residuals[rows] -= self.weights[rows] @ residuals[rows] / self.weights[rows].sum()
        scale = np.abs(residuals).max(axis=0)
        _check_varies(scale > np.finfo(float).eps * np.abs(self.x).max(axis=0))
        residuals /= scale
        spread = np.sqrt(self.weights @ residuals**2)
        residuals /= spread
        return mean, (scale * spread)[:, None] * checked_cholesky((residuals * self.weights[:, None]).T @ residuals)

    def whitened(self, loc: Array, tril: Array) -> WeightedDraws:
        """Map the draws to z, where x = loc + tril @ z."""
        frame = Components(np.ones(1), loc[None], tril[None])
        return WeightedDraws(frame.whiten(self.x)[0], self.weights)


def check_varies(x: Array) -> None:
    """Raise a ValueError if a coordinate of x (n, d) does not vary by more than rounding."""
    width, size = np.ptp(x, axis=0), np.abs(x).max(axis=0)
    if (flat := width <= 2 * np.finfo(float).eps * size).any():
        raise ValueError(_flat(flat, ""))


def check_enough(weights: Array, d: int) -> None:
    """Raise a ValueError if draws of these weights (n,) are too few for a covariance (d, d)."""
    needed, named = (d + 1, "d + 1 = ") if d <= FEW_DIMENSIONS else (DRAWS_PER_DIMENSION * d, "three a dimension, ")
    if (found := effective_number(weights)) < needed - EFFECTIVE_ROUNDING:
        raise ValueError(_too_few(needed, named, found))


def _too_few(needed: int, named: str, found: float) -> str:
    return (
        f"x must hold at least {named}{needed} effective draws that differ; got {found:.1f}. Give more draws, or draws "
        "of more even weight, or fit 'meanfield' or 'lowrank'."
    )


def merge_copies(x: Array, weights: Array) -> tuple[IntArray, Array]:
    """Find the first copy of each draw (n, d) of positive weight, and the summed weight of all its copies."""
    used = np.flatnonzero(weights > 0)
    x, weights = x[used], weights[used]
    if np.unique(x[:, 0]).size == len(x):
        return used, weights
    _, first, copied = np.unique(x, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return used[first[order]], np.bincount(copied.ravel(), weights)[order]


def _checked_draws(x: npt.ArrayLike) -> Array:
    x = np.asarray(x, dtype=float)
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"x must have shape (n, d) with n, d at least 1; got {x.shape}.")
    if not np.isfinite(x).all():
        raise ValueError(f"x must be finite; {(~np.isfinite(x)).any(axis=1).sum()} draws are not. Drop them.")
    return x


def _checked_weights(weights: npt.ArrayLike | None, n: int) -> Array:
    weights = np.ones(n) if weights is None else np.asarray(weights, dtype=float)
    if weights.shape != (n,):
        raise ValueError(f"weights must have shape ({n},), one for each draw; got {weights.shape}.")
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise ValueError("weights must be finite, not negative and not all zero. Exponentiate log weights first.")
    return weights / weights.max()


def _checked_ids(name: str, ids: npt.ArrayLike, n: int) -> IntArray:
    ids = np.asarray(ids)
    if ids.shape != (n,) or ids.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers of shape ({n},); got {ids.dtype} of shape {ids.shape}.")
    return ids.astype(np.int64)


def _numbered(mode: IntArray) -> IntArray:
    """Number the modes from 0; elsewhere stays elsewhere."""
    names = np.unique(mode[mode >= 0])
    return np.where(mode < 0, ELSEWHERE, np.searchsorted(names, mode))


def _check_varies(varies: npt.NDArray[np.bool_]) -> None:
    if not varies.all():
        raise ValueError(_flat(~varies, " within any mode"))


def _flat(flat: npt.NDArray[np.bool_], where: str) -> str:
    return (
        f"coordinates {np.flatnonzero(flat).tolist()} of x don't vary{where}, so a density has no width there. "
        "Drop them, or fix these parameters in the model."
    )


def checked_cholesky(correlation: Array) -> Array:
    """Factor a correlation matrix (d, d); raise a ValueError if it is singular."""
    try:
        tril = np.linalg.cholesky(correlation)
    except np.linalg.LinAlgError:
        tril = np.zeros_like(correlation)
    if np.diag(tril).min() < SMALLEST_PIVOT:
        raise ValueError(
            f"the draws lie on a hyperplane: within modes, the {len(correlation)} coordinates of x are "
            "linearly dependent. Drop a coordinate that others determine, or give more draws."
        )
    return tril
