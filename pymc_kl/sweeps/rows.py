"""What a sweep keeps of each cell: the rows of its table."""

from typing import Any

import xarray as xr

from pymc_kl.reports.facts import FitFacts, read_facts
from pymc_kl.reports.phrases import counted
from pymc_kl.reports.shape import covers_all

ESTIMATES_KEPT = ("forward_kl", "reverse_kl", "missed_mass")


def cell_facts(comparison: xr.DataTree) -> dict[str, Any]:
    """Read how many modes were found and log Z, and for each fit what it covers, both divergences and missed mass."""
    facts = read_facts(comparison)
    log_evidence, se = facts.log_evidence
    return {
        "modes": len(facts.modes),
        "log_evidence": log_evidence,
        "log_evidence_se": se,
        "fits": [_row(fit) for fit in facts.fits],
    }


def _row(fit: FitFacts) -> dict[str, Any]:
    row: dict[str, Any] = {"fit": fit.name, "verdict": verdict(fit), "missed": len(fit.that_matter("missed"))}
    for name in ESTIMATES_KEPT:
        row[name], row[f"{name}_se"] = fit.scores[name]
    return row | {"khat": fit.khat, "converged": fit.converged, "error": fit.error}


def verdict(fit: FitFacts) -> str:
    """Say in a few words how a fit covers the modes of at least 1 %."""
    if not fit.scored:
        return "failed" if fit.error else "not told"
    if missed := len(fit.that_matter("missed")):
        return f"misses {missed} of {counted(len(fit.that_matter()), 'mode', 'modes')}"
    return "covers" if covers_all(fit) else "reaches all"
