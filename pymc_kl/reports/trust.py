"""Judge whether the reference can be trusted: yes, with care or no, and why; list all doubts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pymc_kl.numerics.estimate import Estimate
from pymc_kl.reports.facts import Facts, FitFacts
from pymc_kl.reports.phrases import counted, nats, numbered, percent
from pymc_kl.scores.own_density import MOST_ERRORS

UNCERTAIN = 0.05  # standard error of a mode's mass above which it is called uncertain
LITTLE_OVERLAP = 0.1  # overlap of a mode's draws and the bridge's proposal below which a mass is doubted
ABOVE = 0.001  # nats: least excess of an ELBO over log Z that is told; less is rounding; our choice
SEEN = 0.001  # probability that one more start finds a new mode, above which the search is doubted

Answer = Literal["yes", "with care", "no"]


@dataclass(frozen=True)
class Trust:
    """The answer, why in at most eight words, and the reasons as sentences."""

    answer: Answer
    why: str
    reasons: tuple[str, ...]


def judge_reference(facts: Facts) -> Trust:
    """Judge the reference by its masses, its search and how each mode was weighed."""
    if not facts.masses_known:
        reason = facts.masses_reason or "the masses of its modes are not known"
        return Trust("no", "mode masses are not known", (f"{capital(reason)}.", *_doubts(facts)))
    doubts = tuple(_short_doubts(facts))
    if doubts:
        return Trust("with care", doubts[0], tuple(_doubts(facts)))
    if facts.completed:
        said = "Every mode found was sampled and weighed, and no check objects."
        return Trust("yes", "every mode found was sampled and weighed", (said,))
    if len(facts.modes) == 1:
        return Trust("yes", "one mode, and the draws are there", ("One mode was found, and the draws are in it.",))
    return Trust("yes", "chains moved freely between modes", ("Chains moved freely between the modes found.",))


def _short_doubts(facts: Facts) -> Iterator[str]:
    if facts.partial:
        yield "the run was stopped early"
    if not facts.proper:
        yield why_one_region(facts) or "one region without a proper maximum"
    if any(mode.mass.se > UNCERTAIN for mode in facts.that_matter):
        yield "some mode masses are uncertain"
    if facts.unseen.value > SEEN:
        yield "starts were still finding new modes"
    if np.isnan(facts.log_evidence.value):
        yield "log Z could not be estimated"
    if any(map(_above_log_evidence, facts.fits)):
        yield "a fit's ELBO is above log Z"
    if any(mode.overlap < LITTLE_OVERLAP for mode in facts.that_matter):
        yield "a mode was weighed with little overlap"


def _doubts(facts: Facts) -> Iterator[str]:
    """Write each doubt as a sentence with its number."""
    if facts.partial:
        yield "The search or the sampling was stopped early, by you or by its budget: modes and draws may be missing."
    if not facts.proper and facts.masses_known:
        yield (
            "The log density has no proper maximum that stands for a mode, so the posterior is taken as one region; "
            "that chains from all over agree is all that speaks for it."
        )
    for mode in facts.that_matter:
        if facts.masses_known and mode.mass.se > UNCERTAIN:
            yield f"The mass of mode {mode.number} is uncertain: {percent(mode.mass, mode.upper, lower=mode.lower)}."
    if facts.unseen.value > SEEN:
        yield (
            f"The chance that one more start finds a new mode is estimated at {percent(facts.unseen)}: "
            "search longer with a larger n_starts."
        )
    if np.isnan(facts.log_evidence.value) and facts.masses_known and facts.proper:
        yield f"Log Z could not be estimated: {facts.evidence_reason or 'no mode has a known integral'}."
    for fit in filter(_above_log_evidence, facts.fits):
        by = Estimate(-fit.scores["reverse_kl"].value, fit.scores["reverse_kl"].se)
        yield f"The ELBO of {fit.name} is {nats(by)} above log Z, so log Z is too low: a mode may be missed."
    for mode in facts.that_matter:
        if mode.overlap < LITTLE_OVERLAP and np.isfinite(facts.log_evidence.value):
            what = f"The mass of mode {mode.number}" if len(facts.modes) > 1 else "Log Z"
            yield f"{what} rests on an overlap of {mode.overlap:.2g} of draws and proposal, which is little."
    if unweighed := [mode.number for mode in facts.that_matter if mode.reason and not facts.masses_known]:
        yield f"{counted(len(unweighed), 'mode', 'modes')} could not be weighed: {numbered(unweighed)}."


def why_one_region(facts: Facts) -> str:
    """Return the last cause told of a region whose log Z is not known: a rotation, a ridge, a rise; empty if known."""
    return facts.evidence_reason.rpartition("; ")[2] if np.isnan(facts.log_evidence.value) else ""


def _above_log_evidence(fit: FitFacts) -> bool:
    """Tell if the ELBO of a fit is surely above log Z, which no ELBO is."""
    kl = fit.scores["reverse_kl"]
    return kl.value < -MOST_ERRORS * kl.se - ABOVE


def capital(text: str) -> str:
    """Write the first letter as a capital."""
    return text[:1].upper() + text[1:]
