"""Draws of real samplers come in by name, in their own objects, as DataTrees and from files."""

import importlib.resources
import logging
import os
import subprocess
import sys

import arviz_base
import blackjax
import cmdstanpy
import emcee
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import nutpie
import pymc as pm
import pytest
import xarray as xr
from numpyro.distributions import constraints
from numpyro.infer import HMC, MCMC, SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoNormal
from pymc.sampling.jax import get_jaxified_logp
from support.adapter_models import (
    CONCENTRATION,
    CUT_LOC,
    PACE,
    K,
    N,
    Y,
    assert_same_draws,
    build_model,
    other_model,
    quickly,
)

import pymc_kl as pkl
from pymc_kl import as_approximation
from pymc_kl.adapters import ADAPTERS
from pymc_kl.model.target import Target

AS_GIVEN = {"reference": "as given", "forward": (), "reverse": (), "n_starts": 4, "symmetry": False, "draws": 100}
AS_GIVEN |= {"random_seed": 1, "progressbar": False}
SINGLE = 1e-4  # relative error of draws in single precision, near a bound


@pytest.fixture(scope="module")
def target():
    return Target.from_model(build_model())


@pytest.fixture(scope="module")
def x(target):
    """Points of the unconstrained space from which ensembles start."""
    return target.initial_points(24, np.random.default_rng(1))


def flat(posterior: xr.Dataset) -> xr.Dataset:
    return posterior.stack(sample=("chain", "draw"), create_index=False).transpose("sample", ...)


# NumPyro
def in_numpyro() -> None:
    numpyro.sample("w", dist.Dirichlet(CONCENTRATION))
    cut = numpyro.sample("cut", dist.ImproperUniform(constraints.ordered_vector, (), (2,)))
    numpyro.factor("prior of cut", dist.Normal(CUT_LOC, 0.5).log_prob(cut).sum())
    share = numpyro.sample("share", dist.Beta(5.0, 4.0))
    scale = numpyro.sample("scale", dist.Gamma(6.0, 4.0))
    with numpyro.plate("somewhere", 2):
        speed = numpyro.sample("speed", dist.Uniform(1.0, 3.0))
        mu = numpyro.sample("mu", dist.Normal(cut, scale))
        numpyro.sample("y", dist.Normal(mu, 0.5), obs=Y)
        numpyro.sample("pace", dist.Normal(speed, 0.3), obs=PACE)
    numpyro.sample("k", dist.Binomial(N, share), obs=K)


@pytest.fixture(scope="module")
def mcmc():
    kernel = HMC(in_numpyro, trajectory_length=1.0)  # compiles in a fraction of the time of NUTS
    mcmc = MCMC(kernel, num_warmup=100, num_samples=50, num_chains=2, chain_method="vectorized", progress_bar=False)
    mcmc.run(jax.random.key(1))
    return mcmc


def test_numpyro(mcmc, target):
    q = as_approximation(mcmc, model=target)
    assert_same_draws(q.x, mcmc.get_samples(), target, SINGLE)
    assert not q.has_log_prob


def test_what_no_adapter_reads_of_a_known_package_is_told_a_way_in(target):
    svi = SVI(in_numpyro, AutoNormal(in_numpyro), numpyro.optim.Adam(0.1), Trace_ELBO())
    with pytest.raises(TypeError, match=r"type SVI; known are .*comes from numpyro: pass its draws .*from_numpyro_svi"):
        as_approximation(svi, model=target)


# BlackJAX
def test_blackjax(target):
    log_density = get_jaxified_logp(target.model)
    names = [v.name for v in target.model.value_vars]
    start = [jnp.asarray(target.model.initial_point(1)[name]) for name in names]
    kernel = blackjax.nuts(log_density, step_size=0.2, inverse_mass_matrix=jnp.ones(target.d))

    @jax.jit
    def sample(key):
        def step(state, key):
            state, _ = kernel.step(key, state)
            return state, state.position

        return jax.lax.scan(step, kernel.init(start), jax.random.split(key, 50))[1]

    chains = [sample(key) for key in jax.random.split(jax.random.key(1), 2)]
    posterior = {name: np.stack([chain[i] for chain in chains]) for i, name in enumerate(names)}
    q = as_approximation(arviz_base.from_dict({"posterior": posterior}), model=target)
    parts = [posterior[v.value_name].reshape(100, -1) for v in target.variables]
    np.testing.assert_allclose(q.x, np.hstack(parts), rtol=1e-6)
    assert np.ptp(q.x, axis=0).min() > 0.1


