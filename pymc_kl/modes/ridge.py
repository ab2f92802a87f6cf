"""Why log p̃ has no proper maximum: a rotation, a ridge, or a rise without end, in named variables."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.model.graphs import Variables
from pymc_kl.model.smoothness import coordinate_names, listed
from pymc_kl.model.target import Target
from pymc_kl.numerics.lbfgs import ValueAndGrad, climb
from pymc_kl.numerics.whitening import whiten

RIDGE_STARTS = 8  # points that are climbed from to see where climbs end; our choice
WALL_POINTS = 64  # points beside which a wall is looked for; our choice
WALL_SHARE = 0.1  # least share of them that have it a standard deviation away; our choice
TURN = 0.7  # radians by which an axis is rotated in its first two labels, to see whether log p̃ changes; our choice
UNCHANGED = 1e-6  # relative to |log p̃| + 1: change by a rotation that is rounding; our choice
MOVED = 0.1  # local standard deviations that a point moves at the least along a ridge; our choice
NULL = 1e-4  # curvature relative to the largest, below which a direction may be that of a ridge; our choice
ALONG = 0.5  # local standard deviations of one step along a ridge; our choice
RIDGE_LEVEL = 1e-3  # nats that log p̃ may change along a ridge; our choice
HESSIAN_STEP = 1e-4  # local standard deviations: step of a central difference of the gradient; our choice
TAKES_PART = 0.01  # of a ridge's squared direction: least share of a variable that is named; our choice
MOST_LOST = 0.5  # share of climbs that may end nowhere before log p̃ is taken to rise without end; our choice
RISES = 0.1  # nats a standard deviation that log p̃ still rises by there, at the least; our choice
RUN_AWAY = 10.0  # standard deviations from its start at which a climb has run away; our choice

type Site = tuple[Variables, int]


def why_no_maximum(target: Target, x: Array, scale: Array) -> str:
    """Say along what log p̃ is flat or rises without end, as climbs from points (n, d) see it; nothing if unclear.

    `scale` (d, d) is the lower Cholesky factor of the local covariance.
    """
    if wall := behind_a_wall(target, x, scale):
        return wall
    starts = _some(x)
    climbed = climb(target.log_density_and_grad, starts, scale)
    ends, lost = climbed.x[climbed.converged], ~climbed.converged
    if lost.mean() > MOST_LOST:
        sds = np.sqrt((scale**2).sum(axis=1))
        slope = target.log_density_and_grad(climbed.x[lost])[1] * sds
        return _rise(target, (climbed.x - starts)[lost] / sds, slope)
    if rotation := free_rotation(target, ends, scale):
        return rotation
    if along := _ridge(target, ends[0], scale):
        return f"the log density is flat along a ridge in {listed(along)}"
    return ""


def free_rotation(target: Target, x: Array, scale: Array) -> str:
    """Say along what rotation of a variable's axes log p̃ stays as it is at points (n, d); nothing if along none."""
    if behind_a_wall(target, x, scale):  # within it all may turn
        return ""
    some = _some(x)
    if rotated := [sites for sites in _rotations(target) if _turns(target, sites, some, scale)]:
        return f"the posterior is not identified along a rotation of {_written(rotated[0])}"
    return ""


def behind_a_wall(target: Target, x: Array, scale: Array) -> str:
    """Say along which variables p̃ is cut to zero one local standard deviation from points (n, d), if it is.

    Transformed variables have no such walls: they are written as a potential of -inf, or come from a likelihood with
    bounds.
    """
    some = _some(x[np.isfinite(target.log_density(x))], WALL_POINTS)
    if not len(some):
        return ""
    moves = np.diag(np.sqrt((scale**2).sum(axis=1)))
    beyond = [target.log_density((some[:, None] + side * moves).reshape(-1, target.d)) for side in (1, -1)]
    cut = np.stack(beyond).reshape(2, len(some), target.d) == -np.inf
    share = cut.mean(axis=1).max(axis=0)
    if share.max() < WALL_SHARE:
        return ""
    names = coordinate_names(target)
    walled = dict.fromkeys(names[j] for j in np.argsort(-share) if share[j] > share.max() / 2)
    return (
        f"the density is cut to zero beyond a wall in {listed(list(walled))}, which no gradient tells of: use a "
        "distribution that is bounded there, for which PyMC has a transform"
    )


def _some(x: Array, n: int = RIDGE_STARTS) -> Array:
    """Take a few of the points (n, d), evenly spread."""
    return x[np.linspace(0, len(x) - 1, min(len(x), n)).astype(int)]


