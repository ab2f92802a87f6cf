"""Reverse-KL fits from many starts: the optima that quadrature and closed forms know."""

import numpy as np
import pymc as pm
import pytest
from problems import Problem, many_wells, mean_field_gaussian
from scipy import stats
from zoo.controls import standard_normal

from pymc_kl import find_modes, fit_reverse
from pymc_kl.approximations import FullRank, LowRank, MeanField, Mixture
from pymc_kl.fitting import mixture_growth
from pymc_kl.fitting.gaussian_elbo import rows_of
from pymc_kl.fitting.mixture_elbo import MixtureParameters
from pymc_kl.fitting.mixture_growth import MOST_COMPONENTS, SPLITS, grow_mixture, most_components, split
from pymc_kl.fitting.mixture_weights import weighed
from pymc_kl.fitting.points import balanced_normals
from pymc_kl.fitting.successive_halving import LEVELS
from pymc_kl.model.target import Target
from pymc_kl.modes.symmetry.enumerate import matrices
from pymc_kl.numerics.estimate import mean_estimate


def fitted(zoo, name: str, family: str, seed: int = 1, **kwargs) -> tuple[Problem, Target, MeanField | FullRank]:
    problem, target = zoo(name)
    return problem, target, fit_reverse(family, model=target, random_seed=seed, progressbar=False, **kwargs)


def test_thirty_two_starts_settle_in_the_two_optima(zoo):
    problem, _, q = fitted(zoo, "two_modes", "meanfield", seed=3)
    optima = q.info["optima"]
    assert len(optima) == 2
    assert sum(optimum.n_starts for optimum in optima) == 32
    for optimum, truth in zip(optima, (problem.reverse["meanfield"], problem.reverse["local_1"]), strict=True):
        np.testing.assert_allclose(optimum.approximation.loc, truth.mean, atol=1e-3)
        np.testing.assert_allclose(optimum.approximation.scale**2, np.diag(truth.cov), rtol=2e-3)
        reverse_kl = problem.log_z - optimum.elbo.value
        assert abs(reverse_kl - truth.reverse_kl) < 3.5 * optimum.elbo.se + 1e-4
        exact = -closed_elbo(problem, optimum.approximation)
        assert problem.log_z + exact == pytest.approx(truth.reverse_kl, rel=5e-3)


def closed_elbo(problem: Problem, q: MeanField) -> float:
    """Integrate q (log p̃ - log q) in one dimension."""
    x = np.linspace(q.loc[0] - 12 * q.scale[0], q.loc[0] + 12 * q.scale[0], 20_001)[:, None]
    log_q = q.log_prob(x)
    return float(np.trapezoid(np.exp(log_q) * (problem.log_density(x) - log_q), x[:, 0]))


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("textbook_figure", "meanfield"),
        ("textbook_figure", "fullrank"),
        ("switch_2", "meanfield"),
        ("switch_6", "meanfield"),
        ("quickstart", "meanfield"),
        ("skew_normal", "meanfield"),
        ("mean_field_gaussian", "meanfield"),
        ("mean_field_gaussian", "fullrank"),
        ("funnel", "meanfield"),
    ],
)
def test_the_optimum_is_reached_to_a_thousandth(name, family, zoo):
    problem, _, q = fitted(zoo, name, family, n_starts=8)
    truth = problem.reverse[family]
    sd = np.sqrt(np.diag(truth.cov))
    away = np.abs((q.loc - truth.mean) / sd)
    mirrored = np.abs((q.loc + truth.mean) / sd)  # a symmetric posterior has the optimum twice
    assert min(away.max(), mirrored.max()) < 1e-3
    np.testing.assert_allclose(q.covariance / np.outer(sd, sd), truth.cov / np.outer(sd, sd), atol=2e-3)
    assert q.kind == "reverse"


@pytest.fixture(scope="module")
def fifty() -> tuple[Problem, Target]:
    problem = mean_field_gaussian(0.5, 50)
    return problem, Target.from_model(problem.model())


