"""Write what is to be said of an approximation: the first of the rules whose condition holds, worst news first.

A rule returns its sentence, or None where its condition does not hold.
"""

from collections.abc import Callable

import numpy as np

from pymc_kl.numerics.judgement import CANNOT_TELL
from pymc_kl.reports.convergence import not_converged
from pymc_kl.reports.facts import Facts, FitFacts
from pymc_kl.reports.importance import correctable
from pymc_kl.reports.phrases import counted, every, listed, nats, numbered, percent
from pymc_kl.reports.reach import not_weighed, perhaps_missed, reach, with_draws, worst_mass
from pymc_kl.reports.sentence import Sentence
from pymc_kl.reports.shape import covers_all, fits_well, misfit, misses_correlation, not_told, spread
from pymc_kl.reports.uses import SPILLS, means, tails
from pymc_kl.scores.own_density import NOT_ITS_DENSITY

CLOSE_PERCENT = 10  # per cent of the posterior up to which a difference of masses is given as a bound
AT_OPTIMUM = "an optimum of its family: more steps will not mend that; another start or a larger family may"
GAUSSIAN = {"meanfield": "means and variances", "fullrank": "mean and covariance"}

type FitRule = Callable[[Facts, FitFacts], str | None]


def of_fit(facts: Facts, fit: FitFacts) -> Sentence:
    """Return the sentence of the first rule whose condition holds."""
    for severity, (rule, function) in enumerate(FIT_RULES.items()):
        if (text := function(facts, fit)) is not None:
            if not facts.masses_known and rule not in ("failed", "no scores"):
                text = f"Against this reference: {text}"
            text += _perhaps_converged(fit)
            return Sentence(fit.name, rule, severity, text)
    raise AssertionError("the last rule holds always")  # pragma: no cover


def _perhaps_converged(fit: FitFacts) -> str:
    if fit.converged != CANNOT_TELL:
        return ""
    return f" Whether it has converged cannot be told: its ELBO may gain {nats(fit.scores['elbo_gap'])}."


def _failed(_facts: Facts, fit: FitFacts) -> str | None:
    return f"{fit.name} failed and has no scores: {fit.error}" if fit.error and not fit.scored else None


def _no_scores(_facts: Facts, fit: FitFacts) -> str | None:
    return None if fit.scored else f"{fit.name} has no scores, so nothing can be said of it."


def _not_its_density(facts: Facts, fit: FitFacts) -> str | None:
    if NOT_ITS_DENSITY not in fit.error:
        return None
    reached = "has too few draws to say more" if perhaps_missed(fit) else reach(facts, fit)
    return (
        f"{fit.name} is refused as a density, and scores that need one are left out ({fit.error}). As draws alone it "
        f"{reached}."
    )


def _too_few_draws(_facts: Facts, fit: FitFacts) -> str | None:
    unclear = perhaps_missed(fit)
    if not unclear:
        return None
    them = f"{numbered([c.mode.number for c in unclear])} or misses {'it' if len(unclear) == 1 else 'them'}"
    return f"{fit.name} has too few draws to tell whether it covers {them}; its other scores have errors as large."


def _misses(facts: Facts, fit: FitFacts) -> str | None:
    reached = with_draws(fit)
    if len(reached) == len(fit.that_matter()):
        return None
    text = f"{fit.name} {reach(facts, fit)}."
    if not reached:
        return f"{text} Use it for nothing."
    where = numbered([c.mode.number for c in reached])
    if off := misfit(reached):
        return f"{text} It {off}: neither its means nor its intervals are those of the posterior."
    if not fits_well(reached):
        return f"{text}{not_told(reached)} Its means and intervals are not those of the whole posterior."
    return f"{text} It fits well there: use it for {where}, not for means or intervals of the whole."


def _spills(facts: Facts, fit: FitFacts) -> str | None:
    spill = fit.scores["spill"]
    if not spill.value - 2 * spill.se > SPILLS or fit.kind == "draws":
        return None
    reached = f"{fit.name} reaches {_every(facts)}"
    where = f"{percent(spill)} of its mass spills where the posterior has almost none (0.1 %)"
    if fit.kind == "forward" and fit.family in GAUSSIAN:
        moments = f"{GAUSSIAN[fit.family]} of the unconstrained parameters"
        use = "use these moments, not its draws"
        if any(mode.copies > 1 for mode in facts.modes):
            moments, use = f"{moments} over all copies", "neither they nor its draws are those of a copy"
        return f"{reached} and matches the {moments}, but {where}: {use}.{misses_correlation(fit)}"
    if _at_optimum(fit):
        best = _best_forward(facts, fit)
        return f"{reached}, but {where}. It stands at {AT_OPTIMUM}.{best}"
    return f"{reached}, but {where}.{correctable(fit)}"


def _at_optimum(fit: FitFacts) -> bool:
    """Tell if a reverse-KL fit stands at an optimum of its family, for all that was checked."""
    return fit.kind == "reverse" and (fit.converged == "yes" or (fit.is_polished and not fit.converged))


def _best_forward(facts: Facts, fit: FitFacts) -> str:
    same = [f for f in facts.fits if f.kind == "forward" and f.family == fit.family and f.scored]
    known = [f.scores["forward_kl"] for f in same if np.isfinite(f.scores["forward_kl"].value)]
    return f" The best forward fit of that family has forward KL {nats(known[0])}." if known else ""


