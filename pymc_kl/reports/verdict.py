"""Judge a comparison by rules that turn numbers and their errors into plain sentences, worst news first.

No sentence says more than its error bars allow: a number that differs from another by less than two standard
errors is not said to differ, and a mode is counted only if it may hold a hundredth of the posterior. A rule is a
function of the facts that returns its sentence, or None where its condition does not hold.
"""

from pymc_kl.reports.facts import Facts
from pymc_kl.reports.of_fits import of_fit
from pymc_kl.reports.of_reference import of_reference
from pymc_kl.reports.sentence import Sentence


def judge(facts: Facts) -> list[Sentence]:
    """Return the sentences on the reference, then one paragraph for each approximation, worst news first."""
    of_fits = [of_fit(facts, fit) for fit in facts.fits]
    order = sorted(range(len(of_fits)), key=lambda i: (of_fits[i].severity, i))
    return [*of_reference(facts), *(of_fits[i] for i in order)]
