"""The steps of one fit through a comparison: made, drawn from, assigned to modes, scored; or failed, with its error."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations import Approximation, Draws
from pymc_kl.approximations.functions import SampleFunction
from pymc_kl.comparison.failures import Failure
from pymc_kl.fitting.cross_fitting import CrossFit, Evaluate, HeldOut
from pymc_kl.fitting.elbo_gap import Convergence
from pymc_kl.modes.assign import CanonicalPoints
from pymc_kl.modes.masses import Masses, masses_from_distinct, masses_of_chains
from pymc_kl.scores.marginals import Source


@dataclass(frozen=True, eq=False)
class Fit:
    """An approximation that was given or made, in so many seconds (NaN if given).

    `cross_fit` is the same fit without each fold of the draws, where it was made from draws.
    """

    name: str
    approximation: Approximation
    seconds: float = float("nan")
    cross_fit: CrossFit | None = None

    def at_draws(self, x: Array, fold: IntArray, evaluate: Evaluate, weights: Array | None = None) -> HeldOut:
        """Evaluate q at draws of p (n, d); a forward fit as if they were new to it."""
        if self.cross_fit is None:
            return HeldOut(evaluate(self.approximation, x))
        return self.cross_fit.at_draws(x, fold, evaluate, weights)


@dataclass(frozen=True, eq=False)
class FailedFit:
    """A fit that could not be made, drawn from or assigned, and why."""

    name: str
    failures: tuple[Failure, ...]
    seconds: float


@dataclass(frozen=True, eq=False, kw_only=True)
class DrawnFit:
    """A fit with independent draws of it.

    Attributes
    ----------
    fit : Fit
    x : array (n, d)
        Unconstrained space.
    log_density, log_prob : array (n,)
        log p̃ and log q at the draws, nats; log_prob is None where q has no density.
    convergence : Convergence, optional
        Of a Gaussian reverse-KL fit, once it is checked.
    failures : tuple of Failure
        What could not be computed of it.
    """

    fit: Fit
    x: Array
    log_density: Array
    log_prob: Array | None
    convergence: Convergence | None = None
    failures: tuple[Failure, ...] = ()

    @property
    def name(self) -> str:
        """The fit's name."""
        return self.fit.name

    def without_density(self, q: SampleFunction, reason: str) -> Self:
        """Take the fit as its draws alone, `q`, since the density that came with them is not theirs."""
        fit = replace(self.fit, approximation=q)
        return replace(self, fit=fit, log_prob=None, failures=(*self.failures, Failure("log_prob", reason)))


@dataclass(frozen=True, eq=False, kw_only=True)
class AssignedFit(DrawnFit):
    """A fit whose draws have been assigned to modes."""

    canonical: CanonicalPoints

    def masses(self, mode: IntArray, k: int) -> Masses:
        """Weigh k modes by the mode (n,) of each draw: of independent draws, or of chains where the fit is chains."""
        rows = self._chains
        if rows is None:
            return masses_from_distinct(self.x, mode, k)
        return masses_of_chains(self.canonical.x[rows], mode[rows], k)

    def source(self, k: int) -> Source:
        """Return what its marginals are described by: its canonical draws, each once, or thinned chains."""
        rows, canonical = self._chains, self.canonical
        if rows is None:
            _, first, counts = np.unique(self.x, axis=0, return_index=True, return_counts=True)
            order = np.argsort(first)  # as they were drawn: halves of sorted draws would be halves of the space
            first, counts = first[order], counts[order]
            return Source(canonical.x[first], counts / counts.sum(), canonical.mode[first])
        flat = rows.ravel()
        masses = self.masses(canonical.mode, k)
        return Source.of_chains(canonical.x[flat], self.log_density[flat], canonical.mode[flat], masses)

    @property
    def _chains(self) -> IntArray | None:
        """Rows (chain, draw) of the draws of each chain; None where the draws are independent."""
        q = self.fit.approximation
        return q.in_chains(self.x) if isinstance(q, Draws) else None


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoredFit(AssignedFit):
    """A fit with its columns of `/scores` and `/coverage`; what failed is not in them."""

    scores: Mapping[str, Any]
    coverage: Mapping[str, Any]
