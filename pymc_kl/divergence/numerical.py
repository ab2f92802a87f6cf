"""KL(p‖q) = E_p[log p - log q] by quadrature, by a sum or by Monte Carlo.

Each function returns the divergence and its error, in nats. Quadrature and sums serve one dimension, and return None
where they can't account for all of p's mass; Monte Carlo always applies.
"""

from collections.abc import Iterator

import numpy as np
from scipy.integrate import quad_vec

from pymc_kl._typing import Array
from pymc_kl.divergence.densities import Density
from pymc_kl.numerics.estimate import Estimate

SUPPORT_DRAWS = 20_000  # draws of each density that show where it has its mass; our choice
LOG_TINY = -700.0  # log density below which p counts as 0: about the smallest number in double precision
NEGLIGIBLE_TERM = 1e-18  # nats, or share of p's mass, below which terms are left out
MASS_TOLERANCE = 1e-6  # largest share of p's mass that may be missing from an integral or a sum
QUANTILES = (64, 1024)  # panels between quantiles of the draws, in the first try and in the second
RARE = 2.0 ** -np.arange(5.0, 15.0)  # shares of the draws in a tail that may hold a mode of its own
STEP_GROWTH = 8.0  # ratio of each step outward to the one before; our choice
TAIL_STEPS = 166  # most steps outward: 8^166 = 1e150, whose square is still finite
EDGE_STEPS = 330  # most steps towards an edge: 8^-330 = 1e-298
HEAVY_STEPS = 33  # steps outward from which on a tail falls like a power: 8^33 = 1e30
SLOPE_TOLERANCE = 1e-3  # error of a tail's exponent; from -1 upwards its integral is infinite; our choice
MAX_TERMS = 200_000  # most terms of a sum; bounds time; our choice
MAX_BISECTIONS = 50  # most intervals of the adaptive quadrature; our choice
LOST_LOG_RATIO = 40.0  # nats: largest log p/q assumed where p has mass that was not found; our choice
INFINITE = Estimate(float("inf"), 0.0)  # nats; q is 0 where p is not


class InfiniteDivergenceError(ArithmeticError):
    """Raised where q is 0 and p is not, or where the integral has no limit."""


def average_log_ratio(p: Density, q: Density, n: int, rng: np.random.Generator) -> Estimate:
    """Average log p - log q over n draws of p; NaN where a draw was rounded onto a pole of p."""
    x = p.sample(n, rng)
    log_p, log_q = p.log_prob(x), q.log_prob(x)
    if (np.isfinite(log_p) & (log_q == -np.inf)).any():
        return INFINITE
    log_ratio = np.where(np.isfinite(log_p), log_p, np.nan) - np.where(np.isfinite(log_p), log_q, 0.0)
    return Estimate(float(log_ratio.mean()), float(log_ratio.std(ddof=1) / np.sqrt(n)))


def sum_log_ratio(p: Density, q: Density, rng: np.random.Generator) -> Estimate | None:
    """Sum over the integers, from p's draws outward until the terms vanish; the error is the sum of the last block."""
    draws = p.sample(SUPPORT_DRAWS, rng)[:, 0]
    total, terms = np.zeros(2), 0
    try:
        _terms(p, q, _far_integers(draws.min(), draws.max()))
        for block in _integer_blocks(draws.min(), draws.max()):
            added = _terms(p, q, block)
            total, terms = total + added.sum(axis=1), terms + block.size
            last = np.abs(added).sum(axis=1)
            if last.max() < NEGLIGIBLE_TERM or terms > MAX_TERMS:
                break
    except InfiniteDivergenceError:
        return INFINITE
    return Estimate(float(total[1]), float(last[1])) if abs(total[0] - 1) < MASS_TOLERANCE else None


def _integer_blocks(lower: float, upper: float) -> Iterator[Array]:
    """Yield the integers of [lower, upper], then ever wider blocks on both sides."""
    yield np.arange(lower, upper + 1)
    while True:
        width = upper - lower + 8
        yield np.concatenate([np.arange(lower - width, lower), np.arange(upper + 1, upper + width + 1)])
        lower, upper = lower - width, upper + width


def _far_integers(lower: float, upper: float) -> Array:
    """List integers far out, where q may end before p does."""
    far = 2.0 ** np.arange(40)
    return np.concatenate([lower - far, upper + far])


def integrate_log_ratio(p: Density, q: Density, rng: np.random.Generator) -> Estimate | None:
    """Integrate over p's support, split at quantiles of both; at more of them where p's mass isn't found."""
    draws_p, draws_q = (_sorted_draws(density, rng) for density in (p, q))
    try:
        _terms(p, q, draws_p)
        left, right = (_tail(p, q, end, np.median(draws_p)) for end in draws_p[[0, -1]])
        for levels in QUANTILES:
            shares = np.concatenate([np.linspace(0, 1, levels + 1), RARE, 1 - RARE])
            body = [np.quantile(draws, shares) for draws in (draws_p, draws_q)]
            points = np.clip(np.concatenate([left, right, *body]), left.min(), right.max())
            (mass, value), error = _integrate_panels(p, q, _graded(points))
            if abs(mass - 1) < MASS_TOLERANCE:
                return Estimate(value, error + abs(mass - 1) * LOST_LOG_RATIO)
    except InfiniteDivergenceError:
        return INFINITE
    return None


