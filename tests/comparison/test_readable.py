"""Tables as they are printed: whole, narrow, without exponents, the recommended fit first."""

import re

import numpy as np
import pandas as pd
import pytest
from support.plot_comparisons import make_comparison
from support.report_comparisons import complete

import pymc_kl as pkl
from pymc_kl.comparison.readable import MOST_CHARACTERS, Readable

FITS = [f"{family} {by}" for family in ("full-rank", "mean-field", "mixture") for by in ("forward", "ADVI (polished)")]


@pytest.fixture(scope="module")
def seven_fits():
    """Seven fits of five modes; "best" is the only one whose forward KL is small."""
    dt = complete(make_comparison(5, [*FITS, "best"]))
    scores = dt["scores"].to_dataset()
    scores["missed_mass"], scores["missed_mass_se"] = scores["forward_kl"] * 0, scores["forward_kl"] * 0
    scores["forward_kl"] = ("approximation", [3.0] * 6 + [0.1])
    dt["scores"] = scores
    return dt


@pytest.mark.parametrize("make", [pkl.summary, pkl.coverage, lambda c: pkl.coverage(c, values=["mass", "ratio"])])
def test_seven_fits_of_five_modes_are_printed_whole(make, seven_fits):
    table = make(seven_fits)
    text = str(table)
    assert max(map(len, text.splitlines())) <= MOST_CHARACTERS
    assert "..." not in text
    assert not re.search(r"\d[eE][-+]?\d", text)
    for name in (*FITS, "best"):
        assert text.count(name) == 1
    assert text.index("best") == min(text.index(name) for name in (*FITS, "best"))


def test_columns_of_a_fit_stay_together():
    columns = pd.MultiIndex.from_product([["first", "second", "third"], ["%", "verdict"]])
    text = str(Readable([["1" * 30, "2" * 10] * 3], columns=columns, index=["mode 1"]))
    blocks = text.split("\n\n")
    assert [[name in block for name in ("first", "second", "third")] for block in blocks] == [
        [True, True, False],
        [False, False, True],
    ]
    assert all("mode 1" in block for block in blocks)


def test_numbers_have_no_exponent_and_what_is_made_of_a_table_is_plain():
    table = Readable({"x": [9.8357e-5, 1.23456e7, np.nan]})
    assert str(table).split()[2::2] == ["0.00009836", "12350000", "–"]
    assert type(table.head(1)) is pd.DataFrame
    pd.testing.assert_frame_equal(table.copy(), pd.DataFrame(table))
