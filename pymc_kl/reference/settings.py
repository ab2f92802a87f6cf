"""How to search for modes and to sample them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from pymc_kl.model.cost import seconds_a_point
from pymc_kl.model.target import Target
from pymc_kl.modes.multistart import ROUND
from pymc_kl.modes.search import MIN_BARRIER, N_STARTS, SearchSettings
from pymc_kl.reference.local_nuts import TUNE
from pymc_kl.reference.posterior import NEGLIGIBLE_BELOW

SEARCH_PART = 0.4  # of a budget that the search may take; our choice
POINTS_A_START = 40  # points at which a search evaluates log p̃ for each of a first round of starts; read off the code
LEAST_STARTS = 64  # draws of the prior that are searched from, however long that takes; our choice
CHAINS_PART = 0.8  # of a budget after which no chain goes on; our choice


@dataclass(frozen=True)
class Sampling:
    """How to search and sample: see :func:`sample_reference`. `as_given` weighs the given draws and makes none.

    `budget` are the seconds of both together, of which the search takes a part at the most.
    """

    n_starts: int = N_STARTS
    symmetry: bool | Sequence[str] = True
    min_barrier: float = MIN_BARRIER
    draws: int = 1000
    tune: int = TUNE
    chains: int = 2
    n_jobs: int | None = None
    max_modes: int = 400
    negligible: float = NEGLIGIBLE_BELOW
    as_given: bool = False
    budget: float | None = None

    @property
    def search(self) -> SearchSettings:
        """How to search for modes."""
        seconds = None if self.budget is None else SEARCH_PART * self.budget
        return SearchSettings(self.n_starts, self.symmetry, self.min_barrier, seconds)

    def within_budget(self, target: Target) -> Self:
        """Search from fewer starts where those of a round would take longer than the search may.

        They are evaluated together several times before the first climb, and no clock is looked at meanwhile.
        """
        if self.budget is None:
            return self
        affordable = int(SEARCH_PART * self.budget / (POINTS_A_START * seconds_a_point(target)))
        if affordable >= ROUND:
            return self
        return replace(self, n_starts=min(self.n_starts, max(affordable, LEAST_STARTS)))

    @property
    def chains_until(self) -> float | None:
        """Seconds after which no chain goes on, so that what needs none can."""
        return None if self.budget is None else CHAINS_PART * self.budget
