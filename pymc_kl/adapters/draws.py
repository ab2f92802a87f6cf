"""Draws of any sampler or fit without a density, as DataTree or Dataset."""

from typing import Any

import numpy as np
import xarray as xr

from pymc_kl.adapters.origins import holds
from pymc_kl.approximations import Approximation, Draws
from pymc_kl.model.draws import as_posterior_draws
from pymc_kl.model.target import Target
from pymc_kl.numerics.estimate import systematic

OF_A_COMPARISON = {"posterior", "modes", "scores", "coverage", "evidence"}


def accepts(fit: Any) -> bool:
    """Whether `fit` is a DataTree or a Dataset of draws."""
    return isinstance(fit, xr.DataTree | xr.Dataset)


def convert(fit: Any, target: Target) -> Approximation:
    """Read draws by name; weighted ones, such as a completed reference has, are resampled by their weights."""
    if isinstance(fit, xr.DataTree) and set(fit.children) >= OF_A_COMPARISON:
        raise ValueError(
            "this is a comparison, whose posterior is its reference and no fit. Pass one of its approximations, such "
            "as comparison['approximations/ADVI'], or read it with load()."
        )
    if holds(fit, "sample_stats", "weight"):
        reference = as_posterior_draws(fit, target)
        assert reference.flat_weights is not None
        n = len(reference.flat)
        return Draws(x=reference.flat[systematic(reference.flat_weights, n, np.random.default_rng(0))], target=target)
    return Draws(x=target.unconstrain(fit).reshape(-1, target.d), target=target)
