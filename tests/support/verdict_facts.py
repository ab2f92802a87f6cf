"""Facts as they may be, made by hand: what the rules of the verdict are tried on."""

from dataclasses import replace
from typing import Any

import numpy as np

from pymc_kl.comparison.datatree import ESTIMATES
from pymc_kl.numerics.estimate import UNKNOWN, Estimate
from pymc_kl.reports.facts import Facts, FitFacts, Mode, ModeCoverage
from pymc_kl.reports.given import Audit
from pymc_kl.scores.shape import WELL_FITTED

NAN = float("nan")
HELD = Estimate(0.3, 0.01)


def modes(*masses: float, se: float = 0.01, copies: float = 1, overlap: float = 0.8) -> tuple[Mode, ...]:
    """Modes of these masses, whose error is `se`; none for a single one."""
    error = se if len(masses) > 1 else 0.0
    return tuple(
        Mode(i + 1, Estimate(mass, min(error, mass)), min(mass + 2 * error, 1.0), copies, overlap, "")
        for i, mass in enumerate(masses)
    )


def cover(
    mode: Mode,
    mass: float,
    verdict: str,
    *,
    se: float = 0.005,
    within: float = 0.002,
    reached: float = 1,
    **shape: Any,
) -> ModeCoverage:
    """How a fit covers a mode."""
    upper = mass + 2 * se if mass else 0.0015
    shape = {"shape": WELL_FITTED, "forward_within": Estimate(within, 0.001)} | shape
    return ModeCoverage(mode, verdict, Estimate(mass, se), upper, Estimate(within, 0.001), reached, **shape)


def fit(name: str, covers: tuple[ModeCoverage, ...], **changes: Any) -> FitFacts:
    """An approximation with good scores, but for what is changed; scores go by their name."""
    scores = dict.fromkeys(ESTIMATES, UNKNOWN)
    scores |= {
        "forward_kl": Estimate(0.002, 0.001),
        "reverse_kl": Estimate(0.002, 0.001),
        "forward_kl_between": Estimate(0.0, 0.001),
        "forward_kl_within": Estimate(0.002, 0.001),
        "reverse_kl_between": Estimate(0.0, 0.001),
        "reverse_kl_within": Estimate(0.002, 0.001),
        "spill": Estimate(0.001, 0.0005),
    }
    scores |= {key: changes.pop(key) for key in list(changes) if key in scores}
    made = FitFacts(
        name=name,
        kind="reverse",
        family="meanfield",
        error="",
        note="",
        n_components=0,
        scores=scores,
        khat=0.2,
        converged="",
        bounds=(False, False),
        coverage=covers,
        elsewhere=Estimate(0.0, 0.0005),
        mean_error=None,
        sd_error=None,
        tail_error=None,
        sd_ratios={},
    )
    return replace(made, **changes)


def facts(found: tuple[Mode, ...], *fits: FitFacts, **changes: Any) -> Facts:
    """A comparison whose reference can be trusted, but for what is changed."""
    made = Facts(
        modes=found,
        fits=fits,
        audit=None,
        symmetries=(),
        masses_known=True,
        masses_reason="",
        completed=True,
        proper=True,
        partial=False,
        interrupted="",
        unseen=Estimate(0.0, 0.001),
        log_evidence=Estimate(-10.0, 0.01),
        evidence_reason="",
    )
    return replace(made, **changes)


def audit(*missed: int, mass: Estimate = HELD, **changes: Any) -> Audit:
    """An audit of draws that miss these modes."""
    made = Audit(missed=missed, missed_mass=mass, alarm=bool(missed), masses_known=not missed, reason="", mean=None)
    return replace(made, **changes)


def covering(found: tuple[Mode, ...], *, within: float = 0.002, reached: float = 1) -> tuple[ModeCoverage, ...]:
    """A fit that has every mode as the posterior has it."""
    return tuple(
        cover(m, np.nan_to_num(m.mass.value, nan=0.5), "covered", within=within, reached=reached) for m in found
    )


def missing(found: tuple[Mode, ...], *lost: int, within: float = 0.002) -> tuple[ModeCoverage, ...]:
    """A fit that has none of the modes with these numbers, and the rest by the posterior's shares."""
    kept = sum(m.mass.value for m in found if m.number not in lost) or 1.0
    return tuple(
        cover(m, 0.0, "missed") if m.number in lost else cover(m, m.mass.value / kept, "covered", within=within)
        for m in found
    )
