"""Group names and dims of a comparison: the one place that builds the DataTree.

Modes are numbered from 1, highest mass first; 0 is elsewhere.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from pymc_kl._typing import Array, IntArray

if TYPE_CHECKING:
    from pymc_kl.approximations import Approximation
    from pymc_kl.masses import Masses
    from pymc_kl.model.target import Target
    from pymc_kl.modes.modes import Modes
    from pymc_kl.numerics.estimate import Estimate
    from pymc_kl.reference.bridge_sampling import LogMass

FORMAT = 3  # of the DataTree; raised when a reader of the last one would misread
CHAINS = 4  # that independent draws are laid out in, so that ArviZ can set them side by side
MAX_STEPS = 2000  # of a loss history that are kept


def draws_to_datatree(q: "Approximation", x: Array) -> xr.DataTree:
    """Put draws (n, d) of q on the model's own space, with both log densities."""
    target = q.target
    assert target is not None
    log_prob = q.log_prob(x) if q.has_log_prob else None
    return _draws_tree(target, x[None], target.log_density(x)[None], None if log_prob is None else log_prob[None])


def _draws_tree(
    target: "Target", x: Array, log_density: Array, log_prob: Array | None, mode: IntArray | None = None
) -> xr.DataTree:
    """Build `posterior` and `sample_stats` from draws (chain, draw, d) and what is known of each."""
    stats: dict[str, Array | IntArray] = {"log_density": log_density}
    if log_prob is not None:
        stats["log_prob"] = log_prob
    if mode is not None:
        stats["mode"] = mode
    posterior = target.to_dataset(x)
    coords = {"chain": posterior["chain"], "draw": posterior["draw"]}
    dataset = xr.Dataset({k: (("chain", "draw"), v) for k, v in stats.items()}, coords=coords)
    attrs = {"sample_dims": ["chain", "draw"], "creation_library": "pymc_kl"}
    return xr.DataTree.from_dict(
        {"posterior": posterior.assign_attrs(attrs), "sample_stats": dataset.assign_attrs(attrs)}
    )


def reference_tree(target: "Target", x: Array, log_density: Array, mode: IntArray) -> xr.DataTree:
    """Build the groups of the reference draws (chain, draw, d), equal in weight."""
    return _draws_tree(target, x, log_density, None, mode)


def weighted_tree(target: "Target", x: Array, log_density: Array, mode: IntArray, weight: Array) -> xr.DataTree:
    """Build the groups of draws (chain, draw, d) that carry a weight each."""
    dt = _draws_tree(target, x, log_density, None, mode)
    stats = dt["sample_stats"].to_dataset()
    stats["weight"] = (("chain", "draw"), weight)
    dt["sample_stats"] = xr.DataTree(stats)
    return dt


def approximation_tree(
    q: "Approximation",
    x: Array,
    log_density: Array,
    log_prob: Array | None,
    mode: IntArray,
    reference_log_prob: Array | None,
    optimum_mode: IntArray,
) -> xr.DataTree:
    """Build the groups of one approximation: draws (n, d), log q at the reference, loss history, optima of its starts.

    Modes, of draws and of the optima's centres, are numbered from 1; 0 is elsewhere.
    """
    assert q.target is not None
    shape = (CHAINS if len(x) % CHAINS == 0 else 1, -1)
    prob = None if log_prob is None else log_prob.reshape(shape)
    draws = x.reshape(*shape, x.shape[1])
    tree = _draws_tree(q.target, draws, log_density.reshape(shape), prob, mode.reshape(shape))
    if reference_log_prob is not None:
        tree["reference"] = xr.DataTree(xr.Dataset({"log_prob": (("chain", "draw"), reference_log_prob)}))
    history = np.asarray(q.info.get("history", ()), dtype=float)
    fit = xr.Dataset(attrs={"info": json.dumps(_plain(_told(q.info)))})
    if len(history):
        step = np.unique(np.linspace(0, len(history) - 1, min(len(history), MAX_STEPS)).astype(int))
        fit["loss"] = xr.DataArray(history[step], dims="step", coords={"step": step})
    if len(optimum_mode):
        fit = fit.merge(_optima_dataset(q, optimum_mode))
    tree["fit"] = xr.DataTree(fit)
    return tree


def _optima_dataset(q: "Approximation", mode: IntArray) -> xr.Dataset:
    """Lay out what the starts of a reverse-KL fit settled in, best first: a row an optimum."""
    optima, target = q.info["optima"], q.target
    assert target is not None
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


