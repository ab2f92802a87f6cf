"""Every element of a symmetry's group, as elements and as matrices."""

from itertools import permutations, product
from math import factorial, prod

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.modes.symmetry.group import Element, Group


def group_order(group: Group) -> int:
    """Count the elements of the group."""
    return prod(factorial(len(c.labels)) for c in group.classes) * 2 ** len(group.flips)


def elements(group: Group) -> Element:
    """List every element of the group, a row each, the identity first."""
    labels = [list(permutations(range(len(c.labels)))) for c in group.classes]
    signs = list(product((1.0, -1.0), repeat=len(group.flips)))
    rows = list(product(*labels, signs))
    orders = (np.array([row[c] for row in rows], dtype=np.int64) for c in range(len(labels)))
    return Element(tuple(orders), np.array([row[-1] for row in rows], dtype=float).reshape(len(rows), -1))


def matrices(group: Group, d: int) -> Array:
    """List every element of the group as the matrix (order, d, d) by which it maps R^d, the identity first."""
    order = group_order(group)
    repeated = elements(group).take(np.repeat(np.arange(order), d))
    return group.apply(repeated, np.tile(np.eye(d), (order, 1))).reshape(order, d, d).transpose(0, 2, 1)
