"""Pictures with a row an approximation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from pymc_kl.plots.parts.axes import set_ticks, wrap_name
from pymc_kl.plots.parts.contract import Canvas

ROW_INCHES = 0.42
NAME_CHARACTERS = 32  # characters of a line


def rows_of(names: Sequence[str]) -> xr.DataArray:
    """Height of each approximation's row, the first on top."""
    return xr.DataArray(np.arange(len(names))[::-1].astype(float), {"approximation": list(names)}, ["approximation"])


def label_rows(canvas: Canvas, names: Sequence[str], labeller: Any) -> None:
    """Write the names beside the rows, on two lines if they are long."""
    labels = [labeller.sel_to_str({"approximation": name}, {"approximation": i}) for i, name in enumerate(names)]
    wrapped = [wrap_name(label, NAME_CHARACTERS, 2) for label in labels]
    canvas.decorate("ticklabels", set_ticks, axis="y", ticks=rows_of(names).values, labels=wrapped)
