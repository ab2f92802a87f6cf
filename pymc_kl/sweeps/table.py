"""The table of a sweep: a row for each fit of each cell."""

from typing import Any

import pandas as pd
import xarray as xr

from pymc_kl.arguments import shown
from pymc_kl.comparison.formats import NONE, format_estimate, format_percent
from pymc_kl.comparison.readable import Readable
from pymc_kl.model.damaged import STRANGE, told_in_a_line


@told_in_a_line("no table can be made of this sweep", STRANGE)
def sweep_table(swept: xr.DataTree) -> pd.DataFrame:
    """Tabulate which fits cover which cells, a row for each fit of each cell.

    Parameters
    ----------
    swept : DataTree
        What :func:`sweep` returned or :func:`load_sweep` read. Its group `table` has the same as numbers.

    Returns
    -------
    DataFrame
        Index (cell, fit). `verdict` is "covers" where mass and shape of every mode of at least 1 % surely hold,
        "reaches all" where no such mode is missed but one of these does not hold or can't be told, "misses 1 of 2
        modes", "failed", or "not told" where masses are not known. `modes` is the number found, `forward_kl` and
        `reverse_kl` are in nats, `missed (%)` is the mass of the missed modes. A cell that failed is one row, whose
        verdict is its error.

    Raises
    ------
    TypeError
        If `swept` is no sweep.

    Examples
    --------
    >>> import tempfile, pymc as pm
    >>> from pymc_kl.sweeps import sweep, sweep_table
    >>> with pm.Model() as model:
    ...     x = pm.Normal("x")
    >>> fits = {"reverse": (), "forward": "fullrank"}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     swept = sweep({"a": model}, store=folder, random_seed=1, progressbar=False, **fits)
    ...     sweep_table(swept)[["modes", "verdict"]].reset_index().values.tolist()
    [['a', 'forward fullrank', 1, 'covers']]
    """
    ds = table_of(swept)
    rows = {}
    for cell in map(str, ds["cell"].values):
        here = ds.sel(cell=cell)
        if error := str(here["cell_error"].item()):
            rows[cell, NONE] = _blank(error)
        for fit in map(str, ds["fit"].values):
            if has_fit(here, fit):
                rows[cell, fit] = _row(here.sel(fit=fit))
    index = pd.MultiIndex.from_tuples(list(rows), names=["cell", "fit"])
    return Readable(list(rows.values()), index=index, columns=list(_blank("")))


def table_of(swept: xr.DataTree) -> xr.Dataset:
    """Return the numbers of a sweep; raise if it is none."""
    if not isinstance(swept, xr.DataTree) or not {"table", "cells", "parameters"} <= set(swept.children):
        raise TypeError(
            "swept must be what sweep() returns or load_sweep() reads, a DataTree with cells and their table; got "
            f"{shown(swept)}."
        )
    return swept["table"].to_dataset()


def has_fit(cell: xr.Dataset, fit: str) -> bool:
    """Whether a cell has a fit of that name."""
    return bool(cell["verdict"].sel(fit=fit).item())


def _blank(verdict: str) -> dict[str, Any]:
    return {"modes": 0, "verdict": verdict, "forward_kl": NONE, "reverse_kl": NONE, "missed (%)": NONE}


def _row(row: xr.Dataset) -> dict[str, Any]:
    def written(name: str) -> str:
        return format_estimate(float(row[name]), float(row[f"{name}_se"]))

    return {
        "modes": int(row["modes"]),
        "verdict": str(row["verdict"].item()),
        "forward_kl": written("forward_kl"),
        "reverse_kl": written("reverse_kl"),
        "missed (%)": format_percent(float(row["missed_mass"]), float(row["missed_mass_se"])),
    }
