"""Write which modes an approximation reaches and which it misses, with the mass that they hold."""

from collections.abc import Sequence

from pymc_kl.reports.facts import Facts, FitFacts, ModeCoverage
from pymc_kl.reports.phrases import every, numbered, percent
from pymc_kl.scores.coverage import MISSED_BELOW, TOO_FEW_DRAWS

FAR_SHARE = 0.9  # probability of a fit in no mode from which on it is said to lie far from all; our choice
HANDFUL = 0.15  # standard error of a mass above which it is that of a handful of draws or chains; our choice


def reach(facts: Facts, fit: FitFacts) -> str:
    """Write what a fit reaches and misses: `reaches mode 1 (…) and misses mode 2 (…)`."""
    reached, n = with_draws(fit), (len(facts.that_matter), len(facts.modes))
    empty = [c for c in fit.that_matter() if c.verdict != "missed" and c not in reached]
    groups = {"reaches": reached, "has no draw in": empty, "misses": fit.that_matter("missed")}
    parts = [f"{verb} {every(*n) if n[0] == 1 else _named(facts, g)}" for verb, g in groups.items() if g]
    text = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    if reached:
        return text
    far = f" and lies far from {'it' if n[1] == 1 else 'every mode found'}" if fit.elsewhere.value > FAR_SHARE else ""
    return f"{text}{far}"


def with_draws(fit: FitFacts) -> list[ModeCoverage]:
    """List the modes that matter where a fit has draws and that it does not miss."""
    return [c for c in fit.that_matter() if c.verdict != "missed" and c.mass.value != 0]


def perhaps_missed(fit: FitFacts) -> list[ModeCoverage]:
    """List the modes that matter of which a fit has so few draws that it may miss them."""
    unclear = fit.that_matter(TOO_FEW_DRAWS)
    return [
        c for c in unclear if c.mass.se > HANDFUL or not c.mass.value - 2 * c.mass.se > MISSED_BELOW * c.mode.mass.value
    ]


def not_weighed(fit: FitFacts) -> list[ModeCoverage]:
    """List the modes that matter which a fit reaches, though whether it has their mass cannot be told."""
    missing = perhaps_missed(fit)
    return [c for c in fit.that_matter(TOO_FEW_DRAWS) if c not in missing]


def worst_mass(wrong: Sequence[ModeCoverage]) -> tuple[ModeCoverage, str]:
    """Return the mode whose mass is furthest off, with `40 % ± 1 % where the posterior has 70 % ± 1 %`."""
    worst = max(wrong, key=lambda c: (round(abs(c.mass.value - c.mode.mass.value), 9), c.mode.mass.value))
    held = percent(worst.mode.mass, worst.mode.upper, lower=worst.mode.lower)
    return worst, f"{percent(worst.mass, worst.upper, lower=worst.lower)} where the posterior has {held}"


def _named(facts: Facts, covers: Sequence[ModeCoverage]) -> str:
    """Name modes, with the mass that they have together."""
    numbers = [c.mode.number for c in covers]
    mass = f" ({percent(facts.held(numbers))} of the posterior)" if facts.masses_known else ""
    return f"{numbered(numbers)}{mass}"
