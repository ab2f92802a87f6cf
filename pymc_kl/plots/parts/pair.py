"""The modes in two scalars, a facet for each approximation."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from arviz_plots import PlotCollection
from arviz_plots.visuals import scatter_xy, set_xlim, set_ylim

from pymc_kl._typing import Array
from pymc_kl.modes.numbering import mode_numbers
from pymc_kl.plots.parts import style
from pymc_kl.plots.parts.axes import label_axis, rim, wrap_name
from pymc_kl.plots.parts.captions import annotate_text, group_points, join_numbers, name_missed, title_facet
from pymc_kl.plots.parts.contract import MIN_WIDTH, Aesthetics, Canvas, open_collection
from pymc_kl.plots.parts.scalars import spread
from pymc_kl.plots.parts.view import NAMED, View

MAX_PAIR_POINTS = 6_000  # most points in all facets together: larger SVGs are slow to open
PAIR_FACET_INCHES = (2.9, 2.8)  # width and height of a facet
COLUMNS = 3  # columns of facets; two for four facets
CHARACTERS = 28  # most characters of a line of a long title or label, in its smaller letters


def open_pair(view: View, backend: str, pc_kwargs: Mapping[str, Any]) -> PlotCollection:
    """Make the figure: facets are approximations; color distinguishes them, facecolor and marker modes."""
    names, colors = list(view.approximations), style.approximation_colors(view.known)
    facets = names or ["reference"]
    data = xr.Dataset(
        {"draws": (("approximation", "mode"), np.zeros((len(facets), len(view.modes))))},
        coords={"approximation": facets, "mode": view.modes},
    )
    aesthetics: Aesthetics = {
        "color": (["approximation"], [colors.get(name, style.REFERENCE) for name in facets]),
        "facecolor": (["mode"], style.mode_colors(view.modes)),
        "marker": (["mode"], style.mode_markers(view.modes, backend)),
        "overlay": (["approximation"], [None] * len(facets)),
        "overlay_mode": (["mode"], [None] * len(view.modes)),
    }
    kwargs: dict[str, Any] = {"cols": ["approximation"], "col_wrap": 2 if len(facets) == 4 else COLUMNS} | dict(
        pc_kwargs
    )
    columns = min(len(facets), kwargs["col_wrap"] or len(facets))
    size = (max(PAIR_FACET_INCHES[0] * columns, MIN_WIDTH), PAIR_FACET_INCHES[1] * -(-len(facets) // columns) + 0.5)
    return open_collection(data, aesthetics, backend=backend, size=size, pc_kwargs=kwargs)


PAIR_AESTHETICS = {
    "reference": ["facecolor", "marker", "overlay"],
    "approximations": ["color", "overlay", "legendgroup"],
    "location": ["overlay"],
    "other_locations": ["overlay"],
    "mode_label": ["overlay", "overlay_mode"],
    "missed_text": ["overlay", "overlay_mode"],
}


def draw_pair(canvas: Canvas, view: View, backend: str, labeller: Any, *, max_draws: int) -> None:
    """Draw the reference by mode, the approximation over it, and the modes' locations and numbers."""
    facets = canvas.collection.data["approximation"].values
    n = max(1, min(max_draws, int(MAX_PAIR_POINTS / (1.5 * len(facets)))))
    row = np.unique(np.linspace(0, len(view.mode) - 1, min(len(view.mode), n)).astype(int))
    reference = _points(view.reference[row], "draw").assign_coords(mode=("draw", view.mode[row]))
    canvas.draw(
        "reference", _scatter, reference.expand_dims(approximation=facets),
        defaults={"facecolor": style.REFERENCE, "size": style.marker_size(backend, 4)},
    )  # fmt: skip
    draws = [_points(spread(x, -(-n // 2)), "draw") for x in view.approximations.values()]
    if draws:
        over = xr.concat(draws, "approximation", join="outer").assign_coords(approximation=facets)
        dots = {"color": style.REFERENCE, "size": style.marker_size(backend, 2), "alpha": 0.5}
        canvas.draw("approximations", scatter_xy, over, defaults=dots)
    _mark_modes(canvas, view, backend)
    _decorate(canvas, view, labeller)


def _points(x: Array, dim: str) -> xr.DataArray:
    return xr.DataArray(x, dims=[dim, "plot_axis"], coords={"plot_axis": ["x", "y"]})


def _scatter(da: xr.DataArray, target: Any, *, facecolor: str, **kwargs: Any) -> Any:
    """Scatter points with edges of their own colour."""
    return scatter_xy(da, target, color=facecolor, **kwargs)


def _mark_modes(canvas: Canvas, view: View, backend: str) -> None:
    """Mark the modes: the heaviest by a disc with a number, and a label where the approximation misses one."""
    facets = canvas.collection.data["approximation"].values
    numbers = mode_numbers(len(view.locations))
    locations = _points(view.locations, "mode").assign_coords(mode=numbers).expand_dims(approximation=facets)
    height = np.subtract(*view.limits(1)[::-1])
    groups = group_points(view.locations[:NAMED] / [np.subtract(*view.limits(0)[::-1]), height])
    named = locations.isel(mode=[group[0] for group in groups])
    disc = {"size": style.marker_size(backend, 14), "facecolor": "B0", "edgecolor": "B1", "width": 0.8}
    dot = {"size": style.marker_size(backend, 3), "color": "B1"}
    canvas.draw("other_locations", scatter_xy, locations.isel(mode=slice(NAMED, None)), defaults=dot)
    canvas.draw("location", scatter_xy, named, defaults=disc)
    text = {"color": "B1", "size": canvas.letters(8)}
    blank = named.isel(plot_axis=0, drop=True)
    number = blank.copy(data=[[join_numbers(group) for group in groups]] * len(facets))
    canvas.draw("mode_label", annotate_text, named, defaults=text, text=number)
    missed = blank.copy(data=[[name_missed(group, row) for group in groups] for row in _missed(view)])
    below = named - xr.DataArray([0.0, 0.08 * height], {"plot_axis": ["x", "y"]}, ["plot_axis"])
    canvas.draw("missed_text", annotate_text, below.where(missed != ""), defaults=text, text=missed)


def _missed(view: View) -> list[set[int]]:
    """Return the modes (counted from 0) that each facet's approximation misses."""
    return [set(np.flatnonzero(row)) for row in view.missed.values] or [set()]


def _decorate(canvas: Canvas, view: View, labeller: Any) -> None:
    collection, (x, y) = canvas.collection, (view.limits(column) for column in range(2))
    collection.facet_map(set_xlim, limits=x, store_artist=False)
    collection.facet_map(set_ylim, limits=y, store_artist=False)
    names = collection.viz["plot"]["approximation"]
    coordinates = [({"approximation": name}, {"approximation": i}) for i, name in enumerate(names.values)]
    labels = [labeller.sel_to_str(*selection) for selection in coordinates]
    titles = [wrap_name(label, CHARACTERS) for label in labels]
    small = {"size": canvas.letters(10)} if max(map(len, labels), default=0) > CHARACTERS * 3 // 4 else {}
    canvas.decorate("title", title_facet, text=names.copy(data=titles), defaults=small)
    lowest, first = rim(collection)
    canvas.decorate("xlabel", label_axis, axis="x", text=wrap_name(view.labels[0], CHARACTERS), here=lowest)
    canvas.decorate("ylabel", label_axis, axis="y", text=wrap_name(view.labels[1], CHARACTERS), here=first)
