"""Write what the user's own draws are worth: if they are fine, which modes they miss, why their R-hat is high."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from pymc_kl.numerics.estimate import UNKNOWN
from pymc_kl.reference.given_check import not_of_this_posterior
from pymc_kl.reference.policy import ENOUGH_ESS
from pymc_kl.reports.facts import LEAST_COUNTED_MASS, Facts
from pymc_kl.reports.given import Agreement, Audit
from pymc_kl.reports.phrases import counted, every, listed, measured, numbered, percent, plain
from pymc_kl.reports.sentence import Sentence
from pymc_kl.reports.trust import capital, judge_reference, why_one_region

RHAT_AGREES = 1.01  # R-hat up to which chains agree; Vehtari et al. 2021, doi:10.1214/20-BA1221
RHAT_NEARLY = 1.05  # R-hat up to which they nearly agree: longer chains may be all that is needed; our choice
SURELY_OFF = 4.0  # standard errors from a share of draws to a mode's mass from which it is wrong; our choice
MOSTLY = 0.5  # part of R-hat's excess over 1 that may be left once copies of modes are relabelled; our choice


def of_draws(facts: Facts) -> Iterator[Sentence]:
    """Write what the draws are worth, in the first sentence, and what else is wrong with them."""
    audit = facts.audit
    if audit is None:
        return
    told = False
    if audit.refusals:
        yield Sentence("", "draws refused", 0, _refused(facts, audit.refusals))
        told = True
    if (text := missed_by_draws(facts)) is not None:
        yield Sentence("", "draws miss modes", 1, text)
        told = True
    why = agreement(facts)
    if not told and (why is None or up_to_labels(audit)):
        yield Sentence("", "draws", 3, _state(facts, audit))
        return
    if not told and audit.worst is not None:
        why = f"Your chains {whether_agree(audit.worst)}. {why}"
    if why is not None:
        yield Sentence("", "chains disagree", 1, why)


def are_fine(facts: Facts) -> bool:
    """Tell if nothing speaks against the draws, but perhaps that copies of modes are mixed up."""
    audit = facts.audit
    if audit is None or audit.worst is None or audit.refusals:
        return False
    agree = up_to_labels(audit) or audit.worst.rhat <= RHAT_AGREES
    return agree and facts.completed and facts.proper and not _doubts(facts, audit) and _wrong_share(facts) is None


def _state(facts: Facts, audit: Audit) -> str:
    """Write whether draws are fine whose chains agree, if only relabelled, and then why their R-hat is high."""
    worst, fine, why = audit.worst, are_fine(facts), agreement(facts)
    if up_to_labels(audit):
        text = f"{'Your draws are fine' if fine else 'Your chains agree'} apart from {free(facts)}"
    elif worst is not None and _not_identified(facts):
        text = f"Your chains {whether_agree(worst)} ({_diagnostics(worst)})"
    else:
        whole = [mode.number for mode in facts.that_matter if mode.number not in audit.missed]
        all_of_them = every(len(facts.that_matter), len(facts.modes))
        reached = all_of_them if len(whole) == len(facts.that_matter) else numbered(whole) if whole else "no mode"
        agree = "whether their chains agree is not known"
        if worst is not None:
            agree = f"their chains {whether_agree(worst)} ({_diagnostics(worst)})"
        up_to = f" up to {free(facts)}" if facts.symmetries else ""  # shares of copies are not looked at
        text = f"{f'Your draws are fine{up_to}: they' if fine else 'Your draws'} reach {reached}, and {agree}"
    doubts = _doubts(facts, audit)
    return f"{text}{f', but {listed(doubts)}' if doubts else ''}.{f' {why}' if why else ''}"


def _doubts(facts: Facts, audit: Audit) -> list[str]:
    """List what speaks against draws whose chains agree."""
    doubts, trust = [], judge_reference(facts).answer
    if perhaps := [mode.number for mode in facts.that_matter if mode.number in audit.missed]:
        doubts.append(f"none is in {numbered(perhaps)}, which may hold more than 1 %")
    if audit.n_diverging:
        doubts.append(f"{counted(audit.n_diverging, 'draw', 'draws')} diverged")
    if audit.worst is not None and audit.worst.least_ess < ENOUGH_ESS and not up_to_labels(audit):
        doubts.append(f"an ESS below {ENOUGH_ESS:.0f} is little")
    if cause := _not_identified(facts):
        doubts.append(f"{cause}{': report only what turning it does not change' * ('rotation' in cause)}")
    elif trust != "yes":
        doubts.append(f"the reference {'cannot be trusted' if trust == 'no' else 'is to be taken with care'}")
    return doubts


def _not_identified(facts: Facts) -> str:
    """Return along what a posterior without a proper maximum is not identified; empty if not known."""
    return why_one_region(facts) if facts.masses_known and not facts.proper else ""


def _diagnostics(worst: Agreement) -> str:
    ess = f", ESS at least {worst.least_ess:,.0f}" if worst.least_ess > 0 else ""
    return f"R-hat at worst {written_rhat(worst.rhat)}{ess}"


def whether_agree(worst: Agreement) -> str:
    """Write whether chains agree."""
    if worst.rhat <= RHAT_AGREES:
        return "agree"
    return "nearly agree" if worst.rhat <= RHAT_NEARLY else "do not agree"


def _refused(facts: Facts, refusals: Mapping[int, str]) -> str:
    after = (
        "None of them are used." if facts.completed else "They are compared with as they are, and no masses are known."
    )
    return f"{capital(not_of_this_posterior(refusals))}. {after}"


def missed_by_draws(facts: Facts) -> str | None:
    """Write which modes the draws miss, or that their shares in the modes are not the masses."""
    audit = facts.audit
    if audit is None:
        return None
    if audit.missed and audit.alarm:
        verb, known = "holds" if len(audit.missed) == 1 else "together hold", facts.masses_known
        held = f"which {verb} {percent(audit.missed_mass)} of the posterior" if known else "of unknown mass"
        return f"Your draws miss {numbered(audit.missed)}, {held}.{_mean_of_draws(audit) if known else ''}"
    if (text := _wrong_share(facts)) is not None:
        return f"{text}{_mean_of_draws(audit)}"
    unknown = not audit.masses_known and audit.reason and not audit.refusals
    if unknown and not audit.missed and len(facts.that_matter) > 1 and facts.completed:
        return (
            f"Your draws reached every mode found, but {audit.reason}: the shares of draws in the modes are not "
            "their masses."
        )
    return None


def _wrong_share(facts: Facts) -> str | None:
    """Write by how much the share of the draws in a mode surely differs from its mass; None where none does."""
    audit = facts.audit
    if audit is None or not facts.masses_known:
        return None
    off = {}
    for mode in facts.that_matter:
        share = audit.shares.get(mode.number, UNKNOWN)
        if 0 < share.value < 1 and (apart := abs(share.value - mode.mass.value)) > LEAST_COUNTED_MASS:
            expected = share.se * np.sqrt(mode.mass.value * (1 - mode.mass.value) / (share.value * (1 - share.value)))
            off[mode] = apart / np.hypot(max(share.se, expected), mode.mass.se)  # a small count understates its error
    worst = max(off, key=off.__getitem__, default=None)
    if worst is None or not off[worst] > SURELY_OFF:
        return None
    return (
        f"Your draws reach modes in the wrong shares: {percent(audit.shares[worst.number])} of them are in mode "
        f"{worst.number}, which holds {percent(worst.mass)}."
    )


def _mean_of_draws(audit: Audit) -> str:
    """Write how far off the worst mean of the draws is."""
    if audit.mean is None:
        return ""
    label, given, right = audit.mean
    return f" Their mean of `{label}` is {plain(given, right.se)}; over all modes found it is {measured(right)}."


def agreement(facts: Facts) -> str | None:
    """Write how high the R-hat of the draws is, and why; None where chains agree or it is not known."""
    audit = facts.audit
    if audit is None or audit.worst is None or not audit.worst.rhat > RHAT_AGREES:
        return None
    worst = audit.worst
    return f"R-hat of `{worst.label}` is {written_rhat(worst.rhat)} (ESS {worst.ess:,.0f}): {_cause(facts, audit)}"


def written_rhat(rhat: float) -> str:
    """Write R-hat to two decimals, or to as many as tell it from the limit."""
    digits = next((n for n in range(2, 6) if round(rhat, n) != RHAT_AGREES), 6)
    return f"{rhat:.{digits}f}"


def up_to_labels(audit: Audit) -> bool:
    """Tell if a high R-hat is due to copies alone: relabelled, the chains agree."""
    return audit.worst is not None and audit.worst.rhat > RHAT_AGREES >= audit.worst.rhat_relabelled


def _cause(facts: Facts, audit: Audit) -> str:
    after = "" if audit.worst is None else f"relabelled it is {written_rhat(audit.worst.rhat_relabelled)}"
    if up_to_labels(audit):
        need = "sign" if of_signs(facts.symmetries) else "labels"
        return f"{_in_copies(facts, audit)}; {after}: nothing is lost unless you need the {need}."
    if _mostly_copies(audit):
        return f"{_in_copies(facts, audit)}; {after}: what is left is that {_cause_but_copies(facts, audit)}"
    return _cause_but_copies(facts, audit)


def _mostly_copies(audit: Audit) -> bool:
    """Tell if relabelling removes most of what a high R-hat has above 1."""
    worst = audit.worst
    return worst is not None and len(audit.in_copy) > 1 and worst.rhat_relabelled - 1 < MOSTLY * (worst.rhat - 1)


def _cause_but_copies(facts: Facts, audit: Audit) -> str:
    if len(audit.in_mode) > 1:
        moved = f"moves between modes: {audit.moves:,}" if audit.moves else "none moved between modes"
        return f"{_sit([(names, _mode(facts, k)) for k, names in audit.in_mode.items()])}; {moved}."
    if audit.moves:
        return f"chains moved between modes only {counted(audit.moves, 'time', 'times')}."
    if audit.worst is not None and audit.worst.rhat_relabelled <= RHAT_NEARLY and not audit.n_diverging:
        return "they differ within one mode, and longer ones may be enough."
    diverging = f" ({counted(audit.n_diverging, 'divergence', 'divergences')})" if audit.n_diverging else ""
    return f"the chains have not mixed within one mode{diverging}: longer chains, or another parametrisation."


def free(facts: Facts) -> str:
    """Name what tells copies of a mode apart."""
    if not facts.symmetries:
        return "labels or signs"
    return "signs" if of_signs(facts.symmetries) else "labels"


def of_signs(symmetries: Sequence[str]) -> bool:
    """Tell if all symmetries are of signs, none of labels."""
    return all(text.startswith("sign") for text in symmetries)


def in_code(symmetry: str) -> str:
    """Write the name in a symmetry as code: sign of `a`, the 3 labels of `component`."""
    kind, of, name = symmetry.partition(" of ")
    label, _, count = name.rpartition(" (")
    return f"the {count[:-1]} {kind}{of}`{label}`" if label and kind == "labels" else f"{kind}{of}`{name}`"


def _in_copies(facts: Facts, audit: Audit) -> str:
    """Write which chains sit in which copy of a mode, and of what symmetry."""
    of = f" ({listed(list(map(in_code, facts.symmetries)))})" if facts.symmetries else ""
    first, *others = audit.in_copy.values() or [()]
    if not others:
        return f"chains move between copies of a mode{of}"
    place = "another copy" if len(others) == 1 else "other copies"
    place = "its mirror image" if of_signs(facts.symmetries) else place
    rest = sorted((name for names in others for name in names), key=lambda name: (len(name), name))
    return _sit([(first, "one copy of a mode"), (rest, place)]) + of


def _sit(places: Sequence[tuple[Sequence[str], str]]) -> str:
    """Write which chains sit where."""
    (first, place), *others = places
    verb = "chain {} sits" if len(first) == 1 else "chains {} sit"
    return listed([f"{verb.format(listed(first))} in {place}", *(f"{listed(names)} in {p}" for names, p in others)])


def _mode(facts: Facts, number: int) -> str:
    mass = next((mode.mass for mode in facts.modes if mode.number == number), None)
    return f"mode {number}" + (f" ({percent(mass)} of the posterior)" if mass and facts.masses_known else "")
