"""The densities of single scalars by mode, a facet for each scalar."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from arviz_plots import PlotCollection
from arviz_plots.plot_collection import backend_from_object
from arviz_plots.visuals import fill_between_y, line_xy, remove_axis, scatter_x
from arviz_stats.base import array_stats

from pymc_kl._typing import Array
from pymc_kl.modes.numbering import mode_numbers
from pymc_kl.plots.parts import style
from pymc_kl.plots.parts.axes import wrap_name
from pymc_kl.plots.parts.captions import annotate_text, group_line, join_numbers, title_facet
from pymc_kl.plots.parts.contract import Aesthetics, Canvas, open_collection
from pymc_kl.plots.parts.legend import legend_height
from pymc_kl.plots.parts.view import NAMED, View
from pymc_kl.scores.marginals import reference_label

MARGINAL_FACET_INCHES = (2.9, 2.3)  # width and height of a facet
MARGINAL_TITLE_CHARACTERS = 28  # most characters of a line of a long title, in its smaller letters
COLUMNS = 3  # columns of facets; two for four facets
MARGINAL_HEADROOM = 0.14  # room for the numbers of the modes above the densities, as a part of their height
MIN_DISTINCT_DRAWS = 10  # distinct values of the draws below which no density is drawn
GRID = 256  # points of the grid of ArviZ's kernel density estimate

MARGINAL_AESTHETICS = {
    "reference": ["facecolor"],
    "reference_line": ["color", "linestyle", "width", "legendgroup"],
    "approximations": ["color", "linestyle", "width", "legendgroup"],
    "location": [],
    "mode_label": ["overlay_mode"],
}


def open_marginal(view: View, backend: str, pc_kwargs: Mapping[str, Any]) -> PlotCollection:
    """Make the figure: facets are scalars; color and linestyle distinguish approximations, facecolor modes."""
    names = list(view.approximations)
    colors, lines = style.approximation_colors(view.known), style.approximation_linestyles(view.known)
    rows: dict[str, list[Any]] = {
        "scalar": view.labels,
        "approximation": [reference_label(names), *names],
        "mode": view.modes,
    }
    data = xr.Dataset({"density": (list(rows), np.zeros([len(row) for row in rows.values()]))}, coords=rows)
    aesthetics: Aesthetics = {
        "color": (["approximation"], [style.REFERENCE, *(colors[name] for name in names)]),
        "linestyle": (["approximation"], ["C0", *(lines[name] for name in names)]),
        "width": (["approximation"], [3.0, *[1.8] * len(names)]),
        "facecolor": (["mode"], style.mode_colors(view.modes)),
        "overlay_mode": (["mode"], [None] * len(view.modes)),
    }
    kwargs: dict[str, Any] = {"cols": ["scalar"], "col_wrap": 2 if len(view.labels) == 4 else COLUMNS} | dict(pc_kwargs)
    columns = min(len(view.labels), kwargs["col_wrap"] or len(view.labels))
    size = (
        MARGINAL_FACET_INCHES[0] * columns + 2,
        max(MARGINAL_FACET_INCHES[1] * -(-len(view.labels) // columns) + 0.5, legend_height(names)),
    )
    return open_collection(data, aesthetics, backend=backend, size=size, pc_kwargs=kwargs)


def draw_marginal(canvas: Canvas, view: View, backend: str, labeller: Any) -> None:
    """Draw the reference's density, with an area for each mode, and the approximations' over it."""
    scalars = xr.DataArray(view.labels, dims="scalar", name="scalar")
    columns = range(len(view.labels))
    areas = [_areas(view, column) for column in columns]
    totals = [_total(area, *view.limits(column)) for area, column in zip(areas, columns, strict=True)]
    lines = xr.concat(totals, scalars, join="outer")
    curves = xr.concat([_curves(view, column) for column in columns], scalars)
    by_mode = xr.concat(areas, scalars).rename(plot_axis="kwarg").pad(kwarg=(0, 1), constant_values=0)
    by_mode = by_mode.assign_coords(kwarg=["x", "y_top", "y_bottom"])
    by_mode = by_mode.where(by_mode.sel(kwarg="x").notnull())
    canvas.draw("reference", _fill, by_mode, defaults={"facecolor": style.REFERENCE, "alpha": 0.7})
    label = reference_label(list(view.approximations))
    thick = {"color": style.REFERENCE, "width": 3.0}
    canvas.draw("reference_line", line_xy, lines.expand_dims(approximation=[label]), defaults=thick)
    tops = _tops(lines, curves)
    cut = curves.where((curves["plot_axis"] == "x") | (curves <= tops))
    canvas.draw("approximations", line_xy, cut, defaults={"color": style.REFERENCE, "width": 1.8})
    _mark_locations(canvas, view, by_mode, tops, backend)
    _decorate(canvas, view, tops, labeller)


def _areas(view: View, column: int) -> xr.DataArray:
    """Return each mode's density times its mass (mode, plot_axis, point); NaN for a mode with too few draws."""
    x, n = view.reference[:, column], len(view.mode)
    share = {0: (view.mode == 0).sum() / n} | dict(enumerate(np.nan_to_num(view.masses).tolist(), start=1))
    values = [_density(x[view.mode == mode]) * [[1.0], [share[mode]]] for mode in view.modes]
    return xr.DataArray(
        values, dims=["mode", "plot_axis", "point"], coords={"mode": view.modes, "plot_axis": ["x", "y"]}
    )


