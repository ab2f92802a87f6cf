"""Climbs → maxima: proper local maxima of log p̃, and which of them a point climbs to."""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count, pairwise

import numpy as np
from scipy.linalg import eigvalsh

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.modes.newton import top_by_newton
from pymc_kl.modes.numbering import ELSEWHERE
from pymc_kl.modes.peak_shape import RISE, Peak, peak_shape
from pymc_kl.modes.symmetry.copies import SAME_POINT
from pymc_kl.modes.symmetry.group import Element
from pymc_kl.modes.symmetry.symmetry import Symmetry
from pymc_kl.numerics.lbfgs import Capture, Climbed, ValueAndGrad, climb
from pymc_kl.numerics.newton_climb import climb_to_the_end
from pymc_kl.numerics.whitening import scale_of_precision, whiten
from pymc_kl.progress import SILENT, Alarm

SAME_MAXIMUM = 0.05  # local standard deviations within which the ends of two climbs are one maximum; our choice
CAPTURE_RADIUS = 0.5  # standard deviations of a maximum within which climbs are sure to end there; our choice
NEAREST = 4  # maxima to which exact distances are computed, of many; our choice
MOST_IMAGES = 64  # copies of the end of a climb on a flat top that are looked at, of fewer; our choice
LINE_POINTS = 6  # inner points of a straight line to a maximum, at which log p̃ must rise; our choice
MUCH_FARTHER = 2.0  # times the distance of the nearest, from which no other maximum is asked for; our choice
UPHILL_EVERY = 4  # looks for known maxima from one check of that line to the next; our choice
UPHILL_FROM = 8  # looks after which climbs of the search are checked by that line too; our choice
ASSIGN_STEPS = 1000  # evaluations of a point that is assigned to a maximum, at the most; our choice
FIRST_ROUND = 32  # starts climbed from before any maximum is known; our choice
GROWTH = 4  # factor by which the starts climbed from grow with each round; our choice
ROUNDS = 9  # rounds at the most: 2 million starts
SHARPEST = 1e14  # largest curvature of a peak where that of the posterior is about 1: a width of 1e-7; our choice


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

        In many dimensions it may rise to a second as well, which then leaves open where the point belongs.
        """
        owner = self.capture(x, value)
        open_ = np.flatnonzero(owner < 0)
        if not len(open_) or not len(self):
            return owner
        copies = self.canonical(x[open_])
        nearest, second = self._two_nearest(copies)
        rises = self._rises_to(value_and_grad, copies, value[open_], nearest)
        also = np.flatnonzero(rises & (second >= 0))
        rises[also] = ~self._rises_to(value_and_grad, copies[also], value[open_[also]], second[also])
        owner[open_[rises]] = nearest[rises]
        return owner

    def _rises_to(self, value_and_grad: ValueAndGrad, x: Array, value: Array, k: IntArray) -> BoolArray:
        """Tell whether log p̃ only rises on the straight line from each canonical point (n, d) to a maximum (n,)."""
        if not len(x):
            return np.zeros(0, dtype=bool)
        return np.asarray((np.diff(self._line_to(value_and_grad, x, value, k), axis=1) > 0).all(axis=1))

    def _line_to(self, value_and_grad: ValueAndGrad, x: Array, value: Array, k: IntArray) -> Array:
        """Log p̃ on the straight line from each canonical point (n, d), with its value, to a maximum: (n, points)."""
        inner = _between(value_and_grad, x, self.x[k])
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
        """Find the maximum nearest to each canonical point (n, d), and the second or -1 if that is much farther."""
        few, squared = self._distances(x)
        if len(self) < 2:
            return few[:, 0], np.full(len(x), ELSEWHERE, dtype=np.int64)
        order, rows = np.argsort(squared, axis=1), np.arange(len(x))
        first, second = order[:, 0], order[:, 1]
        close = squared[rows, second] < MUCH_FARTHER**2 * squared[rows, first]
        return few[rows, first], np.where(close, few[rows, second], ELSEWHERE)

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


def _between(value_and_grad: ValueAndGrad, x: Array, ends: Array) -> Array:
    """Log p̃ at inner points of straight lines from points (n, d) to ends (n, d): (n, points)."""
    t = np.linspace(0, 1, LINE_POINTS + 2)[1:-1, None]
    line = x[:, None] * (1 - t) + ends[:, None] * t
    return value_and_grad(line.reshape(-1, x.shape[1]))[0].reshape(len(x), LINE_POINTS)


def find_maxima(
    value_and_grad: ValueAndGrad,
    maxima: Maxima,
    x: Array,
    scale: Array,
    rng: np.random.Generator,
    alarm: Alarm = SILENT,
) -> tuple[Maxima, IntArray]:
    """Climb from starts (n, d) and add the maxima that are new: all maxima, and that of each start (n,) or -1.

    Starts go in growing rounds: a few find the first maxima, whose neighbourhoods then stop later climbs early. Where
    the time is over, climbs end where they are.
    """
    owner = np.full(len(x), ELSEWHERE, dtype=np.int64)
    order = rng.permutation(len(x))
    edges = [0, *(FIRST_ROUND * GROWTH ** np.arange(ROUNDS)).tolist()]
    for first, last in pairwise(edges):
        rows = order[first:last]
        if not len(rows):
            break
        climbed = climb(value_and_grad, x[rows], scale, capture=_doubling(maxima, value_and_grad), alarm=alarm)
        maxima, ends = _add_maxima(value_and_grad, maxima, climbed, scale)
        owner[rows] = np.where(climbed.captured >= 0, climbed.captured, ends)
    return maxima, owner


def _doubling(maxima: Maxima, value_and_grad: ValueAndGrad) -> Capture:
    """Capture by nearness at each look of a climb, and uphill at looks that double: by then it is in its own basin."""
    looks = count(1)

    def capture(x: Array, value: Array) -> IntArray:
        look = next(looks)
        if look >= UPHILL_FROM and look & (look - 1) == 0:
            return maxima.capture_uphill(value_and_grad, x, value)
        return maxima.capture(x, value)

    return capture


def _add_maxima(
    value_and_grad: ValueAndGrad, maxima: Maxima, climbed: Climbed, scale: Array
) -> tuple[Maxima, IntArray]:
    """Add the new proper maxima among the ends of climbs, highest first; also the maximum of each end, or -1."""
    ends = np.full(len(climbed.x), ELSEWHERE, dtype=np.int64)
    new = np.flatnonzero(climbed.converged & (climbed.captured < 0))
    x = _canonical_if_as_high(value_and_grad, maxima, climbed, new)
    y = whiten(x, scale)
    for i in new[np.argsort(-climbed.log_density[new], kind="stable")]:
        ends[i] = _known(maxima, x[i], y[i], climbed.log_density[i], scale)
        if ends[i] < 0 and (maximum := _polish(value_and_grad, x[i], scale)) is not None:
            ends[i] = len(maxima)
            maxima = maxima.add(*_centred(value_and_grad, maxima.symmetry, *maximum))
    return maxima, ends


def _canonical_if_as_high(value_and_grad: ValueAndGrad, maxima: Maxima, climbed: Climbed, new: IntArray) -> Array:
    """Bring the ends of climbs to canonical form, but those new ones (m,) whose copy is lower.

    There the symmetry does not hold, which shows once the end itself is among the maxima.
    """
    x = maxima.canonical(climbed.x)
    if maxima.symmetry.is_trivial or not len(new):
        return x
    lower = new[~(value_and_grad(x[new])[0] > climbed.log_density[new] - RISE)]
    return np.where(np.isin(np.arange(len(x)), lower)[:, None], climbed.x, x)


def _centred(
    value_and_grad: ValueAndGrad, symmetry: Symmetry, x: Array, log_density: float, peak: Peak
) -> tuple[Array, float, Peak]:
    """Move the end of a climb on a flat top to the mean of its images there, since they are no copies of the peak."""
    if not peak.misled or symmetry.is_trivial:
        return x, log_density, peak
    near = scale_of_precision(peak.precision) * (CAPTURE_RADIUS / SAME_POINT)
    centre = symmetry.symmetrised(x, near)
    images = symmetry.images(centre, MOST_IMAGES)
    if 1 < len(images) < MOST_IMAGES:
        level = _between(value_and_grad, images, np.tile(centre, (len(images), 1))).min(axis=1) > log_density - RISE
        centre = images[level].mean(axis=0)
    height = float(value_and_grad(centre[None])[0][0])
    return (centre, height, peak) if height > log_density - RISE else (x, log_density, peak)


def _known(maxima: Maxima, x: Array, y: Array, log_density: float, scale: Array) -> int:
    """Index of the maximum that the end of a climb is, x (d,) and whitened y (d,), or -1."""
    near = np.flatnonzero(np.linalg.norm(whiten(maxima.x, scale) - y, axis=1) < SAME_MAXIMUM)
    return int(near[0] if len(near) else maxima.capture_here(x[None], np.array([log_density]))[0])


def _polish(value_and_grad: ValueAndGrad, x: Array, scale: Array) -> tuple[Array, float, Peak] | None:
    """Take Newton steps to a maximum: x, log p̃ there and the peak's shape; None where it is no proper one."""
    x, curvature = top_by_newton(value_and_grad, x, scale)
    peak = peak_shape(value_and_grad, x, curvature, scale)
    if peak is None or not _has_width(scale.T @ peak.precision @ scale):
        return None
    return x, float(value_and_grad(x[None])[0][0]), peak


