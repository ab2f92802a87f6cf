"""Read the folder of a sweep: comparisons that stay on disk until they are looked at, and the table of all fits."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pymc_kl.arguments import check_arguments, file_path
from pymc_kl.comparison.datatree import group_of_fit
from pymc_kl.comparison.io import BROKEN
from pymc_kl.comparison.replaceable import MARK
from pymc_kl.model.damaged import told_in_a_line
from pymc_kl.sweeps.on_disk import open_groups
from pymc_kl.sweeps.rows import ESTIMATES_KEPT
from pymc_kl.sweeps.store import ATTRIBUTE, Store

OF_FITS = (*(f"{name}{end}" for name in ESTIMATES_KEPT for end in ("", "_se")), "missed", "khat")
TEXTS_OF_FITS = ("verdict", "converged", "error")
OF_CELLS = ("modes", "log_evidence", "log_evidence_se", "seconds")
NOT_MADE = "not made yet"


def load_sweep(store: str | Path) -> xr.DataTree:
    """Read the folder of a sweep, whether or not it is finished; draws stay on disk until they are looked at.

    Parameters
    ----------
    store : path
        The folder that :func:`sweep` wrote to.

    Returns
    -------
    DataTree
        `cells/<name>`, a comparison for each cell that is made, read from its file at each look and not kept in
        memory. `table` has dims cell and fit: `verdict`, `missed` (number of modes of at least 1 % that the fit
        misses), `forward_kl`, `reverse_kl` (nats), `missed_mass` (a share), each with its error, `khat`, `converged`
        and `error` of the fit; and by cell `modes` (number found), `log_evidence` (nats), `seed`, `seconds`,
        `warnings` and `cell_error`, why it failed. `parameters` has the values of the grid by cell.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If it is no sweep, or a file in it is damaged.

    Examples
    --------
    >>> import tempfile, pymc as pm
    >>> from pymc_kl.sweeps import load_sweep, sweep
    >>> with pm.Model() as model:
    ...     x = pm.Normal("x")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = sweep({"a": model}, store=folder, reverse=(), forward="meanfield", random_seed=1, progressbar=False)
    ...     swept = load_sweep(folder)
    ...     list(swept["cells"].children), swept["table"]["verdict"].values.tolist()
    (['a'], [['covers']])
    """
    check_arguments(locals(), store=file_path)
    where = Store(Path(store).expanduser().absolute())
    if not where.folder.exists():
        raise FileNotFoundError(f"no such sweep: {where.folder}")
    return read_cells(where, where.manifest().get("cells", {}))


def read_cells(store: Store, cells: Mapping[str, Mapping[str, Any]]) -> xr.DataTree:
    """Read some cells of a store; `cells` has their parameters by name."""
    opened = {name: _opened(store.comparison(name)) for name in cells if store.is_made(name)}
    facts = {name: _facts(store, name, opened.get(name)) for name in cells}
    parameters = list(dict.fromkeys(key for values in cells.values() for key in values))
    by_parameter = {
        key: ("cell", _column([values.get(key) for values in cells.values()])) for key in parameters
    }  # fmt: skip
    groups = {
        f"/cells/{group_of_fit(name)}{path}": ds for name, read in opened.items() for path, ds in read.items()
    }  # fmt: skip
    dt = xr.DataTree.from_dict({
        "/table": _table(facts), "/parameters": xr.Dataset(by_parameter, coords={"cell": list(cells)}),
        "/cells": xr.Dataset(), **groups,
    })  # fmt: skip
    dt.attrs = {"creation_library": "pymc_kl", "store": str(store.folder)}
    return dt


def _opened(path: Path) -> dict[str, xr.Dataset]:
    """Open the groups of a file, whose arrays are read when they are looked at; one tree is made of those of all."""
    with told_in_a_line(f"{path} can't be read as a comparison", BROKEN), warnings.catch_warnings():
        groups = open_groups(path)
        if not {MARK, ATTRIBUTE} <= set(groups["/"].attrs):
            raise ValueError(
                f"{path} is no cell of a sweep that was written to its end. Remove it and run sweep() again."
            )
        return groups


def _facts(store: Store, name: str, opened: Mapping[str, xr.Dataset] | None) -> dict[str, Any]:
    """Return what the table says of a cell: made, failed or missing."""
    if opened is not None:
        return dict(json.loads(opened["/"].attrs[ATTRIBUTE]))
    return store.read_failure(name) if store.has_failed(name) else {"error": NOT_MADE}


def _table(facts: Mapping[str, Mapping[str, Any]]) -> xr.Dataset:
    """Lay out the facts of cells and their fits; NaN or no text where a cell has no such fit."""
    fits = list(dict.fromkeys(row["fit"] for cell in facts.values() for row in cell.get("fits", ())))
    rows = [{row["fit"]: row for row in cell.get("fits", ())} for cell in facts.values()]
    ds = xr.Dataset(coords={"cell": list(facts), "fit": fits})
    for name in (*OF_FITS, *TEXTS_OF_FITS):
        blank: Any = "" if name in TEXTS_OF_FITS else np.nan
        values = [[row.get(fit, {}).get(name, blank) for fit in fits] for row in rows]
        kind = object if name in TEXTS_OF_FITS else float
        ds[name] = (("cell", "fit"), np.array(values, kind).reshape(len(rows), len(fits)))
    for name in OF_CELLS:
        ds[name] = ("cell", np.array([cell.get(name, np.nan) for cell in facts.values()], float))
    ds["seed"] = ("cell", np.array([cell.get("seed", -1) for cell in facts.values()]))
    ds["warnings"] = ("cell", np.array(["\n".join(cell.get("warnings", ())) for cell in facts.values()], object))
    ds["cell_error"] = ("cell", np.array([cell.get("error", "") for cell in facts.values()], object))
    return ds


def _column(values: list[Any]) -> np.ndarray[Any, Any]:
    """Return parameters as numbers where all are, else as they are."""
    plain = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return np.array(values) if plain else np.array(values, object)
