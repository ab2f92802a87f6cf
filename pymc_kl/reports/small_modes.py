"""Put the modes below a hundredth into one row of a table, which opens."""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from pymc_kl.comparison.formats import NONE, SMALLEST, format_percent
from pymc_kl.reports.cells import Cell, Folded, words
from pymc_kl.reports.facts import Facts
from pymc_kl.reports.phrases import percent

type Row = Sequence[Cell]


def with_small_folded(
    facts: Facts, row: Callable[[int], Row], together: Sequence[Cell] = ()
) -> tuple[list[Row], Folded | None]:
    """Make the rows of the modes, and those of small modes under one; `together` are its cells, dashes by default."""
    told = [row(mode.number) for mode in facts.modes if mode.number not in facts.small]
    if not facts.small:
        return told, None
    cells = together or [Cell(NONE, kind=cell.kind) for cell in told[0][1:]]
    return told, Folded([words(_name(facts)), *cells], [row(number) for number in facts.small])


def _name(facts: Facts) -> str:
    """Write `other modes (5, together 0.40 % ± 0.01 %)`."""
    mass = facts.held(facts.small)
    written = percent(mass) if 100 * (mass.value + mass.se) >= SMALLEST else f"below {2 * SMALLEST:g} %"
    return f"other modes ({len(facts.small)}, together {written})"


def mass_together(ds: xr.Dataset, numbers: Sequence[int], round_to: int | None) -> Cell:
    """Show the mass of some modes together; the error is as if those of the modes were independent."""
    if not numbers:
        return Cell(NONE, kind="number")
    part = ds.sel(mode=list(numbers))
    mass, se = float(part["mass"].sum(skipna=False)), float(np.linalg.norm(part["mass_se"]))
    upper = float(part["mass_upper"].max()) if "mass_upper" in part else float("nan")
    return Cell(format_percent(mass, se, upper, round_to), kind="number")
