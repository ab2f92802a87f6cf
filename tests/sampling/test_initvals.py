"""Chains start where they are told to: in each mode, by its mass, with a metric that fits one mode."""

from types import SimpleNamespace

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from pymc.distributions.transforms import ordered
from pymc.initial_point import make_initial_point_fns_per_chain

from pymc_kl import find_modes, initvals, sample_reference
from pymc_kl.approximations import Draws, FullRank, MeanField, Mixture
from pymc_kl.model.target import Target
from pymc_kl.sampling.chain_starts import apportion

N_CHAINS = 6


@pytest.fixture(scope="module")
def ten(zoo):
    """0.7 N(-2·1, I) + 0.3 N(2·1, 0.5² I), with a mixture that is somewhat off."""
    problem, target = zoo("two_normals_10d")
    modes = find_modes(model=target, starts=problem.locations, random_seed=1, progressbar=False)
    q = Mixture(
        weights=np.full(2, 0.5),
        locs=problem.locations + 0.1,
        scale_trils=np.stack([1.1 * np.eye(10), 0.55 * np.eye(10)]),
        target=target,
    )
    return SimpleNamespace(problem=problem, target=target, modes=modes, q=q)


@pytest.fixture(scope="module")
def transformed():
    """Every kind of transform, among them one that depends on another variable."""
    with pm.Model(coords={"group": ["a", "b", "c"]}) as model:
        scale = pm.HalfNormal("scale", 2.0)
        low = pm.Uniform("low", -1.0, 1.0)
        pm.Uniform("high", low, 3.0, dims="group")
        cuts = pm.Normal("cuts", 0.0, 2.0, shape=2, transform=ordered, initval=[-1.0, 1.0])
        weights = pm.Dirichlet("weights", np.ones(3), dims="group")
        pm.ZeroSumNormal("effect", sigma=1.0, dims="group")
        pm.Normal("y", cuts.sum() + weights[0], scale, observed=[0.5, 1.0])
    return Target.from_model(model)


@pytest.fixture(scope="module")
def wide_start(transformed):
    """A fit that spreads, and the starts that it gives."""
    q = MeanField(loc=np.zeros(transformed.d), scale=np.full(transformed.d, 1.5), target=transformed)
    return initvals(q, N_CHAINS, random_seed=1)


def flat(points, target) -> np.ndarray:
    return np.array([np.concatenate([np.ravel(point[v.value_name]) for v in target.variables]) for point in points])


def asked_for(starts, target) -> np.ndarray:
    """The starts (chain, d) in the unconstrained space."""
    values = {
        v.name: (
            ("chain", "draw", *(v.dims or [f"{v.name}_{i}" for i in range(len(v.shape))])),
            np.stack([start[v.name] for start in starts["initvals"]])[:, None],
        )
        for v in target.variables
    }
    return target.unconstrain(xr.Dataset(values))[:, 0]


def test_pymc_starts_where_it_is_told_to(transformed, wide_start):
    functions = make_initial_point_fns_per_chain(
        model=transformed.model, overrides=wide_start["initvals"], jitter_rvs=set(), chains=N_CHAINS
    )
    wanted = asked_for(wide_start, transformed)
    np.testing.assert_allclose(flat([f(0) for f in functions], transformed), wanted, atol=1e-6)
    assert np.ptp(wanted, axis=0).min() > 0.1


def test_pm_sample_takes_them_as_they_are(transformed, wide_start):
    """A step so small that a chain does not leave its start shows where that is."""
    step = pm.NUTS(step_scale=1e-12, adapt_step_size=False, max_treedepth=1, model=transformed.model)
    dt = pm.sample(
        **wide_start | {"step": step},
        draws=10,
        tune=0,
        model=transformed.model,
        random_seed=1,
        progressbar=False,
        compute_convergence_checks=False,
    )
    np.testing.assert_allclose(transformed.unconstrain(dt)[:, 0], asked_for(wide_start, transformed), atol=1e-6)
    assert dt["posterior"]["high"].dims == ("chain", "draw", "group")


def test_the_whole_dict_goes_to_pm_sample(ten):
    starts = initvals(ten.q, chains=3, modes=ten.modes, random_seed=1)
    with ten.target.model:
        dt = pm.sample(
            **starts, draws=200, tune=200, random_seed=1, progressbar=False, compute_convergence_checks=False
        )
    assert dt["posterior"].sizes["chain"] == 3
    assert sorted(np.sign(dt["posterior"]["x"].mean(["draw", "x_dim_0"]).values)) == [-1, -1, 1]
    assert float(dt["sample_stats"]["acceptance_rate"].mean()) > 0.6


@pytest.mark.parametrize(("chains", "right"), [(1, 0), (2, 1), (4, 1), (10, 3)])
def test_modes_get_chains_by_their_masses(ten, chains, right):
    starts = initvals(ten.q, chains, modes=ten.modes, random_seed=2)["initvals"]
    assert len(starts) == chains
    assert sum(start["x"].mean() > 0 for start in starts) == right


def test_starts_are_spread_as_draws_are(ten):
    """Of the posterior, not of q: within a mode their mean and spread are the mode's."""
    starts = initvals(ten.q, 200, modes=ten.modes, random_seed=3)["initvals"]
    x = np.array([start["x"] for start in starts])
    left = x[x.mean(axis=1) < 0]
    assert abs(len(left) - 140) <= 3
    assert len(np.unique(left[:, 0])) > 100
    assert left.mean() == pytest.approx(-2, abs=5 / np.sqrt(1400))
    assert left.std() == pytest.approx(1, abs=5 / np.sqrt(2 * 1400))


