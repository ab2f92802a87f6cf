"""Draws, modes and their locations in a few scalars of the model's own space."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from pymc_kl._typing import Array, IntArray
from pymc_kl.comparison.datatree import fit_groups
from pymc_kl.model.table_names import LOCATION, OF_MODES, distinct, free_coords, free_name
from pymc_kl.plots.parts import style
from pymc_kl.plots.parts.contract import SAMPLE_DIMS, Selection, known_approximations, select_variables, subset
from pymc_kl.plots.parts.scalars import Scalars, differing, select, separating, spread, varies

SCALAR_CHOICE_DRAWS = 1000  # draws of the reference and of each approximation by which scalars are chosen; bounds time
NAMED = len(style.MODES)  # most modes with a colour and a number
PLOT_TAIL = 0.005  # part of the draws on either side that may lie outside the plot


@dataclass(frozen=True, eq=False)
class View:
    """Draws in P scalars.

    Attributes
    ----------
    labels : list of str
        Names of the scalars.
    reference, mode : array (n, P), array (n,)
        Draws of the reference and the mode of each, 0 for elsewhere and for modes without a number.
    locations, masses, missed : array (K, P), array (K,), DataArray (approximation, mode)
        Of the modes.
    approximations : dict of str to array (n, P)
        Draws of those shown, in order.
    known : list of str
        All approximations of the comparison, which determine the colours.
    choice, note : str
        Which scalars were chosen, if not all; this, and which modes have no colour or no draws.
    """

    labels: list[str]
    reference: Array
    mode: IntArray
    locations: Array
    masses: Array
    missed: xr.DataArray
    approximations: dict[str, Array]
    known: list[str]
    choice: str
    note: str

    @property
    def modes(self) -> list[int]:
        """Return the numbers of the heaviest modes, which have a colour, and 0 if a draw is in none of them."""
        numbers = list(range(1, min(len(self.locations), NAMED) + 1))
        return [*numbers, 0] if (self.mode == 0).any() or not numbers else numbers

    def limits(self, column: int) -> tuple[float, float]:
        """Return the range of the reference, its modes, and approximations as far as they are not much wider."""
        x = self.reference[:, column]
        points = np.append(np.nanquantile(x, (PLOT_TAIL, 1 - PLOT_TAIL)), self.locations[:, column])
        low, high = np.nanmin(points), np.nanmax(points)
        span = high - low
        for x in self.approximations.values():
            if np.isfinite(x[:, column]).any():
                ends = np.nanquantile(x[:, column], (PLOT_TAIL, 1 - PLOT_TAIL))
                low, high = min(low, max(ends[0], low - span / 2)), max(high, min(ends[1], high + span / 2))
        pad = 0.06 * (high - low)
        return float(low - pad), float(high + pad)


def view_comparison(
    dt: xr.DataTree, selection: Selection, *, approximations: Any, n: int, jointly: bool, labeller: Any
) -> View:
    """Read the draws of a comparison in n scalars, chosen by how far modes or approximations lie apart."""
    known = known_approximations(dt)
    groups = fit_groups(dt)
    names = subset(approximations, [name for name in known if name in groups], "approximations")
    posterior = select_variables(dt["posterior"].to_dataset(), *selection)
    scalars = Scalars(posterior.isel(dict.fromkeys(SAMPLE_DIMS, 0), drop=True))
    sources = {name: groups[name]["posterior"].to_dataset() for name in names}
    variables, modes = list(map(str, posterior.data_vars)), dt["modes"].to_dataset()
    coords = selection.coords or {}
    sources = {name: select(ds, variables, coords) for name, ds in sources.items()}
    locations = scalars.matrix(locations_of(modes, variables, coords), ["draw"])
    mode = dt["sample_stats"].to_dataset()["mode"].transpose(*SAMPLE_DIMS).values.ravel().astype(int)
    few = [spread(scalars.matrix(ds, SAMPLE_DIMS), SCALAR_CHOICE_DRAWS) for ds in (posterior, *sources.values())]
    columns, choice = _choose(few[0], spread(mode, SCALAR_CHOICE_DRAWS).astype(int), locations, few[1:], n, jointly)
    return View(
        labels=distinct(scalars.labels(columns, labeller)),
        reference=scalars.matrix(posterior, SAMPLE_DIMS, columns),
        mode=np.where(mode > NAMED, 0, mode),
        locations=locations[:, columns],
        masses=modes["mass"].values,
        missed=dt["coverage"].to_dataset()["verdict"].sel(approximation=names) == "missed",
        approximations={name: scalars.matrix(ds, SAMPLE_DIMS, columns) for name, ds in sources.items()},
        known=known,
        choice=choice,
        note=" ".join(filter(None, [choice, *_left_out(mode, len(locations))])),
    )


def _left_out(mode: IntArray, k: int) -> list[str]:
    """Write which modes have no colour, and which have no draws."""
    empty = sorted({*range(1, min(k, NAMED) + 1)}.difference(np.unique(mode).tolist()))
    lines = [f"Modes from {NAMED + 1} on are grey."] if k > NAMED else []
    return [*lines, f"The reference has no draws in mode {', '.join(map(str, empty))}."] if empty else lines


def locations_of(modes: xr.Dataset, names: Sequence[str], coords: Mapping[str, Any]) -> xr.Dataset:
    """Return the modes' locations as draws, under the variables' own names, also where a column has such a name."""
    found = {free_name(name, OF_MODES, LOCATION): name for name in names}
    ds = modes[[name for name in found if name in modes.data_vars]]
    ds = ds.drop_vars(["mode", "other_mode"], errors="ignore").rename(mode="draw")
    ds = ds.rename({name: own for name, own in found.items() if name in ds})
    return select(ds, names, free_coords(coords, OF_MODES))


def _choose(
    x: Array, mode: IntArray, locations: Array, others: Sequence[Array], n: int, jointly: bool
) -> tuple[list[int], str]:
    """Choose at most n columns of draws x (n, D); return them and a sentence on how."""
    usable = varies(x)
    if not len(usable):
        raise ValueError("every variable asked for is constant in the reference; ask for others.")
    if len(usable) <= n:
        return [int(j) for j in usable], ""
    x, others = x[:, usable], [other[:, usable] for other in others]
    if len(locations) > 1 and (jointly or not others):
        chosen = separating(x, mode, locations[:, usable], n, jointly=jointly)
        why = "where the modes lie furthest apart"
    else:
        chosen = differing(x, others, n)
        why = "where the approximations differ most from the reference" if others else "the first"
    shown = "are shown" if len(chosen) > 1 else "is shown"
    return [int(usable[j]) for j in chosen], f"{len(chosen)} of {len(usable)} scalars {shown}: {why}."
