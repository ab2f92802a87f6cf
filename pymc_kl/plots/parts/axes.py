"""Limits, ticks and labels of axes, names broken into lines, and where to cut values far larger than the others."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from arviz_plots.plot_collection import backend_from_object
from scipy.stats import norm

from pymc_kl._typing import Array

CUT = 4.0  # multiple of the median above which a value is cut: the others would be too flat to read
BARELY = 1.5  # multiple of that limit up to which nothing is cut, since it would gain little
NAME_LINES = 5  # most lines of a name
PARTS = re.compile(r"\[?[^_./\[\],\- ]+[_./\],\- ]*|[_./\[\],\- ]+")  # parts of a name, each with its separator


def half_width(se: Any, prob: float) -> Any:
    """Return half the width of a normal interval; NaN where it is not finite."""
    width = norm.isf((1 - prob) / 2) * se
    return xr.where(np.isfinite(width), width, np.nan)


def cut_above(sizes: Array) -> float:
    """Return the largest size that is not far above the median; larger ones are cut there."""
    known = np.abs(sizes[np.isfinite(sizes)])
    if not known.size or not known.max():
        return 1.0
    limit = BARELY * CUT * float(np.median(known))
    kept = known[known <= limit] if limit > 0 else known
    return float(kept.max())


def wrap_name(name: str, width: int, lines: int = NAME_LINES) -> str:
    """Break a long name into lines between its parts; past the last allowed line it ends in an ellipsis."""
    words = [part for word in name.split(" ") for part in _parts(word, width)]
    written = [""]
    for word in words:
        if len(written[-1].rstrip() + word.rstrip()) > width and written[-1]:
            written.append("")
        written[-1] += word
    written = [line.rstrip() for line in written]
    return "\n".join(written if len(written) <= lines else [*written[: lines - 1], f"{written[lines - 1]} …"])


def _parts(word: str, width: int) -> list[str]:
    """Split a word wider than a line into its parts, and parts wider than a line into slices."""
    parts = PARTS.findall(word) if len(word) > width else [word]
    slices = [part[i : i + width] for part in parts for i in range(0, len(part), width)] or [""]
    return [*slices[:-1], f"{slices[-1]} "]


def lines_of(text: str, backend: str) -> str:
    """Write line breaks as the backend reads them, and as plain text what plotly would take for markup."""
    if backend != "plotly":
        return text
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", "<br>")


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
    made = np.empty((), dtype=object)  # Matplotlib returns a list, which must stay one element of `viz`
    made[()] = getattr(backend, f"{axis}ticks")(ticks, written, target, **kwargs)
    return made


def label_axis(_da: xr.DataArray, target: Any, *, axis: str, text: str, here: Any = True, **kwargs: Any) -> Any:
    """Label an axis, in the facets where `here` holds."""
    if not here:
        return None
    text = lines_of(text, backend_from_object(target, return_module=False))
    return getattr(backend_from_object(target), f"{axis}label")(text, target, **kwargs)


def rim(collection: Any) -> tuple[xr.DataArray, xr.DataArray]:
    """Return which facets are the lowest of their column, and which are in the first column."""
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
