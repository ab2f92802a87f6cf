"""Maxima → modes: merge across low barriers, copies included; or one region where there is no proper maximum."""

from dataclasses import replace

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.model.periodic import PERIOD
from pymc_kl.modes.assign import SAME_COPY, Basins
from pymc_kl.modes.barriers import merge_by_persistence, passes_between
from pymc_kl.modes.climbs import ASSIGN_STEPS
from pymc_kl.modes.maxima import Maxima
from pymc_kl.modes.modes import Modes
from pymc_kl.modes.multistart import Found
from pymc_kl.modes.numbering import ELSEWHERE
from pymc_kl.modes.symmetry.symmetry import trivial
from pymc_kl.numerics.estimate import UNKNOWN
from pymc_kl.numerics.lbfgs import ValueAndGrad
from pymc_kl.numerics.whitening import covariances_of_precisions, whiten

IMAGES = 24  # copies of a maximum among which the nearest to other maxima is looked for; our choice
HURRIED_STEPS = 30  # of a climb that assigns a point, where the search was stopped early; our choice
N_DISPERSED = 4  # starts from which chains must agree that a region without a maximum is one; our choice


def one_region(found: Found, value_and_grad: ValueAndGrad, rng: np.random.Generator) -> Modes:
    """Treat a posterior without proper maximum as one region, located at its most central draw."""
    prior, typical = found.prior, found.typical
    prior = prior[np.isfinite(value_and_grad(prior)[0])] if len(prior) else typical
    typical = typical[np.isfinite(value_and_grad(typical)[0])]
    away = whiten(typical - np.median(typical, axis=0), found.scale)
    location = typical[np.argmin((away**2).sum(axis=1))][None]
    d, n = location.shape[1], len(found.owner)
    none = Maxima.none(trivial(d, found.maxima.symmetry.angles))
    return Modes(
        x=location,
        log_density=value_and_grad(location)[0],
        covariances=np.full((1, d, d), np.nan),
        log_volumes=np.full(1, np.nan),
        copies=np.ones(1),
        barrier=np.full(1, np.nan),
        passes=np.full((1, 1), np.nan),
        hits=np.array([n]),
        found_by=("draws",),
        n_starts=n,
        n_lost=n,
        unseen=UNKNOWN,
        proper=False,
        partial=found.partial,
        dispersed=prior[rng.permutation(len(prior))[:N_DISPERSED]],
        basins=Basins(none, np.empty(0, dtype=np.int64), np.empty(0), found.scale, value_and_grad),
    )


def region_of_draws(draws: Array, value_and_grad: ValueAndGrad, reason: str) -> Modes:
    """Take draws (n, d) as all that is known of a posterior, one region, where nothing can climb for some reason."""
    sd = draws.std(axis=0)
    found = Found(
        maxima=Maxima.none(trivial(draws.shape[1])),
        owner=np.empty(0, dtype=np.int64),
        source=np.empty(0, dtype=object),
        scale=np.diag(np.where(sd > 0, sd, 1.0)),
        prior=draws[:0],
        typical=draws,
        proper=False,
        unseen=UNKNOWN,
        partial=False,
    )
    return replace(one_region(found, value_and_grad, np.random.default_rng(0)), reason=reason)


def merge_maxima(found: Found, value_and_grad: ValueAndGrad, min_barrier: float) -> Modes:
    """Merge maxima across low barriers into modes, highest first."""
    maxima = found.maxima
    passes, to_copies = _passes(found, value_and_grad, min_barrier)
    top, mode_of_maximum = _modes_of(merge_by_persistence(passes, maxima.log_density, min_barrier), maxima)
    reached = np.where(found.owner >= 0, mode_of_maximum[found.owner], ELSEWHERE)
    copies = maxima.symmetry.n_copies(maxima.x, found.scale)
    between = _between_modes(passes, to_copies, mode_of_maximum)
    return Modes(
        x=maxima.x[top],
        log_density=maxima.log_density[top],
        covariances=covariances_of_precisions(maxima.precisions[top]),
        log_volumes=maxima.log_volumes[top],
        copies=copies[top],
        barrier=_barriers(between, maxima.log_density[top]),
        passes=between,
        hits=np.bincount(reached[reached >= 0], minlength=len(top)),
        found_by=tuple("+".join(dict.fromkeys(found.source[reached == k])) for k in range(len(top))),
        n_starts=len(found.owner),
        n_lost=int((reached < 0).sum()),
        unseen=found.unseen,
        proper=True,
        partial=found.partial,
        dispersed=np.empty((0, maxima.x.shape[1])),
        basins=Basins(
            maxima,
            mode_of_maximum,
            copies,
            found.scale,
            value_and_grad,
            HURRIED_STEPS if found.partial else ASSIGN_STEPS,
        ),
    )


