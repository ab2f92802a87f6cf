"""Names of a model's variables and dims in tables that use the same names for columns or dims of their own.

Such a name gets a suffix. A name that already ends in the suffix gets one more, so that no two names become one, and a
variable's name in a table can be told without knowing the others.
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
    "mode", "other_mode", "mass", "mass_se", "mass_lower", "mass_upper", "log_density", "log_mass_laplace", "barrier",
    "copies", "n_draws", "hits", "found_by", "ess", "rhat", "log_mass", "log_mass_se", "overlap", "method", "reason",
    "pass_log_density", "n_left", "n_diverging", "khat_draws", "khat_proposal", "log_mass_se_blocks",
    "log_mass_se_sandwich",
)  # fmt: skip


def free_name(name: str, taken: Collection[str], suffix: str = OF_MODEL) -> str:
    """Return the name of a variable or dim of the model in a table that itself uses the names `taken`."""
    own = re.sub(f"({OF_MODEL}|{LOCATION})+$", "", name)
    return name + suffix if own in taken else name


def name_dims(name: str, dims: Sequence[str | None], taken: Collection[str]) -> list[str]:
    """Name the nameless dims of a variable as ArviZ does, `x_dim_0`, with a suffix where that name is taken."""
    return [free_name(f"{name}_dim_{i}", taken) if dim is None else dim for i, dim in enumerate(dims)]


def plain_labels(coords: Mapping[str, Any]) -> dict[str, Any]:
    """Write labels that are tuples as text, since xarray takes no tuples as the labels of one dim."""
    return {
        dim: [", ".join(map(str, label)) for label in labels] if np.ndim(labels) > 1 else labels
        for dim, labels in coords.items()
    }


def free_names(ds: xr.Dataset, taken: Collection[str], suffix: str = OF_MODEL) -> xr.Dataset:
    """Rename variables, coordinates and dims whose names are taken; variables get `suffix`."""
    names = {name: free_name(str(name), taken, suffix) for name in ds.data_vars}
    names |= {name: free_name(str(name), taken) for name in (*ds.coords, *ds.dims)}
    return ds.rename({name: new for name, new in names.items() if name != new})


def free_var_names(var_names: Any, taken: Collection[str]) -> Any:
    """Return the names in a table of the variables that a user asked for, or excluded by ``~``."""
    if isinstance(var_names, str):
        return f"~{free_name(var_names[1:], taken)}" if var_names.startswith("~") else free_name(var_names, taken)
    return var_names if var_names is None else [free_var_names(name, taken) for name in var_names]


def free_coords(coords: Mapping[str, Any] | None, taken: Collection[str]) -> dict[str, Any]:
    """Return coordinates, or the coordinates of one entry, under the names that a table gives the dims."""
    return {free_name(dim, taken): labels for dim, labels in (coords or {}).items()}


def distinct(labels: list[str], taken: Collection[str] = ()) -> list[str]:
    """Number labels that come twice, such as `mu[0]` for an element of `mu` and for a variable of that name."""
    found: list[str] = []
    for label in labels:
        new, n = label, 1
        while new in found or new in taken:
            n += 1
            new = f"{label} ({n})"
        found.append(new)
    return found
