"""The scale of the posterior about a typical point of a mode, and coordinates in which that scale is one."""

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.numerics.constants import MAD_TO_SD
from pymc_kl.numerics.lbfgs import ValueAndGrad
from pymc_kl.numerics.whitening import WIDE, scale_of_precision

CLIP = 5.0  # robust standard deviations at which a gradient's coordinates are clipped; our choice
STUCK = 0.1  # variance of draws times mean squared gradient, at least 1 of p, below which they are stuck; our choice
POINTS_ABOUT = 8  # points about each maximum at which the gradient is taken; our choice
TOO_DEEP = 10.0  # nats that log p̃ may fall below a peak's Gaussian at a point that stands for p; our choice
MOST_HALVED = 12  # times that the step to such a point is halved, at the most; our choice


def local_scale(grads: Array) -> Array:
    """Estimate the lower Cholesky factor (d, d) of the local covariance from gradients (n, d) at draws of p.

    E[∇log p ∇log pᵀ] is the mean precision as a mode sees it, however far apart the modes are. Gradients are
    clipped at five robust standard deviations, so that a funnel's neck doesn't set the scale of the rest. In
    wide spaces it is diagonal.
    """
    grads = grads[np.isfinite(grads).all(axis=1)]
    n, d = grads.shape
    if not n:
        return np.eye(d)
    spread = MAD_TO_SD * np.median(np.abs(grads), axis=0)
    spread[spread == 0] = 1.0
    clipped = np.clip(grads / spread, -CLIP, CLIP)
    if d > WIDE:
        return np.diag(1 / (spread * np.sqrt(np.square(clipped).mean(axis=0))))
    kept = n / (n + d)  # shrink towards the diagonal where draws are few
    information = kept * clipped.T @ clipped / n + (1 - kept) * np.eye(d)
    return np.asarray(np.diag(1 / spread) @ scale_of_precision(information))


def are_stuck(draws: Array, grads: Array) -> bool:
    """Tell whether draws (n, d) spread far less than the gradients (m, d) at some of them allow draws of p to.

    By Cramér and Rao's bound the variance of each coordinate times E[(∂ log p)²] is at least 1.
    """
    information = np.square(grads[np.isfinite(grads).all(axis=1)]).mean(axis=0)
    return bool((draws.var(axis=0) * information < STUCK).any())


def scale_about(
    value_and_grad: ValueAndGrad, x: Array, precisions: Array, owner: IntArray, rng: np.random.Generator
) -> Array:
    """Estimate the local scale (d, d) from gradients at points about maxima x (p, d), each drawn from its Gaussian.

    About a maximum are as many points as `owner` (m,), the maximum of each climb, asks for.

    Off a bent ridge log p̃ falls far more than that Gaussian: such points are drawn nearer to the maximum.
    """
    z = rng.standard_normal((len(owner), POINTS_ABOUT, x.shape[1]))
    steps = np.empty_like(z)
    for k in np.unique(owner):
        steps[owner == k] = z[owner == k] @ scale_of_precision(precisions[k]).T
    lowest = value_and_grad(x)[0][owner, None] - 0.5 * (z**2).sum(axis=2) - TOO_DEEP
    centres = np.repeat(x[owner], POINTS_ABOUT, axis=0)
    points = _above(value_and_grad, centres, steps.reshape(centres.shape), lowest.ravel())
    return local_scale(value_and_grad(points)[1])


def _above(value_and_grad: ValueAndGrad, x: Array, steps: Array, lowest: Array) -> Array:
    """Take a step (n, d) from each point, halved until log p̃ at its end is no lower than `lowest` (n,)."""
    ends = x + steps
    for _ in range(MOST_HALVED):
        deep = ~(value_and_grad(ends)[0] >= lowest)
        if not deep.any():
            break
        ends[deep] = (x[deep] + ends[deep]) / 2
    return ends
