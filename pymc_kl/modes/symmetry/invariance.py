"""Whether maps of the unconstrained space leave log p̃ unchanged, at a few scattered points."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.model.target import Target

type Move = Callable[[Array, IntArray], Array]

N_POINTS = 8  # points at which a map must leave log p̃ unchanged; our choice
MAX_POINTS = 64  # points tried, to find as many of finite density; our choice
INVARIANCE_TOLERANCE = 1e-8  # relative to |log p̃| + 1: change of log p̃ that is rounding; our choice
MAPPED_TOGETHER = 512  # rows that one call maps; bounds memory; our choice


@dataclass(frozen=True, eq=False)
class Check:
    """Points x (n, d) at which candidates are checked, and log p̃ there (n,), in nats.

    A candidate is a row of a `Move`: a point (d,) and row indices (m,) -> images (m, d).
    """

    log_density: Callable[[Array], Array]
    x: Array
    value: Array

    @classmethod
    def at(cls, target: Target, points: Array) -> "Check":
        """Choose scattered points of finite density near those given, no two coordinates of which are equal."""
        points = np.asarray(points, dtype=float)
        if points.ndim != 2 or points.shape[1] != target.d or not len(points):
            raise ValueError(f"points must have shape (n, {target.d}) with n at least 1; got {points.shape}.")
        x = _scatter(points)
        value = target.log_density(x)
        finite = np.flatnonzero(np.isfinite(value))
        if not len(finite):
            raise ValueError(f"log p̃ is finite at none of the {len(points)} points. Give points of the support.")
        chosen = _choose(finite, value, n_scattered=len(x) // 2)
        return cls(target.log_density, x[chosen], value[chosen])

    def passes(self, move: Move, n: int) -> BoolArray:
        """Tell which of n candidates leave log p̃ unchanged at all points; those that fail at one are dropped."""
        passing = np.ones(n, dtype=bool)
        for point, value in zip(self.x, self.value, strict=True):
            rows = np.flatnonzero(passing)
            passing[rows] = self._change(move, rows, point, value) <= INVARIANCE_TOLERANCE * (abs(value) + 1)
        return passing

    def change(self, move: Move, n: int) -> Array:
        """Largest change of log p̃ by each of n candidates, in nats."""
        rows = np.arange(n)
        changes = [self._change(move, rows, point, value) for point, value in zip(self.x, self.value, strict=True)]
        return np.asarray(np.max(changes, axis=0))

    def _change(self, move: Move, rows: IntArray, point: Array, value: float) -> Array:
        """Absolute change of log p̃ at one point (d,) by each of the rows (m,), in nats."""
        chunks = [rows[i : i + MAPPED_TOGETHER] for i in range(0, len(rows), MAPPED_TOGETHER)]
        values = [self.log_density(move(point, chunk)) for chunk in chunks]
        return np.abs(np.concatenate([np.empty(0), *values]) - value)


def _scatter(points: Array) -> Array:
    """Points (2 m, d): some of those given, moved so that no two coordinates are equal, then the same unmoved."""
    rng = np.random.default_rng(0)
    rows = np.linspace(0, len(points) - 1, MAX_POINTS).astype(int)
    spread = np.std(points, axis=0)
    spread = np.where(spread > 0, 0.1 * spread, 0.05 * (1 + np.abs(points[0])))
    return np.concatenate([points[rows] + spread * rng.normal(size=(len(rows), points.shape[1])), points[rows]])


def _choose(finite: IntArray, value: Array, n_scattered: int) -> IntArray:
    """Choose points of finite density evenly among the likelier half, scattered ones if there are any."""
    finite = finite[finite < n_scattered] if finite[0] < n_scattered else finite
    # Rounding grows with |log p̃|: far tails would hide small differences.
    likely = np.sort(finite[np.argsort(-value[finite])[: max(N_POINTS, len(finite) // 2)]])
    return likely[np.unique(np.linspace(0, len(likely) - 1, N_POINTS).astype(int))]
