"""The posterior mode by mode: local draws of each and its mass, and weighted draws of the whole made from them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.stats import chi2

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.interrupts import interrupted, keeping
from pymc_kl.model.draws import PosteriorDraws
from pymc_kl.model.target import Target
from pymc_kl.modes.assign import CanonicalPoints
from pymc_kl.modes.draws import ModeDraws
from pymc_kl.modes.masses import Masses, masses_from_chains, masses_from_weighted, unknown_masses
from pymc_kl.modes.modes import Modes
from pymc_kl.reference.evidence import Evidence, LogMass
from pymc_kl.reference.given_check import GivenCheck, not_of_this_posterior
from pymc_kl.reference.local_draws import LocalDraws
from pymc_kl.scores.thinning import independent_size

NEGLIGIBLE_BELOW = 15.0  # nats below the highest Laplace mass, from which a mode's mass can't matter; our choice
MANY_DRAWS = 0.05  # share of all draws in a mode, from which their own depth says where its core is; our choice
HARDLY_ANY = 0.05  # share of the draws of a mode in a normal's core below which it is no normal's; our choice
CORE_PROB = 0.9  # share of a normal mode's draws that count as its core; our choice
WEIGHTED_DRAWS = 20_000  # draws of the whole posterior that are kept at the most; our choice
LEAST_KEPT_DRAWS = 200  # draws of a mode that are kept however small its mass; our choice
N_FOLDS = 5  # parts of the draws that cross-fitting holds out in turn; our choice


@dataclass(frozen=True, eq=False)
class ModewisePosterior:
    """A posterior mode by mode.

    Attributes
    ----------
    target : Target
    modes : Modes
        Highest mass first.
    masses : Masses
    log_masses : tuple of LogMass
        Of each mode with all its copies.
    evidence : Evidence
        Log Z.
    local : tuple of LocalDraws
        Canonical draws of each mode.
    given : PosteriorDraws or None
        The user's draws.
    canonical : CanonicalPoints or None
        The user's draws, brought to the first copy of their modes.
    partial : bool
        The search or the sampling was cut short.
    interrupted : bool
        By Ctrl-C, not by the clock.
    checks : tuple of GivenCheck or None
        What the check of the user's draws of each mode found; empty where none were checked.
    """

    target: Target
    modes: Modes
    masses: Masses
    log_masses: tuple[LogMass, ...]
    evidence: Evidence
    local: tuple[LocalDraws, ...]
    given: PosteriorDraws | None
    canonical: CanonicalPoints | None
    partial: bool
    interrupted: bool = False
    checks: tuple[GivenCheck | None, ...] = ()

    @property
    def refusals(self) -> dict[int, str]:
        """Why the given draws of a mode are not used, by the mode's number from 1; refused modes only."""
        return {i: check.phrase for i, check in enumerate(self.checks, 1) if check is not None and check.refused}

    @property
    def given_mode(self) -> IntArray | None:
        """Mode (chain, draw) of each of the user's draws, -1 for elsewhere."""
        if self.given is None or self.canonical is None:
            return None
        return self.canonical.mode.reshape(self.given.log_density.shape)

    def given_masses(self) -> Masses | None:
        """Weigh the modes by the user's draws alone, if they are of this posterior; None without any."""
        if self.given is None or self.canonical is None:
            return None
        counted = count_masses(self.given, self.canonical.mode, self.modes)
        return replace(counted, known=False, reason=not_of_this_posterior(self.refusals)) if self.refusals else counted

    @cached_property
    def mass_of_draws(self) -> Array:
        """Mass (K,) that the draws of each mode represent; they sum to 1.

        That is the mode's mass over the sum of those of all modes that have draws and a known mass, and 0 for the
        others. If no mode has both, it is the same for all modes with draws.
        """
        drawn = np.array([len(draws) > 0 for draws in self.local])
        mass = np.where(drawn, np.nan_to_num(self.masses.mass[:-1]), 0.0)
        part = mass if mass.any() else drawn.astype(float)
        return np.asarray(part / (part.sum() or 1.0))

    def require_draws(self) -> None:
        """Raise if no mode has draws; after an interrupt, that is why."""
        if any(len(draws) for draws in self.local):
            return
        if self.interrupted:
            raise interrupted("interrupted before any mode was sampled.", modes=self.modes)
        with keeping(modes=self.modes):
            raise RuntimeError(
                f"no mode was sampled before the work was stopped: {self.evidence.reason}. Give it a longer budget."
                if self.partial
                else f"no mode could be sampled: chains failed from every mode found. {self.evidence.reason}"
            )

    @cached_property
    def thinned(self) -> ModeDraws:
        """Nearly independent canonical draws of every mode, weighted by its mass, on which fits are scored."""
        return self._weighted([independent_size(len(draws), draws.ess_of_squares) for draws in self.local])

    @cached_property
    def every(self) -> ModeDraws:
        """All canonical draws of every mode, in the order of chains and weighted by its mass, to which q is fitted."""
        return self._weighted([np.inf] * len(self.local))

    def _weighted(self, sizes: Sequence[float]) -> ModeDraws:
        """Take at most `sizes` draws of each mode, evenly spread, and at most WEIGHTED_DRAWS times its mass."""
        rows = []
        for draws, mass, size in zip(self.local, self.masses.mass[:-1], sizes, strict=True):
            n = np.fmax(WEIGHTED_DRAWS * mass, LEAST_KEPT_DRAWS)
            rows.append(_evenly(len(draws), int(min(n, max(size, 1), len(draws)))))
        weights = [np.full(len(r), mass / max(len(r), 1)) for r, mass in zip(rows, self.mass_of_draws, strict=True)]
        return self._gather(rows, np.concatenate(weights))

    def equal(self, n: int, rng: np.random.Generator) -> ModeDraws:
        """Take n canonical draws of equal weight, of each mode as many as its mass asks for, in random order."""
        self.require_draws()
        edges = np.floor(np.cumsum(self.mass_of_draws) * n + rng.random()).astype(int)
        edges[np.flatnonzero(self.mass_of_draws)[-1] :] = n
        counts = np.diff(np.concatenate([[0], np.clip(edges, 0, n)]))
        rows = [_repeated(len(draws), int(count)) for draws, count in zip(self.local, counts, strict=True)]
        return self._gather(rows, np.full(n, 1 / n)).take(rng.permutation(n))

    def _gather(self, rows: Sequence[IntArray], weights: Array) -> ModeDraws:
        """Join rows of the draws of all modes; a fold is a run of consecutive draws in each mode."""
        pairs = list(zip(self.local, rows, strict=True))
        return ModeDraws(
            x=np.concatenate([draws.x[r] for draws, r in pairs]),
            log_density=np.concatenate([draws.log_density[r] for draws, r in pairs]),
            weights=weights,
            mode=np.concatenate([np.full(len(r), k) for k, (_, r) in enumerate(pairs)]),
            copy=np.concatenate([draws.maximum[r] for draws, r in pairs]),
            fold=np.concatenate([r * N_FOLDS // max(len(draws), 1) for draws, r in pairs]),
        )

    def over_copies(self, draws: ModeDraws, rng: np.random.Generator) -> ModeDraws:
        """Move canonical draws each to a random copy of its maximum, those of each mode by a stream of its own."""
        x, copy, n_copies = draws.x.copy(), draws.copy.copy(), 0
        for k, stream in enumerate(self.modes.streams(rng)):
            rows = draws.mode == k
            x[rows], found = self.modes.scatter(draws.x[rows], draws.copy[rows], stream)
            copy[rows] = n_copies + found
            n_copies += int(found.max(initial=-1)) + 1
        return replace(draws, x=x, copy=copy)

    def shuffled(self, draws: ModeDraws, rng: np.random.Generator) -> ModeDraws:
        """Put draws in random order, which is the same among those of some modes whatever other modes there are."""
        position = np.empty(len(draws))
        for k, stream in enumerate(self.modes.streams(rng)):
            rows = draws.mode == k
            position[rows] = stream.random(int(rows.sum()))
        return draws.take(np.argsort(position))


def _evenly(n: int, size: int) -> IntArray:
    """Choose `size` of n rows, evenly spread from the first to the last."""
    return np.linspace(0, n - 1, size).round().astype(int)


def _repeated(n: int, size: int) -> IntArray:
    """Choose `size` of n rows, each as often as any other or once more."""
    whole, rest = divmod(size, max(n, 1))
    return np.concatenate([np.tile(np.arange(n), whole), _evenly(n, rest)])


def count_masses(draws: PosteriorDraws, mode: IntArray, modes: Modes) -> Masses:
    """Weigh modes by counting draws (n,) whose mode is known."""
    if modes.reason:
        return unknown_masses(np.ones(modes.k), np.array([len(mode), 0]), modes.reason)
    if draws.weights is not None:
        return masses_from_weighted(mode, draws.weights.ravel(), modes.k)
    chains = mode.reshape(draws.log_density.shape)
    core = core_draws(draws, chains, modes)
    return masses_from_chains(chains, modes.k, core=core, negligible=negligible(modes))


def core_draws(draws: PosteriorDraws, mode: IntArray, modes: Modes) -> BoolArray:
    """Tell which draws (chain, draw) lie well inside their mode: where log p̃ is as high as for 90 % of a normal's.

    In a mode of many draws that has hardly any so high, as below a spike, they are the higher half of its draws.
    """
    depth = np.append(modes.log_density, np.inf)[mode] - draws.log_density
    core = np.asarray(depth < 0.5 * chi2.ppf(CORE_PROB, modes.x.shape[1]))
    for k in range(modes.k):
        here = mode == k
        if here.mean() > MANY_DRAWS and core[here].mean() < HARDLY_ANY:
            core |= here & (depth <= np.median(depth[here]))
    return core


def negligible(modes: Modes, depth: float = NEGLIGIBLE_BELOW) -> BoolArray:
    """Tell which modes (K,) are so low that their mass can't matter."""
    if not modes.proper:
        return np.zeros(modes.k, dtype=bool)
    log_mass_laplace = modes.log_mass_laplace
    return np.asarray(log_mass_laplace < log_mass_laplace.max() - depth)
