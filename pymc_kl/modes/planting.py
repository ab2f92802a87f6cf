"""Plant a mode into a density, at a place where it is a mode of its own, and see whether a search finds it.

Everything is on the unconstrained space. Copies of the planted mode are its images under the symmetries of log p̃.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import logsumexp

from pymc_kl._typing import Array, IntArray
from pymc_kl.model.periodic import shortest
from pymc_kl.model.target import Target
from pymc_kl.modes.heated import BETAS, begin_chains, roam
from pymc_kl.modes.modes import Modes
from pymc_kl.modes.search import MIN_BARRIER
from pymc_kl.modes.symmetry.enumerate import group_order, matrices
from pymc_kl.numerics.constants import LOG_2PI
from pymc_kl.numerics.lbfgs import climb

MOST_PLANTED = 200  # copies of one planted mode; bounds the cost of the density; our choice
N_PLACES = 256  # draws of the prior among which places are chosen; our choice
SETTLING = 1  # passes of heated chains whose points are no places yet; our choice
COLLECTING = 2  # passes of heated chains whose points are places; our choice
MOST_PLACES = 20  # places that one try looks at until one does; our choice
OWN_MAXIMUM = 2.0  # sds of a planted mode between its centre and its maximum, at the most; our choice
FOUND_WITHIN = 0.5  # sds of a planted mode between its maximum and one that a search found; our choice
LINE_STEPS = 32  # steps of the line to a mode along which log p̃ must fall by the least barrier; our choice

type Search = Callable[[Target, np.random.Generator], Modes]


class TimeIsOver(Exception):  # noqa: N818 it is no error
    """The time for planted modes is over in the midst of a search."""


@dataclass(frozen=True, eq=False)
class Bump:
    """A normal, or equal normals about the copies of one point, normalised.

    Attributes
    ----------
    centres : array (C, d)
    factors : array (C, d, d)
        A square root of each one's covariance.
    angles : array of int
        Coordinates that have the period 2π.
    """

    centres: Array
    factors: Array
    angles: IntArray

    def at(self, centres: Array) -> "Bump":
        """Return the same normals about other centres (C, d)."""
        return Bump(centres, self.factors, self.angles)

    @cached_property
    def _inverses(self) -> Array:
        return np.linalg.inv(self.factors)

    def _whitened(self, x: Array) -> Array:
        """Differences (n, C, d) of points (n, d) from the centres, in sds."""
        away = (x[:, None] - self.centres).reshape(-1, x.shape[1])
        away = shortest(away, self.angles).reshape(len(x), *self.centres.shape)
        return np.einsum("nci,cji->ncj", away, self._inverses)

    def distance(self, x: Array) -> Array:
        """Distance (n, C) of points (n, d) from the centres, in sds."""
        return np.asarray(np.linalg.norm(self._whitened(x), axis=2))

    def log_prob_and_grad(self, x: Array) -> tuple[Array, Array]:
        """Evaluate the log density (n,) in nats and its gradient (n, d)."""
        z = self._whitened(x)
        log_volume = np.linalg.slogdet(self.factors[0])[1] + 0.5 * x.shape[1] * LOG_2PI + np.log(len(self.centres))
        terms = -0.5 * (z**2).sum(axis=2) - log_volume
        value = np.asarray(logsumexp(terms, axis=1))
        responsibility = np.exp(terms - value[:, None])
        return value, -np.einsum("nc,ncj,cji->ni", responsibility, z, self._inverses)


@dataclass(frozen=True, eq=False)
class PlantedDensity:
    """(1 - m)·p̃/Z + m·bump within the support of p̃, batched like the density of a target.

    Attributes
    ----------
    target : Target
        What it is planted into.
    log_evidence : float
        Its log Z in nats.
    mass : float
        m, of all copies together.
    bump : Bump
    until : float
        Time by `time.monotonic()` from which an evaluation raises TimeIsOver.
    """

    target: Target
    log_evidence: float
    mass: float
    bump: Bump
    until: float = np.inf

    def value(self, x: Array) -> Array:
        """Evaluate (n, d) -> (n,), in nats; -inf outside the support of p̃."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self._sum(self.target.log_density(x), self.bump.log_prob_and_grad(x)[0])

    def value_and_grad(self, x: Array) -> tuple[Array, Array]:
        """Evaluate (n, d) -> (n,), (n, d)."""
        value, grad = self.target.log_density_and_grad(x)
        with np.errstate(over="ignore", invalid="ignore"):
            log_prob, bump_grad = self.bump.log_prob_and_grad(x)
            total = self._sum(value, log_prob)
            responsibility = np.exp(log_prob + np.log(self.mass) - total)[:, None]
            return total, (1 - responsibility) * grad + responsibility * bump_grad

    def _sum(self, value: Array, log_prob: Array) -> Array:
        if time.monotonic() > self.until:
            raise TimeIsOver
        rest = value - self.log_evidence + np.log1p(-self.mass)
        return np.where(value == -np.inf, -np.inf, np.logaddexp(rest, log_prob + np.log(self.mass)))


