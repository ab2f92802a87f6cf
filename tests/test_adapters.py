"""Fits of the real PyMC come in exactly, whatever the order of their variables."""

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy import stats

from pymc_kl import Target, as_approximation
from pymc_kl.approximations import Draws, FullRank, MeanField


@pytest.fixture(scope="module")
def model():
    with pm.Model(coords={"g": ["a", "b", "c"]}) as model:
        pm.Beta("share", 2.0, 3.0)
        scale = pm.HalfNormal("scale", 1.0)
        pm.Normal("mu", 0.0, scale, dims="g")
        pm.Normal("y", model["mu"], 1.0, observed=np.array([0.5, -0.3, 2.0]))
    return model


@pytest.fixture(scope="module")
def target(model):
    return Target.from_model(model)


@pytest.fixture(scope="module")
def fits(model):
    with model:
        return {
            method: pm.fit(50, method=method, random_seed=1, progressbar=False)
            for method in ("advi", "fullrank_advi", "svgd")
        }


def moments_of(fit, target):
    """Mean and covariance of many of the fit's own draws, read by name."""
    draws = fit.sample_dict_fn(100_000, random_seed=1)
    x = np.concatenate([draws[v.value_name].reshape(100_000, -1) for v in target.variables], axis=1)
    return x.mean(axis=0), np.cov(x.T)


@pytest.mark.parametrize(("method", "family"), [("advi", MeanField), ("fullrank_advi", FullRank)])
def test_gaussian_fits_are_exact(method, family, fits, target):
    q = as_approximation(fits[method], model=target)
    assert isinstance(q, family)
    assert q.kind == "reverse"
    assert len(q.info["history"]) == 50
    order = [fits[method].ordering[v.value_name][1] for v in target.variables]
    index = np.concatenate([np.arange(s.start, s.stop) for s in order])
    mean, cov = fits[method].mean.eval()[index], fits[method].cov.eval()[np.ix_(index, index)]
    np.testing.assert_allclose(q.loc, mean, atol=1e-12)
    np.testing.assert_allclose(q.covariance, cov, atol=1e-10)
    x = q.sample(5, random_seed=1)
    np.testing.assert_allclose(q.log_prob(x), stats.multivariate_normal(mean, cov).logpdf(x), atol=1e-9)


@pytest.mark.parametrize("method", ["advi", "fullrank_advi"])
def test_draws_agree_with_pymc_s_own(method, fits, target):
    q = as_approximation(fits[method], model=target)
    mean, cov = moments_of(fits[method], target)
    sd = np.sqrt(np.diag(cov))
    np.testing.assert_allclose((q.loc - mean) / sd, 0, atol=5 / np.sqrt(100_000))
    np.testing.assert_allclose(q.covariance / np.outer(sd, sd), cov / np.outer(sd, sd), atol=0.03)


def test_particles_have_no_density(fits, target):
    q = as_approximation(fits["svgd"], model=target)
    assert isinstance(q, Draws)
    assert not q.has_log_prob
    x = q.sample(len(q.x), random_seed=0)
    np.testing.assert_allclose(np.sort(x, axis=0), np.sort(q.x, axis=0))


@pytest.mark.slow
def test_amortised_svgd_comes_in(target):
    with target.model, pytest.warns(UserWarning, match="experimental"):
        fit = pm.fit(20, method="asvgd", random_seed=1, progressbar=False)
    assert as_approximation(fit, model=target).d == target.d


@pytest.mark.slow
def test_an_approximation_of_several_groups_is_draws(model, target):
    with model:
        groups = [pm.variational.opvi.Group([model["mu"]], vfam="mf"), pm.variational.opvi.Group(None, vfam="fr")]
        fit = pm.variational.opvi.Approximation(groups)
    q = as_approximation(fit, model=target)
    assert isinstance(q, Draws)
    assert q.d == target.d


def test_draws_and_own_approximations_come_in(target, rng):
    x = rng.normal(size=(2, 10, target.d))
    q = as_approximation(target.to_dataset(x), model=target)
    np.testing.assert_allclose(q.x, x.reshape(20, -1), atol=1e-10)
    assert as_approximation(q, model=target) is q


def test_fits_of_another_model_are_refused_by_name(fits):
    with pm.Model() as other:
        pm.Normal("mu", 0, 1, shape=2)
    for method in ("advi", "svgd"):
        with pytest.raises(ValueError, match=r"another model: .*'scale_log__' has shape \(\) there and none here"):
            as_approximation(fits[method], model=other)
    with pytest.raises(TypeError, match="cannot read a fit of type dict; known are"):
        as_approximation({}, model=other)


def test_inside_a_model_context(fits, model):
    with model:
        assert as_approximation(fits["advi"]).d == 5
    assert isinstance(as_approximation(xr.Dataset({"x": (("chain", "draw"), np.zeros((1, 4)))}), model=_one()), Draws)


def _one() -> pm.Model:
    with pm.Model() as model:
        pm.Normal("x")
    return model
