"""Stacking against closed forms, ArviZ's weights, and Yao, Vehtari and Gelman's example of two modes."""

import arviz_stats
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from arviz_stats.utils import ELPDData
from problems import dial_a_mass
from scipy.stats import norm

import pymc_kl as pkl
from pymc_kl.prediction import stack
from pymc_kl.prediction.stacking import stacking_weights


def log_score(elpd, w):
    return np.log(np.exp(elpd) @ w).sum()


def test_weights_are_the_maximum(rng):
    """No weights of a fine grid are better."""
    elpd = rng.normal(-1, 0.7, (40, 3))
    w = stacking_weights(elpd)
    assert w.sum() == pytest.approx(1)
    first, second = np.meshgrid(*[np.linspace(0, 1, 201)] * 2)
    grid = np.column_stack([first.ravel(), second.ravel(), 1 - first.ravel() - second.ravel()])
    best = max(log_score(elpd, each) for each in grid[grid[:, 2] >= 0])
    assert log_score(elpd, w) >= best - 1e-9


def test_weights_are_those_of_arviz(rng):
    elpd = rng.normal(-1, 0.7, (60, 4))
    one = xr.DataArray(np.zeros(len(elpd)), dims="i")
    shared = {"se": 1.0, "p": 1.0, "n_samples": 1000, "n_data_points": len(elpd), "scale": "log", "good_k": 0.7}
    data = {
        str(k): ELPDData(elpd=column.sum(), warning=False, elpd_i=one + column, pareto_k=one, **shared)
        for k, column in enumerate(elpd.T)
    }
    theirs = arviz_stats.compare(data, method="stacking", round_to="none")["weight"]
    ours = stacking_weights(elpd)
    np.testing.assert_allclose([theirs[str(k)] for k in range(4)], ours, atol=1e-3)  # their optimiser stops at 1e-6


def test_two_halves_of_the_data_are_predicted_by_a_component_each():
    """Densities 3:1 and 1:3 on 30 and 10 observations: 30 log(1 + 2w) + 10 log(3 - 2w) has its maximum at w = 1."""
    high, low = np.log([0.75, 0.25])
    elpd = np.column_stack([np.repeat([high, low], [30, 10]), np.repeat([low, high], [30, 10])])
    assert stacking_weights(elpd)[0] == pytest.approx(1, abs=1e-4)
    even = np.column_stack([np.repeat([high, low], [22, 18]), np.repeat([low, high], [22, 18])])
    # 22 · 2 / (1 + 2w) = 18 · 2 / (3 - 2w)
    assert stacking_weights(even)[0] == pytest.approx((66 - 18) / 80, abs=1e-4)


def test_no_observation_vanishes_however_unlikely():
    elpd = np.array([[-2000.0, -2003.0], [-1500.0, -1490.0], [-1.0, -1.0]])
    w = stacking_weights(elpd)
    assert np.isfinite(w).all() and w.sum() == pytest.approx(1)


@pytest.fixture(scope="module")
def dial():
    """20 and 10 observations and p = 2/3: two chains in the mode that agrees, two in that which swaps them."""
    problem = dial_a_mass(20, 10, 2 / 3)
    rng = np.random.default_rng(1)
    x = problem.sample(200_000, rng)
    good = x[:, 0] > x[:, 1]
    half_gap = 5.0
    bad = rng.normal([-half_gap, half_gap], [1 / np.sqrt(10), 1 / np.sqrt(20)], (1000, 2))  # the posterior there
    chains = np.stack([*x[good][:1000].reshape(2, 500, 2), *bad.reshape(2, 500, 2)])
    return problem, xr.Dataset({f"mu{i + 1}": (("chain", "draw"), chains[..., i]) for i in range(2)})


def test_yao_s_example_gives_the_bad_mode_a_thousandth(dial):
    problem, chains = dial
    stacked = stack(chains, problem.model(), random_seed=1)
    assert stacked["weight"].values.sum() == pytest.approx(1)
    assert float(stacked["weight"][2:].sum()) < 0.002
    assert (stacked["elpd"][:2] > stacked["elpd"].max() - 1).all()
    assert float(stacked.attrs["elpd"]) >= float(stacked["elpd"].max()) - 1e-6
    # 20 points have density 1/3 in place of 2/3 there, 10 the other way round, and the tails are alike
    gap = float(stacked["elpd"][0] - stacked["elpd"][2])
    assert abs(gap - 10 * np.log(2)) < 0.5