def _told(info: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what a fit says of itself, without the approximations that it offers, which have rows of their own."""
    return {key: value for key, value in info.items() if key not in ("parts", "mixture", "optima")}


def free_dims(ds: xr.Dataset, taken: Sequence[str]) -> xr.Dataset:
    """Rename dims of the model that bear the names of a table's own."""
    return ds.rename({dim: f"{dim}_of_model" for dim in taken if dim in ds.dims})


def modes_dataset(locations: xr.Dataset, columns: Mapping[str, Any], attrs: Mapping[str, Any]) -> xr.Dataset:
    """Build `/modes`: location in the model's own variables and one value a mode of each column."""
    k = locations.sizes["draw"]
    ds = free_dims(locations.isel(chain=0, drop=True), ("mode", "other_mode"))
    ds = ds.rename(draw="mode").assign_coords(mode=mode_numbers(k))
    ds = ds.rename({name: f"{name}_location" for name in ds.data_vars if name in columns})
    for name, values in columns.items():
        ds[name] = ("mode", np.asarray(values))
    return ds.assign_attrs(attrs)


def describe_modes(target: "Target", modes: "Modes", masses: "Masses", log_masses: "Sequence[LogMass]") -> xr.Dataset:
    """Build `/modes` from the modes found, their masses, and how each was weighed."""
    columns = {
        "mass": masses.mass[:-1],
        "mass_se": masses.se[:-1],
        "mass_upper": masses.upper[:-1],
        "log_density": modes.log_density,
        "log_mass_laplace": modes.log_mass_laplace,
        "barrier": modes.barrier,
        "copies": modes.copies,
        "n_draws": masses.n_draws[:-1],
        "hits": modes.hits,
        "found_by": np.array(modes.found_by, dtype=object),
        "ess": masses.ess[:-1],
        "rhat": masses.rhat[:-1],
        "log_mass": [m.estimate.value for m in log_masses],
        "log_mass_se": [m.estimate.se for m in log_masses],
        "overlap": [m.overlap for m in log_masses],
        "method": np.array([m.method for m in log_masses], dtype=object),
        "reason": np.array([m.reason for m in log_masses], dtype=object),
    }
    attrs = {
        "elsewhere": float(masses.mass[-1]),
        "elsewhere_se": float(masses.se[-1]),
        "n_starts": modes.n_starts,
        "n_lost": modes.n_lost,
        "unseen": modes.unseen.value,
        "unseen_se": modes.unseen.se,
        "symmetries": json.dumps(modes.symmetries),
        "proper": int(modes.proper),
        "partial": int(modes.partial),
        "mixes": int(masses.known),
        "crossings": masses.crossings,
        "reason": masses.reason,
    }
    ds = modes_dataset(target.to_dataset(modes.x[None]), columns, attrs)
    ds["pass_log_density"] = (("mode", "other_mode"), modes.passes)
    return ds.assign_coords(other_mode=mode_numbers(modes.k))


def evidence_dataset(log_evidence: "Estimate", method: str, reason: str) -> xr.Dataset:
    """Build `/evidence`: log Z in nats with its error, and why it is NaN if it is."""
    value, se = log_evidence
    return xr.Dataset({"log_evidence": value, "log_evidence_se": se, "method": method}, attrs={"reason": reason})


def line_dataset(label: str, x: Array, log_density: Array, log_prob: Mapping[str, Array]) -> xr.Dataset:
    """Build `/line` of a model in one dimension: log p̃ (point) and log q (approximation, point) in nats."""
    ds = xr.Dataset({"log_density": ("point", log_density)}, coords={"x": ("point", x)}, attrs={"variable": label})
    ds["log_prob"] = (("approximation", "point"), np.array([*log_prob.values()]).reshape(-1, len(x)))
    return ds.assign_coords(approximation=list(log_prob))


def reference_label(names: Sequence[str]) -> str:
    """Name the reference so that no approximation bears the name too."""
    label = "reference"
    while label in names:
        label += " draws"
    return label


def mode_numbers(k: int) -> IntArray:
    """Coordinate of the `mode` dim."""
    return np.arange(1, k + 1)


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


def root_attrs(model_name: str, seed: Any, settings: Mapping[str, Any], seconds: Mapping[str, float]) -> dict[str, Any]:
    """Attributes of the whole comparison; settings and timings as JSON, so that every format can hold them."""
    return {
        "creation_library": "pymc_kl",
        "creation_library_version": version("pymc_kl"),
        "creation_time": datetime.now(UTC).isoformat(timespec="seconds"),
        "pymc_kl_format": FORMAT,
        "pymc_version": version("pymc"),
        "arviz_version": version("arviz"),
        "model_name": model_name,
        "random_seed": json.dumps(_plain(seed)),
        "settings": json.dumps(_plain(settings)),
        "seconds": json.dumps({name: round(value, 3) for name, value in seconds.items()}),
    }


def _plain(value: Any) -> Any:
    """Reduce settings to what JSON holds; arrays to their lists, anything else to its text."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items() if k != "history"}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


TEXT_COLUMNS = ("kind", "family", "error", "verdict", "note")
ESTIMATES = (
    "forward_kl", "reverse_kl", "elbo", "eubo", "forward_kl_between", "forward_kl_within",
    "reverse_kl_between", "reverse_kl_within", "elbo_gap", "elbo_gradient", "ess_forward", "ess_reverse",
    "forward_kl_relabelled", "reverse_kl_relabelled", "missed_mass", "spill", "emc", "emc_reference",
    "mode_jsd", "mode_tv",
)  # fmt: skip
SCORE_COLUMNS = (
    *(column for name in ESTIMATES for column in (name, f"{name}_se")),
    "forward_kl_is_bound", "reverse_kl_is_bound", "alarm", "converged", "khat", "khat_reference",
    "seconds", "kind", "family", "error", "note",
)  # fmt: skip
COVERAGE_COLUMNS = (
    "mass", "mass_se", "mass_upper", "ratio", "ratio_se", "forward_kl_within", "forward_kl_within_se",
    "reverse_kl_within", "reverse_kl_within_se", "hdr_coverage", "copies_reached", "verdict",
)  # fmt: skip
