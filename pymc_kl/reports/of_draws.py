"""Write what the user's own draws are worth: the modes that they miss, and why their R-hat is high."""

from collections.abc import Sequence

from pymc_kl.reports.facts import Facts
from pymc_kl.reports.given import Audit
from pymc_kl.reports.phrases import counted, listed, measured, numbered, percent, plain

RHAT_AGREES = 1.01  # R-hat up to which chains agree; Vehtari et al. 2021, doi:10.1214/20-BA1221
RHAT_NEARLY = 1.05  # R-hat up to which they nearly agree: longer chains may be all that is needed; our choice
MOSTLY = 0.5  # part of R-hat's excess over 1 that may be left once copies of modes are relabelled; our choice


def missed_by_draws(facts: Facts) -> str | None:
    """Write which modes the draws miss, or that their shares in the modes are not the masses."""
    audit = facts.audit
    if audit is None:
        return None
    if audit.missed and audit.alarm:
        verb, known = "holds" if len(audit.missed) == 1 else "together hold", facts.masses_known
        held = f"which {verb} {percent(audit.missed_mass)} of the posterior" if known else "of unknown mass"
        text = f"Your draws miss {numbered(audit.missed)}, {held}."
        if audit.mean is not None and known:
            label, given, right = audit.mean
            text += (
                f" Their mean of `{label}` is {plain(given, right.se)}; over all modes found it is {measured(right)}."
            )
        return text
    unknown = not audit.masses_known and audit.reason and not audit.refusals
    if unknown and not audit.missed and len(facts.that_matter) > 1 and facts.completed:
        return (
            f"Your draws reached every mode found, but {audit.reason}: the shares of draws in the modes are not "
            "their masses."
        )
    return None


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
        return f"{_in_copies(facts, audit)}; {after}, since {_cause_but_copies(facts, audit)}"
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
        return "the chains nearly agree within one mode; longer ones will tell."
    diverging = f" ({counted(audit.n_diverging, 'divergence', 'divergences')})" if audit.n_diverging else ""
    return f"the chains have not mixed within one mode{diverging}: longer chains, or another parametrisation."


def of_signs(symmetries: Sequence[str]) -> bool:
    """Tell if all symmetries are of signs, none of labels."""
    return all(text.startswith("sign") for text in symmetries)


def _in_copies(facts: Facts, audit: Audit) -> str:
    """Write which chains sit in which copy of a mode, and of what symmetry."""
    of = f" ({listed(facts.symmetries)})" if facts.symmetries else ""
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
