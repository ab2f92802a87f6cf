"""What a model's variables and dims are called in tables that have the same names for something else.

A name that a table has itself gets a suffix, and so does one that would then be taken for it: no two become one, and
whoever reads the table finds a variable without looking what others there are.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

OF_MODEL = "_of_model"  # suffix of a variable or dim whose name a table has itself
LOCATION = "_location"  # suffix of a variable in `/modes` whose name is a column there
OF_DRAWS = ("chain", "draw")
OF_PARAMETERS = ("source", "statistic")
OF_PATHS = (*OF_PARAMETERS, "order", "branch")
OF_MEANS = (*OF_PARAMETERS, "quantity", "mode")
OF_MODES = (
    "mode", "other_mode", "mass", "mass_se", "mass_upper", "log_density", "log_mass_laplace", "barrier", "copies",
    "n_draws", "hits", "found_by", "ess", "rhat", "log_mass", "log_mass_se", "overlap", "method", "reason",
    "pass_log_density", "n_left", "n_diverging",
)  # fmt: skip


def free_name(name: str, taken: Collection[str], suffix: str = OF_MODEL) -> str:
    """Return what a table with the names `taken` calls a variable or dim of the model."""
    own = re.sub(f"({OF_MODEL}|{LOCATION})+$", "", name)
    return name + suffix if own in taken else name


def name_dims(name: str, dims: Sequence[str | None], taken: Collection[str]) -> list[str]:
    """Name the dims of a variable that have no name as ArviZ does, unless something else is called that."""
    return [free_name(f"{name}_dim_{i}", taken) if dim is None else dim for i, dim in enumerate(dims)]


def plain_labels(coords: Mapping[str, Any]) -> dict[str, Any]:
    """Write labels of several parts, such as pairs, as text: xarray takes no others for one dim."""
    return {
        dim: [", ".join(map(str, label)) for label in labels] if np.ndim(labels) > 1 else labels
        for dim, labels in coords.items()
    }


def free_names(ds: xr.Dataset, taken: Collection[str], suffix: str = OF_MODEL) -> xr.Dataset:
    """Rename what the model calls by names of a table's own; `suffix` is that of variables."""
    names = {name: free_name(str(name), taken, suffix) for name in ds.data_vars}
    names |= {name: free_name(str(name), taken) for name in (*ds.coords, *ds.dims)}
    return ds.rename({name: new for name, new in names.items() if name != new})


def free_var_names(var_names: Any, taken: Collection[str]) -> Any:
    """Return what a table calls the variables that a user asked for, those excluded by ``~`` among them."""
    if isinstance(var_names, str):
        return f"~{free_name(var_names[1:], taken)}" if var_names.startswith("~") else free_name(var_names, taken)
    return var_names if var_names is None else [free_var_names(name, taken) for name in var_names]


def free_coords(coords: Mapping[str, Any] | None, taken: Collection[str]) -> dict[str, Any]:
    """Return coordinates, or the coordinates of one entry, under the names that a table gives the dims."""
    return {free_name(dim, taken): labels for dim, labels in (coords or {}).items()}


def distinct(labels: list[str], taken: Collection[str] = ()) -> list[str]:
    """Number labels that are there before, such as those of `mu` at 0 and of a variable called `mu[0]`."""
    found: list[str] = []
    for label in labels:
        new, n = label, 1
        while new in found or new in taken:
            n += 1
            new = f"{label} ({n})"
        found.append(new)
    return found
