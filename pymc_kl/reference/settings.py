"""How to search for modes and to sample them."""

from collections.abc import Sequence
from dataclasses import dataclass

from pymc_kl.modes.search import MIN_BARRIER, N_STARTS, SearchSettings
from pymc_kl.reference.local_nuts import TUNE
from pymc_kl.reference.posterior import NEGLIGIBLE_BELOW


@dataclass(frozen=True)
class Sampling:
    """How to search and sample: see :func:`sample_reference`. `as_given` weighs the given draws and makes none."""

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

    @property
    def search(self) -> SearchSettings:
        """How to search for modes."""
        return SearchSettings(self.n_starts, self.symmetry, self.min_barrier)
