"""Starts → modes: climb, keep proper maxima, merge across low barriers, and assign any points to the modes.

A mode here is a basin of attraction of log p̃ on the unconstrained space, after merging basins between which
log p̃ need not fall by `min_barrier` nats. Where climbs run away (a funnel's neck, where log p̃ has no
maximum) the posterior is one region, and its draws stand for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pymc as pm
import xarray as xr

from pymc_kl._typing import Array, BoolArray, IntArray, RandomSeed
from pymc_kl.barriers import passes_between, persistent_groups
from pymc_kl.climb import ValueAndGrad, local_scale
from pymc_kl.peaks import Peaks, end_peaks, find_peaks
from pymc_kl.reference import Reference, as_reference
from pymc_kl.target import Target, as_target

MIN_BARRIER = 1.0  # nats; log p̃ falls to 37 % of the lower peak
ASSIGN_ROWS = 1024  # points climbed together, to bound memory
ELSEWHERE = -1
N_PRIOR_STARTS, N_CHAIN_STARTS = 400, 200


@dataclass(frozen=True, eq=False)
class Modes:
    """The modes of a posterior, highest first, and the means to assign points to them.

    Attributes
    ----------
    x : array (K, d)
        Location of each mode: its highest peak, or a central draw where log p̃ has no proper maximum.
    log_density : array (K,)
        log p̃ there, nats.
    covariances : array (K, d, d)
        Inverse of minus the Hessian there; NaN without a proper maximum.
    barrier : array (K,)
        Nats from the lower of two peaks to the pass, on the best path found to any other mode; NaN for one.
    hits : array (K,)
        Starts that climbed there.
    found_by : tuple of str
        Kinds of starts that reached each mode, joined by "+".
    n_starts, n_lost : int
        Starts in all, and those that reached no proper maximum.
    proper : bool
        False where the posterior is one region without a proper maximum.
    """

    x: Array
    log_density: Array
    covariances: Array
    barrier: Array
    hits: IntArray
    found_by: tuple[str, ...]
    n_starts: int
    n_lost: int
    proper: bool
    _peaks: Peaks = field(repr=False)
    _group: IntArray = field(repr=False)
    _scale: Array = field(repr=False)
    _value_and_grad: ValueAndGrad = field(repr=False)

    @property
    def k(self) -> int:
        """Number of modes."""
        return len(self.x)

    @property
    def log_mass_laplace(self) -> Array:
        """Laplace's approximation of log ∫ p̃ over each mode (K,), in nats: a guide, not an estimate."""
        if not self.proper:
            return np.full(self.k, np.nan)
        log_det = np.linalg.slogdet(2 * np.pi * self.covariances)[1]
        return self.log_density + 0.5 * log_det

    def assign(self, x: Array) -> IntArray:
        """Assign points to modes by climbing from each.

        Parameters
        ----------
        x : array (n, d)
            Unconstrained space.

        Returns
        -------
        array (n,) of int
            Mode of each point, or -1 where the climb reaches none of them. The label of a point does not
            depend on the points beside it.
        """
        if not self.proper:
            return np.zeros(len(x), dtype=np.int64)
        parts = [
            end_peaks(self._value_and_grad, self._peaks, x[i : i + ASSIGN_ROWS], self._scale)
            for i in range(0, len(x), ASSIGN_ROWS)
        ]
        peak = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
        return np.where(peak >= 0, self._group[peak], ELSEWHERE)

    def keep(self, kept: BoolArray) -> "Modes":
        """Return the modes where `kept` (K,) is true; points of the others are assigned elsewhere."""
        new = np.where(kept, np.cumsum(kept) - 1, ELSEWHERE)
        return self._take(np.flatnonzero(kept), new)

    def reorder(self, order: IntArray) -> "Modes":
        """Return the modes in another order (K,)."""
        new = np.empty_like(order)
        new[order] = np.arange(len(order))
        return self._take(order, new)

    def _take(self, rows: IntArray, new: IntArray) -> "Modes":
        group = np.where(self._group >= 0, new[self._group], ELSEWHERE)
        return Modes(
            x=self.x[rows],
            log_density=self.log_density[rows],
            covariances=self.covariances[rows],
            barrier=self.barrier[rows],
            hits=self.hits[rows],
            found_by=tuple(self.found_by[i] for i in rows),
            n_starts=self.n_starts,
            n_lost=self.n_lost,
            proper=self.proper,
            _peaks=self._peaks,
            _group=group,
            _scale=self._scale,
            _value_and_grad=self._value_and_grad,
        )


