"""How to search for modes and to sample them."""

from collections.abc import Sequence
from dataclasses import dataclass

from pymc_kl.modes.search import MIN_BARRIER, N_STARTS, SearchSettings
from pymc_kl.reference.local_nuts import TUNE
from pymc_kl.reference.posterior import NEGLIGIBLE_BELOW

SEARCH_PART = 0.4  # of a budget that the search may take; our choice
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

    @property
    def chains_until(self) -> float | None:
        """Seconds after which no chain goes on, so that what needs none can."""
        return None if self.budget is None else CHAINS_PART * self.budget
