"""Densities and contributions to both divergences along one axis, a facet for each approximation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from arviz_plots import PlotCollection
from arviz_plots.visuals import fill_between_y, line_xy

from pymc_kl._typing import Array
from pymc_kl.plots.parts import style
from pymc_kl.plots.parts.axes import label_axis, rim, set_limits, wrap_name
from pymc_kl.plots.parts.captions import annotate_text, title_facet
from pymc_kl.plots.parts.contract import Aesthetics, Canvas, open_facets
from pymc_kl.plots.parts.shapes import draw_line

CURVE_FACET_INCHES = (3.7, 2.7)  # width and height of a facet
CURVE_TITLE_CHARACTERS = 42  # most characters of a line of a facet's title
ROOM = 0.3  # room for the two numbers above the curves, as a part of their height
CONTRIBUTION_HEIGHT = 3.0  # height of the largest contribution over that of p's density, in a marginal plot
SPIKE = 4.0  # height over that of p's density at which q's is cut, in a marginal plot
CURVES = {
    "p (reference)": (style.REFERENCE, "C0", 5.0),
    "q (in its colour)": (style.REFERENCE, "C3", 1.5),
    "forward: p·log(p/q)": (style.FORWARD, "C0", 2.2),
    "reverse: q·log(q/p)": (style.REVERSE, "C1", 2.2),
}

CURVE_AESTHETICS = {
    "reference": ["overlay"],
    "approximations": ["approximation_color"],
    "forward": ["overlay"],
    "reverse": ["overlay"],
    "value": ["overlay"],
}


@dataclass(frozen=True, eq=False)
class Curves:
    """The curves of A approximations, over n points or between n edges.

    Attributes
    ----------
    names, known : list of str
        Approximations shown, and all of the comparison, which determine the colours.
    x : array (n,)
    p : array (n,) or (n - 1,)
    q, forward, reverse : array (A, n) or (A, n - 1)
        Density of q, and contributions in nats for each bin, or in nats per unit of x.
    values : list of [str, str]
        Forward and reverse KL of each approximation, as text.
    limits : pair of float
    is_binned : bool
        Values lie between edges, and the densities are not to scale.
    """

    names: list[str]
    known: list[str]
    x: Array
    p: Array
    q: Array
    forward: Array
    reverse: Array
    values: list[list[str]]
    limits: tuple[float, float]
    xlabel: str
    ylabel: str
    is_binned: bool
    note: str


def open_curves(curves: Curves, backend: str, pc_kwargs: Mapping[str, Any]) -> PlotCollection:
    """Make the figure: facets are approximations; color, linestyle and width distinguish the curves."""
    colors = style.approximation_colors(curves.known)
    coords = {"approximation": curves.names, "curve": list(CURVES)}
    data = xr.Dataset({"density": (list(coords), np.zeros((len(curves.names), len(CURVES))))}, coords)
    color, line, width = (list(values) for values in zip(*CURVES.values(), strict=True))
    aesthetics: Aesthetics = {
        "color": (["curve"], color),
        "linestyle": (["curve"], line),
        "width": (["curve"], width),
        "overlay": (["approximation"], [None] * len(curves.names)),
        "approximation_color": (["approximation"], [colors[name] for name in curves.names]),
    }
    n = len(curves.names)
    return open_facets(data, aesthetics, n, backend=backend, inches=CURVE_FACET_INCHES, pc_kwargs=pc_kwargs)


def _points(curves: Curves, values: Array) -> xr.DataArray:
    """Lay out values (A, n) as lines, or (A, n - 1) as steps between the edges."""
    x, y = curves.x, np.atleast_2d(values)
    if curves.is_binned:
        x, y = np.repeat(x, 2)[1:-1], np.repeat(y, 2, axis=-1)
    y = np.broadcast_to(np.where(np.isfinite(y), y, np.nan), (len(curves.names), len(x)))
    coords = {"approximation": curves.names, "plot_axis": ["x", "y"]}
    return xr.DataArray(
        np.stack([np.broadcast_to(x, y.shape), y], axis=1), coords, ["approximation", "plot_axis", "point"]
    )


def _scale(curves: Curves) -> Array:
    """Return the factor of the densities in each facet (A, 1); 1 along the line, where they are to scale."""
    if not curves.is_binned:
        return np.ones((len(curves.names), 1))
    sizes = np.abs(np.stack([curves.forward, curves.reverse]))
    highest = np.where(np.isfinite(sizes), sizes, 0).max(axis=(0, 2))
    highest[highest == 0] = 1.0
    return np.asarray((highest / (CONTRIBUTION_HEIGHT * max(curves.p.max(), 1e-300)))[:, None])


def draw_curves(canvas: Canvas, curves: Curves, labeller: Any) -> None:
    """Draw the densities and the contributions, and write the divergences."""
    scale = _scale(curves)
    area = _points(curves, scale * curves.p)
    area = xr.concat([area, 0 * area.sel(plot_axis=["y"])], "plot_axis")
    area = area.assign_coords(plot_axis=["x", "y_top", "y_bottom"]).rename(plot_axis="kwarg")
    grey = {"color": style.REFERENCE_LIGHT}
    canvas.draw("reference", fill_between_y, area, defaults=grey)
    cut = np.minimum(curves.q, SPIKE * curves.p.max()) if curves.is_binned else curves.q
    own = {"width": 1.5, "linestyle": "C3"}
    canvas.draw("approximations", _line, _points(curves, scale * cut), defaults=own)
    for name, values, key in zip(
        ("forward", "reverse"), (curves.forward, curves.reverse), list(CURVES)[2:], strict=True
    ):
        color, line, width = CURVES[key]
        defaults = {"color": color, "linestyle": line, "width": width}
        canvas.draw(name, line_xy, _points(curves, values), defaults=defaults)
    _decorate(canvas, curves, _heights(curves, scale * cut, scale * curves.p), labeller)


def _line(da: xr.DataArray, target: Any, *, approximation_color: str = style.REFERENCE, **kwargs: Any) -> Any:
    return line_xy(da, target, **{"color": approximation_color} | kwargs)


def _heights(curves: Curves, q: Array, p: Array) -> Array:
    """Return the lower and upper end of each facet (A, 2), with room for the numbers."""
    inside = slice(None) if curves.is_binned else (curves.x >= curves.limits[0]) & (curves.x <= curves.limits[1])
    rows = [curves.forward, curves.reverse, q, np.broadcast_to(p, q.shape)]
    values = np.concatenate([row[:, inside] for row in rows], axis=1)
    values = np.where(np.isfinite(values), values, 0)
    low, high = values.min(axis=1), values.max(axis=1)
    height = np.maximum(high - low, 1e-12)
    return np.stack([np.minimum(low - 0.06 * height, 0), high + ROOM * height], axis=-1)


def _decorate(canvas: Canvas, curves: Curves, heights: Array, labeller: Any) -> None:
    collection, names = canvas.collection, curves.names
    facets = xr.DataArray(names, {"approximation": names}, ["approximation"])
    y = xr.DataArray(heights, {"approximation": names}, ["approximation", "end"])
    collection.facet_map(set_limits, x=curves.limits, y=y, store_artist=False)
    zero = {"color": "B3", "width": 0.8}
    canvas.decorate("zero", draw_line, x=curves.limits, y=(0.0, 0.0), defaults=zero)
    labels = [labeller.sel_to_str({"approximation": name}, {"approximation": i}) for i, name in enumerate(names)]
    titles = [wrap_name(label, CURVE_TITLE_CHARACTERS, 2) for label in labels]
    canvas.decorate("title", title_facet, text=facets.copy(data=titles), defaults={"size": canvas.letters(10)})
    lowest, first = rim(collection)
    canvas.decorate("xlabel", label_axis, axis="x", text=wrap_name(curves.xlabel, CURVE_TITLE_CHARACTERS), here=lowest)
    canvas.decorate("ylabel", label_axis, axis="y", text=curves.ylabel, here=first)
    written = [f"forward KL {forward}\nreverse KL {reverse}" for forward, reverse in curves.values]
    left = curves.limits[0] + 0.02 * (curves.limits[1] - curves.limits[0])
    corners = [[left, high - 0.02 * (high - low)] for low, high in heights]
    coords = {"approximation": names, "plot_axis": ["x", "y"]}
    corner = xr.DataArray(corners, coords, list(coords))
    text = {"color": "B1", "size": canvas.letters(8), "horizontal_align": "left", "vertical_align": "top"}
    canvas.draw("value", annotate_text, corner, text=facets.copy(data=written), defaults=text)
    below = {"loc": "outside lower center", "ncols": 4 if len(names) > 1 else 2}
    canvas.legend("curve", **(below if collection.backend == "matplotlib" else {}))
