"""Chains that cross between modes, and are exact whatever they jump by."""

from types import SimpleNamespace

import arviz as az
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy import stats
from zoo.gaussians import Gaussians
from zoo.problem import cancelled_prior

from pymc_kl import find_modes, fit_forward, sample_jump
from pymc_kl.approximations import Draws, MeanField, Mixture
from pymc_kl.approximations.components import Components
from pymc_kl.model.target import Target
from pymc_kl.sampling import steps
from pymc_kl.sampling.steps import LocalNUTS, SharedDensity, make_steps

N_EXACT = 2000  # exact draws that a kernel must leave as they are


def rough(locs, scales, weights=None, target=None) -> Mixture:
    """A mixture of spherical normals."""
    locs = np.array(locs, dtype=float)
    m, d = locs.shape
    weights = np.full(m, 1 / m) if weights is None else np.array(weights)
    return Mixture(weights=weights, locs=locs, scale_trils=np.array(scales)[:, None, None] * np.eye(d), target=target)


@pytest.fixture(scope="module")
def two_modes(zoo):
    problem, target = zoo("two_modes")
    modes = find_modes(model=target, random_seed=1, progressbar=False)
    q = rough([[-2.7], [2.8]], [1.0, 1.2], target=target)
    return SimpleNamespace(problem=problem, target=target, modes=modes, q=q)


@pytest.fixture(scope="module")
def jumped(two_modes):
    return sample_jump(two_modes.q, modes=two_modes.modes, random_seed=1, progressbar=False)


@pytest.fixture(scope="module")
def twenty():
    """0.4 N(-2·1, I) + 0.6 N(2·1, I) in twenty dimensions, nine standard deviations apart."""
    normals = Gaussians(
        np.array([0.4, 0.6]), np.stack([np.full(20, -2.0), np.full(20, 2.0)]), np.stack([np.eye(20)] * 2)
    )
    target = Target.from_model(cancelled_prior(20, 4.0, normals.graph)())
    modes = find_modes(model=target, starts=normals.locs, random_seed=1, progressbar=False)
    return SimpleNamespace(normals=normals, target=target, modes=modes)


def indicator(dt: xr.DataTree, name: str, sign: float = 1.0) -> xr.DataArray:
    """Whether a draw is on the positive side of the saddle at about 0."""
    x = dt["posterior"][name]
    return (sign * (x.mean([dim for dim in x.dims if dim not in ("chain", "draw")])) > 0).astype(float)


def check_mass(side: xr.DataArray, mass: float) -> None:
    """A mode's mass is within three of its standard errors, and chains agree on it."""
    se = np.sqrt(mass * (1 - mass) / float(az.ess(side, method="mean")))
    assert float(side.mean()) == pytest.approx(mass, abs=3 * se)
    assert se < 0.03
    assert float(az.rhat(side)) < 1.01


def test_both_modes_have_their_masses_in_one_dimension(two_modes, jumped):
    check_mass(indicator(jumped, "x"), 0.7)
    assert departure(two_modes.target.unconstrain(jumped)[:, ::4]) > 0.01


def test_both_modes_have_their_masses_in_twenty_dimensions(twenty):
    """By a mixture that was fitted to few draws, so that it is off as fits are."""
    draws = twenty.target.to_dataset(twenty.normals.sample(1000, np.random.default_rng(3)).reshape(4, 250, 20))
    q = fit_forward(draws, "mixture", model=twenty.target, random_seed=1)
    dt = sample_jump(q, modes=twenty.modes, random_seed=2, progressbar=False)
    check_mass(indicator(dt, "x"), 0.6)
    x = twenty.target.unconstrain(dt).reshape(-1, 20)
    right = x[x.mean(axis=1) > 0]
    np.testing.assert_allclose(right.mean(axis=0), 2, atol=5 / np.sqrt(1000))
    np.testing.assert_allclose(right.std(axis=0), 1, atol=5 / np.sqrt(2000))


@pytest.mark.parametrize("which", ["two_modes", "twenty"])
def test_plain_nuts_misses_a_mode_or_its_chains_disagree(which, request):
    target = request.getfixturevalue(which).target
    dt = pm.sample(
        300, tune=300, chains=4, random_seed=1, model=target.model, progressbar=False, compute_convergence_checks=False
    )
    side = indicator(dt, "x")
    assert min(float(side.mean()), 1 - float(side.mean())) < 0.01 or float(az.rhat(side)) > 1.5


def points(target: Target, x: np.ndarray) -> list[dict[str, np.ndarray]]:
    return [{v.value_name: row[v.coordinates].reshape(v.value_shape) for v in target.variables} for row in x]


