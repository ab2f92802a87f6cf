"""Climb the ELBO of many fits together, deterministically, from where they stand.

The expectation is taken over fixed standard normal draws whose mean and covariance are exactly 0 and I, so
that the ELBO of a Gaussian target is maximised exactly and a quasi-Newton method can be used (Giordano,
Ingram and Broderick 2024, https://jmlr.org/papers/v25/23-1015.html).
"""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import solve_triangular

from pymc_kl._typing import Array
from pymc_kl.approximations import FullRank, MeanField
from pymc_kl.climb import Climbs, ValueAndGrad
from pymc_kl.elbo import Gaussian, GaussianRows, balanced_normals, rows_of

FIT_DRAWS = 512  # fixed points on which the ELBO is maximised, at least; more where the family asks for it
GAIN_TOLERANCE = 1e-8  # nats that a step must be expected to gain for another to follow
SETTLED = 1e-6  # nats a dimension, in both directions, between two fits that are the same to a thousandth of a sd
COARSE_POINTS = 2.5  # a dimension of the noise, at the least: points in pairs must span it
MAX_STEPS, MAX_COARSE_STEPS = 400, 80
MEMORY = 20  # of the quasi-Newton method


def polish[G: MeanField | FullRank](
    value_and_grad: ValueAndGrad, fit: G, *, rng: np.random.Generator, n_draws: int = FIT_DRAWS
) -> G:
    """Maximise the ELBO within the family, from where the fit stands, on `n_draws` points or what d asks for."""
    return maximise(value_and_grad, [fit], n_draws=n_draws, rng=rng)[0][0]


def maximise[G: Gaussian](
    value_and_grad: ValueAndGrad,
    fits: Sequence[G],
    *,
    n_draws: int,
    at_most: int = 0,
    rng: np.random.Generator,
    coarse: bool = False,
    tolerance: float = GAIN_TOLERANCE,
) -> tuple[list[G], Array]:
    """Maximise the ELBO of many fits of one family together, each from where it stands, on the same points.

    Parameters
    ----------
    value_and_grad : callable
        (n, d) -> log p̃ (n,) and its gradient (n, d).
    fits : sequence of MeanField, FullRank or LowRank
        S fits, all of one family (and rank).
    n_draws : int
        Points to begin with; more if the family's parameters ask for it.
    at_most : int
        While fits still move by more than a thousandth of a standard deviation, they are maximised again on four
        times the points, up to this many; their curvature is known by then, so that takes few steps.
    rng : Generator
    coarse : bool
        Be content with few points and few steps.
    tolerance : float
        Nats that a step must be expected to gain for another to follow.

    Returns
    -------
    list of S fits
    array (S,)
        Their ELBO on the last points, up to a constant that is the same for all, nats.
    """
    rows = rows_of(fits)
    z = points_for(rows, n_draws, rng, coarse=coarse)
    climbs = Climbs.begin(rows.on(value_and_grad, z), np.zeros((len(fits), rows.size)), memory=MEMORY)
    climbs.run(tolerance, MAX_COARSE_STEPS if coarse else MAX_STEPS)
    found = [rows.fit(theta, i) for i, theta in enumerate(climbs.y)]
    while 4 * len(z) <= at_most:
        z, before = points_for(rows, 4 * len(z), rng), found
        climbs.renew(rows.on(value_and_grad, z))
        climbs.run(tolerance, MAX_STEPS)
        found = [rows.fit(theta, i) for i, theta in enumerate(climbs.y)]
        if max(divergence(*pair) for pair in zip(before, found, strict=True)) < SETTLED * rows.d:
            break
    return found, climbs.value


def divergence(one: Gaussian, two: Gaussian) -> float:
    """KL in both directions between two normals, added, in nats."""
    step = one.loc - two.loc
    total = -2.0 * one.d
    for first, second in ((one, two), (two, one)):
        whitened = solve_triangular(second.scale_tril, np.column_stack([first.scale_tril, step]), lower=True)
        total += float((whitened**2).sum())
    return 0.5 * total


def points_for(rows: GaussianRows, n_draws: int, rng: np.random.Generator, *, coarse: bool = False) -> Array:
    """Make as many fixed points as asked for, or as the family needs; if coarse, as few as it can do with."""
    least = COARSE_POINTS * rows.n_noise if coarse else rows.POINTS * rows.n_noise
    n = max(n_draws, int(np.ceil(least)))
    return balanced_normals(n + n % 2 if coarse else 2 ** int(np.ceil(np.log2(n))), rows.n_noise, rng)
