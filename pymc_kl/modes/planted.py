"""Planted modes: how often a search finds a mode of some mass and width, measured on the user's own density."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pymc as pm
import xarray as xr
from scipy.special import logsumexp
from scipy.stats import binomtest

from pymc_kl._typing import Array, IntArray, RandomSeed
from pymc_kl.arguments import check_arguments, number, numbers, optional, renamed, whole
from pymc_kl.model.draws import PosteriorDraws, as_posterior_draws, draws_of
from pymc_kl.model.target import Target, as_target
from pymc_kl.modes.modes import Modes
from pymc_kl.modes.planting import Planted, Planter, Search, TimeIsOver
from pymc_kl.modes.search import N_STARTS, SearchSettings, search_target
from pymc_kl.modes.symmetry.names import check_symmetry
from pymc_kl.numerics.random_streams import RandomStreams
from pymc_kl.progress import Report, silent, stages

MASSES = (0.3, 0.1, 0.03)  # shares of the posterior; our choice
WIDTHS = (1.0, 0.5, 0.25)  # relative to the local scale of the posterior; our choice
REPEATS = 20  # tries of each mass and width; our choice
SECONDS = 60.0  # after which tries end, the one under way uncounted; our choice
CI_PROB = 0.95  # of the interval of a share
WIDTHS_IN_WORDS = {1.0: "as wide as yours", 0.5: "half as wide as yours", 0.25: "a quarter as wide as yours"}


@dataclass(frozen=True)
class Planting:
    """What to plant and how often: see :func:`planted_modes`."""

    masses: Sequence[float] = MASSES
    widths: Sequence[float] = WIDTHS
    repeats: int = REPEATS
    seconds: float = SECONDS


@renamed(reference="idata")
def planted_modes(
    idata: xr.DataTree | xr.Dataset | PosteriorDraws | None = None,
    *,
    model: pm.Model | Target | None = None,
    masses: Sequence[float] = MASSES,
    widths: Sequence[float] = WIDTHS,
    repeats: int = REPEATS,
    seconds: float = SECONDS,
    log_evidence: float | None = None,
    n_starts: int = N_STARTS,
    symmetry: bool | Sequence[str] = True,
    random_seed: RandomSeed = None,
    progressbar: bool = True,
) -> xr.Dataset:
    """Measure how often the search for modes finds a mode that is planted into a model's posterior.

    A normal of known mass and width is added to the posterior density, at a draw of the prior or of a heated chain,
    and :func:`find_modes` searches the sum. A place where the normal merges with a mode that is there is drawn again.
    The shares hold for normal modes at such places: a mode that neither leads to is as unseen as before.

    Parameters
    ----------
    idata : DataTree, Dataset or PosteriorDraws, optional
        Draws of the posterior that every search starts from as well; none is in the planted mode.
    model : pm.Model or Target, optional
        Defaults to the model of the enclosing `with` block.
    masses : sequence of float
        Of the planted mode with all its copies, as shares of the sum.
    widths : sequence of float
        Of the planted mode, relative to the posterior's local scale.
    repeats : int
        Tries of each mass and width; half of them at draws of the prior.
    seconds : float
        Tries end after this time, and the one under way is not counted; each takes as long as a search.
    log_evidence : float, optional
        Log Z of the model in nats; Laplace's approximation over the modes found, if it is not given.
    n_starts, symmetry
        As of :func:`find_modes`.
    random_seed : int, Generator, SeedSequence or None
        The same seed gives the same tries, however many there is time for.
    progressbar : bool

    Returns
    -------
    Dataset
        With dims `mass` and `width`: `share` found of those tried, its 95 % interval from `share_lower` to
        `share_upper` (Wilson), NaN where none was tried. With the dim `place` as well: `tried` and `found`, `merged`
        places that were drawn again, and `unplaced` tries that ended without a place. The attribute `summary` says
        it in words, `partial` whether the run was interrupted.

    Raises
    ------
    ValueError
        If log Z is not known, or a mode has more copies than can be planted.

    Examples
    --------
    >>> import pymc as pm
    >>> with pm.Model():
    ...     x = pm.Normal("x", 0, 3)
    ...     y = pm.Normal("y", x, 0.5, observed=1.0)
    ...     planted = planted_modes(masses=[0.1], widths=[0.5], repeats=2, random_seed=1, progressbar=False)
    >>> planted.attrs["summary"]
    'A mode of 10 % half as wide as yours would have been found in 2 of 2 tries (95 % interval: 34 % to 100 %).'
    """
    check_arguments(
        locals(), idata=optional(draws_of("planted_modes")),
        masses=numbers(number(0, 1, open_below=True), "[0.3, 0.1]"),
        widths=numbers(number(0, open_below=True), "[1.0, 0.5]"), repeats=whole(), seconds=number(0, open_below=True),
        log_evidence=optional(number(-np.inf, open_below=True)),
    )  # fmt: skip
    given = idata.target if isinstance(idata, PosteriorDraws) else model
    check_symmetry(symmetry, given)
    planting = Planting(tuple(dict.fromkeys(masses)), tuple(dict.fromkeys(widths)), repeats, seconds)
    settings = SearchSettings(n_starts, symmetry)
    streams = RandomStreams.of(random_seed)
    target = as_target(given)
    draws = None if idata is None else as_posterior_draws(idata, target).flat
    search = search_from(draws, {}, settings)
    with stages(progressbar) as stage:
        with stage("modes"):
            modes = search(target, streams("modes"))
        with stage("planted modes") as report:
            return plant_modes(target, modes, search, planting, log_evidence, streams=streams, report=report)


def search_from(draws: Array | None, starts: dict[str, Array], settings: SearchSettings) -> Search:
    """Return the search of a target from the same draws and starts, with the same settings."""
    return lambda target, rng: search_target(target, draws, starts, settings, rng=rng)


def plant_modes(
    target: Target,
    modes: Modes,
    search: Search,
    planting: Planting,
    log_evidence: float | None = None,
    *,
    streams: RandomStreams,
    report: Report = silent,
) -> xr.Dataset:
    """Plant modes into a target, whose own `modes` are known, and tabulate how many a search finds."""
    log_z = float(logsumexp(modes.log_mass_laplace)) if log_evidence is None else log_evidence
    planter = Planter.prepare(target, modes, log_z, streams("places"))
    tally, partial = Tally.empty(tuple(planter.places), planting), modes.partial
    try:
        if not partial:
            _fill(tally, planter, search, streams, report)
    except KeyboardInterrupt:
        partial = True
    ds = tally.dataset()
    return ds.assign_attrs(summary=summarise(ds), ci_prob=CI_PROB, partial=int(partial), log_evidence=log_z)


def _fill(tally: "Tally", planter: Planter, search: Search, streams: RandomStreams, report: Report) -> None:
    """Try every mass and width in turn, until there are as many tries as wanted; drop the one in which time is over."""
    planting = tally.planting
    planter = replace(planter, until=time.monotonic() + planting.seconds)
    for i, mass, width in product(range(planting.repeats), planting.masses, planting.widths):
        kind, rng = tally.kinds[i % len(tally.kinds)], streams(f"{mass} {width} {i}")
        try:
            planted, n_merged = planter.plant(mass, width, kind, rng)
            found = None if planted is None else _is_found(planted, search, rng)
        except TimeIsOver:
            return
        tally.add(kind, mass, width, n_merged, found)
        report(f"{tally.counts['found'].sum()} of {tally.counts['tried'].sum()} found")


def _is_found(planted: Planted, search: Search, rng: np.random.Generator) -> bool:
    """Tell whether a search finds a planted mode; one that was interrupted, and returned what it had, does not tell."""
    modes = search(planted.target, rng)
    if modes.partial:
        raise KeyboardInterrupt
    return planted.is_among(modes)


@dataclass(frozen=True, eq=False)
class Tally:
    """Counts of tries by kind of place, mass and width."""

    kinds: tuple[str, ...]
    planting: Planting
    counts: dict[str, IntArray]

    @classmethod
    def empty(cls, kinds: tuple[str, ...], planting: Planting) -> "Tally":
        """Begin to count."""
        shape = len(kinds), len(planting.masses), len(planting.widths)
        names = "tried", "found", "merged", "unplaced"
        return cls(kinds, planting, {name: np.zeros(shape, dtype=np.int64) for name in names})

    def add(self, kind: str, mass: float, width: float, n_merged: int, found: bool | None) -> None:
        """Count a try; `found` is None where no place was found."""
        at = self.kinds.index(kind), self.planting.masses.index(mass), self.planting.widths.index(width)
        self.counts["merged"][at] += n_merged
        self.counts["unplaced"][at] += found is None
        self.counts["tried"][at] += found is not None
        self.counts["found"][at] += bool(found)

    def dataset(self) -> xr.Dataset:
        """Tabulate the counts with their shares."""
        ds = xr.Dataset(
            {name: (("place", "mass", "width"), counts) for name, counts in self.counts.items()},
            {"place": list(self.kinds), "mass": list(self.planting.masses), "width": list(self.planting.widths)},
        )
        tried, found = ds["tried"].sum("place"), ds["found"].sum("place")
        share, lower, upper = np.vectorize(_share, otypes=[float] * 3)(found, tried)
        for name, values in {"share": share, "share_lower": lower, "share_upper": upper}.items():
            ds[name] = (("mass", "width"), values)
        return ds


def _share(found: int, tried: int) -> tuple[float, float, float]:
    """Return the share found of those tried, and the ends of its interval."""
    if not tried:
        return np.nan, np.nan, np.nan
    interval = binomtest(int(found), int(tried)).proportion_ci(CI_PROB, method="wilson")
    return found / tried, interval.low, interval.high


def summarise(ds: xr.Dataset) -> str:
    """Say in words how many planted modes were found: of the middle mass and width, and of those found least."""
    middle = {dim: float(np.sort(ds[dim])[(ds.sizes[dim] - 1) // 2]) for dim in ("mass", "width")}
    sentences = [describe(ds.sel(middle))]
    if ds["share"].size > 1 and ds["share"].notnull().any():
        worst = ds["share"].argmin(["mass", "width"])
        sentences.append(describe(ds.isel(worst)))
    return " ".join(dict.fromkeys(sentences))


def describe(cell: xr.Dataset) -> str:
    """Say in words how many planted modes of one mass and width were found."""
    mass, width = float(cell["mass"]), float(cell["width"])
    mode = f"mode of {100 * mass:g} % {WIDTHS_IN_WORDS.get(width, f'{width:g} times as wide as yours')}"
    tried = int(cell["tried"].sum())
    if not tried:
        return f"No {mode} was tried: there was no time, or at every place it merged with a mode that is there."
    low, high = (f"{100 * float(cell[f'share_{end}']):.0f} %" for end in ("lower", "upper"))
    found = f"{int(cell['found'].sum())} of {tried} {'try' if tried == 1 else 'tries'}"
    return f"A {mode} would have been found in {found} ({100 * CI_PROB:.0f} % interval: {low} to {high})."
