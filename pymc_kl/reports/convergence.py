"""Write what polishing a fit that has not converged removes and what it leaves, in figures."""

import numpy as np

from pymc_kl.reports.facts import Facts, FitFacts
from pymc_kl.reports.phrases import listed, measured, nats, numbered
from pymc_kl.reports.reach import reach, with_draws, worst_mass
from pymc_kl.reports.shape import misfit
from pymc_kl.scores.shape import ACCURATE


def not_converged(facts: Facts, fit: FitFacts) -> str | None:
    """Write that a fit has not converged: what polishing gains and leaves; what it reaches as it stands."""
    if fit.converged != "no":
        return None
    polished = facts.polished(fit)
    told = "" if polished is None else f"{_forward(fit, polished)}{_misses(fit, polished)}"
    stands = [reach(facts, fit), misfit(with_draws(fit))]
    wrong = fit.that_matter("under", "over") if facts.masses_known and not fit.that_matter("missed") else ()
    if wrong:
        worst, has = worst_mass(wrong)
        stands.insert(1, f"has {has} in mode {worst.mode.number}")
    stood = listed([part for part in stands if part])
    return f"{fit.name} has not converged: {_gains(fit, polished)}.{told} As it stands it {stood}."


def _gains(fit: FitFacts, polished: FitFacts | None) -> str:
    gap, whole = fit.scores["elbo_gap"], fit.whole("reverse")
    left = None if polished is None else polished.whole("reverse")
    if left is None or not np.isfinite([whole.value, left.value, left.se]).all():
        return f"its ELBO can still gain {nats(gap)} where it stands, and what that leaves is not known"
    out_of = f" of its {measured(whole)}" if np.isfinite(whole.se) else ""
    of = f"polishing gains {measured(gap)}{out_of} nats of reverse KL and leaves {nats(left)}"
    if left.value - 2 * left.se > ACCURATE:
        return f"{of}, which the {fit.family} family cannot mend from where it stands"
    return f"{of}; the polished fit is shown beside it"


def _forward(fit: FitFacts, polished: FitFacts) -> str:
    """Write how polishing changes the forward KL, if that is sure."""
    before, after = fit.whole("forward"), polished.whole("forward")
    if not abs(after.value - before.value) > 2 * float(np.hypot(before.se, after.se)):
        return ""
    verb = "raises" if after.value > before.value else "lowers"
    return f" It {verb} the forward KL from {measured(before)} to {nats(after)}."


def _misses(fit: FitFacts, polished: FitFacts) -> str:
    missed = [c.mode.number for c in fit.that_matter("missed")]
    if not missed or not polished.scored:
        return ""
    still = [c.mode.number for c in polished.that_matter("missed") if c.mode.number in missed]
    return f" Polished it {f'misses {numbered(still)} too' if still else f'reaches {numbered(missed)}'}."