def moved(step, target: Target, x: np.ndarray, seed: int, times: int = 1) -> np.ndarray:
    """Apply a step method to each of the points (n, d), each a chain of its own, with nothing adapting."""
    step.stop_tuning()
    step.setup_chain(np.random.default_rng(seed), 0, len(x))
    ends = points(target, x)
    for _ in range(times):
        ends = [step.step(point)[0] for point in ends]
    return np.array([np.concatenate([np.ravel(end[v.value_name]) for v in target.variables]) for end in ends])


def steps_of(two_modes, q, places=None, jumps=5):
    places = Components(np.ones(1), np.zeros((1, 1)), np.ones((1, 1, 1))) if places is None else places
    return make_steps(two_modes.target.model, two_modes.target, q, places, jumps=jumps)


def departure(x: np.ndarray) -> float:
    """p-value of draws of `two_modes` against its distribution function."""
    below = stats.norm.cdf(x.ravel(), -3, 0.6), stats.norm.cdf(x.ravel(), 3, 1.0)
    return float(stats.kstest(0.3 * below[0] + 0.7 * below[1], "uniform").pvalue)


@pytest.mark.parametrize(
    "q",
    [
        rough([[-2.0], [2.5]], [1.5, 2.0], [0.6, 0.4]),
        MeanField(loc=np.zeros(1), scale=np.full(1, 4.0)),
        MeanField(loc=np.full(1, 2.5), scale=np.full(1, 0.8)),
    ],
    ids=["mixture", "wide", "one mode"],
)
def test_jumps_leave_exact_draws_exact(two_modes, q):
    x = two_modes.problem.sample(N_EXACT, np.random.default_rng(5))
    assert departure(moved(steps_of(two_modes, q)[1], two_modes.target, x, 6)) > 0.01


def test_without_q_in_the_ratio_they_would_not(two_modes, monkeypatch):
    """The power of the test above: the same draws and seed, the acceptance of a symmetric proposal."""
    q = rough([[-2.0], [2.5]], [1.5, 2.0], [0.6, 0.4])
    x = two_modes.problem.sample(N_EXACT, np.random.default_rng(5))
    monkeypatch.setattr(steps, "log_acceptance", lambda a, b: min(0.0, b.log_density - a.log_density))
    assert departure(moved(steps_of(two_modes, q)[1], two_modes.target, x, 6)) < 1e-6


OVERLAPPING = Components(np.array([0.5, 0.5]), np.array([[3.0], [2.0]]), np.array([[[0.3]], [[4.0]]]))


def local_nuts(two_modes) -> LocalNUTS:
    """NUTS by two metrics that lie over each other; its trajectories are short, so that the metric tells."""
    nuts = steps_of(two_modes, two_modes.q, OVERLAPPING)[0]
    assert isinstance(nuts, LocalNUTS)
    for method in nuts.methods:
        method.max_treedepth = 2
    return nuts


def test_nuts_with_a_metric_a_place_leaves_exact_draws_exact(two_modes):
    x = two_modes.problem.sample(N_EXACT, np.random.default_rng(5))
    assert departure(moved(local_nuts(two_modes), two_modes.target, x, 6, times=5)) > 0.01


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("responsibilities", lambda self, x: np.array([0.5, 0.5])),
        ("_pytensor_function", lambda self, x: self.density._pytensor_function(x)),
    ],
    ids=["the place is drawn blindly", "its share is not in the density"],
)
def test_with_half_of_that_it_would_not(two_modes, monkeypatch, name, broken):
    """The power of the test above, at the same draws and seed."""
    monkeypatch.setattr(SharedDensity, name, broken)
    x = two_modes.problem.sample(N_EXACT, np.random.default_rng(5))
    assert departure(moved(local_nuts(two_modes), two_modes.target, x, 6, times=5)) < 1e-6


def test_the_density_of_a_place_has_its_gradient(two_modes, rng):
    nuts = local_nuts(two_modes)
    for nuts.shared.component in (0, 1):
        for x in rng.uniform(-4, 4, (5, 1)):
            up, down = (nuts.shared._pytensor_function(x + h)[0] for h in (1e-5, -1e-5))
            assert nuts.shared._pytensor_function(x)[1][0] == pytest.approx((up - down) / 2e-5, abs=1e-5)


def test_shares_are_those_of_the_mixture_of_places(two_modes, rng):
    nuts = local_nuts(two_modes)
    x = rng.uniform(-4, 4, 1)
    joint = OVERLAPPING.weights * stats.norm.pdf(x, [3.0, 2.0], [0.3, 4.0])
    np.testing.assert_allclose(nuts.shared.responsibilities(x), joint / joint.sum(), rtol=1e-12)


