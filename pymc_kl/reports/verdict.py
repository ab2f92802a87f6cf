"""Judge a comparison by rules that turn numbers and errors into plain sentences: your draws, the answer, then why.

No sentence says more than its error bars allow: a number that differs from another by less than two standard
errors is not said to differ, and a mode is counted only if it may hold a hundredth of the posterior. A rule is a
function of the facts that returns its sentence, or None where its condition does not hold.
"""

from dataclasses import replace

from pymc_kl.reports.answer import answer
from pymc_kl.reports.facts import Facts
from pymc_kl.reports.of_draws import of_draws
from pymc_kl.reports.of_fits import of_fit
from pymc_kl.reports.of_reference import of_reference
from pymc_kl.reports.phrases import opened
from pymc_kl.reports.sentence import Sentence


def judge(facts: Facts) -> list[Sentence]:
    """Return what the draws are worth, the answer, the reference, then a sentence a fit, from the recommended one down.

    That many starts reach no mode comes before the answer, as does why one region has no log Z where the sentence on
    the draws does not say it.
    """
    draws = list(of_draws(facts))
    sentences = [*answer(facts), *draws[1:], *of_reference(facts), *(of_fit(facts, fit) for fit in facts.fits)]
    told = facts.proper or any(sentence.rule == "draws" for sentence in draws)
    first = ("starts are lost", *(() if told else ("no log Z",)))
    ordered = [*draws[:1], *sorted(sentences, key=lambda sentence: sentence.rule not in first)]
    return [replace(sentence, text=opened(sentence.text, sentence.about)) for sentence in ordered]
