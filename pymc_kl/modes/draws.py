"""Draws that are assigned to modes: what fits are made from, scored on and started at."""

from dataclasses import dataclass, fields

from pymc_kl._typing import Array, IntArray


@dataclass(frozen=True, eq=False)
class ModeDraws:
    """Weighted draws of a posterior, or of an approximation, with the mode of each.

    Attributes
    ----------
    x : array (n, d)
        Unconstrained space.
    log_density : array (n,)
        log p̃ in nats.
    weights : array (n,)
        Not negative, sum 1.
    mode : array (n,) of int
        -1 for elsewhere.
    copy : array (n,) of int
        Number of the copy of a mode, or of one of its maxima, that each draw is in, different for all modes; -1 for
        elsewhere.
    fold : array (n,) of int
        Part of the draws that cross-fitting holds out together; 0 throughout where it holds out none.
    """

    x: Array
    log_density: Array
    weights: Array
    mode: IntArray
    copy: IntArray
    fold: IntArray

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: IntArray) -> "ModeDraws":
        """Return some of the draws, with their weights as they are."""
        return ModeDraws(*(getattr(self, f.name)[rows] for f in fields(self)))
