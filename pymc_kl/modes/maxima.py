"""Climbs → peaks: proper local maxima of log p̃, and which of them a point climbs to."""

from dataclasses import dataclass, replace
from itertools import count, pairwise

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.modes.symmetry.group import Element
from pymc_kl.modes.symmetry.symmetry import Symmetry
from pymc_kl.numerics.lbfgs import Climbed, ValueAndGrad, climb

SAME_MAXIMUM = 0.05  # local standard deviations between two climbs' ends that are one maximum
CAPTURE_RADIUS = 0.5  # standard deviations of a mode within which a climb's end is certain
LINE_POINTS = 6  # inner points at which a straight line to a peak is checked to rise
UPHILL_EVERY = 8  # steps of a climb between two such checks
FIRST_ROUND, GROWTH, ROUNDS = 32, 4, 9  # starts climbed before the peaks found so far stop others early


@dataclass(frozen=True, eq=False)
class Maxima:
    """Every proper local maximum found, before merging; of copies under the symmetry, one.

    Attributes
    ----------
    x : array (P, d)
        Unconstrained space, in the symmetry's canonical form.
    log_density : array (P,)
        Nats.
    precisions : array (P, d, d)
        Minus the Hessian of log p̃, positive definite.
    symmetry : Symmetry
        What maps copies to each other: a point that climbs to a copy of a peak climbs to that peak.
    """

    x: Array
    log_density: Array
    precisions: Array
    symmetry: Symmetry

    @classmethod
    def none(cls, symmetry: Symmetry) -> "Maxima":
        """Begin a search that has found nothing yet."""
        d = symmetry.d
        return cls(np.empty((0, d)), np.empty(0), np.empty((0, d, d)), symmetry)

    def __len__(self) -> int:
        return len(self.x)

    def capture(self, x: Array, value: Array) -> IntArray:
        """Index of the peak whose close neighbourhood each point (n, d) lies in, else -1."""
        if not len(self):
            return np.full(len(x), -1, dtype=np.int64)
        distance = self._distances(self.canonical(x))
        owner = distance.argmin(axis=1)
        near = distance[np.arange(len(x)), owner] < CAPTURE_RADIUS**2
        near &= self.log_density[owner] - value < CAPTURE_RADIUS**2
        return np.where(near, owner, -1)

    def capture_uphill(self, value_and_grad: ValueAndGrad, x: Array, value: Array) -> IntArray:
        """Index of the nearest peak if log p̃ only rises on the straight line to it, else -1."""
        owner = self.capture(x, value)
        open_ = np.flatnonzero(owner < 0)
        if not len(open_) or not len(self):
            return owner
        copies = self.canonical(x[open_])
        nearest = self._distances(copies).argmin(axis=1)
        t = np.linspace(0, 1, LINE_POINTS + 2)[1:-1, None]
        line = copies[:, None] * (1 - t) + self.x[nearest][:, None] * t
        values = value_and_grad(line.reshape(-1, x.shape[1]))[0].reshape(len(open_), -1)
        ends = value[open_, None], values, self.log_density[nearest, None]
        rises = (np.diff(np.concatenate(ends, axis=1), axis=1) > 0).all(axis=1)
        owner[open_[rises]] = nearest[rises]
        return owner

    def canonical(self, x: Array) -> Array:
        """Return the copy of each point (n, d) in the symmetry's canonical form."""
        return x if self.symmetry.is_trivial else self.symmetry.canonical(x)[0]

    def _distances(self, x: Array) -> Array:
        """Squared distance (n, P) of points to peaks, in each peak's own standard deviations."""
        away = x[:, None] - self.x
        return np.einsum("npi,pij,npj->np", away, self.precisions, away, optimize=True)


def find_maxima(
    value_and_grad: ValueAndGrad, maxima: Maxima, x: Array, scale: Array, rng: np.random.Generator
) -> tuple[Maxima, IntArray]:
    """Climb from starts (n, d) and add what is new to the peaks known: all peaks, and that of each start or -1.

    Starts go in growing rounds: a few find the first peaks, whose neighbourhoods then stop later climbs early.
    """
    owner = np.full(len(x), -1, dtype=np.int64)
    order = rng.permutation(len(x))
    edges = [0, *(FIRST_ROUND * GROWTH ** np.arange(ROUNDS)).tolist()]
    for first, last in pairwise(edges):
        rows = order[first:last]
        if not len(rows):
            break
        climbed = climb(value_and_grad, x[rows], scale, capture=maxima.capture)
        maxima, ends = _add_maxima(value_and_grad, maxima, climbed, scale)
        owner[rows] = np.where(climbed.captured >= 0, climbed.captured, ends)
    return maxima, owner


