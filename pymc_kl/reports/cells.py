"""Make the tables of the page; every number names the variable and coordinates in the comparison that it shows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from pymc_kl.comparison.formats import NONE, format_estimate, format_percent


@dataclass(frozen=True)
class Cell:
    """One cell: its text, the variable and coordinates it shows, and how it looks."""

    text: str
    source: str = ""
    at: str = ""
    kind: str = ""
    style: str = ""


@dataclass(frozen=True)
class Folded:
    """Rows that are shown on demand, below the one that stands for all of them."""

    together: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Table:
    """Headers, and rows whose first cell names the row; `folded` rows come before the `last`."""

    name: str
    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    folded: Folded | None = None
    last: Sequence[Sequence[Cell]] = ()

    @property
    def kinds(self) -> list[str]:
        """Return the style of each column: `number` if it holds numbers."""
        columns = zip(*self.rows, strict=True) if self.rows else ((),) * len(self.headers)
        return ["number" if any("number" in cell.kind for cell in column) else "" for column in columns]


def words(text: object) -> Cell:
    """Make a cell of text."""
    return Cell(str(text) or NONE, kind="words")


def number(
    ds: xr.Dataset, group: str, variable: str, at: Mapping[str, object], digits: int = 2, unit: float = 1.0
) -> Cell:
    """Show a number that has no error, to so many decimals; `unit` is 100 for per cent."""
    return placed(format_number(unit * _value(ds, variable, at), digits), group, variable, at)


def estimate(
    ds: xr.Dataset,
    group: str,
    variable: str,
    at: Mapping[str, object],
    round_to: int | None = None,
    unit: float = 1.0,
) -> Cell:
    """Show a number with its standard error, to two digits of it or to `round_to` decimals."""
    value, se = _value(ds, variable, at), _value(ds, f"{variable}_se", at)
    return placed(rounded(unit * value, unit * se, round_to), group, variable, at)


def share(ds: xr.Dataset, group: str, variable: str, at: Mapping[str, object], round_to: int | None = None) -> Cell:
    """Show a probability in per cent with its error or interval, or its upper bound where no draw was counted."""
    value, se = _value(ds, variable, at), _value(ds, f"{variable}_se", at)
    lower, upper = (_value(ds, f"{variable}_{end}", at) for end in ("lower", "upper"))
    return placed(format_percent(value, se, upper, round_to, lower=lower), group, variable, at)


def rounded(value: float, se: float, round_to: int | None) -> str:
    """Write an estimate, to two digits of its error or to `round_to` decimals."""
    return format_estimate(value, se, round_to)


def format_number(value: float, digits: int = 2) -> str:
    """Write a number that has no error."""
    if np.isnan(value):
        return NONE
    if not np.isfinite(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:,.{digits}f}"


def _value(ds: xr.Dataset, variable: str, at: Mapping[str, object]) -> float:
    if variable not in ds:
        return float("nan")
    da = ds[variable]
    return float(da.sel({dim: label for dim, label in at.items() if dim in da.dims}))


def placed(text: str, group: str, variable: str, at: Mapping[str, object]) -> Cell:
    """Make a cell of a number, with the variable and coordinates that it shows."""
    labels = {dim: int(v) if isinstance(v, int | np.integer) else str(v) for dim, v in at.items()}
    return Cell(text, f"{group}/{variable}", json.dumps(labels, ensure_ascii=False), "number")
