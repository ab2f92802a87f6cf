"""Write how an approximation fits within the modes that it reaches: how many times too narrow, and where."""

from collections.abc import Sequence

import numpy as np

from pymc_kl.numerics.judgement import CANNOT_TELL
from pymc_kl.reports.facts import FitFacts, ModeCoverage
from pymc_kl.reports.phrases import listed, measured, nats, numbered
from pymc_kl.scores.shape import ACCURATE, WELL_FITTED

MOST_TOLD = 3  # modes whose misfit is told one by one, the heaviest first; the rest are counted
WRONG_WIDTHS = ("too narrow", "too wide")
MISFITS = (*WRONG_WIDTHS, "wrong shape")


def fits_well(covers: Sequence[ModeCoverage]) -> bool:
    """Tell if the shape surely fits in all of these modes, of which there are some."""
    return bool(covers) and all(c.shape == WELL_FITTED for c in covers)


def covers_all(fit: FitFacts) -> bool:
    """Tell if a fit surely has mass and shape of every mode that matters."""
    matter = fit.that_matter()
    return all(c.verdict == "covered" for c in matter) and fits_well(matter)


def misfit(reached: Sequence[ModeCoverage], *, only: bool = False) -> str:
    """Write where a fit has the wrong shape: `is 25 times too narrow in mode 1 (along mu)`; empty if it is not.

    With `only` there is one mode, which is not named, and whose widths :func:`spread` tells.
    """
    off = sorted((c for c in reached if c.shape in MISFITS), key=lambda c: -c.mass.value)
    parts = [
        f"{how_far(c)} there{'' if c.shape in WRONG_WIDTHS else _measured(c)}"
        if only
        else f"{how_far(c)} in mode {c.mode.number}{_measured(c)}"
        for c in off[:MOST_TOLD]
    ]
    if len(off) > MOST_TOLD:
        parts.append(f"off in {len(off) - MOST_TOLD} more")
    return f"is {listed(parts)}" if parts else ""


def misses_correlation(fit: FitFacts) -> str:
    """Write which strong correlation a fit surely misses, if any, with both figures."""
    if fit.misses is None:
        return ""
    one, other = fit.misses.of
    has = f"{measured(fit.misses.fit)} where the posterior has {measured(fit.misses.posterior)}"
    where = f" in mode {fit.coverage[0].mode.number}" if len(fit.that_matter()) > 1 else ""
    return f" It misses the correlation of `{one}` and `{other}`{where} ({has})."


def not_told(reached: Sequence[ModeCoverage]) -> str:
    """Write in which modes it cannot be told whether a fit has the right shape."""
    unclear = [c for c in reached if c.shape not in (*MISFITS, WELL_FITTED)]
    if not unclear:
        return ""
    kl = unclear[0].forward_within
    within = f"in mode {unclear[0].mode.number} " * (len(unclear) > 1)
    why = f"{within}its forward KL is not known to an error"
    if np.isfinite(kl).all():
        why = f"{within}its forward KL is {nats(kl)}, and the limit of {ACCURATE:g} is within two errors"
    return f" Whether its shape fits in {numbered([c.mode.number for c in unclear])} cannot be told: {why}."


def how_far(cover: ModeCoverage) -> str:
    """Write how wide a fit is in a mode: `25 times too narrow`, or that its shape is off."""
    if cover.shape not in WRONG_WIDTHS:
        return {"wrong shape": "of the wrong shape", "": CANNOT_TELL}.get(cover.shape, cover.shape)
    times = max(cover.width.value, 1 / cover.width.value)
    return f"{times:,.2g} times {cover.shape}" if times < 100 else f"{times:,.0f} times {cover.shape}"


def _measured(cover: ModeCoverage) -> str:
    if cover.shape in WRONG_WIDTHS:
        return f" (`{cover.width_of}`, {measured(cover.width)} of the posterior's sd)"
    return f" ({nats(cover.forward_within)} of forward KL)" if np.isfinite(cover.forward_within).all() else ""


def spread(fit: FitFacts) -> str:
    """Write how standard deviations compare with the reference's; differences below two errors do not count."""
    if not fit.sd_ratios:
        return ""
    differing = {label: r for label, r in fit.sd_ratios.items() if abs(r.value - 1) > 2 * r.se}
    if not differing:
        return " Its standard deviations are the reference's, as far as their errors tell."
    ordered = sorted(fit.sd_ratios.items(), key=lambda item: item[1].value)
    (low, least), (high, most) = ordered[0], ordered[-1]
    if len(fit.sd_ratios) == 1:
        return f" Its standard deviation is {measured(least)} times the reference's."
    ends = f"{measured(least)} (`{low}`) to {measured(most)} (`{high}`)"
    return f" Its standard deviations are {ends} times the reference's."
