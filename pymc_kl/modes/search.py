"""Starts → modes: climb from thousands of points until new starts stop finding modes, then merge low barriers."""

from collections.abc import Mapping, Sequence

import numpy as np
import pymc as pm
import xarray as xr

from pymc_kl._typing import Array, RandomSeed
from pymc_kl.model.draws import PosteriorDraws, as_posterior_draws
from pymc_kl.model.target import Target, as_target
from pymc_kl.modes.modes import Modes
from pymc_kl.modes.multistart import ROUND, Search
from pymc_kl.modes.starts import check_density, check_initial_point, prior_starts, user_starts
from pymc_kl.modes.symmetry.detect import find_symmetry
from pymc_kl.modes.symmetry.symmetry import Symmetry, trivial
from pymc_kl.progress import Report, silent, stages

MIN_BARRIER = 1.0  # nats; log p̃ falls to 37 % of the lower peak
N_STARTS = 4096  # draws of the prior at the most
N_CHAIN_STARTS = 200
NEAR_MAXIMUM = 0.3  # local standard deviations from a peak, where a symmetry is checked again


def find_modes(
    reference: xr.DataTree | xr.Dataset | PosteriorDraws | None = None,
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
    posterior and points of yours. The search ends when new starts stop finding modes that matter.

    Parameters
    ----------
    reference : DataTree, Dataset or PosteriorDraws, optional
        Draws of the posterior to start from, beside draws of the prior.
    model : pm.Model or Target, optional
        Defaults to the model of the enclosing `with` block.
    starts : DataTree, Dataset or array (n, d), optional
        More starts; an array is in the unconstrained space.
    n_starts : int
        Draws of the prior to start from, at the most; a search that finds nothing new ends after a quarter.
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

    Examples
    --------
    >>> import pymc as pm
    >>> with pm.Model() as model:
    ...     x = pm.NormalMixture("x", w=[0.3, 0.7], mu=[-3, 3], sigma=[0.6, 1])
    ...     modes = find_modes(random_seed=1, progressbar=False)
    >>> modes.x.ravel().round(3)
    array([ 3., -3.])
    """
    if n_starts < 1:
        raise ValueError(f"n_starts must be at least 1; got {n_starts}.")
    rng = np.random.default_rng(random_seed)
    target = reference.target if isinstance(reference, PosteriorDraws) else as_target(model)
    points = {} if starts is None else {"user": user_starts(starts, target)}
    draws = None if reference is None else as_posterior_draws(reference, target).flat
    with stages(progressbar) as stage, stage("modes") as report:
        return search_target(
            target, draws, points, n_starts=n_starts, symmetry=symmetry, min_barrier=min_barrier, rng=rng, report=report
        )


def search_target(
    target: Target,
    draws: Array | None,
    starts: Mapping[str, Array],
    *,
    n_starts: int = N_STARTS,
    symmetry: bool | Sequence[str] = True,
    min_barrier: float = MIN_BARRIER,
    rng: np.random.Generator,
    report: Report = silent,
) -> Modes:
    """Search a target from some of the draws (n, d) of the posterior, from the prior and from all other starts."""
    check_initial_point(target)
    points = dict(starts)
    if draws is not None:
        points = {"chains": draws[rng.permutation(len(draws))[:N_CHAIN_STARTS]]} | points
    prior = prior_starts(target, min(n_starts, 2 * ROUND), rng)
    check_density(target.log_density(prior), prior, target)
    some = np.concatenate([prior[:ROUND], *points.values()])
    some = some[np.isfinite(target.log_density(some))]
    if not len(some):
        raise ValueError(
            "none of the starts has a finite log density: the model gives its own prior draws no probability. "
            "Check that the data can come from the model, or give starts=... inside the support."
        )
    known = trivial(target.d)
    if symmetry:
        known = find_symmetry(target, some, None if symmetry is True else tuple(symmetry))

    def more(n: int) -> Array:
        nonlocal prior
        if n > len(prior):
            prior = np.concatenate([prior, prior_starts(target, n_starts - len(prior), rng)])
        taken, prior = prior[:n], prior[n:]
        return taken

    while True:
        search = Search(target.log_density_and_grad, known, draws, rng, report)
        modes = search.run(points, more, n_starts, min_barrier)
        kept = known if known.is_trivial or modes.partial else _holding(known, target, search, rng)
        if len(kept.classes) == len(known.classes) and len(kept.flips) == len(known.flips):
            return modes
        known, points["peaks"] = kept, search.maxima.x
        prior = prior_starts(target, min(n_starts, 2 * ROUND), rng)


def _holding(known: Symmetry, target: Target, search: "Search", rng: np.random.Generator) -> Symmetry:
    """Keep the symmetries that hold at the peaks found and near them."""
    if not len(search.maxima):
        return known
    near = search.maxima.x + NEAR_MAXIMUM * rng.standard_normal(search.maxima.x.shape) @ search.scale.T
    x = np.concatenate([search.maxima.x, near])
    return known.holding(target.log_density, x[np.isfinite(target.log_density(x))])


def search_draws(target: Target, draws: Array, rng: np.random.Generator) -> Modes:
    """Find the modes that draws (n, d) of the posterior climb to, and no others."""
    search = Search(target.log_density_and_grad, trivial(target.d), draws, rng)
    chains = draws[rng.permutation(len(draws))[:N_CHAIN_STARTS]]
    return search.run({"chains": chains}, lambda n: np.empty((n, target.d)), 0, MIN_BARRIER)
