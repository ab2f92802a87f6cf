"""Exchangeable labels and sign flips as a group of linear maps of the unconstrained space.

An element first permutes the labels of every class, then flips signs. Functions here take one element for each row
of points; the group itself is never enumerated.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.model.periodic import in_one_turn, shortest
from pymc_kl.modes.symmetry.labels import Block, LabelClass, SignFlip, take_labels

HOLDS = 1e-6  # relative to |log p̃| + 1: change of log p̃ at a maximum that a symmetry may make by rounding; our choice


@dataclass(frozen=True, eq=False)
class Element:
    """One group element a row.

    Attributes
    ----------
    orders : tuple of array (n, K) of int
        For each class: position i gets what label `orders[:, i]` of the class had.
    signs : array (n, F)
        For each flip 1 or -1, applied after the permutations.
    shift : array (n, d), optional
        Whole turns of angles, in radians, added before the permutations; None for none.
    """

    orders: tuple[IntArray, ...]
    signs: Array
    shift: Array | None = None

    def __len__(self) -> int:
        return len(self.signs)

    def take(self, rows: IntArray) -> "Element":
        """Return the elements of some rows (m,)."""
        shift = None if self.shift is None else self.shift[rows]
        return Element(tuple(order[rows] for order in self.orders), self.signs[rows], shift)


@dataclass(frozen=True, eq=False)
class Group:
    """A group of permutations of labels, flips of signs and whole turns of angles, and its action on points.

    Points that differ by turns are one point: turns make no copies and add nothing to a mass.

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
    angles : array of int
        Coordinates that have the period 2π.
    """

    d: int
    classes: tuple[LabelClass, ...] = ()
    flips: tuple[SignFlip, ...] = ()
    blocks: tuple[Block, ...] = field(default=(), repr=False)
    angles: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @property
    def is_trivial(self) -> bool:
        """Whether the identity is all there is."""
        return not self.classes and not self.flips and not len(self.angles)

    def apply(self, element: Element, x: Array) -> Array:
        """Apply one group element a row to points (n, d) of the unconstrained space."""
        x = np.asarray(x, dtype=float)
        return self.flip(element.signs, self.permute(element.orders, x if element.shift is None else x + element.shift))

    def apply_each(self, element: Element, point: Array) -> Array:
        """Apply each of n elements to one point (d,); return its images (n, d)."""
        return self.apply(element, np.tile(point, (len(element), 1)))

    def undo(self, element: Element, x: Array) -> Array:
        """Apply the inverse of one group element a row to points (n, d)."""
        inverse = tuple(np.argsort(order, axis=1) for order in element.orders)
        y = self.permute(inverse, self.flip(element.signs, np.asarray(x, dtype=float)))
        return y if element.shift is None else y - element.shift

    def in_one_turn(self, x: Array) -> Array:
        """Bring the angles of points (n, d) to one turn."""
        return in_one_turn(x, self.angles) if len(self.angles) else x

    def away(self, x: Array, y: Array) -> Array:
        """Subtract points y from points x (n, d), angles the shorter way round."""
        return shortest(x - y, self.angles) if len(self.angles) else x - y

    def permute(self, orders: Sequence[IntArray], x: Array) -> Array:
        """Permute the labels of every class in points (n, d), by one order (n, K) of each a row."""
        y = x.copy()
        arrays = {b: self.blocks[b].extend(x) for b in self.permuted_blocks}
        touched = np.zeros(len(x), dtype=bool)
        for labels, order in zip(self.classes, orders, strict=True):
            touched |= (order != np.arange(order.shape[1])).any(axis=1)
            if len(labels.odd_flips):
                y[:, labels.odd_flips] *= np.where(order[:, :1] > order[:, 1:], -1, 1)
            for b, axis in labels.sites:
                arrays[b] = take_labels(arrays[b], labels.labels, order, axis)
        for b, array in arrays.items():
            y[touched, self.blocks[b].coordinates] = self.blocks[b].reduce(array[touched])
        return y

    def flip(self, signs: Array, x: Array) -> Array:
        """Multiply the coordinates of every flip in points (n, d) by its sign (n, F)."""
        y = x.copy()
        y[:, self.flip_coordinates] *= np.repeat(signs, self.flip_sizes, axis=1)
        return y

    def identity(self, n: int) -> Element:
        """Return n times the element that moves nothing."""
        orders = tuple(np.tile(np.arange(len(c.labels)), (n, 1)) for c in self.classes)
        return Element(orders, np.ones((n, len(self.flips))))

    def random(self, n: int, rng: np.random.Generator) -> Element:
        """Draw n elements, uniform over the whole group."""
        orders = tuple(rng.permuted(order, axis=1) for order in self.identity(n).orders)
        return Element(orders, np.where(rng.random((n, len(self.flips))) < 0.5, -1.0, 1.0))

    def swaps(self, c: int, labels: IntArray) -> Element:
        """Swap each two labels (positions in class c) that are neighbours in the order given."""
        element = self.identity(len(labels) - 1)
        rows = np.arange(len(labels) - 1)
        element.orders[c][rows, labels[:-1]] = labels[1:]
        element.orders[c][rows, labels[1:]] = labels[:-1]
        return element

    def all_swaps(self, c: int) -> Element:
        """Swap each two neighbouring labels of class c."""
        return self.swaps(c, np.arange(len(self.classes[c].labels)))

    def single_flips(self) -> Element:
        """Return each flip alone."""
        n = len(self.flips)
        return Element(self.identity(n).orders, 1 - 2 * np.eye(n))

    def holding(self, log_density: Callable[[Array], Array], x: Array) -> Self:
        """Keep the classes and flips that leave a log density unchanged at points (n, d) too, to 1e-6 of its size.

        A mode too narrow for the points where a symmetry was looked for may break it.
        """
        value = log_density(x)[:, None]

        def holds(element: Element) -> bool:
            images = np.concatenate([self.apply_each(element, point) for point in x])
            change = np.abs(log_density(images).reshape(len(x), -1) - value)
            return bool((change <= HOLDS * (1 + np.abs(value))).all())

        flips = self.single_flips()
        classes = tuple(labels for c, labels in enumerate(self.classes) if holds(self.all_swaps(c)))
        held = tuple(flip for f, flip in enumerate(self.flips) if holds(flips.take(np.array([f]))))
        return replace(self, classes=classes, flips=held)

    @cached_property
    def permuted_blocks(self) -> tuple[int, ...]:
        """Indices of the blocks that some class permutes, ascending."""
        return tuple(sorted({b for labels in self.classes for b, _ in labels.sites}))

    @cached_property
    def flip_coordinates(self) -> IntArray:
        """Coordinates of all flips, one flip after the other."""
        return np.concatenate([np.empty(0, dtype=np.int64), *(flip.coordinates for flip in self.flips)])

    @cached_property
    def flip_sizes(self) -> IntArray:
        """Number of coordinates of each flip."""
        return np.array([len(flip.coordinates) for flip in self.flips], dtype=np.int64)
