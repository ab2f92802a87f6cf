"""Short straight lines through points, along which a log density is compared with the integral of its gradient."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.model.periodic import PERIOD
from pymc_kl.numerics.constants import MAD_TO_SD
from pymc_kl.numerics.lbfgs import ValueAndGrad

MAX_LINES = 800  # lines, of five evaluations each; bounds the cost; our choice
LINES_PER_COORDINATE = 64  # lines along one coordinate at the most; our choice
MAX_COORDINATES = 200  # coordinates that are looked along, beyond which they are drawn at random; our choice
LENGTH = 0.5  # standard deviations of the points along a coordinate: length of a line; our choice
NODES = 0.5 + 0.5 * np.array([-1, -np.sqrt(3 / 7), 0, np.sqrt(3 / 7), 1])  # Gauss and Lobatto's, on [0, 1]
WEIGHTS = np.array([9, 49, 64, 49, 9]) / 180  # of the same; exact for polynomials up to degree seven
ROUNDING = 1e-9  # relative to |log p̃|: less than this is rounding; our choice


@dataclass(frozen=True, eq=False)
class Lines:
    """Straight lines: where each begins and ends (m, d), the coordinate along which it runs or -1, and values on it.

    `value` (m, T) is log p̃ at the nodes, `slope` (m, T) its gradient times the whole line, both in nats; `at` (m, T)
    is where the nodes are, from 0 to 1.
    """

    start: Array
    along: Array
    coordinate: IntArray
    at: Array
    value: Array
    slope: Array

    def take(self, rows: IntArray | BoolArray) -> Self:
        """Return some of the lines."""
        return type(self)(*(getattr(self, f.name)[rows] for f in fields(self)))

    @property
    def disagreement(self) -> Array:
        """Change of log p̃ over a line less the integral of its gradient (m,), beyond rounding, in nats."""
        away = np.abs(self.value[:, -1] - self.value[:, 0] - self.slope @ WEIGHTS)
        return np.asarray(away - ROUNDING * np.abs(self.value).max(axis=1))


def lay_lines(value_and_grad: ValueAndGrad, x: Array, angles: IntArray) -> Lines:
    """Lay lines through points (n, d), along coordinates in turn and in a random direction; keep those all finite."""
    rng, (n, d) = np.random.default_rng(0), x.shape
    chosen = np.append(rng.permutation(d)[:MAX_COORDINATES], -1)
    m = min(MAX_LINES, LINES_PER_COORDINATE * len(chosen))
    coordinate = chosen[np.arange(m) % len(chosen)]
    centre = x[rng.permutation(n)[np.arange(m) // len(chosen) % n]]
    scale = MAD_TO_SD * np.median(np.abs(x - np.median(x, axis=0)), axis=0)
    scale = np.where(scale > 0, scale, np.where(np.ptp(x, axis=0) > 0, x.std(axis=0), 1.0))
    directions = np.where(coordinate[:, None] < 0, rng.standard_normal((m, d)) / np.sqrt(d), 0.0)
    on_axis = np.flatnonzero(coordinate >= 0)
    directions[on_axis, coordinate[on_axis]] = 1.0
    along = LENGTH * scale * directions
    at = np.tile(NODES, (m, 1))
    start = centre - along / 2
    lines = Lines(start, along, coordinate, at, *values_along(value_and_grad, start, along, at))
    across = np.diff(np.floor(np.stack([start, start + along])[..., angles] / PERIOD + 0.5), axis=0)[0].any(axis=1)
    return lines.take(np.isfinite(lines.value).all(axis=1) & np.isfinite(lines.slope).all(axis=1) & ~across)


def values_along(value_and_grad: ValueAndGrad, start: Array, along: Array, at: Array) -> tuple[Array, Array]:
    """Evaluate log p̃ and its gradient times the line, both (m, T), at fractions `at` (m, T) of lines (m, d)."""
    points = start[:, None] + at[..., None] * along[:, None]
    value, grad = value_and_grad(points.reshape(-1, start.shape[1]))
    slope = (grad.reshape(points.shape) * along[:, None]).sum(axis=2)
    return value.reshape(at.shape), slope
