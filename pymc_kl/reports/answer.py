"""Write the answer in one sentence: which fit to use for what, or what to do with the draws where there is none."""

from collections.abc import Iterator, Sequence

import numpy as np

from pymc_kl.reports.facts import Facts, FitFacts
from pymc_kl.reports.importance import can_correct
from pymc_kl.reports.of_draws import RHAT_AGREES, up_to_labels, written_rhat
from pymc_kl.reports.phrases import every, listed, nats, numbered
from pymc_kl.reports.reach import with_draws
from pymc_kl.reports.sentence import Sentence
from pymc_kl.reports.shape import covers_all
from pymc_kl.reports.uses import USES, multimodal


def answer(facts: Facts) -> Iterator[Sentence]:
    """Answer by the first fit, which is the recommended one; nothing where the masses of the modes are not known."""
    if not facts.masses_known:
        return
    scored = [fit for fit in facts.fits if fit.scored]
    if scored:
        yield Sentence("", "answer", 0, f"{_of_fits(facts, scored[0])}{_as_well(scored)}")
    elif facts.audit is not None and not facts.fits:
        yield Sentence("", "answer", 0, _of_draws(facts))


def recommended(facts: Facts) -> FitFacts | None:
    """Return the first fit that was scored."""
    return next((fit for fit in facts.fits if fit.scored), None)


def _of_fits(facts: Facts, best: FitFacts) -> str:
    n = len(facts.that_matter), len(facts.modes)
    if covers_all(best):
        after = ", and importance sampling corrects it to draws of the posterior" if can_correct(best) == "yes" else ""
        return f"Use {best.name}: it covers {every(*n)}{after}."
    verb = "is sure to match" if len(with_draws(best)) == n[0] else "reaches"
    forward = best.whole("forward")
    by = f" (forward KL {nats(forward)})" if np.isfinite(forward).all() else ""
    what = " in mass and shape" if verb != "reaches" else ""
    return f"No fit {verb} {every(*n)}{what}. {_good_for(facts, best, by)}"


def _as_well(scored: Sequence[FitFacts]) -> str:
    """Name the other fits that cover every mode, if the first does."""
    if not covers_all(scored[0]):
        return ""
    others = [fit.name for fit in scored[1:] if covers_all(fit)]
    them = "it" if len(scored[0].that_matter()) == 1 else "them"
    return f" Others that cover {them}: {listed(others)}." if others else ""


def _good_for(facts: Facts, fit: FitFacts, by: str) -> str:
    several = len(facts.that_matter) > 1
    rules = {use: rule for use, rule in USES.items() if several or rule is not multimodal}
    good = [use for use, rule in rules.items() if rule(facts, fit).answer == "yes"]
    if not good:
        return f"Use the reference's draws: for no use is {fit.name}, the first in rank{by}, sure to do."
    return f"Take {fit.name}{by} for {listed(good)}; for the rest use the reference's draws."


def _of_draws(facts: Facts) -> str:
    audit = facts.audit
    if audit is None or audit.refusals:
        return "Use the reference's draws, not yours."
    if audit.missed and audit.alarm:
        return f"Use the reference's draws, which have {numbered(audit.missed)}; yours do not."
    if audit.worst is None:
        return "Your draws hold every mode found."
    if up_to_labels(audit):
        return (
            "Your draws are good, but for labels or signs: their R-hat is high because copies of a mode are mixed up."
        )
    if audit.worst.rhat > RHAT_AGREES:
        return "Use the reference's draws, which have each mode by its mass; your chains do not agree."
    return (
        f"Your draws hold every mode found, and their chains agree (R-hat at worst {written_rhat(audit.worst.rhat)})."
    )
