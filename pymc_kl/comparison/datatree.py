"""Group names and dims of a comparison: the one place that builds the DataTree.

Modes are numbered from 1, highest mass first; 0 is elsewhere.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from pymc_kl._typing import Array, IntArray
from pymc_kl.fitting.optima import optima_of
from pymc_kl.model.datatree import draws_tree, plain
from pymc_kl.modes.numbering import mode_numbers, to_mode_number

if TYPE_CHECKING:
    from pymc_kl.approximations import Approximation
    from pymc_kl.comparison.fit import AssignedFit
    from pymc_kl.model.target import Target

CHAINS = 4  # number of chains that independent draws are laid out in, as from pm.sample, for ArviZ; our choice
MAX_STEPS = 2000  # number of steps of a loss history that are kept, at most; bounds a file's size; our choice


def group_of_fit(name: str) -> str:
    """Return the name of a fit's group: a slash, which a DataTree takes for a path, is written `%2F`.

    A `%2F` in the fit's own name becomes `%252F`, and so on, so that every group has one fit.
    """
    return re.sub("%(?=(25)*2F)", "%25", name).replace("/", "%2F")


def fit_groups(dt: xr.DataTree) -> dict[str, xr.DataTree]:
    """Return the groups of a comparison's fits by the fits' own names, in the order of `/scores`."""
    groups = dt["approximations"].children if "approximations" in dt.children else {}
    names = dt["scores"].to_dataset()["approximation"].values.tolist()
    return {name: groups[group_of_fit(name)] for name in names if group_of_fit(name) in groups}


def approximation_tree(
    target: "Target", fit: "AssignedFit", reference_log_prob: Array | None, optimum_mode: IntArray
) -> xr.DataTree:
    """Build the groups of one approximation: draws (n, d), log q at the reference, loss history, optima of its starts.

    Modes, of draws and of the optima's centres, are numbered from 1; 0 is elsewhere.
    """
    q, x = fit.fit.approximation, fit.x
    shape = (CHAINS if len(x) % CHAINS == 0 else 1, -1)
    stats = {"log_density": fit.log_density, "log_prob": fit.log_prob, "mode": to_mode_number(fit.canonical.mode)}
    laid_out = {name: None if values is None else values.reshape(shape) for name, values in stats.items()}
    tree = draws_tree(target, x.reshape(*shape, x.shape[1]), laid_out)
    if reference_log_prob is not None:
        tree["reference"] = xr.DataTree(xr.Dataset({"log_prob": (("chain", "draw"), reference_log_prob)}))
    history = np.asarray(() if q.info.history is None else q.info.history, dtype=float)
    known = xr.Dataset(attrs={"info": json.dumps(plain(q.info.stored()))})
    if len(history):
        step = np.unique(np.linspace(0, len(history) - 1, min(len(history), MAX_STEPS)).astype(int))
        known["loss"] = xr.DataArray(history[step], dims="step", coords={"step": step})
    if len(optimum_mode):
        known = known.merge(_optima_dataset(target, q, optimum_mode))
    tree["fit"] = xr.DataTree(known)
    return tree


def _optima_dataset(target: "Target", q: "Approximation", mode: IntArray) -> xr.Dataset:
    """Lay out what the starts of a reverse-KL fit settled in, best first: a row an optimum."""
    optima = optima_of(q)
    columns = {
        "optimum_starts": [o.n_starts for o in optima],
        "optimum_elbo": [o.elbo.value for o in optima],
        "optimum_elbo_se": [o.elbo.se for o in optima],
        "optimum_mode": mode,
        "optimum_converged": [float(o.converged) for o in optima],
    }
    ds = xr.Dataset({name: ("optimum", np.asarray(values)) for name, values in columns.items()})
    ds["optimum_loc"] = (("optimum", "coordinate"), np.stack([o.approximation.loc for o in optima]))
    return ds.assign_coords(optimum=mode_numbers(len(optima)), coordinate=list(target.labels))


def line_dataset(label: str, x: Array, log_density: Array, log_prob: Mapping[str, Array]) -> xr.Dataset:
    """Build `/line` of a model in one dimension: log p̃ (point) and log q (approximation, point) in nats."""
    ds = xr.Dataset({"log_density": ("point", log_density)}, coords={"x": ("point", x)}, attrs={"variable": label})
    ds["log_prob"] = (("approximation", "point"), np.array([*log_prob.values()]).reshape(-1, len(x)))
    return ds.assign_coords(approximation=list(log_prob))


def scores_dataset(rows: Mapping[str, Mapping[str, Any]], columns: Sequence[str]) -> xr.Dataset:
    """Build `/scores`, a row an approximation; a number that a row lacks is NaN, a text empty."""
    ds = xr.Dataset(coords={"approximation": list(rows)})
    for name in columns:
        is_text = name in TEXT_COLUMNS
        values = [row.get(name, "" if is_text else np.nan) for row in rows.values()]
        ds[name] = ("approximation", np.array(values, dtype=object if is_text else float))
    return ds


def coverage_dataset(rows: Mapping[str, Mapping[str, Any]], k: int) -> xr.Dataset:
    """Build `/coverage` from arrays over K modes and scalars for elsewhere, a row an approximation."""
    ds = xr.Dataset(coords={"approximation": list(rows), "mode": mode_numbers(k)})
    for name in COVERAGE_COLUMNS:
        blank: Any = [""] * k if name in TEXT_COLUMNS else np.full(k, np.nan)
        values = np.array([row.get(name, blank) for row in rows.values()])
        ds[name] = (
            ("approximation", "mode"),
            values.astype(object if name in TEXT_COLUMNS else float).reshape(len(rows), k),
        )
    for name in ("elsewhere", "elsewhere_se"):
        ds[name] = ("approximation", np.array([row.get(name, np.nan) for row in rows.values()], dtype=float))
    return ds


TEXT_COLUMNS = ("converged", "kind", "family", "error", "verdict", "shape", "width_of", "note")
ESTIMATES = (
    "forward_kl", "reverse_kl", "elbo", "eubo", "forward_kl_between", "forward_kl_within",
    "reverse_kl_between", "reverse_kl_within", "elbo_gap", "elbo_gradient", "ess_forward", "ess_reverse",
    "forward_kl_relabelled", "reverse_kl_relabelled", "missed_mass", "spill", "emc", "emc_reference",
    "mode_jsd", "mode_tv", "stein_spread",
)  # fmt: skip
SCORE_COLUMNS = (
    *(column for name in ESTIMATES for column in (name, f"{name}_se")),
    "forward_kl_is_bound", "reverse_kl_is_bound", "alarm", "converged", "khat", "khat_se", "khat_reference",
    "khat_reference_se", "stein_z", "seconds", "kind", "family", "error", "note",
)  # fmt: skip
COVERAGE_COLUMNS = (
    "mass", "mass_se", "mass_lower", "mass_upper", "ratio", "ratio_se", "forward_kl_within", "forward_kl_within_se",
    "reverse_kl_within", "reverse_kl_within_se", "hdr_coverage", "copies_reached", "verdict",
    "shape", "width", "width_se", "width_of",
)  # fmt: skip
