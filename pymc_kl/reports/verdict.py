"""Judge a comparison by rules that turn numbers and their errors into plain sentences: the answer, then why.

No sentence says more than its error bars allow: a number that differs from another by less than two standard
errors is not said to differ, and a mode is counted only if it may hold a hundredth of the posterior. A rule is a
function of the facts that returns its sentence, or None where its condition does not hold.
"""

from pymc_kl.reports.answer import answer
from pymc_kl.reports.facts import Facts
from pymc_kl.reports.of_fits import of_fit
from pymc_kl.reports.of_reference import of_reference
from pymc_kl.reports.sentence import Sentence


def judge(facts: Facts) -> list[Sentence]:
    """Return the answer, the sentences on draws and reference, then one a fit, from the recommended one down.

    That the user's draws are of another posterior comes before all, as do that many starts reach no mode, and why one
    region has no log Z.
    """
    sentences = [*answer(facts), *of_reference(facts), *(of_fit(facts, fit) for fit in facts.fits)]
    first = ("draws refused", "starts are lost", *(() if facts.proper else ("no log Z",)))
    return sorted(sentences, key=lambda sentence: sentence.rule not in first)
