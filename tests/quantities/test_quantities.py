"""What sources of draws say of quantities of interest, against closed forms and quadrature on two modes."""

import json
import re

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import norm

import pymc_kl as pkl
from pymc_kl.model.draws import as_posterior_draws
from pymc_kl.model.target import Target
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.quantities.asked import asked_quantities, check_known
from pymc_kl.quantities.describe import Told, describe_quantities
from pymc_kl.quantities.judge import (
    ABOVE,
    BELOW,
    INSIDE,
    changes_of_interval,
    changes_of_mean,
    either,
    zero_is,
)
from pymc_kl.reports import verdict_data
from pymc_kl.reports.making import reproduce
from pymc_kl.reports.terminal import render
from pymc_kl.scores.marginals import Source

WEIGHTS, LOCS, SCALES = np.array([0.3, 0.7]), np.array([-3.0, 3.0]), np.array([0.6, 1.0])
SADDLE = -0.73127  # where the regions of the two modes meet
QUIET = {"random_seed": 1, "progressbar": False}


def density(x):
    return float(WEIGHTS @ norm.pdf(x, LOCS, SCALES))


def cdf(x):
    return float(WEIGHTS @ norm.cdf(x, LOCS, SCALES))


@pytest.fixture(scope="module")
def two_modes(zoo):
    return zoo("two_modes")[1]


@pytest.fixture(scope="module")
def draws(two_modes):
    """Draws of the right mode alone, as chains that never left it have."""
    x = np.random.default_rng(1).normal(3, 1, 4000)
    return two_modes.to_dataset(x[x > SADDLE][:3600].reshape(4, 900, 1))


def of_posterior(posterior):
    return {"x": posterior["x"], "square": posterior["x"] ** 2, "large": posterior["x"] > 1}


@pytest.fixture(scope="module")
def comparison(two_modes, draws):
    with two_modes.model:
        advi = pm.fit(2000, start={"x": 3.0}, random_seed=1, progressbar=False)
    return pkl.compare(draws, {"ADVI": advi}, model=two_modes, quantities=of_posterior, **QUIET)


@pytest.fixture(scope="module")
def table(comparison):
    return comparison["quantities"].to_dataset()


def near(row, name, truth):
    return abs(float(row[name]) - truth) < 5 * float(row[f"{name}_se"])


def test_the_reference_has_the_truth(table):
    row = table.sel(quantity="x", source="reference")
    mean = WEIGHTS @ LOCS
    assert near(row, "mean", mean)
    assert near(row, "sd", np.sqrt(WEIGHTS @ (SCALES**2 + (LOCS - mean) ** 2)))
    for name, prob in (("lower", 0.05), ("upper", 0.95)):
        assert near(row, name, brentq(lambda x, p=prob: cdf(x) - p, -10, 10))
    assert near(row, "positive", 1 - cdf(0))
    assert row["positive_lower"] < 1 - cdf(0) < row["positive_upper"]
    assert near(table.sel(quantity="square", source="reference"), "mean", WEIGHTS @ (SCALES**2 + LOCS**2))
    assert near(table.sel(quantity="large", source="reference"), "mean", 1 - cdf(1))
    assert float(row["mean_se"]) < 0.05
    assert float(row["positive_se"]) < 0.01


@pytest.mark.parametrize(("source", "ends"), [("mode 1", (SADDLE, 20)), ("mode 2", (-20, SADDLE))])
def test_each_mode_alone_has_the_truth_within_its_region(table, source, ends):
    row = table.sel(quantity="x", source=source)
    mass = cdf(ends[1]) - cdf(ends[0])
    mean = quad(lambda x: x * density(x), *ends)[0] / mass
    sd = np.sqrt(quad(lambda x: (x - mean) ** 2 * density(x), *ends)[0] / mass)
    assert near(row, "mean", mean)
    assert near(row, "sd", sd)
    assert row["kind"] == "mode"
    assert row["changes"] == "yes"