def _has_width(precision: Array) -> bool:
    """Tell whether a whitened precision (d, d) is of a peak, and not of a climb that stopped deep in a neck."""
    if eigvalsh(precision)[-1] > SHARPEST:
        return False
    try:
        scale_of_precision(precision)
    except np.linalg.LinAlgError:
        return False
    return True


def end_maxima(
    value_and_grad: ValueAndGrad, maxima: Maxima, x: Array, scale: Array, max_steps: int = ASSIGN_STEPS
) -> tuple[IntArray, Element]:
    """Climb from points (n, d) to known maxima: index (n,) of each one's or -1, and what takes the end to that copy."""
    looks = count()

    def capture(points: Array, value: Array) -> IntArray:
        if next(looks) % UPHILL_EVERY == 0:
            return maxima.capture_uphill(value_and_grad, points, value)
        return maxima.capture(points, value)

    climbed = climb_to_the_end(value_and_grad, x, scale, capture, max_steps)
    copies, element = maxima.symmetry.canonical(climbed.x)
    ends = climbed.captured.copy()
    left = np.flatnonzero((climbed.captured < 0) & climbed.converged)
    if len(left) and len(maxima):
        ends[left] = _nearest(maxima, copies[left], scale)
        left = left[ends[left] < 0]
    if len(left) and len(maxima):
        ends[left] = maxima.capture_level(value_and_grad, copies[left], climbed.log_density[left])
    return ends, element


def _nearest(maxima: Maxima, x: Array, scale: Array) -> IntArray:
    """Index of the maximum that each canonical point (n, d) is, or -1."""
    distance = np.linalg.norm(whiten(x, scale)[:, None] - whiten(maxima.x, scale), axis=2)
    nearest = distance.argmin(axis=1)
    return np.where(distance[np.arange(len(x)), nearest] < SAME_MAXIMUM, nearest, ELSEWHERE)