def test_modes_of_different_scale_are_sampled_without_divergences():
    """Eight to one: one step size for both would fail in the narrow one."""
    normals = Gaussians(
        np.full(2, 0.5), np.stack([np.full(4, -4.0), np.full(4, 4.0)]), np.stack([np.eye(4), np.eye(4) / 64])
    )
    target = Target.from_model(cancelled_prior(4, 4.0, normals.graph)())
    modes = find_modes(model=target, starts=normals.locs, random_seed=1, progressbar=False)
    q = rough(normals.locs, [1.3, 0.16], target=target)
    dt = sample_jump(q, modes=modes, target_accept=0.9, random_seed=1, progressbar=False)
    stats_of = dt["sample_stats"]
    assert int(stats_of["diverging"].sum()) == 0
    check_mass(indicator(dt, "x"), 0.5)
    for mode in (1, 2):
        accepted = stats_of["acceptance_rate"].where(stats_of["mode"] == mode).mean()
        assert 0.85 < float(accepted) < 0.97


def test_what_comes_back_is_what_pm_sample_returns(jumped, two_modes):
    assert dict(jumped["posterior"].sizes) == {"chain": 4, "draw": 1000}
    assert list(jumped["posterior"].data_vars) == ["x"]
    found = jumped["sample_stats"].to_dataset()
    assert {"diverging", "step_size", "lp", "mode", "jump_accepted", "jump_acceptance_rate"} <= set(found.data_vars)
    assert all(found[name].dims == ("chain", "draw") for name in found.data_vars)
    assert found["jump_accepted"].dtype == bool
    x = two_modes.target.unconstrain(jumped).reshape(-1, 1)
    np.testing.assert_allclose(found["lp"].values.ravel(), two_modes.target.log_density(x), atol=1e-9)
    np.testing.assert_array_equal(found["mode"].values.ravel(), two_modes.modes.assign(x) + 1)
    assert "r_hat" in az.summary(jumped)


def test_the_reported_acceptance_is_that_of_independent_draws(two_modes, jumped):
    """E min(1, w(x') / w(x)) with x from p and x' from q."""
    rng = np.random.default_rng(8)
    x, proposed = two_modes.problem.sample(50_000, rng), two_modes.q.sample(50_000, random_seed=rng)
    log_w = [two_modes.problem.log_density(y) - two_modes.q.log_prob(y) for y in (x, proposed)]
    truth = np.minimum(1, np.exp(log_w[1] - log_w[0])).mean()
    assert float(jumped["sample_stats"]["jump_acceptance_rate"].mean()) == pytest.approx(truth, abs=0.02)


def test_the_same_seed_gives_the_same_draws_on_any_number_of_cores(two_modes, monkeypatch):
    short = {"modes": two_modes.modes, "draws": 20, "tune": 20, "random_seed": 3, "progressbar": False}
    one = sample_jump(two_modes.q, **short)
    monkeypatch.setattr("pymc.sampling.mcmc._cpu_count", lambda: 2)
    two = sample_jump(two_modes.q, **short)
    xr.testing.assert_equal(one["posterior"].to_dataset(), two["posterior"].to_dataset())
    other = sample_jump(two_modes.q, **short | {"random_seed": 4})
    assert not one["posterior"].to_dataset().equals(other["posterior"].to_dataset())


def test_variables_of_any_kind_and_order_come_back_in_their_own_space():
    """Minibatches are undone, which reorders the variables; data, dims and Deterministics are kept."""
    y = np.random.default_rng(1).normal(1.0, 2.0, 200)
    with pm.Model(coords={"side": ["left", "right"]}) as model:
        batch = pm.Minibatch(y, batch_size=20)
        scale = pm.HalfNormal("scale", 5.0)
        mu = pm.Normal("mu", 0.0, 10.0, dims="side")
        pm.Deterministic("total", mu.sum())
        pm.Normal("y", mu.sum(), scale, observed=batch, total_size=200)
    target = Target.from_model(model)
    loc = np.zeros(3)
    place = {v.name: v.coordinates for v in target.variables}
    loc[place["scale"]], loc[place["mu"]] = np.log(2.0), 0.5
    covariance = np.eye(3) * 0.02
    covariance[place["mu"], place["mu"]] = [[50, -49.98], [-49.98, 50]]
    q = Mixture(weights=np.ones(1), locs=loc[None], scale_trils=np.linalg.cholesky(covariance)[None], target=target)
    dt = sample_jump(q, random_seed=1, progressbar=False)
    posterior = dt["posterior"].to_dataset()
    assert set(posterior.data_vars) == {"scale", "mu", "total"}
    assert posterior["mu"].dims == ("chain", "draw", "side")
    np.testing.assert_allclose(posterior["total"], posterior["mu"].sum("side"))
    assert float(posterior["total"].mean()) == pytest.approx(y.mean(), abs=0.05)
    assert float(posterior["scale"].mean()) == pytest.approx(y.std(), abs=0.05)
    assert float(dt["sample_stats"]["jump_acceptance_rate"].mean()) > 0.2
    assert float(dt["sample_stats"]["n_steps"].mean()) < 15  # by a metric in the wrong order it takes hundreds
    assert dt["observed_data"]["y"].size == 200


