"""Plots with a row for each approximation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from pymc_kl.plots.parts import style
from pymc_kl.plots.parts.axes import set_ticks, wrap_name
from pymc_kl.plots.parts.contract import Aesthetics, Canvas, known_approximations

ROW_INCHES = 0.42  # height of an approximation's row
ROW_NAME_CHARACTERS = 32  # most characters of a line of a name


def row_aesthetics(dt: xr.DataTree, names: Sequence[str], backend: str) -> Aesthetics:
    """Map color and marker to the approximations shown, and overlay without values."""
    known = known_approximations(dt)
    colors, markers = style.approximation_colors(known), style.approximation_markers(known, backend)
    return {
        "color": (["approximation"], [colors[name] for name in names]),
        "marker": (["approximation"], [markers[name] for name in names]),
        "overlay": (["approximation"], [None] * len(names)),
    }


def rows_of(names: Sequence[str]) -> xr.DataArray:
    """Return the height of each approximation's row, the first on top."""
    return xr.DataArray(np.arange(len(names))[::-1].astype(float), {"approximation": list(names)}, ["approximation"])


def label_rows(canvas: Canvas, names: Sequence[str], labeller: Any) -> None:
    """Write the names beside the rows, long ones on two lines."""
    labels = [labeller.sel_to_str({"approximation": name}, {"approximation": i}) for i, name in enumerate(names)]
    wrapped = [wrap_name(label, ROW_NAME_CHARACTERS, 2) for label in labels]
    canvas.decorate("ticklabels", set_ticks, axis="y", ticks=rows_of(names).values, labels=wrapped)