def test_modes_that_predict_alike_do_not_differ_from_their_masses():
    """y is N(theta², 1), so both signs predict alike whatever their masses, which are those of quadrature."""
    y = np.random.default_rng(3).normal(4, 1, 60)
    with pm.Model():
        theta = pm.Normal("theta", 0.2, 1)
        pm.Normal("y", theta**2, 1, observed=y)
        reference = pkl.sample_reference(random_seed=1, progressbar=False)
        stacked = stack(reference, by="mode", random_seed=1)
    x = np.linspace(-4, 4, 20_001)
    log_density = norm.logpdf(y[:, None], x**2).sum(axis=0) + norm.logpdf(x, 0.2)
    density = np.exp(log_density - log_density.max())
    truth = density[x > 0].sum() / density.sum()
    assert stacked["component"].values.tolist() == ["mode 1", "mode 2"]
    assert abs(float(stacked["mass"][0]) - truth) < 5 * float(stacked["mass_se"][0])
    assert truth > 0.65
    assert stacked["weight"].values.sum() == pytest.approx(1)
    assert 0 <= stacked.attrs["gain"] < 1
    assert stacked["differs"].values.tolist() == ["no", "no"]
    assert stacked["sentence"].values.tolist() == ["", ""]


def test_a_wrong_model_s_modes_differ_from_their_masses():
    """Two means, and data half of each: all mass is in the mode of 55 points, stacking takes both."""
    y = np.concatenate([norm.ppf((np.arange(n) + 0.5) / n) + s for n, s in ((55, 4.0), (45, -4.0))])
    with pm.Model() as model:
        side = pm.Normal("side", 0, 1)  # one-sided: its sign says where all data are
        centre = 4 * pm.math.tanh(8 * side)
        pm.StudentT("y", nu=1, mu=centre, sigma=1, observed=y)
    chains = np.abs(np.random.default_rng(1).normal(0, 1, (2, 500))) + 0.7
    draws = xr.Dataset({"side": (("chain", "draw"), chains * np.array([[1.0], [-1.0]]))})
    tree = xr.DataTree.from_dict({
        "posterior": draws,
        "sample_stats": xr.Dataset({"mode": (("chain", "draw"), np.repeat([[1], [2]], 500, axis=1))}),
        "modes": xr.Dataset({"mass": ("mode", [0.999, 0.001]), "mass_se": ("mode", [1e-4, 1e-4])}, {"mode": [1, 2]}),
    })  # fmt: skip
    stacked = stack(tree, model, by="mode", random_seed=1)
    assert abs(float(stacked["weight"][0]) - 0.55) < 5 * float(stacked["weight_se"][0])
    assert stacked["differs"].values.tolist() == ["yes", "yes"]
    assert "mode 1 holds" in stacked["sentence"].values[0] and "with less of it" in stacked["sentence"].values[0]
    low, high = float(stacked["weight_lower"][0]), float(stacked["weight_upper"][0])
    assert low < float(stacked["weight"][0]) < high
    # an observation is told apart nearly for sure, so that the weight has the error of a share of 100
    assert 0.6 < float(stacked["weight_se"][0]) / np.sqrt(0.55 * 0.45 / 100) < 1.4


def test_components_without_draws_have_no_weight(dial):
    problem, chains = dial
    short = chains.isel(draw=slice(0, 50))
    with pytest.raises(ValueError, match=r"stacking needs two chains with draws; got 0\. chain 0: it has 50 draws"):
        stack(short, problem.model())
    with pytest.raises(ValueError, match="modes are stacked of what sample_reference"):
        stack(chains, problem.model(), by="mode")
    with pytest.raises(ValueError, match="'chain', 'mode'"):
        stack(chains, problem.model(), by="fit")
