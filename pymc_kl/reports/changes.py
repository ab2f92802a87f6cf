"""What changed between two comparisons of a model by more than its errors: modes, masses, log Z, scores of fits."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xarray as xr

from pymc_kl.comparison.io import check_comparison
from pymc_kl.model.damaged import STRANGE, told_in_a_line
from pymc_kl.numerics.estimate import UNKNOWN, Estimate
from pymc_kl.numerics.intervals import EXACT
from pymc_kl.reports.facts import LEAST_COUNTED_MASS, Facts, FitFacts, Mode, read_facts
from pymc_kl.reports.matched_modes import matched
from pymc_kl.reports.phrases import measured, nats, percent

JOINT_ERRORS = (
    3.0  # joint standard errors by which a number must differ to have changed; our choice, 1 in 370 by chance
)


@dataclass(frozen=True)
class Change:
    """One thing that changed: what of, from which number to which, and whether a pipeline should stop for it."""

    what: str
    about: str
    text: str
    before: Estimate = UNKNOWN
    now: Estimate = UNKNOWN
    counts: bool = True


def changes_since(comparison: xr.DataTree, baseline: xr.DataTree) -> dict[str, Any]:
    """Say what changed since an earlier comparison by more than three joint standard errors.

    Modes are the same where they are the nearest to each other and at most two standard deviations apart, of the draws
    in them; those with copies are compared up to the order and signs of their elements.

    Parameters
    ----------
    comparison, baseline : DataTree
        Comparisons of one model, perhaps with other data, by other versions or with other seeds: the later and the
        earlier one.

    Returns
    -------
    dict
        Plain data, which `json.dumps` takes. `changed` tells whether any change counts; `sentences` is what to read;
        `changes` has a dict for each: `what` is "mode lost" or "mode new" (of at least 1 % by three errors, or of
        unknown mass), "mass moved", "evidence moved" (log Z, also if it is not known any more), "fit worse" (forward or
        reverse KL, or missed mass), "fit failed", which all count; or "fit better", "fit left out" and "data differ",
        which do not. `about` is a mode or fit, `before`, `before_se`, `now` and `now_se` are in nats or, of masses,
        shares, None where there is no number. A number without a finite error, or whose baseline is a lower bound,
        is not compared.

    Raises
    ------
    ValueError
        If the free variables of the two are not the same.

    Examples
    --------
    With the `comparison` in the example of :func:`pymc_kl.compare`:

    >>> from pymc_kl.reports import changes_since
    >>> changes_since(comparison, comparison)
    {'changed': False, 'sentences': ['Nothing changed by more than three joint standard errors.'], 'changes': []}
    """
    now, before = check_comparison(comparison), check_comparison(baseline, "baseline")
    found = _found(now, before)
    counted = [change for change in found if change.counts]
    sentences = [change.text for change in found]
    if not counted:
        but = " else" if found else ""
        sentences.append(f"Nothing{but} changed by more than three joint standard errors.")
    return {"changed": bool(counted), "sentences": sentences, "changes": [_plain(change) for change in found]}


@told_in_a_line("these comparisons can't be compared", STRANGE)
def _found(now: xr.DataTree, before: xr.DataTree) -> list[Change]:
    facts = read_facts(now), read_facts(before)
    return [*_of_data(now, before), *_of_modes(now, before, *facts), *_of_evidence(*facts), *_of_fits(*facts)]


def _plain(change: Change) -> dict[str, Any]:
    known = {
        name: float(value) if np.isfinite(value) else None
        for side, estimate in (("before", change.before), ("now", change.now))
        for name, value in zip((side, f"{side}_se"), estimate, strict=True)
    }
    return {name: value for name, value in asdict(change).items() if name not in ("before", "now")} | known


def differ(one: Estimate, other: Estimate) -> bool:
    """Tell if two numbers differ by more than their errors; not where one or its error is not known."""
    error = float(np.hypot(one.se, other.se))
    return bool(abs(one.value - other.value) > JOINT_ERRORS * error + EXACT) if np.isfinite(error) else False


def _of_data(now: xr.DataTree, before: xr.DataTree) -> Iterator[Change]:
    if all("observed_data" in dt.children for dt in (now, before)):
        ours, theirs = (dt["observed_data"].to_dataset() for dt in (now, before))
        if not ours.equals(theirs):
            yield Change("data differ", "", "The observed data are not those of the baseline.", counts=False)


def _of_modes(now: xr.DataTree, before: xr.DataTree, ours: Facts, theirs: Facts) -> Iterator[Change]:
    pairs = matched(now, before)
    partner = {old: new for new, old in pairs.items()}
    for mode in theirs.modes:
        if mode.number not in partner and _is_told(mode, theirs):
            text = f"Mode {mode.number} of the baseline, {_held(mode, theirs)}, is lost."
            yield Change("mode lost", f"mode {mode.number}", text, before=_mass(mode, theirs))
    for mode in ours.modes:
        if mode.number not in pairs and _is_told(mode, ours):
            text = f"Mode {mode.number}, {_held(mode, ours)}, is new."
            yield Change("mode new", f"mode {mode.number}", text, now=_mass(mode, ours))
    if not (ours.masses_known and theirs.masses_known):
        return
    old = {mode.number: mode.mass for mode in theirs.modes}
    for mode in ours.modes:
        if mode.number in pairs and differ(mode.mass, was := old[pairs[mode.number]]):
            text = f"The mass of mode {mode.number} moved from {percent(was)} to {percent(mode.mass)}."
            yield Change("mass moved", f"mode {mode.number}", text, was, mode.mass)


def _mass(mode: Mode, facts: Facts) -> Estimate:
    return mode.mass if facts.masses_known else UNKNOWN


def _held(mode: Mode, facts: Facts) -> str:
    return f"which held {percent(mode.mass)}" if facts.masses_known else "whose mass is not known"


def _is_told(mode: Mode, facts: Facts) -> bool:
    """Whether a mode surely holds 1 %, or nobody knows."""
    return not facts.masses_known or mode.mass.value - JOINT_ERRORS * mode.mass.se > LEAST_COUNTED_MASS


def _of_evidence(now: Facts, before: Facts) -> Iterator[Change]:
    ours, theirs = now.log_evidence, before.log_evidence
    if np.isnan(ours.value) and np.isfinite(theirs.value):
        reason = f": {now.evidence_reason.rstrip('.')}" if now.evidence_reason else ""
        yield Change(
            "evidence moved", "", f"Log Z, {nats(theirs)} in the baseline, is not known{reason}.", theirs, ours
        )
    elif differ(ours, theirs):
        yield Change("evidence moved", "", f"Log Z moved from {nats(theirs)} to {nats(ours)}.", theirs, ours)


def _of_fits(now: Facts, before: Facts) -> Iterator[Change]:
    ours = {fit.name: fit for fit in now.fits}
    for was in before.fits:
        fit = ours.get(was.name)
        if fit is None:
            yield Change("fit left out", was.name, f"{was.name} of the baseline is not there.", counts=False)
        elif was.scored and not fit.scored:
            yield Change("fit failed", was.name, f"{was.name} failed: {fit.error or 'it has no scores'}")
        else:
            yield from _of_fit(fit, was)


def _of_fit(fit: FitFacts, was: FitFacts) -> Iterator[Change]:
    rows = (
        ("forward KL", fit.whole("forward"), was.whole("forward"), was.bounds[0]),
        ("reverse KL", fit.whole("reverse"), was.whole("reverse"), was.bounds[1]),
        ("missed mass", fit.scores["missed_mass"], was.scores["missed_mass"], False),
    )
    for name, ours, theirs, is_bound in rows:
        if differ(ours, theirs) and not is_bound:
            write = percent if name == "missed mass" else nats
            worse = ours.value > theirs.value
            said = f"{fit.name} is {'worse' if worse else 'better'}: {name} {write(ours)} in place of {write(theirs)}."
            yield Change("fit worse" if worse else "fit better", fit.name, said, theirs, ours, counts=worse)
        elif np.isinf(ours.value) and np.isfinite(theirs.value):
            said = f"{fit.name} is worse: {name} infinite in place of {measured(theirs)}."
            yield Change("fit worse", fit.name, said, theirs, ours)
