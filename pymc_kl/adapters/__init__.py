"""Fits of other packages → approximations, one source a file: `accepts` recognises it and `convert` reads it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymc as pm

from pymc_kl.adapters import (
    advi,
    cmdstanpy,
    dadvi,
    draws,
    emcee,
    files,
    functions,
    laplace,
    numpyro,
    origins,
    pathfinder,
    pymc,
)
from pymc_kl.adapters.pymc import to_pymc
from pymc_kl.approximations import Approximation
from pymc_kl.model.target import Target, as_target


@dataclass(frozen=True)
class Adapter:
    """How one source is recognised and read, and the extra that installs what reading it needs."""

    accepts: Callable[[Any], bool]
    convert: Callable[[Any, Target], Approximation]
    extra: str = ""


# The first that accepts a fit converts it, so what a DataTree may hold comes before draws.
ADAPTERS: dict[str, Adapter] = {
    "pm.Approximation": Adapter(pymc.accepts, pymc.convert),
    "Functions or a tuple (sample, log_prob)": Adapter(functions.accepts, functions.convert),
    "Trainer and SVIState of pymc-extras": Adapter(advi.accepts, advi.convert, "extras"),
    "fit_advi of pymc-extras": Adapter(advi.accepts_tree, advi.convert_tree),
    "fit_laplace of pymc-extras": Adapter(laplace.accepts, laplace.convert),
    "fit_dadvi of pymc-extras": Adapter(dadvi.accepts, dadvi.convert),
    "fit_pathfinder of pymc-extras": Adapter(pathfinder.accepts, pathfinder.convert),
    "MCMC of NumPyro": Adapter(numpyro.accepts, numpyro.convert, "samplers"),
    "EnsembleSampler of emcee": Adapter(emcee.accepts, emcee.convert, "samplers"),
    "results of CmdStanPy": Adapter(cmdstanpy.accepts, cmdstanpy.convert, "samplers"),
    "draws (DataTree, Dataset)": Adapter(draws.accepts, draws.convert),
}
FILES = "a file of any DataTree above (.nc, .zarr)"

__all__ = ["ADAPTERS", "as_approximation", "to_pymc"]


def as_approximation(fit: Any, *, model: "pm.Model | Target | None" = None) -> Approximation:
    """Take a fit or draws made elsewhere as an approximation.

    Parameters
    ----------
    fit : object
        An approximation of this package, or one of:

        - what `pm.fit` returned (`MeanField`, `FullRank`, `Empirical`, SVGD's and ASVGD's);
        - what `fit_laplace`, `fit_dadvi`, `fit_pathfinder` or `fit_advi` of pymc-extras returned, or its `Trainer`
          or `SVIState`;
        - draws as a DataTree or Dataset with dims (chain, draw, ...), as `pm.sample`, `pm.sample_smc`, `nutpie.sample`
          and ArviZ's converters return, or a path to a NetCDF or Zarr file of them; draws with weights in
          `sample_stats` are resampled;
        - NumPyro's `MCMC`, emcee's `EnsembleSampler`, or what a `CmdStanModel` of CmdStanPy returned;
        - a pair of functions, :class:`~pymc_kl.approximations.functions.Functions` or a tuple (sample, log_prob).

        Draws are read by the names of the model's variables.
    model : pm.Model or Target, optional
        Defaults to the model of the enclosing `with` block.

    Returns
    -------
    Approximation
        With its exact density where the source has one, else as draws. `info["parts"]` maps names to the
        approximations that a fit of several consists of, such as Pathfinder's paths; `info["warnings"]` says what to
        know before using the fit.

    Raises
    ------
    TypeError
        If nothing here knows how to read `fit`.
    ValueError
        If `fit` belongs to another model: the variables that differ are named.
    FileNotFoundError
        If there is no such file.
    ImportError
        If reading it needs a package that is not installed: the extra that brings it is named.

    Examples
    --------
    >>> import numpy as np, pymc as pm
    >>> with pm.Model() as model:
    ...     x = pm.Normal("x", 0.0, 1.0)
    ...     advi = pm.MeanField()
    ...     as_approximation(advi).loc
    array([0.])
    """
    if isinstance(fit, Approximation):
        target = as_target(model)
        if fit.d != target.d:
            raise ValueError(
                f"the approximation has {fit.d} dimensions and the model {target.d}: it belongs to another "
                "model. Fit it to this one."
            )
        return fit
    if isinstance(fit, str | Path):
        fit = files.read(fit)
    for name, adapter in ADAPTERS.items():
        if adapter.accepts(fit):
            return _convert(name, adapter, fit, as_target(model))
    raise TypeError(
        f"cannot read a fit of type {type(fit).__name__}; known are an Approximation of this package, "
        f"{', '.join((*ADAPTERS, FILES))}.{origins.advice(fit)}"
    )


def _convert(name: str, adapter: Adapter, fit: Any, target: Target) -> Approximation:
    try:
        return adapter.convert(fit, target)
    except ImportError as error:
        if not adapter.extra:
            raise
        raise ImportError(f"reading {name} needs {error.name}: pip install pymc_kl[{adapter.extra}]") from error
