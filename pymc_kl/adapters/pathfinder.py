"""`fit_pathfinder` of pymc-extras: draws of all paths together and, where they are kept apart, of each path.

Its DataTree has no parameters of the Gaussian of a path, so there is no density. With `importance_sampling=None`,
a chain is a path; otherwise, all paths were resampled into one chain.
"""

from types import MappingProxyType
from typing import Any

import xarray as xr

from pymc_kl.adapters.origins import holds
from pymc_kl.approximations import Approximation, Draws, FitInfo
from pymc_kl.model.target import Target


def accepts(fit: Any) -> bool:
    """Whether `fit` holds the group that `fit_pathfinder` writes."""
    return holds(fit, "pathfinder", "num_paths")


def convert(fit: xr.DataTree, target: Target) -> Approximation:
    """Read the draws by name; `info["parts"]` maps the name of each path to its draws."""
    x = target.unconstrain(fit)
    paths = {f"path {i + 1}": Draws(x=path, target=target) for i, path in enumerate(x)}
    more = {}
    if holds(fit, "pathfinder", "pareto_k"):
        more["pareto_k"] = float(fit["pathfinder"].to_dataset()["pareto_k"])
    info = FitInfo(parts=MappingProxyType(paths) if len(x) > 1 else None, more=MappingProxyType(more))
    return Draws(x=x.reshape(-1, target.d), target=target, info=info)
