"""Densities on the line: quadrature, basins and best normals."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import integrate, optimize, stats
from scipy.special import logsumexp

from .problem import LOG_2PI, Array, LogDensity, Optimum


@dataclass(frozen=True)
class Line:
    """A density on the line, tabulated finely enough to integrate and invert."""

    nodes: Array
    log_p: Array
    log_z: float

    @classmethod
    def tabulate(cls, log_density: LogDensity, lower: float, upper: float, size: int = 20_001) -> "Line":
        nodes = np.linspace(lower, upper, size)
        raw = log_density(nodes[:, None])
        log_z = float(logsumexp(raw) + np.log(nodes[1] - nodes[0]))
        return cls(nodes, raw - log_z, log_z)

    def expect(self, values: Array) -> float:
        return float(np.sum(np.exp(self.log_p) * values) * (self.nodes[1] - self.nodes[0]))

    @property
    def mean(self) -> float:
        return self.expect(self.nodes)

    @property
    def var(self) -> float:
        return self.expect((self.nodes - self.mean) ** 2)

    @property
    def _cumulative(self) -> Array:
        mass = integrate.cumulative_trapezoid(np.exp(self.log_p), self.nodes, initial=0)
        return np.asarray(mass / mass[-1])

    def cdf(self, x: Array) -> Array:
        return np.interp(x, self.nodes, self._cumulative)

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        return np.interp(rng.random(n), self._cumulative, self.nodes)


def maximum(log_density: LogDensity, lower: float, upper: float, *, sign: float = 1.0) -> float:
    """Find the one maximum (sign 1) or minimum (sign -1) in an interval of the line."""
    found = optimize.minimize_scalar(
        lambda x: -sign * float(log_density(np.array([[x]]))[0]),
        bounds=(lower, upper),
        method="bounded",
        options={"xatol": 1e-12},
    )
    return float(found.x)


def line_masses(log_density: LogDensity, cdf: Callable[[Array], Array], modes: Array) -> Array:
    """Masses between the minima that part sorted modes on the line."""
    saddles = np.array([maximum(log_density, a, b, sign=-1.0) for a, b in pairwise(modes)])
    return np.diff(np.concatenate([[0.0], cdf(saddles), [1.0]]))


def line_reverse_kl(log_density: LogDensity, log_z: float, mean: float, sd: float) -> float:
    """KL(N(mean, sd)‖p) on the line, by the trapezoid rule, in nats."""
    z = np.linspace(-10, 10, 2001)
    weights = np.exp(-0.5 * z**2)
    weights /= weights.sum()
    expected = float(weights @ log_density((mean + sd * z)[:, None]))
    return log_z - expected - 0.5 * (LOG_2PI + 1) - float(np.log(sd))


def _line_forward_kl(line: Line, mean: float, sd: float) -> float:
    """KL(p‖N(mean, sd)) on the line, in nats."""
    return line.expect(line.log_p - stats.norm.logpdf(line.nodes, mean, sd))


def _line_optimum(line: Line, log_density: LogDensity, mean: float, sd: float) -> Optimum:
    reverse = line_reverse_kl(log_density, line.log_z, mean, sd)
    return Optimum(np.array([mean]), np.array([[sd**2]]), reverse, _line_forward_kl(line, mean, sd))


def _line_reverse_from(line: Line, log_density: LogDensity, mean: float, sd: float) -> Optimum:
    """Descend KL(q‖p) from a start, the mean nudged so that no saddle by symmetry holds it."""

    def loss(parameters: Array) -> float:
        return line_reverse_kl(log_density, line.log_z, float(parameters[0]), float(np.exp(parameters[1])))

    start = np.array([mean + 0.05 * sd, np.log(sd)])
    found = optimize.minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14})
    return _line_optimum(line, log_density, float(found.x[0]), float(np.exp(found.x[1])))


def line_optima(line: Line, log_density: LogDensity, starts: Array) -> tuple[dict[str, Optimum], dict[str, Optimum]]:
    """Find the reverse optima from (mean, sd) starts and the forward optimum, on the line."""
    found: list[Optimum] = []
    for mean, sd in starts:
        new = _line_reverse_from(line, log_density, float(mean), float(sd))
        if all(abs(new.mean - old.mean) > 1e-3 for old in found):
            found.append(new)
    found.sort(key=lambda optimum: (round(optimum.reverse_kl, 9), optimum.mean[0]))  # mirror images: the left one first
    reverse = {"meanfield": found[0], "fullrank": found[0]}
    reverse |= {f"local_{i}": optimum for i, optimum in enumerate(found[1:], 1)}
    best = _line_optimum(line, log_density, line.mean, float(np.sqrt(line.var)))
    return reverse, {"meanfield": best, "fullrank": best}
