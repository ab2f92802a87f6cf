"""The draws that a family is fitted to, before they are checked."""

from dataclasses import dataclass, field

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations.base import Approximation


@dataclass(frozen=True)
class Training:
    """Draws of p to fit a family to; a family ignores what it does not need.

    Attributes
    ----------
    x : array (n, d)
        Unconstrained space.
    weights : array (n,) or None
        Not negative, on any scale; equal if None.
    mode : array of int (n,) or None
        The mode of each draw, -1 elsewhere.
    blocks : array of int (n,) or None
        Contiguous blocks of autocorrelated draws.
    rng : Generator
    start : Approximation or None
        A fit to nearly the same draws, of which a mixture takes the number of components and starts from them.
    """

    x: Array
    weights: Array | None = None
    mode: IntArray | None = None
    blocks: IntArray | None = None
    rng: np.random.Generator = field(default_factory=np.random.default_rng)
    start: Approximation | None = None
