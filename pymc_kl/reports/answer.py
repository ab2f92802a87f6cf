"""Write the answer: which fit to use for what, and for what not, or whose draws to use."""

from collections.abc import Iterator, Sequence

from pymc_kl.numerics.judgement import CANNOT_TELL
from pymc_kl.reports.facts import Facts, FitFacts
from pymc_kl.reports.importance import can_correct
from pymc_kl.reports.of_draws import are_fine, free, up_to_labels
from pymc_kl.reports.phrases import every, listed
from pymc_kl.reports.reach import with_draws
from pymc_kl.reports.sentence import Sentence
from pymc_kl.reports.shape import covers_all
from pymc_kl.reports.uses import USES, UseRule, importance, multimodal


def answer(facts: Facts) -> Iterator[Sentence]:
    """Answer by the first fit, which is the recommended one; nothing where the masses of the modes are not known."""
    if not facts.masses_known:
        return
    scored = [fit for fit in facts.fits if fit.scored]
    if scored:
        yield Sentence("", "answer", 0, _of_fits(facts, scored))
    elif facts.audit is not None and not facts.fits:
        yield Sentence("", "answer", 0, f"Use {_draws_to_use(facts)}.")


def recommended(facts: Facts) -> FitFacts | None:
    """Return the first fit that was scored."""
    return next((fit for fit in facts.fits if fit.scored), None)


def _of_fits(facts: Facts, scored: Sequence[FitFacts]) -> str:
    best, *others = scored
    n = (len(facts.that_matter), len(facts.modes))
    if covers_all(best):
        as_well = [fit.name for fit in others if covers_all(fit)]
        use = f"{listed([best.name, *as_well], last='or')}: {'each' if as_well else 'it'}"
        it = best.name if as_well else "it"
        after = f", and importance sampling corrects {it} to draws of the posterior" * (can_correct(best) == "yes")
        return f"Use {use} covers {every(*n)}{after}.{_what_for(facts, best, best.name if as_well else 'As it is, it')}"
    lack = "reaches" if len(with_draws(best)) < n[0] else "is sure to have the mass and shape of"
    does = _what_for(facts, best, f"{best.name}, the first in rank,")
    return f"Use {_draws_to_use(facts)}: no fit {lack} {every(*n)}.{does}"


def _what_for(facts: Facts, fit: FitFacts, name: str) -> str:
    """Write what a fit does for, what not and what cannot be told; what the answer says otherwise is left out."""
    covers = covers_all(fit)
    told: dict[UseRule, bool] = {
        multimodal: covers or len(facts.that_matter) == 1,
        importance: covers and can_correct(fit) == "yes",
    }
    answers = {use: rule(facts, fit).answer for use, rule in USES.items() if not told.get(rule)}
    good, bad, unclear = ([use for use in answers if answers[use] == said] for said in ("yes", "no", CANNOT_TELL))
    if not good:
        return ""
    others = f", not for {listed(bad, last='or')}" if bad else ""
    unsure = f"; cannot tell for {listed(unclear, last='or')}" if unclear else ""
    return f" {name} does for {listed(good)}{others}{unsure}."


def _draws_to_use(facts: Facts) -> str:
    """Name the user's draws where they are fine, else the reference's, with where these are and what they hold."""
    if not facts.completed:
        return "your draws"
    what = ", ".join(
        ["every mode found by its mass"] * (len(facts.modes) > 1) + ["copies in equal shares"] * bool(facts.symmetries)
    )
    where = f'(`comparison["posterior"]`{what and f": {what}"})'
    if facts.audit is None or not are_fine(facts):
        return f"the reference's draws {where}"
    if up_to_labels(facts.audit):
        return f"your draws for what {free(facts)} do not change, else the reference's {where}"
    return "your draws"
