"""What the user's own draws saw of the posterior, what they missed, and whether they are draws of it."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from pymc_kl._typing import Array, IntArray
from pymc_kl.model.draws import PosteriorDraws
from pymc_kl.model.table_names import OF_MEANS, free_names
from pymc_kl.modes.masses import Masses, last_core
from pymc_kl.modes.numbering import mode_numbers, to_region
from pymc_kl.reference.convergence import convergence, copies_of_chains
from pymc_kl.reference.given_check import GivenCheck
from pymc_kl.reference.posterior import ModewisePosterior, core_draws
from pymc_kl.scores.marginals import Source, mean_se
from pymc_kl.scores.missed_modes import missed

QUANTITIES = ("given", "reference", "reference_se", "off_in_sd")


def audit(posterior: ModewisePosterior) -> xr.DataTree | None:
    """Audit the draws that the user gave; None without any.

    Returns
    -------
    DataTree
        `n_draws` (chain, mode), `crossings` (chain), `copy` (chain), that of most of its draws, `rhat`, `ess`,
        `missed` (mode); `share` (mode) of all draws and its standard error, where they tell it; `stein_z`,
        `stein_spread`,
        `stein_shift` (mode): by how many standard errors, and along which `stein_coordinate`, the draws of a mode fail
        to be draws of the posterior, how many times too wide they are there and by how many standard deviations off;
        `refusal` (mode): why they are not used, or empty; `missed_mass` and its error;
        and the child `means`: of every variable, on draws relabelled to one copy of their mode, the mean of
        the given draws, that of the reference, its standard error, and the difference in posterior standard
        deviations; and, of chains, the child `convergence`: R-hat and ESS of every variable, and where each chain
        sits.
    """
    given, canonical, masses = posterior.given, posterior.canonical, posterior.given_masses()
    if given is None or canonical is None or masses is None:
        return None
    region = to_region(canonical.mode, posterior.modes.k).reshape(given.log_density.shape)
    visits = _visits(posterior, given, masses, region)
    groups = {"/": visits, "/means": _means(posterior, canonical.x, given.flat_weights)}
    if (agreement := convergence(posterior)) is not None:
        groups["/convergence"] = agreement
    return xr.DataTree.from_dict(groups)


def _visits(posterior: ModewisePosterior, given: PosteriorDraws, masses: Masses, region: IntArray) -> xr.Dataset:
    """Count the draws of each chain in each mode and its moves between modes; sum up the mass of modes not visited."""
    k = posterior.modes.k
    n_draws = np.stack([np.bincount(chain, minlength=k + 1)[:k] for chain in region])
    last_visited = last_core(region, core_draws(given, region, posterior.modes))
    not_visited = n_draws.sum(axis=0) == 0
    alarm = missed(posterior.masses, not_visited)
    return xr.Dataset(
        {
            "n_draws": (("chain", "mode"), n_draws),
            "copy": ("chain", copies_of_chains(posterior)),
            "crossings": ("chain", (last_visited[:, 1:] != last_visited[:, :-1]).sum(axis=1)),
            "rhat": ("mode", masses.rhat[:k]),
            "ess": ("mode", masses.ess[:k]),
            "missed": ("mode", not_visited.astype(float)),
            "share": ("mode", np.where(masses.known, masses.mass[:k], np.nan)),
            "share_se": ("mode", np.where(masses.known, masses.se[:k], np.nan)),
            **_checks(posterior.checks or (None,) * k),
            "missed_mass": alarm.mass.value,
            "missed_mass_se": alarm.mass.se,
            "alarm": float(alarm.sounds),
        },
        coords={"chain": np.arange(len(n_draws)), "mode": mode_numbers(k)},
        attrs={"masses_known": int(masses.known), "reason": masses.reason},
    )


def _checks(checks: Sequence[GivenCheck | None]) -> dict[str, tuple[str, Array]]:
    """Lay out the checks (K,) of the given draws of each mode; NaN and empty where there was none."""
    tests = [None if check is None else check.test for check in checks]
    columns = {f"stein_{name}": [getattr(t, name, np.nan) for t in tests] for name in ("z", "spread", "shift")}
    texts = {
        "stein_coordinate": ["" if check is None else ", ".join(check.coordinates) for check in checks],
        "refusal": ["" if check is None else check.phrase for check in checks],
    }
    numbers = {name: ("mode", np.array(values)) for name, values in columns.items()}
    return numbers | {name: ("mode", np.array(values, dtype=object)) for name, values in texts.items()}


def _means(posterior: ModewisePosterior, x: Array, weights: Array | None) -> xr.Dataset:
    """Compare the means of given draws x (n, d), canonical, with the reference's, variable by variable."""
    target, drawn = posterior.target, posterior.thinned
    source = Source(drawn.x, drawn.weights, drawn.mode, posterior.masses)
    spaces = (target.to_dataset(some[None]).isel(chain=0, drop=True) for some in (x, drawn.x))
    given, reference = (free_names(ds, OF_MEANS) for ds in spaces)
    means = {}
    for name, values in given.data_vars.items():
        mean = np.average(values.values, axis=0, weights=weights)
        compared = _beside_reference(mean, reference[name].values, source)
        means[name] = xr.DataArray(compared, dims=["quantity", *values.dims[1:]])
    ds = xr.Dataset(means, coords={"quantity": list(QUANTITIES)})
    return ds.assign_coords({dim: given[dim] for dim in given.dims if dim != "draw" and dim in given})


def _beside_reference(mean: Array, reference: Array, source: Source) -> Array:
    """Stack a given mean, the reference's (from draws, first axis), its error, and the difference in sd.

    All but the given mean are NaN where the reference has no draws, as where given ones are compared and refused.
    """
    if not len(reference):
        return np.stack([mean, *np.full((len(QUANTITIES) - 1, *mean.shape), np.nan)])
    right = np.average(reference, axis=0, weights=source.weights)
    sd = np.sqrt(np.average((reference - right) ** 2, axis=0, weights=source.weights))
    with np.errstate(invalid="ignore", divide="ignore"):
        off = (mean - right) / sd
    return np.stack([mean, right, mean_se(reference, source), off])
