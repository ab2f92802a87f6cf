"""What tells modes apart, against closed forms: a prior of two normals and data of a normal."""

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy.stats import multivariate_normal, norm

import pymc_kl as pkl
from pymc_kl.prediction import tell_modes_apart

QUIET = {"random_seed": 1, "progressbar": False}
NOISE, SHARES, CENTRES = 3.0, np.array([0.9, 0.1]), np.array([-2.0, 2.0])
NUMBERS = np.random.default_rng(3).normal(0, NOISE, 30)


def model_of(y, spreads):
    with pm.Model(coords={"row": [f"r{i}" for i in range(len(y))]}) as model:
        x = pm.NormalMixture("x", SHARES, CENTRES, sigma=spreads)
        pm.Normal("y", x, NOISE, observed=y, dims="row")
    return model


def exact(y, spreads):
    """Log mass, mean and variance at each component, mean log likelihoods (row, k), divergence from the prior."""
    precision = 1 / spreads**2 + len(y) / NOISE**2
    mean, variance = (CENTRES / spreads**2 + y.sum() / NOISE**2) / precision, 1 / precision
    log_mass = np.log(SHARES) + [
        multivariate_normal.logpdf(y, np.full(len(y), centre), NOISE**2 * np.eye(len(y)) + spread**2)
        for centre, spread in zip(CENTRES, spreads, strict=True)
    ]
    likelihood = norm.logpdf(y[:, None], mean, NOISE) - variance / (2 * NOISE**2)
    to_component = 0.5 * ((variance + (mean - CENTRES) ** 2) / spreads**2 - 1 - np.log(variance / spreads**2))
    return log_mass, mean, variance, likelihood, to_component - np.log(SHARES)


@pytest.fixture(scope="module")
def told():
    """Data that favour the component which the prior does not, and spreads that differ."""
    y, spreads = NUMBERS - NUMBERS.mean() + 0.3, np.array([0.3, 0.5])
    model = model_of(y, spreads)
    comparison = pkl.compare(None, {}, model=model, forward=(), draws=4000, **QUIET)
    return model, comparison, tell_modes_apart(comparison, model), exact(y, spreads)


def near(row, name, truth):
    return abs(float(row[name]) - truth) < 5 * float(row[f"{name}_se"])


def test_the_closed_forms_are_consistent(told):
    """The log mass is the mean log likelihood less the divergence from the prior."""
    _, _, _, (log_mass, _, _, likelihood, divergence) = told
    np.testing.assert_allclose(log_mass, likelihood.sum(axis=0) - divergence, rtol=1e-10)


def test_prior_and_likelihood_have_their_parts(told):
    _, _, apart, (log_mass, _, _, likelihood, divergence) = told
    first, second = np.argsort(-log_mass)
    row = apart["modes"].to_dataset().sel(mode=2)
    assert near(row, "log_ratio", log_mass[first] - log_mass[second])
    assert near(row, "likelihood", (likelihood[:, first] - likelihood[:, second]).sum())
    assert near(row, "prior", divergence[second] - divergence[first])
    assert float(row["log_ratio_se"]) < 0.05
    assert float(row["likelihood_se"]) < 0.1
    np.testing.assert_allclose(row["likelihood"] + row["prior"], row["log_ratio"], rtol=1e-12)
    assert row["cause"] == "likelihood"
    assert (apart["modes"]["sentence"].sel(mode=1), apart["modes"]["cause"].sel(mode=1)) == ("", "")
    sentence = row["sentence"].item()
    assert sentence.startswith("Mode 2 differs from mode 1 most in x (")
    assert "the data favour mode 1 by " in sentence
    assert "the prior favours mode 2 by " in sentence


def test_parameters_and_observations(told):
    _, _, apart, (log_mass, mean, variance, likelihood, _) = told
    first, second = np.argsort(-log_mass)
    row = apart["parameters"].to_dataset().sel(parameter="x", mode=2)
    assert near(row, "mean", mean[second])
    assert abs(float(row["apart"]) / (abs(mean[0] - mean[1]) / np.sqrt(variance.mean())) - 1) < 0.1
    rows = apart["observations"].to_dataset().sel(mode=2)
    size = np.abs(rows["log_ratio"].values)
    assert (np.diff(size) <= 0).all()
    truth = likelihood[:, first] - likelihood[:, second]
    for i, value in enumerate(truth):
        assert near(rows.sel(observation=f"y[r{i}]"), "log_ratio", value)
    np.testing.assert_allclose(rows["log_ratio"].sum(), apart["modes"]["likelihood"].sel(mode=2), rtol=1e-9)
    largest = rows["observation"].values[0]
    assert f"{largest} ({size[0]:.2f} nats)" in apart["modes"]["sentence"].sel(mode=2).item()


def test_the_prior_is_the_cause_where_the_data_are_of_two_minds():
    """Data whose mean is in the middle: the modes' masses are the prior's, 9 to 1."""
    y, spreads = NUMBERS - NUMBERS.mean(), np.array([0.3, 0.3])
    model = model_of(y, spreads)
    comparison = pkl.compare(None, {}, model=model, forward=(), draws=4000, **QUIET)
    apart = tell_modes_apart(comparison, model)
    row = apart["modes"].to_dataset().sel(mode=2)
    assert near(row, "prior", np.log(9))
    assert near(row, "likelihood", 0)
    assert row["cause"] == "prior"
    assert "the data favour neither surely" in row["sentence"].item()


def test_it_is_saved_as_any_datatree(told, tmp_path):
    told[2].to_netcdf(tmp_path / "apart.nc")
    assert (tmp_path / "apart.nc").stat().st_size > 0


def test_what_is_not_known_is_said(told):
    model, comparison, _, _ = told
    few = comparison.copy()
    for group in ("posterior", "sample_stats"):
        few[group] = xr.DataTree(comparison[group].to_dataset().isel(draw=slice(30)))
    row = tell_modes_apart(few, model)["modes"].to_dataset().sel(mode=2)
    assert np.isnan(row["likelihood"])
    assert np.isfinite(row["log_ratio"])
    assert "what the data say is not known, what the prior says is not known" in row["sentence"].item()
    unknown = comparison.copy(deep=True)
    unknown["modes"].attrs["masses_known"] = 0
    row = tell_modes_apart(unknown, model)["modes"].to_dataset().sel(mode=2)
    assert np.isnan(row["log_ratio"])
    assert (row["cause"], "times as probable" in row["sentence"].item()) == ("cannot tell", False)


def test_what_has_no_modes_to_tell_apart_is_refused(told):
    model, comparison, _, _ = told
    one = comparison.copy()
    ds = comparison["modes"].to_dataset()
    one["modes"] = xr.DataTree(ds.assign(mass_upper=("mode", [1.0, 0.001])))
    with pytest.raises(ValueError, match="only one mode of this posterior may hold 1 %"):
        tell_modes_apart(one, model)
    older = comparison.copy()
    del older["parameters_by_mode"]
    with pytest.raises(ValueError, match="older version"):
        tell_modes_apart(older, model)
    with pm.Model() as other:
        pm.Normal("y", pm.Normal("z"), 1, observed=NUMBERS)
    with pytest.raises(ValueError, match="no variable 'z'"):
        tell_modes_apart(comparison, other)
    with pytest.raises(TypeError, match="var_name must be a str"):
        tell_modes_apart(comparison, model, var_name=5)
