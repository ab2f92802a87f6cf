"""Write the answer in one sentence: which fit to use for what, or what to do with the draws where there is none."""

from collections.abc import Iterator, Sequence

from pymc_kl.reports.facts import Facts, FitFacts
from pymc_kl.reports.importance import can_correct
from pymc_kl.reports.of_draws import RHAT_AGREES, RHAT_NEARLY, up_to_labels, written_rhat
from pymc_kl.reports.phrases import every, listed, numbered
from pymc_kl.reports.reach import with_draws
from pymc_kl.reports.sentence import Sentence
from pymc_kl.reports.shape import covers_all
from pymc_kl.reports.uses import USES, importance, multimodal


def answer(facts: Facts) -> Iterator[Sentence]:
    """Answer by the first fit, which is the recommended one; nothing where the masses of the modes are not known."""
    if not facts.masses_known:
        return
    scored = [fit for fit in facts.fits if fit.scored]
    if scored:
        yield Sentence("", "answer", 0, _of_fits(facts, scored))
    elif facts.audit is not None and not facts.fits:
        yield Sentence("", "answer", 0, _of_draws(facts))


def recommended(facts: Facts) -> FitFacts | None:
    """Return the first fit that was scored."""
    return next((fit for fit in facts.fits if fit.scored), None)


def _of_fits(facts: Facts, scored: Sequence[FitFacts]) -> str:
    best, *others = scored
    n, good = (len(facts.that_matter), len(facts.modes)), _good_for(facts, best)
    if covers_all(best):
        as_well = [fit.name for fit in others if covers_all(fit)]
        use = f"any of {listed([best.name, *as_well])}: each" if as_well else f"{best.name}: it"
        it, one = ("the first", "The first") if as_well else ("it", "It")
        after = f", and importance sampling corrects {it} to draws of the posterior" * (can_correct(best) == "yes")
        as_it_is = f" {one} does, as it is, for {listed(good)}." if good else ""
        return f"Use {use} covers {every(*n)}{after}.{as_it_is}"
    lack = "reaches" if len(with_draws(best)) < n[0] else "is sure to have the mass and shape of"
    does = f" {best.name}, the first in rank, does for {listed(good)}." if good else ""
    return f"Use the reference's draws: no fit {lack} {every(*n)}.{does}"


def _good_for(facts: Facts, fit: FitFacts) -> list[str]:
    """List what a fit is sure to do for; that it has the modes' masses, or corrects to them, is said otherwise."""
    told = {multimodal, *((importance,) if covers_all(fit) else ())}
    return [use for use, rule in USES.items() if rule not in told and rule(facts, fit).answer == "yes"]


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
    if audit.worst.rhat > RHAT_NEARLY or (audit.worst.rhat > RHAT_AGREES and len(facts.that_matter) > 1):
        return "Use the reference's draws, which have each mode by its mass; your chains do not agree."
    agree = "agree" if audit.worst.rhat <= RHAT_AGREES else "nearly agree"
    return (
        f"Your draws hold every mode found, and their chains {agree} (R-hat at worst {written_rhat(audit.worst.rhat)})."
    )
