"""Tests of whether draws can be draws of p̃, which need p̃ at and near them: Stein's identities, detailed balance.

Both hold for draws of p and every function φ, whatever the normalising constant. Stein: E[φ'(u) + φ(u) ∂ log p̃] = 0
for φ that vanish where p̃ ends (Gorham and Mackey 2015, doi:10.48550/arXiv.1506.03039). Detailed balance: a step of
Metropolis' algorithm carries as much mass forth as back, E[φ(u + h/2) min(1, p̃(u + h) / p̃(u))] =
E[φ(u - h/2) min(1, p̃(u - h) / p̃(u))]. The first needs one gradient a draw, for all coordinates. The second needs two
densities a draw and coordinate, and no step, bound or heavy tail of p̃ breaks it, since nothing in it exceeds 1.
Here φ is a bump, which sees draws that lie beside p, and the bump times u, which sees draws too wide or too narrow.
Neither sees whether modes far apart have the right masses.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import norm, rankdata

from pymc_kl._typing import Array
from pymc_kl.numerics.constants import MAD_TO_SD
from pymc_kl.numerics.estimate import UNKNOWN, Estimate, effective_size

BUMP_SD = 2.0  # whitened standard deviations: that of the bump; wider reads more of light tails; our choice
STEP = 0.5  # whitened standard deviations of a step of detailed balance: best of 0.5, 1 and 2 on heavy tails
MADE_OF_TWO = 0.5  # share of a second coordinate of x, over the first's, from which both are named; our choice
FALSE_ALARMS = 0.001  # probability that exact draws exceed :func:`critical_z`; our choice


@dataclass(frozen=True, eq=False)
class Whitening:
    """Draws x = centre + factor u in coordinates u (n, d) of unit scale, each as close to one of x as can be.

    Location, scale and correlation are medians, median absolute deviations and those of normal scores, so that heavy
    tails change none of them.
    """

    centre: Array
    factor: Array
    u: Array

    @classmethod
    def of(cls, x: Array) -> "Whitening":
        """Whiten draws (n, d) by themselves."""
        n, d = x.shape
        centre = np.median(x, axis=0)
        scale = MAD_TO_SD * np.median(np.abs(x - centre), axis=0)
        scale = np.where(scale > 0, scale, x.std(axis=0))
        scale = np.where(scale > 0, scale, 1.0)
        scores = norm.ppf((rankdata(x, axis=0) - 0.5) / n)
        covariance = (scores.T @ scores + d * np.eye(d)) / (n + d)
        size = np.sqrt(np.diag(covariance))
        values, vectors = np.linalg.eigh(covariance / np.outer(size, size))
        root = (vectors * np.sqrt(values)) @ vectors.T
        return cls(centre, scale[:, None] * root, np.linalg.solve(root, ((x - centre) / scale).T).T)

    def made_of(self, j: int) -> list[int]:
        """List the one or two coordinates of x that whitened coordinate j is made of most."""
        parts = np.abs(self.factor[:, j] / np.linalg.norm(self.factor, axis=1))
        first, *others = (int(i) for i in np.argsort(-parts, kind="stable")[:2])
        return [first, *(i for i in others if parts[i] > MADE_OF_TWO * parts[first])]

    def turned(self, rotation: Array, rows: slice) -> "Whitening":
        """Return some of the draws in coordinates turned by a rotation (d, d)."""
        return Whitening(self.centre, self.factor @ rotation, self.u[rows] @ rotation)


@dataclass(frozen=True, eq=False)
class SteinIdentities:
    """What Stein's identities say of draws, along each whitened coordinate.

    Attributes
    ----------
    whitening : Whitening
    push, pull, weight : array (n, d)
        The bump times the slope of log p̃, u times that, and the derivative of the bump times u.
    z : array (2, d)
        The identities' means in standard errors: of the bump, then of the bump times u.
    """

    whitening: Whitening
    push: Array
    pull: Array
    weight: Array
    z: Array

    @property
    def worst(self) -> int:
        """The coordinate with the largest |z|."""
        return int(np.abs(self.z).max(axis=0).argmax())

    @property
    def greatest_z(self) -> float:
        """The largest |z| of any."""
        return float(np.abs(self.z).max())

    @cached_property
    def spread(self) -> Array:
        """How many times as wide as p the draws are along each coordinate (d,), if p is normal; NaN at a dip."""
        ratio = -self.pull.mean(axis=0) / self.weight.mean(axis=0)
        return np.sqrt(np.where(ratio > 0, ratio, np.nan))

    @cached_property
    def shift(self) -> Array:
        """How many standard deviations of p the draws lie beside it along each coordinate (d,), likewise."""
        bump = np.exp(-0.5 * (self.whitening.u / BUMP_SD) ** 2).mean(axis=0)
        return np.asarray(-self.push.mean(axis=0) / bump / self.spread)


def stein_identities(x: Array, gradient: Array, *, chains: bool) -> SteinIdentities:
    """Evaluate Stein's identities at draws.

    Parameters
    ----------
    x, gradient : array (n, d)
        Draws, and the gradient of log p̃ (nats) there, in the unconstrained space. What is not finite counts as 0.
    chains : bool
        Draws are Markov chains, end to end, and errors have ArviZ's effective sample size; else independent draws.

    Returns
    -------
    SteinIdentities
    """
    return _identities(Whitening.of(x), _finite(gradient), chains=chains)


def _identities(whitening: Whitening, gradient: Array, *, chains: bool) -> SteinIdentities:
    """Evaluate Stein's identities along each whitened coordinate."""
    u, slope = whitening.u, gradient @ whitening.factor
    bump = np.exp(-0.5 * (u / BUMP_SD) ** 2)
    push, pull, weight = bump * slope, u * bump * slope, bump * (1 - (u / BUMP_SD) ** 2)
    sums = (push - u * bump / BUMP_SD**2, pull + weight)
    z = np.array([[_z(column, chains=chains) for column in part.T] for part in sums])
    return SteinIdentities(whitening, push, pull, weight, z)