def _add_maxima(
    value_and_grad: ValueAndGrad, maxima: Maxima, climbed: Climbed, scale: Array
) -> tuple[Maxima, IntArray]:
    """Add the new proper maxima among the ends of climbs; return the peak of each end, or -1."""
    ends = np.full(len(climbed.x), -1, dtype=np.int64)
    new = np.flatnonzero(climbed.converged & (climbed.captured < 0))
    x = maxima.canonical(climbed.x)
    y = np.linalg.solve(scale, x.T).T
    for i in new[np.argsort(-climbed.log_density[new], kind="stable")]:
        known = np.linalg.solve(scale, maxima.x.T).T
        near = np.flatnonzero(np.linalg.norm(known - y[i], axis=1) < SAME_MAXIMUM)
        if len(near):
            ends[i] = near[0]
            continue
        captured = maxima.capture(x[i : i + 1], climbed.log_density[i : i + 1])[0]
        if captured >= 0:
            ends[i] = captured
            continue
        maximum = _polish(value_and_grad, x[i], scale)
        if maximum is None:
            continue
        ends[i] = len(maxima)
        maxima = replace(
            maxima,
            x=np.vstack([maxima.x, maximum[0]]),
            log_density=np.append(maxima.log_density, maximum[1]),
            precisions=np.concatenate([maxima.precisions, maximum[2][None]]),
        )
    return maxima, ends


def _polish(value_and_grad: ValueAndGrad, x: Array, scale: Array) -> tuple[Array, float, Array] | None:
    """Take Newton steps to the maximum; None where the Hessian says that it is no proper one."""
    for _ in range(3):
        value, grad = value_and_grad(x[None])
        curvature = _whitened_precision(value_and_grad, x, scale)
        if not np.isfinite(curvature).all():
            return None
        eigenvalues = np.linalg.eigvalsh(curvature)
        if eigenvalues[0] <= 1e-6 * max(eigenvalues[-1], 1e-6):
            return None
        step = scale @ np.linalg.solve(curvature, scale.T @ grad[0])
        moved = value_and_grad((x + step)[None])[0]
        if not np.isfinite(moved[0]) or moved[0] < value[0]:
            break
        x = x + step
    inverse = np.linalg.inv(scale)
    return x, float(value_and_grad(x[None])[0][0]), inverse.T @ curvature @ inverse


def _whitened_precision(value_and_grad: ValueAndGrad, x: Array, scale: Array) -> Array:
    """Compute minus the Hessian in whitened coordinates by central differences of the gradient."""
    h = 1e-4
    steps = h * scale.T
    _, grads = value_and_grad(np.concatenate([x + steps, x - steps]))
    with np.errstate(invalid="ignore", over="ignore"):  # the caller asks whether all is finite
        grads = grads @ scale
        d = len(x)
        hessian = (grads[:d] - grads[d:]) / (2 * h)
        return np.asarray(-0.5 * (hessian + hessian.T))


def end_maxima(value_and_grad: ValueAndGrad, maxima: Maxima, x: Array, scale: Array) -> tuple[IntArray, Element]:
    """Climb from points (n, d) to known peaks: index of each one's peak or -1, and what takes it to that copy."""
    steps = count()

    def capture(points: Array, value: Array) -> IntArray:
        if next(steps) % UPHILL_EVERY == 0:
            return maxima.capture_uphill(value_and_grad, points, value)
        return maxima.capture(points, value)

    climbed = climb(value_and_grad, x, scale, capture=capture)
    left = np.flatnonzero((climbed.captured < 0) & climbed.converged)
    ends = climbed.captured.copy()
    copies, element = maxima.symmetry.canonical(climbed.x)
    if len(left) and len(maxima):
        known = np.linalg.solve(scale, maxima.x.T).T
        y = np.linalg.solve(scale, copies[left].T).T
        distance = np.linalg.norm(y[:, None] - known, axis=2)
        nearest = distance.argmin(axis=1)
        close = distance[np.arange(len(left)), nearest] < SAME_MAXIMUM
        ends[left[close]] = nearest[close]
    return ends, element
