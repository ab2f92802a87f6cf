"""A file of draws, NetCDF or Zarr → the DataTree in it."""

from importlib.util import find_spec
from pathlib import Path

import xarray as xr

from pymc_kl.arguments import on_this_machine
from pymc_kl.model.damaged import told_in_a_line
from pymc_kl.model.files import read_tree


def read(path: str | Path) -> xr.DataTree | xr.Dataset:
    """Read a DataTree, or the Dataset in a file without groups, into memory."""
    on_this_machine("a file of draws", path)
    given, path = path, Path(path).expanduser()
    if path.suffix not in (".nc", ".zarr"):
        raise ValueError(f"a file of draws must be NetCDF (.nc) or Zarr (.zarr); got {str(given)!r}.")
    if not path.exists():
        raise FileNotFoundError(f"no such file of draws: {path}")
    if path.suffix == ".zarr" and find_spec("zarr") is None:
        raise ImportError(f"reading {path} needs zarr: pip install pymc_kl[zarr]")
    with told_in_a_line(f"{path} can't be read as draws", "The file is broken or of another kind; write it again."):
        dt = read_tree(path)
    return dt if dt.children else dt.to_dataset()
