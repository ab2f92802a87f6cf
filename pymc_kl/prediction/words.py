"""Say what a miss costs in prediction, or that it does not matter, or that it cannot be told."""

from pymc_kl.comparison.formats import format_estimate
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.numerics.judgement import CANNOT_TELL, Answer
from pymc_kl.prediction.sources import Predictor

SUBJECTS = {
    "given": ("W", "hat the given draws miss"),
    "approximation": ("", "{}'s miss"),
    "corrected": ("", "{}'s miss, after importance correction,"),
    "mode": ("R", "eporting {} alone"),
}  # of a sentence, by the kind of the predictor: the letter that is large at its beginning, and the rest


def sentence(predictor: Predictor, difference: Estimate, answer: Answer, n_bad: int, n: int) -> str:
    """Write one sentence on a predictor, and another where Pareto k is too high for some of n observations."""
    first, rest = SUBJECTS[predictor.kind]
    rest = rest.format(predictor.name.removesuffix(", corrected"))
    off = format_estimate(*difference)
    if answer == "yes":
        size = format_estimate(abs(difference.value), difference.se)
        said = f"{first}{rest} {'costs' if difference.value < 0 else 'improves prediction by'} {size} elpd."
    elif answer == CANNOT_TELL:
        said = f"Whether {first.lower()}{rest} matters for prediction cannot be told ({off} elpd)."
    else:
        said = f"{first}{rest} does not matter for prediction ({off} elpd)."
    return said + (f" Pareto k is too high for {n_bad} of {n} observations." if n_bad else "")
