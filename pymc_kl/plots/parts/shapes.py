"""Lines, bands, arrows and texts in any backend, and the points that define them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from arviz_plots.plot_collection import backend_from_object
from arviz_plots.visuals import line_xy, scatter_xy

ARROWS = {
    "matplotlib": {"up": "^", "down": "v", "left": "<", "right": ">"},
    "plotly": {"up": "triangle-up", "down": "triangle-down", "left": "triangle-left", "right": "triangle-right"},
    "bokeh": {"up": "triangle", "down": "inverted_triangle", "left": "triangle", "right": "triangle"},
}
TURNED = {"left": np.pi / 2, "right": -np.pi / 2}  # as Bokeh turns its triangles


def polyline(*corners: xr.DataArray) -> xr.DataArray:
    """Join points (plot_axis) into a line (plot_axis, point) that ends with a gap, for `draw_lines`."""
    return xr.concat([*corners, xr.full_like(corners[0], np.nan)], "point")


def at(x: xr.DataArray | float, y: xr.DataArray) -> xr.DataArray:
    """Join coordinates into points (…, plot_axis); a point with a NaN is NaN in both."""
    both = xr.concat(
        xr.broadcast(xr.zeros_like(y) + x, y), xr.DataArray(["x", "y"], dims="plot_axis", name="plot_axis")
    )
    return both.where(both.notnull().all("plot_axis"))


def draw_lines(da: xr.DataArray, target: Any, **kwargs: Any) -> Any:
    """Draw lines (…, plot_axis, point) as one visual with gaps."""
    flat = da.transpose("plot_axis", ..., "point")
    joined = xr.DataArray(flat.values.reshape(2, -1), {"plot_axis": flat["plot_axis"]}, ["plot_axis", "point"])
    return line_xy(joined, target, **kwargs)


def draw_arrow(da: xr.DataArray, target: Any, *, arrow: str, **kwargs: Any) -> Any:
    """Draw arrowheads that point up, down, left or right."""
    backend = backend_from_object(target, return_module=False)
    if backend == "bokeh" and arrow in TURNED:
        kwargs["angle"] = TURNED[arrow]
    return scatter_xy(da, target, marker=ARROWS.get(backend, ARROWS["matplotlib"])[arrow], **kwargs)


def fill_band(_da: xr.DataArray, target: Any, *, x: Any, y: Any, **kwargs: Any) -> Any:
    """Fill a rectangle."""
    bottom, top = (np.full(2, end) for end in y)
    return backend_from_object(target).fill_between_y(np.asarray(x), bottom, top, target, **kwargs)


def write(_da: xr.DataArray, target: Any, *, x: float, y: float, text: str, **kwargs: Any) -> Any:
    """Write one text."""
    return backend_from_object(target).text(x, y, text, target, **kwargs)


def draw_line(_da: xr.DataArray, target: Any, *, x: Sequence[float], y: Sequence[float], **kwargs: Any) -> Any:
    """Draw one line through points."""
    return backend_from_object(target).line(np.asarray(x), np.asarray(y), target, **kwargs)
