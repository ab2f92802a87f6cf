"""Draws of p and of one q → its scores by name, each as a function, so that one that fails costs no other."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.modes.assign import MAX_COPY_LABELS, CanonicalPoints
from pymc_kl.modes.modes import Modes
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.scores.coverage import entropic_coverage, hdr_coverage, mass_jsd, mass_ratio, mass_tv, verdicts
from pymc_kl.scores.divergences import (
    ChainRule,
    elbo,
    eubo,
    forward_chain_rule,
    forward_kl,
    reverse_chain_rule,
    reverse_kl,
)
from pymc_kl.scores.draws import ApproximationDraws, ReferenceDraws
from pymc_kl.scores.missed_modes import Missed, missed
from pymc_kl.scores.reliability import ess_forward, ess_reverse, khat, khat_reference, spill

REACHED = 0.01  # share of an approximation's draws in a mode from which on it reaches a copy

type Parts[T] = dict[str, Callable[[], T]]


@dataclass(frozen=True, eq=False)
class FitScores:
    """The scores of one approximation q beside p.

    Parameters
    ----------
    p : ReferenceDraws
    q : ApproximationDraws
    log_evidence : Estimate
        Nats.
    """

    p: ReferenceDraws
    q: ApproximationDraws
    log_evidence: Estimate

    @cached_property
    def forward(self) -> ChainRule:
        """KL(p‖q), split over modes."""
        return forward_chain_rule(self.p, self.q, self.log_evidence)

    @cached_property
    def reverse(self) -> ChainRule:
        """KL(q‖p), split over modes."""
        return reverse_chain_rule(self.p, self.q, self.log_evidence)

    @cached_property
    def verdicts(self) -> list[str]:
        """How q covers each mode."""
        return verdicts(self.p.masses, self.q.masses)

    @cached_property
    def alarm(self) -> Missed:
        """The mass of the modes that q misses."""
        return missed(self.p.masses, np.array(self.verdicts) == "missed")

    def estimates(self) -> Parts[Estimate]:
        """Scores with a standard error."""
        p, q, log_z = self.p, self.q, self.log_evidence
        return {
            "forward_kl": lambda: forward_kl(p, log_z),
            "reverse_kl": lambda: reverse_kl(q, log_z),
            "elbo": lambda: elbo(q),
            "eubo": lambda: eubo(p),
            "forward_kl_between": lambda: self.forward.between,
            "forward_kl_within": lambda: self.forward.within,
            "reverse_kl_between": lambda: self.reverse.between,
            "reverse_kl_within": lambda: self.reverse.within,
            "ess_forward": lambda: ess_forward(p, log_z),
            "ess_reverse": lambda: ess_reverse(q),
            "spill": lambda: spill(p, q),
            "emc": lambda: entropic_coverage(q.masses),
            "emc_reference": lambda: entropic_coverage(p.masses),
            "mode_jsd": lambda: mass_jsd(p.masses, q.masses),
            "mode_tv": lambda: mass_tv(p.masses, q.masses),
            "missed_mass": lambda: self.alarm.mass,
        }

    def numbers(self) -> Parts[float]:
        """Scores without a standard error; 0 and 1 are no and yes."""
        return {
            "alarm": lambda: float(self.alarm.sounds),
            "forward_kl_is_bound": lambda: float(self.forward.is_bound),
            "reverse_kl_is_bound": lambda: float(self.reverse.is_bound),
            "khat": lambda: khat(self.q),
            "khat_reference": lambda: khat_reference(self.p),
        }

    def coverage(self) -> Parts[Array | list[str]]:
        """What is said of each of the K modes."""
        p, q = self.p, self.q
        return {
            "mass": lambda: q.masses.mass[:-1],
            "mass_se": lambda: q.masses.se[:-1],
            "mass_upper": lambda: q.masses.upper[:-1],
            "ratio": lambda: mass_ratio(p.masses, q.masses)[0][:-1],
            "ratio_se": lambda: mass_ratio(p.masses, q.masses)[1][:-1],
            "forward_kl_within": lambda: self.forward.within_each[:-1],
            "forward_kl_within_se": lambda: self.forward.within_each_se[:-1],
            "reverse_kl_within": lambda: self.reverse.within_each[:-1],
            "reverse_kl_within_se": lambda: self.reverse.within_each_se[:-1],
            "hdr_coverage": lambda: hdr_coverage(p, q)[:-1],
            "verdict": lambda: self.verdicts,
        }


def with_errors(estimates: dict[str, Estimate]) -> dict[str, float]:
    """Lay out estimates as a row has them: each value, and its error under `<name>_se`."""
    columns: dict[str, float] = {}
    for name, estimate in estimates.items():
        columns[name], columns[f"{name}_se"] = estimate
    return columns


def copies_reached(modes: Modes, x: Array, canonical: CanonicalPoints) -> Array:
    """Count the copies of each mode (K,) that hold a hundredth of the draws in it; NaN where there are too many."""
    label = modes.copy_labels(x, canonical.maximum)
    reached = np.full(modes.k, np.nan)
    for k in range(modes.k):
        inside = (canonical.mode == k) & (label >= 0)
        counts = np.bincount(np.unique(label[inside] % MAX_COPY_LABELS, return_inverse=True)[1]) if inside.any() else ()
        if modes.copies[k] <= MAX_COPY_LABELS:
            reached[k] = min(sum(c > REACHED * inside.sum() for c in counts), modes.copies[k])
    return reached