@dataclass(frozen=True, eq=False)
class Planted:
    """A target with a mode planted into it, and the bump about its maxima."""

    target: Target
    peak: Bump

    def is_among(self, modes: Modes) -> bool:
        """Tell whether a search found a maximum of the planted mode."""
        maxima = modes.basins.maxima.x[modes.basins.mode_of_maximum >= 0]
        return bool((self.peak.distance(maxima) < FOUND_WITHIN).any())


@dataclass(frozen=True, eq=False)
class Planter:
    """Plants modes into a target.

    Attributes
    ----------
    target : Target
    modes : Modes
        What a search of the target itself found.
    log_evidence : float
        Log Z of the target, nats.
    places : mapping of str to array (n, d)
        Where modes may be planted, by kind.
    images : array (C, d, d)
        Maps from a point to its copies, the identity first.
    until : float
        Time by `time.monotonic()` from which planted densities raise TimeIsOver.
    """

    target: Target
    modes: Modes
    log_evidence: float
    places: Mapping[str, Array]
    images: Array
    until: float = np.inf

    @classmethod
    def prepare(cls, target: Target, modes: Modes, log_evidence: float, rng: np.random.Generator) -> "Planter":
        """Draw places from the prior and from heated chains; ValueError where nothing can be planted."""
        if not np.isfinite(log_evidence):
            raise ValueError(
                f"log Z must be known to plant a mode of known mass; got {log_evidence}. Pass log_evidence=..., from "
                "sample_reference, say."
            )
        if modes.reason:
            raise ValueError(f"nothing is searched for here, so nothing can be planted: {modes.reason}")
        return cls(target, modes, log_evidence, _places(target, modes, rng), _images(modes))

    def plant(self, mass: float, width: float, kind: str, rng: np.random.Generator) -> tuple[Planted | None, int]:
        """Plant a mode at a place of one kind; also count the places before it where it merged with another mode.

        None where it merged at every place that was looked at.
        """
        places = rng.permutation(self.places[kind])[:MOST_PLACES]
        for n_merged, x in enumerate(places):
            if (planted := self._plant_at(mass, width, x)) is not None:
                return planted, n_merged
        return None, len(places)

    def _plant_at(self, mass: float, width: float, x: Array) -> Planted | None:
        """Plant a mode at x (d,); None where it has no maximum of its own there, apart from the modes."""
        factor = width * self.modes.local_scale
        bump = Bump(self.images @ x, self.images @ factor, self.modes.symmetry.angles)
        density = PlantedDensity(self.target, self.log_evidence, mass, bump, self.until)
        end = climb(density.value_and_grad, x[None], factor)
        if not end.converged[0] or bump.distance(end.x)[0, 0] > OWN_MAXIMUM:
            return None
        peak = bump.at(self.images @ end.x[0])
        return Planted(self.target.with_density(density), peak) if self._stands_apart(density, peak) else None

    def _stands_apart(self, density: PlantedDensity, peak: Bump) -> bool:
        """Tell whether log p̃ falls on the straight line from every mode to the nearest copy of the planted one."""
        modes = self.modes.x
        away = shortest(peak.centres[peak.distance(modes).argmin(axis=1)] - modes, peak.angles)
        t = np.linspace(0, 1, LINE_STEPS + 1)[:, None]
        value = density.value((modes[:, None] + t * away[:, None]).reshape(-1, modes.shape[1])).reshape(len(modes), -1)
        return bool((np.minimum(value[:, 0], value[:, -1]) - value.min(axis=1) >= MIN_BARRIER).all())


def _images(modes: Modes) -> Array:
    """Maps (C, d, d) to all copies of a point, where the symmetries make copies of any mode; else the identity."""
    d = modes.x.shape[1]
    if not modes.has_copies:
        return np.eye(d)[None]
    if (order := group_order(modes.symmetry)) > MOST_PLANTED:
        raise ValueError(
            f"a mode has up to {order:,} copies here, and no more than {MOST_PLANTED} are planted. Break the symmetry "
            "by an ordered prior to plant modes."
        )
    return matrices(modes.symmetry, d)


def _places(target: Target, modes: Modes, rng: np.random.Generator) -> dict[str, Array]:
    """Draw places (n, d) of finite density from the prior and from chains of p̃^β."""
    prior = target.initial_points(N_PLACES, rng)
    prior = prior[np.isfinite(target.log_density(prior))]
    chains = begin_chains(target.log_density_and_grad, np.concatenate([modes.x, prior]), rng)
    heated = []
    for turn in range(SETTLING + COLLECTING):
        for beta in BETAS:
            chains, _ = roam(target.log_density_and_grad, chains, modes.local_scale, beta, rng)
            heated += [chains.x] if turn >= SETTLING else []
    return {kind: x for kind, x in {"prior": prior, "heated": np.concatenate(heated)}.items() if len(x)}
