"""Exchangeable labels and sign flips: what maps copies of a mode to each other."""

from pymc_kl.modes.symmetry.detect import find_symmetry
from pymc_kl.modes.symmetry.symmetry import Symmetry, trivial

__all__ = ["Symmetry", "find_symmetry", "trivial"]
