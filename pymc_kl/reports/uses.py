"""Judge what an approximation can be used for: yes, with care or no, with the number that decides it.

A limit counts as broken only where a number is beyond it by two standard errors.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pymc_kl.numerics.estimate import Estimate
from pymc_kl.numerics.khat import KHAT_FINITE_VARIANCE
from pymc_kl.reports.facts import Facts, FitFacts
from pymc_kl.reports.importance import can_correct, written_khat
from pymc_kl.reports.parameters import LargestError
from pymc_kl.reports.phrases import numbered
from pymc_kl.scores.coverage import TOO_FEW_DRAWS

# The largest errors for "yes" and for "with care".
MEAN_LIMITS = (0.1, 0.5)  # largest error of a mean, in reference sd; our choice
SD_LIMITS = (np.log(1.1), np.log(1.5))  # largest error of a standard deviation, as a log ratio; our choice
TAIL_LIMITS = (0.2, 0.5)  # largest error of an end of the central 90 % interval, in reference sd; our choice


@dataclass(frozen=True)
class Use:
    """Whether an approximation can be used for a purpose, and why."""

    answer: str
    why: str


type UseRule = Callable[[Facts, FitFacts], Use]


def _within_limits(error: LargestError | None, limits: tuple[float, float], write: Callable[[Estimate], str]) -> Use:
    if error is None or not np.isfinite(error.by.value):
        return Use("unknown", "no draws to compare")
    least = abs(error.by.value) - 2 * np.nan_to_num(error.by.se)
    answer = "yes" if least <= limits[0] else "with care" if least <= limits[1] else "no"
    return Use(answer, f"{write(error.by)} ({error.label})")


def _in_sd(by: Estimate) -> str:
    return f"off by {abs(by.value):.2f} ± {by.se:.2f} sd at most"


def _ratio(by: Estimate) -> str:
    ratio = np.exp(by.value)
    return f"{ratio:.2f} ± {ratio * by.se:.2f} times the sd at worst"


def means(_facts: Facts, fit: FitFacts) -> Use:
    """Judge its use for posterior means of single parameters."""
    return _within_limits(fit.mean_error, MEAN_LIMITS, _in_sd)


def spreads(_facts: Facts, fit: FitFacts) -> Use:
    """Judge its use for posterior standard deviations."""
    return _within_limits(fit.sd_error, SD_LIMITS, _ratio)


def tails(_facts: Facts, fit: FitFacts) -> Use:
    """Judge its use for central 90 % intervals."""
    return _within_limits(fit.tail_error, TAIL_LIMITS, _in_sd)


def multimodal(facts: Facts, fit: FitFacts) -> Use:
    """Judge its use for summaries that tell how much mass each mode has."""
    if missed := fit.that_matter("missed"):
        return Use("no", f"misses {numbered([c.mode.number for c in missed])}")
    if not facts.masses_known:
        return Use("unknown", "the masses of the modes are not known")
    if unclear := fit.that_matter(TOO_FEW_DRAWS):
        return Use("unknown", f"too few draws to tell of {numbered([c.mode.number for c in unclear])}")
    if wrong := fit.that_matter("under", "over"):
        return Use("with care", f"mass off in {numbered([c.mode.number for c in wrong])}")
    return Use("yes", "every mode that matters has its mass")


def starts(_facts: Facts, fit: FitFacts) -> Use:
    """Judge its use for starting points of MCMC."""
    reached = [c for c in fit.that_matter() if c.verdict != "missed" and c.mass.value != 0]
    all_of_them = len(fit.that_matter())
    answer = "yes" if len(reached) == all_of_them else "with care" if reached else "no"
    return Use(answer, f"reaches {len(reached)} of {all_of_them} modes")


def importance(_facts: Facts, fit: FitFacts) -> Use:
    """Judge its use for importance sampling."""
    if fit.kind == "draws" or np.isnan(fit.khat):
        return Use(
            "no" if fit.kind == "draws" else "unknown", "no density" if fit.kind == "draws" else "k-hat not known"
        )
    shown, can = written_khat(fit), can_correct(fit)
    if missed := fit.that_matter("missed"):
        return Use("no", f"{shown}, but blind to {numbered([c.mode.number for c in missed])}")
    sure = "yes" if fit.khat < KHAT_FINITE_VARIANCE else "with care"
    answer = "with care" if can is None else sure if can else "no"
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
