"""Arrays of a comparison that stay in its file: it is opened at each look and closed after it.

xarray's own lazy arrays share handles that are closed when a result is collected, which ends the process where the
same file was opened before.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from pymc_kl.model.files import reader_options

LEAST_ON_DISK = 100  # elements of an array that stays in its file, at the least; our choice


class OnDisk(BackendArray):
    """An array of a group of a NetCDF file.

    Parameters
    ----------
    path : Path
    group, name : str
        Of the group and the variable in it.
    shape : tuple of int
    dtype : numpy.dtype
        After decoding.
    """

    def __init__(self, path: Path, group: str, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.path, self.group, self.name, self.shape, self.dtype = path, group, name, shape, dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """Read a part of the array."""
        basic = indexing.IndexingSupport.BASIC
        read: Callable[..., Any] = self._read
        return indexing.explicit_indexing_adapter(key, self.shape, basic, read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        options = reader_options(self.path)
        with warnings.catch_warnings(), xr.open_dataset(self.path, group=self.group, **options) as ds:  # sets filters
            return ds[self.name].variable[key].values


def open_groups(path: Path) -> dict[str, xr.Dataset]:
    """Read the groups of a NetCDF file but their larger arrays, which are read when they are looked at."""
    with xr.open_datatree(path, **reader_options(path)) as dt:
        return {node.path: _without_large(path, node) for node in dt.subtree}


def _without_large(path: Path, node: xr.DataTree) -> xr.Dataset:
    ds = node.to_dataset(inherit=False)
    large = {
        name: indexing.LazilyIndexedArray(OnDisk(path, node.path, str(name), values.shape, values.dtype))
        for name, values in ds.data_vars.items()
        if values.size >= LEAST_ON_DISK and values.dtype.kind in "fiub"
    }
    small = ds.drop_vars(large).load()
    return small.assign({n: xr.Variable(ds[n].dims, lazy, ds[n].attrs) for n, lazy in large.items()})[[*ds.data_vars]]
