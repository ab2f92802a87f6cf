"""The pass between two peaks: how high log p̃ stays on the best path found, a lower bound of the true pass.

First the straight line; then, for neighbours that it leaves apart, a string of points that is relaxed uphill
across its own direction and spread out evenly again (E, Ren and Vanden-Eijnden 2007,
doi:10.1063/1.2720838), all strings at once.
"""

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.numerics.lbfgs import ValueAndGrad

LINE_POINTS = 21  # inner points of a straight line
STRING_POINTS = 16
STRING_STEPS = 40
STRING_FINE = 8  # points on each piece of a relaxed string
NEIGHBOURS = 4  # nearest peaks whose paths are worth relaxing
MAX_LINES = 20_000  # straight lines evaluated at the most
MAX_STRINGS = 200  # paths relaxed at the most, those with the highest passes so far


def passes_between(
    value_and_grad: ValueAndGrad, x: Array, log_density: Array, scale: Array, min_barrier: float
) -> Array:
    """Find the height of the pass between every two of P peaks.

    Parameters
    ----------
    value_and_grad : callable
        (n, d) -> (n,), (n, d).
    x : array (P, d)
        Peaks, unconstrained space.
    log_density : array (P,)
        Nats.
    scale : array (d, d)
        Lower Cholesky factor of the local covariance.
    min_barrier : float
        Paths are relaxed only where the straight line falls further than this.

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
    y = np.linalg.solve(scale, x.T).T
    lower = np.minimum(log_density[:, None], log_density)
    pairs = _near_pairs(y, p - 1 if p * (p - 1) / 2 <= MAX_LINES else 2 * NEIGHBOURS)
    _raise_passes(passes, pairs, np.minimum(_lowest_on_lines(value_and_grad, x, pairs), lower[tuple(pairs.T)]))
    near = _near_pairs(y, min(NEIGHBOURS, p - 1))
    falls = (lower - passes)[tuple(near.T)]
    near = near[falls >= min_barrier]
    near = near[np.argsort(falls[falls >= min_barrier], kind="stable")[:MAX_STRINGS]]
    if len(near):
        lowest = _lowest_on_strings(value_and_grad, y, near, scale)
        _raise_passes(passes, near, np.minimum(lowest, lower[tuple(near.T)]))
    return passes


def persistent_groups(passes: Array, log_density: Array, min_barrier: float) -> IntArray:
    """Join peaks to the mode they belong to, by persistence.

    Passes are opened from the highest down. Where two groups meet, the one with the lower peak joins its
    neighbour if it rises above the pass by less than `min_barrier`; a low peak between two high modes so
    joins one of them and does not connect them.

    Parameters
    ----------
    passes : array (P, P)
    log_density : array (P,)
    min_barrier : float
        Nats.

    Returns
    -------
    array (P,) of int
        Index of the highest peak of each peak's mode.
    """
    p = len(log_density)
    lake, top_of = np.arange(p), np.arange(p)
    a, b = np.triu_indices(p, 1)
    for i in np.argsort(-passes[a, b], kind="stable"):
        height, sides = passes[a[i], b[i]], (int(a[i]), int(b[i]))
        if lake[sides[0]] == lake[sides[1]] or not np.isfinite(height):
            continue
        summits = [int(lake[side]) for side in sides]  # a lake of connected peaks is named by its summit
        low = int(log_density[summits[0]] > log_density[summits[1]])
        if log_density[summits[low]] - height < min_barrier:
            top_of[top_of == top_of[summits[low]]] = top_of[sides[1 - low]]
        lake[lake == summits[low]] = summits[1 - low]
    return _highest_of_group(top_of, log_density)


def _highest_of_group(top_of: IntArray, log_density: Array) -> IntArray:
    highest = np.empty_like(top_of)
    for group in np.unique(top_of):
        members = np.flatnonzero(top_of == group)
        highest[members] = members[log_density[members].argmax()]
    return highest


def _near_pairs(y: Array, n_neighbours: int) -> IntArray:
    distance = np.linalg.norm(y[:, None] - y[None], axis=2)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, 1 : n_neighbours + 1]
    pairs = np.column_stack([np.repeat(np.arange(len(y)), nearest.shape[1]), nearest.ravel()])
    return np.unique(np.sort(pairs, axis=1), axis=0)


def _raise_passes(passes: Array, pairs: IntArray, heights: Array) -> None:
    a, b = pairs.T
    passes[a, b] = passes[b, a] = np.maximum(passes[a, b], heights)


def _lowest_on_lines(value_and_grad: ValueAndGrad, x: Array, pairs: IntArray) -> Array:
    """Find the lowest log p̃ on each straight line, looked at again more closely about the lowest point."""
    lowest = np.empty(len(pairs))
    gap = 1 / (LINE_POINTS + 1)
    for i in range(0, len(pairs), 512):
        ends = x[pairs[i : i + 512, 0]], x[pairs[i : i + 512, 1]]
        t = np.broadcast_to(np.linspace(gap, 1 - gap, LINE_POINTS), (len(ends[0]), LINE_POINTS))
        coarse = _along(value_and_grad, ends, t)
        centre = np.take_along_axis(t, coarse.argmin(axis=1)[:, None], axis=1)
        fine = _along(value_and_grad, ends, centre + np.linspace(-gap, gap, LINE_POINTS))
        lowest[i : i + 512] = np.minimum(coarse.min(axis=1), fine.min(axis=1))
    return lowest


def _along(value_and_grad: ValueAndGrad, ends: tuple[Array, Array], t: Array) -> Array:
    """Evaluate log p̃ (P, T) at the shares t (P, T) of the way between the ends (P, d)."""
    points = ends[0][:, None] * (1 - t[..., None]) + ends[1][:, None] * t[..., None]
    values = value_and_grad(points.reshape(-1, points.shape[2]))[0].reshape(t.shape)
    return np.nan_to_num(values, nan=-np.inf)


def _lowest_on_strings(value_and_grad: ValueAndGrad, y: Array, pairs: IntArray, scale: Array) -> Array:
    """Relax a string of points between each pair of peaks; return the lowest log p̃ on it, looked at closely."""
    t = np.linspace(0, 1, STRING_POINTS + 2)[:, None]
    strings = y[pairs[:, 0]][:, None] * (1 - t) + y[pairs[:, 1]][:, None] * t
    for _ in range(STRING_STEPS):
        inner = strings[:, 1:-1]
        _, grad = value_and_grad((inner @ scale.T).reshape(-1, y.shape[1]))
        grad = np.nan_to_num((grad @ scale).reshape(inner.shape), nan=0.0, posinf=0.0, neginf=0.0)
        strings[:, 1:-1] = inner + _across(strings, grad)
        strings = _spread(strings)
    t = np.linspace(0, 1, STRING_FINE + 1)[:-1, None]
    fine = strings[:, :-1, None] * (1 - t) + strings[:, 1:, None] * t
    value = value_and_grad((fine @ scale.T).reshape(-1, y.shape[1]))[0].reshape(len(pairs), -1)
    return np.nan_to_num(value, nan=-np.inf).min(axis=1)


def _across(strings: Array, grad: Array) -> Array:
    """Steps uphill (P, S, d), with the part along the string taken out, at most half the points' spacing."""
    along = strings[:, 2:] - strings[:, :-2]
    spacing = np.linalg.norm(along, axis=2, keepdims=True) / 2
    along /= np.maximum(2 * spacing, 1e-300)
    across = 0.3 * (grad - (grad * along).sum(axis=2, keepdims=True) * along)
    length = np.linalg.norm(across, axis=2, keepdims=True)
    return np.asarray(across * np.minimum(1.0, 0.5 * spacing / np.maximum(length, 1e-300)))


def _spread(strings: Array) -> Array:
    """Place the points of each string (P, S, d) at equal distances along it again."""
    pieces = np.linalg.norm(np.diff(strings, axis=1), axis=2)
    reached = np.concatenate([np.zeros((len(strings), 1)), np.cumsum(pieces, axis=1)], axis=1)
    wanted = np.linspace(0, 1, strings.shape[1]) * reached[:, -1:]
    spread = np.empty_like(strings)
    for s, (have, want) in enumerate(zip(reached, wanted, strict=True)):
        right = np.clip(np.searchsorted(have, want), 1, len(have) - 1)
        gap = np.maximum(have[right] - have[right - 1], 1e-300)
        part = np.clip((want - have[right - 1]) / gap, 0, 1)[:, None]
        spread[s] = strings[s, right - 1] * (1 - part) + strings[s, right] * part
    return spread
