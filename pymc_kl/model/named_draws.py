"""Draws by name → arrays in the order of the model, checked, whatever sampler they came from."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from pymc_kl._typing import Array
from pymc_kl.model.damaged import told_in_a_line
from pymc_kl.model.files import open_draws
from pymc_kl.model.table_names import OF_DRAWS, free_name

if TYPE_CHECKING:
    import pymc as pm

    from pymc_kl.model.graphs import Variables

OFF_BOUNDARY = (
    "Values on the boundary of the support (a probability rounded to 1, say) have no place in the unconstrained space: "
    "keep the sampler's unconstrained draws (idata_kwargs={'include_transformed': True}), or drop those draws."
)


def are_arrays(value: Any) -> bool:
    """Tell whether a value is a mapping of arrays (chain, draw, ...) of numbers by name, and no tree or dataset."""
    if not isinstance(value, Mapping) or isinstance(value, xr.DataTree | xr.Dataset) or not value:
        return False
    try:
        arrays = [np.asarray(array) for array in value.values()]
    except (ValueError, TypeError):  # rows of different lengths; a Dataset
        return False
    return all(array.ndim >= 2 and array.dtype.kind in "iuf" for array in arrays)


def read_draws(draws: Any) -> Any:
    """Read draws that are named by the path of a file, that are arrays by name, or the `posterior` of a DataTree."""
    if isinstance(draws, str | PathLike):
        with told_in_a_line(
            f"{str(draws)!r} can't be read as draws", "The file is broken or of another kind; write it again."
        ):
            return open_draws(Path(draws).expanduser())
    if are_arrays(draws):
        arrays = {name: np.asarray(array) for name, array in draws.items()}
        dims = {name: ("chain", "draw", *(f"{name}_dim_{i}" for i in range(a.ndim - 2))) for name, a in arrays.items()}
        return xr.Dataset({name: (dims[name], array) for name, array in arrays.items()})
    if isinstance(draws, xr.DataTree) and "posterior" not in draws.children and {"chain", "draw"} <= set(draws.dims):
        return draws.to_dataset()
    return draws


def groups_of(draws: xr.DataTree | xr.Dataset) -> list[xr.Dataset]:
    """List the groups in which a sampler may have stored draws, those in the model's own space first."""
    draws = read_draws(draws)
    if isinstance(draws, xr.Dataset):
        return [draws]
    if not isinstance(draws, xr.DataTree):
        raise TypeError(f"draws must be a DataTree with a posterior group, or a Dataset; got {type(draws).__name__}.")
    if "posterior" not in draws.children:
        raise ValueError(f"the DataTree has no posterior group; it has {sorted(draws.children)}.")
    groups = [draws["posterior"].to_dataset()]
    if "unconstrained_posterior" in draws.children:
        stored = draws["unconstrained_posterior"].to_dataset()
        if all(stored.sizes.get(dim) == groups[0].sizes.get(dim) for dim in ("chain", "draw")):
            groups.append(stored)  # Laplace's of pymc-extras holds one point, not the draws
    return groups


def check_free(draws: xr.Dataset, model: "pm.Model", what: str) -> None:
    """Raise if draws, of `what`, lack a free variable of a model, before anything is compiled."""
    if absent := [rv.name for rv in model.free_RVs if _find([draws], rv.name) is None]:
        raise ValueError(
            f"{what} has no variable {absent[0]!r}, which is free in this model; it has "
            f"{sorted(map(str, draws.data_vars))}. Give the model that it is of."
        )
    if not {"chain", "draw"} <= set(draws.dims):
        raise ValueError(f"{what} must have dims (chain, draw, ...); it has {[*map(str, draws.dims)]}.")


