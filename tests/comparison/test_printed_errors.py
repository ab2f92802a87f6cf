"""Every printed error of a comparison covers: a short version of `benchmarks/calibration.py`."""

import warnings

import numpy as np
import pandas as pd
import pytest
from support.calibration import Posterior, rates, replicate, table

POSTERIORS = ("two_modes", "switch_2", "mean_field_gaussian", "textbook_figure")
SEEDS = 20
LEAST = 0.9  # share of the intervals that hold the truth
MOST_FALSE = 0.05  # share of answers that are false


@pytest.mark.slow
def test_errors_cover_and_answers_hold():
    found = []
    for name in POSTERIORS:
        posterior = Posterior(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            found += [replicate(posterior, seed) for seed in range(SEEDS)]
    rows = pd.concat(found)
    numbers, answers = table(rows), rates(rows)
    known = numbers["n"] * (1 - numbers["refused"])
    least = LEAST - 2 * np.sqrt(LEAST * (1 - LEAST) / known)
    assert (numbers["covers"] > least).all(), numbers
    assert (numbers["mean z"].abs().fillna(0.0) < 0.3 + 2 / np.sqrt(known)).all(), numbers  # bounds have no z
    assert (answers["share"] <= MOST_FALSE).all(), answers
