"""Say what a miss costs in prediction, that it does not matter or cannot be told; and what tells modes apart."""

import numpy as np
import xarray as xr

from pymc_kl.comparison.formats import format_estimate
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.numerics.judgement import CANNOT_TELL, ERRORS, Answer
from pymc_kl.prediction.sources import Predictor

SUBJECTS = {
    "given": ("W", "hat the given draws miss"),
    "approximation": ("", "{}'s miss"),
    "corrected": ("", "{}'s miss, after importance correction,"),
    "mode": ("R", "eporting {} alone"),
}  # of a sentence, by the kind of the predictor: the letter that is large at its beginning, and the rest
MOST_NAMED = 3  # names of parameters, and of observations for each mode, in a sentence; our choice


def sentence(predictor: Predictor, difference: Estimate, answer: Answer, n_bad: int, n: int) -> str:
    """Write one sentence on a predictor, and another where Pareto k is too high for some of n observations."""
    first, rest = SUBJECTS[predictor.kind]
    rest = rest.format(predictor.name.removesuffix(", corrected"))
    off = format_estimate(*difference)
    if answer == "yes":
        size = format_estimate(abs(difference.value), difference.se)
        said = f"{first}{rest} {'costs' if difference.value < 0 else 'improves prediction by'} {size} elpd."
    elif predictor.kind == "approximation":
        said = (
            f"Whether {rest} matters for prediction cannot be told from its draws as they are ({off} elpd): they are "
            "of no posterior, out of which weights could leave an observation."
        )
    elif answer == CANNOT_TELL:
        said = f"Whether {first.lower()}{rest} matters for prediction cannot be told ({off} elpd)."
    else:
        said = f"{first}{rest} does not matter for prediction ({off} elpd)."
    return said + (f" Pareto k is too high for {n_bad} of {n} observations." if n_bad else "")


def sentence_on_mode(
    pair: tuple[int, int], parts: tuple[Estimate, Estimate, Estimate], parameters: xr.Dataset, observations: xr.Dataset
) -> str:
    """Say how a mode differs from the first of a pair, and what speaks for which; only what is sure by two errors."""
    ratio, likelihood, prior = parts
    said = [f"Mode {pair[1]} differs from mode {pair[0]} most in {_furthest(parameters)}."]
    if not np.isnan(ratio.value):
        times = float(np.exp(ratio.value))
        said.append(f"Mode {pair[0]} is {format_estimate(times, times * ratio.se)} times as probable:")
        said.append(f"{_favours('the data', pair, likelihood)}, {_favours('the prior', pair, prior)}.")
    sure = np.abs(observations["log_ratio"].values) > ERRORS * observations["log_ratio_se"].values
    told = observations.isel(observation=np.flatnonzero(sure))
    for mode, sign in zip(pair, (1, -1), strict=True):
        values = sign * told["log_ratio"].values
        if len(rows := [int(i) for i in np.argsort(-values, kind="stable")[:MOST_NAMED] if values[i] > 0]):
            names = ", ".join(f"{told['observation'].values[i]} ({values[i]:.2f} nats)" for i in rows)
            said.append(f"Most for mode {mode} {'speak' if len(rows) > 1 else 'speaks'} {names}.")
    return " ".join(said)


def _furthest(parameters: xr.Dataset) -> str:
    apart = parameters["apart"].values
    rows = [i for i in np.argsort(-np.nan_to_num(apart, nan=-1.0), kind="stable")[:MOST_NAMED] if np.isfinite(apart[i])]
    names = parameters["parameter"].values
    return ", ".join(f"{names[i]} ({apart[i]:.1f} sd apart)" for i in rows) or "parameters that are not known"


def _favours(what: str, pair: tuple[int, int], part: Estimate) -> str:
    """Write which mode one part favours, and by how much."""
    if np.isnan(part.value):
        return f"what {what} {'say' if what == 'the data' else 'says'} is not known"
    size = format_estimate(abs(part.value), part.se)
    verb = "favour" if what == "the data" else "favours"
    if abs(part.value) <= ERRORS * part.se:
        return f"{what} {verb} neither surely ({size} nats)"
    return f"{what} {verb} mode {pair[0] if part.value > 0 else pair[1]} by {size} nats"
