"""Axes that several pictures share: ticks, labels, names that wrap, and values that are cut for the others' sake."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from arviz_plots.plot_collection import backend_from_object
from arviz_plots.visuals import line_xy, scatter_xy
from scipy.stats import norm

from pymc_kl._typing import Array

CUT = 4.0  # a size is cut if it is this many times the median: the others would be too flat to read
BARELY = 1.5  # but not if it is hardly larger than the cut
NAME_LINES = 5
PARTS = re.compile(r"\[?[^_./\[\],\- ]+[_./\],\- ]*|[_./\[\],\- ]+")  # of a name, each with what ends it
ARROWS = {
    "matplotlib": {"up": "^", "down": "v", "left": "<", "right": ">"},
    "plotly": {"up": "triangle-up", "down": "triangle-down", "left": "triangle-left", "right": "triangle-right"},
    "bokeh": {"up": "triangle", "down": "inverted_triangle", "left": "triangle", "right": "triangle"},
}
TURNED = {"left": np.pi / 2, "right": -np.pi / 2}  # as Bokeh turns its triangles


def half_width(se: Any, prob: float) -> Any:
    """Half of a normal interval; NaN without a finite standard error, or for all of the probability."""
    width = norm.isf((1 - prob) / 2) * se
    return xr.where(np.isfinite(width), width, np.nan)


def cut_above(sizes: Array) -> float:
    """Return the largest of the sizes that are not far above the median: what is larger is to be cut there."""
    known = np.abs(sizes[np.isfinite(sizes)])
    if not known.size or not known.max():
        return 1.0
    limit = BARELY * CUT * float(np.median(known))
    kept = known[known <= limit] if limit > 0 else known
    return float(kept.max())


def wrap_name(name: str, width: int, lines: int = NAME_LINES) -> str:
    """Break a long name into lines, where its parts meet; more lines than there may be end in an ellipsis."""
    words = [part for word in name.split(" ") for part in _parts(word, width)]
    written = [""]
    for word in words:
        if len(written[-1].rstrip() + word.rstrip()) > width and written[-1]:
            written.append("")
        written[-1] += word
    written = [line.rstrip() for line in written]
    return "\n".join(written if len(written) <= lines else [*written[: lines - 1], f"{written[lines - 1]} …"])


def _parts(word: str, width: int) -> list[str]:
    """Cut a word that is wider than a line where its parts meet, and parts that are wider anywhere."""
    parts = PARTS.findall(word) if len(word) > width else [word]
    pieces = [part[i : i + width] for part in parts for i in range(0, len(part), width)] or [""]
    return [*pieces[:-1], f"{pieces[-1]} "]


def lines_of(text: str, backend: str) -> str:
    """Write line breaks as the backend has them."""
    return text.replace("\n", "<br>") if backend == "plotly" else text


def round_ticks(low: float, high: float, n: int = 6) -> Array:
    """Return about n round numbers between two ends."""
    raw = (high - low) / n
    scale = 10.0 ** np.floor(np.log10(raw))
    step = scale * next(factor for factor in (1, 2, 5, 10) if factor * scale >= raw)
    return np.asarray(np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step)


def set_ticks(_da: xr.DataArray, target: Any, *, axis: str, ticks: Any, labels: Sequence[str], **kwargs: Any) -> Any:
    """Set ticks and their labels."""
    backend = backend_from_object(target)
    written = [lines_of(label, backend.__name__.rpartition(".")[2]) for label in labels]
    made = np.empty((), dtype=object)  # Matplotlib returns a list, which `viz` holds as one visual
    made[()] = getattr(backend, f"{axis}ticks")(ticks, written, target, **kwargs)
    return made


def label_axis(_da: xr.DataArray, target: Any, *, axis: str, text: str, here: Any = True, **kwargs: Any) -> Any:
    """Label an axis of the facets that lie at the rim."""
    if not here:
        return None
    text = lines_of(text, backend_from_object(target, return_module=False))
    return getattr(backend_from_object(target), f"{axis}label")(text, target, **kwargs)


def rim(collection: Any) -> tuple[xr.DataArray, xr.DataArray]:
    """Say which facets lie lowest in their column, and which in the first one."""
    row, column = collection.viz["row_index"], collection.viz["col_index"]
    lowest = row.copy(data=[int(row.where(column == c).max()) for c in column.values])
    return row == lowest, column == 0


def set_limits(_da: xr.DataArray, target: Any, *, x: Any = None, y: Any = None) -> None:
    """Set the limits of one axis or both; they may differ from facet to facet."""
    backend = backend_from_object(target)
    for axis, limits in (("x", x), ("y", y)):
        if limits is not None:
            low, high = np.asarray(limits, dtype=float)
            getattr(backend, f"{axis}lim")((float(low), float(high)), target)


def polyline(*corners: xr.DataArray) -> xr.DataArray:
    """Join points (plot_axis) into one line (plot_axis, point) that ends with a gap, for `draw_lines`."""
    return xr.concat([*corners, xr.full_like(corners[0], np.nan)], "point")


def at(x: xr.DataArray | float, y: xr.DataArray) -> xr.DataArray:
    """Make points (…, plot_axis) of their coordinates; NaN in one leaves none."""
    both = xr.concat(
        xr.broadcast(xr.zeros_like(y) + x, y), xr.DataArray(["x", "y"], dims="plot_axis", name="plot_axis")
    )
    return both.where(both.notnull().all("plot_axis"))


def draw_lines(da: xr.DataArray, target: Any, **kwargs: Any) -> Any:
    """Draw the lines (…, plot_axis, point) of all that is not told apart as one visual with gaps."""
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
    """Fill a rectangle between two ends each way."""
    bottom, top = (np.full(2, end) for end in y)
    return backend_from_object(target).fill_between_y(np.asarray(x), bottom, top, target, **kwargs)


def write(_da: xr.DataArray, target: Any, *, x: float, y: float, text: str, **kwargs: Any) -> Any:
    """Write one text."""
    return backend_from_object(target).text(x, y, text, target, **kwargs)


def draw_line(_da: xr.DataArray, target: Any, *, x: Sequence[float], y: Sequence[float], **kwargs: Any) -> Any:
    """Draw one line through points."""
    return backend_from_object(target).line(np.asarray(x), np.asarray(y), target, **kwargs)
