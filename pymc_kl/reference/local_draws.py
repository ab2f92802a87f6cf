"""Draws of one mode alone, brought to its first copy, with their effective sample size and R-hat."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from arviz_stats.base import array_stats

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.numerics.estimate import effective_size, systematic
from pymc_kl.scores.thinning import slowest_ess

STUCK_BELOW = 50.0  # nats below others, plus those of each dimension, from which chains are stuck; our choice
STUCK_BELOW_PER_DIMENSION = 5.0  # nats: room there may be e⁵ times as wide as elsewhere; our choice
RHAT_ROWS = 2000  # rows that tell R-hat well enough; of more, every few are looked at; our choice
LOCAL_RHAT = 1.1  # R-hat over quarters of the draws; above it they have not seen the whole mode; our choice


@dataclass(frozen=True, eq=False)
class LocalDraws:
    """Canonical draws of one mode, in the order of their chains.

    Chains of one start are neighbours. The effective size of all draws as one series is right for many short chains
    too: their autocorrelation ends where the next chain, which knows nothing of the last, begins. R-hat over quarters
    of them compares chains of different starts.

    Attributes
    ----------
    x : array (n, d)
        Unconstrained space.
    log_density : array (n,)
        log p̃, nats.
    maximum : array (n,) of int
        Maximum that each draw is assigned to; -1 where the posterior has none.
    n_copies : array (n,)
        Copies of that maximum under the symmetries.
    source : str
        "given", "HMC", "NUTS", some of them joined by "+", or "importance".
    n_left : int
        Draws of the same chains that lay outside the mode, or were turned back on their way out.
    n_diverging : int
        Divergent transitions of the chains.
    n_lost : int
        Draws among those outside that climb to no proper maximum, about.
    crawl : bool
        Their chains can't cross the mode; that they agree says only that they started alike.
    bent : bool
        The mode is a narrow ridge that bends, and their chains may not have entered all of it.
    """

    x: Array
    log_density: Array
    maximum: IntArray
    n_copies: Array
    source: str
    n_left: int = 0
    n_diverging: int = 0
    n_lost: int = 0
    crawl: bool = False
    bent: bool = False

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: IntArray | BoolArray) -> "LocalDraws":
        """Return some of the draws."""
        x, log_density, maximum, n_copies = (
            self.x[rows],
            self.log_density[rows],
            self.maximum[rows],
            self.n_copies[rows],
        )
        return LocalDraws(x, log_density, maximum, n_copies, self.source)

    @property
    def holds_given(self) -> bool:
        """Whether the user's draws are among them, and first."""
        return "given" in self.source

    @property
    def made_here(self) -> bool:
        """Whether draws of chains made here are among them."""
        return "HMC" in self.source or "NUTS" in self.source

    @property
    def inside(self) -> float:
        """Share of the chains' draws that lay inside the mode; 0 without any."""
        return len(self) / max(len(self) + self.n_left, 1)

    @property
    def log_density_of_copies(self) -> Array:
        """Log of n_copies · p̃ (n,), nats: the density of the mode after all its copies are mapped to the first."""
        return np.asarray(self.log_density + np.log(self.n_copies))

    @cached_property
    def ess(self) -> float:
        """Smallest effective sample size of any coordinate or of log p̃."""
        return float(min(effective_size(column[None]) for column in (*self.x.T, self.log_density)))

    @cached_property
    def ess_of_squares(self) -> float:
        """Smallest effective sample size of any coordinate, of log p̃, or of a squared deviation of these."""
        return slowest_ess(np.column_stack([self.x, self.log_density])) if len(self) else 0.0

    @cached_property
    def rhat(self) -> float:
        """Greatest R-hat over quarters of the draws, of any coordinate or of log p̃."""
        return greatest_rhat(np.column_stack([self.x, self.log_density]))


def no_draws(d: int) -> LocalDraws:
    """Return no draws in d dimensions."""
    none = np.empty(0, dtype=np.int64)
    return LocalDraws(np.empty((0, d)), np.empty(0), none, np.empty(0), "given")


def joined(one: LocalDraws, two: LocalDraws) -> LocalDraws:
    """Append draws of the same mode to others."""
    return LocalDraws(
        x=np.concatenate([one.x, two.x]),
        log_density=np.concatenate([one.log_density, two.log_density]),
        maximum=np.concatenate([one.maximum, two.maximum]),
        n_copies=np.concatenate([one.n_copies, two.n_copies]),
        source=one.source if one.source == two.source else f"{one.source}+{two.source}",
        n_left=one.n_left + two.n_left,
        n_diverging=one.n_diverging + two.n_diverging,
        n_lost=one.n_lost + two.n_lost,
        crawl=one.crawl or two.crawl,
        bent=one.bent or two.bent,
    )


def resampled(draws: LocalDraws, weights: Array, rng: np.random.Generator) -> LocalDraws:
    """Take of weighted draws, weights (n,) of any scale, as many as they are worth (Kish), in random order."""
    part = weights / weights.sum()
    return draws.take(rng.permutation(systematic(part, max(int(1 / (part**2).sum()), 1), rng)))


def stuck_chains(log_density: Array, known: Array, d: int) -> BoolArray:
    """Tell which chains (chain, draw) are stuck so far below others, or below known draws, that no mass can be there.

    Of a chain its highest log p̃ (nats) counts, and of others and of the draws `known` (n,) their lowest.
    """
    top, bottom = log_density.max(axis=1), log_density.min(axis=1)
    others = np.append(bottom, known.min()) if len(known) else bottom
    return np.asarray(top < others.max() - (STUCK_BELOW + STUCK_BELOW_PER_DIMENSION * d))


def greatest_rhat(columns: Array) -> float:
    """Return the greatest R-hat of any column (n, m) over quarters of the rows; NaN of fewer than four.

    Of many rows, every few are looked at.
    """
    columns = columns[:: max(len(columns) // RHAT_ROWS, 1)]
    n = len(columns) // 4
    if not n:
        return float("nan")
    quarters = columns[: 4 * n].reshape(4, n, -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = [float(array_stats.rhat(quarters[..., j], method="rank")) for j in range(quarters.shape[2])]
    return float(np.nanmax(values)) if np.isfinite(values).any() else float("nan")
