"""Gaussian fits whose ELBO is maximised together: climb, rank, merge those that reach one optimum, drop some.

These are the mechanics; :mod:`pymc_kl.fitting.successive_halving` decides which fits climb, and how far.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dtrtri

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.fitting.gaussian_elbo import Gaussian
from pymc_kl.fitting.maximise import FIT_DRAWS, advance, maximise
from pymc_kl.numerics.lbfgs import ValueAndGrad


class Level(NamedTuple):
    """How far fits climb, and which of them are followed afterwards.

    Attributes
    ----------
    n_draws : int
        Points on which the ELBO is maximised.
    tolerance : float
        Nats that a step must be expected to gain for another to follow.
    within : float
        Nats below the best ELBO; fits further down are given up.
    n_steps : int
        Most steps.
    coarse : bool
        Whether `n_draws` may be fewer points than determine all parameters.
    """

    n_draws: int
    tolerance: float
    within: float
    n_steps: int
    coarse: bool = True


@dataclass(frozen=True, eq=False)
class Climber:
    """A fit, its ELBO (nats, up to one constant) after its last climb and before it, and whether that converged."""

    fit: Gaussian
    elbo: float = -np.inf
    before: float = -np.inf
    converged: bool = False


@dataclass(frozen=True, eq=False)
class Climbers:
    """Fits of one family from many starts.

    Attributes
    ----------
    climbers : tuple of Climber
        Those that still climb ("followed"), then those that were given up.
    n_followed : int
    settled : array (n_starts,) of int
        Index of the climber that each start has led to.
    """

    climbers: tuple[Climber, ...]
    n_followed: int
    settled: IntArray

    @classmethod
    def begin(cls, starts: Sequence[Gaussian]) -> "Climbers":
        """Follow every start."""
        return cls(tuple(map(Climber, starts)), len(starts), np.arange(len(starts)))

    @property
    def followed(self) -> tuple[Climber, ...]:
        """The climbers that are followed."""
        return self.climbers[: self.n_followed]

    @property
    def elbo(self) -> Array:
        """ELBOs (n_followed,) of the climbers that are followed, nats up to one constant."""
        return np.array([climber.elbo for climber in self.followed])

    def n_within(self, nats: float) -> int:
        """Count the climbers that are followed and have an ELBO less than `nats` below the best."""
        elbo = self.elbo
        return int((elbo > elbo.max() - nats).sum())

    def behind(self, far: float, rise: float) -> IntArray:
        """Find the climbers with an ELBO more than `far` nats below the best that gained more than `rise` last time."""
        elbo, before = self.elbo, np.array([climber.before for climber in self.followed])
        return np.flatnonzero((elbo < elbo.max() - far) & (elbo > before + rise))

    @property
    def fits(self) -> list[Gaussian]:
        """All fits; those that were given up come last."""
        return [climber.fit for climber in self.climbers]

    @property
    def converged(self) -> list[bool]:
        """Whether each fit has converged; one that was given up has not."""
        return [climber.converged and i < self.n_followed for i, climber in enumerate(self.climbers)]

    def replaced(self, rows: IntArray, climbers: Sequence[Climber]) -> "Climbers":
        """Replace the climbers of some rows."""
        new = dict(zip(rows.tolist(), climbers, strict=True))
        return replace(self, climbers=tuple(new.get(i, climber) for i, climber in enumerate(self.climbers)))

    def ranked(self) -> "Climbers":
        """Sort those that are followed by their ELBOs, best first."""
        order = np.argsort(-self.elbo, kind="stable")
        rank = np.arange(len(self.climbers))
        rank[order] = np.arange(len(order))
        left = self.climbers[self.n_followed :]
        return replace(self, climbers=(*(self.climbers[i] for i in order), *left), settled=rank[self.settled])

    def merged(self, maps: Array, same: float) -> "Climbers":
        """Keep one climber, the first, of those whose fits are the same within `same` nats of KL.

        A fit also counts as the same as its images under the symmetries `maps` (m, d, d).
        """
        first, owner = _distinct(self.fits, maps, same)
        n_followed = int(owner[: self.n_followed].max()) + 1
        return Climbers(tuple(self.climbers[i] for i in first), n_followed, owner[self.settled])

    def narrowed(self, within: float) -> "Climbers":
        """Give up climbers with an ELBO `within` nats or more below the best; they must be ranked."""
        return replace(self, n_followed=self.n_within(within))


@dataclass(frozen=True, eq=False)
class Ascent:
    """The ELBO that is maximised: log p̃ with its gradient, its symmetries (m, d, d), and the generator of points."""

    value_and_grad: ValueAndGrad
    maps: Array
    rng: np.random.Generator

    def climb(self, climbers: Climbers, level: Level, rows: IntArray) -> Climbers:
        """Let some climbers (m,) take the steps of a level."""
        old = [climbers.climbers[i] for i in rows]
        fits, elbo, converged = advance(
            self.value_and_grad,
            [climber.fit for climber in old],
            n_draws=level.n_draws,
            n_steps=level.n_steps,
            tolerance=level.tolerance,
            rng=self.rng,
            coarse=level.coarse,
        )
        new = zip(fits, elbo.tolist(), [climber.elbo for climber in old], converged.tolist(), strict=True)
        return climbers.replaced(rows, [Climber(*values) for values in new])

    def maximise(self, climbers: Climbers, rows: IntArray, at_most: int) -> Climbers:
        """Take some climbers (m,) to their optimum, on up to `at_most` points."""
        if not len(rows):
            return climbers
        old = [climbers.climbers[i] for i in rows]
        n_draws = min(max(at_most, 2 * FIT_DRAWS), 4 * FIT_DRAWS)
        fits, converged = maximise(
            self.value_and_grad, [climber.fit for climber in old], n_draws=n_draws, at_most=at_most, rng=self.rng
        )
        new = zip(old, fits, converged.tolist(), strict=True)
        return climbers.replaced(rows, [replace(climber, fit=fit, converged=there) for climber, fit, there in new])


def _distinct(fits: Sequence[Gaussian], maps: Array, same: float) -> tuple[list[int], IntArray]:
    """List the fits that differ from all before them, and for each fit (n,) its number in that list."""
    first: list[int] = []
    whiteners: list[Array] = []
    owner = np.empty(len(fits), dtype=np.int64)
    for i, fit in enumerate(fits):
        pairs = enumerate(zip(first, whiteners, strict=True))
        near = (k for k, (j, whitener) in pairs if _is_copy(fit, fits[j], whitener, maps, same))
        owner[i] = next(near, len(first))
        if owner[i] == len(first):
            first.append(i)
            whiteners.append(dtrtri(fit.scale_tril, lower=1)[0])
    return first, owner


def n_copies(fit: Gaussian, maps: Array, same: float) -> int:
    """Count the distinct copies of a normal under a group `maps` (m, d, d): its order by the maps that leave it."""
    whitener = dtrtri(fit.scale_tril, lower=1)[0]
    return len(maps) // int(_near(fit, fit, whitener, maps, same).sum())


def _is_copy(one: Gaussian, two: Gaussian, whitener: Array, maps: Array, same: float) -> bool:
    """Tell if some copy of one normal is another; `whitener` is of the latter."""
    return bool(_near(one, two, whitener, maps, same).any())


def _near(one: Gaussian, two: Gaussian, whitener: Array, maps: Array, same: float) -> BoolArray:
    """Tell of which maps (m,) the KL from the image of one normal to another is below so many nats."""
    squares = (((maps @ one.loc - two.loc) @ whitener.T) ** 2).sum(axis=1)
    near = 0.5 * squares < same  # the KL is at least the part that the means contribute
    if near.any():
        spreads = ((whitener @ maps[near] @ one.scale_tril) ** 2).sum(axis=(1, 2))
        log_det = -np.log(np.diag(whitener)).sum() - np.log(np.diag(one.scale_tril)).sum()
        near[near] = 0.5 * (squares[near] + spreads - one.d) + log_det < same
    return np.asarray(near)
