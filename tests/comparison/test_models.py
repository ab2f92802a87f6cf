"""The evidence of several models against its closed form: normal data with a normal prior on their mean."""

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy.special import softmax
from scipy.stats import multivariate_normal

import pymc_kl as pkl
from pymc_kl.comparison import compare_models
from pymc_kl.comparison.models import _probabilities

Y = np.array([0.3, 1.9, 0.8, -0.4, 1.2, 2.1])
PRIORS = {"narrow": (0.0, 1.0), "wide": (0.0, 20.0), "off": (4.0, 0.5)}  # mean and sd of the prior of mu


def exact(name: str) -> float:
    """y ~ N(loc, I + sd² 11ᵀ)."""
    loc, sd = PRIORS[name]
    return float(multivariate_normal.logpdf(Y, np.full(len(Y), loc), np.eye(len(Y)) + sd**2))


def made(name: str, y=Y) -> xr.DataTree:
    """Compare a model with exact draws of it, its data beside them."""
    loc, sd = PRIORS[name]
    precision = len(y) + sd**-2
    mean = (y.sum() + loc / sd**2) / precision
    mu = np.random.default_rng(1).normal(mean, precision**-0.5, (4, 500))
    with pm.Model(coords={"i": range(len(y))}):
        pm.Normal("mu", loc, sd)
        pm.Normal("y", pm.modelcontext(None)["mu"], 1.0, observed=y, dims="i")
        idata = xr.DataTree.from_dict({
            "posterior": xr.Dataset({"mu": (("chain", "draw"), mu)}), "observed_data": xr.Dataset({"y": ("i", y)}),
        })  # fmt: skip
        return pkl.compare(idata, reverse=(), forward="fullrank", random_seed=1, progressbar=False)


@pytest.fixture(scope="module")
def comparisons():
    return {name: made(name) for name in PRIORS}


def test_log_evidence_and_probabilities_are_exact(comparisons):
    table = compare_models(comparisons, round_to="none")
    truth = {name: exact(name) for name in PRIORS}
    assert table.index.tolist() == sorted(PRIORS, key=lambda name: -truth[name])
    for name, row in table.iterrows():
        assert abs(row["log_evidence"] - truth[name]) < 5 * row["log_evidence_se"] + 1e-8
    probability = dict(zip(truth, softmax([*truth.values()]), strict=True))
    for name, row in table.iterrows():
        assert abs(row["probability"] - probability[name]) < 5 * row["probability_se"] + 1e-8
    assert abs(table["probability"].sum() - 1) < 1e-12
    assert table["behind"].iloc[0] == table["behind_se"].iloc[0] == 0
    assert (
        abs(table.loc["wide", "behind"] - (max(truth.values()) - truth["wide"]))
        < 1e-6 + 5 * table.loc["wide", "behind_se"]
    )


def test_prior_weights_are_odds(comparisons):
    two = {name: comparisons[name] for name in ("narrow", "wide")}
    table = compare_models(two, prior={"narrow": 1, "wide": 8}, round_to="none")
    odds = 8 * np.exp(exact("wide") - exact("narrow"))
    row = table.loc["wide"]
    assert abs(row["probability"] - odds / (1 + odds)) < 5 * row["probability_se"] + 1e-8
    assert row["prior"] == pytest.approx(8 / 9)
    vast = compare_models(two, prior={"narrow": 1e307, "wide": 8e307}, round_to="none")
    np.testing.assert_allclose(vast["probability"], table["probability"])


def test_it_reads(comparisons):
    table = compare_models(comparisons)
    assert table.columns.tolist() == ["log_evidence", "behind", "probability (%)"]
    value, _, se = table.loc["narrow", "log_evidence"].partition(" ± ")
    assert abs(float(value) - exact("narrow")) < 5 * float(se)


def test_errors_of_probabilities_are_those_of_replicates(rng):
    """Log Z with their errors, drawn again and again: how far probabilities scatter, and how often intervals hold."""
    log_z, se = np.array([0.0, -1.0, -2.5]), np.array([0.3, 0.2, 0.4])
    truth = softmax(log_z)
    drawn = rng.normal(log_z, se, (4000, 3))
    found = [_probabilities(one, se, np.zeros(3)) for one in drawn]
    inside = np.mean([(f["probability_lower"] < truth) & (truth < f["probability_upper"]) for f in found], axis=0)
    assert (abs(inside - 0.95) < 0.02).all()
    spread = np.std([f["probability"] for f in found], axis=0)
    reported = np.mean([f["probability_se"] for f in found], axis=0)
    np.testing.assert_allclose(reported, spread, rtol=0.1)


def test_far_behind_is_a_small_number_and_not_zero():
    found = _probabilities(np.array([0.0, -800.0]), np.array([0.1, 0.1]), np.zeros(2))
    assert found["probability"][0] == 1
    assert found["probability_lower"][1] <= found["probability"][1] <= found["probability_upper"][1] < 1e-300


def test_unknown_evidence_is_refused_with_its_reason(comparisons):
    unknown = comparisons["wide"].copy(deep=True)
    unknown["evidence"].dataset = unknown["evidence"].to_dataset().assign(log_evidence=np.nan)
    unknown["evidence"].attrs["reason"] = "the two halves disagree"
    with pytest.raises(ValueError, match=r"not known of 'wide': the two halves disagree\.$"):
        compare_models(comparisons | {"wide": unknown})


def test_other_data_are_refused_and_missing_data_told(comparisons):
    with pytest.raises(ValueError, match=r"'narrow' \(6 numbers\) and 'wide' \(6\) differ"):
        compare_models({"narrow": comparisons["narrow"], "wide": made("wide", Y + 0.1)})
    compare_models({"narrow": comparisons["narrow"], "wide": made("wide", Y[::-1].copy())})  # in another order
    without = comparisons["wide"].copy()
    del without["observed_data"]
    with pytest.warns(UserWarning, match="not known: 'wide' hold no observed data"):
        compare_models(comparisons | {"wide": without})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c: compare_models(c["wide"]), TypeError, "comparisons must be a dict"),
        (lambda c: compare_models({"a": c["wide"]}), ValueError, "at least 2"),
        (lambda c: compare_models({"a": c["wide"], "b": 5}), TypeError, r"comparisons\['b'\] must be the DataTree"),
        (lambda c: compare_models(c, prior={"wide": 1}), ValueError, "a weight for each of"),
        (lambda c: compare_models(c, prior=dict.fromkeys(c, 0)), ValueError, "weights of prior must be above 0"),
        (lambda c: compare_models(c, round_to=3), TypeError, "round_to"),
    ],
)
def test_mistakes_are_told(comparisons, call, error, message):
    with pytest.raises(error, match=message):
        call(comparisons)
