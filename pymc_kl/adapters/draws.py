"""Draws of any sampler or fit without a density, as DataTree or Dataset."""

from typing import Any

import numpy as np
import xarray as xr

from pymc_kl._typing import Array
from pymc_kl.adapters.origins import holds
from pymc_kl.approximations import Approximation, Draws
from pymc_kl.model.draws import PosteriorDraws, as_posterior_draws
from pymc_kl.model.large_draws import LargeDraws
from pymc_kl.model.target import Target
from pymc_kl.numerics.estimate import systematic

OF_A_COMPARISON = {"posterior", "modes", "scores", "coverage", "evidence"}  # groups by which one is recognised


def accepts(fit: Any) -> bool:
    """Whether `fit` is a DataTree or a Dataset of draws."""
    return isinstance(fit, xr.DataTree | xr.Dataset)


def convert(fit: Any, target: Target) -> Approximation:
    """Read draws by name; weighted ones, such as those of `sample_reference`, are resampled by their weights."""
    if isinstance(fit, xr.DataTree) and set(fit.children) >= OF_A_COMPARISON:
        raise ValueError(
            "this is a comparison, whose posterior is its reference and no fit. Pass one of its approximations, such "
            "as comparison['approximations/ADVI'], or read it with load()."
        )
    if holds(fit, "sample_stats", "weight") or LargeDraws.of(fit, target):
        given = as_posterior_draws(fit, target)
        n_chains = len(given.x) if given.weights is None else 1
        return Draws(x=_resampled(given), n_chains=n_chains, target=target)
    x = target.unconstrain(fit)
    return Draws(x=x.reshape(-1, target.d), n_chains=len(x), target=target)


def _resampled(draws: PosteriorDraws) -> Array:
    """Return draws (n, d) of equal weight: systematic resampling by the weights, if there are any."""
    x, weights = draws.flat, draws.flat_weights
    return x if weights is None else x[systematic(weights, len(x), np.random.default_rng(0))]
