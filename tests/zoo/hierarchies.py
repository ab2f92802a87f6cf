"""Hierarchical models whose log density rises for ever as a scale vanishes or grows: integrals over two coordinates."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pymc as pm
from numpy.polynomial.hermite_e import hermegauss
from scipy import stats
from scipy.special import betaln, comb, expit, logit, logsumexp

from .line import Line
from .problem import Array, Problem

UNITS = 17
TRIALS = np.r_[np.full(16, 50), 5]
SUCCESSES = np.r_[np.random.default_rng(2).binomial(50, 0.2, 16), 0]

TEAMS = 32
HOME, AWAY = np.triu_indices(TEAMS, 1)
LEADS = np.random.default_rng(3).normal(0, 0.3, TEAMS)
LEADS = LEADS[HOME] - LEADS[AWAY] + 4 * np.random.default_rng(4).standard_normal(len(HOME))
NOISE = 4.0

CLINICS = 12
PATIENTS = np.full(CLINICS, 10)
CURED = np.array([3, 5, 2, 6, 4, 3, 7, 4, 2, 5, 4, 3])


@dataclass(frozen=True, eq=False)
class Plane:
    """A density of two coordinates on a fine grid: its integral and exact draws of cells, spread evenly within."""

    u: Array
    v: Array
    log_p: Array
    log_z: float

    @classmethod
    def tabulate(cls, log_density: Callable[[Array, Array], Array], u: Array, v: Array) -> "Plane":
        """Evaluate log densities (U, V) on a grid whose cells are all alike."""
        log_p = log_density(*np.meshgrid(u, v, indexing="ij"))
        log_z = float(logsumexp(log_p) + np.log((u[1] - u[0]) * (v[1] - v[0])))
        return cls(u, v, log_p, log_z)

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draw (n, 2)."""
        share = np.exp(self.log_p - self.log_p.max()).ravel()
        cells = np.unravel_index(rng.choice(share.size, n, p=share / share.sum()), self.log_p.shape)
        jitter = rng.uniform(-0.5, 0.5, (2, n))
        steps = (self.u[1] - self.u[0], self.v[1] - self.v[0])
        return np.column_stack([
            grid[cell] + step * away
            for grid, cell, step, away in zip((self.u, self.v), cells, steps, jitter, strict=True)
        ])  # fmt: skip


def _rates_model() -> pm.Model:
    with pm.Model() as model:
        phi = pm.Uniform("phi", 0, 1)
        k = pm.math.exp(pm.Exponential("log_k", 1.0))
        p = pm.Beta("p", phi * k, (1 - phi) * k, shape=UNITS)
        pm.Binomial("y", TRIALS, p, observed=SUCCESSES)
    return model


def _rates_hyper(u: Array, v: Array) -> Array:
    """Log prior of logit phi and log log k, with both Jacobians."""
    return np.asarray(-np.logaddexp(0, u) - np.logaddexp(0, -u) - np.exp(v) + v)


def _rates_log_density(x: Array) -> Array:
    u, v, w = x[:, [0]], x[:, [1]], x[:, 2:]
    with np.errstate(over="ignore", invalid="ignore"):
        k = np.exp(np.exp(v))
        a, b = expit(u) * k, expit(-u) * k
        log_p, log_1p = -np.logaddexp(0, -w), -np.logaddexp(0, w)
        each = (a + SUCCESSES) * log_p + (b + TRIALS - SUCCESSES) * log_1p - betaln(a, b)
    return np.asarray(_rates_hyper(u, v)[:, 0] + each.sum(axis=1) + np.log(comb(TRIALS, SUCCESSES)).sum())


def _rates_plane(u: Array, v: Array) -> Array:
    """Log density of the two hyperparameters, rates integrated out: Beta-binomials."""
    k = np.exp(np.exp(v))
    a, b = expit(u) * k, expit(-u) * k
    outcomes, counts = np.unique(np.column_stack([TRIALS, SUCCESSES]), axis=0, return_counts=True)
    each = [c * (betaln(a + y, b + n - y) - betaln(a, b)) for (n, y), c in zip(outcomes, counts, strict=True)]
    return np.asarray(_rates_hyper(u, v) + np.sum(each, axis=0) + np.log(comb(TRIALS, SUCCESSES)).sum())


def _rates_sample(plane: Plane, n: int, rng: np.random.Generator) -> Array:
    uv = plane.draw(n, rng)
    k = np.exp(np.exp(uv[:, [1]]))
    a, b = expit(uv[:, [0]]) * k + SUCCESSES, expit(-uv[:, [0]]) * k + TRIALS - SUCCESSES
    return np.column_stack([uv, logit(rng.beta(a, b))])


def rates() -> Problem:
    """Rates of 17 units, Beta about a common one; the last has none of five. Flat: logit phi, log log k, logits."""
    plane = Plane.tabulate(_rates_plane, np.linspace(-4, 1.5, 551), np.linspace(-6, 3.0, 451))
    return Problem(
        name="rates",
        model=_rates_model,
        log_density=_rates_log_density,
        d=2 + UNITS,
        log_z=plane.log_z,
        sample=partial(_rates_sample, plane),
    )


def _zero_sum() -> Array:
    """Matrix (TEAMS, TEAMS - 1) of PyMC's transform: an isometry onto vectors that sum to zero."""
    root = np.sqrt(TEAMS)
    away = 1 / (root + TEAMS)
    return np.vstack([np.eye(TEAMS - 1) - away, np.full(TEAMS - 1, -1 / root)])