def _rise(target: Target, away: Array, slope: Array) -> str:
    """Name the coordinates that climbs run away along, and whither.

    `away` (n, d) is in standard deviations, and `slope` of log p̃ at their ends in nats for each: it is none along
    coordinates that only came from far off.
    """
    rises = np.sign(away) * slope > RISES
    away = np.where(rises, away, 0.0) if rises.any() else away
    furthest = away[np.abs(away).max(axis=1).argmax()]
    leading = np.flatnonzero((np.abs(furthest) > RUN_AWAY) & (np.abs(furthest) >= np.abs(furthest).max() / 2))
    if not len(leading):
        return ""
    to = [f"`{target.labels[j]}` → {'∞' if furthest[j] > 0 else '-∞'}" for j in leading[:3]]
    return f"the log density goes on rising as {', '.join(to)}: at the boundary of the support, or at infinity"


def _rotations(target: Target) -> Iterator[tuple[Site, ...]]:
    """Axes of variables that may be rotated: each alone, then those of one length together."""
    by_length = defaultdict[int, list[Site]](list)
    for variable in target.variables:
        if variable.shape == variable.value_shape:
            for axis, length in enumerate(variable.shape):
                by_length[length].append((variable, axis))
    for length, sites in by_length.items():
        if length > 1:
            yield from ((site,) for site in sites)
            if len({variable.name for variable, _ in sites}) == len(sites) > 1:
                yield tuple(sites)


def _turns(target: Target, sites: tuple[Site, ...], ends: Array, scale: Array) -> bool:
    """Tell whether rotating axes moves points (n, d) and leaves log p̃ as it is."""
    turned = ends.copy()
    for variable, axis in sites:
        _rotate(turned, variable, axis)
    value = target.log_density(ends)
    unchanged = np.abs(target.log_density(turned) - value) <= UNCHANGED * (1 + np.abs(value))
    moved = np.linalg.norm(whiten(turned - ends, scale), axis=1) > MOVED
    return bool((unchanged & moved).all())


def _rotate(x: Array, variable: Variables, axis: int) -> None:
    """Rotate the first two labels along one axis of a variable in points (n, d), in place."""
    block = np.moveaxis(x[:, variable.coordinates].reshape(-1, *variable.value_shape), axis + 1, 0)
    first, second = block[0].copy(), block[1].copy()
    block[0] = np.cos(TURN) * first - np.sin(TURN) * second
    block[1] = np.sin(TURN) * first + np.cos(TURN) * second
    x[:, variable.coordinates] = np.moveaxis(block, 0, axis + 1).reshape(len(x), -1)


def _written(sites: tuple[Site, ...]) -> str:
    """Write the axes of a rotation: `W` (axis 1)."""
    names = [f"`{variable.name}` (axis {axis})" if len(variable.shape) > 1 else f"`{variable.name}`"
             for variable, axis in sites]  # fmt: skip
    return " and ".join(names)


def _ridge(target: Target, end: Array, scale: Array) -> list[str]:
    """Name the variables of a curve through the end (d,) of a climb along which log p̃ keeps its height."""
    value_and_grad = target.log_density_and_grad
    height = value_and_grad(end[None])[0][0]
    for direction in _null_directions(value_and_grad, end, scale).T:
        step = scale @ direction
        again = climb(value_and_grad, end + np.array([[-ALONG], [ALONG]]) * step, scale)
        moved = np.linalg.norm(whiten(again.x - end, scale), axis=1)
        if (np.abs(again.log_density - height) < RIDGE_LEVEL).all() and (moved > ALONG / 2).all():
            share = (step / np.sqrt((scale**2).sum(axis=1))) ** 2
            names = coordinate_names(target)
            shares = {name: share[[n == name for n in names]].sum() / share.sum() for name in names}
            return sorted((n for n in shares if shares[n] > TAKES_PART), key=lambda n: -shares[n])
    return []


def _null_directions(value_and_grad: ValueAndGrad, x: Array, scale: Array) -> Array:
    """Whitened directions (d, m) without curvature at a point (d,), the flattest first."""
    steps = HESSIAN_STEP * scale.T
    _, grads = value_and_grad(np.concatenate([x + steps, x - steps]))
    hessian = np.nan_to_num((grads[: len(x)] - grads[len(x) :]) @ scale / (2 * HESSIAN_STEP))
    curvature, directions = np.linalg.eigh(-0.5 * (hessian + hessian.T))
    flat: IntArray = np.flatnonzero(np.abs(curvature) < NULL * np.abs(curvature).max())
    return np.asarray(directions[:, flat[np.argsort(np.abs(curvature[flat]))]])
