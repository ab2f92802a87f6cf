"""Limited-memory BFGS (Nocedal 1980, doi:10.1090/S0025-5718-1980-0572855-7) from many starts at once.

One batched call of value and gradient a step serves all starts: scipy has no optimiser that is batched over them, and
a Python call for every start and step costs more than the density. Every row has its own step length and stops alone;
coordinates are those that the caller has whitened.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.numerics.whitening import unwhiten, whiten, whiten_gradient
from pymc_kl.progress import SILENT, Alarm

type ValueAndGrad = Callable[[Array], tuple[Array, Array]]
type Capture = Callable[[Array, Array], IntArray]
type RowsValueAndGrad = Callable[[Array, IntArray], tuple[Array, Array]]

CAPTURE_EVERY = 2  # steps from one look for known maxima to the next: a look costs as much as a step; our choice
MEMORY = 8  # pairs of steps and gradient changes kept; Nocedal and Wright 2006, section 7.2, advise 3 to 20
ARMIJO = 1e-4  # least gain of a step over that expected of its slope; Nocedal and Wright 2006, section 3.1
SHORTEN = 0.4  # factor of the step length where a step gains too little; our choice
MIN_LENGTH = 1e-10  # step length, relative to the direction, below which a row is stuck; our choice
SMALL_GRADIENT = 1e-3  # nats per whitened unit: a row that is stuck has converged below this; our choice
LEAST_GAIN = 1e-12  # nats: a row has converged when one more step is expected to gain less; our choice
SMALL_GAIN = 1e-7  # nats: so has one of which a step was expected to gain no more than this; our choice
FIRST_STEPS = 40  # steps after which few rows may be left to another method; our choice
ON_A_RIDGE = 3  # times as many steps for rows that go on from there: along a ridge they are short; our choice
FEW_ROWS = 0.01  # share of all rows; if no more are on a ridge, they are left where they are; our choice
NOISE = 16 * np.finfo(float).eps  # of a log density, relative to it: no smaller gain can be told; our choice
MIN_CURVATURE = 1e-12  # of -log p̃ along a step, in whitened units, for its pair to be kept; our choice
LENGTHEN = 1.5  # factor of the reach where log p̃ goes on rising; our choice
GROW = 2.0  # longest step over the last one that was accepted, at the least; our choice


@dataclass(frozen=True, eq=False)
class Climbed:
    """Where the climb from each start ended.

    Attributes
    ----------
    x : array (n, d)
        End points, unconstrained space.
    log_density : array (n,)
        log p̃ there, nats.
    converged : array (n,) of bool
        One more step is expected to gain less than can matter.
    captured : array (n,) of int
        Index of the known maximum whose neighbourhood the climb entered, else -1.
    """

    x: Array
    log_density: Array
    converged: BoolArray
    captured: IntArray


def climb(
    value_and_grad: ValueAndGrad,
    starts: Array,
    scale: Array,
    *,
    capture: Capture | None = None,
    max_steps: int = 300,
    leave: int = 0,
    alarm: Alarm = SILENT,
) -> Climbed:
    """Maximise a log density from every start.

    Parameters
    ----------
    value_and_grad : callable
        (n, d) -> (n,), (n, d); rows with a non-finite value or gradient are stepped back from.
    starts : array (n, d)
        Unconstrained space.
    scale : array (d, d)
        Lower Cholesky factor of the local covariance, which whitens.
    capture : callable, optional
        (n, d), (n,) -> (n,): index of the known maximum that a point is sure to climb to, or -1.
    max_steps : int
        Evaluations a row; three times as many where more than a hundredth of all rows follow a narrow ridge.
    leave : int
        Rows at the most that are left where they are after the first steps, for another method to go on with.
    alarm : Alarm
        Climbs end where they are when its time is over.

    Returns
    -------
    Climbed
    """

    def function(y: Array, rows: IntArray) -> tuple[Array, Array]:  # noqa: ARG001 one density serves all rows
        value, grad = value_and_grad(unwhiten(y, scale))
        return value, whiten_gradient(grad, scale)

    climbs = Climbs.begin(function, whiten(starts, scale))
    captured = np.full(len(starts), -1, dtype=np.int64)
    with np.errstate(invalid="ignore", over="ignore"):  # rows that leave the support are stepped back from
        for step in range(ON_A_RIDGE * max_steps):
            rows = climbs.active() if step < max_steps else climbs.on_a_ridge()
            if capture is not None and len(rows) and step % CAPTURE_EVERY == 0:
                captured[rows] = capture(unwhiten(climbs.y[rows], scale), climbs.value[rows])
                climbs.stuck[rows[captured[rows] >= 0]] = True
                rows = rows[captured[rows] < 0]
            if not len(rows) or alarm.over or (step >= FIRST_STEPS and len(rows) <= leave):
                break
            climbs.step(rows, LEAST_GAIN)
    return Climbed(unwhiten(climbs.y, scale), climbs.value, climbs.converged, captured)


@dataclass(eq=False)
class Climbs:
    """The state of many climbs, a row each.

    Attributes
    ----------
    function : callable
        Points (m, d) and their rows (m,) -> values (m,) and gradients (m, d).
    y, value, grad : array (n, d), (n,), (n, d)
        Where each row is, and the function there.
    direction, length : array (n, d), (n,)
        The step to try next is their product.
    reach : array (n,)
        Norm of a direction at the most.
    steps, changes : array (memory, n, d)
        The last steps accepted, and how the gradient of minus the function changed along them.
    filled : array (n,) of int
        Steps that each row has kept so far.
    converged, stuck, near : array (n,) of bool
        One more step is expected to gain less than the tolerance; no step gains anything; a step was expected to gain
        little, which on a ridge says less of the top than of the ridge's width.
    """

    function: RowsValueAndGrad
    y: Array
    value: Array
    grad: Array
    direction: Array
    length: Array
    reach: Array
    steps: Array
    changes: Array
    filled: IntArray
    converged: BoolArray
    stuck: BoolArray
    near: BoolArray

    @classmethod
    def begin(cls, function: RowsValueAndGrad, y: Array, *, memory: int = MEMORY) -> "Climbs":
        """Evaluate the function at the starts (n, d) and aim along its gradient."""
        n, d = y.shape
        climbs = cls(
            function=function,
            y=y,
            value=np.empty(n),
            grad=np.empty((n, d)),
            direction=np.zeros((n, d)),
            length=np.ones(n),
            reach=np.full(n, _first_reach(d)),
            steps=np.zeros((memory, n, d)),
            changes=np.zeros((memory, n, d)),
            filled=np.zeros(n, dtype=np.int64),
            converged=np.zeros(n, dtype=bool),
            stuck=np.zeros(n, dtype=bool),
            near=np.zeros(n, dtype=bool),
        )
        climbs.renew(function, np.arange(n))
        return climbs

    def renew(self, function: RowsValueAndGrad, rows: IntArray) -> Array:
        """Replace the function by a similar one, keeping what is known of the curvature.

        Return the largest coordinate (m,) of each row's new direction.
        """
        self.function = function
        self.value[rows], self.grad[rows] = function(self.y[rows], rows)
        self.converged[rows] = self.near[rows] = False
        self.stuck[rows] = ~(np.isfinite(self.value[rows]) & np.isfinite(self.grad[rows]).all(axis=1))
        self._aim(rows[~self.stuck[rows]])
        return np.abs(self.direction[rows]).max(axis=1)

    def _expected(self, rows: IntArray) -> Array:
        """Gain (m,) of a step of length 1, to first order."""
        return (self.grad[rows] * self.direction[rows]).sum(axis=1)

    def _rounding(self, rows: IntArray) -> Array:
        """Gain (m,) below which a rise can't be told from rounding."""
        return np.asarray(NOISE * np.abs(self.value[rows]))

    def keep(self, rows: IntArray) -> None:
        """Keep some of the rows and drop the others."""
        for name in ("y", "value", "grad", "direction", "length", "reach", "filled", "converged", "stuck", "near"):
            setattr(self, name, getattr(self, name)[rows])
        self.steps, self.changes = self.steps[:, rows], self.changes[:, rows]

    def active(self) -> IntArray:
        """Rows that still climb."""
        return np.flatnonzero(~(self.converged | self.stuck))

    def on_a_ridge(self) -> IntArray:
        """Rows that still climb though a step was once expected to gain little; none where they are few."""
        rows = np.flatnonzero(self.near & ~(self.converged | self.stuck))
        return rows if len(rows) > FEW_ROWS * len(self.near) else rows[:0]

    def leap(self, rows: IntArray) -> None:
        """Take one last step on rows that have converged, without a check: it is too short to need one."""
        rows = rows[self.converged[rows] & ~self.stuck[rows]]
        self.y[rows] += self.direction[rows]

    def run(self, tolerance: float, max_steps: int) -> None:
        """Climb until no row expects to gain more than the tolerance, or for `max_steps` evaluations."""
        for _ in range(max_steps):
            if not len(rows := self.active()):
                return
            self.step(rows, tolerance)

    def step(self, rows: IntArray, tolerance: float) -> None:
        """Try one step a row; accept it where it climbs, else shorten the step."""
        expected = self._expected(rows)
        climb_on = expected >= np.maximum(tolerance, self._rounding(rows))
        self.converged[rows] = ~climb_on
        self.near[rows] |= expected < SMALL_GAIN
        rows, expected = rows[climb_on], expected[climb_on]
        if not len(rows):
            return
        move = self.length[rows, None] * self.direction[rows]
        y = self.y[rows] + move
        value, grad = self.function(y, rows)
        finite = np.isfinite(value) & np.isfinite(grad).all(axis=1)
        climbs = finite & (value >= self.value[rows] + ARMIJO * self.length[rows] * expected)
        self._accept(rows[climbs], y[climbs], value[climbs], grad[climbs], move[climbs])
        shorter = rows[~climbs]
        self.length[shorter] *= SHORTEN
        self.reach[shorter] = _first_reach(y.shape[1])
        no_gain = self.length[shorter] * expected[~climbs] < self._rounding(shorter)
        self.stuck[shorter] |= no_gain | (self.length[shorter] < MIN_LENGTH)
        # Where even tiny steps gain nothing that could be told from rounding, the climb is over: so it is at a cusp.
        over = self.near[shorter] | (np.abs(self.grad[shorter]).max(axis=1) < SMALL_GRADIENT)
        self.converged[shorter[over & self.stuck[shorter]]] = True

    def _accept(self, rows: IntArray, y: Array, value: Array, grad: Array, move: Array) -> None:
        """Move rows (m,) to points (m, d), and keep the pairs of steps along which -log p̃ curves upwards."""
        change = self.grad[rows] - grad  # of the gradient of -log p̃
        curved = (move * change).sum(axis=1) > MIN_CURVATURE * (move**2).sum(axis=1)
        kept = rows[curved]
        slot = self.filled[kept] % len(self.steps)
        self.steps[slot, kept], self.changes[slot, kept] = move[curved], change[curved]
        self.filled[kept] += 1
        self.y[rows], self.value[rows], self.grad[rows] = y, value, grad
        self.reach[rows] = np.maximum(self.reach[rows], GROW * np.linalg.norm(move, axis=1))
        self._aim(rows[curved])
        self._aim_along_gradient(rows[~curved])

    def _aim_along_gradient(self, rows: IntArray) -> None:
        """Aim along the gradient, further each time: where log p̃ is convex (a far tail), L-BFGS has no scale."""
        grad = self.grad[rows]
        length = np.linalg.norm(grad, axis=1, keepdims=True)
        self.direction[rows] = grad * self.reach[rows, None] / np.where(length > 0, length, 1.0)
        self.length[rows] = 1.0
        self.reach[rows] *= LENGTHEN

    def _aim(self, rows: IntArray) -> None:
        """Set the direction of each row to H∇log p̃, no longer than its reach."""
        q = self._times_inverse_hessian(rows)
        length = np.linalg.norm(q, axis=1)
        far = length > self.reach[rows]
        q *= np.where(far, self.reach[rows] / np.where(far, length, 1.0), 1.0)[:, None]
        self.reach[rows[far]] *= LENGTHEN  # far from any maximum, steps may grow until one fails
        self.direction[rows] = q
        self.length[rows] = 1.0

    def _times_inverse_hessian(self, rows: IntArray) -> Array:
        """H∇log p̃ (m, d) from the pairs kept, by two loops over them (Nocedal and Wright 2006, algorithm 7.4)."""
        steps, changes, used = self._pairs(rows)
        curvatures = np.einsum("imd,imd->im", steps, changes)
        inverse = np.divide(
            1.0, curvatures, out=np.zeros_like(curvatures), where=used & (curvatures > np.finfo(float).tiny)
        )
        along, q = np.empty_like(curvatures), self.grad[rows]
        for i in reversed(range(len(steps))):
            along[i] = inverse[i] * np.einsum("md,md->m", steps[i], q)
            q -= along[i, :, None] * changes[i]
        norm = (changes[-1] ** 2).sum(axis=1)
        q *= np.where(norm > 0, curvatures[-1] / np.where(norm > 0, norm, 1.0), 1.0)[:, None]
        for i in range(len(steps)):
            q += (along[i] - inverse[i] * np.einsum("md,md->m", changes[i], q))[:, None] * steps[i]
        return q

    def _pairs(self, rows: IntArray) -> tuple[Array, Array, BoolArray]:
        """Steps and gradient changes (memory, m, d) in the order they were made, and which (memory, m) are any."""
        memory = len(self.steps)
        order = np.arange(memory)[:, None]
        slot = (self.filled[rows] + order) % memory
        return self.steps[slot, rows], self.changes[slot, rows], order >= memory - self.filled[rows]


def _first_reach(d: int) -> float:
    """Return the longest first step in d dimensions, in local standard deviations: too short to leave a basin."""
    return max(1.0, 0.5 * float(np.sqrt(d)))
