"""Say in which parameters an approximation is furthest from the reference: means, spreads and ends of intervals."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr
from arviz_base.labels import BaseLabeller

from pymc_kl._typing import Array
from pymc_kl.model.table_names import OF_DRAWS, OF_PARAMETERS, free_name
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.plots.parts.contract import select_variables
from pymc_kl.plots.parts.scalars import Scalars

CONSTANT_TO = 1e-12  # relative to a number's size: a standard deviation up to which it does not vary; our choice

type Statistics = dict[str, Array]  # of every scalar (D,), by name


@dataclass(frozen=True)
class LargestError:
    """The scalar in which an approximation is furthest off, and by how much."""

    label: str
    by: Estimate


@dataclass(frozen=True)
class ParameterErrors:
    """Largest errors of an approximation over all scalars, None where there is nothing to compare.

    Those of means and of ends of intervals are in reference standard deviations, those of standard deviations are
    log ratios to the reference's; `sd_ratios` has the ratio of every scalar that varies, by its label.
    """

    mean: LargestError | None = None
    sd: LargestError | None = None
    tail: LargestError | None = None
    sd_ratios: Mapping[str, Estimate] = field(default_factory=dict)


def parameter_errors(dt: xr.DataTree, name: str, chosen: Mapping[str, Any] = MappingProxyType({})) -> ParameterErrors:
    """Compare an approximation's parameters with those of the reference, the first source of `/parameters`."""
    table = parameters_of(dt, chosen)
    if "source" not in table or name not in table["source"].values:
        return ParameterErrors()
    labels, (p, q) = parameter_rows(table, str(table["source"].values[0]), name)
    with np.errstate(all="ignore"):
        ratio, ratio_se = _sd_ratio(p, q)
        log_ratio = np.log(ratio), ratio_se / ratio
        mean, lower, upper = (_in_sd(p, q, statistic) for statistic in ("mean", "lower", "upper"))
        tail = np.where(np.abs(lower[0]) > np.abs(upper[0]), lower, upper)
    return ParameterErrors(
        _largest(labels, *mean),
        _largest(labels, *log_ratio),
        _largest(labels, *tail),
        {labels[j]: Estimate(float(ratio[j]), float(ratio_se[j])) for j in np.flatnonzero(np.isfinite(ratio))},
    )


def parameters_of(dt: xr.DataTree, chosen: Mapping[str, Any]) -> xr.Dataset:
    """Return `/parameters` of the variables and coordinates asked for, of free variables alone where none is named."""
    if "parameters" not in dt.children:
        return xr.Dataset()
    table = dt["parameters"].to_dataset()
    if chosen:
        asked = {"var_names": None, "filter_vars": None, "coords": None, **chosen}
        table = select_variables(table, **asked, taken=OF_PARAMETERS)
    return table if "var_names" in chosen else table[[name for name in free_variables(dt, table) if name in table]]


def free_variables(dt: xr.DataTree, table: xr.Dataset) -> list[str]:
    """Name the columns of `/parameters` that are free variables, not Deterministics; all in older files."""
    known = json.loads(dt.attrs.get("free_variables", "null"))
    names = list(map(str, table.data_vars))
    return names if known is None else [free_name(free_name(name, OF_DRAWS), OF_PARAMETERS) for name in known]


def parameter_rows(table: xr.Dataset, *sources: str) -> tuple[list[str], list[Statistics]]:
    """Return the labels of all scalars in a dataset such as `/parameters`, and the statistics of each source."""
    scalars = Scalars(table.isel(source=0, statistic=0, drop=True))
    labels = scalars.labels(range(scalars.n), BaseLabeller())
    rows = []
    for source in sources:
        matrix = scalars.matrix(table.sel(source=source), ["statistic"])
        rows.append(_where_it_varies(dict(zip(table["statistic"].values.tolist(), matrix, strict=True))))
    return labels, rows


def _where_it_varies(row: Statistics) -> Statistics:
    """Leave out standard deviations that are rounding, of parts of a Deterministic that are constant."""
    if "sd" not in row:
        return row
    size = np.max([np.abs(row[name]) for name in ("mean", "lower", "upper")], axis=0)
    return row | {"sd": np.where(row["sd"] > CONSTANT_TO * size, row["sd"], np.nan)}


def largest_mean_error(means: xr.Dataset) -> tuple[str, float, Estimate] | None:
    """Return label, mean and reference of the user's worst mean, by reference sd; None if none is two errors off."""
    table = means.expand_dims(source=["all"]).rename(quantity="statistic")
    labels, (row,) = parameter_rows(table, "all")
    with np.errstate(invalid="ignore"):
        off = np.abs(row["given"] - row["reference"])
        sure = (off > 2 * row["reference_se"]) & (off > CONSTANT_TO * np.abs(row["reference"]))
        off = np.where(sure & np.isfinite(row["off_in_sd"]), np.abs(row["off_in_sd"]), 0.0)
    if not (off > 0).any():
        return None
    j = int(off.argmax())
    return labels[j], float(row["given"][j]), Estimate(float(row["reference"][j]), float(row["reference_se"][j]))


def _sd_ratio(p: Statistics, q: Statistics) -> tuple[Array, Array]:
    """Divide the standard deviations of q by those of p; return ratios and their standard errors (D,)."""
    ratio = q["sd"] / p["sd"]
    return ratio, ratio * np.hypot(q["sd_se"] / q["sd"], p["sd_se"] / p["sd"])


def _in_sd(p: Statistics, q: Statistics, statistic: str) -> tuple[Array, Array]:
    """Subtract a statistic of p from that of q, in standard deviations of p; return it and its errors (D,)."""
    se = np.hypot(q[f"{statistic}_se"], p[f"{statistic}_se"])
    return (q[statistic] - p[statistic]) / p["sd"], se / p["sd"]


def _largest(labels: list[str], off: Array, se: Array) -> LargestError | None:
    if not np.isfinite(off).any():
        return None
    j = int(np.nanargmax(np.where(np.isfinite(off), np.abs(off), np.nan)))
    return LargestError(labels[j], Estimate(float(off[j]), float(se[j])))
