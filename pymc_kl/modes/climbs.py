"""Climbs → maxima: from starts to maxima that are new, and from points to known ones."""

from itertools import count, pairwise

import numpy as np
from scipy.linalg import eigvalsh

from pymc_kl._typing import Array, IntArray
from pymc_kl.modes.maxima import CAPTURE_RADIUS, Maxima, values_between
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
MOST_IMAGES = 64  # copies of the end of a climb on a flat top that are looked at, of fewer; our choice
UPHILL_EVERY = 4  # looks for known maxima from one check of that line to the next; our choice
UPHILL_FROM = 8  # looks after which climbs of the search are checked by that line too; our choice
ASSIGN_STEPS = 1000  # evaluations of a point that is assigned to a maximum, at the most; our choice
FIRST_ROUND = 32  # starts climbed from before any maximum is known; our choice
GROWTH = 4  # factor by which the starts climbed from grow with each round; our choice
ROUNDS = 9  # rounds at the most: 2 million starts
SHARPEST = 1e14  # largest curvature of a peak where that of the posterior is about 1: a width of 1e-7; our choice


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
        level = (
            values_between(value_and_grad, images, np.tile(centre, (len(images), 1))).min(axis=1) > log_density - RISE
        )
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
