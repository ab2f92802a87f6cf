"""Modes and borders of basins of attraction."""

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy import integrate, optimize

from .problem import Array, LogDensity


def gradient(log_density: LogDensity, x: Array, step: float = 1e-5) -> Array:
    """Gradient (d,) at one point, by central differences."""
    shifts = step * np.eye(len(x))
    return (log_density(x + shifts) - log_density(x - shifts)) / (2 * step)


def hessian(log_density: LogDensity, x: Array, step: float = 1e-4) -> Array:
    """Hessian (d, d) at one point, by central differences."""
    shifts = step * np.eye(len(x))
    rows = [gradient(log_density, x + s, step) - gradient(log_density, x - s, step) for s in shifts]
    return np.stack(rows) / (2 * step)


def _descend(log_density: LogDensity, start: Array, end: float) -> tuple[Array, Array]:
    """Follow the steepest descent u(v) from a point (u, v) until v = end."""

    def slope(v: float, u: Array) -> list[float]:
        towards = gradient(log_density, np.array([u[0], v]))
        return [float(towards[0] / towards[1])]

    nodes = np.linspace(start[1], end, 400)
    path = integrate.solve_ivp(slope, (start[1], end), start[:1], t_eval=nodes, method="LSODA", rtol=1e-8, atol=1e-10)
    return nodes, path.y[0]


def separatrix(log_density: LogDensity, saddle: Array, reach: float) -> tuple[Array, Array]:
    """Trace the border u = b(v) of two basins of a density of (u, v): the steepest descent from their saddle.

    Returns nodes v and values b, and assumes that the border is a function of v for |v| below `reach`.
    """
    saddle = optimize.root(partial(gradient, log_density), saddle, tol=1e-12).x
    downhill = np.linalg.eigh(hessian(log_density, saddle))[1][:, 0]
    step = 1e-3 * downhill / downhill[1]
    left, low = _descend(log_density, saddle - step, -reach)
    right, high = _descend(log_density, saddle + step, reach)
    return np.r_[left[::-1], saddle[1], right], np.r_[low[::-1], saddle[0], high]


def mass_below(border: tuple[Array, Array], joint: Callable[[Array, Array], Array]) -> float:
    """Integrate over v the mass that `joint(v, b)` says lies at u < b(v)."""
    v = np.linspace(-9, 9, 20_001)
    return float(integrate.trapezoid(joint(v, np.interp(v, *border)), v))


def climb(log_density: LogDensity, x: Array, steps: int = 20) -> tuple[Array, Array]:
    """Go by Newton's iteration from a start near a mode: the mode and the inverse of minus its Hessian."""
    for _ in range(steps):
        x = x - np.linalg.solve(hessian(log_density, x), gradient(log_density, x))
    return x, -np.linalg.inv(hessian(log_density, x))