def test_fifty_correlated_dimensions(fifty):
    """Variances 1 / (Σ⁻¹)_ii for mean-field and Σ for the others: exact, since the points have covariance I."""
    problem, target = fifty
    fits = {
        family: fit_reverse(family, model=target, n_starts=2, random_seed=1, progressbar=False)
        for family in ("meanfield", "lowrank", "fullrank")
    }
    fits["rank 1"] = fit_reverse("lowrank", rank=1, model=target, n_starts=2, random_seed=1, progressbar=False)
    np.testing.assert_allclose(fits["meanfield"].scale ** 2, 1 / np.diag(np.linalg.inv(problem.cov)), rtol=1e-3)
    for name in ("lowrank", "fullrank", "rank 1"):
        np.testing.assert_allclose(fits[name].covariance, problem.cov, atol=2e-3)
        assert len(fits[name].info["optima"]) == 1
        assert abs(fits[name].info["elbo"] - problem.log_z) < 1e-3
    assert fits["lowrank"].rank == 7


def test_many_wells_settle_in_the_heaviest():
    """Sixteen modes with product masses; the best normal is in the one where every well is the right one."""
    problem = many_wells(8)
    target = Target.from_model(problem.model())
    q = fit_reverse("meanfield", model=target, random_seed=1, progressbar=False)
    truth = problem.reverse["meanfield"]
    sd = np.sqrt(np.diag(truth.cov))
    np.testing.assert_allclose((q.loc - truth.mean) / sd, 0, atol=1e-3)
    np.testing.assert_allclose(q.scale / sd, 1, atol=1e-3)
    assert abs(problem.log_z - q.info["elbo"] - truth.reverse_kl) < 3.5 * q.info["elbo_se"]
    optima = q.info["optima"]
    assert sum(optimum.n_starts for optimum in optima) == 32
    near = [optimum.elbo.value > optima[0].elbo.value - LEVELS[-1].within + 0.1 for optimum in optima]
    assert 4 < sum(near) < len(optima)
    assert [optimum.converged for optimum in optima] == near  # the rest is left on the way, and says so


@pytest.mark.parametrize("family", ["meanfield", "fullrank"])
def test_starts_that_are_far_away_catch_up(family):
    """A parabola through sixty points, its prior hundreds of nats off: all starts but a stray one arrive."""
    x = np.linspace(-1, 1, 60)
    y = 3 + 0.2 * np.random.default_rng(0).standard_normal(60)
    with pm.Model() as model:
        slopes, sigma = pm.Normal("slopes", 0, 5, shape=3), pm.HalfNormal("sigma", 5)
        pm.Normal("y", slopes[0] + slopes[1] * x + slopes[2] * x**2, sigma, observed=y)
    for seed in (1, 2):
        best = fit_reverse(family, model=model, random_seed=seed, progressbar=False).info["optima"][0]
        assert best.converged
        assert best.n_starts >= 30


@pytest.mark.parametrize("n_components", [None, 2])
def test_a_mixture_covers_both_modes(n_components, zoo):
    """0.3 N(-3, 0.6) + 0.7 N(3, 1) is in the family: nothing is left of the divergence."""
    problem, target, q = fitted(zoo, "two_modes", "mixture", n_components=n_components)
    assert isinstance(q, Mixture)
    assert q.kind == "reverse"
    x = q.sample(20_000, random_seed=3)
    reverse_kl = problem.log_z - mean_estimate(target.log_density(x) - q.log_prob(x)).value
    assert reverse_kl < 0.005
    order = np.argsort(q.locs[:, 0])
    np.testing.assert_allclose(q.locs[order, 0], [-3, 3], atol=5e-3)
    np.testing.assert_allclose(q.weights[order], [0.3, 0.7], atol=2e-3)


