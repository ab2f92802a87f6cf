"""The scale that the posterior has about a typical point of a mode, from gradients at draws."""

import numpy as np

from pymc_kl._typing import Array


def local_scale(grads: Array) -> Array:
    """Estimate the lower Cholesky factor (d, d) of the local covariance from gradients (n, d) at draws of p.

    E[∇log p ∇log pᵀ] is the mean precision as a mode sees it, however far apart the modes are. Gradients are
    clipped at five robust standard deviations, so that a funnel's neck doesn't set the scale of the rest.
    """
    grads = grads[np.isfinite(grads).all(axis=1)]
    d = grads.shape[1]
    if not len(grads):
        return np.eye(d)
    spread = 1.4826 * np.median(np.abs(grads), axis=0)
    spread[spread == 0] = 1.0
    clipped = np.clip(grads / spread, -5, 5)
    share = len(grads) / (len(grads) + d)  # shrink towards the diagonal where draws are few
    information = share * clipped.T @ clipped / len(grads) + (1 - share) * np.eye(d)
    return np.asarray(np.diag(1 / spread) @ np.linalg.cholesky(np.linalg.inv(information)))
