"""The pass between two maxima: the lowest log p̃ on the best path found, a lower bound of the true pass.

First the straight line; then, for neighbours that it leaves apart, the simplified string method (E, Ren and
Vanden-Eijnden 2007, doi:10.1063/1.2720838): a string of points is relaxed uphill across its own direction and
spread out evenly again, all strings at once.
"""

import numpy as np

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.numerics.lbfgs import ValueAndGrad
from pymc_kl.numerics.whitening import whiten

PATH_POINTS = 21  # inner points of a straight line at which log p̃ is evaluated; our choice
LINE_ROWS = 512  # straight lines evaluated together; bounds memory; our choice
STRING_POINTS = 16  # inner points of a string; our choice
STRING_STEPS = 40  # steps by which strings are relaxed; our choice
STEP_SIZE = 0.3  # local standard deviations that a point of a string moves per unit of gradient; our choice
MAX_STEP = 0.5  # longest step of a point, as a part of the distance between neighbouring points of a string; our choice
STRING_FINE = 8  # points on each segment of a relaxed string at which log p̃ is evaluated; our choice
NEIGHBOURS = 4  # nearest maxima to which paths are relaxed; our choice
MAX_STRAIGHT_LINES = 20_000  # straight lines up to which all pairs are tried; bounds evaluations of log p̃; our choice
MAX_STRINGS = 200  # strings relaxed at the most, those with the highest passes so far; bounds evaluations; our choice
STRINGS_OF_OWNERS = 2  # strings relaxed between copies of any two maxima, at the most; our choice
TINY = 1e-300  # least length that is divided by, against division by zero


def passes_between(
    value_and_grad: ValueAndGrad,
    x: Array,
    log_density: Array,
    scale: Array,
    min_barrier: float,
    owner: IntArray | None = None,
) -> Array:
    """Find the height of the pass between every two of P maxima.

    Parameters
    ----------
    value_and_grad : callable
        (n, d) -> (n,), (n, d).
    x : array (P, d)
        Maxima, unconstrained space.
    log_density : array (P,)
        Nats.
    scale : array (d, d)
        Lower Cholesky factor of the local covariance.
    min_barrier : float
        Paths are relaxed only where the straight line falls further than this.
    owner : array (P,) of int, optional
        Maximum that each is a copy of: a few paths between copies of two stand for all of them.

    Returns
    -------
    array (P, P)
        log p̃ at the lowest point of the best path, nats; -inf where no path was tried.
    """
    p = len(x)
    passes = np.full((p, p), -np.inf)
    np.fill_diagonal(passes, log_density)
    if p == 1:
        return passes
    y = whiten(x, scale)
    lower = np.minimum(log_density[:, None], log_density)
    pairs = _near_pairs(y, p - 1 if p * (p - 1) / 2 <= MAX_STRAIGHT_LINES else 2 * NEIGHBOURS)
    _raise_passes(passes, pairs, np.minimum(_lowest_on_lines(value_and_grad, x, pairs), lower[tuple(pairs.T)]))
    near = _near_pairs(y, min(NEIGHBOURS, p - 1))
    falls = (lower - passes)[tuple(near.T)]
    near = near[falls >= min_barrier]
    near = near[np.argsort(falls[falls >= min_barrier], kind="stable")]
    near = near[_first_of_owners(np.arange(p) if owner is None else owner, near)][:MAX_STRINGS]
    if len(near):
        lowest = _lowest_on_strings(value_and_grad, y, near, scale)
        _raise_passes(passes, near, np.minimum(lowest, lower[tuple(near.T)]))
    return passes


def merge_by_persistence(passes: Array, log_density: Array, min_barrier: float) -> IntArray:
    """Merge maxima into modes by topological persistence (Edelsbrunner et al. 2002, doi:10.1007/s00454-002-2885-2).

    Passes are opened from the highest down. Where two connected regions meet, the mode of the lower one's highest
    maximum merges into its neighbour's if that maximum rises above the pass by less than `min_barrier`; a low maximum
    between two high modes so joins one of them and does not connect them.

    Parameters
    ----------
    passes : array (P, P)
        log p̃ at the pass between every two maxima, nats; -inf where none is known.
    log_density : array (P,)
        log p̃ at the maxima, nats.
    min_barrier : float
        Nats.

    Returns
    -------
    array (P,) of int
        Index of the highest maximum of each maximum's mode.
    """
    p = len(log_density)
    region = np.arange(p)  # a connected region is named by its highest maximum
    mode = np.arange(p)
    a, b = np.triu_indices(p, 1)
    for i in np.argsort(-passes[a, b], kind="stable"):
        height, sides = passes[a[i], b[i]], (int(a[i]), int(b[i]))
        if region[sides[0]] == region[sides[1]] or not np.isfinite(height):
            continue
        highest = [int(region[side]) for side in sides]
        low = int(log_density[highest[0]] > log_density[highest[1]])
        if log_density[highest[low]] - height < min_barrier:
            mode[mode == mode[highest[low]]] = mode[sides[1 - low]]
        region[region == highest[low]] = highest[1 - low]
    return _highest_of_mode(mode, log_density)


def _highest_of_mode(mode: IntArray, log_density: Array) -> IntArray:
    """Index (P,) of the highest maximum of each maximum's mode, whatever the modes (P,) are called."""
    highest = np.empty_like(mode)
    for name in np.unique(mode):
        members = np.flatnonzero(mode == name)
        highest[members] = members[log_density[members].argmax()]
    return highest


