"""What the public functions of this package are given: a fit, the model that it is of, and that model's modes."""

from numbers import Real
from os import PathLike
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from pymc_kl.adapters import as_approximation
from pymc_kl.approximations import Approximation
from pymc_kl.arguments import shown
from pymc_kl.model.target import Target, as_target
from pymc_kl.modes.modes import Modes
from pymc_kl.modes.search import search_whole
from pymc_kl.progress import Stages

N_SEARCH_STARTS = 64  # draws of q that the search for modes starts from, besides draws of the prior; our choice


def given_fit(name: str, value: Any) -> None:
    """Allow what may be a fit; refuse, before the model is compiled, what stands there when arguments are swapped."""
    if value is None or isinstance(value, Real | pm.Model | Target | Modes):
        raise TypeError(f"{name}, the first argument, must be a fit, such as fit_forward() makes; got {shown(value)}.")


def with_density(name: str, value: Any) -> None:
    """Allow what may be a fit, but no draws, in a file or not."""
    given_fit(name, value)
    if isinstance(value, str | PathLike | xr.Dataset | xr.DataTree):
        raise TypeError(
            f"{name}, the first argument, must be a fit with a density; got {shown(value)}, and draws have none. Fit a "
            "family to them first: fit_forward(draws)."
        )


def open_approximation(
    approximation: Any, model: pm.Model | Target | None, *, density_to: str = ""
) -> tuple[Approximation, Target]:
    """Read an approximation, and take its own model unless another is given.

    Raise a TypeError if it has no density and there is something to do with one, `density_to`.
    """
    target = as_target(getattr(approximation, "target", None) if model is None else model)
    approximation = as_approximation(approximation, model=target)
    if density_to and not approximation.has_log_prob:
        raise TypeError(f"{approximation.family} has no density to {density_to}; fit a family to them first.")
    return approximation, target


def known_modes(
    modes: Modes | None, approximation: Approximation, target: Target, rng: np.random.Generator, stage: Stages
) -> Modes:
    """Return the modes given, or search for them from the prior and from draws of q."""
    with stage("search for modes") as report:
        if modes is not None:
            return modes
        starts = {"q": approximation.sample(N_SEARCH_STARTS, random_seed=rng)}
        return search_whole(target, None, starts, rng=rng, report=report)