def test_who_changes_the_conclusion(table):
    x = table.sel(quantity="x")
    assert x.sel(source="given draws")["kind"] == "given"
    for source in ("given draws", "ADVI"):
        row = x.sel(source=source)
        assert (row["zero"], row["changes_interval"], row["changes_mean"]) == (BELOW, "yes", "yes")
        assert near(row, "off", (3 - 1.2) / 2.892750) or source == "ADVI"
        assert near(row, "below", 0.0) or float(row["below"]) < 0.01
    mixture = x.sel(source="forward mixture")
    assert (mixture["zero"], mixture["changes"]) == (INSIDE, "no")
    assert near(mixture, "above", 0.05)
    assert (x.sel(source="reference")["changes"], x.sel(source="reference")["zero"]) == ("", INSIDE)
    assert (table["error"] == "").all()
    assert (table["depends_on_copy"] == 0).all()


def test_quantities_change_no_other_number(comparison, two_modes, draws):
    fits = {"ADVI": pkl.as_approximation(comparison["approximations/ADVI"], model=two_modes)}
    with_them, without = (
        pkl.compare(draws, fits, model=two_modes, forward="fullrank", quantities=asked, **QUIET)
        for asked in ("x", None)
    )
    assert "quantities" not in without
    assert "quantities" not in json.loads(without.attrs["settings"])
    for group in ("posterior", "coverage", "parameters", "evidence"):
        xr.testing.assert_identical(with_them[group].to_dataset(), without[group].to_dataset())


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_they_are_saved_and_loaded(comparison, tmp_path, suffix):
    path = pkl.save(comparison, tmp_path / f"comparison{suffix}")
    xr.testing.assert_identical(pkl.load(path)["quantities"].to_dataset(), comparison["quantities"].to_dataset())


def test_the_table_to_read(comparison, two_modes, draws):
    table = pkl.summary(comparison, kind="quantities")
    assert table.columns.tolist() == ["mean", "sd", "90 % interval", "P(>0) (%)", "changes"]
    assert table.loc[("x", "ADVI"), "changes"] == "yes: mean, interval"
    assert table.index.get_level_values("source").unique().tolist()[:3] == [
        "reference",
        "given draws",
        "forward mixture",
    ]
    numbers = pkl.summary(comparison, kind="quantities", round_to="none")
    assert numbers.loc[("x", "mode 2"), "mean"] < -2.5
    without = pkl.compare(draws, {}, model=two_modes, forward=(), **QUIET)
    with pytest.raises(ValueError, match="has no quantities"):
        pkl.summary(without, kind="quantities")
    assert verdict_data(without)["quantities"] == {}


def test_report_terminal_and_data_begin_with_them(comparison):
    html = pkl.report(comparison).html
    sections = re.findall(r'<section id="(\w+)"', html)
    assert sections[:2] == ["verdict", "quantities"]
    assert "ADVI changes the conclusion on <code>x</code> and <code>large</code>." in html
    assert "Your draws change the conclusion on <code>x</code> and <code>large</code>." in html
    assert "Mode 2 alone changes the conclusion" in html
    assert verdict_data(comparison)["quantities"]["x"]["ADVI"] == "yes"
    printed = "\n".join(map(str, (getattr(part, "plain", "") for part in render(comparison, 120))))
    assert "yes: mean, interval" in printed
    assert "quantities=quantities" in reproduce(comparison)