def test_a_mode_that_q_misses_is_named(two_modes):
    one_sided = MeanField(loc=np.full(1, 3.0), scale=np.ones(1), target=two_modes.target)
    with pytest.warns(UserWarning, match=r"misses mode 2 of 2, which holds about 30 % .* hardly cross"):
        dt = sample_jump(
            one_sided, modes=two_modes.modes, draws=20, tune=20, chains=2, random_seed=1, progressbar=False
        )
    assert dt["posterior"].sizes["draw"] == 20


def test_copies_that_q_misses_are_counted(zoo):
    """A fit to one of two labellings; that of both crosses between them."""
    problem, target = zoo("labels")
    x = problem.sample(4000, np.random.default_rng(5))
    first = next(v.coordinates.start for v in target.variables if v.name == "mu")
    short = {"draws": 300, "tune": 200, "random_seed": 1, "progressbar": False}
    modes = find_modes(model=target, random_seed=1, progressbar=False)
    one = fit_forward(target.to_dataset(x[x[:, first] < x[:, first + 1]][None]), "fullrank", model=target)
    with pytest.warns(UserWarning, match=r"reaches 1 of the 2 copies that .*component.* make of mode 1"):
        dt = sample_jump(one, modes=modes, **short)
    assert float((dt["posterior"]["mu"].diff("component") > 0).mean()) == 1
    both = fit_forward(target.to_dataset(x.reshape(4, 1000, -1)), "mixture", model=target, random_seed=1)
    dt = sample_jump(both, modes=modes, **short)
    assert float((dt["posterior"]["mu"].diff("component") > 0).mean()) == pytest.approx(0.5, abs=0.1)


def test_jumps_that_are_hardly_accepted_are_reported(twenty):
    wide = rough(twenty.normals.locs, [2.5, 2.5], target=twenty.target)
    with pytest.warns(UserWarning, match=r"0\.\d+ % of the jumps were accepted.*fit_forward"):
        sample_jump(wide, modes=twenty.modes, draws=100, tune=100, random_seed=1, progressbar=False)


def test_a_fit_without_density_is_refused(two_modes):
    with pytest.raises(TypeError, match="no density to accept its draws by"):
        sample_jump(Draws(x=np.zeros((5, 1)), target=two_modes.target), progressbar=False)


def test_a_fit_of_another_size_or_a_silly_number_is_refused(two_modes):
    with pytest.raises(ValueError, match="2 dimensions and the model 1"):
        sample_jump(MeanField(loc=np.zeros(2), scale=np.ones(2)), model=two_modes.target, progressbar=False)
    with pytest.raises(ValueError, match="jumps must be at least 1; got 0"):
        sample_jump(two_modes.q, jumps=0)


def test_data_that_changed_since_the_fit_are_refused():
    with pm.Model() as model:
        y = pm.Data("y", np.zeros(3))
        x = pm.Normal("x", 0.0, 1.0)
        pm.Normal("likelihood", x, 1.0, observed=y)
        target = Target.from_model(model)
        modes = find_modes(model=target, random_seed=1, progressbar=False)
        pm.set_data({"y": np.full(3, 4.0)})
    q = MeanField(loc=np.zeros(1), scale=np.full(1, 0.5), target=target)
    with pytest.raises(ValueError, match="data have changed since"):
        sample_jump(q, modes=modes, random_seed=1, progressbar=False)


def test_a_native_pymc_fit_is_taken(zoo):
    _, target = zoo("standard_normal_1")
    with target.model:
        dt = sample_jump(pm.MeanField(), draws=100, tune=100, random_seed=1, progressbar=False)
    assert float(dt["sample_stats"]["jump_acceptance_rate"].mean()) > 0.7  # its standard deviation starts at 0.69
