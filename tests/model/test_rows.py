"""A density that is estimated from some of the rows agrees with that of all, by the error that is told."""

import json

import numpy as np
import pymc as pm
import pytest
from scipy.special import expit, gammaln

from pymc_kl import compare
from pymc_kl.model import subsampled
from pymc_kl.model.target import as_target

N, D = 20_000, 3
QUIET = {"random_seed": 1, "progressbar": False}


@pytest.fixture(scope="module")
def logistic():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(N, D))
    y = rng.binomial(1, expit(x @ [0.5, -0.3, 0.2])).astype("int32")
    with pm.Model() as model:
        rows, seen = pm.Minibatch(x, y, batch_size=100)
        intercept = pm.Normal("intercept", 0, 1)
        beta = pm.Normal("beta", 0, 1, shape=D)
        pm.Bernoulli("y", logit_p=intercept + rows @ beta, observed=seen, total_size=N)
    return model


@pytest.fixture(scope="module")
def estimated(logistic):
    return subsampled(logistic, n_rows=1000, random_seed=1)


def near(estimated, seed, width):
    rng = np.random.default_rng(seed)
    at = estimated.target._evaluator.at
    return at + width / np.sqrt(N) * rng.standard_normal((50, len(at)))


def test_it_is_off_by_what_it_says(logistic, estimated):
    """At points it was not checked at, about as wide as the posterior: sd of a slope is about 2 / sqrt(N)."""
    x = near(estimated, 5, 2.2)
    off = estimated.target.log_density(x) - as_target(logistic).log_density(x)
    assert 0 < estimated.error < 0.05
    assert np.sqrt((off**2).mean()) < 3 * estimated.error


def test_rows_alone_are_far_off(logistic, estimated):
    """The expansion is what makes it good: a twentieth of the rows, scaled, is off by nats."""
    x = near(estimated, 5, 2.2)
    off = estimated.target._evaluator.density.value(x) - as_target(logistic).log_density(x)
    assert (off - off.mean()).std() > 20 * estimated.error


@pytest.mark.parametrize("width", [3.0, 30.0, 100.0, 3000.0])
def test_its_gradient_is_that_of_its_value(estimated, width):
    """Within its reach, about its edge and far beyond, where the correction is pulled back."""
    x, step = near(estimated, 7, width), 1e-5 * max(width / 30, 1)
    grad = estimated.target.log_density_and_grad(x)[1]
    for i in range(x.shape[1]):
        move = step * np.eye(x.shape[1])[i]
        slope = (estimated.target.log_density(x + move) - estimated.target.log_density(x - move)) / (2 * step)
        np.testing.assert_allclose(grad[:, i], slope, rtol=1e-4, atol=1e-3)


def test_its_correction_is_whole_within_its_reach_and_bounded_beyond(estimated):
    density = estimated.target._evaluator
    to_some = np.linalg.inv(np.linalg.cholesky(density.precision)).T @ np.eye(D + 1)[0]

    def correction(r):
        x = density.at + r * to_some[None]
        return (density.value(x) - density.density.value(x)).item()

    def quadratic(r):
        away = r * to_some
        return density.constant + away @ density.slope + 0.5 * away @ density.curvature @ away

    for r in (0.0, 0.5, 0.999):
        assert correction(r * density.reach) == pytest.approx(quadratic(r * density.reach), rel=1e-6)
    assert correction(1e6 * density.reach) == pytest.approx(quadratic(2 * density.reach), rel=1e-6)
    assert f"{density.reach:.0f} standard deviations" in estimated.told


def test_it_says_what_it_rests_on(estimated):
    assert "1,000 of 20,000 rows" in estimated.told
    assert estimated.target.about == estimated.told


def test_all_rows_are_used_where_there_is_time(logistic):
    whole = subsampled(logistic, n_rows=1000, budget=1e6)
    assert whole.error == 0
    assert "all 20,000 rows" in whole.told
    x = np.zeros((1, D + 1))
    np.testing.assert_allclose(whole.target.log_density(x), as_target(logistic).log_density(x))


def test_a_normal_likelihood_is_exact(rng):
    """Its log density is quadratic, so that the expansion leaves nothing to estimate."""
    y = rng.normal(1.0, 1.0, 5000)
    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 1)
        pm.Normal("y", mu, 1.0, observed=pm.Minibatch(y, batch_size=10), total_size=5000)
    normal = subsampled(model, n_rows=50, random_seed=1)
    x = y.mean() + np.linspace(-4, 4, 9)[:, None] / np.sqrt(5000)
    truth = -0.5 * x[:, 0] ** 2 - 0.5 * ((y - x) ** 2).sum(axis=1) - 0.5 * 5001 * np.log(2 * np.pi)
    np.testing.assert_allclose(normal.target.log_density(x), truth, rtol=1e-7)


def test_a_comparison_with_it_has_the_truth_of_all_rows(rng):
    """A normal's mean and precision under their conjugate prior: log Z and the means are known."""
    n, (shape, rate, centre, strength) = 100_000, (2.0, 3.0, 0.5, 0.1)
    y = rng.normal(1.0, 2.0, n)
    with pm.Model() as model:
        tau = pm.Gamma("tau", shape, rate)
        mu = pm.Normal("mu", centre, tau=strength * tau)
        pm.Normal("y", mu, tau=tau, observed=pm.Minibatch(y, batch_size=100), total_size=n)
    estimated = subsampled(model, n_rows=2000, random_seed=1)
    comparison = compare(model=estimated.target, reverse="meanfield", forward="fullrank", **QUIET)
    strengths, shapes = strength + n, shape + n / 2
    mean = (strength * centre + n * y.mean()) / strengths
    rates = rate + 0.5 * ((y - y.mean()) ** 2).sum() + 0.5 * strength * n * (y.mean() - centre) ** 2 / strengths
    log_z = gammaln(shapes) - gammaln(shape) + shape * np.log(rate) - shapes * np.log(rates)
    log_z += 0.5 * np.log(strength / strengths) - 0.5 * n * np.log(2 * np.pi)
    evidence = comparison["evidence"].to_dataset()
    assert estimated.error < 0.1
    assert abs(float(evidence["log_evidence"]) - log_z) < 5 * float(evidence["log_evidence_se"]) + estimated.error
    assert comparison["modes"].sizes["mode"] == 1
    parameters = comparison["parameters"].to_dataset().sel(source="reference")
    for name, truth in (("mu", mean), ("tau", shapes / rates)):
        found, error = (float(parameters[name].sel(statistic=s)) for s in ("mean", "mean_se"))
        assert abs(found - truth) < 5 * error + 0.01 * float(parameters[name].sel(statistic="sd"))
    assert json.loads(comparison.attrs["settings"])["density"] == estimated.told


def test_an_estimate_that_is_too_rough_is_told(rng):
    """Few rows do not make a posterior normal, and fewer of them do not tell its shape."""
    x = 3 * rng.normal(size=40)
    with pm.Model() as model:
        rows, seen = pm.Minibatch(x, (x > 1).astype("int32"), batch_size=10)
        pm.Bernoulli("y", logit_p=pm.Normal("a", 0, 2) + pm.Normal("b", 0, 2) * rows, observed=seen, total_size=40)
    with pytest.warns(UserWarning, match="Take more n_rows"):
        assert subsampled(model, n_rows=4, random_seed=1).error > 0.1


def test_a_model_that_does_not_say_what_its_rows_are_is_refused():
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("mu"), 1.0, observed=np.zeros(10))
    with pytest.raises(ValueError, match=r"by pm\.Minibatch what its rows are"):
        subsampled(model)
