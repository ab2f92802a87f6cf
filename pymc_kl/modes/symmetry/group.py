"""The symmetry of a posterior: exchangeable labels and sign flips, as maps of its unconstrained space.

A group element first permutes the labels of every class, then flips signs. All maps here are linear, preserve
log p̃ if the symmetry is one of it, and act on all rows at once; the group itself is never enumerated.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import factorial, prod
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.modes.symmetry.labels import Block, LabelClass, SignFlip, take_labels

KEY_TOLERANCE = 1e-6  # relative difference of two labels' keys below which they keep their order
ZERO_TOLERANCE = 1e-9  # unit of the unconstrained space: a sum this small has no sign
HOLDS = 1e-6  # change of log p̃ at a peak, relative to |log p̃| + 1, that a symmetry may make
SAME_LABEL = 1e-3  # local standard deviations between a point and its copy that are one point
MERGE_DECIMALS = 8  # of a point's largest coordinate: copies that agree so far are one


@dataclass(frozen=True, eq=False)
class Element:
    """One group element a row.

    Attributes
    ----------
    orders : tuple of array (n, K) of int
        For each class: position i gets what label `orders[:, i]` of the class had.
    signs : array (n, F)
        For each flip 1 or -1, applied after the permutations.
    """

    orders: tuple[IntArray, ...]
    signs: Array

    def __len__(self) -> int:
        return len(self.signs)


@dataclass(frozen=True, eq=False)
class Symmetry:
    """A group of linear maps that leave a log density unchanged.

    Build it with `pymc_kl.modes.symmetry.detect.find_symmetry`, or :func:`trivial`.

    Parameters
    ----------
    d : int
        Number of unconstrained dimensions.
    classes : tuple of LabelClass
        Exchangeable labels; no two classes share a label of a site.
    flips : tuple of SignFlip
        Sign flips of disjoint sets of coordinates, which permutations map to each other.
    blocks : tuple of Block
        The target's variables, to which the sites of classes refer.
    """

    d: int
    classes: tuple[LabelClass, ...] = ()
    flips: tuple[SignFlip, ...] = ()
    blocks: tuple[Block, ...] = field(default=(), repr=False)

    @property
    def is_trivial(self) -> bool:
        """Whether the identity is all there is."""
        return not self.classes and not self.flips

    def canonical(self, x: Array) -> tuple[Array, Element]:
        """Move each point to the copy of it that stands for all its copies.

        Labels are put in the order of keys that no other element of the group changes, then each flip gives a
        fixed weighted sum of its coordinates a positive sign. Labels with equal keys keep their order.

        Parameters
        ----------
        x : array (n, d)
            Unconstrained space.

        Returns
        -------
        copies : array (n, d)
            Equal for any two points of one orbit, ties of keys excepted.
        element : Element
            What takes each point there: `apply(element, x)` are the copies.
        """
        x = np.asarray(x, dtype=float)
        features = {b: self._invariants(b, x) for b in self._moved}
        orders = tuple(self._order(c, features) for c in range(len(self.classes)))
        y = self._permute(orders, x)
        signs = self._signs(y)
        return self._flip(signs, y), Element(orders, signs)

    def apply(self, element: Element, x: Array) -> Array:
        """Apply one group element a row to points (n, d) of the unconstrained space."""
        return self._flip(element.signs, self._permute(element.orders, np.asarray(x, dtype=float)))

    def undo(self, element: Element, x: Array) -> Array:
        """Apply the inverse of one group element a row to points (n, d)."""
        inverse = tuple(np.argsort(order, axis=1) for order in element.orders)
        return self._permute(inverse, self._flip(element.signs, np.asarray(x, dtype=float)))

    def symmetrised(self, point: Array, scale: Array) -> Array:
        """Average a canonical point (d,) over what leaves it in place up to rounding: its equal labels and signs."""
        flips = self.single_flips()
        still = Element(tuple(o[:1] for o in flips.orders), np.ones((1, len(self.flips))))
        if len(flips):
            still.signs[0, ~self._moves(flips, point, scale)] = -1
            point = (point + self.apply(still, point[None])[0]) / 2
        for c, labels in enumerate(self.classes):
            features = {b: self._invariants(b, point[None]) for b, _ in labels.sites}
            order = self._order(c, features)[0]
            ends = np.flatnonzero(np.concatenate([self._neighbours_differ(c, point, scale), [True]]))
            for group in np.split(order, ends[:-1] + 1):
                turns = self.identity(len(group))
                for turn in range(len(group)):
                    turns.orders[c][turn, group] = np.roll(group, turn)
                point = self.apply(turns, np.tile(point, (len(group), 1))).mean(axis=0)
        return point

    def holding(self, log_density: Callable[[Array], Array], x: Array) -> "Symmetry":
        """Keep the classes and flips that leave a log density unchanged at points (n, d) too, to 1e-6 of its size.

        A mode too narrow for the points where a symmetry was looked for may break it.
        """
        value = log_density(x)

        def holds(element: Element) -> bool:
            images = [self.apply(element, np.tile(point, (len(element), 1))) for point in x]
            change = np.abs(log_density(np.concatenate(images)).reshape(len(x), -1) - value[:, None])
            return bool((change <= HOLDS * (1 + np.abs(value[:, None]))).all())

        flips = self.single_flips()
        each = [Element(tuple(o[[f]] for o in flips.orders), flips.signs[[f]]) for f in range(len(self.flips))]
        return replace(
            self,
            classes=tuple(
                labels for c, labels in enumerate(self.classes) if holds(self.swaps(c, np.arange(len(labels.labels))))
            ),
            flips=tuple(flip for flip, element in zip(self.flips, each, strict=True) if holds(element)),
        )

    def random(self, n: int, rng: np.random.Generator) -> Element:
        """Draw n elements, uniform over the whole group."""
        orders = tuple(rng.permuted(order, axis=1) for order in self.identity(n).orders)
        return Element(orders, np.where(rng.random((n, len(self.flips))) < 0.5, -1.0, 1.0))

    def identity(self, n: int) -> Element:
        """Return n times the element that moves nothing."""
        orders = tuple(np.tile(np.arange(len(c.labels)), (n, 1)) for c in self.classes)
        return Element(orders, np.ones((n, len(self.flips))))

    def n_copies(self, x: Array, scale: Array) -> Array:
        """Count the distinct copies of each point.

        The count is a product over classes, of the ways to arrange labels some of which are equal, times two
        for every flip that moves the point, in canonical form. It is exact for generic points, and wherever
        classes and flips act on different coordinates; it is too large where a point stays in place only under
        two of those at once, such as a matrix of which swapping two rows undoes swapping two columns.

        Parameters
        ----------
        x : array (P, d)
            Unconstrained space.
        scale : array (d, d)
            Lower Cholesky factor of the local covariance: copies closer than 1e-3 standard deviations are one.

        Returns
        -------
        array (P,)
            Sizes of the orbits; inf above the largest float.
        """
        return np.array([self._orbit_size(point, scale) for point in self.canonical(x)[0]])

    def moving(self, x: Array, scale: Array) -> list[str]:
        """Name the classes and flips that move at least one of the points (P, d)."""
        points = self.canonical(x)[0]
        names = []
        for c, labels in enumerate(self.classes):
            if any(self._neighbours_differ(c, point, scale).any() for point in points):
                names.append(f"labels of {labels.name} ({len(labels.labels)})")
        moved = np.zeros(len(self.flips), dtype=bool)
        for point in points:
            moved |= self._moves(self.single_flips(), point, scale)
        return names + [f"sign of {self.flips[f].name}" for f in np.flatnonzero(moved)]

    def images(self, x: Array, limit: int) -> Array:
        """List distinct copies of one point.

        Parameters
        ----------
        x : array (d,)
            Unconstrained space.
        limit : int
            How many copies to list at the most.

        Returns
        -------
        array (m, d)
            The point itself first; all of its copies where there are at most `limit`.
        """
        found = np.array(x, dtype=float)[None]
        newest = found
        while len(newest) and len(found) < limit:
            steps = [self._generators(point) for point in newest]
            merged = _distinct(np.concatenate([found, *steps]))
            newest = merged[len(found) :]
            found = merged
        return found[:limit]

    def _generators(self, point: Array) -> Array:
        """Images of a point under every swap of neighbouring labels and every flip."""
        elements = [self.swaps(c, np.arange(len(labels.labels))) for c, labels in enumerate(self.classes)]
        elements.append(self.single_flips())
        return np.concatenate([self.apply(element, np.tile(point, (len(element), 1))) for element in elements])

    def swaps(self, c: int, labels: IntArray) -> Element:
        """Swap each two labels (positions in class c) that are neighbours in the order given."""
        element = self.identity(len(labels) - 1)
        rows = np.arange(len(labels) - 1)
        element.orders[c][rows, labels[:-1]] = labels[1:]
        element.orders[c][rows, labels[1:]] = labels[:-1]
        return element

    def single_flips(self) -> Element:
        """Each flip alone."""
        n = len(self.flips)
        return Element(self.identity(n).orders, 1 - 2 * np.eye(n))

    def _orbit_size(self, point: Array, scale: Array) -> float:
        copies = 2 ** int(self._moves(self.single_flips(), point, scale).sum())
        for c, labels in enumerate(self.classes):
            starts = np.concatenate([[True], self._neighbours_differ(c, point, scale), [True]])
            equal = np.diff(np.flatnonzero(starts)).tolist()
            copies *= factorial(len(labels.labels)) // prod(map(factorial, equal))
        try:
            return float(copies)
        except OverflowError:
            return float("inf")

    def _neighbours_differ(self, c: int, point: Array, scale: Array) -> BoolArray:
        """Whether labels of class c that are neighbours in the order of their keys (K - 1,) are different ones."""
        features = {b: self._invariants(b, point[None]) for b, _ in self.classes[c].sites}
        return self._moves(self.swaps(c, self._order(c, features)[0]), point, scale)

    def _moves(self, element: Element, point: Array, scale: Array) -> BoolArray:
        """Whether each row of the element takes a point (d,) elsewhere."""
        away = self.apply(element, np.tile(point, (len(element), 1))) - point
        return np.asarray((np.abs(solve_triangular(scale, away.T, lower=True)) > SAME_LABEL).any(axis=0))

    def _permute(self, orders: Sequence[IntArray], x: Array) -> Array:
        y = x.copy()
        arrays = {b: self.blocks[b].extend(x) for b in self._moved}
        touched = np.zeros(len(x), dtype=bool)
        for labels, order in zip(self.classes, orders, strict=True):
            touched |= (order != np.arange(order.shape[1])).any(axis=1)
            if len(labels.odd_flips):
                y[:, labels.odd_flips] *= np.where(order[:, :1] > order[:, 1:], -1, 1)
            for b, axis in labels.sites:
                arrays[b] = take_labels(arrays[b], labels.labels, order, axis)
        for b, array in arrays.items():
            y[touched, self.blocks[b].place] = self.blocks[b].reduce(array[touched])
        return y

    def _flip(self, signs: Array, x: Array) -> Array:
        y = x.copy()
        y[:, self._flip_places] *= np.repeat(signs, self._flip_sizes, axis=1)
        return y

    def _signs(self, x: Array) -> Array:
        """Sign (n, F) of each flip that makes the weighted sum of its coordinates positive."""
        if not self.flips:
            return np.ones((len(x), 0))
        # Flips that a permutation maps to each other have their coordinates in the same order: equal weights.
        weights = np.random.default_rng(0).uniform(0.5, 1.5, int(self._flip_sizes.max()))
        terms = x[:, self._flip_places] * np.concatenate([weights[:size] for size in self._flip_sizes])
        starts = np.cumsum(self._flip_sizes) - self._flip_sizes
        total = np.add.reduceat(terms, starts, axis=1)
        size = np.add.reduceat(np.abs(terms), starts, axis=1)
        return np.where(total < -(KEY_TOLERANCE * size + ZERO_TOLERANCE), -1.0, 1.0)

    def _order(self, c: int, features: dict[int, Array]) -> IntArray:
        """Order (n, K) of the labels of class c by their keys, sums over all coordinates that carry a label.

        The second key orders labels whose first keys agree by chance; those that agree in both keep their order.
        """
        labels, ranks = self.classes[c], []
        for weights_of_sites in self._weights[c]:
            keys: Any = 0.0
            for (b, axis), weights in zip(labels.sites, weights_of_sites, strict=True):
                along = list(range(1, weights.ndim + 1))
                keys = keys + np.einsum(features[b], [0, *along], weights, along, [0, axis + 1])
            ranks.append(_rank(keys[:, labels.labels]))
        return np.argsort(ranks[0] * len(labels.labels) + ranks[1], axis=1, kind="stable")

    def _invariants(self, b: int, x: Array) -> Array:
        """Map points (n, d) to features (n, *shape) of a block that no flip changes.

        A linear sum over another class's labels could be constant (a zero sum), so those get a curved feature.
        """
        array = self.blocks[b].extend(x)
        flipped, shared = self._masks[b]
        if shared.any():
            array = np.where(shared, array + 0.5 * np.sqrt(1 + array**2), array)
        return np.where(flipped, np.abs(self.blocks[b].extend(x)), array) if flipped.any() else array

    @cached_property
    def _moved(self) -> tuple[int, ...]:
        """Blocks that some class permutes."""
        return tuple(sorted({b for labels in self.classes for b, _ in labels.sites}))

    @cached_property
    def _flip_places(self) -> IntArray:
        return np.concatenate([np.empty(0, dtype=np.int64), *(flip.coordinates for flip in self.flips)])

    @cached_property
    def _flip_sizes(self) -> IntArray:
        return np.array([len(flip.coordinates) for flip in self.flips], dtype=np.int64)

    @cached_property
    def _masks(self) -> dict[int, tuple[BoolArray, BoolArray]]:
        """For each block permuted: entries that a flip changes, and those that two sites of classes permute."""
        negated = np.zeros((1, self.d))
        negated[:, self._flip_places] = 1
        for labels in self.classes:
            negated[:, labels.odd_flips] = 1
        masks = {}
        for b in self._moved:
            block, times = self.blocks[b], np.zeros(self.blocks[b].shape, dtype=np.int64)
            for labels in self.classes:
                for axis in (axis for site, axis in labels.sites if site == b):
                    np.moveaxis(times, axis, 0)[labels.labels] += 1
            masks[b] = (block.extend(negated)[0] != 0, times > 1)
        return masks

    @cached_property
    def _weights(self) -> list[list[list[Array]]]:
        """For each class, its two keys and its sites: weights of a block's entries, equal where a class permutes."""
        rng = np.random.default_rng(0)
        equal = {b: np.ix_(*self._representatives(b)) for b in self._moved}
        return [
            [[rng.uniform(0.5, 1.5, self.blocks[b].shape)[equal[b]] for b, _ in labels.sites] for _ in range(2)]
            for labels in self.classes
        ]

    def _representatives(self, b: int) -> list[IntArray]:
        """For each axis of a block, the first label of the class that each label is in."""
        first = [np.arange(n) for n in self.blocks[b].shape]
        for labels in self.classes:
            for axis in (axis for site, axis in labels.sites if site == b):
                first[axis][labels.labels] = labels.labels[0]
        return first


def trivial(d: int) -> Symmetry:
    """Return the symmetry of a log density that has none.

    Parameters
    ----------
    d : int
        Number of unconstrained dimensions.

    Returns
    -------
    Symmetry

    Examples
    --------
    >>> trivial(3).is_trivial
    True
    """
    return Symmetry(d)


def _rank(keys: Array) -> IntArray:
    """Rank keys (n, K) within their rows; neighbours that nearly agree share a rank."""
    order = np.argsort(keys, axis=1)
    ascending = np.take_along_axis(keys, order, axis=1)
    apart = np.diff(ascending, axis=1) > KEY_TOLERANCE * np.abs(keys).max(axis=1, keepdims=True)
    rank = np.zeros(keys.shape, dtype=np.int64)
    np.put_along_axis(rank, order[:, 1:], np.cumsum(apart, axis=1), axis=1)
    return rank


def _distinct(x: Array) -> Array:
    """Drop rows (n, d) that repeat an earlier one."""
    unit = max(float(np.abs(x).max()), ZERO_TOLERANCE) * 10.0**-MERGE_DECIMALS
    _, first = np.unique(np.round(x / unit) + 0.0, axis=0, return_index=True)
    return x[np.sort(first)]
