"""Nested Laplace proposal: a few coordinates on a grid, all others by Laplace's approximation given those.

In a hierarchical model the outer coordinates are the log scales: given them the rest is nearly Gaussian, in the neck of
a funnel as elsewhere. The proposal goes where the density does, whether draws have been there or not.

Rue, H., Martino, S. and Chopin, N. (2009). Approximate Bayesian inference for latent Gaussian models by using
integrated nested Laplace approximations. Journal of the Royal Statistical Society B 71, 319-392.
doi:10.1111/j.1467-9868.2008.00700.x
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.interpolate import RegularGridInterpolator
from scipy.special import softmax
from scipy.stats import rankdata

from pymc_kl._typing import Array, IntArray
from pymc_kl.numerics.lbfgs import ValueAndGrad
from pymc_kl.reference.nested_grid import (
    DEPTH,
    DIFFERENCE,
    Conditionals,
    Nodes,
    Split,
    axes_to_the_depth,
    central,
    main_part,
    refuse_unknown_border,
)
from pymc_kl.reference.proposals import log_kernel

FINE = {1: 20, 2: 8}  # cells of the outer density between two nodes; our choice
FAR_OFF = 4.0  # squared sds by coordinate from an interpolated mode to half of the draws; above it, it is remade
MOST_REMADE = 8  # inner coordinates at the most, of which a mode is remade at every draw: bounds gradients; our choice
TIED_IF_BENT = 0.1  # the same where chains say that a ridge bends; our choice
TIED = 0.02  # conditional over marginal sd of a coordinate that is tied to the others, at the most; our choice
ALIKE = 0.5  # standard deviation of the log of its curvature over the draws, at the most; our choice
TIED_POINTS = 64  # draws at which that curvature is looked at; our choice
DFS = (np.inf, 10.0, 5.0)  # degrees of freedom tried for the inner coordinates; our choice


@dataclass(frozen=True, eq=False)
class NestedLaplace:
    """q(x) = q(outer) t(inner; mode(outer), covariance(outer), df): the density of the outer coordinates on a grid.

    Parameters
    ----------
    split : Split
    axes : tuple of array
        Nodes of the grid along each of the coordinates u.
    conditionals : Conditionals
        At the nodes, the last axis first; interpolated between them.
    df : float
        Degrees of freedom of the inner coordinates; infinite for Gaussians.
    nodes : Nodes, optional
        What makes the approximation at any point anew, where one interpolated between nodes is off by many widths.
    """

    split: Split
    axes: tuple[Array, ...]
    conditionals: Conditionals
    df: float = np.inf
    nodes: Nodes | None = None

    @property
    def name(self) -> str:
        """What was fitted."""
        return f"nested Laplace approximation over {len(self.axes)}"

    @cached_property
    def _interpolated(self) -> RegularGridInterpolator:
        c = self.conditionals
        values = np.column_stack([c.modes, c.trils.reshape(len(c.trils), -1)])
        return RegularGridInterpolator(self.axes, values.reshape(*map(len, self.axes), -1))

    @cached_property
    def _cells(self) -> tuple[tuple[Array, ...], Array]:
        """Edges of fine cells along each axis, and the log probability of each cell."""
        fine = FINE[len(self.axes)]
        edges = tuple(np.linspace(a[0], a[-1], fine * (len(a) - 1) + 1) for a in self.axes)
        middles = np.meshgrid(*((e[1:] + e[:-1]) / 2 for e in edges), indexing="ij")
        heights = self.conditionals.log_marginal.reshape(*map(len, self.axes))
        one = len(self.axes) == 1
        interpolated = RegularGridInterpolator(self.axes, heights, method="pchip" if one else "linear")
        log_p = np.nan_to_num(interpolated(np.stack(middles, axis=-1)), nan=-np.inf)
        top = log_p.max()
        if not np.isfinite(top):
            raise np.linalg.LinAlgError("the approximation has no finite height")
        p = np.exp(log_p - top)
        return edges, np.asarray(log_p - top - np.log(p.sum()))

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw (n, d)."""
        edges, log_p = self._cells
        cells = np.unravel_index(rng.choice(log_p.size, n, p=softmax(log_p.ravel())), log_p.shape)
        sides = zip(edges, cells, strict=True)
        u = np.column_stack([e[c] + (e[1] - e[0]) * rng.random(n) for e, c in sides])
        mode, tril = self._at(u)
        z = rng.standard_normal(mode.shape)
        if np.isfinite(self.df):
            z /= np.sqrt(rng.chisquare(self.df, n) / self.df)[:, None]
        return self.split.join(u, mode + np.einsum("nij,nj->ni", tril, z))

    def log_prob(self, x: Array) -> Array:
        """Evaluate the log density (n,) at x (n, d), in nats; outside the grid it is that of the grid's edge."""
        edges, log_p = self._cells
        sides = zip(edges, self.split.u(x).T, strict=True)
        cells = [np.clip(np.searchsorted(e, c, side="right") - 1, 0, len(e) - 2) for e, c in sides]
        log_cell = sum(np.log(e[1] - e[0]) for e in edges) + np.log(np.diag(self.split.tril)).sum()
        square, log_det = self.squares(x)
        return np.asarray(log_p[tuple(cells)] - log_cell + log_kernel(square, len(self.split.inner), self.df) - log_det)

    def squares(self, x: Array) -> tuple[Array, Array]:
        """Squared distances (n,) of the inner coordinates from their mode, and log determinants (n,) of the factors."""
        mode, tril = self._at(self.split.u(x))
        z = np.linalg.solve(tril, (x[:, self.split.inner] - mode)[..., None])[..., 0]
        return (z**2).sum(axis=1), np.log(np.diagonal(tril, axis1=1, axis2=2)).sum(axis=1)

    def _at(self, u: Array) -> tuple[Array, Array]:
        inside = np.column_stack([np.clip(c, a[0], a[-1]) for c, a in zip(u.T, self.axes, strict=True)])
        values, r = self._interpolated(inside), len(self.split.inner)
        mode, tril = values[:, :r], values[:, r:].reshape(-1, r, r)
        return (mode, tril) if self.nodes is None else self.nodes.newton(inside, mode, tril)[:2]