def _finite(gradient: Array) -> Array:
    return np.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)


def _turned(found: SteinIdentities, gradient: Array) -> list[tuple[slice, SteinIdentities]]:
    """Evaluate the identities along the directions in which the other half of the draws says that widths are most off.

    Draws with the right width along each coordinate may have a wrong correlation between two.
    """
    n, d = found.whitening.u.shape
    if d == 1:
        return []
    slope, halves = gradient @ found.whitening.factor, (slice(0, n // 2), slice(n // 2, n))
    made = []
    for one, other in (halves, halves[::-1]):
        u = found.whitening.u[one]
        pull = (u * np.exp(-0.5 * (u / BUMP_SD) ** 2)).T @ slope[one]
        _, rotation = np.linalg.eigh(pull + pull.T)
        whitening = found.whitening.turned(rotation, other)
        made.append((other, _identities(whitening, gradient[other], chains=True)))
    return made


def stein_spread(found: SteinIdentities) -> Estimate:
    """Return how many times as wide as p independent draws are, along the coordinate whose width is off most surely.

    NaN where log p̃ has a dip there.
    """
    j = int(np.abs(found.z[1]).argmax())
    spread = float(found.spread[j])
    if not np.isfinite(spread):
        return UNKNOWN
    residual = found.pull[:, j] + spread**2 * found.weight[:, j]
    se = residual.std(ddof=1) / np.sqrt(len(residual)) / abs(found.weight[:, j].mean())
    return Estimate(spread, float(se / (2 * spread)))


def balance_z(u: Array, here: Array, ahead: Array, behind: Array) -> Array:
    """Return by how much detailed balance fails along one whitened coordinate, in standard errors.

    Parameters
    ----------
    u : array (n,)
        Coordinate of each draw of Markov chains, end to end.
    here, ahead, behind : array (n,)
        log p̃ (nats) at the draws, and a step of :data:`STEP` further on and back; -inf outside the region.

    Returns
    -------
    array (2,)
        Of the bump, then of the bump times u.
    """
    forth, back = (np.exp(np.minimum(there - here, 0.0)) for there in (ahead, behind))
    to, fro = u + STEP / 2, u - STEP / 2
    forth, back = forth * np.exp(-0.5 * (to / BUMP_SD) ** 2), back * np.exp(-0.5 * (fro / BUMP_SD) ** 2)
    return np.array([_z(forth - back, chains=True), _z(to * forth - fro * back, chains=True)])


@dataclass(frozen=True)
class DrawsTest:
    """Whether draws of a region can be draws of p̃ there.

    Attributes
    ----------
    z : float
        Standard errors by which detailed balance fails along the coordinate where Stein's identities fail most, or by
        which those fail where they do not fail for certain.
    coordinates : list of int
        That coordinate of x, or both where it is made of two: those that the whitened coordinate is made of most.
    spread, shift : float
        How many times as wide as p the draws are there, and by how many standard deviations of p they lie beside it,
        if p is normal.
    is_width : bool
        The spread is further off than the location.
    refused : bool
        Draws of p would come out so with a probability of :data:`FALSE_ALARMS` at the most.
    """

    z: float
    coordinates: list[int]
    spread: float
    shift: float
    is_width: bool
    refused: bool


def check_draws(
    x: Array, here: Array, gradient: Array, log_density: Callable[[Array], Array], *, n_sets: int = 1
) -> DrawsTest:
    """Check draws of a region: Stein's identities along all coordinates, detailed balance along the worst of them.

    The coordinates are whitened ones, and those turned to where the other half of the draws says that they fail most.

    Draws are refused only if both fail, so that heavy tails of the gradient, steps and bounds of p̃ refuse none.

    Parameters
    ----------
    x, gradient : array (n, d)
        Draws of Markov chains, end to end, and the gradient of log p̃ (nats) there.
    here : array (n,)
        log p̃ there.
    log_density : callable
        (n, d) -> log p̃ (n,); -inf outside the region. Called only where Stein's identities fail.
    n_sets : int
        Sets of draws that are checked beside each other: the false alarms are those of all of them.
    """
    gradient = _finite(gradient)
    whole = stein_identities(x, gradient, chains=True)
    looks = [(slice(0, len(x)), whole), *_turned(whole, gradient)]
    critical = critical_z(sum(found.z.size for _, found in looks) * n_sets)
    tests = [_test(found, x[rows], here[rows], log_density, critical) for rows, found in looks]
    return next((test for test in tests if test.refused), tests[0])


def _test(
    found: SteinIdentities, x: Array, here: Array, log_density: Callable[[Array], Array], critical: float
) -> DrawsTest:
    """Check detailed balance where the identities fail most, if that is beyond a critical z."""
    j = found.worst
    z = found.z[:, j]
    refused = found.greatest_z > critical
    if refused:
        step = STEP * found.whitening.factor[:, j]
        z = balance_z(found.whitening.u[:, j], here, log_density(x + step), log_density(x - step))
        refused = bool(np.abs(z).max() > critical)
    return DrawsTest(
        z=float(np.abs(z).max()),
        coordinates=found.whitening.made_of(j),
        spread=float(found.spread[j]),
        shift=float(found.shift[j]),
        is_width=bool(abs(found.z[1, j]) > abs(found.z[0, j])),
        refused=refused,
    )


def critical_z(n_tests: int) -> float:
    """Return the |z| that the largest of so many exceeds with a probability of :data:`FALSE_ALARMS` at the most."""
    return float(norm.isf(FALSE_ALARMS / (2 * n_tests)))


def _z(values: Array, *, chains: bool) -> float:
    """Return the mean of values (n,) in standard errors; 0 where they are constant."""
    sd = float(values.std(ddof=1))
    if not sd > 0:
        return 0.0
    size = effective_size(values[None]) if chains else float(len(values))
    return float(values.mean()) / sd * float(np.sqrt(size))