# emcee
def run(sampler, start, n_steps=30):
    random_state = np.random.RandomState(1).get_state()
    sampler.run_mcmc(emcee.State(start, random_state=random_state), n_steps)
    return sampler


@pytest.fixture(scope="module")
def ensemble(target, x):
    return run(emcee.EnsembleSampler(len(x), target.d, target.log_density, vectorize=True), x)


def test_emcee_on_the_unconstrained_space(ensemble, target):
    q = as_approximation(ensemble, model=target)
    np.testing.assert_array_equal(q.x, ensemble.get_chain().swapaxes(0, 1).reshape(-1, target.d))
    assert q.n_chains == ensemble.nwalkers
    np.testing.assert_allclose(target.log_density(q.x), ensemble.get_log_prob().T.ravel(), rtol=1e-10)


def test_emcee_up_to_a_constant_and_no_more(target, x):
    shifted = run(emcee.EnsembleSampler(24, target.d, lambda x: target.log_density(x) + 7.0, vectorize=True), x, 2)
    assert as_approximation(shifted, model=target).d == target.d
    tempered = run(emcee.EnsembleSampler(24, target.d, lambda x: 0.9 * target.log_density(x), vectorize=True), x, 2)
    with pytest.raises(ValueError, match=r"up to a constant; over 48 of its draws they differ by a range of \d"):
        as_approximation(tempered, model=target)
    order = np.arange(target.d)[::-1]
    turned = emcee.EnsembleSampler(24, target.d, lambda x: target.log_density(x[:, order]), vectorize=True)
    with pytest.raises(ValueError, match="parameter_names="):
        as_approximation(run(turned, x[:, order], 2), model=target)
    with pytest.raises(ValueError, match="the sampler has 10 dimensions and the unconstrained space 4"):
        as_approximation(shifted, model=other_model())


def test_emcee_with_names(target, x):
    """Coordinates in any order; a variable may be named by its unconstrained or by its own name."""
    blocks, places, n = {}, {}, 0
    for v in reversed(target.variables):
        blocks[v.value_name] = x[:, v.coordinates]
        places[v.value_name] = list(range(n, n := n + blocks[v.value_name].shape[1])) if v.value_shape else n
        n += not v.value_shape

    def log_prob(named):
        parts = [np.ravel(named[v.value_name]) for v in target.variables]
        return float(target.log_density(np.concatenate(parts)[None])[0])

    sampler = emcee.EnsembleSampler(24, target.d, log_prob, parameter_names=places)
    q = as_approximation(run(sampler, np.hstack([*blocks.values()]), 3), model=target)
    theirs = sampler.get_chain().transpose(1, 0, 2).reshape(-1, target.d)
    for v in target.variables:
        np.testing.assert_array_equal(q.x[:, v.coordinates], theirs[:, np.atleast_1d(places[v.value_name])])


# CmdStanPy: a program that a package brings compiled, so that no compiler is needed
@pytest.fixture(scope="module")
def stan():
    logging.getLogger("cmdstanpy").disabled = True
    path = importlib.resources.files("prophet") / "stan_model" / "prophet_model.bin"
    yield cmdstanpy.CmdStanModel(exe_file=str(path))
    logging.getLogger("cmdstanpy").disabled = False


T = np.linspace(0, 1, 30)
SEASON = np.sin(9 * T)
SERIES = 0.3 + 0.8 * T + 0.5 * SEASON + 0.1 * np.random.default_rng(1).normal(size=30)
STAN_DATA = {
    "T": 30, "K": 1, "S": 1, "t": T, "cap": np.ones(30), "y": SERIES, "t_change": [0.5], "X": SEASON[:, None],
    "sigmas": [1.0], "tau": 0.2, "trend_indicator": 0, "s_a": [1.0], "s_m": [0.0],
}  # fmt: skip


