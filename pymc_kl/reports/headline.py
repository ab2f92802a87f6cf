"""Sum up a comparison in three figures: the user's draws, the reference, and the fit to use."""

from dataclasses import dataclass

from pymc_kl.numerics.estimate import Estimate
from pymc_kl.reports.answer import recommended
from pymc_kl.reports.facts import Facts, FitFacts
from pymc_kl.reports.phrases import counted, percent
from pymc_kl.reports.reach import with_draws
from pymc_kl.reports.shape import covers_all, how_far
from pymc_kl.reports.trust import Trust


@dataclass(frozen=True)
class Headline:
    """A figure in large type and what it means."""

    figure: str
    label: str


def headlines(facts: Facts, trust: Trust) -> list[Headline]:
    """Return the three figures."""
    return [_draws(facts), _reference(facts, trust), _fit(facts)]


def _draws(facts: Facts) -> Headline:
    audit, n = facts.audit, len(facts.that_matter)
    if audit is None:
        return Headline("none", "your draws: none were given")
    held = sum(mode.number not in audit.missed for mode in facts.that_matter)
    mass = Estimate(1 - audit.missed_mass.value, audit.missed_mass.se)
    share = f", {percent(mass)} of the mass" if audit.missed and facts.masses_known else ""
    rhat = "" if audit.worst is None else f"; R-hat at worst {audit.worst.rhat:.2f} (`{audit.worst.label}`)"
    return Headline(f"{held} of {n}", f"your draws: the modes of at least 1 % that they hold{share}{rhat}")


def _reference(facts: Facts, trust: Trust) -> Headline:
    n, copies = len(facts.modes), facts.n_copies
    found = counted(n, "mode", "modes") + (f", {copies:.0f} with copies" if copies > n else "")
    what = "draws of every mode found, weighted by its mass" if facts.completed else "your draws as they are"
    return Headline(trust.answer, f"can the reference be trusted? It is {what} ({found}): {trust.why}")


def _fit(facts: Facts) -> Headline:
    best = recommended(facts)
    if best is None:
        return Headline("–", "no approximation could be scored" if facts.fits else "no approximation was compared")
    mass = f": it reaches {percent(reached_mass(facts, best))} of the mass" if facts.masses_known else ""
    shape = "mass and shape fit" if covers_all(best) else _shape(best)
    return Headline(best.name, f"the fit to take{mass}; {shape}")


def _shape(fit: FitFacts) -> str:
    said = dict.fromkeys(how_far(c) for c in with_draws(fit))
    return f"shape within modes: {', '.join(said)}" if said else "it reaches no mode"


def reached_mass(facts: Facts, fit: FitFacts) -> Estimate:
    """Return the posterior mass of the modes that a fit reaches, with its error."""
    return facts.held({c.mode.number for c in with_draws(fit)})
