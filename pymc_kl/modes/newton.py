"""Newton steps from the end of a climb to the top, with the curvature there by differences of the gradient."""

import numpy as np
from scipy.linalg import eigvalsh

from pymc_kl._typing import Array
from pymc_kl.modes.peak_shape import FLAT
from pymc_kl.numerics.lbfgs import ValueAndGrad

NEWTON_STEPS = 3  # Newton steps at the end of a climb, at the most; our choice
HESSIAN_STEP = 1e-4  # local standard deviations: step of a central difference; our choice
OFF = 1e-9  # nats: a fall by more is no rounding, but a step off a bent ridge; our choice
MOST_GAIN = 1.0  # nats that steps that fell at first may gain: more may lead to another maximum; our choice


def top_by_newton(value_and_grad: ValueAndGrad, x: Array, scale: Array) -> tuple[Array, Array]:
    """Take Newton steps from the end x (d,) of a climb: the highest point reached, and the whitened curvature there.

    Off a bent ridge a step falls, and the next one leads back to it, far closer to the top.
    """
    value, grad = (of[0] for of in value_and_grad(x[None]))
    curvature = whitened_precision(value_and_grad, x, scale)
    best, top = (x, curvature), value
    for _ in range(NEWTON_STEPS):
        if not _is_positive(curvature):
            break
        x = x + scale @ np.linalg.solve(curvature, scale.T @ grad)
        last, (value, grad) = value, (of[0] for of in value_and_grad(x[None]))
        if not np.isfinite(value) or last - OFF <= value < last:
            break
        curvature = whitened_precision(value_and_grad, x, scale)
        if value >= top and (last >= top or value < top + MOST_GAIN):
            best, top = (x, curvature), value
    return best


def _is_positive(curvature: Array) -> bool:
    """Tell whether a matrix (d, d) is finite and positive definite, up to rounding."""
    if not np.isfinite(curvature).all():
        return False
    eigenvalues = eigvalsh(curvature)
    return bool(eigenvalues[0] > FLAT * max(eigenvalues[-1], FLAT))


def whitened_precision(value_and_grad: ValueAndGrad, x: Array, scale: Array) -> Array:
    """Compute minus the Hessian in whitened coordinates by central differences of the gradient."""
    steps = HESSIAN_STEP * scale.T
    _, grads = value_and_grad(np.concatenate([x + steps, x - steps]))
    with np.errstate(invalid="ignore", over="ignore"):  # the caller asks whether all is finite
        grads = grads @ scale
        d = len(x)
        hessian = (grads[:d] - grads[d:]) / (2 * HESSIAN_STEP)
        return np.asarray(-0.5 * (hessian + hessian.T))
