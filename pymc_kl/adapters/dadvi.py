"""`fit_dadvi` of pymc-extras: a mean-field Gaussian, stored as all means, then all log standard deviations."""

from typing import Any

import numpy as np
import xarray as xr

from pymc_kl.adapters.gaussians import positions
from pymc_kl.adapters.origins import holds
from pymc_kl.approximations import Approximation, FitInfo, MeanField
from pymc_kl.model.target import Target


def accepts(fit: Any) -> bool:
    """Whether `fit` holds an optimiser's result in which every label comes twice."""
    if not holds(fit, "optimizer_result", "x"):
        return False
    labels = fit["optimizer_result"].to_dataset()["variables"].values
    half = len(labels) // 2
    return bool(len(labels) == 2 * half and (labels[:half] == labels[half:]).all())


def convert(fit: xr.DataTree, target: Target) -> Approximation:
    """Read means and log standard deviations by label."""
    result = fit["optimizer_result"].to_dataset()
    x = np.asarray(result["x"].values, dtype=float)
    loc, log_scale = np.split(x, 2)
    order = positions([str(label) for label in result["variables"].values[: len(loc)]], target)
    failed = "success" in result and not bool(result["success"])
    info = FitInfo(warnings=(f"DADVI's optimiser says: {result['message'].item()}",) if failed else None)
    return MeanField(loc=loc[order], scale=np.exp(log_scale[order]), target=target, kind="reverse", info=info)