def read_values(groups: Sequence[xr.Dataset], variable: "Variables", coords: Mapping[str, Any]) -> Array:
    """Read a variable (chain, draw, *shape) of the model's own space; ValueError where it is missing."""
    array = _find(groups, variable.name)
    if array is None:
        raise ValueError(
            f"the draws hold no variable {variable.name!r}, which is free in this model; they hold "
            f"{sorted(map(str, groups[0].data_vars))}. Give draws of this very model."
        )
    return _as_array(array, variable.name, variable.shape, variable.dims, coords)


def read_unconstrained(groups: Sequence[xr.Dataset], variable: "Variables", coords: Mapping[str, Any]) -> Array | None:
    """Read a variable's unconstrained values (chain, draw, *value_shape), where the sampler stored them."""
    array = _find(groups, variable.value_name)
    if array is None:
        return None
    is_own = variable.value_name == variable.name
    dims, coords = (variable.dims, coords) if is_own else ((), {})
    return _as_array(array, variable.value_name, variable.value_shape, dims, coords)


def check_finite(values: Array, what: str, cure: str) -> None:
    """Raise if draws hold NaN or infinite values; say how many."""
    if n_bad := int((~np.isfinite(values)).sum()):
        raise ValueError(f"{what} holds {n_bad} NaN or infinite values of {values.size}. {cure}")


def check_support(name: str, values: Array, unconstrained: Array) -> None:
    """Raise if some draws of a variable lie outside its support, or on the boundary, by their unconstrained values."""
    if n_outside := int(np.isnan(unconstrained).sum()):
        raise ValueError(
            f"{name!r} has {n_outside} of {unconstrained.size} values outside its support (its draws go from "
            f"{values.min():.4g} to {values.max():.4g}): they are draws of another variable, or of this one on another "
            "scale, as its logarithm is."
        )
    check_finite(unconstrained, f"{name!r}, once unconstrained,", OFF_BOUNDARY)


def _find(groups: Sequence[xr.Dataset], name: str) -> xr.DataArray | None:
    """Return the first variable of that name in several Datasets; one called `draw` has another name in ours."""
    names = dict.fromkeys((free_name(name, OF_DRAWS), name))
    return next((group[own] for own in names for group in groups if own in group.data_vars), None)


def _as_array(
    array: xr.DataArray,
    name: str,
    shape: tuple[int, ...],
    dims: Sequence[str],
    coords: Mapping[str, Any],
) -> Array:
    """Order the dims and coords of one variable as the model does, and check shape and values."""
    if absent := [dim for dim in ("chain", "draw") if dim not in array.dims]:
        raise ValueError(f"draws must have dims (chain, draw, ...); {name!r} lacks {absent}.")
    if not array.sizes["chain"] * array.sizes["draw"]:
        raise ValueError(f"{name!r} has no draws: its sizes are {dict(array.sizes)}.")
    if {"chain", "draw", *dims} == set(array.dims) and len(dims) == len(shape):
        array = array.transpose("chain", "draw", *dims)
        array = _in_model_order(array, dims, coords)
    else:
        array = array.transpose("chain", "draw", ...)
    if array.shape[2:] != shape:
        raise ValueError(
            f"{name!r} has shape {shape} in the model and {array.shape[2:]} in the draws. "
            "Give draws of this very model."
        )
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name!r} holds values of type {array.dtype} in the draws, which must be real numbers.")
    values = np.asarray(array.values, dtype=float)
    check_finite(values, f"{name!r}", "Drop those draws, or find out why the sampler made them.")
    return values


def _in_model_order(array: xr.DataArray, dims: Sequence[str], coords: Mapping[str, Any]) -> xr.DataArray:
    """Order the coordinates of a variable as the model does; ValueError where they are others."""
    for dim in dims:
        labels = list(coords.get(dim, ()))
        if dim in array.coords and labels and list(array[dim].values) != labels:
            if sorted(map(str, array[dim].values)) != sorted(map(str, labels)):
                raise ValueError(
                    f"coordinate {dim!r} of {array.name!r} is {list(array[dim].values)} in the draws and "
                    f"{labels} in the model. Give draws of this very model."
                )
            array = array.sel({dim: labels})
    return array