@pytest.fixture(scope="module")
def trend():
    """The posterior of that program, with one change of slope and one regressor, in PyMC."""
    with pm.Model(coords={"change": [0.5], "regressor": ["season"]}) as model:
        sigma = pm.HalfNormal("sigma_obs", 0.5)
        delta = pm.Laplace("delta", 0.0, 0.2, dims="change")
        beta = pm.Normal("beta", 0.0, 1.0, dims="regressor")
        k, m = pm.Normal("k", 0.0, 5.0), pm.Normal("m", 0.0, 5.0)
        slope = (k + (T >= 0.5) * delta[0]) * T + m - (T >= 0.5) * 0.5 * delta[0]
        pm.Normal("y", slope + SEASON * beta[0], sigma, observed=SERIES)
    return Target.from_model(model)


def test_cmdstanpy(stan, trend):
    fit = stan.sample(STAN_DATA, chains=2, iter_warmup=200, iter_sampling=100, seed=1, show_progress=False)
    q = as_approximation(fit, model=trend)
    assert_same_draws(q.x, flat(fit.draws_xr()), trend)
    lp = fit.method_variables()["lp__"].T.ravel()
    assert np.ptp(trend.log_density(q.x) - lp) < 0.01  # to the digits that CmdStan writes


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("pathfinder", {"draws": 200}),
        ("laplace_sample", {"draws": 200, "opt_args": {"algorithm": "newton"}}),
        ("variational", {"draws": 200, "require_converged": False}),
    ],
)
def test_cmdstanpy_without_chains(method, options, stan, trend):
    fit = getattr(stan, method)(STAN_DATA, seed=1, **options)
    q = as_approximation(fit, model=trend)
    theirs = fit.stan_variables(mean=False) if method == "variational" else fit.stan_variables()
    assert q.x.shape == (200, trend.d)
    assert_same_draws(q.x, theirs, trend)


# PyMC's own other samplers, nutpie
@pytest.mark.slow
def test_smc(target, tmp_path):
    with target.model, quickly(), np.errstate(invalid="ignore"):
        tree = pm.sample_smc(100, chains=2, cores=1, random_seed=1, progressbar=False, compute_convergence_checks=False)
    q = as_approximation(tree, model=target)
    assert_same_draws(q.x, flat(tree["posterior"].to_dataset()), target)
    assert tree["sample_stats"]["log_marginal_likelihood"].dtype == object
    comparison = pkl.compare(tree, {"SMC": tree}, model=target, **AS_GIVEN)
    pkl.save(comparison, tmp_path / "smc.nc")
    xr.testing.assert_equal(pkl.load(tmp_path / "smc.nc")["scores"].to_dataset(), comparison["scores"].to_dataset())


@pytest.mark.slow
@pytest.mark.parametrize("store_unconstrained", [False, True])
def test_nutpie(store_unconstrained, target):
    compiled = nutpie.compile_pymc_model(target.model)
    tree = nutpie.sample(
        compiled, draws=100, tune=200, chains=2, cores=1, seed=1, progress_bar=False,
        store_unconstrained=store_unconstrained,
    )  # fmt: skip
    q = as_approximation(tree, model=target)
    assert_same_draws(q.x, flat(tree["posterior"].to_dataset()), target)


# Files
@pytest.fixture(scope="module")
def draws(target, x):
    return target.to_dataset(x.reshape(2, 12, -1))


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize("as_path", [False, True])
def test_files(suffix, as_path, draws, target, x, tmp_path):
    tree, path = xr.DataTree.from_dict({"posterior": draws}), tmp_path / f"trace{suffix}"
    tree.to_netcdf(path) if suffix == ".nc" else tree.to_zarr(path, zarr_format=2, consolidated=False)
    q = as_approximation(path if as_path else str(path), model=target)
    np.testing.assert_allclose(q.x, x, rtol=1e-9, atol=1e-9)


def test_a_file_without_groups(draws, target, x, tmp_path):
    draws.to_netcdf(tmp_path / "posterior.nc")
    np.testing.assert_allclose(as_approximation(tmp_path / "posterior.nc", model=target).x, x, rtol=1e-9, atol=1e-9)


