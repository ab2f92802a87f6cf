"""The scale of the posterior about a typical point of a mode, and coordinates in which that scale is one."""

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.numerics.constants import MAD_TO_SD

CLIP = 5.0  # robust standard deviations at which a gradient's coordinates are clipped; our choice


def whiten(x: Array, scale: Array) -> Array:
    """Divide points (n, d) by a lower Cholesky factor (d, d): one standard deviation becomes one."""
    return np.linalg.solve(scale, x.T).T


def local_scale(grads: Array) -> Array:
    """Estimate the lower Cholesky factor (d, d) of the local covariance from gradients (n, d) at draws of p.

    E[∇log p ∇log pᵀ] is the mean precision as a mode sees it, however far apart the modes are. Gradients are
    clipped at five robust standard deviations, so that a funnel's neck doesn't set the scale of the rest.
    """
    grads = grads[np.isfinite(grads).all(axis=1)]
    n, d = grads.shape
    if not n:
        return np.eye(d)
    spread = MAD_TO_SD * np.median(np.abs(grads), axis=0)
    spread[spread == 0] = 1.0
    clipped = np.clip(grads / spread, -CLIP, CLIP)
    kept = n / (n + d)  # shrink towards the diagonal where draws are few
    information = kept * clipped.T @ clipped / n + (1 - kept) * np.eye(d)
    return np.asarray(np.diag(1 / spread) @ np.linalg.cholesky(np.linalg.inv(information)))