def find_modes(
    reference: xr.DataTree | xr.Dataset | Reference | None = None,
    *,
    model: pm.Model | Target | None = None,
    starts: xr.DataTree | xr.Dataset | Array | None = None,
    n_starts: int = N_PRIOR_STARTS,
    min_barrier: float = MIN_BARRIER,
    random_seed: RandomSeed = None,
) -> Modes:
    """Search for the modes of a model's posterior.

    Parameters
    ----------
    reference : DataTree, Dataset or Reference, optional
        Draws of the posterior to start from, beside draws of the prior.
    model : pm.Model or Target, optional
        Defaults to the model of the enclosing `with` block.
    starts : DataTree, Dataset or array (n, d), optional
        More starts; an array is in the unconstrained space.
    n_starts : int
        Draws of the prior to start from.
    min_barrier : float
        Basins between which the log density need not fall by this (nats) are one mode.
    random_seed : int, Generator, SeedSequence or None

    Returns
    -------
    Modes
        Highest first. A mode that no start reached is not there: this search can't see it.

    Examples
    --------
    >>> import pymc as pm
    >>> with pm.Model() as model:
    ...     x = pm.NormalMixture("x", w=[0.3, 0.7], mu=[-3, 3], sigma=[0.6, 1])
    ...     modes = find_modes(random_seed=1)
    >>> modes.x.ravel().round(3)
    array([ 3., -3.])
    """
    if n_starts < 1:
        raise ValueError(f"n_starts must be at least 1; got {n_starts}.")
    rng = np.random.default_rng(random_seed)
    target = reference.target if isinstance(reference, Reference) else as_target(model)
    points = {"prior": target.initial_points(n_starts, rng)}
    flat = None if reference is None else as_reference(reference, target).flat
    if starts is not None:
        points["user"] = user_starts(starts, target)
    return search_from(target, flat, points, min_barrier=min_barrier, rng=rng)


def search_from(
    target: Target,
    draws: Array | None,
    starts: Mapping[str, Array],
    *,
    min_barrier: float = MIN_BARRIER,
    rng: np.random.Generator,
) -> Modes:
    """Search from some of the draws (n, d) of the posterior and from all other starts."""
    points = dict(starts)
    if draws is not None:
        points = {"chains": draws[rng.permutation(len(draws))[:N_CHAIN_STARTS]]} | points
    return search(target.log_density_and_grad, points, draws=draws, min_barrier=min_barrier, rng=rng)


def user_starts(starts: xr.DataTree | xr.Dataset | Array, target: Target) -> Array:
    """Take the user's starts to the unconstrained space (n, d) and check that the model allows them."""
    if isinstance(starts, xr.DataTree | xr.Dataset):
        x = target.unconstrain(starts).reshape(-1, target.d)
    else:
        x = np.atleast_2d(np.asarray(starts, dtype=float))
    if x.ndim != 2 or x.shape[1] != target.d or not np.isfinite(x).all():
        raise ValueError(f"starts must be finite with shape (n, {target.d}); got shape {x.shape}.")
    outside = ~np.isfinite(target.log_density(x))
    if outside.any():
        raise ValueError(f"{outside.sum()} of {len(x)} starts lie outside the support of the model.")
    return x