def _graded(points: Array) -> Array:
    """Sort points and add some until no panel is much wider than its neighbour, as beside a narrow mode."""
    while True:
        points = np.unique(points)
        inner, width = points[1:-1], np.diff(points)
        before, after = width[:-1], width[1:]
        wider_after, wider_before = after > 2 * STEP_GROWTH * before, before > 2 * STEP_GROWTH * after
        added = np.concatenate(
            [(inner + STEP_GROWTH * before)[wider_after], (inner - STEP_GROWTH * after)[wider_before]]
        )
        if not np.setdiff1d(added, points).size:
            return points
        points = np.append(points, added)


def _sorted_draws(density: Density, rng: np.random.Generator) -> Array:
    """Draw (n,) in order, without what was rounded onto a pole of the density."""
    draws = density.sample(SUPPORT_DRAWS, rng)
    return np.sort(draws[np.isfinite(density.log_prob(draws)), 0])


def _integrate_panels(p: Density, q: Density, points: Array) -> tuple[tuple[float, float], float]:
    """Integrate p and p (log p - log q) over all panels between points: (mass, value) and the error."""
    lower, width = points[:-1], np.diff(points)
    with np.errstate(all="ignore"):
        # The stubs of scipy don't know that the function may be vector-valued.
        (mass, value), error = quad_vec(  # type: ignore[call-overload]
            lambda t: (_terms(p, q, lower + t * width) * width).sum(axis=1),
            0,
            1,
            epsabs=1e-13,
            epsrel=1e-12,
            norm="max",
            limit=MAX_BISECTIONS,
        )
    return (float(mass), float(value)), float(error)


def _terms(p: Density, q: Density, x: Array) -> Array:
    """Evaluate p and p (log p - log q) at points (n,): (2, n); raise where q is 0 and p isn't."""
    log_p, log_q = p.log_prob(x[:, None]), q.log_prob(x[:, None])
    inside = log_p > (-np.inf if p.discrete else LOG_TINY)
    if (inside & (log_p < np.inf) & (log_q == -np.inf)).any():
        raise InfiniteDivergenceError
    with np.errstate(over="ignore", invalid="ignore"):
        density = np.exp(log_p)
        return np.where(inside, [density, density * (log_p - log_q)], 0.0)


def _tail(p: Density, q: Density, start: float, centre: float) -> Array:
    """Place points on one side: in growing steps outward while p lasts, then in shrinking steps up to its edge."""
    outward = start + (start - centre) * np.power(STEP_GROWTH, np.arange(TAIL_STEPS))
    lasts = np.append(p.log_prob(outward[:, None]) > LOG_TINY, False)
    count = int(lasts.argmin())
    path = np.append(start, outward[:count])
    if count > HEAVY_STEPS and _slope(p, q, path[-2:], np.abs(path[-2:] - start)) > -1 - SLOPE_TOLERANCE:
        raise InfiniteDivergenceError
    points = np.append(start, _relevant(p, q, path[1:], np.abs(path[1:] - start)))
    if count == TAIL_STEPS:
        return np.append(points, path[-1])
    edge = _edge(p, path[-1], outward[count])
    return _approach(p, q, points, edge, centre)


def _approach(p: Density, q: Density, points: Array, edge: float, centre: float) -> Array:
    """Add points towards the edge of p, and drop those whose distance from it is lost to rounding."""
    spacing = np.spacing(abs(edge))
    distance = abs(edge - centre) * np.power(STEP_GROWTH, -np.arange(1.0, EDGE_STEPS))
    distance = distance[distance > max(2.0**8 * spacing, 1e-300)]
    inward = edge - np.sign(edge - centre) * distance
    accurate = np.flatnonzero(distance > 2.0**12 * spacing)[-2:]
    if accurate.size > 1 and _slope(p, q, inward[accurate], distance[accurate]) < -1 + SLOPE_TOLERANCE:
        raise InfiniteDivergenceError
    far_enough = np.abs(edge - points) >= distance.min(initial=np.inf)
    return np.concatenate([points[far_enough], _relevant(p, q, inward, distance), inward[-1:]])


def _edge(p: Density, inside: float, outside: float) -> float:
    """Find the point where p ends by bisection; 0 where it lies between, since that is the usual edge."""
    for _ in range(64):
        middle = (inside + outside) / 2
        if p.log_prob(np.array([[middle]]))[0] > LOG_TINY:
            inside = middle
        else:
            outside = middle
    return 0.0 if inside * outside <= 0 else inside


def _relevant(p: Density, q: Density, x: Array, distance: Array) -> Array:
    """Drop the points beyond which both p and the integrand are negligible."""
    if x.size == 0:
        return x
    left = np.abs(_terms(p, q, x)).sum(axis=0) * distance > NEGLIGIBLE_TERM
    return x[: int(np.flatnonzero(left).max(initial=-1)) + 2]


def _slope(p: Density, q: Density, x: Array, distance: Array) -> float:
    """Measure the power of the distance that the integrand follows between two points."""
    log_p, log_q = p.log_prob(x[:, None]), q.log_prob(x[:, None])
    with np.errstate(divide="ignore", invalid="ignore"):
        log_size = log_p + np.log(np.abs(log_p - log_q))
        return float(np.diff(log_size)[0] / np.diff(np.log(distance))[0])
