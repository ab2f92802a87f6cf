"""Model → modes: starts, symmetries, multi-start search, and merging across low barriers."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pymc as pm
import xarray as xr

from pymc_kl._typing import Array, IntArray, RandomSeed
from pymc_kl.arguments import OURS, check_arguments, optional, quoted, renamed
from pymc_kl.interrupts import Interrupts, interrupted
from pymc_kl.model.draws import PosteriorDraws, as_posterior_draws, draws_of
from pymc_kl.model.graphs import term_at_initial_point
from pymc_kl.model.periodic import angles_of
from pymc_kl.model.smoothness import check_smooth, likeliest
from pymc_kl.model.target import Target, as_target
from pymc_kl.modes.merge import merge_maxima, one_region
from pymc_kl.modes.modes import Modes
from pymc_kl.modes.multistart import ROUND, Found, MultiStart
from pymc_kl.modes.starts import PriorStarts, check_density, check_initial_point, start_points, user_starts
from pymc_kl.modes.symmetry.detect import find_symmetry
from pymc_kl.modes.symmetry.names import check_symmetry
from pymc_kl.modes.symmetry.symmetry import Symmetry, trivial
from pymc_kl.numerics.lbfgs import ValueAndGrad
from pymc_kl.progress import Alarm, Report, silent, stages

MIN_BARRIER = 1.0  # nats: log p̃ falls to 37 % of the lower maximum; our choice
N_STARTS = 2048  # draws of the prior at the most; our choice
N_CHAIN_STARTS = 200  # draws of the posterior that climbs start from; our choice
NEAR_MAXIMUM = 0.3  # local standard deviations from a maximum, where a symmetry is checked again; our choice


@dataclass(frozen=True)
class SearchSettings:
    """How to search for modes, see :func:`find_modes`, and for how many seconds at the most."""

    n_starts: int = N_STARTS
    symmetry: bool | Sequence[str] = True
    min_barrier: float = MIN_BARRIER
    seconds: float | None = None


DEFAULT = SearchSettings()


@renamed(reference="idata")
def find_modes(
    idata: xr.DataTree | xr.Dataset | PosteriorDraws | None = None,
    *,
    model: pm.Model | Target | None = None,
    starts: xr.DataTree | xr.Dataset | Array | None = None,
    n_starts: int = N_STARTS,
    symmetry: bool | Sequence[str] = True,
    min_barrier: float = MIN_BARRIER,
    random_seed: RandomSeed = None,
    progressbar: bool = True,
) -> Modes:
    """Search for the modes of a model's posterior.

    Starts are draws of the prior at several scales about its centre, jumps about the modes found, draws of the
    posterior, points of yours, and points that stand out among those that chains of the flattened density pass.
    The search ends when new starts stop finding modes that matter.

    Parameters
    ----------
    idata : DataTree, Dataset or PosteriorDraws, optional
        Draws of the posterior to start from, beside draws of the prior.
    model : pm.Model or Target, optional
        Defaults to the model of the enclosing `with` block.
    starts : DataTree, Dataset or array (n, d), optional
        More starts; an array is in the unconstrained space.
    n_starts : int
        Draws of the prior to start from, at the most; a search that finds nothing new ends after a quarter,
        or half where modes are many.
    symmetry : bool or sequence of str
        Whether to look for exchangeable labels and signs, or names of the dims and variables to look at.
        Copies of a mode are one mode then.
    min_barrier : float
        Basins between which the log density need not fall by this (nats) are one mode.
    random_seed : int, Generator, SeedSequence or None
    progressbar : bool

    Returns
    -------
    Modes
        Highest first. A mode that no start reached is not there: this search can't see it. `unseen` estimates
        how many starts would lead to such modes; `partial` says that the search was interrupted.

    Raises
    ------
    KeyboardInterrupt
        At Ctrl-C before the first climb ends, or at a second one.

    Warns
    -----
    UserWarning
        At Ctrl-C later: `partial` is True, and the modes are those found by then.

    Examples
    --------
    >>> import pymc as pm
    >>> with pm.Model() as model:
    ...     x = pm.NormalMixture("x", w=[0.3, 0.7], mu=[-3, 3], sigma=[0.6, 1])
    ...     modes = find_modes(random_seed=1, progressbar=False)
    >>> modes.x.ravel().round(3)
    array([ 3., -3.])
    """
    check_arguments(locals(), idata=optional(draws_of("find_modes")), starts=optional(start_points))
    rng = np.random.default_rng(random_seed)
    given = idata.target if isinstance(idata, PosteriorDraws) else model
    check_symmetry(symmetry, given)
    target = as_target(given)
    points = {} if starts is None else {"user": user_starts(starts, target)}
    draws = None if idata is None else as_posterior_draws(idata, target).flat
    with stages(progressbar) as stage, stage("modes") as report:
        settings = SearchSettings(n_starts, symmetry, min_barrier)
        modes = search_target(target, draws, points, settings, rng=rng, report=report)
    if modes.partial:
        warnings.warn(
            "the search was interrupted: modes that it had not found by then are missing.", skip_file_prefixes=OURS
        )
    return modes


def search_target(
    target: Target,
    draws: Array | None,
    starts: Mapping[str, Array],
    settings: SearchSettings = DEFAULT,
    *,
    late: Mapping[str, Array] | None = None,
    rng: np.random.Generator,
    report: Report = silent,
) -> Modes:
    """Search a target from some of the draws (n, d) of the posterior, from the prior and from all other starts.

    What is climbed from `late`, when the search is over, changes no number unless it finds a mode.

    A symmetry that breaks at the maxima found is given up, and the search begins again without it.
    """
    alarm = Alarm.after(settings.seconds)
    check_initial_point(target)
    points = dict(starts)
    if draws is not None:
        points = {"chains": draws[rng.permutation(len(draws))[:N_CHAIN_STARTS]]} | points
    prior = PriorStarts.draw(target, settings.n_starts, rng, ahead=2 * ROUND)
    log_density = target.log_density(prior.ready)
    check_density(log_density, prior.ready, target)
    check_smooth(target, likeliest(prior.ready, log_density) if draws is None else draws)
    symmetry = _symmetry(target, np.concatenate([prior.ready[:ROUND], *points.values()]), settings.symmetry)
    while True:
        search = MultiStart(target.log_density_and_grad, symmetry, draws, rng, report, _variables(target), alarm)
        found = search.run(points, prior.take, settings.n_starts, late)
        interrupts = Interrupts(step="the search" if found.partial else "")
        merge = partial(_merged, found, target.log_density_and_grad, settings.min_barrier, rng)
        modes = interrupts.once_more("the merging", merge)
        if interrupts.came and not found.partial:
            return replace(modes, partial=True)
        kept = symmetry if symmetry.is_trivial or found.partial else _holding(symmetry, target, found, rng.spawn(1)[0])
        if len(kept.classes) == len(symmetry.classes) and len(kept.flips) == len(symmetry.flips):
            return modes
        symmetry, points["maxima"] = kept, found.maxima.x[: found.n_before_late]
        prior = PriorStarts.draw(target, settings.n_starts, rng, ahead=2 * ROUND)


def search_whole(
    target: Target, draws: Array | None, starts: Mapping[str, Array], *, rng: np.random.Generator, report: Report
) -> Modes:
    """Search a target for those who need the whole search; an interrupt keeps the modes found by then."""
    modes = search_target(target, draws, starts, rng=rng, report=report)
    if modes.partial:
        raise interrupted("the search for modes was interrupted.", modes=modes)
    return modes


def _variables(target: Target) -> IntArray:
    """Number of the variable that each coordinate (d,) belongs to."""
    sizes = [v.coordinates.stop - v.coordinates.start for v in target.variables]
    return np.repeat(np.arange(len(sizes)), sizes)


def _symmetry(target: Target, x: Array, wanted: bool | Sequence[str]) -> Symmetry:
    """Find the symmetries that are wanted at starts (n, d); raise a ValueError if log p̃ is finite at none of them."""
    x = x[np.isfinite(target.log_density(x))]
    if not len(x):
        raise ValueError(
            "none of the starts has a finite log density: the model gives its own prior draws no probability"
            f"{_impossible(target.model)}. Check that the data can come from the model, or give starts=... inside the "
            "support."
        )
    found = find_symmetry(target, x, None if wanted is True else wanted) if wanted else trivial(target.d)
    return replace(found, angles=angles_of(target))


def _impossible(model: pm.Model) -> str:
    """Name the observed variables whose data have no probability at the model's initial point."""
    terms = [rv for rv in model.observed_RVs if not np.isfinite(term_at_initial_point(model, rv)).all()]
    return f", and none at its initial point to the data of {quoted(rv.name for rv in terms)}" if terms else ""


