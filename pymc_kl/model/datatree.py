"""Draws with their log densities as DataTrees; attributes that every DataTree of the package carries."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from pymc_kl._typing import Array, IntArray

if TYPE_CHECKING:
    from pymc_kl.model.target import Target

FORMAT = 5  # of the DataTree; raised when a reader of the last one would misread


def check_dims(target: "Target") -> None:
    """Refuse dims whose names a DataTree takes for paths, before anything long is done with the model.

    No DataTree holds their labels, so that `pm.sample` fails on such a model too. PyMC refuses such variables itself.
    """
    dims = {dim for name in target.posterior_names for dim in target.dims.get(name, ())}
    if slashed := sorted(dim for dim in dims if dim is not None and "/" in dim):
        raise ValueError(
            "dims must have names without a slash, which a DataTree takes for a path, that of pm.sample too; got "
            f"{slashed}. Rename them in the model."
        )


def draws_to_datatree(target: "Target", x: Array, log_prob: Array | None) -> xr.DataTree:
    """Put draws (n, d) of an approximation on the model's own space, with log p̃ and, where it is known, log q (n,)."""
    prob = None if log_prob is None else log_prob[None]
    return draws_tree(target, x[None], {"log_density": target.log_density(x)[None], "log_prob": prob})


def draws_tree(target: "Target", x: Array, stats: Mapping[str, Array | IntArray | None]) -> xr.DataTree:
    """Build `posterior` and `sample_stats` from draws (chain, draw, d) and what is known of each (chain, draw)."""
    posterior = target.to_dataset(x)
    coords = {"chain": posterior["chain"], "draw": posterior["draw"]}
    known = {name: (("chain", "draw"), values) for name, values in stats.items() if values is not None}
    attrs = {"sample_dims": ["chain", "draw"], "creation_library": "pymc_kl"}
    if "mode" in known and "mode" not in (*posterior.variables, *posterior.dims):
        posterior = posterior.assign_coords(mode=known["mode"])  # by which ArviZ's plots can colour
    groups = {"posterior": posterior, "sample_stats": xr.Dataset(known, coords=coords)}
    return xr.DataTree.from_dict({name: ds.assign_attrs(attrs) for name, ds in groups.items()})


def root_attrs(model_name: str, seed: Any, settings: Mapping[str, Any], seconds: Mapping[str, float]) -> dict[str, Any]:
    """Return the attributes of a comparison or a reference; settings and timings as JSON, which every format holds."""
    return {
        "creation_library": "pymc_kl",
        "creation_library_version": version("pymc_kl"),
        "creation_time": datetime.now(UTC).isoformat(timespec="seconds"),
        "pymc_kl_format": FORMAT,
        "pymc_version": version("pymc"),
        "arviz_version": version("arviz"),
        "model_name": model_name,
        "random_seed": json.dumps(plain(seed)),
        "settings": json.dumps(plain(settings)),
        "seconds": json.dumps({name: round(value, 3) for name, value in seconds.items()}),
    }


def plain(value: Any) -> Any:
    """Reduce settings to what JSON holds; arrays to their lists, anything else to its text."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items() if k != "history"}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)