def _weighs_wrongly(facts: Facts, fit: FitFacts) -> str | None:
    wrong = fit.that_matter("under", "over")
    if not wrong or not facts.masses_known:
        return None
    worst, has = worst_mass(wrong)
    if len(facts.that_matter) == 1:
        return f"{fit.name} reaches mode {worst.mode.number} but holds only {has}.{_its_misfit(fit)}{correctable(fit)}"
    rest = f" Off as well: {numbered([c.mode.number for c in wrong if c is not worst])}." if len(wrong) > 1 else ""
    return (
        f"{fit.name} reaches {_every(facts)} but weighs them wrongly: mode {worst.mode.number} has {has}.{rest}"
        f"{_its_misfit(fit)}{correctable(fit)}"
    )


def _draws_only(facts: Facts, fit: FitFacts) -> str | None:
    if fit.kind != "draws":
        return None
    return (
        f"{fit.name} gives draws without a density: coverage is shown, divergences are not defined. "
        f"It reaches {_every(facts)}."
    )


def _one_mode(facts: Facts, fit: FitFacts) -> str | None:
    if len(facts.that_matter) != 1 or len(facts.modes) != 1:
        return None
    reached = fit.that_matter()
    off = misfit(reached, only=True)
    what = f" but {off}" if off else _divergence(fit)
    verb = "covers" if covers_all(fit) else "reaches"
    unclear = "" if off or covers_all(fit) else not_told(reached)
    return (
        f"{fit.name} {verb} the one mode found{what}.{unclear}{spread(fit)}{misses_correlation(fit)}"
        f"{_right_for(facts, fit)}{correctable(fit)}"
    )


def _right_for(facts: Facts, fit: FitFacts) -> str:
    """Write that a fit of the wrong shape has the right means, where that is sure, and the wrong intervals."""
    error = fit.mean_error
    if error is None or covers_all(fit) or means(facts, fit).answer != "yes":
        return ""
    wrong = ", wrong for intervals" if tails(facts, fit).answer == "no" else ""
    of = f" of {listed([f'`{name}`' for name in facts.asked])}" if facts.asked else ""
    return f" Right for means{of} (off by {abs(error.by.value):.2f} ± {error.by.se:.2f} sd at worst){wrong}."


def _its_misfit(fit: FitFacts) -> str:
    """Write where the shape of a fit is off, and that it is an optimum's, if it is one."""
    off = misfit(with_draws(fit))
    if not off:
        return not_told(with_draws(fit))
    lost = misses_correlation(fit)
    return f" It {off}, though it stands at {AT_OPTIMUM}.{lost}" if _at_optimum(fit) else f" It {off}.{lost}"


def _covers(facts: Facts, fit: FitFacts) -> str | None:
    """Write that every mode is covered, or, where masses are not known, that every mode is reached."""
    components = f" ({counted(fit.n_components, 'component', 'components')})" if fit.n_components else ""
    if not facts.masses_known:
        return f"{fit.name}{components} reaches {_every(facts)}.{correctable(fit)}"
    off = [
        abs(c.mass.value - c.mode.mass.value) + 2 * float(np.hypot(c.mass.se, c.mode.mass.se))
        for c in fit.that_matter()
    ]
    worst = np.ceil(100 * max(off, default=0.0))
    masses = f", masses within {worst:.0f} %" if worst <= CLOSE_PERCENT and len(off) > 1 else ""
    verb = "covers" if covers_all(fit) else "reaches"
    text = f"{fit.name}{components} {verb} {_every(facts)}{_copies(fit)}{masses}{_divergence(fit)}."
    return text + _mass_not_told(fit) + _its_misfit(fit) + correctable(fit)


def _mass_not_told(fit: FitFacts) -> str:
    """Write of which modes the errors are too large to tell whether a fit has their mass."""
    unclear = not_weighed(fit)
    if not unclear:
        return ""
    has = "has its mass" if len(unclear) == 1 else "have their masses"
    them = numbered([c.mode.number for c in unclear])
    return f" Errors are too large to tell whether {them} {has} within a fifth."


def _copies(fit: FitFacts) -> str:
    """Write how many copies of the heaviest mode a fit reaches, if not all."""
    first = fit.that_matter()[0] if fit.that_matter() else None
    if first is None or first.mode.copies == 1 or not first.copies_reached < first.mode.copies:
        return ""
    return f" in {first.copies_reached:.0f} of its {first.mode.copies:.0f} copies"


def _every(facts: Facts) -> str:
    return every(len(facts.that_matter), len(facts.modes))


def _divergence(fit: FitFacts) -> str:
    """Write the forward KL, if it has an error."""
    forward = fit.whole("forward")
    if not np.isfinite(forward).all():
        return ""
    up_to = " up to relabelling" if np.isfinite(fit.scores["forward_kl_relabelled"].value) else ""
    return f", forward KL {nats(forward)}{up_to}"


FIT_RULES: dict[str, FitRule] = {
    "failed": _failed,
    "no scores": _no_scores,
    "not its density": _not_its_density,
    "too few draws": _too_few_draws,
    "not converged": not_converged,
    "misses modes": _misses,
    "draws only": _draws_only,
    "spills": _spills,
    "weighs wrongly": _weighs_wrongly,
    "one mode": _one_mode,
    "covers": _covers,
}
