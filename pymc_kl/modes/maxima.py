"""The proper local maxima of log p̃ that are known, and which of them a point near one surely climbs to."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.modes.numbering import ELSEWHERE
from pymc_kl.modes.peak_shape import RISE, Peak
from pymc_kl.modes.symmetry.symmetry import Symmetry
from pymc_kl.numerics.lbfgs import ValueAndGrad

CAPTURE_RADIUS = 0.5  # standard deviations of a maximum within which climbs are sure to end there; our choice
NEAREST = 4  # maxima to which exact distances are computed, of many; our choice
LINE_POINTS = 6  # inner points of a straight line to a maximum, at which log p̃ must rise; our choice
INNER = slice(1, -1)  # the points of such a line without its ends
BETWEEN_POINTS = 97  # points of a straight line between two maxima, to see where log p̃ is least; our choice
PAST = 0.1  # share of the way to a second maximum by which a point is moved towards that to see a saddle; our choice


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
        Of a Gaussian as wide as each peak: minus the Hessian of log p̃, unless lines about the maximum contradict it.
    log_volumes : array (P,)
        Log of the integral of p̃ over each basin, less log p̃ at its maximum: of that Gaussian, and of a hill below.
    symmetry : Symmetry
        What maps copies to each other: a point that climbs to a copy of a maximum climbs to that maximum.
    """

    x: Array
    log_density: Array
    precisions: Array
    log_volumes: Array
    symmetry: Symmetry
    _saddles: dict[tuple[int, int], float] = field(default_factory=dict, repr=False)

    @classmethod
    def none(cls, symmetry: Symmetry) -> "Maxima":
        """Begin a search that has found nothing yet."""
        d = symmetry.d
        return cls(np.empty((0, d)), np.empty(0), np.empty((0, d, d)), np.empty(0), symmetry)

    def __len__(self) -> int:
        return len(self.x)

    def add(self, x: Array, log_density: float, peak: Peak) -> "Maxima":
        """Return these and one more at x (d,)."""
        return replace(
            self,
            x=np.vstack([self.x, x]),
            log_density=np.append(self.log_density, log_density),
            precisions=np.concatenate([self.precisions, peak.precision[None]]),
            log_volumes=np.append(self.log_volumes, peak.log_volume),
        )

    def capture(self, x: Array, value: Array) -> IntArray:
        """Index of the maximum whose close neighbourhood each point (n, d) lies in, else -1."""
        owner = np.full(len(x), ELSEWHERE, dtype=np.int64)
        high = value > self.log_density.min(initial=np.inf) - CAPTURE_RADIUS**2
        owner[high] = self.capture_here(self.canonical(x[high]), value[high]) if high.any() else ELSEWHERE
        return owner

    def capture_here(self, x: Array, value: Array) -> IntArray:
        """Index of the maximum whose close neighbourhood each point (n, d) lies in as it is, not one of its copies."""
        if not len(self):
            return np.full(len(x), ELSEWHERE, dtype=np.int64)
        nearest, squared = self._nearest(x)
        near = (squared < CAPTURE_RADIUS**2) & (self.log_density[nearest] - value < CAPTURE_RADIUS**2)
        return np.where(near, nearest, ELSEWHERE)

    def capture_level(self, value_and_grad: ValueAndGrad, x: Array, value: Array) -> IntArray:
        """Index of the nearest maximum to each canonical point (n, d) if all between them is as high, else -1.

        So it is on a flat top, where climbs end at once, wherever they begin.
        """
        nearest = self._nearest(x)[0]
        lowest = self._line_to(value_and_grad, x, value, nearest).min(axis=1)
        return np.where(lowest > self.log_density[nearest] - RISE, nearest, ELSEWHERE)

    def capture_uphill(self, value_and_grad: ValueAndGrad, x: Array, value: Array) -> IntArray:
        """Index of the maximum that captures each point, or of the nearest if log p̃ only rises on the straight line.

        Coordinates in which two maxima agree may hide a saddle between those, so that it must not fall on the line
        between them either, from about where the point lies.
        """
        owner = self.capture(x, value)
        open_ = np.flatnonzero(owner < 0)
        if not len(open_) or not len(self):
            return owner
        copies = self.canonical(x[open_])
        nearest, second = self._two_nearest(copies)
        rises = self._rises_to(value_and_grad, copies, value[open_], nearest)
        also = np.flatnonzero(rises & (second >= 0))
        rises[also] = ~self._falls_between(value_and_grad, copies[also], nearest[also], second[also])
        owner[open_[rises]] = nearest[rises]
        return owner

    def _falls_between(self, value_and_grad: ValueAndGrad, x: Array, k: IntArray, other: IntArray) -> BoolArray:
        """Tell whether log p̃ falls on the way from beside each canonical point (n, d) to maximum k (n,).

        The way is the straight line between two maxima, from the point on it nearest to the given one and somewhat on.
        """
        falls = np.zeros(len(x), dtype=bool)
        for i, j in np.unique(np.column_stack([k, other]), axis=0).tolist():
            rows, apart = (k == i) & (other == j), self.x[j] - self.x[i]
            metric = self.precisions[i] @ apart
            along = (x[rows] - self.x[i]) @ metric / (apart @ metric)
            falls[rows] = np.clip(along + PAST, 0, 1) > self._saddle(value_and_grad, i, j)
        return falls

    def _saddle(self, value_and_grad: ValueAndGrad, k: int, other: int) -> float:
        """Find the share of the straight line from maximum k to another after which log p̃ rises again; 1 if nowhere."""
        if (k, other) not in self._saddles:
            t = np.linspace(0, 1, BETWEEN_POINTS)
            values = value_and_grad(self.x[k] + t[:, None] * (self.x[other] - self.x[k]))[0]
            values = np.nan_to_num(values, nan=-np.inf)
            rises = np.flatnonzero(values > np.minimum.accumulate(values) + RISE)
            self._saddles[k, other] = float(t[values[: rises[0]].argmin()]) if len(rises) else 1.0
        return self._saddles[k, other]

    def _rises_to(self, value_and_grad: ValueAndGrad, x: Array, value: Array, k: IntArray) -> BoolArray:
        """Tell whether log p̃ only rises on the straight line from each canonical point (n, d) to a maximum (n,).

        Every second point of the line is looked at first: where it falls there, the others tell nothing more.
        """
        line = np.full((len(x), LINE_POINTS + 2), np.nan)
        line[:, 0], line[:, -1] = value, self.log_density[k]
        rises = np.ones(len(x), dtype=bool)
        for first in (2, 1):
            rows, columns = np.flatnonzero(rises), slice(first, -1, 2)
            line[rows, columns] = values_between(value_and_grad, x[rows], self.x[k[rows]], columns)
            seen = line[:, [0, *range(2, LINE_POINTS + 1, 2), -1]] if first == 2 else line
            rises &= (np.diff(seen, axis=1) > 0).all(axis=1)
        return rises

    def _line_to(self, value_and_grad: ValueAndGrad, x: Array, value: Array, k: IntArray) -> Array:
        """Log p̃ on the straight line from each canonical point (n, d), with its value, to a maximum: (n, points)."""
        inner = values_between(value_and_grad, x, self.x[k])
        return np.concatenate([value[:, None], inner, self.log_density[k, None]], axis=1)

    def nearest(self, x: Array) -> tuple[IntArray, Array]:
        """Index (n,) of the maximum nearest to each point (n, d), and the squared distance, in that one's own sds.

        It is looked for among the few whose farthest coordinate, in marginal sds, is nearest.
        """
        return self._nearest(self.canonical(x))

    def canonical(self, x: Array) -> Array:
        """Return the copy of each point (n, d) in the symmetry's canonical form."""
        return x if self.symmetry.is_trivial else self.symmetry.canonical(x)[0]

    def _nearest(self, x: Array) -> tuple[IntArray, Array]:
        """Find the maximum nearest to each canonical point (n, d)."""
        few, squared = self._distances(x)
        best, rows = squared.argmin(axis=1), np.arange(len(x))
        return few[rows, best], squared[rows, best]

    def _two_nearest(self, x: Array) -> tuple[IntArray, IntArray]:
        """Find the maximum nearest to each canonical point (n, d), and the second; -1 where there is only one."""
        few, squared = self._distances(x)
        order, rows = np.argsort(squared, axis=1), np.arange(len(x))
        second = few[rows, order[:, 1]] if len(self) > 1 else np.full(len(x), ELSEWHERE, dtype=np.int64)
        return few[rows, order[:, 0]], second

    def _distances(self, x: Array) -> tuple[IntArray, Array]:
        """Squared distances (n, few) of canonical points (n, d) to the maxima (n, few) that may be nearest."""
        if len(self) <= NEAREST:
            away = x - self.x[:, None]
            squared, few = ((away @ self.precisions) * away).sum(axis=2).T, np.arange(len(self))[None]
        else:
            bound = np.abs((x[:, None] - self.x) / self._marginal_sds).max(axis=2)
            few = np.argpartition(bound, NEAREST - 1, axis=1)[:, :NEAREST]
            squared = np.empty(few.shape)
            for k in np.unique(few):
                rows, column = np.nonzero(few == k)
                away = x[rows] - self.x[k]
                squared[rows, column] = ((away @ self.precisions[k]) * away).sum(axis=1)
        return np.broadcast_to(few, squared.shape), squared

    @cached_property
    def _marginal_sds(self) -> Array:
        """Standard deviation (P, d) of each coordinate under the Gaussian of each maximum."""
        return np.sqrt(np.diagonal(np.linalg.inv(self.precisions), axis1=1, axis2=2))


def values_between(value_and_grad: ValueAndGrad, x: Array, ends: Array, which: slice = INNER) -> Array:
    """Log p̃ at inner points of straight lines from points (n, d) to ends (n, d), all or some: (n, points)."""
    t = np.linspace(0, 1, LINE_POINTS + 2)[which, None]
    line = x[:, None] * (1 - t) + ends[:, None] * t
    return value_and_grad(line.reshape(-1, x.shape[1]))[0].reshape(len(x), len(t))
