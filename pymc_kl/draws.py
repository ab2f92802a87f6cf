"""Checks that every array of draws passes, whatever sampler it came from."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from pymc_kl._typing import Array


def find_variable(groups: Sequence[xr.Dataset], name: str) -> xr.DataArray | None:
    """Return the first variable of that name in several Datasets."""
    return next((group[name] for group in groups if name in group.data_vars), None)


def check_finite(values: Array, what: str, cure: str) -> None:
    """Raise if draws hold NaN or infinite values; say how many."""
    if n_bad := int((~np.isfinite(values)).sum()):
        raise ValueError(f"{what} holds {n_bad} NaN or infinite values of {values.size}. {cure}")
