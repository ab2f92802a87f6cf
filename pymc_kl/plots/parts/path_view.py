"""The masses and divergences along a path, and the scalars that change most."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from pymc_kl._typing import Array
from pymc_kl.comparison.formats import format_estimate
from pymc_kl.model.table_names import OF_PATHS, distinct
from pymc_kl.plots.parts import style
from pymc_kl.plots.parts.captions import listed
from pymc_kl.plots.parts.contract import Selection, select_variables
from pymc_kl.plots.parts.course import Course, best_course
from pymc_kl.plots.parts.scalars import Scalars

PANELS = ("divergence", "mass")  # the first two facets; the others are scalars
BRANCH_HEADROOM = 2.0  # height up to which branches are drawn, as a multiple of the best branch's largest divergence


@dataclass(frozen=True, eq=False)
class PathView:
    """The numbers of a path that are drawn.

    Attributes
    ----------
    path, switches : Dataset
    course : Course
        Of the best fit.
    labels : list of str
        Of the P scalars shown.
    mean, sd : DataArray (order, branch, scalar)
    truth, truth_sd : array (P,)
    mass : DataArray (order, branch, mode)
        Of the modes with a colour; 0 is everything else.
    reference_mass : array (K,)
    note : str
        The switches, and what is left out.
    """

    path: xr.Dataset
    switches: xr.Dataset
    course: Course
    labels: list[str]
    mean: xr.DataArray
    sd: xr.DataArray
    truth: Array
    truth_sd: Array
    mass: xr.DataArray
    reference_mass: Array
    note: str


def read_path(path: Any, selection: Selection, n: int, labeller: Any) -> PathView:
    """Read a path: its course, its masses, and the n scalars that change most."""
    if not isinstance(path, xr.DataTree) or not {"path", "switches", "parameters"} <= set(path.children):
        raise TypeError(f"expected a path, the DataTree that divergence_path() returns; got {type(path).__name__}.")
    ds, switches = path["path"].to_dataset(), path["switches"].to_dataset()
    table = select_variables(path["parameters"].to_dataset(), *selection, OF_PATHS)
    scalars = Scalars(table.isel(order=0, branch=0, statistic=0, drop=True))
    mean, sd, truth, truth_sd = _statistics(table, path["reference_parameters"].to_dataset(), scalars)
    course = best_course(ds, switches)
    columns, choice = _choose(course, mean, sd, truth, truth_sd, n)
    mass, reference_mass = _masses(ds, path["reference"].to_dataset())
    return PathView(
        path=ds,
        switches=switches,
        course=course,
        labels=distinct(scalars.labels(columns, labeller), PANELS) if columns else [],
        mean=mean.isel(scalar=columns),
        sd=sd.isel(scalar=columns),
        truth=truth[columns],
        truth_sd=truth_sd[columns],
        mass=mass,
        reference_mass=reference_mass,
        note="\n".join(filter(None, [*_say_switches(switches), _say_hidden(ds, course), choice])),
    )


def _statistics(table: xr.Dataset, reference: xr.Dataset, scalars: Scalars) -> tuple[Any, Any, Array, Array]:
    """Return mean and sd of every scalar, of the fits (order, branch, scalar) and of the reference (D,)."""
    parts = [(table[name].sel(sel), reference[name].sel(sel)) for name, sel in scalars.sources()]
    own = xr.concat([part.reset_coords(drop=True).rename("value") for part, _ in parts], "scalar")
    truth = np.array([[float(part.sel(statistic=name)) for _, part in parts] for name in ("mean", "sd")])
    return own.sel(statistic="mean", drop=True), own.sel(statistic="sd", drop=True), truth[0], truth[1]


def _choose(course: Course, mean: Any, sd: Any, truth: Array, truth_sd: Array, n: int) -> tuple[list[int], str]:
    """Choose the n scalars whose mean and sd change most in the best fit, in sds of the posterior."""
    scale = np.where(truth_sd > 0, truth_sd, np.inf)
    moved = (np.ptp(course.values(mean), axis=0) + np.ptp(course.values(sd), axis=0)) / scale
    usable = np.flatnonzero(np.isfinite(truth + truth_sd + moved))
    chosen = sorted(int(j) for j in usable[np.argsort(-moved[usable], kind="stable")[:n]])
    if len(chosen) == len(truth):
        return chosen, ""
    return chosen, f"{len(chosen)} of {len(truth)} scalars are shown: those that the path moves most."


def _masses(ds: xr.Dataset, reference: xr.Dataset) -> tuple[xr.DataArray, Array]:
    """Return the masses of the heaviest modes, which have a colour, and of everything else as mode 0."""
    weight = np.fmax(reference["mass"].values, ds["mass"].max(["order", "branch"]).values)
    kept = np.sort(np.argsort(-weight, kind="stable")[: len(style.MODES)])
    mass, truth = ds["mass"].isel(mode=kept), reference["mass"].values[kept]
    rest = (1 - mass.sum("mode", skipna=False)).clip(min=0).expand_dims(mode=[0])
    return xr.concat([mass, rest], "mode").transpose("order", "branch", "mode"), np.append(truth, 1 - truth.sum())


def _say_switches(switches: xr.Dataset) -> list[str]:
    rows = zip(*(switches[name].values for name in ("at", "at_se", "from_branch", "to_branch")), strict=True)
    return [f"At α = {format_estimate(at, se)} the best fit jumps from {one} to {two}." for at, se, one, two in rows]


def _say_hidden(ds: xr.Dataset, course: Course) -> str:
    """Write which branches lie above the axis at every order."""
    lowest = ds["divergence"].min("order")
    hidden = lowest["branch"].values[(lowest > BRANCH_HEADROOM * course.values(ds["divergence"]).max()).values]
    return f"Too far from the posterior to be in the picture: {listed(hidden.tolist())}." if len(hidden) else ""
