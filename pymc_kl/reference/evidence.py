"""Normalising constants: log ∫ p̃ over one mode and over the whole space, with how each was found."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pymc_kl.numerics.estimate import UNKNOWN, Estimate


class BridgeChecks(NamedTuple):
    """How far a bridge's own error can be trusted (Micaletto and Vehtari 2025, arXiv:2508.14487).

    Of two bridges, one from each half of the draws, the larger k-hat of either.

    Attributes
    ----------
    khat_draws, khat_proposal : float
        Pareto k-hat of the terms of the estimating equation at the mode's draws and at those of the proposal.
    se_sandwich : float
        Nats: the error of the estimating equation, with the effective sample size of the draws.
    se_blocks : float
        Nats: the error by how much blocks of the chains differ.
    """

    khat_draws: float = float("nan")
    khat_proposal: float = float("nan")
    se_sandwich: float = float("nan")
    se_blocks: float = float("nan")


NO_CHECKS = BridgeChecks()


@dataclass(frozen=True)
class LogMass:
    """log ∫ p̃ over a mode and its copies.

    Attributes
    ----------
    estimate : Estimate
        Nats; NaN where it is not known.
    overlap : float
        Effective share of the draws, of mode and proposal, that lie where the other has mass: 1 where they agree.
    method : str
    reason : str
        Why the estimate is NaN or doubtful; empty where it is neither.
    checks : BridgeChecks
        NaN where no bridge was made.
    """

    estimate: Estimate
    overlap: float
    method: str
    reason: str
    checks: BridgeChecks = NO_CHECKS

    @property
    def known(self) -> bool:
        """Whether there is an estimate."""
        return bool(np.isfinite(self.estimate.value))


def unknown_log_mass(reason: str, overlap: float = float("nan")) -> LogMass:
    """Return a log mass that is not known, and why."""
    return LogMass(UNKNOWN, overlap, "none", reason)


@dataclass(frozen=True)
class Evidence:
    """Log Z, the log of the integral of p̃.

    Attributes
    ----------
    log_evidence : Estimate
        Nats; NaN where it is not known.
    method : str
    reason : str
        Why it is NaN; empty where it is known.
    """

    log_evidence: Estimate
    method: str
    reason: str