def test_a_mixture_grows_along_a_curve(zoo):
    """One optimum of the normals, and a banana: splitting its component gains most of what they lose."""
    problem, target = zoo("banana")
    modes = find_modes(model=target, random_seed=1, progressbar=False)
    one, many = (
        fit_reverse(family, model=target, modes=modes, n_starts=4, random_seed=1, progressbar=False)
        for family in ("fullrank", "mixture")
    )
    assert many.n_components > 2
    assert problem.log_z - many.info["elbo"] < 0.25 * (problem.log_z - one.info["elbo"])


def test_a_mixture_grows_around_a_peak_with_heavy_tails():
    """A t with two degrees of freedom: a narrow and a wide normal about one place, their divergence by quadrature."""
    with pm.Model() as model:
        pm.StudentT("x", 2)
    q = fit_reverse("mixture", model=model, n_starts=4, random_seed=1, progressbar=False)
    assert q.n_components >= 2
    np.testing.assert_allclose(q.locs, 0, atol=0.02)
    x = np.linspace(-40, 40, 200_001)
    log_q = q.log_prob(x[:, None])
    exact = np.trapezoid(np.exp(log_q) * (stats.t(2).logpdf(x) - log_q), x)
    assert abs(q.info["elbo"] - exact) < 4 * q.info["elbo_se"]
    assert exact > 0.25 * q.info["optima"][0].elbo.value


def test_an_edge_within_the_space_is_refused():
    with pm.Model() as model:
        x = pm.Flat("x")
        pm.Potential("edge", pm.math.switch(x > 1.5, -np.inf, -(x**2) / 2))
    with pytest.raises(ValueError, match="infinite for every fit: each has mass where the model's density is 0"):
        fit_reverse("meanfield", model=model, n_starts=4, random_seed=1, progressbar=False)


def test_the_mixture_of_all_optima_is_offered(zoo):
    _, target, q = fitted(zoo, "two_modes", "fullrank")
    mixture = q.info["mixture"]
    np.testing.assert_allclose(np.sort(mixture.weights), [0.3, 0.7], atol=0.03)
    x = mixture.sample(4000, random_seed=1)
    assert mean_estimate(target.log_density(x) - mixture.log_prob(x)).value > q.info["elbo"] + 0.3
    assert q.info["settled"][:2].tolist() == [0, 1]  # the first starts are the modes, heaviest first
    assert set(q.info["settled"]) == {0, 1}
    for i, optimum in enumerate(q.info["optima"]):
        assert (q.info["settled"] == i).sum() == optimum.n_starts


def test_copies_of_an_optimum_are_one(zoo):
    """Two exchangeable components: the optimum is one up to labels, and the mixture covers both labellings."""
    _, target, q = fitted(zoo, "labels", "meanfield", n_starts=16)
    modes = find_modes(model=target, random_seed=1, progressbar=False)
    mean = q.info["mixture"].loc
    assert modes.has_copies
    np.testing.assert_allclose(mean, matrices(modes.symmetry, target.d)[1] @ mean, atol=1e-9)
    best, second = (q.info["optima"] + (None,))[:2]
    assert second is None or second.elbo.value < best.elbo.value - 0.5


