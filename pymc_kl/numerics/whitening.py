"""Coordinates in which a local scale is one; where the scale is diagonal, as it is in wide spaces, without matrices.

A scale is a lower Cholesky factor (d, d) of a covariance: x = scale @ y for whitened y.
"""

import numpy as np

from pymc_kl._typing import Array

WIDE = 300  # dimensions above which draws are too few to tell correlations, and scales are diagonal; our choice


def widths(scale: Array) -> Array | None:
    """Return the diagonal (d,) of a scale that is nothing else; None of any other."""
    width = np.diag(scale)
    return width if np.count_nonzero(scale) == np.count_nonzero(width) else None


def whiten(x: Array, scale: Array) -> Array:
    """Divide points (n, d) by a scale: one standard deviation becomes one."""
    width = widths(scale)
    return np.linalg.solve(scale, x.T).T if width is None else x / width


def unwhiten(y: Array, scale: Array) -> Array:
    """Multiply whitened points (..., d) by a scale."""
    width = widths(scale)
    return np.asarray(y @ scale.T if width is None else y * width)


def whiten_gradient(grad: Array, scale: Array) -> Array:
    """Turn gradients (..., d) into those with respect to whitened coordinates."""
    width = widths(scale)
    return np.asarray(grad @ scale if width is None else grad * width)


def scale_of_precision(precision: Array) -> Array:
    """Find the scale of a precision (d, d) without inverting it, which rounds off what a narrow ridge is narrow along.

    Raises
    ------
    numpy.linalg.LinAlgError
        If it is not positive definite.
    """
    upper = np.linalg.inv(np.linalg.cholesky(precision[::-1, ::-1]))
    return np.asarray(upper.T[::-1, ::-1])


def covariances_of_precisions(precisions: Array) -> Array:
    """Invert precisions (K, d, d) so that those of narrow ridges stay positive definite."""
    scales = np.array([scale_of_precision(precision) for precision in precisions]).reshape(precisions.shape)
    return np.asarray(scales @ scales.swapaxes(1, 2))
