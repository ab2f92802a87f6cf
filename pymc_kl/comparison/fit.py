"""The steps of one fit through a comparison: made, drawn from, assigned to modes, scored; or failed, with its error."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations import Approximation
from pymc_kl.approximations.functions import SampleFunction
from pymc_kl.comparison.failures import Failure
from pymc_kl.fitting.cross_fitting import CrossFit, Evaluate, HeldOut
from pymc_kl.fitting.elbo_gap import Convergence
from pymc_kl.modes.assign import CanonicalPoints


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


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoredFit(AssignedFit):
    """A fit with its columns of `/scores` and `/coverage`; what failed is not in them."""

    scores: Mapping[str, Any]
    coverage: Mapping[str, Any]