def _merged(found: Found, value_and_grad: ValueAndGrad, min_barrier: float, rng: np.random.Generator) -> Modes:
    """Merge the maxima found into modes; one region where there is no proper maximum."""
    return merge_maxima(found, value_and_grad, min_barrier) if found.proper else one_region(found, value_and_grad, rng)


def _holding(symmetry: Symmetry, target: Target, found: Found, rng: np.random.Generator) -> Symmetry:
    """Keep the symmetries that hold at the maxima found and near them."""
    if not len(found.maxima):
        return symmetry
    near = found.maxima.x + NEAR_MAXIMUM * rng.standard_normal(found.maxima.x.shape) @ found.scale.T
    x = np.concatenate([found.maxima.x, near])
    return symmetry.holding(target.log_density, x[np.isfinite(target.log_density(x))])


def search_draws(target: Target, draws: Array, rng: np.random.Generator) -> Modes:
    """Find the modes that draws (n, d) of the posterior climb to, and no others."""
    search = MultiStart(target.log_density_and_grad, trivial(target.d, angles_of(target)), draws, rng)
    chains = draws[rng.permutation(len(draws))[:N_CHAIN_STARTS]]
    found = search.run({"chains": chains}, lambda n: np.empty((n, target.d)), 0)
    if found.partial:
        raise KeyboardInterrupt
    return _merged(found, target.log_density_and_grad, MIN_BARRIER, rng)
