"""The base class of every approximation q: a frozen object that can be sampled and, mostly, evaluated.

A subclass writes `_sample` and `_log_prob` for checked arrays; the base class checks what users pass and maps draws
to the model's own space.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import xarray as xr

from pymc_kl._typing import Array, Kind, RandomSeed
from pymc_kl.approximations.parameters import checked_arrays
from pymc_kl.arguments import check_arguments, real_array, whole

if TYPE_CHECKING:
    from pymc_kl.model.target import Target


@dataclass(frozen=True, kw_only=True, eq=False)
class FitInfo(Mapping[str, Any]):
    """What a fit reports of itself; what it does not report is None.

    Reads as a mapping too, of what it reports: `info.choice` is `info["choice"]`.

    Attributes
    ----------
    history : array (steps,)
        Loss after each step.
    df, rank, n_components : float or int
        The size that was fitted: degrees of freedom, factors or components.
    held_out_score, held_out_score_se : float
        Mean of log q, nats a draw, over draws held out, and its standard error.
    scores : mapping of int to float, or tuple of float
        The same for each size that was tried; after each epoch for a flow.
    n_iterations : int
    converged : bool
    warnings : tuple of str
        What to know before using the fit, a sentence each.
    family, choice : str
        The family that "auto" chose, and why in one sentence.
    family_scores : mapping of str to tuple of float
        Held-out score and standard error, nats a draw, of each family that "auto" tried.
    parts : mapping of str to Approximation
        The approximations that a fit of several consists of, such as Pathfinder's paths.
    more : mapping
        Values under any other names: what the user, or the package that made the fit, reports besides.

    Examples
    --------
    >>> from pymc_kl.approximations import FitInfo
    >>> info = FitInfo.of({"converged": True, "learning_rate": 0.01})
    >>> info.converged, info["learning_rate"], sorted(info)
    (True, 0.01, ['converged', 'learning_rate'])
    """

    not_stored: ClassVar[frozenset[str]] = frozenset({"history", "parts"})

    history: Array | None = None
    df: float | None = None
    rank: int | None = None
    n_components: int | None = None
    held_out_score: float | None = None
    held_out_score_se: float | None = None
    scores: Mapping[int, float] | tuple[float, ...] | None = None
    n_iterations: int | None = None
    converged: bool | None = None
    warnings: tuple[str, ...] | None = None
    family: str | None = None
    choice: str | None = None
    family_scores: Mapping[str, tuple[float, float]] | None = None
    parts: "Mapping[str, Approximation] | None" = None
    more: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, reported: Mapping[str, Any]) -> "FitInfo":
        """Take a mapping; what has no attribute of its own goes to `more`."""
        if isinstance(reported, FitInfo):
            return reported
        named = {f.name for f in fields(cls) if f.name != "more"} & set(reported)
        more = {name: value for name, value in reported.items() if name not in named}
        return cls(**{name: reported[name] for name in named}, more=MappingProxyType(more))

    def with_warnings(self, *warnings: str) -> Self:
        """Add warnings after those that there are."""
        return replace(self, warnings=(*(self.warnings or ()), *warnings))

    def stored(self) -> dict[str, Any]:
        """Return what a file keeps: all but the history and approximations, which have groups of their own."""
        return {name: value for name, value in self.items() if name not in self.not_stored}

    def __getitem__(self, name: str) -> Any:
        return self._reported[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._reported)

    def __len__(self) -> int:
        return len(self._reported)

    @cached_property
    def _reported(self) -> dict[str, Any]:
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "more"}
        return {name: value for name, value in own.items() if value is not None} | dict(self.more)


def raised(conditions: Mapping[str, bool]) -> tuple[str, ...]:
    """Return the warnings whose condition holds."""
    return tuple(text for text, holds in conditions.items() if holds)


@dataclass(frozen=True, kw_only=True, eq=False)
class Approximation(ABC):
    """A distribution q on the unconstrained space R^d.

    Parameters
    ----------
    target : Target, optional
        The model's density; maps draws to the model's own variables.
    kind : {"forward", "reverse", "laplace", "other", "draws"}
        The divergence that was minimised, KL(p‖q) or KL(q‖p), "laplace" or "other" if none was, or "draws" where q has
        no density.
    info : FitInfo or mapping
        What the fit reports of itself: loss history, held-out score and its error, warnings.

    Examples
    --------
    >>> import numpy as np
    >>> from pymc_kl.approximations import MeanField
    >>> q = MeanField(loc=np.zeros(3), scale=np.ones(3))
    >>> x = q.sample(2, random_seed=1)
    >>> x.shape, q.log_prob(x).shape, q.kind
    ((2, 3), (2,), 'forward')
    """

    family: ClassVar[str]
    has_log_prob: ClassVar[bool] = True
    shapes: ClassVar[dict[str, str]] = {}  # of the arrays that define it, a letter for each dim

    target: "Target | None" = None
    kind: Kind = "forward"
    info: FitInfo = field(default_factory=FitInfo)

    def __post_init__(self) -> None:
        object.__setattr__(self, "info", FitInfo.of(self.info))
        for name, array in checked_arrays(vars(self), self.shapes).items():
            object.__setattr__(self, name, array if array.ndim else float(array))

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
        check_arguments({"n": n, "random_seed": random_seed}, n=whole())
        return self._sample(int(n), np.random.default_rng(random_seed))

    def log_prob(self, x: Array) -> Array:
        """Evaluate log q (n,), normalised and in nats, at points x (n, d) of the unconstrained space.

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
        x = real_array("x", x)
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
        from pymc_kl.model.datatree import draws_to_datatree

        if self.target is None:
            raise ValueError(
                "to_datatree needs the model to name its variables; this approximation was made "
                "without one. Fit it with model=..., or inside `with model:`."
            )
        x = self.sample(n, random_seed=random_seed)
        return draws_to_datatree(self.target, x, self.log_prob(x) if self.has_log_prob else None)
