"""Leave-one-out prediction against closed forms: a conjugate normal, and two modes that are normals."""

import warnings

import arviz_plots
import arviz_stats
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

import pymc_kl as pkl
from pymc_kl.approximations import MeanField
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.prediction import elpd_table, predict, predictive_checks
from pymc_kl.prediction.loo import good_k, psis_loo

QUIET = {"random_seed": 1, "progressbar": False}
Y = np.random.default_rng(1).normal(1, 1, 30)  # of N(mu, 1), mu ~ N(0, 10)
FAR = 2.5  # offset of the approximation that is wrong


def posterior(y, scale=10.0, mean=0.0, noise=1.0):
    """Mean and variance of a normal mean with a normal prior."""
    variance = 1 / (1 / scale**2 + len(y) / noise**2)
    return variance * (mean / scale**2 + y.sum() / noise**2), variance


def exact_loo(y):
    """Log density of each observation given the others."""
    rest = [posterior(np.delete(y, i)) for i in range(len(y))]
    return np.array([norm.logpdf(each, m, np.sqrt(v + 1)) for each, (m, v) in zip(y, rest, strict=True)])


def loo_as_it_is(y, loc, scale):
    """Take N(loc, scale) for the posterior: without an observation it is a normal of less precision."""
    precision = 1 / scale**2 - 1
    centre = (loc / scale**2 - y) / precision
    return norm.logpdf(y, centre, np.sqrt(1 / precision + 1))


def normal_model(y=Y):
    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 10)
        pm.Normal("y", mu, 1, observed=y)
    return model


@pytest.fixture(scope="module")
def conjugate():
    """A comparison with the right normal, one that is as wide but far off, and one that is too wide."""
    mean, variance = posterior(Y)
    sd = np.array([np.sqrt(variance)])
    fits = {
        "far": MeanField(loc=np.array([mean + FAR]), scale=sd),
        "wide": MeanField(loc=np.array([mean]), scale=1.3 * sd),
    }
    data = xr.Dataset({"y": ("y_dim_0", Y)})
    draws = xr.Dataset({"mu": (("chain", "draw"), np.random.default_rng(2).normal(mean, sd, (4, 1000)))})
    idata = xr.DataTree.from_dict({"posterior": draws, "observed_data": data})
    comparison = pkl.compare(idata, fits, model=normal_model(), forward="meanfield", draws=4000, **QUIET)
    return comparison, predict(comparison, normal_model(), idata=idata)


def near(prediction, source, truth):
    row = prediction.sel(source=source)
    return abs(float(row["elpd"]) - truth) < 5 * float(row["mc_se"])


def test_a_conjugate_normal_has_its_closed_form(conjugate):
    _, prediction = conjugate
    truth, (mean, variance) = exact_loo(Y), posterior(Y)
    assert near(prediction, "reference", truth.sum())
    assert near(prediction, "given draws", truth.sum())
    assert near(prediction, "wide", loo_as_it_is(Y, mean, 1.3 * np.sqrt(variance)).sum())
    assert near(prediction, "far", loo_as_it_is(Y, mean + FAR, np.sqrt(variance)).sum())
    assert near(prediction, "wide, corrected", truth.sum())
    row = prediction.sel(source="reference")
    np.testing.assert_allclose(row["elpd_i"], truth, atol=0.03)
    assert float(row["mc_se"]) < 0.05
    np.testing.assert_allclose(row["elpd_se"], np.sqrt(30) * truth.std(ddof=1), rtol=0.02)
    assert row["n_bad"] == 0


def test_what_each_miss_costs(conjugate):
    _, prediction = conjugate
    mean, variance = posterior(Y)
    pairs = loo_as_it_is(Y, mean + FAR, np.sqrt(variance)) - exact_loo(Y)
    far = prediction.sel(source="far")
    assert far["kind"] == "approximation"
    assert abs(float(far["diff"]) - pairs.sum()) < 5 * np.hypot(far["mc_se"], 0.05)
    np.testing.assert_allclose(far["diff_se"], np.sqrt(30) * pairs.std(ddof=1), rtol=0.1)
    assert far["matters"] == "cannot tell"
    assert far["sentence"].item().startswith("Whether far's miss matters for prediction cannot be told from its draws")
    assert far["note"].item().startswith("not corrected: its k-hat is ")
    assert "far, corrected" not in prediction["source"].values
    for source, said in (
        ("wide, corrected", "wide's miss, after importance correction, does not matter for prediction ("),
        ("given draws", "What the given draws miss does not matter for prediction ("),
    ):
        assert prediction["matters"].sel(source=source) == "no"
        assert prediction["sentence"].sel(source=source).item().startswith(said)
    table = elpd_table(prediction)
    assert table.loc["far", "matters"] == "cannot tell"
    assert table.loc["reference", ["difference", "matters"]].tolist() == ["–", "–"]


