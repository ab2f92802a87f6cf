"""Draws → mean, standard deviation and tails of every variable in the model's own space, with standard errors.

All draws are those relabelled to one copy of their mode, so that moments of labelled variables mean something.
Shapes: n draws; a variable has any shape of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.stats import wasserstein_distance

from pymc_kl._typing import Array, IntArray
from pymc_kl.model.table_names import OF_PARAMETERS, free_names
from pymc_kl.model.target import Target
from pymc_kl.modes.masses import Masses

INTERVAL_TAIL = 0.05  # probability on either side of the central interval, which so has 90 %
MAX_DRAWS = 4000  # most draws of a source that are mapped to the model's own space; bounds time; our choice
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
        """Take at most 4,000 of the draws, evenly."""
        rows = np.linspace(0, len(self.x) - 1, min(len(self.x), MAX_DRAWS)).astype(int)
        weights = self.weights[rows] / self.weights[rows].sum()
        return Source(self.x[rows], weights, None if self.mode is None else self.mode[rows], self.masses)


def reference_label(names: Sequence[str]) -> str:
    """Return a name for the reference that no approximation bears."""
    label = "reference"
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


def _statistics(values: Array, source: Source, truth: Array, reference: Source) -> Array:
    """All statistics (S, *shape) of draws (n, *shape)."""
    shape, w = values.shape[1:], source.weights
    flat, right = values.reshape(len(values), -1), truth.reshape(len(truth), -1)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean = w @ flat
        centred = flat - mean
        variance = w @ centred**2
        sd = np.sqrt(variance)
        sd_se = np.sqrt((w**2) @ (centred**2 - variance) ** 2) / (2 * sd)
        columns = [mean, mean_se(flat, source), sd, np.where(sd > 0, sd_se, 0.0)]
        for prob in (INTERVAL_TAIL, 1 - INTERVAL_TAIL):
            columns += _quantile(flat, w, prob)
    distance = [
        _distance(right[:, j], flat[:, j], reference.weights, w) if values is not truth else 0.0
        for j in range(flat.shape[1])
    ]
    return np.stack([*columns, np.array(distance)]).reshape(len(STATISTICS), *shape)


def _distance(first: Array, second: Array, w: Array, v: Array) -> float:
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return float("nan")
    return float(wasserstein_distance(first, second, w, v))


def _quantile(values: Array, weights: Array, prob: float) -> tuple[Array, Array]:
    """Quantile of each column; its standard error is half the distance of the quantiles at `prob` ± its own error."""
    delta = np.sqrt(prob * (1 - prob) * (weights**2).sum())
    probs = np.clip([prob - delta, prob, prob + delta], 0, 1)
    low, middle, high = np.quantile(values, probs, axis=0, weights=weights, method="inverted_cdf")
    return middle, (high - low) / 2


def mean_se(values: Array, source: Source) -> Array:
    """Standard error of the weighted mean of draws (n, ...): from the draws within each mode, and from the masses."""
    if source.mode is None or source.masses is None:
        centred = values - np.tensordot(source.weights, values, axes=1)
        return np.asarray(np.sqrt(np.tensordot(source.weights**2, centred**2, axes=1)))
    mode, masses = source.mode, source.masses
    k = len(masses.mass) - 1
    everywhere = np.tensordot(source.weights, values, axes=1)  # for modes without draws and for elsewhere
    means = [values[mode == j].mean(axis=0) if (mode == j).any() else everywhere for j in range(k)]
    local = np.stack([*means, everywhere])
    residual, local = values - local[mode], local[:k]
    within = np.tensordot(source.weights**2, residual**2, axes=1)
    if masses.covariance is not None:
        between = np.einsum("i...,ij,j...->...", local, masses.covariance[:k, :k], local)
    else:
        centred = local - np.tensordot(masses.mass[:k], local, axes=1)
        between = np.tensordot(masses.se[:k] ** 2, centred**2, axes=1) if k > 1 else 0.0
    return np.asarray(np.sqrt(within + np.maximum(between, 0.0)))
