"""An approximation known by its draws alone, such as particles of SVGD."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pymc_kl._typing import Array, Kind
from pymc_kl.approximations.base import Approximation


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws(Approximation):
    """Draws without a density.

    Parameters
    ----------
    x : array (n, d)
        Unconstrained space.
    """

    family: ClassVar[str] = "draws"
    has_log_prob: ClassVar[bool] = False

    x: Array
    kind: Kind = "draws"

    @property
    def d(self) -> int:
        """Number of unconstrained dimensions."""
        return self.x.shape[1]

    def _sample(self, n: int, rng: np.random.Generator) -> Array:
        """Take the draws in random order, each once before any comes twice."""
        rounds = -(-n // len(self.x))
        rows = np.concatenate([rng.permutation(len(self.x)) for _ in range(rounds)])
        return self.x[rows[:n]]

    def _log_prob(self, x: Array) -> Array:
        raise NotImplementedError
