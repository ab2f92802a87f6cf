"""Draws larger than memory: what is loaded is told, and fits to all of them are those of the same draws in memory."""

import json

import numpy as np
import pymc as pm
import pytest
import xarray as xr

import pymc_kl as pkl
from pymc_kl.approximations import FAMILIES
from pymc_kl.approximations.training import Training
from pymc_kl.fitting import fit_forward
from pymc_kl.fitting.forward import fit_family
from pymc_kl.fitting.in_parts import refined
from pymc_kl.model import as_posterior_draws, as_target, files, large_draws
from pymc_kl.model.large_draws import LargeDraws
from pymc_kl.model.named_draws import read_draws

N_CHAINS, N_DRAWS = 3, 5_000
LARGE = 10_000  # numbers, so that a test needs no gigabyte


@pytest.fixture(scope="module")
def target():
    with pm.Model() as model:
        pm.NormalMixture("x", w=[0.3, 0.7], mu=[-3, 3], sigma=[0.6, 1])
        pm.HalfNormal("s", 1.0)
    return as_target(model)


@pytest.fixture(scope="module")
def draws():
    rng = np.random.default_rng(1)
    shape = (N_CHAINS, N_DRAWS)
    x = np.where(rng.random(shape) < 0.3, rng.normal(-3, 0.6, shape), rng.normal(3, 1, shape))
    dims = ("chain", "draw")
    s, weight = np.abs(rng.normal(size=shape)), rng.random(shape)
    return xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset({"x": (dims, x), "s": (dims, s)}),
            "sample_stats": xr.Dataset({"weight": (dims, weight)}),
        }
    )


@pytest.fixture
def few_are_large(monkeypatch):
    monkeypatch.setattr(files, "LARGE", LARGE)
    monkeypatch.setattr(large_draws, "SAMPLED", 2_000)
    monkeypatch.setattr(large_draws, "PART_NUMBERS", 7_000)


def unweighted(draws):
    return xr.DataTree.from_dict({"posterior": draws["posterior"].to_dataset()})


STORES = {
    "memory": lambda draws, folder: draws,
    "dask": lambda draws, folder: draws.chunk({"chain": 1, "draw": 1_700}),
    "file": lambda draws, folder: stored(draws, folder),
}


def stored(draws, folder):
    path = folder / "draws.zarr"
    draws.chunk({"chain": 2, "draw": 900}).to_zarr(path, consolidated=False)
    return path


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("family", ["meanfield", "fullrank"])
@pytest.mark.usefixtures("few_are_large")
def test_gaussians_match_the_moments_of_all_draws(store, family, target, draws, tmp_path):
    u = np.stack([draws["posterior"]["x"].values.ravel(), np.log(draws["posterior"]["s"].values.ravel())], axis=1)
    weights = draws["sample_stats"]["weight"].values.ravel()
    with pytest.warns(UserWarning, match=r"15,000 draws of 2 numbers take 0\.0 GB, .* one draw in 8 of each"):
        q = fit_forward(STORES[store](draws, tmp_path), family, model=target, random_seed=1)
    covariance = np.cov(u.T, aweights=weights, bias=True)
    np.testing.assert_allclose(q.loc, weights @ u / weights.sum(), rtol=1e-10)
    np.testing.assert_allclose(
        q.covariance, covariance if family == "fullrank" else np.diag(np.diag(covariance)), rtol=1e-10
    )


@pytest.mark.parametrize("family", ["mixture", "studentt_mixture"])
@pytest.mark.usefixtures("few_are_large")
def test_mixtures_are_those_of_all_draws_in_memory(family, target, draws):
    """EM takes the same steps from the fit to the sample, whether all draws are in memory or not."""
    with pytest.warns(UserWarning, match="one draw in 8"):
        sample = as_posterior_draws(draws, target)
    start = fit_family(family, sample, None, rng=np.random.default_rng(1), quiet=True)
    parts = refined(start, LargeDraws.of(draws, target))
    x = target.unconstrain(draws).reshape(-1, 2)
    whole = FAMILIES[family].fit(Training(x, draws["sample_stats"]["weight"].values.ravel(), start=start))
    assert parts.info.n_iterations == whole.info.n_iterations
    np.testing.assert_allclose(parts.log_prob(x), whole.log_prob(x), atol=1e-5)
    assert abs(parts.log_prob(x) - start.log_prob(x)).max() > 1e-3


@pytest.mark.usefixtures("few_are_large")
def test_a_family_that_needs_all_draws_at_once_says_that_it_saw_a_sample(target, draws):
    with pytest.warns(UserWarning, match="one draw in 8"):
        q = fit_forward(unweighted(draws), "studentt", model=target, random_seed=1)
    assert any("fitted to a sample: 15,000 draws" in sentence for sentence in q.info.warnings)


@pytest.mark.usefixtures("few_are_large")
def test_the_sample_is_every_seventh_draw_of_each_chain(target, draws):
    with pytest.warns(UserWarning, match="one draw in 8"):
        sample = as_posterior_draws(draws, target)
    np.testing.assert_array_equal(sample.x[..., 0], draws["posterior"]["x"].values[:, ::8][:, : sample.x.shape[1]])
    weight = draws["sample_stats"]["weight"].values[:, ::8]
    np.testing.assert_allclose(sample.weights, weight / weight.sum())
    assert "one draw in 8 of each chain is" in sample.read


def test_few_draws_are_read_whole_and_silently(target, draws):
    assert as_posterior_draws(draws, target).read == ""
    assert as_posterior_draws(draws, target).x.shape == (N_CHAINS, N_DRAWS, 2)


@pytest.mark.usefixtures("few_are_large")
def test_a_comparison_says_which_draws_it_read(target, draws):
    with pytest.warns(UserWarning, match="one draw in 8"):
        comparison = pkl.compare(
            unweighted(draws), {}, model=target, forward="meanfield", random_seed=1, progressbar=False
        )
    assert "one draw in 8" in json.loads(comparison.attrs["settings"])["draws_read"]
    mass, mass_se = (comparison["modes"][name].values for name in ("mass", "mass_se"))
    assert (abs(mass - [0.7, 0.3]) < 5 * mass_se + 1e-3).all()


@pytest.mark.usefixtures("few_are_large")
def test_the_file_is_not_loaded(draws, tmp_path):
    tree = read_draws(stored(draws, tmp_path))
    assert not tree["posterior"].to_dataset()["x"].variable._in_memory


@pytest.mark.usefixtures("few_are_large")
def test_draws_that_are_not_finite_are_found_in_every_part(target, draws):
    spoilt = unweighted(draws).copy(deep=True)
    spoilt["posterior"]["x"].values[2, 4_999] = np.nan
    with pytest.warns(UserWarning, match="one draw in 8"), pytest.raises(ValueError, match="1 NaN or infinite"):
        fit_forward(spoilt, "meanfield", model=target)
