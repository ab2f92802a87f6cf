"""Posterior-predictive draws of every source, side by side, for ArviZ's plots."""

import numpy as np
import pymc as pm
import xarray as xr

from pymc_kl._typing import IntArray, RandomSeed
from pymc_kl.arguments import check_arguments, instance, optional, quoted, whole
from pymc_kl.comparison.datatree import group_of_fit
from pymc_kl.comparison.io import check_comparison
from pymc_kl.comparison.ranking import ranked
from pymc_kl.model.context import model_in_context
from pymc_kl.model.graphs import PYTENSOR
from pymc_kl.model.likelihood import observed_names
from pymc_kl.prediction.loo import LEAST_DRAWS
from pymc_kl.prediction.sources import check_data, draws_among, predictors


def predictive_checks(
    comparison: xr.DataTree,
    model: pm.Model | None = None,
    *,
    var_name: str | None = None,
    draws: int = LEAST_DRAWS,
    random_seed: RandomSeed = None,
) -> xr.DataTree:
    """Draw new data by the reference, each approximation as it is and each mode alone, beside the data seen.

    ArviZ's `plot_ppc_dist` and its kin show the sources side by side, since each is a variable of its own.

    Parameters
    ----------
    comparison : DataTree
        What :func:`pymc_kl.compare` returned or :func:`pymc_kl.load` read.
    model : pm.Model, optional
        The same model. Defaults to the model of the enclosing `with` block.
    var_name : str, optional
        The observed variable to draw; may be left out where there is one.
    draws : int
        Draws of each source, evenly spread; those that have fewer are left out.
    random_seed : int, Generator, SeedSequence or None
        The same for every source, so that they differ by their parameters alone.

    Returns
    -------
    DataTree
        `posterior_predictive` (chain, draw, ...) and `observed_data`, a variable a source, in the data's own unit. A
        slash in a name is `%2F`.

    Raises
    ------
    ValueError
        If the model has no observed variables, several and no `var_name`, or is not that of the comparison.

    Examples
    --------
    >>> import pymc as pm, pymc_kl as pkl
    >>> from pymc_kl.prediction import predictive_checks
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 10)
    ...     y = pm.Normal("y", mu, 1, observed=[0.1, 0.9, 1.4, 2.0])
    ...     comparison = pkl.compare(None, {}, forward="meanfield", random_seed=1, progressbar=False)
    >>> checks = predictive_checks(comparison, model, random_seed=1)
    >>> list(checks["posterior_predictive"].data_vars), list(checks["posterior_predictive"].sizes.values())
    (['reference', 'forward meanfield'], [1, 100, 4])
    """
    check_arguments(locals(), var_name=optional(instance(str)))
    dt = ranked(check_comparison(comparison))
    model = model_in_context(model)
    check_data(dt, model)
    name, *others = observed_names(model, var_name)
    if others:
        raise ValueError(f"the model has several observed variables: give var_name, one of {quoted([name, *others])}.")
    seed = int(np.random.default_rng(random_seed).integers(2**31))
    sources = {each: _n(each.draws) for each in predictors(dt, None) if each.kind != "corrected"}
    whole(most=max(sources.values()))("draws", draws)  # more, and every source would be left out
    drawn: dict[str, xr.DataArray] = {}
    for each, n in sources.items():
        if n >= draws:
            some = draws_among(each.draws, _spread(n, draws)).assign_coords(chain=[0], draw=np.arange(draws))
            with PYTENSOR:
                new = pm.sample_posterior_predictive(
                    some, model=model, var_names=[name], random_seed=seed, progressbar=False
                )
            drawn[group_of_fit(each.name)] = new["posterior_predictive"][name]
    first = next(iter(drawn.values()))
    seen = xr.DataArray(model.rvs_to_values[model[name]].eval(), dims=first.dims[2:])
    seen = seen.assign_coords({dim: first[dim] for dim in seen.dims if dim in first.coords})
    groups = {"posterior_predictive": drawn, "observed_data": dict.fromkeys(drawn, seen)}
    return xr.DataTree.from_dict({group: xr.Dataset(variables) for group, variables in groups.items()})


def _n(draws: xr.Dataset) -> int:
    return int(draws.sizes["chain"] * draws.sizes["draw"])


def _spread(n: int, size: int) -> IntArray:
    """Choose so many of n draws, evenly spread; returns their rows."""
    return np.linspace(0, n - 1, size).round().astype(np.int64)
