"""Long names in a legend: broken into lines, and the height that they take."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from arviz_base.labels import BaseLabeller

from pymc_kl.plots.parts.axes import lines_of, wrap_name

LEGEND_ROW = 0.22  # inches: the height of a line of the legend
LEGEND_CHARACTERS = 32  # of a line of the legend


@dataclass(frozen=True)
class InLines(BaseLabeller):
    """Break the long names of another labeller into lines, for a legend."""

    labeller: Any
    backend: str

    def sel_to_str(self, sel: Any, isel: Any) -> str:
        """Name the values of some dims."""
        return lines_of(wrap_name(str(self.labeller.sel_to_str(sel, isel)), LEGEND_CHARACTERS), self.backend)


def legend_height(names: Sequence[str]) -> float:
    """Return the height of a legend of these names with its frame, in inches."""
    return LEGEND_ROW * (2 + sum(wrap_name(name, LEGEND_CHARACTERS).count("\n") + 1 for name in names))
