"""Texts that differ from place to place: titles, and numbers of modes, written once where several lie close."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import xarray as xr
from arviz_plots.visuals import annotate_xy, labelled_title

from pymc_kl._typing import Array

CLOSE = 0.05  # of the picture's width: numbers nearer than that can't be told apart


def groups_of_modes(places: Array) -> list[list[int]]:
    """Group the modes (positions from 0) whose places (K, P), as shares of the picture, are close."""
    groups: list[list[int]] = []
    for k in np.flatnonzero(np.isfinite(places).all(axis=1)):
        near = (group for group in groups if np.linalg.norm(places[group[0]] - places[k]) < CLOSE)
        if (group := next(near, None)) is not None:
            group.append(int(k))
        else:
            groups.append([int(k)])
    return groups


def name_group(group: Sequence[int], missed: Collection[int] = ()) -> str:
    """Write the numbers of modes (positions from 0) such as `1, 4`, and which of them are missed."""
    lost = [k + 1 for k in group if k + 1 in missed]
    name = _join([k + 1 for k in group])
    if not lost:
        return name
    return f"{name} missed" if len(lost) == len(group) else f"{name} ({_join(lost)} missed)"


def _join(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def annotate_text(da: xr.DataArray, target: Any, *, text: Any, **kwargs: Any) -> Any:
    """Write a text that differs from place to place."""
    return annotate_xy(da, target, text=str(text.item()), **kwargs)


def title_facet(da: xr.DataArray, target: Any, *, text: Any, **kwargs: Any) -> Any:
    """Title a facet with a text of its own."""
    return labelled_title(da, target, text=str(text.item()), **kwargs)
