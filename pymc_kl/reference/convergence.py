"""Whether the chains that a user gave agree, variable by variable, as they are and relabelled, and where each sits."""

import warnings

import numpy as np
import xarray as xr
from arviz_stats import ess, rhat

from pymc_kl._typing import Array, IntArray
from pymc_kl.model.table_names import OF_DRAWS, OF_MEANS, free_name, free_names
from pymc_kl.reference.posterior import ModewisePosterior

DIAGNOSTICS = ("rhat", "rhat_relabelled", "ess_bulk", "ess_tail")


def convergence(posterior: ModewisePosterior) -> xr.Dataset | None:
    """Tabulate R-hat and ESS of the given chains, by free variable over `quantity`; None for weighted draws.

    `rhat_relabelled` is that of the chains brought to one copy of their mode.
    """
    given, canonical = posterior.given, posterior.canonical
    if given is None or canonical is None or given.weights is not None:
        return None
    as_given = _free(posterior, given.x)
    relabelled = _free(posterior, canonical.x.reshape(given.x.shape)) if posterior.modes.has_copies else as_given
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of constants and of short chains, which are NaN
        own = rhat(as_given)
        again = own if relabelled is as_given else rhat(relabelled)
        tables = (own, again, ess(as_given, method="bulk"), ess(as_given, method="tail"))
    named = [free_names(table, OF_MEANS) for table in tables]
    return xr.concat(named, dim="quantity").assign_coords(quantity=list(DIAGNOSTICS))


def _free(posterior: ModewisePosterior, x: Array) -> xr.Dataset:
    """Put draws (chain, draw, d) on the model's own space, without Deterministics."""
    names = [free_name(variable.name, OF_DRAWS) for variable in posterior.target.variables]
    return posterior.target.to_dataset(x)[names]


def copies_of_chains(posterior: ModewisePosterior) -> IntArray:
    """Number the copy that holds most draws of each given chain, in the order of the chains; 0 without copies."""
    given, canonical = posterior.given, posterior.canonical
    if given is None or canonical is None or not posterior.modes.has_copies:
        return np.zeros(0 if given is None else len(given.log_density), dtype=np.int64)
    label = posterior.modes.copy_labels(given.flat, canonical.maximum).reshape(given.log_density.shape)
    _, first, inverse = np.unique(_most_common(label), return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse] + 1)


def _most_common(labels: IntArray) -> IntArray:
    found = [np.unique(row, return_counts=True) for row in labels]
    return np.array([values[counts.argmax()] for values, counts in found])