def test_the_metric_is_that_within_a_mode(ten):
    step = initvals(ten.q, 4, modes=ten.modes, target_accept=0.9, random_seed=4)["step"]
    assert step.target_accept == 0.9
    truth = 0.7 * np.eye(10) + 0.3 * 0.25 * np.eye(10)
    pooled = truth + 0.7 * 0.3 * 16
    assert step.potential._cov == pytest.approx(truth, abs=0.15)
    assert np.abs(step.potential._cov - pooled).max() > 3


def test_the_metric_is_in_the_order_of_the_model():
    """Two variables of very different scale, whose names sort the other way."""
    with pm.Model() as model:
        pm.Normal("wide", 0.0, 10.0)
        pm.Normal("narrow", 0.0, 0.1, shape=2)
    target = Target.from_model(model)
    places = {v.name: v.coordinates for v in target.variables}
    scale = np.empty(3)
    scale[places["wide"]], scale[places["narrow"]] = 10.0, 0.1
    step = initvals(MeanField(loc=np.zeros(3), scale=scale, target=target), random_seed=1)["step"]
    names = [v.name for v in step.vars]
    expected = np.concatenate([[10.0] if name == "wide" else [0.1, 0.1] for name in names])
    np.testing.assert_allclose(np.sqrt(np.diag(step.potential._cov)), expected, rtol=0.1)


def test_copies_of_a_mode_do_not_widen_the_metric(zoo):
    """Two labellings, four standard deviations and more apart: the covariance is that of one."""
    problem, target = zoo("labels")
    x = problem.sample(4000, np.random.default_rng(5))
    draws = Draws(x=x, target=target)
    starts = initvals(draws, 20, random_seed=1)
    mu = np.array([start["mu"] for start in starts["initvals"]])
    assert 3 <= (mu[:, 0] < mu[:, 1]).sum() <= 17
    first = next(v.coordinates.start for v in target.variables if v.name == "mu")
    one = x[x[:, first] < x[:, first + 1]]
    within = np.cov(one.T)[first:, first:].diagonal()
    assert starts["step"].potential._cov.diagonal()[first:].mean() == pytest.approx(within.mean(), rel=0.15)


def test_a_mode_that_q_misses_gets_no_chain_and_a_warning(ten):
    q = FullRank(loc=ten.problem.locations[0], scale_tril=np.eye(10), target=ten.target)
    with pytest.warns(UserWarning, match=r"misses mode 1 of 2, which holds about 30 % .* no chain starts there"):
        starts = initvals(q, 4, modes=ten.modes, random_seed=1)["initvals"]
    assert all(start["x"].mean() < 0 for start in starts)


def test_the_same_seed_gives_the_same_starts(ten):
    one, two, other = (initvals(ten.q, 4, modes=ten.modes, random_seed=seed)["initvals"] for seed in (5, 5, 6))
    assert all(np.array_equal(a["x"], b["x"]) for a, b in zip(one, two, strict=True))
    assert not any(np.array_equal(a["x"], b["x"]) for a, b in zip(one, other, strict=True))


def test_points_on_the_boundary_are_not_started_from():
    """Far out a transform rounds to the boundary, and PyMC could not start there."""
    with pm.Model() as model:
        pm.Uniform("p", 0.0, 1.0)
    target = Target.from_model(model)
    modes = find_modes(model=target, random_seed=1, progressbar=False)
    far = Mixture(
        weights=np.full(2, 0.5), locs=np.array([[50.0], [0.0]]), scale_trils=np.full((2, 1, 1), 0.5), target=target
    )
    starts = initvals(far, 8, modes=modes, random_seed=1)["initvals"]
    assert all(0 < start["p"] < 1 for start in starts)
    beyond = MeanField(loc=np.full(1, 50.0), scale=np.full(1, 0.1), target=target)
    with pytest.raises(ValueError, match="comes back from the model's own space"):
        initvals(beyond, modes=modes, random_seed=1)


def test_draws_start_chains_too(ten):
    reference = sample_reference(model=ten.target, draws=250, random_seed=1, progressbar=False)
    starts = initvals(reference, 10, model=ten.target, modes=ten.modes, random_seed=1)["initvals"]
    assert sum(start["x"].mean() > 0 for start in starts) == 3


def test_no_chains_are_refused(ten):
    with pytest.raises(ValueError, match="chains must be at least 1; got 0"):
        initvals(ten.q, 0)


@pytest.mark.parametrize(
    ("mass", "n", "expected"),
    [
        ([0.7, 0.3], 4, [3, 1]),
        ([0.86, 0.14], 4, [3, 1]),
        ([0.9, 0.1], 4, [4, 0]),
        ([1 / 6] * 6, 4, [1, 1, 1, 1, 0, 0]),
        ([0.1, 0.6, 0.3], 10, [1, 6, 3]),
        ([2.0, 2.0], 2, [1, 1]),
        ([0.53, 0.24, 0.23], 7, [3, 2, 2]),
    ],
)
def test_shares_of_chains(mass, n, expected):
    assert apportion(np.array(mass), n).tolist() == expected


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=8), st.integers(1, 20))
def test_every_mode_with_half_a_share_gets_a_chain_where_there_are_enough(masses, n):
    mass = np.array(masses) / sum(masses)
    counts = apportion(mass, n)
    assert counts.sum() == n
    deserving = mass > 0.5 / n
    assert (counts[deserving] > 0).sum() == min(n, deserving.sum())
    order = np.argsort(-mass, kind="stable")
    assert (np.diff(counts[order]) <= 0).all()
