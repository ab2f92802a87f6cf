"""Read NetCDF and Zarr files, without running code that they hold."""

import json
import warnings
from pathlib import Path
from typing import Any

import xarray as xr

LARGE = 2**27  # numbers, 1 GB of them, beyond which draws are not loaded as a whole; our choice


def reader_options(path: Path) -> dict[str, Any]:
    """Return the options by which xarray opens a NetCDF or Zarr file; raise if reading it would run code of its own."""
    _refuse_pickles(path)
    return {"engine": "zarr", "consolidated": False} if path.suffix == ".zarr" else {"engine": "netcdf4"}


def _refuse_pickles(path: Path) -> None:
    """Raise if an array of a Zarr store is stored as a pickle, which older readers run whatever it holds."""
    for file in (file for name in (".zarray", "zarr.json") for file in path.rglob(name)):
        about = json.loads(file.read_text())
        known = about if isinstance(about, dict) else {}  # else no reader takes it
        if "pickle" in json.dumps([known.get(key) for key in ("filters", "compressor", "codecs")]).lower():
            raise ValueError(f"{file} names the codec pickle, which runs code that the file holds; it is not read.")


def read_tree(path: Path) -> xr.DataTree:
    """Read a NetCDF or Zarr file into memory."""
    with warnings.catch_warnings(), xr.open_datatree(path, **reader_options(path)) as dt:  # xarray sets filters
        return dt.load()


def open_draws(path: Path) -> xr.DataTree:
    """Read a file of draws into memory; where its posterior holds more than `LARGE` numbers, open it alone."""
    with warnings.catch_warnings():
        dt = xr.open_datatree(path, **reader_options(path))
        if "posterior" in dt.children and sum(v.size for v in dt["posterior"].data_vars.values()) > LARGE:
            return dt
        with dt:
            return dt.load()
