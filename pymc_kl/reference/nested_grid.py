"""The grid of a nested Laplace approximation: Laplace's approximation of the inner coordinates at every node."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation, label

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.numerics.constants import LOG_2PI
from pymc_kl.numerics.lbfgs import ValueAndGrad

NODES = {1: 61, 2: 19}  # nodes of the grid along each of so many outer coordinates; our choice
DEPTH = 12.0  # nats below its top down to which the outer density is tabulated: all but 1e-5 of it; our choice
MAX_GROWTH = 8  # times that a grid grows, by half its width, to reach that depth; our choice
MOST_NEWTON_STEPS = 12  # steps from a neighbour's mode to a node's, of which 3 to 5 do nearly always; our choice
NEWTON_GAIN = 1e-4  # squared length of a Newton step, in local sds, from which no more are made; our choice
LONGEST_STEP = 100.0  # local sds that the first step goes at the most, or one sd of the draws if more; our choice
LONGER_STEP = 2.0  # times as long as the one before that the next may be: a ridge may bend far away; our choice
FAR_FROM_MODE = 1.0  # squared length of the last step, in local sds, above which no mode was found; our choice
DIFFERENCE = 1e-3  # local sds over which a gradient is differenced; our choice
FLATTEST = 0.05  # least curvature believed, over that of a neighbour; our choice


@dataclass(frozen=True, eq=False)
class Conditionals:
    """Laplace's approximation of the inner coordinates at given values of the outer ones, node by node.

    Attributes
    ----------
    modes : array (n, r)
    trils : array (n, r, r)
        Lower Cholesky factors of the covariances.
    log_marginal : array (n,)
        Laplace's approximation of the log density of the outer coordinates, nats; NaN where no mode was found.
    """

    modes: Array
    trils: Array
    log_marginal: Array


@dataclass(frozen=True, eq=False)
class Split:
    """Which coordinates are outer and which inner; the outer ones as u, in which draws have no correlation.

    Attributes
    ----------
    outer, inner : array of int
    loc : array (m,)
    tril : array (m, m)
        The outer coordinates are loc + tril u.
    widths : array (r,)
        Standard deviations of the inner coordinates.
    """

    outer: IntArray
    inner: IntArray
    loc: Array
    tril: Array
    widths: Array

    @classmethod
    def of_draws(cls, x: Array, outer: IntArray) -> "Split":
        """Take location and scale of the outer coordinates from draws (n, d)."""
        s = x[:, outer]
        tril = np.linalg.cholesky(np.cov(s.T).reshape(len(outer), -1))
        inner = np.setdiff1d(np.arange(x.shape[1]), outer)
        return cls(outer, inner, s.mean(axis=0), tril, x[:, inner].std(axis=0))

    def u(self, x: Array) -> Array:
        """Return u (n, m) of points x (n, d)."""
        return np.asarray(np.linalg.solve(self.tril, (x[:, self.outer] - self.loc).T).T)

    def join(self, u: Array, inner: Array) -> Array:
        """Put u (n, m) and inner coordinates (n, r) together as points (n, d)."""
        x = np.empty((len(u), len(self.outer) + len(self.inner)))
        x[:, self.outer], x[:, self.inner] = self.loc + u @ self.tril.T, inner
        return x


def central(x: Array) -> Array:
    """Return the draw (1, d) that is nearest to the median of draws (n, d)."""
    away = ((x - np.median(x, axis=0)) ** 2 / x.var(axis=0)).sum(axis=1)
    return x[away.argmin()][None]


def axes_to_the_depth(nodes: "Nodes", x: Array) -> tuple[Array, ...]:
    """Find a grid that reaches down to the depth, from one as wide as the draws (n, d) that grows where it must."""
    u, centre = nodes.split.u(x), nodes.split.u(central(x))[0]
    low, high = u.min(axis=0), u.max(axis=0)
    m = u.shape[1]
    coarse = 1 + NODES[m] // 2
    for _ in range(MAX_GROWTH):
        axes = tuple(np.linspace(a, b, coarse) for a, b in zip(low, high, strict=True))
        ends = _ends(main_part(nodes.tabulate(axes, x), axes, centre))
        low, high = np.array([_reach(axis, *end) for axis, end in zip(axes, ends, strict=True)]).T
        if all(first > 0 and last < coarse - 1 for first, last in ends):
            break
    return tuple(np.linspace(a, b, NODES[m]) for a, b in zip(low, high, strict=True))


def main_part(found: Conditionals, axes: tuple[Array, ...], centre: Array) -> BoolArray:
    """Tell which nodes are within 12 nats of the top that is reached from a centre (m,) without falling below that.

    Log densities that are off by rounding far out, such as those of a Beta distribution with huge parameters, are not.
    """
    log_marginal = found.log_marginal.reshape(*map(len, axes))
    top = tuple(int(np.abs(a - c).argmin()) for a, c in zip(axes, centre, strict=True))
    if not np.isfinite(log_marginal[top]):
        raise np.linalg.LinAlgError("no conditional maximum was found at the centre of the draws")
    while True:
        labels, _ = label(log_marginal >= log_marginal[top] - DEPTH, np.ones((3,) * log_marginal.ndim))
        part = labels == labels[top]
        highest = np.unravel_index(np.where(part, log_marginal, -np.inf).argmax(), part.shape)
        if log_marginal[highest] == log_marginal[top]:
            return np.asarray(part)
        top = tuple(map(int, highest))


def refuse_unknown_border(part: BoolArray, log_marginal: Array) -> None:
    """Refuse a part of a grid beside which no mode was found: it may go on there."""
    beside = binary_dilation(part, np.ones((3,) * part.ndim, dtype=bool)) & np.isnan(log_marginal.reshape(part.shape))
    if beside.any():
        raise np.linalg.LinAlgError("no conditional maximum was found beside the grid")


def _ends(part: BoolArray) -> list[tuple[int, int]]:
    """First and last node of a part of the grid along each axis."""
    along = [np.flatnonzero(part.any(axis=tuple(np.delete(np.arange(part.ndim), i)))) for i in range(part.ndim)]
    return [(int(nodes[0]), int(nodes[-1])) for nodes in along]


def _reach(axis: Array, first: int, last: int) -> tuple[float, float]:
    """Say from where to where the next grid goes: beyond a face that was reached, else to the first node outside."""
    width = axis[-1] - axis[0]
    low = axis[0] - width / 2 if first == 0 else axis[first - 1]
    high = axis[-1] + width / 2 if last == len(axis) - 1 else axis[last + 1]
    return float(low), float(high)


@dataclass(frozen=True, eq=False)
class Nodes:
    """Laplace's approximations at the nodes of a grid, by Newton's method from neighbours nearer to the centre."""

    value_and_grad: ValueAndGrad
    split: Split

    def tabulate(self, axes: tuple[Array, ...], x: Array) -> Conditionals:
        """Go out from the node nearest to the centre of draws (n, d)."""
        u = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
        index = np.stack(np.meshgrid(*(np.arange(len(a)) for a in axes), indexing="ij"), axis=-1).reshape(u.shape)
        centre, r = central(x), len(self.split.inner)
        first = index - [np.abs(a - c).argmin() for a, c in zip(axes, self.split.u(centre)[0], strict=True)]
        ring = np.abs(first).max(axis=1)
        found = Conditionals(np.empty((len(u), r)), np.empty((len(u), r, r)), np.full(len(u), -np.inf))
        start = centre[:, self.split.inner]
        factor = np.linalg.cholesky(np.cov(x[:, self.split.inner].T).reshape(1, r, r))
        shape = tuple(map(len, axes))
        for distance in range(ring.max() + 1):
            rows = np.flatnonzero(ring == distance)
            if distance:
                towards = index[rows] - np.sign(first[rows]) * (np.abs(first[rows]) == distance)
                near = np.ravel_multi_index(tuple(towards.T), shape)
                start, factor = found.modes[near], found.trils[near]
            found.modes[rows], found.trils[rows], found.log_marginal[rows] = self.newton(u[rows], start, factor)
        return found

    def newton(self, u: Array, start: Array, factor: Array) -> tuple[Array, Array, Array]:
        """Maximise over the inner coordinates at outer ones u (n, m): modes, Cholesky factors, log marginals."""
        mode = np.broadcast_to(start, (len(u), start.shape[1])).copy()
        for i in range(MOST_NEWTON_STEPS):
            value, gradient, tril = self._expand(u, mode, factor)
            step = np.einsum("nji,nj->ni", tril, gradient)  # in sds by the curvature here
            length = np.linalg.norm(step, axis=1, keepdims=True)
            if (length**2 < NEWTON_GAIN).all():
                break
            step = np.einsum("nij,nj->ni", tril, step)
            wide = np.linalg.norm(step / self.split.widths, axis=1, keepdims=True)
            longest = np.maximum(LONGEST_STEP / np.maximum(length, 1e-12), 1 / np.maximum(wide, 1e-12))
            step *= np.minimum(1, LONGER_STEP**i * longest)
            mode += self._kept(u, mode, step, value)
            factor = tril
        log_det = np.log(np.diagonal(tril, axis1=1, axis2=2)).sum(axis=1)
        log_marginal = value + log_det + 0.5 * mode.shape[1] * LOG_2PI
        log_marginal = np.where(np.isfinite(log_marginal), log_marginal, -np.inf)
        return mode, tril, np.where((length[:, 0] ** 2 > FAR_FROM_MODE) & np.isfinite(value), np.nan, log_marginal)

    def _kept(self, u: Array, mode: Array, step: Array, value: Array) -> Array:
        """Halve steps (n, r) that would lower the log density, up to five times."""
        for _ in range(5):
            worse = ~(self._evaluate(u, mode + step)[0] >= value - NEWTON_GAIN)
            if not worse.any():
                break
            step[worse] /= 2
        return step

    def _expand(self, u: Array, mode: Array, factor: Array) -> tuple[Array, Array, Array]:
        """Log density (n,), gradient (n, r) and Cholesky factors (n, r, r) of the inverse of minus the Hessian."""
        n, r = mode.shape
        factor = np.broadcast_to(factor, (n, r, r))
        value, gradient = self._evaluate(u, mode)
        steps = DIFFERENCE * np.swapaxes(factor, 1, 2)
        sides = [
            self._evaluate(np.repeat(u, r, axis=0), (mode[:, None] + sign * steps).reshape(-1, r))[1]
            for sign in (1, -1)
        ]
        change = ((sides[1] - sides[0]) / (2 * DIFFERENCE)).reshape(n, r, r)
        curvature = change @ factor  # in the coordinates that the factor whitens
        values, vectors = np.linalg.eigh(np.nan_to_num((curvature + np.swapaxes(curvature, 1, 2)) / 2))
        root = factor @ (vectors / np.sqrt(np.maximum(np.abs(values), FLATTEST))[:, None])
        return value, gradient, triangular(root)

    def _evaluate(self, u: Array, inner: Array) -> tuple[Array, Array]:
        with np.errstate(all="ignore"):
            value, gradient = self.value_and_grad(self.split.join(u, inner))
        return np.where(np.isfinite(value), value, -np.inf), np.nan_to_num(gradient[:, self.split.inner])


def triangular(roots: Array) -> Array:
    """Lower Cholesky factors of roots (n, r, r) times their transposes, which may be singular to rounding."""
    tril = np.swapaxes(np.linalg.qr(np.swapaxes(roots, 1, 2), mode="r"), 1, 2)
    return np.asarray(tril * np.sign(np.diagonal(tril, axis1=1, axis2=2))[:, None])
