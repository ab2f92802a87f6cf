"""The variables of a target as arrays whose axes carry labels, and how permuting labels acts on them."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.model.graphs import Variables
from pymc_kl.model.target import Target


@dataclass(frozen=True, eq=False)
class Block:
    """One variable of the flat vector as an array whose axes carry labels.

    Attributes
    ----------
    name : str
        The variable's.
    coordinates : slice
        Those in the flat vector.
    value_shape, shape : tuple of int
        Unconstrained, and with the coordinate that a simplex or a zero sum drops.
    axes : tuple of int
        Those along which labels can be permuted.
    extensions : tuple of (int, array (K, K - 1))
        Axes that drop a coordinate, and the linear map that restores it.
    """

    name: str
    coordinates: slice
    value_shape: tuple[int, ...]
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    extensions: tuple[tuple[int, Array], ...] = ()

    def extend(self, x: Array) -> Array:
        """Map flat points (n, d) to arrays (n, *shape)."""
        array = x[:, self.coordinates].reshape(len(x), *self.value_shape)
        for axis, matrix in self.extensions:
            array = _along(array, matrix, axis + 1)
        return array

    def reduce(self, array: Array) -> Array:
        """Map arrays (n, *shape) to this variable's coordinates (n, size)."""
        for axis, matrix in self.extensions:
            array = _along(array, np.linalg.pinv(matrix), axis + 1)
        return array.reshape(len(array), math.prod(array.shape[1:]))


@dataclass(frozen=True, eq=False)
class LabelClass:
    """Labels that may be permuted, along all its sites at once.

    Attributes
    ----------
    name : str
        For the user, such as "component" or "axis 0 of x".
    sites : tuple of (int, int)
        Which variables of the target, and which axis of each.
    labels : array (K,) of int
        Those of the axis that are exchangeable, in ascending order.
    odd_flips : array of int
        Coordinates that change sign when two labels swap; only classes of two labels have any.
    """

    name: str
    sites: tuple[tuple[int, int], ...]
    labels: IntArray
    odd_flips: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))


@dataclass(frozen=True, eq=False)
class SignFlip:
    """Coordinates that may change sign together: their indices in ascending order, and a name for the user."""

    name: str
    coordinates: IntArray


def lay_out_blocks(target: Target) -> tuple[Block, ...]:
    """Make a block of every variable; axes that its transform mixes in another way carry no labels."""
    by_name = {rv.name: transform for rv, transform in target.model.rvs_to_transforms.items()}
    return tuple(_block(variable, by_name[variable.name]) for variable in target.variables)


def _block(variable: Variables, transform: Any) -> Block:
    """Make the block of one variable."""
    shape, value_shape = variable.shape, variable.value_shape
    dropped = _dropped_axes(transform, len(shape))
    restored = list(value_shape)
    for axis in dropped:
        restored[axis] += 1
    if tuple(restored) != shape:
        return Block(variable.name, variable.coordinates, value_shape, value_shape, axes=())
    extensions = tuple((axis, DROPPING[type(transform).__name__](shape[axis])) for axis in dropped)
    return Block(variable.name, variable.coordinates, value_shape, shape, tuple(range(len(shape))), extensions)


def _dropped_axes(transform: Any, ndim: int) -> list[int]:
    """Axes of a variable along which its transform drops the last coordinate."""
    if type(transform).__name__ not in DROPPING:
        return []
    return sorted(axis % ndim for axis in getattr(transform, "zerosum_axes", (-1,)))


def _restore_simplex(n: int) -> Array:
    """Map the first n - 1 centred logs of a simplex to all n."""
    return np.vstack([np.eye(n - 1), -np.ones(n - 1)])


def _restore_zero_sum(n: int) -> Array:
    """Map the n - 1 coordinates of PyMC's ZeroSumTransform to n numbers that sum to zero."""
    mean = 1 / (np.sqrt(n) + n)
    return np.asarray(np.vstack([np.eye(n - 1), np.full(n - 1, -1 / np.sqrt(n) + mean)]) - mean)


DROPPING = {"SimplexTransform": _restore_simplex, "ZeroSumTransform": _restore_zero_sum}


def _along(array: Array, matrix: Array, axis: int) -> Array:
    """Multiply an axis of an array by a matrix."""
    return np.moveaxis(np.moveaxis(array, axis, -1) @ matrix.T, -1, axis)


def take_labels(array: Array, labels: IntArray, order: IntArray, axis: int) -> Array:
    """Permute some labels of an axis of arrays (n, *shape), by one order (n, K) of them a row."""
    index = np.tile(np.arange(array.shape[axis + 1]), (len(array), 1))
    index[:, labels] = labels[order]
    other_axes = tuple(a for a in range(1, array.ndim) if a != axis + 1)
    return np.take_along_axis(array, np.expand_dims(index, other_axes), axis=axis + 1)