def test_a_failure_on_one_fit_is_its_row_s_alone(two_modes, draws):
    """A mean-field normal of sd 2.9 reaches below -6.5, where there is no draw of the posterior."""

    def logarithm(posterior):
        return np.log(posterior["x"] + 6.5)

    def fails(posterior):
        if float(posterior["x"].min()) < -6.5:
            raise RuntimeError("too far left")
        return posterior["x"]

    asked = {"logarithm": logarithm, "fails": fails, "x": "x"}
    dt = pkl.compare(draws, {}, model=two_modes, forward="meanfield", quantities=asked, **QUIET)
    table = dt["quantities"].to_dataset()
    error = table["error"].sel(source="forward meanfield")
    assert re.fullmatch(r"ValueError: its values at \d+ of 2000 draws are not finite\.", str(error[0].item()))
    assert error[1] == "RuntimeError: too far left"
    assert error[2] == ""
    assert (table["error"].sel(source="reference") == "").all()
    assert np.isnan(table["mean"].sel(source="forward meanfield", quantity="fails"))
    assert pkl.summary(dt, kind="quantities").loc[("fails", "forward meanfield"), "changes"] == "–"
    assert "failed: RuntimeError: too far left" in pkl.report(dt).html


@pytest.mark.parametrize("asked", ["X", ["X"], {"effect": "X"}])
def test_an_unknown_variable_is_named(asked):
    with pytest.raises(ValueError, match=r"unknown variable 'X' in quantities; known are 'x'\. Did you mean 'x'\?"):
        check_known(asked, ["x"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["x", "x"], "'x' came more than once"),
        ({"a": lambda d: d["x"], "b": lambda d: d["z"]}, "the quantity 'b' can't be computed.*KeyError"),
        (lambda d: d["x"].mean("draw"), "must have the dims chain and draw.*draw by draw"),
        (lambda d: d["x"].isel(draw=slice(3)), "must have the dims chain and draw"),
        (lambda d: d["x"].astype(str), "must hold real numbers"),
        (lambda d: d["x"].values, "must return a DataArray, a Dataset or a dict"),
        ({"a": lambda d: d}, "must return a DataArray, draw by draw"),
        (lambda d: {}, "returned nothing"),
        (lambda d: np.log(d["x"] - 3), "not finite"),
    ],
)
def test_what_is_no_quantity_is_refused_before_the_work(two_modes, draws, asked, message):
    target = two_modes.with_density(None)  # no density could be evaluated
    given = as_posterior_draws(draws, two_modes)
    with pytest.raises(ValueError, match=message):
        asked_quantities(asked, target, given)


def test_a_constant_changes_no_conclusion_and_one_that_differs_does(two_modes):
    """Up to rounding: 0.1 · x / x has values a bit apart. Of an event that no draw shows, nothing is known."""
    fits = {"narrow": two_modes.to_dataset(np.random.default_rng(1).normal(3, 0.1, (4, 500, 1)))}
    asked = {
        "seven": lambda p: 7 + 0 * p["x"],
        "rounded": lambda p: 0.1 * p["x"] / p["x"],
        "event": lambda p: p["x"] > 1e3,
        "x": "x",
    }
    dt = pkl.compare(None, fits, model=two_modes, forward=(), quantities=asked, **QUIET)
    changes = dt["quantities"]["changes_mean"].sel(source="narrow")
    assert changes.values.tolist() == ["no", "no", "cannot tell", "yes"]


@pytest.mark.parametrize(
    "asked",
    [lambda p: p["x"] - p["x"].mean(), lambda p: p["x"] / p["x"].std(), lambda p: p["x"].cumsum("draw")[..., ::-1]],
)
@pytest.mark.parametrize("given", [True, False])
def test_what_depends_on_other_draws_is_refused(two_modes, draws, asked, given):
    with pytest.raises(ValueError, match="its value at a draw depends on the other draws"):
        asked_quantities(asked, two_modes, as_posterior_draws(draws, two_modes) if given else None)


def test_elements_are_named_as_arviz_names_them():
    with pm.Model(coords={"group": ["a", "b"]}) as model:
        pm.Normal("effect", dims="group")
        pm.Normal("mu", shape=2)
    target = Target.from_model(model)
    both = asked_quantities(["effect", "mu"], target, None)
    assert [each.labels for each in both] == [("effect[a]", "effect[b]"), ("mu[0]", "mu[1]")]
    (one,) = asked_quantities(lambda d: d["effect"].sel(group="b") - d["mu"], target, None)
    assert one.labels == ("quantity[0]", "quantity[1]")
    (one,) = asked_quantities({"gap": lambda d: d["effect"].diff("group")}, target, None)
    assert one.labels == ("gap[b]",)
    x = np.random.default_rng(1).normal(size=(50, 4))
    np.testing.assert_allclose(one.values(target.to_dataset(x[None]))[:, 0], x[:, 1] - x[:, 0])