def outer_coordinates(x: Array) -> IntArray:
    """Rank coordinates, those first that the others' residual spread depends on most, from draws (n, d).

    A residual is what a linear regression on all other coordinates leaves of one.
    """
    centred = (x - x.mean(axis=0)) / x.std(axis=0)
    precision = np.linalg.inv(np.cov(centred.T) + 1e-9 * np.eye(x.shape[1]))
    residuals = centred @ precision / np.diag(precision)
    spread = rankdata(np.abs(residuals), axis=0)
    correlation = np.corrcoef(spread.T, rankdata(x, axis=0).T)[: x.shape[1], x.shape[1] :]
    np.fill_diagonal(correlation, 0)
    return np.asarray(np.argsort(-(correlation**2).sum(axis=0), kind="stable"))


def tied_coordinates(value_and_grad: ValueAndGrad, x: Array, tied_to: float = TIED) -> IntArray:
    """List coordinates that the others fix to a small part of their spread, and everywhere alike, by draws (n, d).

    Given the others they are normal: they belong inside a nested Laplace approximation, whatever the ridge's bends.
    Once the most alike is inside, the others are looked at again with it integrated out.
    """
    precision, spread = _precisions(value_and_grad, x), x.std(axis=0)
    tied: list[int] = []
    while len(tied) < x.shape[1]:
        with np.errstate(all="ignore"):
            log_curvature = np.log(np.diagonal(precision, axis1=1, axis2=2))
            narrow = -0.5 * np.median(log_curvature, axis=0) < np.log(tied_to * spread)
            varies = np.where(narrow, np.nan_to_num(log_curvature.std(axis=0), nan=np.inf), np.inf)
        varies[tied] = np.inf
        if not varies.min() < ALIKE:
            break
        tied.append(j := int(varies.argmin()))
        across = precision[:, :, j]
        precision = precision - across[:, :, None] * across[:, None, :] / across[:, j, None, None]
    return np.sort(np.array(tied, dtype=np.int64))


def _precisions(value_and_grad: ValueAndGrad, x: Array) -> Array:
    """Minus the Hessians (m, d, d) of log p̃ at some of the draws (n, d), by central differences."""
    d, points = x.shape[1], x[np.linspace(0, len(x) - 1, min(len(x), TIED_POINTS)).astype(int)]
    with np.errstate(all="ignore"):
        steps = DIFFERENCE / np.maximum(np.abs(value_and_grad(points)[1]).mean(axis=0), DIFFERENCE / x.std(axis=0))
        sides = [value_and_grad((points[:, None] + sign * np.diag(steps)).reshape(-1, d))[1] for sign in (1, -1)]
        hessians = (sides[1] - sides[0]).reshape(-1, d, d) / (2 * steps[:, None])
    return np.asarray((hessians + np.swapaxes(hessians, 1, 2)) / 2)


def fit_nested_laplace(value_and_grad: ValueAndGrad, x: Array, outer: IntArray) -> NestedLaplace:
    """Tabulate a nested Laplace approximation about draws.

    Parameters
    ----------
    value_and_grad : callable
        (n, d) -> log density (n,), nats, and its gradient (n, d).
    x : array (n, d)
        Draws; they say where the grid starts from, and which tails fit.
    outer : array (m,) of int
        Coordinates on the grid, one or two.

    Returns
    -------
    NestedLaplace
        With a grid that reaches until the density of the outer coordinates has fallen by 12 nats.
    """
    split = Split.of_draws(x, outer)
    nodes = Nodes(value_and_grad, split)
    axes = axes_to_the_depth(nodes, x)
    found = nodes.tabulate(axes, x)
    part = main_part(found, axes, split.u(central(x))[0])
    refuse_unknown_border(part, found.log_marginal)
    part = part.ravel()
    top = found.log_marginal[part].max()
    # Outside the main part the density is as good as zero, whatever a log density says far out.
    found = replace(found, log_marginal=np.where(part, found.log_marginal, top - 2 * DEPTH))
    q = NestedLaplace(split, axes, found)
    r = len(split.inner)
    if r <= MOST_REMADE and np.median(q.squares(x)[0]) > FAR_OFF * r:
        q = replace(q, nodes=nodes)
    return _with_tails(q, x)


def _with_tails(q: NestedLaplace, x: Array) -> NestedLaplace:
    """Choose the degrees of freedom by the draws (n, d): their grid is made of the density, not of them."""
    square, _ = q.squares(x)
    df = max(DFS, key=lambda df: float(log_kernel(square, len(q.split.inner), df).mean()))
    return replace(q, df=df)
