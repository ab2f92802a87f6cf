"""Sum up a comparison in three figures: the user's draws, the reference, and the fit to use."""

from dataclasses import dataclass, replace

from pymc_kl.numerics.estimate import Estimate
from pymc_kl.numerics.judgement import CANNOT_TELL
from pymc_kl.reports.answer import recommended
from pymc_kl.reports.facts import Facts, FitFacts
from pymc_kl.reports.given import Audit
from pymc_kl.reports.of_draws import free, up_to_labels, whether_agree, written_rhat
from pymc_kl.reports.phrases import counted, percent
from pymc_kl.reports.reach import with_draws
from pymc_kl.reports.shape import covers_all, how_far
from pymc_kl.reports.trust import Trust, capital

WHAT_IT_IS = {  # families of normals, on the unconstrained parameters, in a modeller's words
    "meanfield": "a normal without correlations",
    "fullrank": "a normal with correlations",
    "lowrank": "a normal with few correlations",
    "mixture": "a mixture of {} normals",
}
HOW_IT_WAS_MADE = {"forward": " fitted to the reference", "reverse": " fitted by its ELBO"}


@dataclass(frozen=True)
class Headline:
    """A figure in large type, what it is of and what it means."""

    about: str
    figure: str
    label: str


def headlines(facts: Facts, trust: Trust) -> list[Headline]:
    """Return the three figures."""
    figures = (_draws(facts), _reference(facts, trust), _fit(facts))
    return [replace(headline, label=capital(headline.label)) for headline in figures]


def _draws(facts: Facts) -> Headline:
    audit, n = facts.audit, len(facts.that_matter)
    if audit is None:
        return Headline("Your draws", "none", "none were given")
    held = sum(mode.number not in audit.missed for mode in facts.that_matter)
    mass = Estimate(1 - audit.missed_mass.value, audit.missed_mass.se)
    share = f"{percent(mass)} of the mass found; " if audit.missed and facts.masses_known else ""
    figure, about, found = f"{held} of {counted(n, 'mode', 'modes')}", "Your draws hold", ""
    if n < len(facts.modes):
        about, found = f"{about}, of modes over 1 %", f"{len(facts.modes)} modes were found; "
    return Headline(about, figure, f"{found}{share}{_agreement(facts, audit)}")


def _agreement(facts: Facts, audit: Audit) -> str:
    """Write the largest R-hat, and what it says of the chains."""
    if audit.worst is None:
        return "whether chains agree is not known"
    if up_to_labels(audit):
        return (
            f"chains agree apart from {free(facts)}: relabelled, R-hat is {written_rhat(audit.worst.rhat_relabelled)}"
        )
    return (
        f"chains {whether_agree(audit.worst)} (R-hat at worst {written_rhat(audit.worst.rhat)}, `{audit.worst.label}`)"
    )


def _reference(facts: Facts, trust: Trust) -> Headline:
    what = "draws of every mode found, weighted by its mass" if facts.completed else "your draws as they are"
    return Headline("Can the reference be trusted?", trust.answer, f"{trust.why}. The reference is {what}")


def _fit(facts: Facts) -> Headline:
    best = recommended(facts)
    about = "A fit to take" if best is None or covers_all(best) else "The first of the fits"
    if best is None:
        return Headline(about, "–", "none could be scored" if facts.fits else "none was compared")
    mass = f"reaches {percent(reached_mass(facts, best))} of the mass found; " if facts.masses_known else ""
    shape = "mass and shape fit" if covers_all(best) else _shape(best)
    return Headline(about, best.name, f"{_what(best)}{mass}{shape}")


def _what(fit: FitFacts) -> str:
    """Write what a fit is and how it was made, where that is known."""
    what = WHAT_IT_IS.get(fit.family, "").format(fit.n_components or "several")
    what = "one normal with correlations" if fit.family == "mixture" and fit.n_components == 1 else what
    return what and f"{what}{HOW_IT_WAS_MADE.get(fit.kind, '')}; "


def _shape(fit: FitFacts) -> str:
    said = [told for told in dict.fromkeys(how_far(c) for c in with_draws(fit)) if told != CANNOT_TELL]
    if said:
        return f"it is {', '.join(said)} within modes"
    return "errors are too large to tell whether mass and shape fit" if with_draws(fit) else "it reaches no mode"


def reached_mass(facts: Facts, fit: FitFacts) -> Estimate:
    """Return the posterior mass of the modes that a fit reaches, with its error."""
    return facts.held({c.mode.number for c in with_draws(fit)})
