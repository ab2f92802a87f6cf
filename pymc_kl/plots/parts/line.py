"""The integrands of both divergences of a model of one dimension, from densities on a grid."""

from typing import Any

import numpy as np
import xarray as xr

from pymc_kl._typing import Array
from pymc_kl.plots.parts.captions import listed
from pymc_kl.plots.parts.contract import known_approximations, subset
from pymc_kl.plots.parts.curves import Curves

NEGLIGIBLE_DENSITY = 1e-6  # fraction of a density's maximum: the axis ends where all densities are below
OUTSIDE = 0.005  # mass of q beyond the grid above which the note states it


def read_line(dt: xr.DataTree, approximations: Any) -> Curves:
    """Read p and q on the grid, in the unconstrained space, and the integrands, whose areas are in nats."""
    if "line" not in dt.children:
        raise ValueError("no line: only a comparison of a model of one dimension holds one. Use kind='marginal'.")
    ds, known = dt["line"].to_dataset(), known_approximations(dt)
    asked = subset(approximations, known, "approximations")
    log_prob = {name: _log_prob(ds, name) for name in asked}
    names = [name for name in asked if np.isfinite(log_prob[name]).any()]
    if not names:
        raise ValueError(f"none of {asked} has a density on the line, so that neither divergence has an integrand.")
    x = ds["x"].values if "x" in ds else ds["point"].values
    order = np.argsort(x)
    x, log_p = x[order], _normalised(ds["log_density"].values[order], x[order])
    log_q = np.stack([log_prob[name][order] for name in names])
    forward, reverse = integrands(log_p, log_q), integrands(log_q, log_p)
    totals = np.stack([np.trapezoid(values, x) for values in (forward, reverse)], axis=-1)
    ends = np.flatnonzero(_worth_showing(np.vstack([log_p, log_q])))[[0, -1]]
    return Curves(
        names=names,
        known=known,
        x=x,
        p=np.exp(log_p),
        q=np.exp(log_q),
        forward=forward,
        reverse=reverse,
        values=[[f"{value:.3g}" for value in row] for row in totals],
        limits=(float(x[ends[0]]), float(x[ends[1]])),
        xlabel=str(ds.attrs.get("variable", "x")),
        ylabel="density; nats per unit",
        is_binned=False,
        note=_note([name for name in asked if name not in names], names, 1 - np.trapezoid(np.exp(log_q), x)),
    )


def _log_prob(ds: xr.Dataset, name: str) -> Array:
    """Return log q on the grid; NaN for an approximation that the line does not hold."""
    if name not in ds["approximation"].values:
        return np.full(ds.sizes["point"], np.nan)
    return np.asarray(ds["log_prob"].sel(approximation=name).values, dtype=float)


def _normalised(log_density: Array, x: Array) -> Array:
    """Return log p on the grid, normalised."""
    top = log_density[np.isfinite(log_density)].max()
    return np.asarray(log_density - top - np.log(np.trapezoid(np.exp(log_density - top), x)))


def integrands(log_p: Array, log_q: Array) -> Array:
    """Return p·log(p/q): 0 where p is 0, infinite where q alone is 0."""
    log_p, log_q = np.broadcast_arrays(log_p, log_q)
    p, has = np.exp(log_p), np.exp(log_p) > 0
    values = np.zeros(p.shape)
    values[has] = p[has] * (log_p[has] - log_q[has])
    return values


def _worth_showing(log_density: Array) -> Array:
    """Return at which points (n,) any of the densities (A, n) is more than negligible."""
    top = np.where(np.isfinite(log_density), log_density, -np.inf).max(axis=1, keepdims=True)
    return np.asarray((log_density - top > np.log(NEGLIGIBLE_DENSITY)).any(axis=0))


def _note(lost: list[str], names: list[str], outside: Array) -> str:
    lines = [f"No density: {listed(lost)}."] if lost else []
    beyond = [f"{name} ({100 * share:.2g} %)" for name, share in zip(names, outside, strict=True) if share > OUTSIDE]
    if beyond:
        lines.append(f"Part of q lies beyond the grid, its share of the divergences too: {listed(beyond)}.")
    return "\n".join(lines)