def _modes_of(highest: IntArray, maxima: Maxima) -> tuple[IntArray, IntArray]:
    """Number modes, highest first: the highest maximum of each (K,), and the mode of each maximum (P,)."""
    top = np.unique(highest)
    top = top[np.argsort(-maxima.log_density[top], kind="stable")]
    number = np.zeros(len(maxima), dtype=np.int64)
    number[top] = np.arange(len(top))
    return top, number[highest]


def _passes(found: Found, value_and_grad: ValueAndGrad, min_barrier: float) -> tuple[Array, Array]:
    """Heights of the passes between maxima (P, P) and from each to another copy of itself (P,), NaN where none is."""
    maxima, p = found.maxima, len(found.maxima)
    copies, of = _near_copies(maxima, found.scale)
    turned, turned_of = _turned(maxima)
    x, owner = np.vstack([maxima.x, copies, turned]), np.concatenate([np.arange(p), of, turned_of])
    heights = passes_between(value_and_grad, x, maxima.log_density[owner], found.scale, min_barrier, owner)
    passes, to_copies = np.full((p, p), -np.inf), np.full(p, np.nan)
    np.maximum.at(passes, (owner[:, None], owner[None]), heights)
    for b in np.unique(of):
        to_copies[b] = heights[b, p : p + len(of)][of == b].max()
    return passes, np.where(np.isfinite(to_copies), to_copies, np.nan)


def _turned(maxima: Maxima) -> tuple[Array, IntArray]:
    """Shift maxima by whole periods to where another is nearer across the cut: points (m, d), and whose (m,)."""
    x, of = [np.empty((0, maxima.symmetry.d))], [np.empty(0, dtype=np.int64)]
    for b in range(len(maxima) if len(maxima.symmetry.angles) else 0):
        turned = maxima.x + maxima.symmetry.away(np.tile(maxima.x[b], (len(maxima), 1)), maxima.x)
        shifts = PERIOD * np.unique(np.round((turned - maxima.x[b]) / PERIOD), axis=0)
        shifts = shifts[shifts.any(axis=1)]
        x.append(maxima.x[b] + shifts)
        of.append(np.full(len(shifts), b))
    return np.vstack(x), np.concatenate(of)


def _near_copies(maxima: Maxima, scale: Array) -> tuple[Array, IntArray]:
    """Find copies (m, d) of maxima: the nearest of each, and those nearer to another than it is; also whose (m,)."""
    y = whiten(maxima.x, scale)
    x, of = [np.empty((0, maxima.symmetry.d))], [np.empty(0, dtype=np.int64)]
    for b in range(0 if maxima.symmetry.is_trivial else len(maxima)):
        images = maxima.symmetry.images(maxima.x[b], IMAGES)
        distance = np.linalg.norm(whiten(images, scale)[None] - y[:, None], axis=2)
        others = distance[b] > SAME_COPY
        images, distance = images[others], distance[:, others]
        if len(images):
            between_maxima = np.linalg.norm(y - y[b], axis=1)
            between_maxima[b] = np.inf
            nearer = distance.min(axis=1) < between_maxima
            chosen = np.unique(distance.argmin(axis=1)[nearer])
            x.append(images[chosen])
            of.append(np.full(len(chosen), b))
    return np.vstack(x), np.concatenate(of)


def _between_modes(passes: Array, to_copies: Array, mode: IntArray) -> Array:
    """Height of the highest pass between any maxima of two modes (K, K), and to a copy of a mode; NaN where none is."""
    k = mode.max() + 1
    between = np.full((k, k), -np.inf)
    np.maximum.at(between, (mode[:, None], mode[None]), passes)
    np.fill_diagonal(between, -np.inf)
    np.maximum.at(between, (mode, mode), np.where(np.isnan(to_copies), -np.inf, to_copies))
    return np.where(np.isfinite(between), between, np.nan)


def _barriers(between: Array, log_density: Array) -> Array:
    """Fall from the lower of two modes to the pass between them, least over others and copies (K,); NaN if none."""
    falls = np.minimum(log_density[:, None], log_density) - between
    return np.asarray(np.fmin.reduce(falls, axis=1))