def one_and_two_copies(swapped: bool) -> pm.Model:
    """.4 N(0, 1) + .3 N(±6, 1) along one axis, by a sign flip; or along (1, -1), where swapping two labels does it."""
    with pm.Model() as model:
        if swapped:
            x = pm.Normal("x", 0, 10, shape=2)
            difference = (x[0] - x[1]) / np.sqrt(2)
            prior = pm.logp(pm.Normal.dist(0, 10), difference)
            mixture = pm.NormalMixture.dist(w=[0.4, 0.3, 0.3], mu=[0, -6, 6], sigma=1)
            pm.Potential("three", pm.logp(mixture, difference) - prior)
        else:
            pm.NormalMixture("a", w=[0.4, 0.3, 0.3], mu=[0, -6, 6], sigma=1)
            pm.Normal("b")
    return model


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("family", ["fullrank", "mixture"])
def test_modes_with_one_and_with_two_copies_have_their_weights(family, swapped):
    """The posterior is three normals, two of them copies: weights are .4, .3, .3, and the reverse KL is 0."""
    target = Target.from_model(one_and_two_copies(swapped))
    q = fit_reverse(family, model=target, n_starts=3, random_seed=1, progressbar=False)
    mixture = q if family == "mixture" else q.info["mixture"]
    along = mixture.locs @ ([1, -1] / np.sqrt(2) if swapped else [1, 0])
    near = np.abs(along[:, None] - [-6, 0, 6]) < 0.5
    np.testing.assert_allclose(mixture.weights @ near, [0.3, 0.4, 0.3], atol=2e-3)
    x = mixture.sample(4000, random_seed=3)
    reverse_kl = mean_estimate(mixture.log_prob(x) - target.log_density(x))
    assert abs(reverse_kl.value) < 3 * reverse_kl.se + 1e-3


@pytest.mark.parametrize("weights", [(0.9, 0.1), (0.2, 0.8)])
def test_components_that_are_their_own_images_count_once(weights, rng):
    """Halves of one peak that a flip maps to each other, beside a mode with two copies: weights are masses."""
    middle, outer = weights
    log_w = np.log([middle, outer / 2, outer / 2])

    def log_density(x):
        return np.logaddexp.reduce(log_w - 0.5 * (x - [0, -8, 8]) ** 2 - 0.5 * np.log(2 * np.pi), axis=1)

    halves = np.array([[-0.4], [0.4], [8.0]])
    start = Mixture(weights=np.array([0.3, 0.3, 0.4]), locs=halves, scale_trils=np.array([[[0.9]], [[0.9]], [[1.0]]]))
    q = weighed(log_density, start, np.array([[[1.0]], [[-1.0]]]), rng)
    assert q.weights[:2].sum() == pytest.approx(middle, abs=2e-3)


def test_auto_takes_the_simplest_that_is_as_good(zoo, fifty):
    """A correlated normal needs its rank and no more than that; two modes need the mixture."""
    *_, q = fitted(zoo, "two_modes", "auto", n_starts=8)
    assert q.family == "mixture"
    assert " nats of ELBO better than meanfield, the best of the simpler families." in q.info["choice"]
    assert set(q.info["family_elbos"]) == {"meanfield", "mixture"}
    modes = find_modes(model=fifty[1], n_starts=64, random_seed=1, progressbar=False)
    q = fit_reverse("auto", model=fifty[1], modes=modes, n_starts=2, random_seed=1, progressbar=False)
    assert q.family == "lowrank"
    assert "nats of ELBO better than meanfield, the best of the simpler families" in q.info["choice"]


@pytest.mark.parametrize("family", ["meanfield", "lowrank", "fullrank", "mixture"])
def test_gradients_are_those_of_the_value(family, rng):
    """Against central differences, at a point away from the start, on a density with two humps."""
    d, tril = 3, np.tril(rng.normal(size=(3, 3)), -1) + np.diag(rng.uniform(0.5, 1.5, 3))
    fit = {
        "meanfield": MeanField(loc=rng.normal(size=d), scale=rng.uniform(0.5, 1.5, d)),
        "lowrank": LowRank(loc=rng.normal(size=d), factor=rng.normal(size=(d, 2)), scale=rng.uniform(0.5, 1.5, d)),
        "fullrank": FullRank(loc=rng.normal(size=d), scale_tril=tril),
        "mixture": Mixture(weights=np.array([0.3, 0.7]), locs=rng.normal(size=(2, d)),
                           scale_trils=np.stack([tril, 0.5 * tril])),
    }[family]  # fmt: skip
    rows = MixtureParameters(fit) if family == "mixture" else rows_of([fit, fit])
    z = balanced_normals(64, d if family == "mixture" else rows.n_noise, rng)
    function = rows.on(two_humps, z)
    theta, row = 0.3 * rng.normal(size=rows.size), np.array([0])
    step = 1e-5 * np.eye(rows.size)
    differences = [(function(theta[None] + e, row)[0] - function(theta[None] - e, row)[0]) / 2e-5 for e in step]
    np.testing.assert_allclose(function(theta[None], row)[1][0], np.ravel(differences), rtol=1e-5, atol=1e-7)