DESIGN = (_zero_sum()[HOME] - _zero_sum()[AWAY]) / NOISE
CURVATURE = DESIGN.T @ DESIGN
PULL = DESIGN.T @ (LEADS / NOISE)


def _league_model() -> pm.Model:
    with pm.Model() as model:
        spread = pm.HalfNormal("spread", 1.0)
        strength = pm.ZeroSumNormal("strength", sigma=spread, shape=TEAMS)
        pm.Normal("lead", strength[HOME] - strength[AWAY], NOISE, observed=LEADS)
    return model


def _league_log_density(x: Array) -> Array:
    t, z = x[:, 0], x[:, 1:]
    prior = stats.halfnorm.logpdf(np.exp(t)) + t + stats.norm.logpdf(z, 0, np.exp(t)[:, None]).sum(axis=1)
    likelihood = stats.norm.logpdf(LEADS / NOISE - z @ DESIGN.T).sum(axis=1) - len(LEADS) * np.log(NOISE)
    return np.asarray(prior + likelihood)


def _league_line(t: Array) -> Array:
    """Log density of log spread (n, 1), strengths integrated out: a normal linear model in the eigenbasis."""
    values, vectors = np.linalg.eigh(CURVATURE)
    pull, precision = vectors.T @ PULL, np.exp(-2 * t) + values
    base = stats.norm.logpdf(LEADS / NOISE).sum() - len(LEADS) * np.log(NOISE)
    inner = 0.5 * (pull**2 / precision - np.log(precision)).sum(axis=1) - (TEAMS - 1) * t[:, 0]
    return np.asarray(base + inner + stats.halfnorm.logpdf(np.exp(t[:, 0])) + t[:, 0])


def _league_sample(line: Line, n: int, rng: np.random.Generator) -> Array:
    t = line.draw(n, rng)
    values, vectors = np.linalg.eigh(CURVATURE)
    precision = np.exp(-2 * t)[:, None] + values
    z = (vectors.T @ PULL) / precision + rng.standard_normal((n, TEAMS - 1)) / np.sqrt(precision)
    return np.column_stack([t, z @ vectors.T])


def league() -> Problem:
    """A league of 32 teams whose strengths sum to zero, all pairs played once. Flat: log spread, free strengths."""
    line = Line.tabulate(_league_line, -25.0, 4.0, 4001)
    return Problem(
        name="league",
        model=_league_model,
        log_density=_league_log_density,
        d=TEAMS,
        log_z=line.log_z,
        sample=partial(_league_sample, line),
    )


def _clinics_model() -> pm.Model:
    with pm.Model() as model:
        centre, spread = pm.Normal("centre", 0.0, 2.0), pm.HalfNormal("spread", 1.0)
        effect = pm.Normal("effect", centre, spread, shape=CLINICS)
        pm.Binomial("cured", PATIENTS, logit_p=effect, observed=CURED)
    return model


def _log_binomial(effect: Array) -> Array:
    """Log probability of what each clinic (last axis) saw, given its effect."""
    successes = -CURED * np.logaddexp(0, -effect) - (PATIENTS - CURED) * np.logaddexp(0, effect)
    return np.asarray(successes + np.log(comb(PATIENTS, CURED)))


def _clinics_hyper(m: Array, t: Array) -> Array:
    return np.asarray(stats.norm.logpdf(m, 0, 2) + stats.halfnorm.logpdf(np.exp(t)) + t)


def _clinics_log_density(x: Array) -> Array:
    m, t, effect = x[:, [0]], x[:, [1]], x[:, 2:]
    each = stats.norm.logpdf(effect, m, np.exp(t)) + _log_binomial(effect)
    return np.asarray(_clinics_hyper(m, t)[:, 0] + each.sum(axis=1))


def _clinics_plane(m: Array, t: Array) -> Array:
    """Log density of centre and log spread, effects integrated out by Gauss and Hermite's rule."""
    nodes, weights = hermegauss(40)
    total = _clinics_hyper(m, t)
    logs = [_log_binomial((m + np.exp(t) * z)[..., None]) + np.log(w) for z, w in zip(nodes, weights, strict=True)]
    return np.asarray(total + (logsumexp(logs, axis=0) - 0.5 * np.log(2 * np.pi)).sum(axis=-1))


def _clinics_sample(plane: Plane, n: int, rng: np.random.Generator) -> Array:
    mt = plane.draw(n, rng)
    z = np.linspace(-7, 7, 1401)
    x = np.empty((n, 2 + CLINICS))
    for row, (m, t) in enumerate(mt):
        log_p = -0.5 * z[:, None] ** 2 + _log_binomial((m + np.exp(t) * z)[:, None])
        cdf = np.cumsum(np.exp(log_p - log_p.max(axis=0)), axis=0)
        at = (cdf < rng.random(CLINICS) * cdf[-1]).sum(axis=0)
        x[row] = np.r_[m, t, m + np.exp(t) * (z[at] + rng.uniform(-0.005, 0.005, CLINICS))]
    return x


def clinics() -> Problem:
    """Twelve clinics with random effects on the log odds of a cure, centred. Flat: centre, log spread, effects."""
    plane = Plane.tabulate(_clinics_plane, np.linspace(-4, 3.5, 151), np.linspace(-14, 1.7, 158))
    return Problem(
        name="clinics",
        model=_clinics_model,
        log_density=_clinics_log_density,
        d=2 + CLINICS,
        log_z=plane.log_z,
        sample=partial(_clinics_sample, plane),
    )
