"""What each approximation can be used for: yes, with care or no, and the number that says so.

A limit counts as broken only where a number is beyond it by two standard errors.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pymc_kl.numerics.estimate import Estimate
from pymc_kl.numerics.khat import KHAT_FINITE_VARIANCE, KHAT_RELIABLE
from pymc_kl.reports.facts import Facts, Fit
from pymc_kl.reports.parameters import LargestError
from pymc_kl.reports.phrases import numbered

MEAN_OFF = (0.1, 0.5)  # reference sd: at most, for "yes" and for "with care"
SD_OFF = (np.log(1.1), np.log(1.5))  # log ratio
TAIL_OFF = (0.2, 0.5)  # reference sd, of the ends of a central 90 % interval


@dataclass(frozen=True)
class Use:
    """May an approximation be used for something, and why."""

    answer: str
    why: str


type UseRule = Callable[[Facts, Fit], Use]


def _graded(off: LargestError | None, limits: tuple[float, float], unit: Callable[[Estimate], str]) -> Use:
    if off is None or not np.isfinite(off.by.value):
        return Use("unknown", "no draws to compare")
    least = abs(off.by.value) - 2 * np.nan_to_num(off.by.se)
    answer = "yes" if least <= limits[0] else "with care" if least <= limits[1] else "no"
    return Use(answer, f"{unit(off.by)} ({off.label})")


def _in_sd(by: Estimate) -> str:
    return f"off by {abs(by.value):.2f} ± {by.se:.2f} sd at most"


def _ratio(by: Estimate) -> str:
    ratio = np.exp(by.value)
    return f"{ratio:.2f} ± {ratio * by.se:.2f} times the sd at worst"


def means(_facts: Facts, fit: Fit) -> Use:
    """Posterior means of single parameters."""
    return _graded(fit.mean_error, MEAN_OFF, _in_sd)


def spreads(_facts: Facts, fit: Fit) -> Use:
    """Posterior standard deviations."""
    return _graded(fit.sd_error, SD_OFF, _ratio)


def tails(_facts: Facts, fit: Fit) -> Use:
    """Central 90 % intervals."""
    return _graded(fit.tail_error, TAIL_OFF, _in_sd)


def multimodal(_facts: Facts, fit: Fit) -> Use:
    """Summaries that say how much each mode holds."""
    if missed := fit.that_matter("missed"):
        return Use("no", f"misses {numbered([c.mode.number for c in missed])}")
    if wrong := fit.that_matter("under", "over"):
        return Use("with care", f"mass off in {numbered([c.mode.number for c in wrong])}")
    return Use("yes", "every mode that matters has its mass")


def starts(_facts: Facts, fit: Fit) -> Use:
    """Starting points for MCMC."""
    reached = [c for c in fit.that_matter() if c.verdict != "missed"]
    all_of_them = len(fit.that_matter())
    answer = "yes" if len(reached) == all_of_them else "with care" if reached else "no"
    return Use(answer, f"reaches {len(reached)} of {all_of_them} modes")


def importance(_facts: Facts, fit: Fit) -> Use:
    """Correction by importance sampling."""
    if fit.kind == "draws" or np.isnan(fit.khat):
        return Use(
            "no" if fit.kind == "draws" else "unknown", "no density" if fit.kind == "draws" else "k-hat not known"
        )
    shown = "constant weights" if fit.khat == -np.inf else f"k-hat {fit.khat:.2f}"
    if missed := fit.that_matter("missed"):
        return Use("no", f"{shown}, but blind to {numbered([c.mode.number for c in missed])}")
    answer = "yes" if fit.khat < KHAT_FINITE_VARIANCE else "with care" if fit.khat < KHAT_RELIABLE else "no"
    return Use(answer, shown)


USES: dict[str, UseRule] = {
    "means": means,
    "standard deviations": spreads,
    "tail intervals (90 %)": tails,
    "multimodal summaries": multimodal,
    "starting MCMC": starts,
    "importance sampling": importance,
    "PSIS-LOO": importance,
}
