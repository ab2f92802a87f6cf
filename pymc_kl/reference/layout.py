"""The DataTree of a reference: draws of equal weight, modes, evidence, and where the draws come from."""

import numpy as np
import xarray as xr

from pymc_kl._typing import Array, IntArray
from pymc_kl.modes.numbering import to_mode_number
from pymc_kl.reference.audit import audit
from pymc_kl.reference.datatree import describe_modes, evidence_dataset, reference_tree, weighted_tree
from pymc_kl.reference.posterior import ModewisePosterior


def posterior_tree(
    posterior: ModewisePosterior, *, draws: int, chains: int, relabel: bool, rng: np.random.Generator
) -> xr.DataTree:
    """Lay out a posterior: draws of equal weight, modes, evidence, the draws given and those made, and the audit."""
    equal = posterior.equal(chains * draws, rng)
    x = equal.x if relabel else posterior.over_copies(equal, rng).x
    shape = (chains, draws)
    mode = to_mode_number(equal.mode.reshape(shape))
    dt = reference_tree(posterior.target, x.reshape(*shape, -1), equal.log_density.reshape(shape), mode)
    dt["modes"] = xr.DataTree(_modes(posterior))
    dt["evidence"] = xr.DataTree(evidence_dataset(posterior.evidence))
    groups = {"original": _original(posterior), "local": _made(posterior), "audit": audit(posterior)}
    for name, group in groups.items():
        if group is not None:
            dt[name] = group
    return dt


def _modes(posterior: ModewisePosterior) -> xr.Dataset:
    """Build `/modes`, with how each mass was found; masses that are not known are NaN."""
    ds = describe_modes(posterior.target, posterior.modes, posterior.masses, posterior.log_masses)
    ds["n_left"] = ("mode", np.array([draws.n_left for draws in posterior.local]))
    ds["n_diverging"] = ("mode", np.array([draws.n_diverging for draws in posterior.local]))
    if not posterior.masses.known:
        for name in ("mass", "mass_se"):
            ds[name] = ("mode", np.full(posterior.modes.k, np.nan))
    return ds


def _weights(posterior: ModewisePosterior) -> Array:
    """Return the weight (K,) in the reference of each local draw of a mode."""
    return posterior.mass_of_draws / np.maximum([len(draws) for draws in posterior.local], 1)


def _original(posterior: ModewisePosterior) -> xr.DataTree | None:
    """Lay out the draws given, with their weights: 0 in modes that other draws represent."""
    given, mode = posterior.given, posterior.given_mode
    if given is None or mode is None:
        return None
    used = np.array([draws.holds_given for draws in posterior.local])
    weight = np.append(np.where(used, _weights(posterior), 0.0), 0.0)[mode]
    return weighted_tree(given.target, given.x, given.log_density, to_mode_number(mode), weight)


def _made(posterior: ModewisePosterior) -> xr.DataTree | None:
    """Lay out the draws made here, with their weights; None if none were made."""
    counts = _n_given(posterior)
    parts = [(k, d, n) for k, (d, n) in enumerate(zip(posterior.local, counts, strict=True)) if len(d) > n]
    if not parts:
        return None
    x = np.concatenate([draws.x[n:] for _, draws, n in parts])
    log_density = np.concatenate([draws.log_density[n:] for _, draws, n in parts])
    mode = np.concatenate([np.full(len(draws) - n, k) for k, draws, n in parts])
    weight = _weights(posterior)[mode]
    return weighted_tree(posterior.target, x[None], log_density[None], to_mode_number(mode[None]), weight[None])


def _n_given(posterior: ModewisePosterior) -> IntArray:
    """Count the user's draws (K,) among the local draws of each mode; they come first."""
    k, mode = posterior.modes.k, posterior.given_mode
    if mode is None:
        return np.zeros(k, dtype=int)
    used = np.array([draws.holds_given for draws in posterior.local])
    return np.where(used, np.bincount(mode[mode >= 0], minlength=k), 0)
