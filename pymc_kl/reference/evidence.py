"""Normalising constants: log ∫ p̃ over one mode and over the whole space, with how each was found."""

from dataclasses import dataclass

import numpy as np

from pymc_kl.numerics.estimate import UNKNOWN, Estimate


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
    """

    estimate: Estimate
    overlap: float
    method: str
    reason: str

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