@pytest.mark.parametrize("scale", [0.05, 0.4, 1.7])
def test_a_spread_that_is_wrong_neither_costs_nor_improves(scale):
    """By weights a normal that is too narrow predicts better than the posterior, which nothing does on average."""
    mean, variance = posterior(Y)
    draws = {"mu": (("chain", "draw"), np.random.default_rng(1).normal(mean, scale * variance**0.5, (4, 500)))}
    comparison = pkl.compare(None, {"q": xr.Dataset(draws)}, model=normal_model(), forward=(), **QUIET)
    row = predict(comparison, normal_model()).sel(source="q")
    assert row["matters"] == "cannot tell"
    assert not {"costs", "improves"} & set(row["sentence"].item().split())


def test_new_data_have_the_spread_of_prediction(conjugate):
    """Of N(mean, variance + 1) by the reference, and as far off as the approximation is."""
    comparison, _ = conjugate
    checks = predictive_checks(comparison, normal_model(), draws=2000, random_seed=1)
    new, (mean, variance) = checks["posterior_predictive"].to_dataset(), posterior(Y)
    assert list(new.data_vars) == list(checks["observed_data"].data_vars)
    assert {"reference", "far", "wide", "forward meanfield"} == {*new.data_vars}
    for name, offset, scale in (("reference", 0.0, 1.0), ("far", FAR, 1.0), ("wide", 0.0, 1.3)):
        each = new[name].mean("y_dim_0")  # whose sd is that of the mean of 30 and of the parameter
        sd = np.sqrt(scale**2 * variance + 1 / 30)
        assert abs(float(each.mean()) - mean - offset) < 5 * sd / np.sqrt(2000)
        assert abs(float(each.std()) / sd - 1) < 5 / np.sqrt(2 * 2000)
    np.testing.assert_array_equal(checks["observed_data"]["far"], Y)
    again = predictive_checks(comparison, normal_model(), draws=2000, random_seed=1)
    xr.testing.assert_identical(again["posterior_predictive"].to_dataset(), new)
    panels = arviz_plots.plot_ppc_dist(checks, backend="none", num_samples=3)
    assert {*panels.viz["predictive_dist"].data_vars} == {*new.data_vars}


def test_which_data_to_draw_must_be_clear(conjugate):
    comparison, _ = conjugate
    with pm.Model() as several:
        mu = pm.Normal("mu", 0, 10)
        for name in ("one", "two"):
            pm.Normal(name, mu, 1, observed=[1.0])
    with pytest.raises(ValueError, match="several observed variables: give var_name, one of 'one', 'two'"):
        predictive_checks(comparison, several)
    with pytest.raises(ValueError, match="unknown observed variable 'on' in var_name; known are 'one', 'two'"):
        predictive_checks(comparison, several, var_name="on")
    with pytest.raises(ValueError, match="draws must be at least 1"):
        predictive_checks(comparison, several, draws=0)


def test_it_is_saved_as_any_dataset(conjugate, tmp_path):
    _, prediction = conjugate
    prediction.to_netcdf(tmp_path / "prediction.nc")
    with warnings.catch_warnings(), xr.open_dataset(tmp_path / "prediction.nc") as again:
        assert again["sentence"].values.tolist() == prediction["sentence"].values.tolist()


def test_minibatches_are_all_the_data(conjugate):
    comparison, prediction = conjugate
    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 10)
        pm.Normal("y", mu, 1, observed=pm.Minibatch(Y, batch_size=5), total_size=30)
    whole = predict(comparison, model)
    np.testing.assert_allclose(whole["elpd_i"], prediction.drop_sel(source="given draws")["elpd_i"], rtol=1e-10)


