"""Densities without a slope: one that is flat inside its walls, and one that can't be normalised."""

from collections.abc import Callable

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from .problem import Array, Problem, Tensor, cancelled_prior


def plateau() -> Problem:
    """Density 1 where |x1|, |x2| < 1 and 0 elsewhere: one region, no gradient anywhere, log Z = log 4."""

    def graph(x: Tensor) -> Tensor:
        return pt.switch(pt.all(pt.abs(x) < 1), 0.0, -np.inf)

    def log_density(x: Array) -> Array:
        return np.where((np.abs(x) < 1).all(1), 0.0, -np.inf)

    return Problem(
        name="plateau",
        # Of unit scale, so that the gradients of the prior and of its cancelling are equal and opposite exactly.
        model=cancelled_prior(2, 1.0, graph),
        log_density=log_density,
        d=2,
        log_z=float(np.log(4)),
        mean=np.zeros(2),
        cov=np.eye(2) / 3,
        sample=lambda n, rng: rng.uniform(-1, 1, (n, 2)),
    )


def improper() -> pm.Model:
    """Build a model whose density is N(0, 1) of x[0] and constant along x[1]: log Z is infinite.

    It has no draws, modes or masses to state, so that it is no `Problem`.
    """
    with pm.Model() as model:
        x = pm.Flat("x", shape=2)
        pm.Potential("target", -0.5 * x[0] ** 2)
    return model


COUNTS = np.array([4, 6, 3, 5, 4, 5, 2, 6, 1, 0, 2, 1, 1, 0, 3, 1, 0, 1, 2, 1])


def change_point() -> pm.Model:
    """Build twenty yearly counts whose rate changes at a continuous time: the density is a staircase in that."""
    with pm.Model() as model:
        switch = pm.Uniform("switch", 0, 19)
        early, late = pm.Exponential("early", 1), pm.Exponential("late", 1)
        pm.Poisson("count", pm.math.switch(np.arange(20) < switch, early, late), observed=COUNTS)
    return model


def tied_simplex(width: float = 1e-4) -> pm.Model:
    """A flat simplex and a normal tied to its first share: a bent ridge that wide, log Z = 0."""
    with pm.Model() as model:
        share = pm.Dirichlet("share", np.ones(3))
        pm.Normal("copy", share[0], width)
    return model


def along_a_curve(curve: Callable[[Tensor], Tensor], width: float, d: int = 2) -> pm.Model:
    """N(0, I) along a curve of its first coordinate, that narrow across: log Z is 0, and the top is at 0."""
    with pm.Model() as model:
        x = pm.Normal("x", shape=d - 1)
        pm.Normal("y", curve(x[0]), width)
    return model
