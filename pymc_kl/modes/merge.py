"""Peaks → modes: merge across low barriers, copies included; or one region where there is no proper maximum."""

from typing import TYPE_CHECKING

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.modes.barriers import passes_between, persistent_groups
from pymc_kl.modes.maxima import Maxima
from pymc_kl.modes.modes import ELSEWHERE, Modes
from pymc_kl.modes.symmetry.symmetry import trivial
from pymc_kl.numerics.estimate import UNKNOWN, Estimate

if TYPE_CHECKING:
    from pymc_kl.modes.multistart import Search

IMAGES = 24  # copies of a peak among which the nearest to other peaks is looked for
N_DISPERSED = 4  # starts from which chains must agree that a region without a peak is one


def one_region(search: "Search", posterior: Array, prior: Array, partial: bool) -> Modes:
    """Treat a posterior without proper maximum as one region, located at its most central draw."""
    prior = prior[np.isfinite(search.value_and_grad(prior)[0])] if len(prior) else posterior
    posterior = posterior[np.isfinite(search.value_and_grad(posterior)[0])]
    centre = np.median(posterior, axis=0)
    away = np.linalg.solve(search.scale, (posterior - centre).T)
    location = posterior[np.argmin((away**2).sum(axis=0))][None]
    d = location.shape[1]
    n = sum(map(len, search.owners))
    return Modes(
        x=location,
        log_density=search.value_and_grad(location)[0],
        covariances=np.full((1, d, d), np.nan),
        copies=np.ones(1),
        barrier=np.full(1, np.nan),
        passes=np.full((1, 1), np.nan),
        hits=np.array([n]),
        found_by=("draws",),
        n_starts=n,
        n_lost=n,
        unseen=UNKNOWN,
        proper=False,
        partial=partial,
        symmetry=trivial(d),
        dispersed=prior[search.rng.permutation(len(prior))[:N_DISPERSED]],
        _maxima=Maxima.none(trivial(d)),
        _maximum_copies=np.empty(0),
        _group=np.empty(0, dtype=np.int64),
        _scale=search.scale,
        _value_and_grad=search.value_and_grad,
    )


def merge_maxima(search: "Search", min_barrier: float, unseen: Estimate, partial: bool) -> Modes:
    """Merge peaks across low barriers and gather what is known of each mode, highest first."""
    maxima = search.maxima
    owner, source = np.concatenate(search.owners), np.concatenate(search.sources)
    passes, to_copies = _passes(search, min_barrier)
    top_of = persistent_groups(passes, maxima.log_density, min_barrier)
    top = np.unique(top_of)
    top = top[np.argsort(-maxima.log_density[top], kind="stable")]
    rank = np.zeros(len(maxima), dtype=np.int64)
    rank[top] = np.arange(len(top))
    group = rank[top_of]
    reached = np.where(owner >= 0, group[owner], ELSEWHERE)
    k = len(top)
    copies = search.symmetry.n_copies(maxima.x, search.scale)
    between = _between_modes(passes, to_copies, group)
    return Modes(
        x=maxima.x[top],
        log_density=maxima.log_density[top],
        covariances=np.linalg.inv(maxima.precisions[top]),
        copies=copies[top],
        barrier=_barriers(between, maxima.log_density[top]),
        passes=between,
        hits=np.bincount(reached[reached >= 0], minlength=k),
        found_by=tuple("+".join(dict.fromkeys(source[reached == g])) for g in range(k)),
        n_starts=len(owner),
        n_lost=int((reached < 0).sum()),
        unseen=unseen,
        proper=True,
        partial=partial,
        symmetry=search.symmetry,
        dispersed=np.empty((0, maxima.x.shape[1])),
        _maxima=maxima,
        _maximum_copies=copies,
        _group=group,
        _scale=search.scale,
        _value_and_grad=search.value_and_grad,
    )


def _passes(search: "Search", min_barrier: float) -> tuple[Array, Array]:
    """Find the heights of the passes between peaks (P, P) and from each to another copy of itself (P,), NaN if none.

    Copies of peaks that lie nearer to another peak than the peak itself take part.
    """
    maxima, p = search.maxima, len(search.maxima)
    x, owner = maxima.x, np.arange(p)
    if not search.symmetry.is_trivial:
        y = np.linalg.solve(search.scale, maxima.x.T).T
        for b in range(p):
            images = search.symmetry.images(maxima.x[b], IMAGES)
            distance = np.linalg.norm(np.linalg.solve(search.scale, images.T).T[None] - y[:, None], axis=2)
            images = images[(distance[b] > 1e-2)]
            distance = distance[:, distance[b] > 1e-2]
            if len(images):
                is_canonical = np.linalg.norm(y - y[b], axis=1)
                nearer = distance.min(axis=1) < np.where(np.arange(p) == b, np.inf, is_canonical)
                chosen = np.unique(distance.argmin(axis=1)[nearer])
                x, owner = np.vstack([x, images[chosen]]), np.append(owner, np.full(len(chosen), b))
    found = passes_between(search.value_and_grad, x, maxima.log_density[owner], search.scale, min_barrier)
    passes, to_copies = np.full((p, p), -np.inf), np.full(p, np.nan)
    np.maximum.at(passes, (owner[:, None], owner[None]), found)
    for b in np.unique(owner[p:]):
        to_copies[b] = found[b, p:][owner[p:] == b].max()
    return passes, np.where(np.isfinite(to_copies), to_copies, np.nan)


def _between_modes(passes: Array, to_copies: Array, group: IntArray) -> Array:
    """Height of the highest pass between any peaks of two modes (K, K), and to a copy of a mode; NaN where none is."""
    k = group.max() + 1
    between = np.full((k, k), -np.inf)
    np.maximum.at(between, (group[:, None], group[None]), passes)
    np.fill_diagonal(between, -np.inf)
    np.maximum.at(between, (group, group), np.where(np.isnan(to_copies), -np.inf, to_copies))
    return np.where(np.isfinite(between), between, np.nan)


def _barriers(between: Array, log_density: Array) -> Array:
    """Fall from the lower of two modes to the pass between them, least over others and copies (K,); NaN if none."""
    falls = np.minimum(log_density[:, None], log_density) - between
    return np.asarray(np.fmin.reduce(falls, axis=1))
