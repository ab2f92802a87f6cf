"""Peaks that a Hessian says nothing of: half of the mass under each, half under a normal; log Z = 0, masses ½."""

from collections.abc import Callable

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from scipy.special import gamma

from .problem import LOG_2PI, Array, Tensor, cancelled_prior, logsumexp_graph

HALF = float(np.log(0.5))


def _normal(x: Tensor, loc: Array, sd: float) -> Tensor:
    return -0.5 * pt.sum(((x - loc) / sd) ** 2) - len(loc) * (np.log(sd) + LOG_2PI / 2)


def beside_a_normal(d: int, away: float, log_density: Callable[[Tensor], Tensor]) -> pm.Model:
    """Half of a normalised log density about 0, and half N((away, 0, …), I)."""
    loc = away * np.eye(d)[0]

    def graph(x: Tensor) -> Tensor:
        return logsumexp_graph(pt.stack([HALF + log_density(x), HALF + _normal(x, loc, 1.0)]))

    return cancelled_prior(d, 6.0, graph)()


def cusp(d: int = 3, scale: float = 1.0) -> pm.Model:
    """Laplace(0, scale) in every coordinate: no Hessian at the maximum."""
    return beside_a_normal(d, 8.0, lambda x: -pt.sum(pt.abs(x)) / scale - d * np.log(2 * scale))


def flat_top(power: int = 6, d: int = 2) -> pm.Model:
    """∏ exp(−xᵢ^power): the Hessian at the maximum is zero."""
    return beside_a_normal(d, 7.0, lambda x: -pt.sum(x**power) - d * np.log(2 * gamma(1 + 1 / power)))


def lasso(d: int = 4, scale: float = 0.05) -> pm.Model:
    """b ~ Laplace(0, scale)^d where z is about 4, b ~ N(8 scale, scale) where it is about -4: half of the mass each."""
    with pm.Model() as model:
        z = pm.NormalMixture("z", w=[0.5, 0.5], mu=[-4, 4], sigma=[1, 1])
        b = pm.Laplace("b", 0, scale, shape=d)
        prior = -pt.sum(pt.abs(b)) / scale - d * np.log(2 * scale)
        measured = _normal(b, np.full(d, 8 * scale), scale) - prior
        either = pt.stack([-pt.softplus(10 * z) + measured, -pt.softplus(-10 * z)])
        pm.Potential("measured", logsumexp_graph(either))
    return model


def spike(sd: float = 0.01, mass: float = 2e-6) -> pm.Model:
    """½ N(0, I₃) and ½ N((12, 0, 0), I₃), with a spike on the top of the second."""
    loc = np.array([12.0, 0.0, 0.0])

    def graph(x: Tensor) -> Tensor:
        hills = [HALF + _normal(x, np.zeros(3), 1.0), np.log(0.5 - mass) + _normal(x, loc, 1.0)]
        return logsumexp_graph(pt.stack([*hills, np.log(mass) + _normal(x, loc, sd)]))

    return cancelled_prior(3, 8.0, graph)()


def spike_draws(n: int, rng: np.random.Generator) -> Array:
    """Exact draws (n, 3) of `spike`, less its spike, which holds none of so many."""
    x = rng.normal(size=(n, 3))
    x[:, 0] += 12 * (rng.random(n) < 0.5)
    return x


def mesa(d: int = 2, power: int = 40) -> pm.Model:
    """½ N(0, I) and ½ a smooth mesa 4 wide about (10, 0, …): where a climb begins on its top it stays."""

    def graph(x: Tensor) -> Tensor:
        top = -pt.sum(((x - 10 * np.eye(d)[0]) / 2) ** power) - d * np.log(4 * gamma(1 + 1 / power))
        return logsumexp_graph(pt.stack([HALF + top, HALF + _normal(x, np.zeros(d), 1.0)]))

    return cancelled_prior(d, 6.0, graph)()


def pole(d: int = 2) -> pm.Model:
    """½ N(0, I) and ½ Gamma(½, 1) to both sides of x[0] = 10, where the density is infinite: no proper maximum."""

    def graph(x: Tensor) -> Tensor:
        away = pt.abs(x[0] - 10)
        side = -away - 0.5 * pt.log(away) - np.log(2 * gamma(0.5))
        return logsumexp_graph(
            pt.stack([HALF + side + _normal(x[1:], np.zeros(d - 1), 1.0), HALF + _normal(x, np.zeros(d), 1.0)])
        )

    return cancelled_prior(d, 6.0, graph)()


def pole_draws(n: int, d: int, part: float, rng: np.random.Generator) -> Array:
    """Draws (n, d) of which a part is about the pole."""
    x, there = rng.normal(size=(n, d)), rng.random(n) < part
    x[there, 0] = 10 + rng.choice([-1.0, 1.0], there.sum()) * rng.gamma(0.5, size=there.sum())
    return x