def test_another_model_or_other_data_are_refused(conjugate):
    comparison, _ = conjugate
    with pytest.raises(ValueError, match="other data of 'y'"):
        predict(comparison, normal_model(Y + 1))
    with pytest.raises(ValueError, match="other data of 'y'"):
        predict(comparison, normal_model(Y[1:]))
    with pm.Model() as other:
        pm.Normal("z", pm.Normal("nu"), 1, observed=[1.0])
    with pytest.raises(ValueError, match="no variable 'nu'"):
        predict(comparison, other)
    with pytest.raises(ValueError, match="no model"):
        predict(comparison)
    with pytest.raises(TypeError, match="var_name must be a str"):
        predict(comparison, normal_model(), var_name=5)
    with pytest.raises(TypeError, match="idata, the first argument of predict"):
        predict(comparison, normal_model(), idata=5)
    with pytest.raises(TypeError, match="prediction must be a Dataset"):
        elpd_table(comparison)


NOISE, SHARES, CENTRES, SPREAD = 3.0, np.array([0.9, 0.1]), np.array([-2.0, 2.0]), 0.3
SEEN = np.random.default_rng(3).normal(0.3, NOISE, 30)


def log_z(y):
    """Log marginal likelihood of data under each component of the prior."""
    covariance = NOISE**2 * np.eye(len(y)) + SPREAD**2
    return np.array([multivariate_normal.logpdf(y, np.full(len(y), centre), covariance) for centre in CENTRES])


@pytest.fixture(scope="module")
def two_modes():
    with pm.Model() as model:
        x = pm.NormalMixture("x", SHARES, CENTRES, sigma=SPREAD)
        pm.Normal("y", x, NOISE, observed=SEEN)
    weights = SHARES * np.exp(log_z(SEEN) - log_z(SEEN).max())
    best = int(np.argmax(weights))
    mean, variance = posterior(SEEN, SPREAD, CENTRES[best], NOISE)
    fits = {"one mode": MeanField(loc=np.array([mean]), scale=np.array([np.sqrt(variance)]))}
    comparison = pkl.compare(None, fits, model=model, forward=(), draws=4000, **QUIET)
    return model, comparison, predict(comparison, model), weights / weights.sum()


def test_two_modes_have_their_closed_form(two_modes):
    """Leaving out y_i changes the masses of the modes too: p(y_i | rest) is a ratio of marginal likelihoods."""
    _, comparison, prediction, weights = two_modes
    rest = np.array([log_z(np.delete(SEEN, i)) for i in range(len(SEEN))])
    whole = logsumexp(log_z(SEEN), b=SHARES) - logsumexp(rest, b=SHARES, axis=1)
    assert near(prediction, "reference", whole.sum())
    np.testing.assert_allclose(prediction["elpd_i"].sel(source="reference"), whole, atol=0.02)
    order = np.argsort(-weights)
    np.testing.assert_allclose(comparison["modes"]["mass"], weights[order], atol=0.02)
    for number, k in enumerate(order, 1):
        alone = (log_z(SEEN)[k] - rest[:, k]).sum()
        assert near(prediction, f"mode {number}", alone)
        row = prediction.sel(source=f"mode {number}")
        assert abs(float(row["diff"]) - (alone - whole.sum())) < 5 * np.hypot(row["mc_se"], prediction["mc_se"][0])
        assert "eporting mode" in row["sentence"].item()
    best = (log_z(SEEN)[order[0]] - rest[:, order[0]]).sum()
    assert near(prediction, "one mode", best)
    assert near(prediction, "one mode, corrected", best)  # k-hat can't see the other mode


def test_too_few_draws_of_a_mode_are_told(two_modes):
    model, comparison, prediction, _ = two_modes
    few = comparison.copy()
    for group in ("posterior", "sample_stats"):
        few[group] = xr.DataTree(comparison[group].to_dataset().isel(draw=slice(60)))
    again = predict(few, model)
    n = int((few["sample_stats"]["mode"] == 2).sum())
    row = again.sel(source="mode 2")
    assert n < 100
    assert row["error"] == f"it has {n} draws of the 100 that leaving out needs"
    assert np.isnan(row["elpd"])
    assert np.isfinite(again["elpd"].sel(source="reference"))
    assert elpd_table(again).loc["mode 2", "elpd"] == "–"
    assert prediction["error"].sel(source="mode 2") == ""


