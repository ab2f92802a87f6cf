"""Newton's method from many points at once, for the few climbs that a narrow, bent ridge makes long.

Where a ridge turns in many directions, L-BFGS follows it in hundreds of short steps; with the curvature at hand a few
dozen do. The Hessian comes by differences of the gradient, so that a step takes 2 d evaluations a row: worth it for
few rows in few dimensions.
"""

from dataclasses import dataclass, fields
from functools import partial

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.numerics.lbfgs import ARMIJO, Capture, Climbed, ValueAndGrad, climb
from pymc_kl.numerics.whitening import unwhiten, whiten, whiten_gradient

BY_NEWTON = 20  # dimensions up to which the last climbs go on by Newton's method, a step of which takes 2 d; our choice
FEW_CLIMB = 64  # climbs left that go on so: of more, L-BFGS takes the fewer evaluations; our choice
MOST_STEPS_UP = 200  # Newton steps of a row at the most; our choice
MOST_TRIALS = 8  # lengths that are tried for each step at the most; our choice
FIRST_RADIUS = 1.0  # whitened units: longest first step; our choice
GROW, SHRINK = 2.0, 0.3  # factors of that length after a step that climbs, and one that does not; our choice
HESSIAN_STEP = 1e-4  # local standard deviations: step of a central difference; our choice
LEAST_CURVATURE = 1e-6  # of log p̃, in whitened units, that a step is taken with; our choice


def climb_to_the_end(value_and_grad: ValueAndGrad, x: Array, scale: Array, capture: Capture, max_steps: int) -> Climbed:
    """Climb from points (n, d): by L-BFGS, but in few dimensions the last few by Newton's method if it takes long.

    Those that Newton's method brings nowhere go on by L-BFGS, from where it left them.
    """
    few = FEW_CLIMB if x.shape[1] <= BY_NEWTON else 0
    climbed = climb(value_and_grad, x, scale, capture=capture, max_steps=max_steps, leave=few)
    for go_on in (climb_by_newton, partial(climb, max_steps=max_steps)) if few else ():
        left = np.flatnonzero((climbed.captured < 0) & ~climbed.converged & np.isfinite(climbed.log_density))
        if len(left):
            further = go_on(value_and_grad, climbed.x[left], scale, capture=capture)
            for field in fields(Climbed):
                getattr(climbed, field.name)[left] = getattr(further, field.name)
    return climbed


def climb_by_newton(
    value_and_grad: ValueAndGrad, x: Array, scale: Array, *, capture: Capture, tolerance: float = 1e-12
) -> Climbed:
    """Climb from points (n, d), each step Newton's with the absolute value of every eigenvalue of the Hessian.

    Taking absolute values makes each step an ascent, also where log p̃ is convex along a direction [1]_.

    Parameters
    ----------
    value_and_grad : callable
        (n, d) -> (n,), (n, d).
    x : array (n, d)
        Unconstrained space.
    scale : array (d, d)
        Lower Cholesky factor of the local covariance, which whitens.
    capture : callable
        (n, d), (n,) -> (n,): index of the known maximum that a point is sure to climb to, or -1.
    tolerance : float
        A row has converged when one more step is expected to gain less than this many nats.

    Returns
    -------
    Climbed

    References
    ----------
    .. [1] Dauphin, Y. N. et al. (2014). Identifying and attacking the saddle point problem in high-dimensional
       non-convex optimization. Advances in Neural Information Processing Systems 27.
    """
    climbs = _Climbs.begin(value_and_grad, x, scale)
    captured, converged = np.full(len(x), -1, dtype=np.int64), np.zeros(len(x), dtype=bool)
    live = np.flatnonzero(np.isfinite(climbs.value))
    with np.errstate(invalid="ignore", over="ignore"):  # steps that leave the support are made shorter
        for _ in range(MOST_STEPS_UP):
            captured[live] = capture(unwhiten(climbs.y[live], scale), climbs.value[live])
            live = live[captured[live] < 0]
            if not len(live):
                break
            step, vectors, slope = climbs.aim(live)
            going = (slope * step).sum(axis=1) >= tolerance
            converged[live] = ~going
            live = live[going]
            climbs.step(live, step[going], vectors[going], slope[going])
    return Climbed(unwhiten(climbs.y, scale), climbs.value, converged, captured)


@dataclass(eq=False)
class _Climbs:
    """The state of many climbs, a row each: whitened points (n, d), values, gradients, longest next steps (n,)."""

    function: ValueAndGrad
    y: Array
    value: Array
    grad: Array
    radius: Array

    @classmethod
    def begin(cls, value_and_grad: ValueAndGrad, x: Array, scale: Array) -> "_Climbs":
        def function(y: Array) -> tuple[Array, Array]:
            value, grad = value_and_grad(unwhiten(y, scale))
            return value, whiten_gradient(grad, scale)

        y = whiten(x, scale)
        return cls(function, y, *function(y), np.full(len(y), FIRST_RADIUS))

    def aim(self, rows: IntArray) -> tuple[Array, Array, Array]:
        """Return of each row Newton's step along the eigenvectors of its Hessian (m, d), those, and the slope there."""
        eigenvalues, vectors = np.linalg.eigh(self._hessian(rows))
        slope = np.einsum("nji,nj->ni", vectors, self.grad[rows])
        return slope / np.maximum(np.abs(eigenvalues), LEAST_CURVATURE), vectors, slope

    def _hessian(self, rows: IntArray) -> Array:
        """Hessian (m, d, d) by central differences of the gradient; the unit matrix where it is not finite."""
        m, d = len(rows), self.y.shape[1]
        moves = HESSIAN_STEP * np.concatenate([np.eye(d), -np.eye(d)])
        grads = self.function((self.y[rows, None] + moves).reshape(-1, d))[1].reshape(m, 2, d, d)
        hessian = (grads[:, 0] - grads[:, 1]) / (2 * HESSIAN_STEP)
        finite = np.isfinite(hessian).all(axis=(1, 2), keepdims=True)
        return np.where(finite, 0.5 * (hessian + hessian.swapaxes(1, 2)), np.eye(d))

    def step(self, rows: IntArray, step: Array, vectors: Array, slope: Array) -> None:
        """Move rows (m,) by their steps, as far as they climb: along no eigenvector farther than their radius.

        So a row goes back to the ridge as far as it has to, and along it as far as it may.
        """
        for _ in range(MOST_TRIALS):
            if not len(rows):
                return
            longest = np.abs(step).max(axis=1)
            radius = np.minimum(self.radius[rows], longest)[:, None]
            short = np.clip(step, -radius, radius)
            y = self.y[rows] + np.einsum("nij,nj->ni", vectors, short)
            value, grad = self.function(y)
            enough = value >= self.value[rows] + ARMIJO * (slope * short).sum(axis=1)
            climbs = enough & np.isfinite(grad).all(axis=1)
            up, stay = rows[climbs], ~climbs
            self.y[up], self.value[up], self.grad[up] = y[climbs], value[climbs], grad[climbs]
            self.radius[up] *= GROW
            self.radius[rows[stay]] = SHRINK * radius[stay, 0]
            rows, step, vectors, slope = rows[stay], step[stay], vectors[stay], slope[stay]
