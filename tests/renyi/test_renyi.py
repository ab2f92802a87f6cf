"""The path between the two divergences, against closed forms and quadrature, and its ends against the fits there."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import xarray as xr
from problems import Problem
from scipy.integrate import trapezoid
from scipy.optimize import approx_fprime, brentq, minimize
from scipy.special import logsumexp
from scipy.stats import norm

import pymc_kl as pkl
from pymc_kl.approximations import FullRank, MeanField
from pymc_kl.fitting.gaussian_elbo import rows_of
from pymc_kl.fitting.points import balanced_normals
from pymc_kl.model.draws import PosteriorDraws
from pymc_kl.model.target import Target
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.renyi import alpha_fit, alpha_path, datatree, divergence_path
from pymc_kl.renyi.alpha_divergence import alpha_divergence, log_evidence_of
from pymc_kl.renyi.problem import PathProblem

N_SE = 5
RHO = 0.9
COMMON_VARIANCES = {0.01: 0.191564, 0.1: 0.208325, 0.25: 0.252996, 0.5: 0.435890, 0.75: 0.750999, 0.9: 0.912036,
                    0.99: 0.991834}  # fmt: skip

type Zoo = Callable[[str], tuple[Problem, Target]]


def to_reference(target: Target, x: np.ndarray, chains: int = 4) -> PosteriorDraws:
    """Take draws (n, d), or points that stand for them, as chains."""
    return PosteriorDraws(target, x.reshape(chains, -1, x.shape[1]), target.log_density(x).reshape(chains, -1))


def mixture_points(weights: Sequence[float], locs: Sequence[float], scales: Sequence[float], n: int) -> np.ndarray:
    """Quantiles of each component of a mixture on the line, with its exact moments; in random order."""
    parts = []
    for weight, loc, scale in zip(weights, locs, scales, strict=True):
        z = norm.ppf((np.arange(round(n * weight)) + 0.5) / round(n * weight))
        parts.append(loc + scale * z / z.std())
    return np.random.default_rng(0).permutation(np.concatenate(parts))[:, None]


@pytest.fixture(scope="module")
def gaussian(zoo: Zoo) -> tuple[Target, xr.DataTree]:
    """The mean-field path to a correlated normal, from evenly spread points with its moments."""
    problem, target = zoo("mean_field_gaussian")
    assert problem.cov is not None
    x = balanced_normals(2**14, 2, np.random.default_rng(1)) @ np.linalg.cholesky(problem.cov).T
    orders = [0, *COMMON_VARIANCES, 1]
    path = divergence_path(to_reference(target, x), "meanfield", alphas=orders, random_seed=1, progressbar=False)
    return target, path


def renyi_of_normals(order: float, p: np.ndarray, q: np.ndarray) -> float:
    """D_α/α between normals of mean 0 and covariances p, q."""
    between = np.linalg.inv(order * np.linalg.inv(p) + (1 - order) * np.linalg.inv(q))
    log_det = [np.linalg.slogdet(matrix)[1] for matrix in (between, p, q)]
    return float(np.dot([-0.5, order / 2, (1 - order) / 2], log_det) / (order * (1 - order)))


class TestNormal:
    @pytest.mark.parametrize(("order", "variance"), COMMON_VARIANCES.items())
    def test_variances_are_those_of_the_closed_form(self, gaussian, order, variance):
        path = gaussian[1]["path"].to_dataset().sel(order=order).squeeze("branch")
        np.testing.assert_allclose(np.diag(path["covariance"]), variance, atol=1e-3)
        assert float(abs(path["loc"]).max()) < 1e-4
        assert path["covariance"].values[0, 1] == 0

    @pytest.mark.parametrize("order", COMMON_VARIANCES)
    def test_divergences_are_within_their_errors(self, gaussian, order):
        row = gaussian[1]["path"].to_dataset().sel(order=order).squeeze("branch")
        truth = renyi_of_normals(order, np.array([[1, RHO], [RHO, 1]]), row["covariance"].values)
        assert abs(float(row["divergence"]) - truth) < N_SE * float(row["divergence_se"])
        assert float(row["divergence_se"]) < 0.05
        assert float(row["renyi"]) == pytest.approx(order * float(row["divergence"]))
        assert float(row["renyi_se"]) == pytest.approx(order * float(row["divergence_se"]))

    def test_ends_have_the_two_kullback_leibler_divergences(self, gaussian):
        ends = gaussian[1]["path"].to_dataset().sel(order=[0, 1]).squeeze("branch")
        truth = -0.5 * np.log(1 - RHO**2)  # in both directions
        assert (abs(ends["divergence"] - truth) < N_SE * ends["divergence_se"]).all()
        assert ends["renyi"].values[0] == 0

    def test_ends_are_the_fits_there(self, gaussian):
        target, dt = gaussian
        ends = dt["path"].to_dataset().squeeze("branch")
        np.testing.assert_allclose(np.diag(ends["covariance"].sel(order=0)), 1 - RHO**2, rtol=1e-6)
        np.testing.assert_allclose(np.diag(ends["covariance"].sel(order=1)), 1, rtol=1e-12)
        reverse = pkl.fit_reverse("meanfield", model=target, n_starts=4, random_seed=2, progressbar=False)
        np.testing.assert_allclose(ends["covariance"].sel(order=0), reverse.covariance, rtol=1e-6)

    def test_one_minimum_is_one_branch_without_a_switch(self, gaussian):
        dt = gaussian[1]
        assert dt["path"]["branch"].values.tolist() == ["reverse 1"]
        assert not dt["switches"].sizes.get("switch", 0)
        assert dt["path"]["divergence"].notnull().all()

    def test_log_evidence_comes_from_the_bridge(self, gaussian):
        reference = gaussian[1]["reference"].to_dataset()
        assert abs(float(reference["log_evidence"])) < N_SE * float(reference["log_evidence_se"]) + 1e-3


# ---- two modes, against quadrature ----

GRID = np.linspace(-40, 40, 80_001)
LINES = {"two_modes": ([0.3, 0.7], [-3, 3], [0.6, 1]), "switch_6": ([0.5, 0.5], [-3, 3], [1, 1])}
ORDERS = [0, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9, 1]


def log_mixture(name: str) -> np.ndarray:
    weights, locs, scales = (np.array(values)[:, None] for values in LINES[name])
    return logsumexp(np.log(weights) + norm.logpdf(GRID, locs, scales), axis=0)


def exact_divergence(name: str, order: float, loc: float, scale: float) -> float:
    """D_α/α of a normal by the trapezoid rule."""
    log_p, log_q = log_mixture(name), norm.logpdf(GRID, loc, scale)
    if order in (0, 1):
        first, second = (log_q, log_p) if order == 0 else (log_p, log_q)
        return float(trapezoid(np.exp(first) * (first - second), GRID))
    overlap = trapezoid(np.exp(order * log_p + (1 - order) * log_q), GRID)
    return float(-np.log(overlap) / (order * (1 - order)))


def exact_optimum(name: str, order: float, loc: float, scale: float) -> tuple[float, float, float]:
    """Descend by quadrature from a normal to the nearest minimum: its mean, sd and D_α/α."""
    start = np.array([loc, np.log(scale)])
    simplex = start + np.array([[0, 0], [0.05, 0], [0, 0.05]])
    found = minimize(
        lambda theta: exact_divergence(name, order, theta[0], np.exp(theta[1])),
        start,
        method="Nelder-Mead",
        options={"xatol": 1e-7, "fatol": 1e-12, "initial_simplex": simplex},
    )
    return float(found.x[0]), float(np.exp(found.x[1])), float(found.fun)


@pytest.fixture(scope="module", params=LINES)
def line(request: pytest.FixtureRequest, zoo: Zoo) -> tuple[str, xr.DataTree]:
    """The path to a mixture on the line, from its quantiles."""
    name = request.param
    target = zoo(name)[1]
    reference = to_reference(target, mixture_points(*LINES[name], 16_000))
    return name, divergence_path(reference, alphas=ORDERS, random_seed=2, progressbar=False)


class TestLine:
    def test_every_branch_is_a_minimum(self, line):
        name, dt = line
        path = dt["path"].to_dataset().squeeze(drop=True)
        compared = 0
        for order in (0.1, 0.25, 0.5, 0.75, 0.9):
            for branch in path["branch"].values:
                row = path.sel(order=order, branch=branch)
                if np.isnan(row["loc"]):
                    continue
                sd = float(np.sqrt(row["covariance"]))
                mean, scale, value = exact_optimum(name, order, float(row["loc"]), sd)
                np.testing.assert_allclose([float(row["loc"]), sd], [mean, scale], atol=2e-3)
                assert abs(float(row["divergence"]) - value) < N_SE * float(row["divergence_se"])
                assert float(row["divergence_se"]) < 0.01
                compared += 1
        assert compared >= 8

    def test_the_best_branch_hugs_a_mode_before_the_switch_and_covers_both_after(self, line):
        name, dt = line
        path, switch = dt["path"].to_dataset(), dt["switches"].to_dataset().squeeze("switch")
        best = path.sel(branch=path["best"])
        before = (path["order"] < float(switch["at"])).values
        heaviest = best["mass"].max("mode").values
        assert (heaviest[before] > 0.99).all()
        assert (heaviest[~before] < 0.9).all()
        at = brentq(lambda order: gap(name, order), float(switch["lower"]), float(switch["upper"]), xtol=1e-5)
        # by interpolation in steps of a tenth, which is good to a fiftieth of a step here
        assert abs(float(switch["at"]) - at) < N_SE * float(switch["at_se"]) + 2e-3
        assert float(switch["at_se"]) < 0.01

    def test_ends_are_the_reverse_optima_and_the_moments_of_the_draws(self, line):
        name, dt = line
        path = dt["path"].to_dataset().squeeze(drop=True)
        x = mixture_points(*LINES[name], 16_000)
        last = path.sel(order=1).sel(branch=str(path["best"][-1].item()))
        np.testing.assert_allclose([float(last["loc"]), float(last["covariance"])], [x.mean(), x.var()], atol=1e-9)
        truth = exact_optimum(name, 0, 3, 1)
        first = [abs(float(path["loc"][0, 0])), float(path["covariance"][0, 0])]
        np.testing.assert_allclose(first, [truth[0], truth[1] ** 2], atol=2e-3)

    def test_masses_and_moments_are_those_of_each_fit(self, line):
        dt = line[1]
        path, table = dt["path"].to_dataset(), dt["parameters"].to_dataset()["x"].squeeze()
        here = path["divergence"].notnull()
        np.testing.assert_allclose((path["mass"].sum("mode") + path["elsewhere"]).where(here, 1), 1)
        np.testing.assert_allclose(table.sel(statistic="mean"), path["loc"].squeeze(), atol=1e-6)
        sd = np.sqrt(path["covariance"].squeeze())
        np.testing.assert_allclose(table.sel(statistic="sd"), sd, rtol=1e-6)
        reference = dt["reference"].to_dataset()
        right = float(reference["mass"].sel(mode=1))
        assert right == pytest.approx(LINES[line[0]][0][1], abs=2e-3)

    def test_it_is_saved_and_loaded_as_it_is(self, line, tmp_path):
        dt = line[1]
        dt.to_netcdf(tmp_path / "path.nc")
        with warnings.catch_warnings(), xr.open_datatree(tmp_path / "path.nc") as loaded:
            for name in dt.children:
                xr.testing.assert_identical(loaded[name].to_dataset(), dt[name].to_dataset())


def gap(name: str, order: float) -> float:
    """How much higher the minimum at the right mode lies than the broad one, by quadrature."""
    broad = 0.0 if name == "switch_6" else 1.6
    return exact_optimum(name, order, 2.98, 1.02)[2] - exact_optimum(name, order, broad, 2.7)[2]


# ---- the parts ----


@pytest.mark.parametrize("order", [0.0, 0.1, 0.4, 1.0])
@pytest.mark.parametrize("family", ["meanfield", "fullrank"])
def test_the_gradient_is_that_of_the_bound(zoo: Zoo, family: str, order: float, rng: np.random.Generator) -> None:
    target, z = zoo("banana")[1], rng.standard_normal((60, 2))
    tril = np.array([[0.8, 0], [0.3, 0.6]])
    full, diagonal = FullRank(loc=np.ones(2), scale_tril=tril), MeanField(loc=np.ones(2), scale=np.diag(tril))
    rows = rows_of([full if family == "fullrank" else diagonal])
    theta = 0.1 * rng.standard_normal(rows.size)

    def bound(theta: np.ndarray) -> float:
        return alpha_fit.renyi_bound(rows, theta, order, target.log_density_and_grad, z)[0]

    slope = alpha_fit.renyi_bound(rows, theta, order, target.log_density_and_grad, z)[1]
    np.testing.assert_allclose(slope, approx_fprime(theta, bound, 1e-6), rtol=1e-4, atol=1e-4)


def test_a_fit_does_not_depend_on_how_it_is_found(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    """By gradient or by moments, at an order where both are accurate."""
    problem, target = zoo("banana")
    assert problem.sample is not None
    x = problem.sample(2**15, np.random.default_rng(1))
    z = balanced_normals(2**14, 2, np.random.default_rng(2))
    task = PathProblem(target, to_reference(target, x), z, Estimate(0.0, 0.0))
    start = FullRank(loc=np.array([0.0, 0.5]), scale_tril=np.diag([0.6, 0.6]))
    fits = []
    for below in (1.0, 0.0):
        monkeypatch.setattr(alpha_fit, "GRADIENT_BELOW", below)
        fits.append(alpha_fit.fit_at(start, 0.25, task))
    np.testing.assert_allclose(fits[0].loc, fits[1].loc, atol=0.02)
    np.testing.assert_allclose(fits[0].covariance, fits[1].covariance, atol=0.03)


def normal_target(zoo: Zoo) -> tuple[Target, np.ndarray]:
    """A correlated normal and draws of it."""
    problem, target = zoo("mean_field_gaussian")
    assert problem.sample is not None
    return target, problem.sample(4000, np.random.default_rng(3))


@pytest.mark.parametrize("order", [0.0, 0.05, 0.3, 0.5, 0.8, 1.0])
def test_errors_of_divergences_are_right_in_replicates(zoo: Zoo, order: float) -> None:
    problem, target = zoo("mean_field_gaussian")
    assert problem.sample is not None
    assert problem.cov is not None
    fit = MeanField(loc=np.array([0.3, 0.0]), scale=np.array([0.6, 0.8]))
    exact = exact_normal(order, fit, problem.cov)
    scores = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        reference, z = to_reference(target, problem.sample(800, rng)), rng.normal(size=(100, 2))
        task = PathProblem(target, reference, z, Estimate(0.0, 0.0))
        found = alpha_divergence(fit, order, task, fit.sample(800, random_seed=rng))
        scores.append((found.value - exact) / found.se)
    assert abs(np.mean(scores)) < 4 / np.sqrt(60)
    assert 0.7 < np.std(scores) < 1.35  # three standard errors of a standard deviation, and a little more


def exact_normal(order: float, fit: MeanField, p: np.ndarray) -> float:
    """D_α/α from N(0, p), by closed form."""
    if order in (0, 1):
        one, two = (fit.covariance, p) if order == 0 else (p, fit.covariance)
        inverse = np.linalg.inv(two)
        log_det = np.linalg.slogdet(two)[1] - np.linalg.slogdet(one)[1]
        return float(0.5 * (np.trace(inverse @ one) + fit.loc @ inverse @ fit.loc - 2 + log_det))
    apart = np.linalg.inv((1 - order) * p + order * fit.covariance)
    return renyi_of_normals(order, p, fit.covariance) + 0.5 * float(fit.loc @ apart @ fit.loc)


def test_log_evidence_of_an_unnormalised_density(zoo: Zoo) -> None:
    target, x = normal_target(zoo)
    reference = to_reference(target, x)
    shifted = PosteriorDraws(target, reference.x, reference.log_density + 3.5)
    q = FullRank(loc=np.array([0.1, 0.2]), scale_tril=np.array([[1.2, 0], [0.9, 0.6]]))
    found = log_evidence_of(q, lambda x: target.log_density(x) + 3.5, shifted, q.sample(4000, random_seed=1))
    assert abs(found.value - 3.5) < N_SE * found.se
    assert found.se < 0.02


def test_log_evidence_goes_by_the_weights_of_the_draws(zoo: Zoo) -> None:
    """Draws of a wider normal, weighted to stand for p: unweighted, log Z would be off by many errors."""
    target, _ = normal_target(zoo)
    q = FullRank(loc=np.array([0.1, 0.2]), scale_tril=np.array([[1.2, 0], [0.9, 0.6]]))
    wide = FullRank(loc=np.zeros(2), scale_tril=1.6 * np.eye(2))
    x = wide.sample(8000, random_seed=1)
    weights = np.exp(target.log_density(x) - wide.log_prob(x))
    weighted = PosteriorDraws(target, x[None], target.log_density(x)[None], (weights / weights.sum())[None])
    found = log_evidence_of(q, target.log_density, weighted, q.sample(4000, random_seed=2))
    assert abs(found.value) < N_SE * found.se
    plain = PosteriorDraws(target, weighted.x, weighted.log_density)
    wrong = log_evidence_of(q, target.log_density, plain, q.sample(4000, random_seed=2))
    assert abs(wrong.value) > 5 * wrong.se


def test_doubling_a_weight_is_doubling_the_draw(zoo: Zoo) -> None:
    target, x = normal_target(zoo)
    doubled = np.concatenate([x, x[:1000]])
    weights = np.r_[np.full(1000, 2.0), np.ones(3000)] / 5000
    weighted = PosteriorDraws(target, x[None], target.log_density(x)[None], weights[None])
    z = balanced_normals(1024, 2, np.random.default_rng(1))
    start = FullRank(loc=np.zeros(2), scale_tril=np.eye(2))
    fits = [
        alpha_fit.fit_at(start, 0.6, PathProblem(target, reference, z, Estimate(0.0, 0.0)))
        for reference in (weighted, to_reference(target, doubled))
    ]
    np.testing.assert_allclose(fits[0].covariance, fits[1].covariance, rtol=1e-9)


# ---- what a user meets ----


def test_orders_without_a_fit_have_no_best_branch() -> None:
    lead = ("order", "branch")
    divergence = [[0.5, np.nan], [np.nan, np.nan], [np.nan, 0.4]]
    path = xr.Dataset(
        {"divergence": (lead, divergence), "divergence_se": (lead, np.full((3, 2), 0.01))},
        {"order": [0, 0.5, 1], "branch": ["reverse 1", "forward"]},
    )
    path["best"] = ("order", datatree._best(path))
    assert path["best"].values.tolist() == ["reverse 1", "", "forward"]
    assert datatree._switches(path).sizes["switch"] == 0


def test_evidence_is_not_biased_by_chains_that_remember(zoo: Zoo) -> None:
    """A mixture fitted to neighbours of the draws that it is weighed on looks too good there."""
    problem, target = zoo("gaussian_condition")
    assert problem.cov is not None
    tril, rng = np.linalg.cholesky(problem.cov), np.random.default_rng(1)
    z = rng.standard_normal((4, 800, target.d))
    for i in range(1, 800):
        z[:, i] = 0.9 * z[:, i - 1] + np.sqrt(1 - 0.9**2) * z[:, i]
    x = problem.mean + z @ tril.T
    reference = PosteriorDraws(target, x, target.log_density(x.reshape(-1, target.d)).reshape(4, 800))
    found = alpha_path._log_evidence(reference, np.zeros(3200, dtype=np.int64), rng)
    assert abs(found.value - problem.log_z) < N_SE * found.se


def test_where_p_is_in_the_family_the_path_stays_there(zoo: Zoo) -> None:
    target, x = normal_target(zoo)
    dt = divergence_path(to_reference(target, x), alphas=(0, 0.5, 1), random_seed=1, progressbar=False)
    path = dt["path"].to_dataset().squeeze("branch")
    assert (abs(path["divergence"]) < 5e-3).all()
    np.testing.assert_allclose(path["covariance"].sel(order=0), [[1, RHO], [RHO, 1]], atol=1e-4)
    np.testing.assert_allclose(path["covariance"].sel(order=0.5), np.cov(x.T), atol=0.05)


def test_the_same_seed_gives_the_same_path_and_draws_are_left_as_they_are(zoo: Zoo) -> None:
    target = zoo("two_modes")[1]
    draws = target.to_dataset(mixture_points(*LINES["two_modes"], 2000).reshape(4, 500, 1))
    kept = draws.copy(deep=True)
    one, two = (
        divergence_path(draws, "meanfield", model=target, alphas=(0, 0.3, 0.9), random_seed=7, progressbar=False)
        for _ in range(2)
    )
    xr.testing.assert_identical(one, two)
    xr.testing.assert_identical(draws, kept)


def test_copies_of_labels_are_one_mode_of_a_path(zoo: Zoo) -> None:
    problem, target = zoo("labels")
    assert problem.sample is not None
    x = problem.sample(2000, np.random.default_rng(1))
    path = divergence_path(to_reference(target, x), alphas=(0, 0.5, 1), random_seed=1, progressbar=False)["path"]
    assert path["mode"].size == 1
    assert float(path["mass"].sel(mode=1).max()) > 0.9


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"family": "mixture"}, r"unknown family 'mixture'; known are 'meanfield', 'fullrank'"),
        ({"alphas": ()}, r"alphas must rise within 0 and 1; got \[\]"),
        ({"alphas": (0, 1.5)}, r"alphas must rise within 0 and 1; got \[0, 1.5\]"),
        ({"alphas": (0.5, 0.5)}, "alphas must rise"),
        ({"alphas": (0, np.nan)}, "alphas must rise"),
    ],
)
def test_errors_say_what_is_expected(zoo: Zoo, given: dict[str, Any], message: str) -> None:
    target, x = normal_target(zoo)
    with pytest.raises(ValueError, match=message):
        divergence_path(to_reference(target, x), progressbar=False, **given)


def test_orders_that_rest_on_few_draws_are_warned_of(zoo: Zoo) -> None:
    problem, target = zoo("gaussian_condition")
    assert problem.sample is not None
    x = problem.sample(100, np.random.default_rng(1))
    with pytest.warns(UserWarning, match=r"at α = 1 the fit rests on fewer than 200 draws' worth of weight, 10 a dim"):
        divergence_path(to_reference(target, x), alphas=(0, 1), random_seed=1, progressbar=False)