def search(
    value_and_grad: ValueAndGrad,
    starts: Mapping[str, Array],
    *,
    draws: Array | None = None,
    min_barrier: float = MIN_BARRIER,
    rng: np.random.Generator,
) -> Modes:
    """Find the modes that a set of starts can reach.

    Parameters
    ----------
    value_and_grad : callable
        (n, d) -> log p̃ (n,) and its gradient (n, d).
    starts : mapping of str to array (n, d)
        Starts by the name of their source, unconstrained space.
    draws : array (n, d), optional
        Draws of the posterior: they set the local scale, and stand for a posterior without proper maximum.
    min_barrier : float
        Basins that need a smaller fall of log p̃ than this (nats) between them are one mode.
    rng : Generator

    Returns
    -------
    Modes
        Highest first.
    """
    source = np.repeat(list(starts), [len(x) for x in starts.values()])
    x = np.concatenate(list(starts.values()))
    posterior = draws if draws is not None else x
    thinned = posterior[rng.permutation(len(posterior))[:1000]]
    scale = local_scale(value_and_grad(thinned)[1])
    peaks, owner = find_peaks(value_and_grad, x, scale, rng)
    if draws is not None and len(peaks.x):
        ends = end_peaks(value_and_grad, peaks, thinned[:200], scale)
        runs_away = float((ends < 0).mean())
    else:
        runs_away = float((owner < 0).mean())
    if not len(peaks.x) or runs_away > 0.5:
        return _one_region(value_and_grad, posterior, x, scale)
    return _merge(value_and_grad, peaks, owner, source, scale, min_barrier)


def _one_region(value_and_grad: ValueAndGrad, posterior: Array, x: Array, scale: Array) -> Modes:
    """Treat a posterior without proper maximum as one region, located at its most central draw."""
    centre = np.median(posterior, axis=0)
    away = np.linalg.solve(scale, (posterior - centre).T)
    location = posterior[np.argmin((away**2).sum(axis=0))][None]
    d = location.shape[1]
    return Modes(
        x=location,
        log_density=value_and_grad(location)[0],
        covariances=np.full((1, d, d), np.nan),
        barrier=np.full(1, np.nan),
        hits=np.array([len(x)]),
        found_by=("draws",),
        n_starts=len(x),
        n_lost=len(x),
        proper=False,
        _peaks=Peaks(np.empty((0, d)), np.empty(0), np.empty((0, d, d))),
        _group=np.empty(0, dtype=np.int64),
        _scale=scale,
        _value_and_grad=value_and_grad,
    )


def _barriers(passes: Array, group: IntArray, log_density: Array) -> Array:
    """Fall from the lower of two modes to the pass between them, least over the other modes (K,); NaN for one."""
    k = len(log_density)
    barrier = np.full(k, np.nan)
    for g in range(k):
        for other in range(k):
            if other != g:
                top = passes[np.ix_(group == g, group == other)].max()
                barrier[g] = np.fmin(barrier[g], min(log_density[g], log_density[other]) - top)
    return np.where(np.isfinite(barrier), barrier, np.nan)


def _merge(
    value_and_grad: ValueAndGrad,
    peaks: Peaks,
    owner: IntArray,
    source: Array,
    scale: Array,
    min_barrier: float,
) -> Modes:
    """Merge peaks across low barriers and gather what is known of each mode, highest first."""
    passes = passes_between(value_and_grad, peaks.x, peaks.log_density, scale, min_barrier)
    top_of = persistent_groups(passes, peaks.log_density, min_barrier)
    top = np.unique(top_of)
    top = top[np.argsort(-peaks.log_density[top], kind="stable")]
    rank = np.zeros(len(peaks.x), dtype=np.int64)
    rank[top] = np.arange(len(top))
    group = rank[top_of]
    reached = np.where(owner >= 0, group[owner], ELSEWHERE)
    k = len(top)
    return Modes(
        x=peaks.x[top],
        log_density=peaks.log_density[top],
        covariances=np.linalg.inv(peaks.precisions[top]),
        barrier=_barriers(passes, group, peaks.log_density[top]),
        hits=np.bincount(reached[reached >= 0], minlength=k),
        found_by=tuple("+".join(dict.fromkeys(source[reached == g])) for g in range(k)),
        n_starts=len(owner),
        n_lost=int((reached < 0).sum()),
        proper=True,
        _peaks=peaks,
        _group=group,
        _scale=scale,
        _value_and_grad=value_and_grad,
    )
