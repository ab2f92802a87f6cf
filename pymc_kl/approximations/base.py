"""What every approximation q is: a frozen object that can be sampled and, mostly, evaluated.

A family writes `_sample` and `_log_prob` for arrays that are known to be right; the base class checks
what users pass and adds the way back to the model's own space.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import xarray as xr

from pymc_kl._typing import Array, Kind, RandomSeed

if TYPE_CHECKING:
    from pymc_kl.model.target import Target


@dataclass(frozen=True, kw_only=True, eq=False)
class Approximation(ABC):
    """A distribution q on the unconstrained space R^d.

    Parameters
    ----------
    target : Target, optional
        The model's density; gives the way back to the model's own variables.
    kind : {"forward", "reverse", "laplace", "other", "draws"}
        The divergence that was minimised, KL(p‖q) or KL(q‖p), "laplace" or "other" if none was, or "draws" where q has
        no density.
    info : mapping
        What the fit reports of itself: loss history, held-out score and its error, warnings.

    Notes
    -----
    `from_modes` says that the family's `fit_forward` takes `labels`, the mode of each draw, and `holds_out` that it
    takes `blocks`, contiguous draws to be held out whole. Families that start from modes do both.
    """

    family: ClassVar[str]
    has_log_prob: ClassVar[bool] = True
    from_modes: ClassVar[bool] = False
    holds_out: ClassVar[bool] = False

    target: "Target | None" = None
    kind: Kind = "forward"
    info: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    @abstractmethod
    def d(self) -> int:
        """Number of unconstrained dimensions."""

    @abstractmethod
    def _sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw (n, d)."""

    @abstractmethod
    def _log_prob(self, x: Array) -> Array:
        """Evaluate (n, d) -> (n,)."""

    def sample(self, n: int, *, random_seed: RandomSeed = None) -> Array:
        """Draw from q.

        Parameters
        ----------
        n : int
            Number of draws.
        random_seed : int, Generator, SeedSequence or None
            The same seed gives the same draws.

        Returns
        -------
        array (n, d)
            Independent draws, unconstrained space.
        """
        if n < 1:
            raise ValueError(f"n must be at least 1; got {n}.")
        return self._sample(int(n), np.random.default_rng(random_seed))

    def log_prob(self, x: Array) -> Array:
        """Evaluate the normalised log density of q.

        Parameters
        ----------
        x : array (n, d)
            Points of the unconstrained space.

        Returns
        -------
        array (n,)
            log q(x) in nats.

        Raises
        ------
        TypeError
            If q is known by its draws alone.
        """
        if not self.has_log_prob:
            raise TypeError(
                f"{self.family} is known by its draws alone and has no log_prob; "
                "scores that need a density are NaN for it."
            )
        x = np.asarray(x, dtype=float)
        if x.ndim != 2 or x.shape[1] != self.d:
            raise ValueError(f"x must have shape (n, {self.d}); got {x.shape}.")
        return self._log_prob(x)

    def to_datatree(self, n: int = 4000, *, random_seed: RandomSeed = None) -> xr.DataTree:
        """Draw from q in the model's own space.

        Parameters
        ----------
        n : int
            Number of draws.
        random_seed : int, Generator, SeedSequence or None

        Returns
        -------
        DataTree
            `posterior` with dims (chain=1, draw=n, ...) in the model's own space and `sample_stats` with
            `log_density` and, where q has a density, `log_prob` (nats, unconstrained space).
        """
        from pymc_kl.tree import draws_to_datatree

        if self.target is None:
            raise ValueError(
                "to_datatree needs the model to name its variables; this approximation was made "
                "without one. Fit it with model=..., or inside `with model:`."
            )
        return draws_to_datatree(self, self.sample(n, random_seed=random_seed))


@dataclass(frozen=True, kw_only=True, eq=False)
class Family(Approximation):
    """An approximation with a density, that can be fitted to draws of p."""

    @classmethod
    @abstractmethod
    def fit_forward(cls, x: Array, weights: Array | None = None, *, rng: np.random.Generator | None = None) -> Self:
        """Minimise KL(p‖q) over the family, given draws of p (n, d) and their weights (n,)."""
