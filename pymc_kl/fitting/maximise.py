"""Deterministic ADVI [1]_: maximise the ELBO of many fits together, by a quasi-Newton method on fixed points.

The expectation is taken over standard normal points whose mean and covariance are exactly 0 and I, so that the ELBO of
a Gaussian target is maximised exactly.

References
----------
.. [1] Giordano, R., Ingram, M. and Broderick, T. (2024). Black box variational inference with a deterministic
   objective. JMLR 25(18). https://jmlr.org/papers/v25/23-1015.html
"""

from collections.abc import Sequence

import numpy as np

from pymc_kl._typing import Array, BoolArray
from pymc_kl.approximations import FullRank, MeanField
from pymc_kl.arguments import check_arguments, function, instance, whole
from pymc_kl.fitting.gaussian_elbo import Gaussian, GaussianRows, rows_of
from pymc_kl.fitting.points import balanced_normals
from pymc_kl.numerics.lbfgs import Climbs, ValueAndGrad

FIT_DRAWS = 512  # least number of fixed points on which the ELBO is maximised; our choice
SETTLED_WITHIN = 1e-3  # standard deviations: a fit has settled if more points would move it no further; our choice
COARSE_POINTS = 2.1  # least points a dimension of the noise: they come in opposite pairs, which must span it
MAX_CLIMB_STEPS = 400  # most steps of a climb; our choice
CLIMB_MEMORY = 20  # pairs of steps and gradient changes that L-BFGS keeps; our choice


def polish[G: MeanField | FullRank](
    value_and_grad: ValueAndGrad, fit: G, *, rng: np.random.Generator, n_draws: int = FIT_DRAWS
) -> G:
    """Maximise the ELBO within the family of a fit, from where the fit stands.

    Parameters
    ----------
    value_and_grad : callable
        (n, d) -> log p̃ (n,) and its gradient (n, d), such as `Target.log_density_and_grad`.
    fit : MeanField or FullRank
    rng : Generator
        Draws the fixed points on which the ELBO is averaged.
    n_draws : int
        Number of these points, at least; more if the family has many parameters.

    Returns
    -------
    MeanField or FullRank
        The optimum that the climb led to, of the same family.

    Examples
    --------
    >>> import numpy as np
    >>> from pymc_kl.approximations import MeanField
    >>> def value_and_grad(x):
    ...     return -0.5 * ((x - 3) ** 2).sum(axis=1), 3 - x
    >>> start = MeanField(loc=np.zeros(1), scale=np.ones(1))
    >>> polish(value_and_grad, start, rng=np.random.default_rng(0)).loc.round(6)
    array([3.])
    """
    check_arguments(
        locals(), value_and_grad=function, fit=instance(MeanField, FullRank), rng=instance(np.random.Generator),
        n_draws=whole(),
    )  # fmt: skip
    return maximise(value_and_grad, [fit], n_draws=n_draws, rng=rng)[0][0]


def maximise[G: Gaussian](
    value_and_grad: ValueAndGrad, fits: Sequence[G], *, n_draws: int, at_most: int = 0, rng: np.random.Generator
) -> tuple[list[G], BoolArray]:
    """Maximise the ELBO of many fits of one family together, each from where it stands, on the same points.

    Parameters
    ----------
    value_and_grad : callable
        (n, d) -> log p̃ (n,) and its gradient (n, d).
    fits : sequence of MeanField, FullRank or LowRank
        All of one family (and rank).
    n_draws : int
        Points to begin with; more if the family has many parameters.
    at_most : int
        Fits that would still move by more than a thousandth of a standard deviation on four times the points are
        maximised again on those, up to this many; the curvature learnt so far is kept, so that few steps suffice.
    rng : Generator

    Returns
    -------
    list of fits
    array of bool
        Whether each converged.
    """
    rows = rows_of(fits)
    z = points_for(rows, n_draws, rng)
    climbs = Climbs.begin(rows.on(value_and_grad, z), np.zeros((len(fits), rows.size)), memory=CLIMB_MEMORY)
    climbs.run(rows.TOLERANCE, MAX_CLIMB_STEPS)
    moving = np.arange(len(fits))
    climbs.leap(moving)
    while len(moving) and 4 * len(z) <= at_most:
        z = points_for(rows, 4 * len(z), rng)
        moves = climbs.renew(rows.on(value_and_grad, z), moving)
        climbs.converged[moving[moves < SETTLED_WITHIN]] = True
        climbs.run(rows.TOLERANCE, MAX_CLIMB_STEPS)
        climbs.leap(moving)
        moving = moving[moves >= SETTLED_WITHIN]
    return [rows.fit(theta, i) for i, theta in enumerate(climbs.y)], climbs.converged


def advance[G: Gaussian](
    value_and_grad: ValueAndGrad,
    fits: Sequence[G],
    *,
    n_draws: int,
    n_steps: int,
    tolerance: float,
    rng: np.random.Generator,
    coarse: bool,
) -> tuple[list[G], Array, BoolArray]:
    """Take some steps up the ELBO on few points; return the fits, their ELBOs up to one constant, and which converged.

    If `coarse`, `n_draws` may be too few to tell all of the family's parameters.
    """
    rows = rows_of(fits)
    z = points_for(rows, n_draws, rng, coarse=coarse)
    climbs = Climbs.begin(rows.on(value_and_grad, z), np.zeros((len(fits), rows.size)), memory=CLIMB_MEMORY)
    climbs.run(tolerance, n_steps)
    return [rows.fit(theta, i) for i, theta in enumerate(climbs.y)], climbs.value, climbs.converged


def points_for(rows: GaussianRows, n_draws: int, rng: np.random.Generator, *, coarse: bool = False) -> Array:
    """Make `n_draws` fixed points, or as many as the family needs; if `coarse`, as few as span its noise."""
    least = COARSE_POINTS * rows.n_noise if coarse else rows.POINTS * rows.n_noise
    n = max(n_draws, int(np.ceil(least)))
    return balanced_normals(n + n % 2 if coarse else 2 ** int(np.ceil(np.log2(n))), rows.n_noise, rng)