def test_what_differs_between_copies_is_told():
    """Two components at -4 and 4 whose labels may be swapped: which of them is `mu[0]` is a choice."""
    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 10, shape=2)
        pm.NormalMixture("y", [0.5, 0.5], mu, sigma=1, observed=[-5, -4.5, -3.5, -3, 3, 3.5, 4.5, 5])
    asked = {"mu": "mu", "gap": lambda d: abs(d["mu"][..., 0] - d["mu"][..., 1])}
    dt = pkl.compare(None, {}, model=model, forward=(), quantities=asked, **QUIET)
    assert float(dt["modes"]["copies"][0]) == 2
    table = dt["quantities"].to_dataset()
    assert table["depends_on_copy"].values.tolist() == [1, 1, 0]
    left, right, gap = table.sel(source="reference").transpose("quantity")["mean"].values
    assert abs(abs(left - right) - gap) < 1e-3 < gap
    assert "there differ <code>mu[0]</code> and <code>mu[1]</code>" in pkl.report(dt).html


@pytest.mark.parametrize(
    ("interval", "where"),
    [
        ((0.96, 0.99), BELOW), ((0.01, 0.04), ABOVE), ((0.06, 0.94), INSIDE), ((0.94, 0.96), "cannot tell"),
        ((0.04, 0.5), "cannot tell"), ((0.0, 1.0), "cannot tell"),
    ],
)  # fmt: skip
def test_where_zero_lies(interval, where):
    assert zero_is(*interval) == where


def test_answers():
    sure, wide, left = (0.97, 0.99), (0.5, 0.97), (0.01, 0.04)
    assert changes_of_interval(sure, left) == "yes"
    assert changes_of_interval(sure, (0.2, 0.3)) == "yes"
    assert changes_of_interval(left, wide) == "yes"  # wherever wide is, it is not above
    assert changes_of_interval(sure, (0.96, 0.98)) == "no"
    assert changes_of_interval(sure, wide) == "cannot tell"
    assert changes_of_interval(wide, wide) == "cannot tell"
    assert changes_of_mean(Estimate(-0.4, 0.05)) == "yes"
    assert changes_of_mean(Estimate(0.1, 0.05)) == "no"
    assert changes_of_mean(Estimate(0.2, 0.05)) == "cannot tell"
    assert changes_of_mean(Estimate(np.nan, np.nan)) == "cannot tell"
    assert either("no", "yes") == either("cannot tell", "yes") == "yes"
    assert (either("no", "no"), either("no", "cannot tell")) == ("no", "cannot tell")


def test_intervals_of_probabilities_cover_at_both_ends(two_modes, rng):
    """400 draws each of N(loc, 1): in 300 replicates the 95 % interval of P(> 0) covers it, and no answer is wrong."""
    (quantity,) = asked_quantities("x", two_modes, None)
    for loc in (0.0, norm.ppf(0.95), 3.0):
        truth, n, covered, wrong = norm.cdf(loc), 400, 0, 0
        for _ in range(300):
            x = rng.normal(loc, 1, (n, 1))
            told = {"reference": Told("reference", Source(x, np.full(n, 1 / n)))}
            ds = describe_quantities(two_modes, [quantity], told, (x, x)).isel(quantity=0, source=0)
            covered += int(ds["positive_lower"] <= truth <= ds["positive_upper"])
            wrong += ds["zero"].item() == (BELOW if loc < 1 else ABOVE)
        assert covered >= 300 * 0.95 - 4 * np.sqrt(300 * 0.95 * 0.05)
        assert wrong == 0
