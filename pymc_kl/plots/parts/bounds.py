"""ELBO ≤ log Z ≤ EUBO, a row for each approximation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from arviz_plots import PlotCollection
from arviz_plots.visuals import scatter_xy

from pymc_kl.comparison.formats import format_estimate
from pymc_kl.plots.parts import style
from pymc_kl.plots.parts.axes import cut_above, half_width, label_axis, set_limits
from pymc_kl.plots.parts.captions import annotate_text, listed, write_each
from pymc_kl.plots.parts.contract import Aesthetics, Canvas, open_collection
from pymc_kl.plots.parts.rows import ROW_INCHES, label_rows, row_aesthetics, rows_of
from pymc_kl.plots.parts.shapes import at, draw_arrow, draw_line, draw_lines, fill_band, polyline, write

SIDES = ("elbo", "eubo")
BOUNDS_WIDTH = 8.0  # inches: width of the figure
EDGES = (0.25, 0.75)  # parts of the axis between which the name of log Z is centred on its line

BOUNDS_AESTHETICS = {
    "interval": ["color", "overlay_direction", "legendgroup"],
    "cut": ["color", "arrow", "legendgroup"],
    "value": ["overlay", "overlay_direction", "legendgroup"],
    "sandwich": ["color", "legendgroup"],
    "elbo": ["color", "marker", "legendgroup"],
    "eubo": ["color", "marker", "legendgroup"],
}


def open_bounds(dt: xr.DataTree, names: Sequence[str], backend: str, pc_kwargs: Mapping[str, Any]) -> PlotCollection:
    """Make the figure: color and marker tell approximations apart, arrow the end of the axis where a bound is cut."""
    coords = {"approximation": list(names), "direction": list(SIDES)}
    data = xr.Dataset({"bound": (list(coords), np.zeros((len(names), 2)))}, coords)
    aesthetics: Aesthetics = {
        **row_aesthetics(dt, names, backend),
        "arrow": (["direction"], ["left", "right"]),
        "overlay_direction": (["direction"], [None] * 2),
    }
    size = (BOUNDS_WIDTH, 1.5 + ROW_INCHES * len(names))
    return open_collection(data, aesthetics, backend=backend, size=size, pc_kwargs=pc_kwargs)


def draw_bounds(
    canvas: Canvas, dt: xr.DataTree, names: Sequence[str], *, prob: float, backend: str, labeller: Any
) -> str:
    """Draw the bounds of all rows and log Z; return the note."""
    table = _read(dt, names, prob)
    low, high = _limits(table)
    inside = (table["value"] >= low) & (table["value"] <= high)
    rows, shown = rows_of(names), table["value"].clip(low, high)
    ends = [at(shown.sel(direction=side, drop=True), rows) for side in SIDES]
    both = table["value"].notnull().all("direction")
    thin = {"color": style.REFERENCE, "width": 1.0}
    canvas.draw("sandwich", draw_lines, polyline(*(end.where(both) for end in ends)), defaults=thin)
    spans = [at((table["value"] + s * table["half"]).where(inside).clip(low, high), rows + 0 * shown) for s in (-1, 1)]
    canvas.draw("interval", draw_lines, polyline(*spans), defaults={"color": style.REFERENCE, "width": 2.6})
    mark = {"color": style.REFERENCE, "size": style.marker_size(backend, 7)}
    for side, own in (("elbo", {}), ("eubo", {"facecolor": "B0", "width": 1.4})):
        here = shown.where(inside).sel(direction=side, drop=True)
        canvas.draw(side, scatter_xy, at(here, rows), defaults=mark | own)
    _draw_cut(canvas, table, ~inside, shown, backend)
    _draw_evidence(canvas, table, len(names))
    canvas.collection.facet_map(set_limits, x=_padded(low, high), y=(-0.6, len(names) + 0.1), store_artist=False)
    label_rows(canvas, names, labeller)
    text = f"nats: ELBO (filled) ≤ log Z ≤ EUBO (hollow); intervals: {100 * prob:.3g} %"
    canvas.decorate("xlabel", label_axis, axis="x", text=text)
    return _note(table, ~inside)


def _read(dt: xr.DataTree, names: Sequence[str], prob: float) -> xr.Dataset:
    """Read both bounds and their intervals, over (direction, approximation), and log Z, in the attributes."""
    scores, evidence = dt["scores"].to_dataset().sel(approximation=list(names)), dt["evidence"].to_dataset()
    direction = xr.DataArray(list(SIDES), dims="direction", name="direction")
    value, se = (xr.concat([scores[f"{side}{end}"] for side in SIDES], direction) for end in ("", "_se"))
    log_z, log_z_se = (float(evidence.get(name, np.nan)) for name in ("log_evidence", "log_evidence_se"))
    attrs = {"log_evidence": log_z, "se": log_z_se, "half": float(half_width(np.asarray(log_z_se), prob))}
    return xr.Dataset({"value": value, "se": se, "half": half_width(se, prob)}, attrs=attrs)


def _limits(table: xr.Dataset) -> tuple[float, float]:
    """Return the ends of the axis; bounds much further from log Z than the others are cut."""
    value = table["value"].where(np.isfinite(table["value"]))
    centre = table.attrs["log_evidence"]
    if not np.isfinite(centre):
        known = value.values[np.isfinite(value.values)]
        centre = float(np.median(known)) if known.size else 0.0
    limit = cut_above((value - centre).values)
    near = value.where(np.abs(value - centre) <= limit)
    points = [near - table["half"].fillna(0), near + table["half"].fillna(0)]
    low, high = (float(end) for end in (points[0].min(), points[1].max()))
    return min(np.nan_to_num(low, nan=centre), centre), max(np.nan_to_num(high, nan=centre), centre)


def _padded(low: float, high: float) -> tuple[float, float]:
    pad = 0.05 * (high - low) or 1.0
    return low - pad, high + pad


def _draw_cut(canvas: Canvas, table: xr.Dataset, cut: xr.DataArray, shown: xr.DataArray, backend: str) -> None:
    """Draw an arrow and the number of each bound that is cut."""
    rows = rows_of(table["approximation"].values.tolist())
    x = shown.where(cut & table["value"].notnull())
    arrow = {"color": style.REFERENCE, "size": style.marker_size(backend, 8)}
    canvas.draw("cut", draw_arrow, at(x, rows + 0 * x), defaults=arrow)
    text = write_each(format_estimate, table["value"], table["se"])
    right = x == x.max()
    align = xr.where(table["value"] > table.attrs["log_evidence"], "right", "left")
    align = align if np.isfinite(table.attrs["log_evidence"]) else xr.where(right, "right", "left")
    canvas.draw(
        "value", annotate_text, at(x, rows + 0.3 + 0 * x), text=text, horizontal_align=align,
        defaults={"color": "B1", "size": canvas.letters(8)},
    )  # fmt: skip


def _draw_evidence(canvas: Canvas, table: xr.Dataset, n: int) -> None:
    """Draw log Z as a line through all rows, its interval as a band."""
    log_z, se, half = (table.attrs[key] for key in ("log_evidence", "se", "half"))
    if not np.isfinite(log_z):
        return
    ends = (-0.6, n - 0.5)
    canvas.decorate("evidence", draw_line, x=(log_z, log_z), y=ends, defaults={"color": "B2", "width": 1.0})
    if np.isfinite(half):
        band = {"color": style.REFERENCE_LIGHT, "alpha": 0.8}
        canvas.decorate("evidence_interval", fill_band, x=(log_z - half, log_z + half), y=ends, defaults=band)
    low, high = _limits(table)
    side = ("left", "center", "right")[int(np.digitize((log_z - low) / ((high - low) or 1.0), EDGES))]
    text = {"color": "B1", "size": canvas.letters(9), "vertical_align": "bottom", "horizontal_align": side}
    label = f"log Z {format_estimate(log_z, se)}"
    canvas.decorate("evidence_text", write, x=log_z, y=n - 0.5, text=label, defaults=text)


def _note(table: xr.Dataset, cut: xr.DataArray) -> str:
    """Write which bounds are cut, and what is unknown."""
    names, known, lines = table["approximation"].values, table["value"].notnull(), []
    if far := names[(cut & known).any("direction")].tolist():
        lines.append(f"Bounds far from log Z are cut: {listed(far)}.")
    if lost := names[~known.any("direction")].tolist():
        lines.append(f"No density, so no bounds: {listed(lost)}.")
    if not np.isfinite(table.attrs["log_evidence"]):
        lines.append("Log Z is unknown; it lies between each ELBO and EUBO, up to their errors.")
    return "\n".join(lines)
