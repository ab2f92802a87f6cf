"""Heated search: chains of p̃^β cross barriers, and the points they pass that stand out are climbed from.

Climbs from draws of the prior seldom begin in a narrow mode's basin. Chains of a flattened density roam the region
that the posterior fills, at one gradient a point, and pass far more points than climbs could begin at. A point
stands out where the log density is higher than at other points as far from their nearest maximum.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.modes.maxima import Maxima
from pymc_kl.numerics.hmc import Chains, Trajectory, advance
from pymc_kl.numerics.lbfgs import ValueAndGrad

BETAS = (0.12, 0.3)  # powers of the density in turn: a normal mode is 2.9 and 1.8 times as wide; our choice
SWEEPS = 6  # moves of every chain at each power; our choice
PER_CUBED_DIMENSION = 1 / 3  # chains, over d³: narrow basins are ever rarer in more dimensions; our choice
MIN_CHAINS = 64  # at the least; our choice
MAX_CHAINS = 384  # at the most, for the cost; our choice
DEEPEST = 10.0  # times the range of log p̃ over chains below their highest: points further down are no mode; our choice
N_OUTSTANDING = 12  # points climbed from at each power; our choice
PEERS = 64  # points about as far from their nearest maximum that a point is compared with; our choice
CHUNK = 1024  # points whose distances to all maxima are computed at once; bounds memory; our choice
MAX_PASSES = 8  # through the powers, at the most; our choice
IDLE_PASSES = 2  # passes in a row without a new mode that end the search; our choice
MOVES = Trajectory(n_leapfrog=3, jitter=1.0, acceptance=0.85)  # long steps for wide modes and short ones for narrow

type Climb = Callable[[Array], bool]


@dataclass(eq=False)
class Trail:
    """A density that remembers where it was evaluated.

    Parameters
    ----------
    value_and_grad : callable
        (n, d) -> log p̃ (n,) and its gradient (n, d).
    passed : list of (array (n, d), array (n,))
        Points and log p̃ there, in the order of the calls.
    """

    value_and_grad: ValueAndGrad
    passed: list[tuple[Array, Array]] = field(default_factory=list)

    def __call__(self, x: Array) -> tuple[Array, Array]:
        """Evaluate log p̃ and its gradient, and keep the points with their log p̃."""
        value, grad = self.value_and_grad(x)
        self.passed.append((x, value))
        return value, grad

    def points(self, stand: Array) -> tuple[Array, Array]:
        """Return the points (time, n, d) and log p̃ there (time, n); -inf far below where chains stand, log p̃ (n,)."""
        x, value = (np.array(part) for part in zip(*self.passed, strict=True))
        return x, np.where(value < stand.max() - DEEPEST * np.ptp(stand), -np.inf, value)


def search_heated(
    value_and_grad: ValueAndGrad,
    x: Array,
    scale: Array,
    known: Callable[[], Maxima],
    climb: Climb,
    rng: np.random.Generator,
) -> None:
    """Climb from outstanding points that chains of p̃^β pass, until two passes in a row find nothing new.

    Parameters
    ----------
    value_and_grad : callable
        (n, d) -> log p̃ (n,) in nats and its gradient (n, d).
    x : array (m, d)
        Points that the chains begin at.
    scale : array (d, d)
        Lower Cholesky factor of the local covariance, which whitens.
    known : callable
        () -> the maxima found so far.
    climb : callable
        Climb from points (n, d); True if that finds a mode that matters.
    rng : Generator
    """
    chains = begin_chains(value_and_grad, x, rng)
    n_idle = 0
    for _ in range(MAX_PASSES if len(chains) else 0):
        outstanding = []
        for beta in BETAS:
            chains, trail = roam(value_and_grad, chains, scale, beta, rng)
            outstanding.append(outstanding_points(known(), *trail.points(chains.log_density)))
        n_idle = 0 if climb(np.concatenate(outstanding)) else n_idle + 1
        if n_idle == IDLE_PASSES:
            return


def begin_chains(value_and_grad: ValueAndGrad, x: Array, rng: np.random.Generator) -> Chains:
    """Begin chains at some of the points (m, d) of finite log density, several at one point where there are few."""
    n, d = len(x), x.shape[1]
    n_chains = int(np.clip(PER_CUBED_DIMENSION * d**3, MIN_CHAINS, MAX_CHAINS))
    rows = np.resize(rng.permutation(n), n_chains)
    return Chains.at(value_and_grad, x[rows])


def roam(
    value_and_grad: ValueAndGrad, chains: Chains, scale: Array, beta: float, rng: np.random.Generator
) -> tuple[Chains, Trail]:
    """Move chains of p̃^β, and return them with all points that their trajectories passed."""
    trail = Trail(value_and_grad)
    for _ in range(SWEEPS):
        chains = advance(trail, chains, scale, beta, rng, MOVES)
    return chains, trail


def outstanding_points(maxima: Maxima, x: Array, value: Array) -> Array:
    """Choose points (m, d) among those that chains passed (time, n, d), log p̃ (time, n): of a few chains, one each.

    They are the highest by :func:`excess`, without those that a known maximum captures.
    """
    n_times, n, d = x.shape
    above = excess(maxima, x.reshape(-1, d), value.ravel()).reshape(n_times, n)
    time = above.argmax(axis=0)
    highest = above.max(axis=0)
    chain = np.argsort(-highest, kind="stable")[:N_OUTSTANDING]
    chain = chain[np.isfinite(highest[chain])]
    x, value = x[time[chain], chain], value[time[chain], chain]
    return np.asarray(x[maxima.capture(x, value) < 0])


def excess(maxima: Maxima, x: Array, value: Array) -> Array:
    """How far log p̃ (m,) at points (m, d) is above that at points as far from their nearest maximum, in nats.

    A posterior of one elliptical mode has none, however heavy its tails are. It is -inf where log p̃ is not finite,
    and log p̃ itself where no maximum is known.
    """
    above = np.full(len(x), -np.inf)
    finite = np.flatnonzero(np.isfinite(value) & np.isfinite(x).all(axis=1))
    above[finite] = value[finite]
    if len(maxima) and len(finite):
        chunks = [maxima.nearest(x[rows]) for rows in np.array_split(finite, len(finite) // CHUNK + 1)]
        nearest, squared = (np.concatenate(part) for part in zip(*chunks, strict=True))
        of_normal = maxima.log_density[nearest] - 0.5 * squared
        order = np.argsort(squared, kind="stable")
        above[finite[order]] = _above_peers((value[finite] - of_normal)[order])
    return above


def _above_peers(values: Array) -> Array:
    """Subtract its median from each block of values (m,)."""
    blocks = np.array_split(values, max(len(values) // PEERS, 1))
    return np.concatenate([block - np.median(block) for block in blocks])
