"""A posterior in pieces, one a mode: local draws and what each weighs; and draws of the whole made from them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from scipy.stats import chi2

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.model.draws import PosteriorDraws
from pymc_kl.model.target import Target
from pymc_kl.modes.assign import CanonicalPoints
from pymc_kl.modes.masses import Masses, masses_from_chains, masses_from_weighted
from pymc_kl.modes.modes import Modes
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.reference.bridge_sampling import LocalDraws, LogMass

NEGLIGIBLE = 15.0  # nats below the highest Laplace mass, 3e-7 of it: a mode that low can't matter
CORE_PROB = 0.9  # share of a normal mode's draws that count as its core
WEIGHTED_DRAWS, LEAST_DRAWS = 20_000, 200  # of the whole posterior, and of each mode however small
N_FOLDS = 5  # that draws are held out in


@dataclass(frozen=True, eq=False)
class ModewisePosterior:
    """A posterior in pieces: its modes, draws of each, and what each weighs.

    Attributes
    ----------
    target : Target
    modes : Modes
        Highest mass first.
    masses : Masses
    log_masses : tuple of LogMass
        Of each mode with all its copies.
    log_evidence : Estimate
        Nats.
    reason : str
        Why log Z is NaN; empty if it is known.
    local : tuple of LocalDraws
        Draws of each mode, folded to its first copy.
    given : PosteriorDraws or None
        The user's draws.
    canonical : Folded or None
        Where the user's draws lie.
    partial : bool
        The search or the sampling was interrupted.
    """

    target: Target
    modes: Modes
    masses: Masses
    log_masses: tuple[LogMass, ...]
    log_evidence: Estimate
    reason: str
    local: tuple[LocalDraws, ...]
    given: PosteriorDraws | None
    canonical: CanonicalPoints | None
    partial: bool

    @property
    def given_mode(self) -> IntArray | None:
        """Mode (chain, draw) of each of the user's draws, -1 for elsewhere."""
        if self.given is None or self.canonical is None:
            return None
        return self.canonical.mode.reshape(self.given.log_density.shape)

    def given_masses(self) -> Masses | None:
        """What the user's draws alone say of the masses."""
        if self.given is None or self.canonical is None:
            return None
        return count_masses(self.given, self.canonical.mode, self.modes)

    @cached_property
    def shares(self) -> Array:
        """Share (K,) of the whole that each mode's draws stand for: its mass, or 0 where it has none or no known mass.

        Where no mode with draws has a known mass above 0, they stand for equal shares.
        """
        drawn = np.array([len(draws) > 0 for draws in self.local])
        mass = np.where(drawn, np.nan_to_num(self.masses.mass[:-1]), 0.0)
        part = mass if mass.any() else drawn.astype(float)
        return np.asarray(part / (part.sum() or 1.0))

    def require_draws(self) -> None:
        """Raise if no mode has draws."""
        if not any(len(draws) for draws in self.local):
            raise RuntimeError(
                "no mode could be sampled: NUTS failed from every mode that the search found"
                + (" before the interrupt. " if self.partial else ". ")
                + self.reason
            )

    @cached_property
    def thinned(self) -> "Weighted":
        """Nearly independent draws of every mode, in its first copy, weighted by its mass: what is scored on."""
        return self._spread([draws.ess for draws in self.local])

    @cached_property
    def every(self) -> "Weighted":
        """All draws of every mode, in the order of their chains, weighted by its mass: what is fitted to."""
        return self._spread([np.inf] * len(self.local))

    def _spread(self, sizes: Sequence[float]) -> "Weighted":
        """Take at most so many draws of each mode, and no more than are worth keeping, evenly spread."""
        rows = []
        for draws, mass, size in zip(self.local, self.masses.mass[:-1], sizes, strict=True):
            n = np.fmax(WEIGHTED_DRAWS * mass, LEAST_DRAWS)
            most = int(min(n, max(size, 1), len(draws)))
            rows.append(np.linspace(0, len(draws) - 1, most).round().astype(int))
        weights = [np.full(len(r), share / max(len(r), 1)) for r, share in zip(rows, self.shares, strict=True)]
        return self._gather(rows, np.concatenate(weights))

    def equal(self, n: int, rng: np.random.Generator) -> "Weighted":
        """Draws (n) of every mode, as many as its mass asks for, in its first copy and in random order."""
        self.require_draws()
        edges = np.floor(np.cumsum(self.shares) * n + rng.random()).astype(int)
        edges[np.flatnonzero(self.shares)[-1] :] = n
        counts = np.diff(np.concatenate([[0], np.clip(edges, 0, n)]))
        rows = []
        for draws, count in zip(self.local, counts, strict=True):
            whole, rest = divmod(int(count), max(len(draws), 1))
            some = np.linspace(0, len(draws) - 1, rest).round().astype(int) if rest else np.empty(0, dtype=int)
            rows.append(np.concatenate([np.tile(np.arange(len(draws)), whole), some]))
        weighted = self._gather(rows, np.full(n, 1 / n))
        return weighted.take(rng.permutation(n))

    def _gather(self, rows: Sequence[IntArray], weights: Array) -> "Weighted":
        pairs = list(zip(self.local, rows, strict=True))
        return Weighted(
            x=np.concatenate([draws.x[r] for draws, r in pairs]),
            log_density=np.concatenate([draws.log_density[r] for draws, r in pairs]),
            mode=np.concatenate([np.full(len(r), k) for k, (_, r) in enumerate(pairs)]),
            maximum=np.concatenate([draws.maximum[r] for draws, r in pairs]),
            weights=weights,
            fold=np.concatenate([r * N_FOLDS // max(len(draws), 1) for draws, r in pairs]),
        )


@dataclass(frozen=True, eq=False)
class Weighted:
    """Draws x (n, d) in the first copy of their modes, with log p̃, mode, peak and weight (n,) of each.

    `fold` says which fifth of its mode's draws, in the order of their chains, each is from.
    """

    x: Array
    log_density: Array
    mode: IntArray
    maximum: IntArray
    weights: Array
    fold: IntArray

    def take(self, rows: IntArray) -> "Weighted":
        """Return some of the draws."""
        return Weighted(*(getattr(self, field.name)[rows] for field in fields(self)))

    def whole(self, modes: Modes, target: Target, rng: np.random.Generator) -> tuple[PosteriorDraws, IntArray]:
        """Spread the draws over all copies: a weighted reference, and a number of each draw's copy and peak."""
        x, copy = modes.scatter(self.x, self.maximum, rng)
        reference = PosteriorDraws(target, x[None], self.log_density[None], self.weights[None])
        return reference, copy


def count_masses(reference: PosteriorDraws, label: IntArray, modes: Modes) -> Masses:
    """Weigh modes by counting draws (n,) whose labels are known."""
    if reference.weights is not None:
        return masses_from_weighted(label, reference.weights.ravel(), modes.k)
    chains = label.reshape(reference.log_density.shape)
    core = core_draws(reference, chains, modes)
    return masses_from_chains(chains, modes.k, core=core, negligible=negligible(modes))


def core_draws(reference: PosteriorDraws, label: IntArray, modes: Modes) -> BoolArray:
    """Tell which draws (chain, draw) lie well inside their mode, as nine tenths of a normal mode's do."""
    depth = np.append(modes.log_density, np.inf)[label] - reference.log_density
    return np.asarray(depth < 0.5 * chi2.ppf(CORE_PROB, modes.x.shape[1]))


def negligible(modes: Modes, depth: float = NEGLIGIBLE) -> BoolArray:
    """Tell which modes (K,) are so low that their mass can't matter."""
    if not modes.proper:
        return np.zeros(modes.k, dtype=bool)
    log_mass_laplace = modes.log_mass_laplace
    return np.asarray(log_mass_laplace < log_mass_laplace.max() - depth)
