"""Draws → mean, standard deviation and tails of every variable in the model's own space, with standard errors.

All draws are those relabelled to one copy of their mode, so that moments of labelled variables mean something.
Shapes: n draws; a variable has any shape of its own.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.stats import wasserstein_distance

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.model.table_names import OF_PARAMETERS, free_names
from pymc_kl.model.target import Target
from pymc_kl.modes.masses import NORMAL_95, Masses
from pymc_kl.modes.numbering import to_region
from pymc_kl.scores.thinning import independent_size, slowest_ess, thin_within_modes

INTERVAL_TAIL = 0.05  # probability on either side of the central interval, which so has 90 %
MAX_DRAWS = 4000  # most draws of a source that are mapped to the model's own space; bounds time; our choice
SKEWED = 7 / 4  # times the squared skewness over n, what it adds to the variance of z; Hall 1992
SUM_ROUNDING = 1e-12  # probability by which sums of weights may be off
STATISTICS = (
    "mean", "mean_se", "sd", "sd_se", "lower", "lower_se", "upper", "upper_se", "wasserstein",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Source:
    """Draws x (n, d) with weights (n,) that sum to 1; mode (n,) and masses only where masses have errors."""

    x: Array
    weights: Array
    mode: IntArray | None = None
    masses: Masses | None = None

    def thinned(self) -> "Source":
        """Take at most 4,000 of the draws, of each mode its part, which stands for the same mass."""
        mode = np.zeros(len(self.x), dtype=np.int64) if self.mode is None else self.mode
        part = min(MAX_DRAWS / max(len(self.x), 1), 1.0)
        counts = zip(*np.unique(mode, return_counts=True), strict=True)
        rows, weights = thin_within_modes(mode, self.weights, {int(k): math.ceil(part * n) for k, n in counts})
        return Source(self.x[rows], weights / weights.sum(), None if self.mode is None else mode[rows], self.masses)

    @classmethod
    def of_chains(cls, x: Array, log_density: Array, mode: IntArray, masses: Masses) -> "Source":
        """Take nearly independent draws of chains x (n, d), one after another, by the slowest coordinate in each mode.

        They have the masses' part in all errors; log p̃ (n,) counts as a coordinate.
        """
        columns = np.column_stack([x, log_density])
        sizes = {}
        for k in np.unique(mode):
            inside = columns[mode == k]
            sizes[int(k)] = independent_size(len(inside), slowest_ess(inside))
        rows, weights = thin_within_modes(mode, np.full(len(x), 1 / len(x)), sizes)
        return cls(x[rows], weights, mode[rows], masses)


def modes_alone(reference: Source, k: int) -> dict[int, Source]:
    """Divide draws by mode: what each of K modes says by itself, by its number from 1; modes without draws have none.

    The masses of the modes have no part in the errors.
    """
    if reference.mode is None:
        return {}
    region, alone = to_region(reference.mode, k), {}
    for j in range(k):
        rows = np.flatnonzero((region == j) & (reference.weights > 0))
        if len(rows):
            weights = reference.weights[rows]
            alone[j + 1] = Source(reference.x[rows], weights / weights.sum())
    return alone


def reference_label(names: Sequence[str], label: str = "reference") -> str:
    """Return a name for the reference, or for another source, that no approximation bears."""
    while label in names:
        label += " draws"
    return label


def describe(target: Target, reference: Source, approximations: Mapping[str, Source]) -> xr.Dataset:
    """Tabulate the posterior and its approximations, variable by variable.

    Returns
    -------
    Dataset
        Every variable over (source, statistic, its own dims): `mean`, `sd`, the ends `lower` and `upper` of the
        central 90 % interval, each with its standard error; and the 1-Wasserstein distance from the reference.
        All are in the variable's own unit. The first source is the reference.
    """
    sources = [reference.thinned(), *(source.thinned() for source in approximations.values())]
    spaces = [free_names(target.to_dataset(s.x[None]).isel(chain=0, drop=True), OF_PARAMETERS) for s in sources]
    columns = {}
    for name, first in spaces[0].data_vars.items():
        truth = first.values.astype(float)
        rows = [
            _statistics(ds[name].values.astype(float), s, truth, sources[0])
            for ds, s in zip(spaces, sources, strict=True)
        ]
        columns[name] = xr.DataArray(np.stack(rows), dims=["source", "statistic", *first.dims[1:]])
    coords = {dim: values for dim, values in spaces[0].coords.items() if dim != "draw"}
    labels = {"source": [reference_label(list(approximations)), *approximations], "statistic": list(STATISTICS)}
    return xr.Dataset(columns, coords={**coords, **labels})


def describe_modes_alone(target: Target, modes: Mapping[int, Source]) -> xr.Dataset:
    """Tabulate each mode by itself: every variable over (mode, statistic, its own dims), in the variable's own unit.

    The statistics are `mean`, `sd` and the ends of the central 90 % interval, each with its standard error.
    """
    rows = []
    for source in (each.thinned() for each in modes.values()):
        ds = free_names(target.to_dataset(source.x[None]).isel(chain=0, drop=True), (*OF_PARAMETERS, "mode"))
        columns = {}
        for name, values in ds.data_vars.items():
            flat = values.values.reshape(len(source.x), -1).astype(float)
            with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
                found = np.stack([*moments(flat, source).values()]).reshape(-1, *values.shape[1:])
            columns[name] = xr.DataArray(found, dims=["statistic", *values.dims[1:]])
        coords = {dim: labels for dim, labels in ds.coords.items() if dim != "draw"}
        rows.append(xr.Dataset(columns, coords))
    table: xr.Dataset = xr.concat(rows, dim="mode").assign_coords(mode=list(modes), statistic=list(STATISTICS[:-1]))
    return table


def _statistics(values: Array, source: Source, truth: Array, reference: Source) -> Array:
    """All statistics (S, *shape) of draws (n, *shape)."""
    shape, w = values.shape[1:], source.weights
    flat, right = values.reshape(len(values), -1), truth.reshape(len(truth), -1)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        columns = [*moments(flat, source).values()]
    distance = _distances(right, flat, reference.weights, w) if values is not truth else np.zeros(flat.shape[1])
    return np.stack([*columns, distance]).reshape(len(STATISTICS), *shape)


def moments(values: Array, source: Source) -> dict[str, Array]:
    """Estimate mean, sd and the ends of the central 90 % interval of draws (n, D): each (D,), and its error."""
    w = source.weights
    mean = w @ values
    squared = (values - mean) ** 2
    sd = np.sqrt(w @ squared)
    found = {"mean": mean, "mean_se": mean_se(values, source), "sd": sd}
    found["sd_se"] = np.where(sd > 0, mean_se(squared, source) / (2 * sd), 0.0)
    for name, prob in (("lower", INTERVAL_TAIL), ("upper", 1 - INTERVAL_TAIL)):
        found[name], found[f"{name}_se"] = _quantile(values, source, prob)
    return found


def _distances(first: Array, second: Array, w: Array, v: Array) -> Array:
    """Compute the 1-Wasserstein distance of each column (D,) of draws (n, D) and (m, D) with weights (n,) and (m,)."""
    finite = np.isfinite(first).all(axis=0) & np.isfinite(second).all(axis=0)
    first, second = first[:, finite], second[:, finite]
    distances = np.full(len(finite), np.nan)
    if len(first) == len(second) and np.ptp(w) == np.ptp(v) == 0:  # then it is that of the draws in their order
        distances[finite] = np.abs(np.sort(first, axis=0) - np.sort(second, axis=0)).mean(axis=0)
    else:
        distances[finite] = [wasserstein_distance(a, b, w, v) for a, b in zip(first.T, second.T, strict=True)]
    return distances


def _quantile(values: Array, source: Source, prob: float) -> tuple[Array, Array]:
    """Quantile of each column; its standard error is that of a normal with the 95 % interval between two others.

    They are those at the ends of the interval of the part of all draws that lies up to the quantile.
    """
    order = np.argsort(values, axis=0)
    ranked = np.take_along_axis(values, order, axis=0)
    below = np.cumsum(source.weights[order], axis=0)

    def at(probs: Array) -> Array:
        index = (below < np.clip(probs, 0, 1) - SUM_ROUNDING).sum(axis=0)
        return np.take_along_axis(ranked, np.minimum(index, len(values) - 1)[None], axis=0)[0]

    middle = at(np.full(values.shape[1], prob))
    se = mean_se((values <= middle).astype(float), source)
    reach = NORMAL_95 * np.where(se > 0, se, np.sqrt(prob * (1 - prob) * (source.weights**2).sum()))
    return middle, (at(prob + reach) - at(prob - reach)) / (2 * NORMAL_95)


def mean_se(values: Array, source: Source) -> Array:
    """Standard error of the weighted mean of draws (n, ...): from the draws within each mode, and from the masses."""
    everywhere = np.tensordot(source.weights, values, axes=1)
    if source.mode is None or source.masses is None:
        return np.asarray(np.sqrt(_independent_variance(source.weights, values - everywhere)))
    masses = source.masses
    region = to_region(source.mode, len(masses.mass) - 1)
    local = np.stack([_mean_within(values, source.weights, region == j, everywhere) for j in range(len(masses.mass))])
    within = _independent_variance(source.weights, values - local[region])
    if masses.covariance is not None:
        between = np.einsum("i...,ij,j...->...", local, masses.covariance, local)
    else:
        variance = masses.se**2 / np.maximum(np.maximum(1 - masses.mass, masses.se), np.finfo(float).tiny)
        between = np.tensordot(variance, (local - np.tensordot(masses.mass, local, axes=1)) ** 2, axes=1)
    return np.asarray(np.sqrt(within + np.maximum(between, 0.0)))


def _independent_variance(weights: Array, deviations: Array) -> Array:
    """Variance of a sum of independent terms, given their weights (n,) and deviations (n, ...).

    Terms of skewness g come with a sum and an error that are too small together, so that z has a variance of
    1 + 7 g² / 4 n (Hall 1992, doi:10.1007/978-1-4612-4384-7): this is made up for.
    """
    squared = deviations**2
    squares = np.tensordot(weights**2, squared, axes=1)
    cubes = np.tensordot(weights**3, squared * deviations, axes=1)
    skew = cubes**2 / np.where(squares > 0, squares, 1.0) ** 3
    return np.asarray(squares * (1 + SKEWED * skew))


def _mean_within(values: Array, weights: Array, inside: BoolArray, otherwise: Array) -> Array:
    """Mean of the draws inside a region; where there are none, the mean that is given."""
    total = weights[inside].sum()
    return np.tensordot(weights[inside], values[inside], axes=1) / total if total > 0 else otherwise
