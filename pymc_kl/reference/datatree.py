"""The groups of a reference: draws, modes, evidence. Modes are numbered from 1, highest mass first; 0 is elsewhere."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from pymc_kl._typing import Array, IntArray
from pymc_kl.model.datatree import draws_tree
from pymc_kl.model.table_names import LOCATION, OF_MODES, free_names
from pymc_kl.modes.numbering import mode_numbers

if TYPE_CHECKING:
    from pymc_kl.model.target import Target
    from pymc_kl.modes.masses import Masses
    from pymc_kl.modes.modes import Modes
    from pymc_kl.reference.evidence import Evidence, LogMass


def reference_tree(target: "Target", x: Array, log_density: Array, mode: IntArray) -> xr.DataTree:
    """Build the groups of the reference draws (chain, draw, d), equal in weight."""
    return draws_tree(target, x, {"log_density": log_density, "mode": mode})


def weighted_tree(target: "Target", x: Array, log_density: Array, mode: IntArray, weight: Array) -> xr.DataTree:
    """Build the groups of draws (chain, draw, d) that carry a weight each."""
    return draws_tree(target, x, {"log_density": log_density, "mode": mode, "weight": weight})


def modes_dataset(locations: xr.Dataset, columns: Mapping[str, Any], attrs: Mapping[str, Any]) -> xr.Dataset:
    """Build `/modes`: location in the model's own variables and one value a mode of each column."""
    k = locations.sizes["draw"]
    ds = free_names(locations.isel(chain=0, drop=True), OF_MODES, LOCATION)
    ds = ds.rename(draw="mode").assign_coords(mode=mode_numbers(k))
    for name, values in columns.items():
        ds[name] = ("mode", np.asarray(values))
    return ds.assign_attrs(attrs)


def describe_modes(target: "Target", modes: "Modes", masses: "Masses", log_masses: "Sequence[LogMass]") -> xr.Dataset:
    """Build `/modes` from the modes found, their masses, and how each was weighed."""
    columns = _mass_columns(masses) | _mode_columns(modes) | _log_mass_columns(log_masses)
    attrs = _mass_attrs(masses) | _search_attrs(modes)
    ds = modes_dataset(target.to_dataset(modes.x[None]), columns, attrs)
    ds["pass_log_density"] = (("mode", "other_mode"), modes.passes)
    return ds.assign_coords(other_mode=mode_numbers(modes.k))


def _mode_columns(modes: "Modes") -> dict[str, Any]:
    return {
        "log_density": modes.log_density,
        "log_mass_laplace": modes.log_mass_laplace,
        "barrier": modes.barrier,
        "copies": modes.copies,
        "hits": modes.hits,
        "found_by": np.array(modes.found_by, dtype=object),
    }


def _mass_columns(masses: "Masses") -> dict[str, Any]:
    return {
        "mass": masses.mass[:-1],
        "mass_se": masses.se[:-1],
        "mass_lower": masses.lower[:-1],
        "mass_upper": masses.upper[:-1],
        "n_draws": masses.n_draws[:-1],
        "ess": masses.ess[:-1],
        "rhat": masses.rhat[:-1],
    }


def _log_mass_columns(log_masses: "Sequence[LogMass]") -> dict[str, Any]:
    return {
        "log_mass": [m.estimate.value for m in log_masses],
        "log_mass_se": [m.estimate.se for m in log_masses],
        "log_mass_se_sandwich": [m.checks.se_sandwich for m in log_masses],
        "log_mass_se_blocks": [m.checks.se_blocks for m in log_masses],
        "overlap": [m.overlap for m in log_masses],
        "khat_draws": [m.checks.khat_draws for m in log_masses],
        "khat_proposal": [m.checks.khat_proposal for m in log_masses],
        "method": np.array([m.method for m in log_masses], dtype=object),
        "reason": np.array([m.reason for m in log_masses], dtype=object),
    }


def _search_attrs(modes: "Modes") -> dict[str, Any]:
    return {
        "n_starts": modes.n_starts,
        "n_lost": modes.n_lost,
        "unseen": modes.unseen.value,
        "unseen_se": modes.unseen.se,
        "symmetries": json.dumps(modes.symmetries),
        "proper": int(modes.proper),
        "partial": int(modes.partial),
    }


def _mass_attrs(masses: "Masses") -> dict[str, Any]:
    return {
        "elsewhere": float(masses.mass[-1]),
        "elsewhere_se": float(masses.se[-1]),
        "masses_known": int(masses.known),
        "crossings": masses.crossings,
        "reason": masses.reason,
    }


def evidence_dataset(evidence: "Evidence") -> xr.Dataset:
    """Build `/evidence`: log Z in nats with its error, and why it is NaN if it is."""
    value, se = evidence.log_evidence
    numbers = {"log_evidence": value, "log_evidence_se": se, "method": evidence.method}
    return xr.Dataset(numbers, attrs={"reason": evidence.reason})
