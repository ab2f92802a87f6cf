"""Both divergences split over bins of one scalar: each is a mean over draws, so its parts add up to it."""

from typing import Any

import numpy as np
import xarray as xr

from pymc_kl._typing import Array, IntArray
from pymc_kl.comparison.datatree import fit_groups
from pymc_kl.comparison.formats import format_estimate, rough
from pymc_kl.plots.parts.captions import listed
from pymc_kl.plots.parts.contract import SAMPLE_DIMS, Selection, known_approximations, subset
from pymc_kl.plots.parts.curves import Curves
from pymc_kl.plots.parts.view import View, view_comparison

BINS = 40  # number of bins over the range of the scalar


def read_bins(dt: xr.DataTree, selection: Selection, *, approximations: Any, labeller: Any) -> Curves:
    """Lay out the contribution of each bin of the chosen scalar to both divergences, in nats."""
    log_z = float(dt["evidence"]["log_evidence"].item())
    if not np.isfinite(log_z):
        raise ValueError(
            "log Z is unknown, so that neither divergence can be split over bins; "
            "plot_divergence(kind='bounds') compares the approximations without it."
        )
    known = known_approximations(dt)
    asked = subset(approximations, known, "approximations")
    failed = [name for name in asked if _log_prob_failed(dt, name)]
    lost = [name for name in asked if name not in failed and not _log_prob_at(dt, name)["its own draws"]]
    names = [name for name in asked if name not in (*failed, *lost)]
    if not names:
        why = f"; log q of {failed} failed (see `error` in /scores)" if failed else ""
        raise ValueError(f"none of {asked} has a density{why}, so that neither divergence is known.")
    view = view_comparison(dt, selection, approximations=names, n=1, jointly=False, labeller=labeller)
    edges = np.linspace(*view.limits(0), BINS + 1)
    x, draws = view.reference[:, 0], [view.approximations[name][:, 0] for name in names]
    log_p = _flat(dt["sample_stats"].to_dataset()["log_density"]) - log_z
    forward = [log_p - _reference_log_prob(dt, name) for name in names]
    reverse = [log_z - _log_ratio(dt, name) for name in names]
    split = np.array([
        [_split(x, ratio, edges) for ratio in forward],
        [_split(values, ratio, edges) for values, ratio in zip(draws, reverse, strict=True)],
    ])  # fmt: skip
    return Curves(
        names=names,
        known=known,
        x=edges,
        p=_share(x, edges),
        q=np.stack([_share(values, edges) for values in draws]),
        forward=split[0],
        reverse=split[1],
        values=_totals(dt, names),
        limits=view.limits(0),
        xlabel=view.labels[0],
        ylabel="contribution (nats)",
        is_binned=True,
        note="\n".join([*_note(view, x, draws, edges, [forward, reverse]), *_left_out(lost, failed)]),
    )


def _log_prob_at(dt: xr.DataTree, name: str) -> dict[str, bool]:
    """Tell whether log q is there at draws of either side."""
    sides = {"its own draws": "sample_stats", "draws of the reference": "reference"}
    groups = fit_groups(dt)
    children = groups[name].children if name in groups else {}
    return {side: group in children and "log_prob" in children[group].data_vars for side, group in sides.items()}


def _log_prob_failed(dt: xr.DataTree, name: str) -> bool:
    """Tell whether a fit with a density lacks log q at draws of either side, since something of it failed."""
    row = dt["scores"].to_dataset().sel(approximation=name)
    return bool(str(row["error"].item())) and row["kind"].item() != "draws" and not all(_log_prob_at(dt, name).values())


def _flat(da: xr.DataArray) -> Array:
    return np.asarray(da.transpose(*SAMPLE_DIMS).values.ravel(), dtype=float)


def _reference_log_prob(dt: xr.DataTree, name: str) -> Array:
    """Return log q at the draws of the reference, in their order."""
    needed = dt["sample_stats"].to_dataset()["log_density"].sizes
    group = fit_groups(dt)[name].children.get("reference")
    log_prob = xr.DataArray() if group is None else group.to_dataset()["log_prob"]
    sizes = log_prob.sizes
    if dict(sizes) != dict(needed):
        raise ValueError(
            f"log q of {name!r} does not belong to the draws in /posterior: expected sizes {dict(needed)}, "
            f"got {dict(sizes)}, as in files of earlier versions. Run compare() again."
        )
    return _flat(log_prob)


def _log_ratio(dt: xr.DataTree, name: str) -> Array:
    """Return log p̃ - log q at the draws of q."""
    stats = fit_groups(dt)[name]["sample_stats"].to_dataset()
    return _flat(stats["log_density"] - stats["log_prob"])


def _bin(x: Array, edges: Array) -> IntArray:
    """Return the bin of each draw, counted from 0; BINS for draws outside and not finite."""
    inside = (x >= edges[0]) & (x <= edges[-1])
    position = np.searchsorted(edges, x, side="right") - 1
    return np.where(inside, np.minimum(position, len(edges) - 2), len(edges) - 1)


def _split(x: Array, log_ratio: Array, edges: Array) -> Array:
    """Return the contribution of each bin to the mean of log_ratio over all draws."""
    return np.asarray(np.bincount(_bin(x, edges), log_ratio, minlength=len(edges))[:-1] / len(x))


def _share(x: Array, edges: Array) -> Array:
    """Return the fraction of the draws in each bin."""
    return np.bincount(_bin(x, edges), minlength=len(edges))[:-1] / len(x)


def _totals(dt: xr.DataTree, names: list[str]) -> list[list[str]]:
    scores = dt["scores"].to_dataset().sel(approximation=names)
    columns = [(scores[key].values, scores[f"{key}_se"].values) for key in ("forward_kl", "reverse_kl")]
    return [[format_estimate(value[i], se[i]) for value, se in columns] for i in range(len(names))]


def _left_out(lost: list[str], failed: list[str]) -> list[str]:
    """Write which approximations have no density, and of which log q failed."""
    lines = [f"No density: {listed(lost)}."] if lost else []
    return [*lines, f"log q failed (see `error` in /scores): {listed(failed)}."] if failed else lines


def _note(view: View, x: Array, draws: list[Array], edges: Array, ratios: list[list[Array]]) -> list[str]:
    """Write which scalar was chosen, and what lies outside."""
    lines = [view.choice] if view.choice else []
    outside = [_bin(values, edges) == len(edges) - 1 for values in (x, *draws)]
    if n := int(outside[0].sum()):
        worth = [
            f"{name} {rough(np.sum(ratio[outside[0]]) / len(x))} nats"
            for name, ratio in zip(view.approximations, ratios[0], strict=True)
        ]
        lines.append(f"Draws of the reference that lie outside: {n}; they add to the forward KL: {listed(worth)}.")
    beyond = [
        f"{name} ({int(out.sum())}: {rough(np.sum(ratio[out]) / len(out))} nats)"
        for name, out, ratio in zip(view.approximations, outside[1:], ratios[1], strict=True)
        if out.any()
    ]
    if beyond:
        lines.append(f"Draws that lie outside, and what they add to the reverse KL: {listed(beyond)}.")
    infinite = [name for name, ratio in zip(view.approximations, ratios[0], strict=True) if np.isinf(ratio).any()]
    if infinite:
        lines.append(f"q has no density at some draws of the reference: {listed(infinite)}.")
    return lines
