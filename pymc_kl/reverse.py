"""Our own reverse-KL fits: maximise the ELBO deterministically from where fits stand.

The expectation is taken over fixed standard normal draws whose mean and covariance are exactly 0 and I, so
that the ELBO of a Gaussian target is maximised exactly and a quasi-Newton method can be used (Giordano,
Ingram and Broderick 2024, https://jmlr.org/papers/v25/23-1015.html).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from pymc_kl._typing import Array, RandomSeed
from pymc_kl.approximations import FullRank, MeanField
from pymc_kl.climb import Climbs, ValueAndGrad
from pymc_kl.elbo import Gaussian, GaussianRows, balanced_normals, rows_of
from pymc_kl.estimates import Estimate, mean_estimate

FIT_DRAWS = 512  # fixed points on which the ELBO is maximised, at least; more where the family asks for it
CHECK_DRAWS = 4000  # fresh draws on which the gain is measured
ELBO_GAP_TOLERANCE = 0.1  # nats: a mean that is off by 0.45 standard deviations in one dimension
GAIN_TOLERANCE = 1e-8  # nats that a step must be expected to gain for another to follow
COARSE_GAIN = 1e-2
SETTLED = 1e-6  # nats a dimension, in both directions, between two fits that are the same to a thousandth of a sd
COARSE_POINTS = 2.5  # a dimension of the noise, at the least: points in pairs must span it
MAX_STEPS, MAX_COARSE_STEPS = 400, 80
MEMORY = 20  # of the quasi-Newton method


@dataclass(frozen=True, eq=False)
class Convergence:
    """Whether a reverse-KL fit has arrived at an optimum of its family.

    Attributes
    ----------
    polished : Approximation
        The optimum of the family that is uphill from the fit.
    elbo_gap : Estimate
        What the ELBO gains by polishing, nats.
    gradient : Estimate
        Length of the ELBO's gradient at the fit, nats for a step of one standard deviation, and the length
        that Monte Carlo error alone would give.
    converged : bool
    """

    polished: MeanField | FullRank
    elbo_gap: Estimate
    gradient: Estimate
    converged: bool


def check_convergence(
    value_and_grad: ValueAndGrad, fit: MeanField | FullRank, *, random_seed: RandomSeed = None
) -> Convergence:
    """Polish a Gaussian reverse-KL fit from where it stands and measure what that gains.

    Parameters
    ----------
    value_and_grad : callable
        (n, d) -> log p̃ (n,) and its gradient (n, d).
    fit : MeanField or FullRank
    random_seed : int, Generator, SeedSequence or None

    Returns
    -------
    Convergence
        The gain is measured on fresh draws, the same for both fits. It has converged if the gain is at most
        0.1 nats, give or take two standard errors.
    """
    rng = np.random.default_rng(random_seed)
    polished = polish(value_and_grad, fit, rng=rng)
    z = rng.standard_normal((CHECK_DRAWS, fit.d))
    before, grad = _elbo_terms(value_and_grad, fit, z)
    after, _ = _elbo_terms(value_and_grad, polished, z)
    gap = mean_estimate(after - before)
    if not gap.value > 0:  # polishing gained nothing: the fit stands at its optimum
        polished = fit
    return Convergence(
        polished=polished,
        elbo_gap=gap,
        gradient=_gradient_length(fit, grad, z),
        converged=bool(gap.value - 2 * gap.se <= ELBO_GAP_TOLERANCE),
    )


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
        Be content with few points and with what is near an optimum.

    Returns
    -------
    list of S fits
    array (S,)
        Their ELBO on the last points, up to a constant that is the same for all, nats.
    """
    rows, tolerance = rows_of(fits), COARSE_GAIN if coarse else GAIN_TOLERANCE
    z = points_for(rows, n_draws, rng, coarse=coarse)
    climbs = Climbs.begin(rows.on(value_and_grad, z), np.zeros((len(fits), rows.size)), memory=MEMORY)
    _climb(climbs, tolerance, MAX_COARSE_STEPS if coarse else MAX_STEPS)
    found = [rows.fit(theta, i) for i, theta in enumerate(climbs.y)]
    while 4 * len(z) <= at_most:
        z, before = points_for(rows, 4 * len(z), rng), found
        climbs.renew(rows.on(value_and_grad, z))
        _climb(climbs, tolerance, MAX_STEPS)
        found = [rows.fit(theta, i) for i, theta in enumerate(climbs.y)]
        if max(divergence(*pair) for pair in zip(before, found, strict=True)) < SETTLED * rows.d:
            break
    return found, climbs.value


def _climb(climbs: Climbs, tolerance: float, max_steps: int) -> None:
    for _ in range(max_steps):
        if not len(active := climbs.active()):
            return
        climbs.step(active, tolerance)


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


def _elbo_terms(value_and_grad: ValueAndGrad, fit: MeanField | FullRank, z: Array) -> tuple[Array, Array]:
    """Log p̃ - log q at loc + scale z, up to the terms that all fits share, and the gradient of log p̃."""
    value, grad = value_and_grad(fit.loc + z @ fit.scale_tril.T)
    return value + np.log(np.diag(fit.scale_tril)).sum(), grad


def _gradient_length(fit: MeanField | FullRank, grad: Array, z: Array) -> Estimate:
    """Length of the ELBO gradient in whitened parameters, with its Monte Carlo noise."""
    slope = grad @ fit.scale_tril
    if isinstance(fit, MeanField):
        terms = np.concatenate([slope, slope * z + 1.0], axis=1)
        mean, variance = terms.mean(axis=0), terms.var(axis=0)
    else:
        outer = slope.T @ z / len(z) + np.eye(fit.d)
        second = (slope**2).T @ z**2 / len(z) - (outer - np.eye(fit.d)) ** 2
        lower = np.tril_indices(fit.d)
        mean = np.concatenate([slope.mean(axis=0), outer[lower]])
        variance = np.concatenate([slope.var(axis=0), second[lower]])
    return Estimate(float(np.linalg.norm(mean)), float(np.sqrt(variance.sum() / len(z))))