def two_humps(x):
    """Log density and gradient of two normals at ±1."""
    log_joint = np.stack([-0.5 * ((x - s) ** 2).sum(axis=1) for s in (-1, 1)])
    log_density = np.logaddexp(*log_joint)
    share = np.exp(log_joint - log_density)
    return log_density, -sum(w[:, None] * (x - s) for w, s in zip(share, (-1, 1), strict=True))


def test_the_same_seed_gives_the_same_fit(zoo):
    _, _, one = fitted(zoo, "two_modes", "fullrank", n_starts=3)
    _, _, two = fitted(zoo, "two_modes", "fullrank", n_starts=3)
    np.testing.assert_array_equal(one.scale_tril, two.scale_tril)
    assert one.info["elbo"] == two.info["elbo"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"family": "flow"}, "unknown family 'flow'; known are 'auto', 'meanfield', 'lowrank', 'fullrank', 'mixture'"),
        ({"n_starts": 0}, "n_starts must be at least 1; got 0"),
        ({"family": "lowrank", "rank": 1}, "rank must be below the 1 dimensions"),
        ({"rank": 1}, "rank is of the family 'lowrank'; got it with 'fullrank'"),
        (
            {"family": "mixture", "n_components": 13, "model": standard_normal(50).model()},
            "n_components must be at most 12 in 50 dimensions, since .* as the cube of their number; got 13",
        ),
        ({"n_components": 2}, "n_components is of the family 'mixture'; got it with 'fullrank'"),
    ],
)
def test_bad_input_is_refused(arguments, message, zoo):
    _, target = zoo("two_modes")
    with pytest.raises(ValueError, match=message):
        fit_reverse(**{"model": target} | arguments)


def test_few_components_are_split_into_in_many_dimensions():
    most = [most_components(d) for d in (1, 5, 10, 20, 50, 500)]
    assert most == [100, 100, 69, 34, 12, 12]
    assert most[-1] == MOST_COMPONENTS


def test_the_more_components_the_fewer_steps_the_last_climb_takes(zoo, monkeypatch):
    taken = {}

    def maximised(_function, mixture, _points, **options):
        if "tolerance" not in options:  # no trial
            taken[mixture.n_components] = options["max_steps"]
        return mixture

    monkeypatch.setattr(mixture_growth, "maximise_mixture", maximised)
    _, target = zoo("two_modes")
    start = Mixture(weights=np.ones(1), locs=np.zeros((1, 1)), scale_trils=np.ones((1, 1, 1)))
    for n in (12, 40):
        grow_mixture(target.log_density_and_grad, start, n, np.random.default_rng(1))
    assert taken == {12: 400, 40: 120}


def test_growth_tells_how_far_it_is_and_how_long_it_may_take(monkeypatch):
    now = iter(range(0, 1000, 10))
    monkeypatch.setattr(mixture_growth.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(mixture_growth, "_best_split", lambda tried, mixture, k: tried(split(mixture, k, SPLITS[0])))
    monkeypatch.setattr(mixture_growth, "maximise_mixture", lambda _function, mixture, _points, **_: mixture)
    start = Mixture(weights=np.ones(1), locs=np.zeros((1, 1)), scale_trils=np.ones((1, 1, 1)))
    told = []
    grow_mixture(lambda x: (np.zeros(len(x)), np.zeros_like(x)), start, 4, np.random.default_rng(1), told.append)
    assert told == [
        "1 of 4 components, at most about 630 s to go", "2 of 4 components, at most about 140 s to go",
        "3 of 4 components, at most about 41 s to go", "4 components, on more points",
    ]  # fmt: skip
