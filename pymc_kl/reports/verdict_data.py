"""Give the verdict as data: what a pipeline or a script decides by."""

from typing import Any

import numpy as np
import xarray as xr

from pymc_kl.reports.answer import recommended
from pymc_kl.reports.facts import Facts, FitFacts, read_facts
from pymc_kl.reports.importance import can_correct
from pymc_kl.reports.shape import covers_all
from pymc_kl.reports.trust import Trust, judge_reference
from pymc_kl.reports.uses import judged_uses
from pymc_kl.reports.verdict import judge


def verdict_data(comparison: xr.DataTree) -> dict[str, Any]:
    """Return the verdict on a comparison as plain data, which `json.dumps` takes; nothing is drawn.

    Parameters
    ----------
    comparison : DataTree
        What :func:`pymc_kl.compare` returned or :func:`pymc_kl.load` read.

    Returns
    -------
    dict
        `answer` and `sentences`, as :func:`pymc_kl.report` prints them; `draws`, what those given hold, None without
        any; `reference`; `recommended`, the name of a fit or None; `fits`, from the recommended one down;
        `quantities`, by name, whether each source of draws changes the conclusion (yes, no or cannot tell); and
        `problems`, which may have "missed" (the draws given, or the recommended fit, miss a mode of at least 1 %),
        "untrusted" (the masses of the modes are not known) and "unconverged" (a fit has not converged). Masses are
        shares, log Z is in nats, and None stands for what is not known.

    Examples
    --------
    With the `comparison` in the example of :func:`pymc_kl.compare`:

    >>> from pymc_kl.reports import verdict_data
    >>> data = verdict_data(comparison)
    >>> data["recommended"], data["problems"]
    ('forward mixture', [])
    >>> [(fit["name"], fit["modes_missed"]) for fit in data["fits"] if fit["modes_missed"]]
    [('ADVI', [2])]
    """
    facts = read_facts(comparison)
    trust, sentences, best = judge_reference(facts), judge(facts), recommended(facts)
    return {
        "answer": next((said.text for said in sentences if said.rule == "answer"), None),
        "recommended": None if best is None else best.name,
        "problems": _problems(facts, trust, best),
        "draws": _draws(facts),
        "reference": _reference(facts, trust),
        "fits": [_fit(facts, fit) for fit in facts.fits],
        "quantities": _quantities(comparison),
        "sentences": [{"about": said.about, "rule": said.rule, "text": said.text} for said in sentences],
    }


def _problems(facts: Facts, trust: Trust, best: FitFacts | None) -> list[str]:
    given = facts.audit is not None and facts.audit.alarm and bool(facts.audit.missed)
    holds = {
        "missed": given or (best is not None and bool(best.that_matter("missed"))),
        "untrusted": trust.answer == "no",
        "unconverged": any(fit.converged == "no" for fit in facts.fits),
    }
    return [name for name, is_so in holds.items() if is_so]


def _draws(facts: Facts) -> dict[str, Any] | None:
    audit = facts.audit
    if audit is None:
        return None
    worst = audit.worst
    return {
        "modes_missed": list(audit.missed),
        "missed_mass": _known(audit.missed_mass.value),
        "missed_mass_se": _known(audit.missed_mass.se),
        "alarm": audit.alarm,
        "refused": {str(mode): reason for mode, reason in audit.refusals.items()},
        "rhat": None if worst is None else _known(worst.rhat),
        "rhat_of": None if worst is None else worst.label,
        "rhat_relabelled": None if worst is None else _known(worst.rhat_relabelled),
    }


def _reference(facts: Facts, trust: Trust) -> dict[str, Any]:
    return {
        "trusted": trust.answer,
        "reasons": list(trust.reasons),
        "log_evidence": _known(facts.log_evidence.value),
        "log_evidence_se": _known(facts.log_evidence.se),
        "modes": [
            {"mode": mode.number, "mass": _known(mode.mass.value), "mass_se": _known(mode.mass.se)}
            for mode in facts.modes
        ],
    }


def _fit(facts: Facts, fit: FitFacts) -> dict[str, Any]:
    return {
        "name": fit.name,
        "kind": fit.kind,
        "covers": covers_all(fit) if fit.scored else None,
        "modes_missed": [cover.mode.number for cover in fit.that_matter("missed")],
        "converged": fit.converged or None,
        "forward_kl": _known(fit.scores["forward_kl"].value),
        "forward_kl_se": _known(fit.scores["forward_kl"].se),
        "reverse_kl": _known(fit.scores["reverse_kl"].value),
        "reverse_kl_se": _known(fit.scores["reverse_kl"].se),
        "khat": _known(fit.khat),
        "can_be_corrected": can_correct(fit) if fit.scored else None,
        "uses": {use: judged.answer for use, judged in judged_uses(facts, fit).items()} if fit.scored else {},
        "error": fit.error or None,
    }


def _quantities(comparison: xr.DataTree) -> dict[str, dict[str, str | None]]:
    """Return the answers on each quantity of interest by source; nothing where none were asked for."""
    if "quantities" not in comparison.children:
        return {}
    answers = comparison["quantities"].to_dataset()["changes"].transpose("quantity", "source")
    sources = list(map(str, answers["source"].values))[1:]
    return {
        str(row["quantity"].item()): {name: str(row.sel(source=name).item()) or None for name in sources}
        for row in answers
    }


def _known(value: float) -> float | None:
    """Return a number that JSON has, None for NaN and infinity."""
    return float(value) if np.isfinite(value) else None
