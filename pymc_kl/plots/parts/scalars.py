"""The scalars of a posterior, and the choice of a few to show.

A scalar is a variable, or one element of an array, in the model's own space. Shapes: n draws, D scalars, P
of them chosen, K modes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import xarray as xr
from arviz_base import xarray_sel_iter

from pymc_kl._typing import Array, IntArray
from pymc_kl.modes.numbering import mode_numbers

QUANTILES = (np.arange(100) + 0.5) / 100  # probabilities of the quantiles by which two marginals are compared
CANDIDATES = 50  # most scalars that are tried as the second of a pair; bounds time
CONSTANT = 1e-10  # standard deviation over largest absolute value, up to which a scalar counts as constant


@dataclass(frozen=True, eq=False)
class Scalars:
    """The elements of all variables of a Dataset without sample dims, in a fixed order."""

    template: xr.Dataset

    @property
    def n(self) -> int:
        """Return the number of scalars, D."""
        return sum(da.size for da in self.template.data_vars.values())

    def labels(self, columns: Sequence[int], labeller: Any) -> list[str]:
        """Return the names of some scalars, such as `mu[0]`."""
        found = list(islice(xarray_sel_iter(self.template, skip_dims=set()), max(columns) + 1))
        return [str(labeller.make_label_flat(*found[column])) for column in columns]

    def sources(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the variable and the coordinates of each scalar."""
        found = xarray_sel_iter(self.template, skip_dims=set())
        return [(str(name), {str(dim): label for dim, label in at.items()}) for name, at, _ in found]

    def matrix(self, ds: xr.Dataset, sample_dims: Sequence[str], columns: Sequence[int] | None = None) -> Array:
        """Return the draws as a matrix (n, P); NaN where `ds` has no finite value."""
        wanted = np.arange(self.n) if columns is None else np.asarray(columns)
        n = int(np.prod([ds.sizes[dim] for dim in sample_dims]))
        out = np.full((n, len(wanted)), np.nan)
        start = 0
        for name, one in self.template.data_vars.items():
            here = (wanted >= start) & (wanted < start + one.size)
            if name in ds and ds[name].size == n * one.size:
                values = ds[name].transpose(*sample_dims, ...).values.reshape(n, one.size)
                out[:, here] = values[:, wanted[here] - start]
            start += one.size
        return np.where(np.isfinite(out), out, np.nan)


def varies(x: Array) -> IntArray:
    """Return the columns of x (n, D) that are not constant."""
    return np.flatnonzero(_nan_std(x) > CONSTANT * np.abs(np.nan_to_num(x)).max(axis=0, initial=0.0))


def separating(x: Array, mode: IntArray, locations: Array, n: int, *, jointly: bool) -> list[int]:
    """Choose the columns of draws x (n, D) in which the modes lie furthest apart.

    They are ordered by the variance between modes over the variance within. Jointly, a pair is the first of
    these and the one with which it separates the modes best.
    """
    centres, within = _centres(x, mode, locations)
    ratio = np.nan_to_num(np.nanvar(centres, axis=0)) / within
    order = np.argsort(-ratio, kind="stable")
    if not jointly or len(order) < 3:
        return [int(j) for j in order[:n]]
    candidates = order[1:CANDIDATES]
    apart = (centres[:, None] - centres[None]) ** 2 / within
    together = 1 - np.exp(-(apart[..., order[:1]] + apart[..., candidates]) / 8)
    best = np.argmax(np.round(np.nanmean(together, axis=(0, 1)), 3))
    return [int(order[0]), int(candidates[best])]


def _centres(x: Array, mode: IntArray, locations: Array) -> tuple[Array, Array]:
    """Return each mode's mean, or location without draws, (K, D), and the variance within modes (D,)."""
    centres, residual = locations.copy(), x - _nan_mean(x)
    for k, number in enumerate(mode_numbers(len(locations))):
        inside = mode == number
        if inside.any():
            centres[k] = _nan_mean(x[inside])
            residual[inside] = x[inside] - centres[k]
    total = _nan_std(x) ** 2
    return centres, np.maximum(np.nan_to_num((_nan_std(residual)) ** 2), 1e-12 * total)


def differing(x: Array, others: Sequence[Array], n: int) -> list[int]:
    """Choose the columns in which the others differ most from x (n, D), by 1-Wasserstein distance over the sd."""
    if not others:
        return list(range(min(n, x.shape[1])))
    reference, sd = np.nanquantile(x, QUANTILES, axis=0), _nan_std(x)
    distances = [_scaled_wasserstein(reference, other, sd) for other in others]
    return [int(j) for j in np.argsort(-np.max(distances, axis=0), kind="stable")[:n]]


def _scaled_wasserstein(reference: Array, other: Array, sd: Array) -> Array:
    """Return each column's 1-Wasserstein distance from quantiles of the reference; 0 without draws."""
    known = np.isfinite(other).any(axis=0)
    distance = np.zeros(len(sd))
    gap = np.abs(np.nanquantile(other[:, known], QUANTILES, axis=0) - reference[:, known])
    distance[known] = gap.mean(axis=0) / sd[known]
    return distance


def _nan_mean(x: Array) -> Array:
    """Return the mean of each column's finite values; NaN, without a warning, where there are none."""
    count = np.isfinite(x).sum(axis=0)
    return np.asarray(np.where(count > 0, np.nansum(x, axis=0) / np.maximum(count, 1), np.nan))


def _nan_std(x: Array) -> Array:
    return np.asarray(np.sqrt(np.nan_to_num(_nan_mean((x - _nan_mean(x)) ** 2))))


def spread(x: Array, n: int) -> Array:
    """Return at most n of the draws, evenly spaced."""
    return x if len(x) <= n else x[np.linspace(0, len(x) - 1, n).astype(int)]


def select(ds: xr.Dataset, names: Sequence[str], coords: Mapping[str, Any]) -> xr.Dataset:
    """Select those variables and coordinates that `ds` has."""
    chosen = ds[[name for name in names if name in ds.data_vars]]
    return chosen.sel({dim: labels for dim, labels in coords.items() if dim in chosen.dims})