def _near_pairs(y: Array, n_neighbours: int) -> IntArray:
    """Pairs (m, 2) of points (P, d) of which one is among the nearest of the other."""
    distance = np.linalg.norm(y[:, None] - y[None], axis=2)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, 1 : n_neighbours + 1]
    pairs = np.column_stack([np.repeat(np.arange(len(y)), nearest.shape[1]), nearest.ravel()])
    return np.unique(np.sort(pairs, axis=1), axis=0)


def _first_of_owners(owner: IntArray, pairs: IntArray) -> BoolArray:
    """Mark the first few pairs (m, 2) between copies of any two maxima, and all between copies of one."""
    owners = np.sort(owner[pairs], axis=1)
    order, rank = np.lexsort(owners.T), np.empty(len(pairs), dtype=np.int64)
    begins = np.flatnonzero(np.diff(owners[order], axis=0, prepend=-1).any(axis=1))
    rank[order] = np.arange(len(pairs)) - np.repeat(begins, np.diff(begins, append=len(pairs)))
    return np.asarray((rank < STRINGS_OF_OWNERS) | (owners[:, 0] == owners[:, 1]))


def _raise_passes(passes: Array, pairs: IntArray, heights: Array) -> None:
    """Raise the passes of pairs (m, 2) to the heights (m,) of paths, where those are higher."""
    a, b = pairs.T
    passes[a, b] = passes[b, a] = np.maximum(passes[a, b], heights)


def _lowest_on_lines(value_and_grad: ValueAndGrad, x: Array, pairs: IntArray) -> Array:
    """Lowest log p̃ (m,) on the straight line of each pair (m, 2), on a coarse grid and a fine one about its minimum."""
    lowest = np.empty(len(pairs))
    gap = 1 / (PATH_POINTS + 1)
    for i in range(0, len(pairs), LINE_ROWS):
        chunk = pairs[i : i + LINE_ROWS]
        ends = x[chunk[:, 0]], x[chunk[:, 1]]
        t = np.broadcast_to(np.linspace(gap, 1 - gap, PATH_POINTS), (len(ends[0]), PATH_POINTS))
        coarse = _along(value_and_grad, ends, t)
        centre = np.take_along_axis(t, coarse.argmin(axis=1)[:, None], axis=1)
        fine = _along(value_and_grad, ends, centre + np.linspace(-gap, gap, PATH_POINTS))
        lowest[i : i + LINE_ROWS] = np.minimum(coarse.min(axis=1), fine.min(axis=1))
    return lowest


def _along(value_and_grad: ValueAndGrad, ends: tuple[Array, Array], t: Array) -> Array:
    """Evaluate log p̃ (m, T) at the fractions t (m, T) of the way between two ends (m, d)."""
    points = ends[0][:, None] * (1 - t[..., None]) + ends[1][:, None] * t[..., None]
    values = value_and_grad(points.reshape(-1, points.shape[2]))[0].reshape(t.shape)
    return np.nan_to_num(values, nan=-np.inf)


def _lowest_on_strings(value_and_grad: ValueAndGrad, y: Array, pairs: IntArray, scale: Array) -> Array:
    """Lowest log p̃ (m,) on a relaxed string of points between each pair (m, 2) of whitened maxima (P, d)."""
    t = np.linspace(0, 1, STRING_POINTS + 2)[:, None]
    strings = y[pairs[:, 0]][:, None] * (1 - t) + y[pairs[:, 1]][:, None] * t
    for _ in range(STRING_STEPS):
        strings[:, 1:-1] += _uphill(value_and_grad, strings, scale)
        strings = _spread(strings)
    t = np.linspace(0, 1, STRING_FINE + 1)[:-1, None]
    fine = strings[:, :-1, None] * (1 - t) + strings[:, 1:, None] * t
    value = value_and_grad((fine @ scale.T).reshape(-1, y.shape[1]))[0].reshape(len(pairs), -1)
    return np.nan_to_num(value, nan=-np.inf).min(axis=1)


def _uphill(value_and_grad: ValueAndGrad, strings: Array, scale: Array) -> Array:
    """Step (m, S, d) of each inner point uphill across its string, at most half the points' spacing."""
    inner = strings[:, 1:-1]
    _, grad = value_and_grad((inner @ scale.T).reshape(-1, strings.shape[2]))
    grad = np.nan_to_num((grad @ scale).reshape(inner.shape), nan=0.0, posinf=0.0, neginf=0.0)
    along = strings[:, 2:] - strings[:, :-2]
    spacing = np.linalg.norm(along, axis=2, keepdims=True) / 2
    along /= np.maximum(2 * spacing, TINY)
    across = STEP_SIZE * (grad - (grad * along).sum(axis=2, keepdims=True) * along)
    length = np.linalg.norm(across, axis=2, keepdims=True)
    return np.asarray(across * np.minimum(1.0, MAX_STEP * spacing / np.maximum(length, TINY)))


def _spread(strings: Array) -> Array:
    """Put the points of each string (m, S, d) at equal distances along it again."""
    lengths = np.linalg.norm(np.diff(strings, axis=1), axis=2)
    reached = np.concatenate([np.zeros((len(strings), 1)), np.cumsum(lengths, axis=1)], axis=1)
    wanted = np.linspace(0, 1, strings.shape[1]) * reached[:, -1:]
    return np.stack([_on_string(*string) for string in zip(strings, reached, wanted, strict=True)])


def _on_string(string: Array, reached: Array, wanted: Array) -> Array:
    """Points at the wanted distances (S,) along one string (S, d), whose points lie at those reached (S,)."""
    right = np.clip(np.searchsorted(reached, wanted), 1, len(reached) - 1)
    gap = np.maximum(reached[right] - reached[right - 1], TINY)
    part = np.clip((wanted - reached[right - 1]) / gap, 0, 1)[:, None]
    return string[right - 1] * (1 - part) + string[right] * part
