"""Copies of points under a group: their number, the points themselves, and which classes and flips make them."""

from math import factorial, prod

import numpy as np
from scipy.linalg import solve_triangular

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.modes.symmetry.canonical import ZERO_TOLERANCE, CanonicalForm
from pymc_kl.modes.symmetry.group import Element, Group

SAME_POINT = 1e-3  # local standard deviations between a point and its copy that are one point; our choice
MERGE_DECIMALS = 8  # decimals of a point's largest coordinate to which two copies that are one agree; our choice


def orbit_size(form: CanonicalForm, point: Array, scale: Array) -> float:
    """Count the distinct copies of a canonical point (d,); inf above the largest float."""
    copies = 2 ** int(moves(form.group, form.group.single_flips(), point, scale).sum())
    for c, labels in enumerate(form.group.classes):
        equal = [len(labels_alike) for labels_alike in equal_labels(form, c, point, scale)]
        copies *= factorial(len(labels.labels)) // prod(map(factorial, equal))
    try:
        return float(copies)
    except OverflowError:
        return float("inf")


def equal_labels(form: CanonicalForm, c: int, point: Array, scale: Array) -> list[IntArray]:
    """Sort the labels of class c into sets that can be swapped without moving a canonical point (d,)."""
    order = form.order(c, point)
    differ = moves(form.group, form.group.swaps(c, order), point, scale)
    return np.split(order, np.flatnonzero(differ) + 1)


def moves(group: Group, element: Element, point: Array, scale: Array) -> BoolArray:
    """Whether each row of the element takes a point (d,) elsewhere."""
    away = group.away(group.apply_each(element, point), point)
    return np.asarray((np.abs(solve_triangular(scale, away.T, lower=True)) > SAME_POINT).any(axis=0))


def moving(form: CanonicalForm, points: Array, scale: Array) -> list[str]:
    """Name the classes and flips that move at least one of the canonical points (P, d)."""
    names = []
    for c, labels in enumerate(form.group.classes):
        if any(len(equal_labels(form, c, point, scale)) > 1 for point in points):
            names.append(f"labels of {labels.name} ({len(labels.labels)})")
    moved = np.zeros(len(form.group.flips), dtype=bool)
    for point in points:
        moved |= moves(form.group, form.group.single_flips(), point, scale)
    return names + [f"sign of {form.group.flips[f].name}" for f in np.flatnonzero(moved)]


def symmetrised(form: CanonicalForm, point: Array, scale: Array) -> Array:
    """Average a canonical point (d,) over the symmetries that map it to itself up to rounding."""
    group, flips = form.group, form.group.single_flips()
    if len(flips):
        still = group.identity(1)
        still.signs[0, ~moves(group, flips, point, scale)] = -1
        point = point + group.away(group.apply_each(still, point), point)[0] / 2
    for c in range(len(group.classes)):
        for labels in equal_labels(form, c, point, scale):
            point = group.apply_each(_rotations(group, c, labels), point).mean(axis=0)
    return point


def _rotations(group: Group, c: int, labels: IntArray) -> Element:
    """Permute some labels of class c cyclically, by every number of steps."""
    element = group.identity(len(labels))
    for step in range(len(labels)):
        element.orders[c][step, labels] = np.roll(labels, step)
    return element


def images(group: Group, point: Array, limit: int) -> Array:
    """List distinct copies (m, d) of a point (d,), itself first: all of them where there are at most `limit`."""
    found = np.array(point, dtype=float)[None]
    newest = found
    while len(newest) and len(found) < limit:
        steps = [_neighbours(group, copy) for copy in newest]
        merged = _distinct(np.concatenate([found, *steps]))
        newest = merged[len(found) :]
        found = merged
    return found[:limit]


def _neighbours(group: Group, point: Array) -> Array:
    """Images of a point under every swap of neighbouring labels and every flip."""
    generators = [*(group.all_swaps(c) for c in range(len(group.classes))), group.single_flips()]
    return group.in_one_turn(np.concatenate([group.apply_each(element, point) for element in generators]))


def _distinct(x: Array) -> Array:
    """Drop rows (n, d) that repeat an earlier one."""
    unit = max(float(np.abs(x).max()), ZERO_TOLERANCE) * 10.0**-MERGE_DECIMALS
    _, first = np.unique(np.round(x / unit) + 0.0, axis=0, return_index=True)
    return x[np.sort(first)]