def test_files_that_are_none(target, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file of draws: .*trace\.nc"):
        as_approximation(tmp_path / "trace.nc", model=target)
    with pytest.raises(ValueError, match=r"must be NetCDF \(\.nc\) or Zarr \(\.zarr\); got 'trace\.csv'"):
        as_approximation("trace.csv", model=target)


def test_a_comparison_is_no_fit_and_each_of_its_approximations_is(draws, target, tmp_path):
    comparison = pkl.compare(
        target.to_dataset(target.initial_points(200, np.random.default_rng(2)).reshape(4, 50, -1)),
        {"few": draws},
        model=target,
        **AS_GIVEN,
    )
    pkl.save(comparison, tmp_path / "comparison.nc")
    for fit in (comparison, tmp_path / "comparison.nc"):
        with pytest.raises(ValueError, match="this is a comparison, whose posterior is its reference and no fit"):
            as_approximation(fit, model=target)
    assert as_approximation(comparison["approximations/few"], model=target).d == target.d


def test_weighted_draws_are_resampled(draws, target, x):
    weight = np.zeros((2, 12))
    weight[0, :3] = 0.5, 0.25, 0.25
    stats = xr.Dataset({"weight": (("chain", "draw"), weight)})
    q = as_approximation(xr.DataTree.from_dict({"posterior": draws, "sample_stats": stats}), model=target)
    rows = [int(np.abs(x - row).max(axis=1).argmin()) for row in q.x]
    assert np.bincount(rows).tolist() == [12, 6, 6]


# Where a package is missing
WITHOUT_EXTRAS = """
import sys

for name in ("blackjax", "cmdstanpy", "jax", "numpyro", "nutpie", "pymc_extras", "zarr"):
    sys.modules[name] = None

import emcee, numpy as np, pymc as pm, xarray as xr
from pymc_kl import as_approximation
from pymc_kl.model import Target

start = np.linspace(-1, 1, 4)[:, None]
plain = emcee.EnsembleSampler(4, 1, lambda x: -0.5 * x[0] ** 2)
named = emcee.EnsembleSampler(4, 1, lambda x: -0.5 * x["x"] ** 2, parameter_names=["x"])
state = [sampler.run_mcmc(start, 5) for sampler in (plain, named)][0]
sys.modules["emcee"] = None

with pm.Model():
    pm.Normal("x")
    target = Target.from_model(gradient=False)
print(as_approximation(xr.Dataset({"x": (("chain", "draw"), np.zeros((1, 4)))}), model=target).x.shape)
print(as_approximation((lambda n, rng: rng.normal(size=(n, 1)), None), model=target).d)
print(as_approximation(plain, model=target).x.shape)
for fit in (named, state, "trace.zarr"):
    try:
        as_approximation(fit, model=target)
    except (ImportError, TypeError) as error:
        print(type(error).__name__, error)
"""


def test_a_missing_package_is_named_with_its_extra(tmp_path):
    """The sampler is made first, so that it is the real thing; then its package is hidden, as all others are."""
    (tmp_path / "trace.zarr").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS], cwd=tmp_path, env={**os.environ, "PYTENSOR_FLAGS": "mode=FAST_COMPILE"},
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    works, number, plain, named, state, zarr = done.stdout.splitlines()
    assert (works, number, plain) == ("(4, 1)", "1", "(20, 1)")
    assert named == "ImportError reading EnsembleSampler of emcee needs emcee: pip install pymc_kl[samplers]"
    assert state.endswith("emcee is not installed: pip install pymc_kl[samplers].")
    assert zarr == "ImportError reading trace.zarr needs zarr: pip install pymc_kl[zarr]"


def test_the_error_names_all_that_is_known(target):
    with pytest.raises(TypeError) as error:
        as_approximation(3.0, model=target)
    assert str(error.value).startswith("cannot read a fit of type float; known are an Approximation of this package,")
    assert all(name in str(error.value) for name in ADAPTERS)
    assert str(error.value).endswith("(.nc, .zarr).")
