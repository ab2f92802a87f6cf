"""Draws of any sampler or fit without a density, as DataTree or Dataset."""

from typing import Any

import xarray as xr

from pymc_kl.approximations import Approximation, Draws
from pymc_kl.target import Target


def accepts(fit: Any) -> bool:
    """Whether `fit` is a DataTree or a Dataset of draws."""
    return isinstance(fit, xr.DataTree | xr.Dataset)


def convert(fit: Any, target: Target) -> Approximation:
    """Read draws by name."""
    x = target.unconstrain(fit)
    return Draws(x=x.reshape(-1, target.d), target=target)