def _density(x: Array) -> Array:
    """Return the grid and values of ArviZ's kernel density, (2, GRID)."""
    x = x[np.isfinite(x)]
    if len(np.unique(x)) < MIN_DISTINCT_DRAWS:
        return np.full((2, GRID), np.nan)
    grid, density, _ = array_stats.kde(x, grid_len=GRID)
    return np.stack([grid, density])


def _total(areas: xr.DataArray, low: float, high: float) -> xr.DataArray:
    """Sum the modes' densities on a grid with points of each mode's own grid."""
    drawn = [area for area in areas.values if np.isfinite(area).all()]
    own = [area[0, :: max(1, len(drawn) // 4)] for area in drawn]
    grid = np.unique(np.concatenate([np.linspace(low, high, GRID), *own]))
    y = sum((np.interp(grid, x, density, left=0.0, right=0.0) for x, density in drawn), np.zeros(len(grid)))
    coords = {"plot_axis": ["x", "y"], "point": np.arange(len(grid))}
    return xr.DataArray([grid, y], coords, ["plot_axis", "point"])


def _curves(view: View, column: int) -> xr.DataArray:
    """Return the density of each approximation (approximation, plot_axis, point)."""
    values = [_density(x[:, column]) for x in view.approximations.values()]
    coords = {"approximation": list(view.approximations), "plot_axis": ["x", "y"]}
    return xr.DataArray(np.reshape(values, (-1, 2, GRID)), coords, ["approximation", "plot_axis", "point"])


def _fill(da: xr.DataArray, target: Any, *, facecolor: str, **kwargs: Any) -> Any:
    return fill_between_y(da, target, color=facecolor, **kwargs)


def _tops(lines: xr.DataArray, curves: xr.DataArray) -> xr.DataArray:
    """Return the height of each facet, at most about twice the reference's: a spike would flatten it."""
    reference = lines.sel(plot_axis="y", drop=True).max("point")
    if not curves.size:
        return 1.04 * reference
    others = curves.sel(plot_axis="y", drop=True).max(["approximation", "point"]).fillna(0)
    shown = others.clip(max=2 * reference).clip(min=reference)
    return 1.04 * shown.where(reference > 0, others)


def _mark_locations(canvas: Canvas, view: View, areas: xr.DataArray, tops: xr.DataArray, backend: str) -> None:
    """Mark each mode's location on the axis, and write the numbers of the heaviest modes above their densities.

    A maximum over all coordinates may lie where the density of one is low; a mode without a density has its number
    above its location.
    """
    coords = {"scalar": view.labels, "mode": mode_numbers(len(view.locations))}
    x = xr.DataArray(view.locations.T, coords, ["scalar", "mode"])
    tick = {"color": "B1", "marker": "|", "size": style.marker_size(backend, 10), "width": 1.5}
    canvas.draw("location", scatter_x, x, defaults=tick)
    x = _peaks(areas).reindex_like(x.isel(mode=slice(NAMED))).fillna(x)
    text = xr.full_like(x, "", dtype=object)
    middle = xr.full_like(x, np.nan)
    for i, positions in enumerate(x.values):
        for group in group_line(positions / np.subtract(*view.limits(i)[::-1])):
            middle[i, group[0]], text[i, group[0]] = positions[group].mean(), join_numbers(group)
    label = {"color": "B1", "size": canvas.letters(9)}
    canvas.draw("mode_label", annotate_text, middle, defaults=label, text=text, y=(1 + MARGINAL_HEADROOM / 2) * tops)


def _peaks(areas: xr.DataArray) -> xr.DataArray:
    """Return where the density of each mode is highest (scalar, mode); NaN for a mode without one."""
    highest = areas.sel(kwarg="y_top", drop=True).fillna(-1.0).argmax("point")
    return areas.sel(kwarg="x", drop=True).isel(point=highest).transpose("scalar", "mode")


def _decorate(canvas: Canvas, view: View, tops: xr.DataArray, labeller: Any) -> None:
    collection = canvas.collection
    ends = np.transpose([view.limits(column) for column in range(len(view.labels))])
    limits = xr.DataArray(ends, {"scalar": view.labels}, ["end", "scalar"])
    collection.facet_map(_set_limits, x=limits, top=tops, store_artist=False)
    titles = [wrap_name(label, MARGINAL_TITLE_CHARACTERS) for label in view.labels]
    small = {"size": canvas.letters(10)} if max(map(len, view.labels)) > MARGINAL_TITLE_CHARACTERS * 3 // 4 else {}
    text = xr.DataArray(titles, {"scalar": view.labels}, ["scalar"])
    canvas.decorate("title", title_facet, text=text, defaults=small)
    canvas.decorate("remove_axis", remove_axis, defaults={"axis": "y"})
    canvas.legend("approximation", labeller=labeller)


def _set_limits(_da: xr.DataArray, target: Any, *, x: xr.DataArray, top: xr.DataArray) -> None:
    backend = backend_from_object(target)
    backend.xlim(tuple(x.values.tolist()), target)
    backend.ylim((0.0, (1 + MARGINAL_HEADROOM) * top.item()), target)
