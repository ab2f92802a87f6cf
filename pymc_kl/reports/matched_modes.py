"""Which mode of one comparison is which of another: by where they are, in standard deviations of the draws in them."""

import json

import numpy as np
import xarray as xr

from pymc_kl._typing import Array
from pymc_kl.arguments import quoted

MOST_APART = 2.0  # standard deviations, root mean square over coordinates, between maxima of one mode; our choice
LEAST_DRAWS_OF_MODE = 10  # draws in a mode whose spread is its own, else that of all draws; our choice


def matched(one: xr.DataTree, other: xr.DataTree) -> dict[int, int]:
    """Pair modes that are the nearest to each other, and near: numbers of `other` by those of `one`.

    Raises
    ------
    ValueError
        If the free variables are not the same.
    """
    names = _free_variables(one)
    if names != _free_variables(other) or _shapes(one, names) != _shapes(other, names):
        raise ValueError(
            f"these are comparisons of other models: the free variables are {quoted(names)} of one, and "
            f"{quoted(_free_variables(other))} of the other, or their shapes differ."
        )
    symmetric = any((dt["modes"].to_dataset().get("copies", xr.DataArray(1)) > 1).any() for dt in (one, other))
    places, others = (_places(dt["modes"].to_dataset(), ("mode",), names, symmetric) for dt in (one, other))
    spread, other_spread = (_spreads(dt, names, symmetric) for dt in (one, other))
    apart = np.array([
        [_apart(x - y, np.maximum(a, b)) for y, b in zip(others, other_spread, strict=True)]
        for x, a in zip(places, spread, strict=True)
    ])  # fmt: skip
    numbers, other_numbers = (dt["modes"].to_dataset()["mode"].values for dt in (one, other))
    return {
        int(numbers[i]): int(other_numbers[j])
        for i, j in enumerate(apart.argmin(axis=1))
        if apart[:, j].argmin() == i and apart[i, j] <= MOST_APART
    }


def _free_variables(dt: xr.DataTree) -> list[str]:
    """Names of what was sampled; of files that do not say, of all variables that both modes and draws have."""
    if "free_variables" in dt.attrs:
        return sorted(json.loads(dt.attrs["free_variables"]))
    return sorted({str(name) for name in dt["posterior"].data_vars} & {str(name) for name in dt["modes"].data_vars})


def _shapes(dt: xr.DataTree, names: list[str]) -> list[tuple[int, ...]]:
    modes = dt["modes"].to_dataset()
    return [modes[name].transpose("mode", ...).shape[1:] for name in names]


def _places(ds: xr.Dataset, dims: tuple[str, ...], names: list[str], symmetric: bool) -> Array:
    """Lay out variables (n, coordinate); elements sorted by size where labels and signs may be swapped."""
    columns = []
    for name in names:
        values = ds[name].transpose(*dims, ...).values.astype(float)
        flat = values.reshape(int(np.prod(values.shape[: len(dims)])), -1)
        columns.append(np.sort(np.abs(flat), axis=1) if symmetric else flat)
    return np.concatenate(columns, axis=1)


def _spreads(dt: xr.DataTree, names: list[str], symmetric: bool) -> Array:
    """Return the standard deviations of the draws in each mode (mode, coordinate)."""
    draws = _places(dt["posterior"].to_dataset(), ("chain", "draw"), names, symmetric)
    mode = dt["sample_stats"]["mode"].transpose("chain", "draw").values.ravel()
    inside = [draws[mode == number] for number in dt["modes"].to_dataset()["mode"].values]
    return np.array([(x if len(x) >= LEAST_DRAWS_OF_MODE else draws).std(axis=0) for x in inside])


def _apart(difference: Array, spread: Array) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.where(difference == 0, 0.0, difference / spread)
    return float(np.sqrt(np.mean(scaled**2)))
