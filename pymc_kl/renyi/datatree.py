"""The fits along a path, measured: how far each is from p, which modes it holds, and where the best of them changes."""

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
from pymc_kl.renyi.alpha_fit import Distance, PathFit, PathProblem, distance
from pymc_kl.scores.marginals import Source, describe

N_FOLDED = 1000  # draws of q that its masses and moments are measured on
N_ERRORS = 2  # standard errors within which two branches are equal

type Fits = list[PathFit | None]


@dataclass(frozen=True, eq=False)
class Path:
    """All branches, and what it takes to measure them."""

    problem: PathProblem
    modes: Modes
    orders: Array
    branches: dict[str, Fits]

    def to_datatree(self, canonical: CanonicalPoints, rng: np.random.Generator) -> xr.DataTree:
        """Measure every fit, with the same random numbers, and lay out what was found."""
        z, few = (balanced_normals(n, self.problem.target.d, rng) for n in (len(self.problem.z), N_FOLDED))
        fits = {
            (order, name): fit
            for name, row in self.branches.items()
            for order, fit in zip(self.orders, row, strict=True)
        }
        path, sources = self._empty(), {}
        for (order, name), fit in fits.items():
            if fit is None:
                continue
            x = fit.loc + z @ fit.scale_tril.T
            own = self.modes.canonical(fit.loc + few @ fit.scale_tril.T)
            sources[order, name] = Source(own.x, np.full(N_FOLDED, 1 / N_FOLDED))
            measured = distance(fit, order, self.problem, x)
            _enter(path.loc[{"order": order, "branch": name}], fit, order, measured, own.mode)
        path["best"] = ("order", _best(path))
        groups = {"path": path, "switches": _switches(path), "reference": self._reference(canonical)}
        return xr.DataTree.from_dict(groups | self._parameters(canonical, sources))

    def _empty(self) -> xr.Dataset:
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
        label = canonical.mode.reshape(reference.log_density.shape)
        counted = [mean_estimate((label == k).astype(float), reference.weights) for k in [*range(self.modes.k), -1]]
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


def _enter(row: xr.Dataset, fit: PathFit, order: float, measured: Distance, mode: IntArray) -> None:
    """Write what was measured of one fit in its place."""
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
    """Find where the best branch gives way to another that exists beside it."""
    best, orders = path["best"].values, path["order"].values
    rows = []
    for i in np.flatnonzero((best[1:] != best[:-1]) & (best[1:] != "") & (best[:-1] != "")):
        pair = path.isel(order=[i, i + 1])
        one, two = (pair.sel(branch=name) for name in (best[i], best[i + 1]))
        gap = (one["divergence"] - two["divergence"]).values
        if np.isnan(gap).all():  # one branch goes over into the other
            continue
        step = orders[i + 1] - orders[i]
        at = Estimate(orders[i] + step / 2, step / np.sqrt(12))
        if np.isfinite(gap).all():
            error = np.hypot(one["divergence_se"].values, two["divergence_se"].values).max()
            at = Estimate(orders[i] + step * gap[0] / (gap[0] - gap[1]), step * error / abs(gap[0] - gap[1]))
        rows.append((*at, orders[i], orders[i + 1], best[i], best[i + 1]))
    table = pd.DataFrame(rows, columns=["at", "at_se", "lower", "upper", "from_branch", "to_branch"])
    numbers = {name: ("switch", table[name].to_numpy(float)) for name in table.columns[:4]}
    return xr.Dataset(numbers | {name: ("switch", table[name].to_numpy("U20")) for name in table.columns[4:]})
