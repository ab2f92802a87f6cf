"""Judge what an approximation can be used for: yes, no or cannot tell, with the number that decides it.

It is yes where the interval of two standard errors lies within the limit, no where it lies beyond it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pymc_kl.numerics.estimate import Estimate
from pymc_kl.numerics.judgement import CANNOT_TELL, at_most
from pymc_kl.numerics.khat import KHAT_FINITE_VARIANCE, KHAT_RELIABLE
from pymc_kl.reports.facts import Facts, FitFacts
from pymc_kl.reports.importance import can_correct, written_khat
from pymc_kl.reports.parameters import LargestError
from pymc_kl.reports.phrases import every, listed, measured, numbered, percent
from pymc_kl.scores.coverage import TOO_FEW_DRAWS

MEAN_LIMIT = 0.1  # largest error of a mean that is "yes", in reference sd; our choice
SD_LIMIT = np.log(1.1)  # largest error of a standard deviation that is "yes", as a log ratio; our choice
TAIL_LIMIT = 0.2  # largest error of an end of the central 90 % interval, in reference sd; our choice
SPILLS = 0.05  # probability of a fit where the posterior has almost none, above which it is said to spill


@dataclass(frozen=True)
class Use:
    """Whether an approximation can be used for a purpose, and why."""

    answer: str
    why: str


type UseRule = Callable[[Facts, FitFacts], Use]


def judged_uses(facts: Facts, fit: FitFacts) -> dict[str, Use]:
    """Judge each of the uses, by its name."""
    return {use: rule(facts, fit) for use, rule in USES.items()}


def of_asked(facts: Facts) -> str:
    """Write of which variables means, standard deviations and intervals are judged, where that is not all."""
    return f" (means, standard deviations and intervals: of {_named(facts.asked)})" if facts.asked else ""


def _named(names: Sequence[str]) -> str:
    return listed([f"`{name}`" for name in names])


def _told(answer: str, why: str, limit: str) -> Use:
    """Give a use its reason: where it cannot be told, the limit too."""
    return Use(answer, f"{why}; limit {limit}" if answer == CANNOT_TELL else why)


def _within_limit(error: LargestError | None, limit: float, write: Callable[[Estimate], str], written: str) -> Use:
    if error is None or not np.isfinite(error.by).all():
        return Use(CANNOT_TELL, "no draws to compare")
    size, margin = abs(error.by.value), 2 * error.by.se
    answer = "yes" if size + margin <= limit else "no" if size - margin > limit else CANNOT_TELL
    return _told(answer, f"{write(error.by)} (`{error.label}`)", written)


def _in_sd(by: Estimate) -> str:
    return f"off by {measured(Estimate(abs(by.value), by.se))} sd at worst"


def _ratio(by: Estimate) -> str:
    ratio = float(np.exp(by.value))
    return f"{measured(Estimate(ratio, ratio * by.se))} times the sd at worst"


def means(_facts: Facts, fit: FitFacts) -> Use:
    """Judge its use for posterior means of single parameters."""
    return _within_limit(fit.mean_error, MEAN_LIMIT, _in_sd, f"{MEAN_LIMIT:g} sd")


def spreads(_facts: Facts, fit: FitFacts) -> Use:
    """Judge its use for posterior standard deviations."""
    return _within_limit(fit.sd_error, SD_LIMIT, _ratio, f"{100 * np.expm1(SD_LIMIT):.0f} %")


def tails(_facts: Facts, fit: FitFacts) -> Use:
    """Judge its use for central 90 % intervals."""
    return _within_limit(fit.tail_error, TAIL_LIMIT, _in_sd, f"{TAIL_LIMIT:g} sd")


def plausible(_facts: Facts, fit: FitFacts) -> Use:
    """Judge whether its draws, one by one, lie where the posterior has mass; it may lack modes nonetheless."""
    spill = fit.scores["spill"]
    if not np.isfinite(spill).all():
        return Use(CANNOT_TELL, "spill not known")
    where = f"{percent(spill)} of its draws spill where the posterior has almost none"
    return _told(at_most(spill, SPILLS), where, f"{100 * SPILLS:.0f} %")


def multimodal(facts: Facts, fit: FitFacts) -> Use:
    """Judge its use for summaries that tell how much mass each mode has."""
    if missed := fit.that_matter("missed"):
        return Use("no", f"misses {numbered([c.mode.number for c in missed])}")
    if not facts.masses_known:
        return Use(CANNOT_TELL, "the masses of the modes are not known")
    if unclear := fit.that_matter(TOO_FEW_DRAWS):
        return Use(CANNOT_TELL, f"too few draws to tell of {numbered([c.mode.number for c in unclear])}")
    if wrong := fit.that_matter("under", "over"):
        return Use("no", f"mass off in {numbered([c.mode.number for c in wrong])}")
    found = every(len(facts.that_matter), len(facts.modes))
    return Use("yes", f"has {'that' if len(facts.that_matter) == 1 else 'those'} of {found}")


def starts(facts: Facts, fit: FitFacts) -> Use:
    """Judge its use for starting points of MCMC."""
    reached = [c for c in fit.that_matter() if c.verdict != "missed" and c.mass.value != 0]
    all_of_them = len(fit.that_matter())
    if len(reached) == all_of_them:
        return Use("yes", f"reaches {every(all_of_them, len(facts.modes))}")
    return Use("no", f"reaches {len(reached)} of {all_of_them} modes")


def importance(_facts: Facts, fit: FitFacts) -> Use:
    """Judge its use for importance sampling."""
    if fit.kind == "draws":
        return Use("no", "no density")
    if np.isnan(fit.khat):
        return Use(CANNOT_TELL, "k-hat not known")
    shown, can = written_khat(fit), can_correct(fit)
    if missed := fit.that_matter("missed"):
        return Use("no", f"{shown}, but blind to {numbered([c.mode.number for c in missed])}")
    if can == CANNOT_TELL:
        return _told(can, shown, f"{KHAT_RELIABLE:g}")
    many = ", with many draws" if can == "yes" and fit.khat >= KHAT_FINITE_VARIANCE else ""
    return Use(can, f"{shown}{many}")


MOMENT_USES: dict[str, UseRule] = {"means": means, "standard deviations": spreads, "90 % intervals": tails}
USES: dict[str, UseRule] = {
    **MOMENT_USES,
    "plausible draws": plausible,
    "masses of modes": multimodal,
    "starting MCMC": starts,
    "importance sampling": importance,
}