def test_probability_zero_is_that_source_s_error(conjugate):
    comparison, _ = conjugate
    dt = comparison.copy(deep=True)
    dt["approximations/far/posterior"]["mu"][0, :3] = 1e200
    row = predict(dt, normal_model()).sel(source="far")
    assert row["error"] == "the log likelihood at 3 of 4000 draws is not finite"
    assert np.isnan(row["elpd"])
    assert (row["matters"], row["sentence"]) == ("", "")


def test_numbers_are_those_of_arviz(rng):
    theta, y = rng.normal(0.8, 0.3, 500), rng.normal(1, 1, 7)
    ll, log_q = norm.logpdf(y[None], theta[:, None]), norm.logpdf(theta, 0.8, 0.3)
    log_p = norm.logpdf(theta, 0.9, 0.28)
    dims = ("chain", "draw", "observation")
    dt = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset({"theta": (dims[:2], theta[None])}),
            "log_likelihood": xr.Dataset({"y": (dims, ll[None])}),
        }
    )
    theirs = arviz_stats.loo(dt, pointwise=True, reff=1.0)
    ours = psis_loo(ll)
    np.testing.assert_allclose(ours.elpd, theirs.elpd_i.values, rtol=1e-12)
    np.testing.assert_allclose(ours.pareto_k, theirs.pareto_k.values, rtol=1e-12)
    np.testing.assert_allclose([ours.p_loo.sum(), ours.good_k], [theirs.p, theirs.good_k], rtol=1e-10)
    corrected = psis_loo(ll, log_p - log_q)
    theirs = arviz_stats.loo_approximate_posterior(dt, log_p=log_p[None], log_q=log_q[None], pointwise=True)
    np.testing.assert_allclose(corrected.elpd, theirs.elpd_i.values, rtol=1e-10)


@pytest.mark.parametrize("corrected", [False, True])
def test_the_monte_carlo_error_is_right(rng, corrected):
    """In 300 replicates the error of the sum over observations, in units of that reported, is standard normal."""
    truth, (mean, variance), z = exact_loo(Y).sum(), posterior(Y), []
    for _ in range(300):
        scale = np.sqrt(variance) * (1.3 if corrected else 1)
        theta = rng.normal(mean, scale, 1000)
        weights = norm.logpdf(theta, mean, np.sqrt(variance)) - norm.logpdf(theta, mean, scale) if corrected else None
        loo = psis_loo(norm.logpdf(Y[None], theta[:, None]), weights)
        z.append((loo.elpd.sum() - truth) / (loo.influence.std() / np.sqrt(1000)))
    assert 0.85 < np.std(z) < 1.15
    assert abs(np.mean(z)) < 0.3


def test_few_observations_at_a_time_give_the_same(rng, monkeypatch):
    ll = rng.normal(size=(200, 9))
    whole = psis_loo(ll)
    monkeypatch.setattr("pymc_kl.prediction.loo.AT_ONCE", 400)
    parts = psis_loo(ll)
    np.testing.assert_allclose(parts.elpd, whole.elpd, rtol=1e-12)
    np.testing.assert_allclose(parts.influence, whole.influence, rtol=1e-9, atol=1e-9)
    assert good_k(100) == 0.5
    assert good_k(10**6) == 0.7


def test_a_difference_that_hangs_on_bad_weights_is_no_answer(rng):
    """40 observations that agree, and one that a handful of draws decide."""
    from pymc_kl.prediction.predict import _compared

    ll = rng.normal(-1, 0.05, (1000, 41))
    ll[:, 0] = -(rng.standard_cauchy(1000) ** 2)
    worse = ll.copy()
    worse[:, 0] -= 30
    first, second = psis_loo(ll), psis_loo(worse)
    assert first.bad.tolist() == [True] + 40 * [False]
    difference, answer = _compared(second, first, 0.0)
    assert difference.value < -25
    assert answer == "cannot tell"
    reliable = psis_loo(ll[:, 1:])
    assert _compared(reliable, reliable, 0.1) == (Estimate(0.0, 0.1), "no")
    lower = psis_loo(ll[:, 1:] - 1)
    assert _compared(lower, reliable, 0.1)[1] == "yes"
