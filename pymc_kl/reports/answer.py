"""Write the answer: which fit or whose draws to use, why that fit is the first, and what it can be used for."""

from collections.abc import Iterator, Sequence

import numpy as np

from pymc_kl.numerics.estimate import Estimate
from pymc_kl.numerics.judgement import at_most
from pymc_kl.reports.facts import Facts, FitFacts
from pymc_kl.reports.importance import can_correct, written_khat
from pymc_kl.reports.of_draws import are_fine, free, up_to_labels
from pymc_kl.reports.phrases import every, listed, nats, numbered, opened
from pymc_kl.reports.reach import perhaps_missed, reach, with_draws
from pymc_kl.reports.sentence import Sentence
from pymc_kl.reports.shape import MISFITS, covers_all, how_far
from pymc_kl.reports.uses import MOMENT_USES, judged_uses, of_asked

MOST_FAULTS = 2  # faults of a fit that the answer names


def answer(facts: Facts) -> Iterator[Sentence]:
    """Answer by the first fit, which is the recommended one; nothing where the masses of the modes are not known."""
    if not facts.masses_known:
        return
    scored = [fit for fit in facts.fits if fit.scored]
    if scored:
        faults = {fit.name: text for fit in scored if (text := _fault(facts, fit))}
        last = f" {opened('; '.join(faults.values()), next(iter(faults)))}." if faults else ""
        yield Sentence("", "answer", 0, f"{_of_fits(facts, scored)}{last}")
        if with_draws(scored[0]):
            if len(scored) > 1 and not perhaps_missed(scored[0]):
                yield Sentence(scored[0].name, "first", 0, _why_first(facts, *scored))
            yield Sentence(scored[0].name, "uses", 0, _uses(facts, scored[0]))
    elif facts.audit is not None and not facts.fits:
        yield Sentence("", "answer", 0, f"Use {_draws_to_use(facts)}.")


def recommended(facts: Facts) -> FitFacts | None:
    """Return the first fit that was scored."""
    return next((fit for fit in facts.fits if fit.scored), None)


def _of_fits(facts: Facts, scored: Sequence[FitFacts]) -> str:
    best, *others = scored
    n = (len(facts.that_matter), len(facts.modes))
    if not covers_all(best):
        lack = "reaches" if len(with_draws(best)) < n[0] else "surely matches"
        return f"Use {_draws_to_use(facts)}. No fit {lack} {every(*n)}."
    as_well = [fit.name for fit in others if covers_all(fit) and not _wrong_for(facts, fit)]
    use = f"{listed([best.name, *as_well], last='or')}: {'each' if as_well else 'it'} covers {every(*n)}"
    it = best.name if as_well else "it"
    after = f", and importance sampling corrects {it} to draws of the posterior" * (can_correct(best) == "yes")
    return f"Use {f'{_draws_to_use(facts)}; as a fit, use ' * are_fine(facts)}{use}{after}."


def _fault(facts: Facts, fit: FitFacts) -> str:
    """Write what is surely wrong with a fit such as ADVI, in short; empty for forward fits and polished ones."""
    if fit.kind != "reverse" or fit.is_polished:
        return ""
    reached, n = with_draws(fit), (len(facts.that_matter), len(facts.modes))
    missed, wrong = ([c.mode.number for c in fit.that_matter(*said)] for said in (("missed",), ("under", "over")))
    off = next((c for c in reached if c.shape in MISFITS), None)
    faults = ["has not converged"] if fit.converged == "no" else []
    faults += [f"misses {every(*n) if n[0] == 1 else numbered(missed)}"] if missed else []
    faults += [f"is {how_far(off)}{f' in mode {off.mode.number}' if n[0] > 1 else ''}"] if off else []
    faults += [f"misses the correlation of `{'` and `'.join(fit.misses.of)}`"] if off and fit.misses else []
    faults += [f"has the wrong mass in {numbered(wrong)}"] if wrong and not missed else []
    faults = faults or _wrong_for(facts, fit)
    return f"{fit.name} {listed(faults[:MOST_FAULTS])}" if faults else ""


def _wrong_for(facts: Facts, fit: FitFacts) -> list[str]:
    """Write what a fit is surely wrong for, the first alone: it may cover a mode and be off in a mean."""
    judged = {use: rule(facts, fit) for use, rule in MOMENT_USES.items()}
    return [f"is wrong for {use}: {told.why}" for use, told in judged.items() if told.answer == "no"][:1]


def _why_first(facts: Facts, best: FitFacts, *others: FitFacts) -> str:
    """Write by which figure a fit is the first: by what it reaches, then by forward KL, or k-hat without log Z.

    The others that reach as much and are within two errors of it are named: it is the lowest only where there are none.
    """
    missed = round(best.scores["missed_mass"].value, 2)
    rivals = [fit for fit in others if not round(fit.scores["missed_mass"].value, 2) > missed]
    n = (len(facts.that_matter), len(facts.modes))
    reached = f"reaches {every(*n)}" if len(with_draws(best)) == n[0] else reach(facts, best)
    text = f"{'Of the fits, ' * draws_are_better(facts, best)}{best.name} comes first: it {reached}"
    if not rivals:
        return f"{text}, and every other fit misses more."
    forward = not np.isnan(best.whole("forward").value)
    figures = [fit.whole("forward") if forward else Estimate(fit.khat, fit.khat_se) for fit in (best, *rivals)]
    if np.isnan(figures[0].value):
        return f"{text}; no figure tells it from those that reach as much."
    up_to = " up to relabelling" * bool(np.isfinite(best.scores["forward_kl_relabelled"].value))
    shown = f"forward KL, {nats(figures[0])}{up_to}," if forward else f"{written_khat(best)}"
    close = [fit.name for fit, figure in zip(rivals, figures[1:], strict=True) if not _is_less(figures[0], figure)]
    if close:
        return f"{text}, and its {shown} is within two errors of that of {listed(close)}."
    return f"{text}, and its {shown} is the lowest{' of those that do' * (len(rivals) < len(others))}."


def _is_less(one: Estimate, other: Estimate) -> bool:
    """Tell if a figure is surely below another; NaN, which is not known, is no less and ranks last."""
    if np.isnan(other.value):
        return True
    return at_most(Estimate(one.value - other.value, float(np.hypot(one.se, other.se))), 0.0) == "yes"


def _uses(facts: Facts, fit: FitFacts) -> str:
    """Write what a fit can be used for as a list, a line a use, always in the same order."""
    rows = [f"  {judged.answer:<11}  {use}: {judged.why}" for use, judged in judged_uses(facts, fit).items()]
    return "\n".join([f"{lead_of_uses(facts, fit.name)}{of_asked(facts)}:", *rows])


def lead_of_uses(facts: Facts, name: str) -> str:
    """Write whose uses follow: those of a fit, which stands in for draws where these are what the answer names."""
    best = recommended(facts)
    instead = best is not None and draws_are_better(facts, best)
    return f"What {name} can be used for{' in place of these draws' * instead}"


def draws_are_better(facts: Facts, best: FitFacts) -> bool:
    """Tell if the answer is to use draws: they are fine, or no fit covers every mode."""
    return are_fine(facts) or not covers_all(best)


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
