"""The DataTree of a path: divergence, masses and moments of each fit, and where the best branch changes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pymc_kl._typing import Array, IntArray
from pymc_kl.fitting.points import balanced_normals
from pymc_kl.model.table_names import free_names
from pymc_kl.modes.assign import CanonicalPoints
from pymc_kl.modes.masses import masses_from_independent
from pymc_kl.modes.modes import Modes
from pymc_kl.modes.numbering import mode_numbers
from pymc_kl.numerics.estimate import Estimate, mean_estimate
from pymc_kl.renyi.alpha_divergence import AlphaDivergence, alpha_divergence
from pymc_kl.renyi.branches import Branch
from pymc_kl.renyi.problem import PathFit, PathProblem
from pymc_kl.scores.marginals import Source, describe

MEASURED_DRAWS = 1000  # draws of q by which its masses and moments are measured; our choice
N_ERRORS = 2  # standard errors of a difference within which two branches count as equal; our choice


@dataclass(frozen=True, eq=False)
class Path:
    """All branches of a path, and the posterior that their fits are compared with."""

    problem: PathProblem
    modes: Modes
    orders: Array
    branches: dict[str, Branch]

    def to_datatree(self, canonical: CanonicalPoints, rng: np.random.Generator) -> xr.DataTree:
        """Measure every fit, with the same random numbers for all, and build the groups."""
        z, few = (balanced_normals(n, self.problem.target.d, rng) for n in (len(self.problem.z), MEASURED_DRAWS))
        path, sources = self._empty(), {}
        for order, name, fit in self._fits():
            own = self.modes.canonical(fit.loc + few @ fit.scale_tril.T)
            sources[order, name] = Source(own.x, np.full(MEASURED_DRAWS, 1 / MEASURED_DRAWS))
            measured = alpha_divergence(fit, order, self.problem, fit.loc + z @ fit.scale_tril.T)
            _enter(path.loc[{"order": order, "branch": name}], fit, order, measured, own.mode)
        path["best"] = ("order", _best(path))
        groups = {"path": path, "switches": _switches(path), "reference": self._reference(canonical)}
        return xr.DataTree.from_dict(groups | self._parameters(canonical, sources))

    def _fits(self) -> Iterator[tuple[float, str, PathFit]]:
        """Yield every fit with its order and branch."""
        for name, branch in self.branches.items():
            for order, fit in zip(self.orders, branch, strict=True):
                if fit is not None:
                    yield order, name, fit

    def _empty(self) -> xr.Dataset:
        """Make the group `path`, filled with NaN."""
        labels = list(self.problem.target.labels)
        lead: dict[str, Any] = {"order": self.orders, "branch": list(self.branches)}
        coords = lead | {"coordinate": labels, "other_coordinate": labels, "mode": mode_numbers(self.modes.k)}
        scalars = ("divergence", "renyi", "elsewhere")
        dims: dict[str, tuple[str, ...]] = {name + end: () for name in scalars for end in ("", "_se")}
        dims |= {"ess": (), "mass": ("mode",), "mass_se": ("mode",)}
        dims |= {"loc": ("coordinate",), "covariance": ("coordinate", "other_coordinate")}
        shape = {name: (*lead, *own) for name, own in dims.items()}
        return xr.Dataset(
            {name: (own, np.full([len(coords[dim]) for dim in own], np.nan)) for name, own in shape.items()}, coords
        )

    def _reference(self, canonical: CanonicalPoints) -> xr.Dataset:
        """Masses of the modes by counting draws."""
        reference = self.problem.reference
        mode = canonical.mode.reshape(reference.log_density.shape)
        counted = [mean_estimate((mode == k).astype(float), reference.weights) for k in [*range(self.modes.k), -1]]
        mass, se = np.array(counted).T
        ds = xr.Dataset(
            {"mass": ("mode", mass[:-1]), "mass_se": ("mode", se[:-1])}, {"mode": mode_numbers(self.modes.k)}
        )
        ds["elsewhere"], ds["elsewhere_se"] = mass[-1], se[-1]
        ds["log_evidence"], ds["log_evidence_se"] = self.problem.log_evidence
        return ds

    def _parameters(
        self, canonical: CanonicalPoints, sources: dict[tuple[float, str], Source]
    ) -> dict[str, xr.Dataset]:
        """Tabulate the variables of every fit, over order and branch, and of the reference."""
        weights = self.problem.reference.flat_weights
        n = len(canonical.x)
        p = Source(canonical.x, np.full(n, 1 / n) if weights is None else weights)
        keys = list(sources)
        table = describe(self.problem.target, p, {str(i): sources[key] for i, key in enumerate(keys)})
        table = free_names(table, ("order", "branch"))
        rows = table.isel(source=slice(1, None)).drop_vars("source")
        index = pd.MultiIndex.from_tuples(keys, names=["order", "branch"])
        rows = rows.assign_coords(xr.Coordinates.from_pandas_multiindex(index, "source")).unstack("source")
        rows = rows.reindex(order=self.orders, branch=list(self.branches)).transpose(
            "order", "branch", "statistic", ...
        )
        return {"parameters": rows, "reference_parameters": table.isel(source=0, drop=True)}


def _enter(row: xr.Dataset, fit: PathFit, order: float, measured: AlphaDivergence, mode: IntArray) -> None:
    """Write the measures of one fit to its row."""
    masses = masses_from_independent(mode, row.sizes["mode"])
    values = {
        "divergence": measured.value, "divergence_se": measured.se, "renyi": order * measured.value,
        "renyi_se": order * measured.se if order else 0.0, "ess": measured.ess,
        "loc": fit.loc, "covariance": fit.covariance, "mass": masses.mass[:-1], "mass_se": masses.se[:-1],
        "elsewhere": masses.mass[-1], "elsewhere_se": masses.se[-1],
    }  # fmt: skip
    for name, value in values.items():
        row[name][...] = value


def _best(path: xr.Dataset) -> Array:
    """Name the lowest branch at each order, empty without any; of equal ones, such as mirror images, the first."""
    value, se = path["divergence"].values.copy(), path["divergence_se"].values
    for j in range(value.shape[1]):
        for i in range(j):
            gap, error = value[:, i] - value[:, j], np.hypot(se[:, i], se[:, j])
            both = np.isfinite(gap)
            if both.any() and (np.abs(gap) <= N_ERRORS * error)[both].all():
                value[both, j] = np.nan
    names = path["branch"].values[np.where(np.isnan(value), np.inf, value).argmin(axis=1)]
    return np.where(np.isnan(value).all(axis=1), "", names)


def _switches(path: xr.Dataset) -> xr.Dataset:
    """Find where the best branch changes to another that exists beside it."""
    best, orders = path["best"].values, path["order"].values
    rows = []
    for i in np.flatnonzero((best[1:] != best[:-1]) & (best[1:] != "") & (best[:-1] != "")):
        pair = path.isel(order=[i, i + 1])
        at = _crossing(pair.sel(branch=best[i]), pair.sel(branch=best[i + 1]))
        if at is not None:
            rows.append((*at, orders[i], orders[i + 1], best[i], best[i + 1]))
    table = pd.DataFrame(rows, columns=["at", "at_se", "lower", "upper", "from_branch", "to_branch"])
    numbers = {name: ("switch", table[name].to_numpy(float)) for name in table.columns[:4]}
    return xr.Dataset(numbers | {name: ("switch", table[name].to_numpy("U20")) for name in table.columns[4:]})


def _crossing(one: xr.Dataset, two: xr.Dataset) -> Estimate | None:
    """Interpolate where two branches are equal, between two orders; None where they exist at no order together.

    Where they are together at one order only, it may be anywhere between.
    """
    gap = (one["divergence"] - two["divergence"]).values
    if np.isnan(gap).all():
        return None
    start, end = one["order"].values
    step = end - start
    if not np.isfinite(gap).all():
        return Estimate(start + step / 2, step / np.sqrt(12))
    error = np.hypot(one["divergence_se"].values, two["divergence_se"].values).max()
    return Estimate(start + step * gap[0] / (gap[0] - gap[1]), step * error / abs(gap[0] - gap[1]))
