"""What the user's own draws did and did not see, measured against the completed reference."""

import numpy as np
import xarray as xr

from pymc_kl.model.table_names import OF_MEANS, free_names
from pymc_kl.modes.masses import last_core
from pymc_kl.modes.numbering import mode_numbers, to_region
from pymc_kl.reference.posterior import ModewisePosterior, core_draws
from pymc_kl.scores.marginals import Source, mean_se
from pymc_kl.scores.missed_modes import missed


def audit(completed: ModewisePosterior) -> xr.DataTree | None:
    """Audit the draws that the user gave; None without any.

    Returns
    -------
    DataTree
        `n_draws` (chain, mode), `crossings` (chain), `rhat`, `ess`, `missed` (mode); `missed_mass` and its error;
        and the child `means`: of every variable, on draws relabelled to one copy of their mode, the mean of
        the given draws, that of the reference, its standard error, and the difference in posterior standard
        deviations.
    """
    given, mode = completed.given, completed.given_mode
    masses = completed.given_masses()
    if given is None or mode is None or masses is None:
        return None
    k = completed.modes.k
    label = to_region(mode, k)
    n_draws = np.stack([np.bincount(chain, minlength=k + 1)[:k] for chain in label])
    visit = last_core(label, core_draws(given, label, completed.modes))
    gone = (n_draws.sum(axis=0) == 0).astype(float)
    alarm = missed(completed.masses, gone > 0)
    ds = xr.Dataset(
        {
            "n_draws": (("chain", "mode"), n_draws),
            "crossings": ("chain", (visit[:, 1:] != visit[:, :-1]).sum(axis=1)),
            "rhat": ("mode", masses.rhat[:k]),
            "ess": ("mode", masses.ess[:k]),
            "missed": ("mode", gone),
            "missed_mass": alarm.mass.value,
            "missed_mass_se": alarm.mass.se,
            "alarm": float(alarm.sounds),
        },
        coords={"chain": np.arange(len(n_draws)), "mode": mode_numbers(k)},
        attrs={"mixes": int(masses.known), "reason": masses.reason},
    )
    return xr.DataTree.from_dict({"/": ds, "/means": _means(completed)})


def _means(completed: ModewisePosterior) -> xr.Dataset:
    """Compare the posterior mean of every variable with the reference's, both relabelled to one copy."""
    assert completed.canonical is not None and completed.given is not None
    target, drawn = completed.target, completed.thinned
    spaces = (target.to_dataset(x[None]).isel(chain=0, drop=True) for x in (completed.canonical.x, drawn.x))
    theirs, ours = (free_names(ds, OF_MEANS) for ds in spaces)
    given_weights = completed.given.flat_weights
    means = {}
    for name in theirs.data_vars:
        values, reference = theirs[name].values, ours[name].values
        mean = np.average(values, axis=0, weights=given_weights)
        right = np.average(reference, axis=0, weights=drawn.weights)
        centred = reference - right
        sd = np.sqrt(np.average(centred**2, axis=0, weights=drawn.weights))
        se = mean_se(reference, Source(drawn.x, drawn.weights, drawn.mode, completed.masses))
        with np.errstate(invalid="ignore", divide="ignore"):
            off = (mean - right) / sd
        dims = theirs[name].dims[1:]
        means[name] = xr.DataArray(np.stack([mean, right, se, off]), dims=["quantity", *dims])
    ds = xr.Dataset(means, coords={"quantity": ["given", "reference", "reference_se", "off_in_sd"]})
    return ds.assign_coords({dim: theirs[dim] for dim in theirs.dims if dim != "draw" and dim in theirs})
