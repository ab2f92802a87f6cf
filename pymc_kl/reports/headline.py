"""Sum up a comparison in three figures: modes found, mass that the best fit covers, trust in the reference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pymc_kl.numerics.estimate import Estimate
from pymc_kl.reports.facts import LEAST_COUNTED_MASS, Facts, FitFacts
from pymc_kl.reports.phrases import percent
from pymc_kl.reports.trust import Trust
from pymc_kl.scores.coverage import TOO_FEW_DRAWS


@dataclass(frozen=True)
class Headline:
    """A figure in large type and what it means."""

    figure: str
    label: str


def headlines(facts: Facts, trust: Trust) -> list[Headline]:
    """Return the three figures."""
    n = len(facts.modes)
    copies = facts.n_copies
    with_copies = f", {copies:.0f} with copies" if np.isfinite(copies) and copies > n else ""
    small = n - len(facts.that_matter)
    found = f"{'mode' if n == 1 else 'modes'} found{with_copies}" + (f"; {small} of them below 1 %" if small else "")
    return [
        Headline(str(n), found),
        _best(facts),
        Headline(trust.answer, f"the reference can be trusted: {trust.why}"),
    ]


def covered_mass(facts: Facts, fit: FitFacts) -> Estimate:
    """Return the posterior mass of the modes in which a fit has enough mass, with its error."""
    covered = {c.mode.number for c in fit.coverage if c.verdict in ("covered", "over")}
    return facts.held(covered)


def _best(facts: Facts) -> Headline:
    scored = [fit for fit in facts.fits if fit.scored]
    if not scored:
        return Headline("–", "no approximation could be scored")
    if not facts.masses_known:
        return Headline("unknown", "mass that the best approximation covers, since masses are not known")
    by, loss = _yardstick(scored)
    best = max(scored, key=lambda fit: (round(covered_mass(facts, fit).value, 2), -loss(fit)))
    mass = percent(covered_mass(facts, best))
    unclear = facts.held({c.mode.number for c in best.coverage if c.verdict == TOO_FEW_DRAWS})
    rest = f"; of {percent(unclear)} errors are too large to tell" if unclear.value > LEAST_COUNTED_MASS else ""
    return Headline(mass, f"of the mass found is covered by {best.name}{by}{rest}")


def _yardstick(fits: Sequence[FitFacts]) -> tuple[str, Callable[[FitFacts], float]]:
    """Choose what fits are ranked by, with how it is told: forward KL, without log Z k-hat, or else nothing."""
    if any(np.isfinite(fit.whole("forward").value) for fit in fits):
        return ", the best here", lambda fit: _or_infinite(fit.whole("forward").value)
    if any(np.isfinite(fit.khat) for fit in fits):
        return ", the best here by k-hat, since log Z is not known", lambda fit: _or_infinite(fit.khat)
    return "; nothing tells which fit is the best", lambda _: 0.0


def _or_infinite(value: float) -> float:
    return float(value) if np.isfinite(value) else np.inf
