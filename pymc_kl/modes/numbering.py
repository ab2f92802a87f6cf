"""How modes are numbered: from 0 in arrays, where -1 is elsewhere; from 1 in a DataTree, where 0 is elsewhere.

Scores keep elsewhere in the last of K + 1 regions instead, so that it indexes an array.
"""

import numpy as np

from pymc_kl._typing import IntArray

ELSEWHERE = -1  # mode of a point of no mode, in arrays
ELSEWHERE_NUMBER = 0  # the same in a DataTree


def mode_numbers(k: int) -> IntArray:
    """Return the coordinate of the `mode` dim of a DataTree: 1 to K."""
    return np.arange(1, k + 1)


def to_mode_number(mode: IntArray) -> IntArray:
    """Number modes as a DataTree does: -1 becomes 0, and mode k becomes k + 1."""
    return mode + 1


def to_region(mode: IntArray, k: int) -> IntArray:
    """Number modes and elsewhere as regions 0 to K: -1 becomes K."""
    return np.where(mode < 0, k, mode)
