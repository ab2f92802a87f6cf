"""Texts with a value for each facet or point: titles, and the numbers of modes, joined where several lie close."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import xarray as xr
from arviz_plots.plot_collection import backend_from_object
from arviz_plots.visuals import annotate_xy, labelled_title

from pymc_kl._typing import Array
from pymc_kl.plots.parts.axes import lines_of

DISC_DISTANCE = 0.055  # distance below which discs hide each other's number, in widths of a facet
LISTED = 4  # most names in a note
DIGIT = 0.028  # width of a character, in widths of a facet


def group_points(points: Array) -> list[list[int]]:
    """Group the modes (counted from 0) whose points (K, 2), in widths and heights of the facet, lie close."""
    groups: list[list[int]] = []
    for k in np.flatnonzero(np.isfinite(points).all(axis=1)):
        near = (group for group in groups if np.linalg.norm(points[group[0]] - points[k]) < DISC_DISTANCE)
        if (group := next(near, None)) is not None:
            group.append(int(k))
        else:
            groups.append([int(k)])
    return groups


def group_line(positions: Array) -> list[list[int]]:
    """Group the modes (counted from 0) whose numbers would overlap at their points (K,) on a line."""
    groups = [[int(k)] for k in np.argsort(positions) if np.isfinite(positions[k])]
    i = 1
    while i < len(groups):
        left, right = groups[i - 1 : i + 1]
        needed = DIGIT * (len(join_numbers(left)) + len(join_numbers(right)) + 1) / 2
        if positions[right].mean() - positions[left].mean() < needed:
            groups[i - 1 : i + 1] = [sorted(left + right)]
            i = max(i - 1, 1)
        else:
            i += 1
    return groups


def join_numbers(group: Sequence[int]) -> str:
    """Write the numbers of modes (counted from 0)."""
    return ",".join(str(k + 1) for k in group)


def listed(names: Sequence[str]) -> str:
    """List names; of many, the first few and how many more."""
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def write_each(function: Callable[..., str], first: xr.DataArray, *others: xr.DataArray) -> xr.DataArray:
    """Write a text for each element of `first` and the elements of the others at the same position."""
    text = np.empty(first.shape, dtype=object)
    columns = [da.transpose(*first.dims).values for da in (first, *others)]
    for index in np.ndindex(first.shape):
        text[index] = function(*(float(column[index]) for column in columns))
    return first.copy(data=text)


def name_missed(group: Sequence[int], missed: Collection[int]) -> str:
    """Write which modes of a group (counted from 0) are missed; nothing if none is."""
    lost = [k for k in group if k in missed]
    if not lost:
        return ""
    return "missed" if len(lost) == len(group) else f"{join_numbers(lost)} missed"


def annotate_text(da: xr.DataArray, target: Any, *, text: Any, **kwargs: Any) -> Any:
    """Write the text of one point."""
    return annotate_xy(da, target, text=str(text.item()), **kwargs)


def title_facet(da: xr.DataArray, target: Any, *, text: Any, **kwargs: Any) -> Any:
    """Write the title of one facet."""
    text = lines_of(str(text.item()), backend_from_object(target, return_module=False))
    return labelled_title(da, target, text=text, **kwargs)
