"""Starts → modes: climb from thousands of points until new starts stop finding modes, then merge low barriers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pymc as pm
import xarray as xr

from pymc_kl._typing import Array, IntArray, RandomSeed
from pymc_kl.climb import ValueAndGrad, local_scale
from pymc_kl.estimates import UNKNOWN, Estimate
from pymc_kl.exchange import find_symmetry
from pymc_kl.merging import merge_peaks, one_region
from pymc_kl.modes import Modes
from pymc_kl.peaks import Peaks, end_peaks, find_peaks
from pymc_kl.progress import Report, silent, stages
from pymc_kl.reference import Reference, as_reference
from pymc_kl.starts import check_density, check_initial_point, jumps, prior_starts, user_starts
from pymc_kl.symmetry import Symmetry, trivial
from pymc_kl.target import Target, as_target

MIN_BARRIER = 1.0  # nats; log p̃ falls to 37 % of the lower peak
N_STARTS = 4096  # draws of the prior at the most
ROUND = 512  # of them climb before anyone asks whether to go on
N_JUMPS = 128  # starts about the modes found, after each round
N_CHAIN_STARTS = 200
MATTERS = 9.0  # nats below the highest mass: lower modes don't keep the search going
NEAR_PEAK = 0.3  # local standard deviations from a peak, where a symmetry is checked again

type Prior = Callable[[int], Array]


def find_modes(
    reference: xr.DataTree | xr.Dataset | Reference | None = None,
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
    reference : DataTree, Dataset or Reference, optional
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
    target = reference.target if isinstance(reference, Reference) else as_target(model)
    points = {} if starts is None else {"user": user_starts(starts, target)}
    draws = None if reference is None else as_reference(reference, target).flat
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
        known, points["peaks"] = kept, search.peaks.x
        prior = prior_starts(target, min(n_starts, 2 * ROUND), rng)


def _holding(known: Symmetry, target: Target, search: "Search", rng: np.random.Generator) -> Symmetry:
    """Keep the symmetries that hold at the peaks found and near them."""
    if not len(search.peaks):
        return known
    near = search.peaks.x + NEAR_PEAK * rng.standard_normal(search.peaks.x.shape) @ search.scale.T
    x = np.concatenate([search.peaks.x, near])
    return known.holding(target.log_density, x[np.isfinite(target.log_density(x))])


def search_draws(target: Target, draws: Array, rng: np.random.Generator) -> Modes:
    """Find the modes that draws (n, d) of the posterior climb to, and no others."""
    search = Search(target.log_density_and_grad, trivial(target.d), draws, rng)
    chains = draws[rng.permutation(len(draws))[:N_CHAIN_STARTS]]
    return search.run({"chains": chains}, lambda n: np.empty((n, target.d)), 0, MIN_BARRIER)


@dataclass(eq=False)
class Search:
    """A search as it goes on: the peaks found so far and what reached them.

    Parameters
    ----------
    value_and_grad : callable
        (n, d) -> log p̃ (n,) and its gradient (n, d).
    symmetry : Symmetry
    draws : array (n, d) or None
        Draws of the posterior: they set the local scale, and stand for a posterior without proper maximum.
    rng : Generator
    report : callable
        Takes a line of text.
    """

    value_and_grad: ValueAndGrad
    symmetry: Symmetry
    draws: Array | None
    rng: np.random.Generator
    report: Report = silent
    peaks: Peaks = field(init=False)
    scale: Array = field(init=False)
    sources: list[Array] = field(init=False, default_factory=list)
    owners: list[IntArray] = field(init=False, default_factory=list)
    last_new: int = field(init=False, default=0)

    def run(self, starts: Mapping[str, Array], prior: Prior, n_starts: int, min_barrier: float) -> Modes:
        """Climb from all starts and from up to `n_starts` draws of the prior; merge what was found."""
        self.peaks = Peaks.none(self.symmetry)
        first = prior(min(ROUND, n_starts))
        self.scale = self._scale(np.concatenate([first, *starts.values()]))
        partial = False
        try:
            for source, x in starts.items():
                self.climb_from(source, x)
            done = self._rounds(prior, first, n_starts)
        except KeyboardInterrupt:
            partial, done = True, self._count("prior")
        x = self.draws if self.draws is not None else np.concatenate([first, *starts.values()])
        if self._runs_away():
            return one_region(self, x, first, partial)
        return merge_peaks(self, min_barrier, self.unseen(done), partial)

    def climb_from(self, source: str, x: Array) -> None:
        """Climb from starts (n, d) of one source."""
        x = x[np.isfinite(self.value_and_grad(x)[0])] if len(x) else x
        before = len(self.peaks)
        self.peaks, owner = find_peaks(self.value_and_grad, self.peaks, x, self.scale, self.rng)
        self.sources.append(np.full(len(x), source, dtype=object))
        self.owners.append(owner)
        if (self.matters()[before:]).any():
            self.last_new = self._count("prior")
        self.report(f"{sum(map(len, self.owners))} starts, {int(self.matters().sum())} modes")

    def matters(self) -> Array:
        """Whether each peak (P,) has a mass, by Laplace's approximation, that could be told from none."""
        if not len(self.peaks):
            return np.zeros(0, dtype=bool)
        log_det = np.linalg.slogdet(self.peaks.precisions / (2 * np.pi))[1]
        log_mass = self.peaks.log_density - 0.5 * log_det
        log_mass = log_mass + np.log(self.symmetry.n_copies(self.peaks.x, self.scale))
        return np.asarray(log_mass > log_mass.max() - MATTERS)

    def unseen(self, n: int) -> Estimate:
        """Estimate by Good and Turing the chance that a start finds a new mode: found once, over starts."""
        once = float((self._hits("prior")[self.matters()] == 1).sum()) if len(self.peaks) else 0.0
        return Estimate(once / n, max(np.sqrt(once), 1.0) / n) if n else UNKNOWN

    def _rounds(self, prior: Prior, first: Array, n_starts: int) -> int:
        """Climb from the prior, and jump about what was found, until half of all starts found nothing new."""
        self.climb_from("prior", first)
        done = len(first)
        while True:
            if len(self.peaks) and n_starts:
                kept = self.matters()
                covariances = np.linalg.inv(self.peaks.precisions[kept])
                self.climb_from("jumps", jumps(self.peaks.x[kept], covariances, N_JUMPS, self.rng))
            if not n_starts:
                return 0
            settled = done >= n_starts / 4 and self.last_new <= done / 2 and self.unseen(done).value == 0
            if done >= n_starts or settled:
                return done
            n = min(ROUND, n_starts - done)
            self.climb_from("prior", prior(n))
            done += n

    def _count(self, source: str) -> int:
        return int(sum((names == source).sum() for names in self.sources))

    def _hits(self, source: str | None = None) -> IntArray:
        """Starts (P,) that climbed to each peak, of one source or of all."""
        if not self.owners:
            return np.zeros(len(self.peaks), dtype=np.int64)
        owner, names = np.concatenate(self.owners), np.concatenate(self.sources)
        mine = (owner >= 0) & ((names == source) if source else True)
        return np.bincount(owner[mine], minlength=len(self.peaks))

    def _scale(self, x: Array) -> Array:
        """Find the local scale (d, d) from draws, or from Laplace's approximation at what a few starts find."""
        if self.draws is not None:
            thinned = self.draws[self.rng.permutation(len(self.draws))[:1000]]
            return local_scale(self.value_and_grad(thinned)[1])
        x = x[np.isfinite(self.value_and_grad(x)[0])]
        rough = local_scale(self.value_and_grad(x[:1000])[1])
        peaks, owner = find_peaks(self.value_and_grad, Peaks.none(self.symmetry), x[:64], rough, self.rng)
        if not len(peaks):
            return rough
        factors = np.linalg.cholesky(np.linalg.inv(peaks.precisions))[owner[owner >= 0]]
        near = peaks.x[owner[owner >= 0]]
        near = np.repeat(near, 8, axis=0) + np.einsum(
            "nij,nkj->nki", factors, self.rng.standard_normal((len(near), 8, x.shape[1]))
        ).reshape(-1, x.shape[1])
        return local_scale(self.value_and_grad(near)[1])

    def _runs_away(self) -> bool:
        """Tell whether most climbs reach no proper maximum: those from draws, if there are any."""
        if not len(self.peaks):
            return True
        if self.draws is None:
            return float((np.concatenate(self.owners) < 0).mean()) > 0.5
        thinned = self.draws[self.rng.permutation(len(self.draws))[:200]]
        ends, _ = end_peaks(self.value_and_grad, self.peaks, thinned, self.scale)
        return float((ends < 0).mean()) > 0.5
