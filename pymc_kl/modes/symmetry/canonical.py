"""Canonical form: of all copies of a point, the one whose labels and signs are in a fixed order.

Labels are put in the order of keys that no other element of the group changes, then each flip gives a fixed weighted
sum of its coordinates a positive sign.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.modes.symmetry.group import Element, Group

KEY_TOLERANCE = 1e-6  # relative to the largest key: two labels' keys closer than this are equal; our choice
ZERO_TOLERANCE = 1e-9  # unit of the unconstrained space: a sum this small has no sign; our choice


@dataclass(frozen=True, eq=False)
class CanonicalForm:
    """The canonical form of points under a group: one of all the copies of a point, the same for every copy."""

    group: Group

    def __call__(self, x: Array) -> tuple[Array, Element]:
        """Bring points (n, d) to their canonical copies (n, d); also return the elements that take them there."""
        within = self.group.in_one_turn(x)
        features = {b: self._features(b, within) for b in self.group.permuted_blocks}
        orders = tuple(self._order(c, features) for c in range(len(self.group.classes)))
        y = self.group.permute(orders, within)
        signs = self._signs(y)
        flipped = self.group.flip(signs, y)
        element = Element(orders, signs)
        if not len(self.group.angles):
            return flipped, element
        copies = self.group.in_one_turn(flipped)  # a flip may leave the turn
        return copies, replace(element, shift=within - x + self.group.undo(element, copies - flipped))

    def order(self, c: int, point: Array) -> IntArray:
        """Order (K,) of the labels of class c at one point (d,), by their keys."""
        return self._order(c, {b: self._features(b, point[None]) for b, _ in self.group.classes[c].sites})[0]

    def _order(self, c: int, features: Mapping[int, Array]) -> IntArray:
        """Order (n, K) of the labels of class c by their keys, sums over all coordinates that carry a label.

        The second key orders labels whose first keys agree by chance; those that agree in both keep their order.
        """
        n_labels = len(self.group.classes[c].labels)
        first, second = (_rank(self._key(c, weights, features)) for weights in self._weights[c])
        return np.argsort(first * n_labels + second, axis=1, kind="stable")

    def _key(self, c: int, weights_of_sites: list[Array], features: Mapping[int, Array]) -> Array:
        """Sum features over all coordinates that carry each label of class c (n, K)."""
        labels = self.group.classes[c]
        key: Any = 0.0
        for (b, axis), weights in zip(labels.sites, weights_of_sites, strict=True):
            along = list(range(1, weights.ndim + 1))
            key = key + np.einsum(features[b], [0, *along], weights, along, [0, axis + 1])
        return np.asarray(key[:, labels.labels])

    def _features(self, b: int, x: Array) -> Array:
        """Map points (n, d) to features (n, *shape) of a block that no flip changes: coordinates, or their size.

        Where a second class permutes the same entries, a sum over its labels may be constant (a zero sum), which would
        order nothing: there the feature is a nonlinear function of the coordinate.
        """
        array = self.group.blocks[b].extend(x)
        flipped, shared = self._masks[b]
        features = np.where(shared, array + 0.5 * np.sqrt(1 + array**2), array) if shared.any() else array
        return np.where(flipped, np.abs(array), features) if flipped.any() else features

    def _signs(self, x: Array) -> Array:
        """Sign (n, F) of each flip that makes the weighted sum of its coordinates positive."""
        sizes = self.group.flip_sizes
        if not len(sizes):
            return np.ones((len(x), 0))
        # A permutation may map one flip to another. Their coordinates are in the same order, so they get equal weights.
        weights = np.random.default_rng(0).uniform(0.5, 1.5, int(sizes.max()))
        terms = x[:, self.group.flip_coordinates] * np.concatenate([weights[:size] for size in sizes])
        starts = np.cumsum(sizes) - sizes
        total = np.add.reduceat(terms, starts, axis=1)
        size = np.add.reduceat(np.abs(terms), starts, axis=1)
        return np.where(total < -(KEY_TOLERANCE * size + ZERO_TOLERANCE), -1.0, 1.0)

    @cached_property
    def _masks(self) -> dict[int, tuple[BoolArray, BoolArray]]:
        """Masks (*shape,) of each permuted block: entries that a flip negates, and entries that two classes permute."""
        negated = np.zeros((1, self.group.d))
        negated[:, self.group.flip_coordinates] = 1
        for labels in self.group.classes:
            negated[:, labels.odd_flips] = 1
        blocks = {b: self.group.blocks[b] for b in self.group.permuted_blocks}
        return {b: (block.extend(negated)[0] != 0, self._times_permuted(b) > 1) for b, block in blocks.items()}

    def _times_permuted(self, b: int) -> IntArray:
        """Count the permutations that act on each entry of a block (*shape,): one for each axis that carries labels."""
        times = np.zeros(self.group.blocks[b].shape, dtype=np.int64)
        for labels, axis in self._sites_of(b):
            np.moveaxis(times, axis, 0)[labels] += 1
        return times

    @cached_property
    def _weights(self) -> list[list[list[Array]]]:
        """Random weights of a block's entries, by class, key and site; equal for entries that a class permutes."""
        rng, blocks = np.random.default_rng(0), self.group.blocks
        equal = {b: np.ix_(*self._first_labels(b)) for b in self.group.permuted_blocks}
        return [
            [[rng.uniform(0.5, 1.5, blocks[b].shape)[equal[b]] for b, _ in labels.sites] for _ in range(2)]
            for labels in self.group.classes
        ]

    def _first_labels(self, b: int) -> list[IntArray]:
        """For each axis of a block (n labels): the first label of the class that each label belongs to (n,)."""
        first = [np.arange(n) for n in self.group.blocks[b].shape]
        for labels, axis in self._sites_of(b):
            first[axis][labels] = labels[0]
        return first

    def _sites_of(self, b: int) -> list[tuple[IntArray, int]]:
        """Labels of every class that permutes a block, and the axis along which it does."""
        return [(c.labels, axis) for c in self.group.classes for site, axis in c.sites if site == b]


def _rank(keys: Array) -> IntArray:
    """Rank keys (n, K) within their rows; neighbours that nearly agree share a rank."""
    order = np.argsort(keys, axis=1)
    ascending = np.take_along_axis(keys, order, axis=1)
    apart = np.diff(ascending, axis=1) > KEY_TOLERANCE * np.abs(keys).max(axis=1, keepdims=True)
    rank = np.zeros(keys.shape, dtype=np.int64)
    np.put_along_axis(rank, order[:, 1:], np.cumsum(apart, axis=1), axis=1)
    return rank
