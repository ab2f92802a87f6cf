"""Several modes that no normal resembles: bananas, wells and shells."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from scipy import stats
from scipy.special import gammaln, ndtr

from .line import Line, line_masses, line_optima, maximum
from .problem import LOG_2PI, Array, Optimum, Problem, Tensor, cancelled_prior, logsumexp_graph, moment_optima
from .regions import mass_below, separatrix


def _two_bananas_log_density(x: Array) -> Array:
    bend = x[:, 0] ** 2 + 2
    arms = [np.log(w) + stats.norm.logpdf(x[:, 1], sign * bend, 0.5) for w, sign in ((0.75, 1), (0.25, -1))]
    return np.logaddexp(*arms) + stats.norm.logpdf(np.delete(x, 1, axis=1)).sum(1)


def _two_bananas_model() -> pm.Model:
    with pm.Model() as model:
        x1 = pm.Normal("x1")
        bend = x1**2 + 2
        pm.NormalMixture("x2", w=[0.75, 0.25], mu=pt.stack([bend, -bend]), sigma=0.5)
        pm.Normal("rest", shape=3)
    return model


def two_bananas_plane(uv: Array) -> Array:
    """Log density up to a constant where (u, v) = (x2, x1), (n, 2) -> (n,)."""
    return _two_bananas_log_density(np.column_stack([uv[:, 1], uv[:, 0], np.zeros((len(uv), 3))]))


def _two_bananas_masses() -> Array:
    def joint(v: Array, b: Array) -> Array:
        bend = v**2 + 2
        return stats.norm.pdf(v) * (0.75 * ndtr((b - bend) / 0.5) + 0.25 * ndtr((b + bend) / 0.5))

    lower = mass_below(separatrix(two_bananas_plane, np.array([-0.07, 0.0]), 1.5), joint)
    return np.array([1 - lower, lower])


def two_bananas() -> Problem:
    """x1 ~ N(0, 1), x2 | x1 ~ N(±(x1² + 2), 0.5) with + at weight 0.75, and three more N(0, 1)."""

    def sample(n: int, rng: np.random.Generator) -> Array:
        x = rng.standard_normal((n, 5))
        sign = np.where(rng.random(n) < 0.75, 1.0, -1.0)
        x[:, 1] = sign * (x[:, 0] ** 2 + 2) + 0.5 * x[:, 1]
        return x

    def spine(x2: Array) -> Array:
        return two_bananas_plane(np.column_stack([x2, np.zeros_like(x2)]))

    locations = np.zeros((2, 5))
    locations[:, 1] = maximum(spine, 1.0, 3.0), maximum(spine, -3.0, -1.0)
    mean, cov = np.array([0, 1.5, 0, 0, 0]), np.diag([1.0, 9.0, 1.0, 1.0, 1.0])
    return Problem(
        name="two_bananas",
        model=_two_bananas_model,
        log_density=_two_bananas_log_density,
        d=5,
        masses=_two_bananas_masses(),
        locations=locations,
        log_z=0.0,
        mean=mean,
        cov=cov,
        sample=sample,
        forward=moment_optima(mean, cov),
    )


def well_log_density(x: Array) -> Array:
    """One double well, (n, 1) -> (n,)."""
    return np.asarray((-(x**4) + 6 * x**2 + x / 2)[:, 0])


def _many_wells_model(n_wells: int) -> pm.Model:
    with pm.Model() as model:
        x = pm.Normal("x", 0.0, np.float64(3.0), shape=n_wells)
        pm.Normal("z", 0.0, 1.0, shape=n_wells)
        prior = -0.5 * (x / 3) ** 2 - np.log(3) - LOG_2PI / 2
        pm.Potential("wells", (-(x**4) + 6 * x**2 + x / 2 - prior + LOG_2PI / 2).sum())
    return model


def _join_wells(well: Mapping[str, Optimum], n_wells: int) -> dict[str, Optimum]:
    """Best normal of n equal wells and n standard normals from that of one well."""
    best = well["meanfield"]
    mean = np.repeat([best.mean[0], 0.0], n_wells)
    cov = np.diag(np.repeat([best.cov[0, 0], 1.0], n_wells))
    joined = Optimum(mean, cov, n_wells * best.reverse_kl, n_wells * best.forward_kl)
    return {"meanfield": joined, "fullrank": joined}


def many_wells(d: int = 6) -> Problem:
    """exp(-x⁴ + 6x² + x/2 - z²/2) for each of d/2 pairs: 2^(d/2) modes. All x come first, then all z."""
    n_wells = d // 2
    line = Line.tabulate(well_log_density, -6.0, 6.0)
    modes = np.sort(np.roots([-4.0, 0.0, 12.0, 0.5]).real)[[0, 2]]
    masses = line_masses(well_log_density, line.cdf, modes)
    sides = (np.arange(2**n_wells)[:, None] >> np.arange(n_wells)) & 1
    reverse, forward = line_optima(line, well_log_density, np.array([[-1.7, 0.2], [1.7, 0.2], [1.2, 1.2]]))

    def log_density(x: Array) -> Array:
        wells = -(x[:, :n_wells] ** 4) + 6 * x[:, :n_wells] ** 2 + x[:, :n_wells] / 2
        return np.asarray(wells.sum(1) - 0.5 * (x[:, n_wells:] ** 2).sum(1))

    def sample(n: int, rng: np.random.Generator) -> Array:
        wells = line.draw(n * n_wells, rng).reshape(n, n_wells)
        return np.hstack([wells, rng.standard_normal((n, n_wells))])

    return Problem(
        name=f"many_wells_{d}",
        model=partial(_many_wells_model, n_wells),
        log_density=log_density,
        d=d,
        masses=masses[sides].prod(1),
        locations=np.hstack([modes[sides], np.zeros((2**n_wells, n_wells))]),
        log_z=n_wells * (line.log_z + LOG_2PI / 2),
        mean=np.repeat([line.mean, 0.0], n_wells),
        cov=np.diag(np.repeat([line.var, 1.0], n_wells)),
        sample=sample,
        reverse=_join_wells(reverse, n_wells),
        forward=_join_wells(forward, n_wells),
    )


def wells_and_normals() -> Problem:
    """Four double wells, then four standard normals: `many_wells(8)` by another name, 16 modes."""
    return replace(many_wells(8), name="wells_and_normals")


def _circle_graph(x: Tensor, sign: float) -> Tensor:
    away = pt.concatenate([x[:1] - 3.5 * sign, x[1:]])
    return -0.5 * ((pt.sqrt((away**2).sum()) - 2.0) / 0.1) ** 2


def shells(d: int = 2) -> Problem:
    """Two shells of radius 2 and width 0.1 around ±3.5 on the first axis, prior U(-6, 6)^d.

    A mode is a surface. The prior's walls lie two widths away and do not cut the density off.
    """
    constant = -d * np.log(12.0) - LOG_2PI / 2 - np.log(0.1)
    radius = Line.tabulate(lambda r: (d - 1) * np.log(r[:, 0]) - 0.5 * ((r[:, 0] - 2) / 0.1) ** 2, 0.5, 3.5)
    surface = np.log(2.0) + d / 2 * np.log(np.pi) - gammaln(d / 2)
    spread = radius.expect(radius.nodes**2) / d
    mean, cov = np.zeros(d), np.diag(np.r_[3.5**2 + spread, np.full(d - 1, spread)])

    def graph(x: Tensor) -> Tensor:
        return constant + logsumexp_graph(pt.stack([_circle_graph(x, 1.0), _circle_graph(x, -1.0)]))

    def log_density(x: Array) -> Array:
        axis = 3.5 * np.eye(d)[0]
        distances = [np.linalg.norm(x - sign * axis, axis=1) for sign in (1, -1)]
        return constant + np.logaddexp(*[-0.5 * ((r - 2) / 0.1) ** 2 for r in distances])

    def sample(n: int, rng: np.random.Generator) -> Array:
        direction = rng.standard_normal((n, d))
        x = radius.draw(n, rng)[:, None] * direction / np.linalg.norm(direction, axis=1, keepdims=True)
        x[:, 0] += 3.5 * rng.choice([-1.0, 1.0], n)
        return x

    return Problem(
        name=f"shells_{d}",
        model=cancelled_prior(d, 4.0, graph),
        log_density=log_density,
        d=d,
        masses=np.full(2, 0.5),
        log_z=float(np.log(2.0) + constant + surface + radius.log_z),
        mean=mean,
        cov=cov,
        sample=sample,
        forward=moment_optima(mean, cov),
    )
