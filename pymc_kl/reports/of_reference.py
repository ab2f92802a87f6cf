"""Write the sentences on the reference and the modes."""

import re
from collections.abc import Iterator
from math import factorial

import numpy as np

from pymc_kl.reports.facts import Facts
from pymc_kl.reports.of_draws import in_code, of_signs
from pymc_kl.reports.phrases import listed
from pymc_kl.reports.sentence import Sentence
from pymc_kl.reports.trust import judge_reference, why_one_region


def of_reference(facts: Facts) -> Iterator[Sentence]:
    """Write whether the reference can be trusted, and how symmetry multiplies modes."""
    refusals = {} if facts.audit is None else facts.audit.refusals
    if facts.interrupted:
        yield Sentence("", "interrupted", 2, facts.interrupted)
    trust = judge_reference(facts)
    if trust.answer == "no" and (facts.completed or not refusals):  # refused draws that are compared with are said
        yield Sentence("", "untrusted", 0, _untrusted(facts))
    elif trust.answer == "with care":
        rule = "starts are lost" if facts.unseen.value - 2 * facts.unseen.se > MANY_LOST else "care"
        yield Sentence("", rule, 2, f"Take the reference with care. {' '.join(trust.reasons)}")
    if (text := _symmetry(facts)) is not None:
        yield Sentence("", "symmetry", 5, text)
    if np.isnan(facts.log_evidence.value):
        yield Sentence("", "no log Z", 4, _no_log_z(facts))


MANY_LOST = 0.05  # chance that one more start finds a new mode, surely above which that comes first; our choice
NO_LOG_Z = (
    "Log Z could not be estimated, so the two KL divergences are known up to one constant; their differences between "
    "approximations are not affected."
)


def _no_log_z(facts: Facts) -> str:
    """Write that log Z is not known, and why if the posterior is one region: there it is the reference's fault."""
    if facts.proper or not facts.evidence_reason:
        return NO_LOG_Z
    return (
        f"Log Z is not known: {why_one_region(facts)}. KL divergences are known up to one constant, the same for all "
        "fits."
    )


def _untrusted(facts: Facts) -> str:
    reason = facts.masses_reason or "the masses of its modes could not be estimated"
    after = (
        "What follows says which modes are reached, not what they hold."
        if facts.completed and facts.proper
        else "What follows compares with the draws as they are."
        if not facts.proper
        else "What follows compares with the modes as the chains saw them."
    )
    return f"The reference cannot be trusted: {reason}. {after}"


def _symmetry(facts: Facts) -> str | None:
    if not facts.symmetries or facts.n_copies <= len(facts.modes):
        return None
    n = len(facts.modes)
    modes = "The one mode found has" if n == 1 else f"The {n} modes found have"
    label = re.fullmatch(r"labels of (.+) \((\d+)\)", facts.symmetries[0], re.DOTALL)
    if label and len(facts.symmetries) == 1 and all(m.copies == factorial(int(label[2])) for m in facts.modes):
        copies = f"{label[2]}! copies{' each' if n > 1 else ''}, the orders of `{label[1]}`"
    else:
        counted = (
            f"{facts.n_copies:.0f} copies{' in all' if n > 1 else ''}" if np.isfinite(facts.n_copies) else "copies"
        )
        copies = f"{counted}, by {listed(list(map(in_code, facts.symmetries)))}"
    what = "sign" if of_signs(facts.symmetries) else "labels"
    return f"{modes} {copies}. Covering one copy is enough unless you need the {what}."
