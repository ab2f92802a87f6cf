"""Hierarchical models without a proper maximum: log Z with the log scales on a grid, against quadrature."""

from functools import cache

import numpy as np
import pytest
from problems import eight_schools, funnel
from scipy import stats
from zoo.edges import tied_simplex
from zoo.hierarchies import clinics, league, rates

import pymc_kl as pkl
from pymc_kl.model.target import Target
from pymc_kl.modes.merge import region_of_draws
from pymc_kl.numerics.khat import KHAT_RELIABLE
from pymc_kl.reference import nested_bridge
from pymc_kl.reference.local_draws import LocalDraws
from pymc_kl.reference.mode_density import ModeDensity
from pymc_kl.reference.nested_bridge import log_mass_by_nested_laplace
from pymc_kl.reference.nested_laplace import fit_nested_laplace, outer_coordinates, tied_coordinates

N_SE = 3.0
KNOWN_TO = 0.1  # nats: the largest error of a log Z that ranks models
HIERARCHIES = {
    "eight schools": (eight_schools, 1),
    "funnel": (funnel, 0),
    "rates": (rates, 1),
    "league": (league, 0),
    "clinics": (clinics, 1),
}


@cache
def hierarchy(name):
    problem = HIERARCHIES[name][0]()
    return problem, Target.from_model(problem.model())


def region(name, n, rng, keep=lambda x: np.ones(len(x), dtype=bool)):
    """Exact draws of a hierarchy, as if a chain's, and the one region that they are of."""
    problem, target = hierarchy(name)
    x = problem.sample(n, rng)
    x = x[keep(x)]
    modes = region_of_draws(x, target.log_density_and_grad, "")
    none = np.full(len(x), -1)
    draws = LocalDraws(x, target.log_density(x), none, np.ones(len(x)), "given")
    return problem, ModeDensity(target, modes, 0), draws


@pytest.mark.parametrize("name", ["rates", "league", "clinics"])
def test_hierarchies_are_what_their_models_say(name, rng):
    problem, target = hierarchy(name)
    x = problem.sample(200, rng)
    np.testing.assert_allclose(problem.log_density(x), target.log_density(x), rtol=1e-8)


@pytest.mark.parametrize("name", HIERARCHIES)
def test_log_z_of_hierarchies(name, rng):
    problem, mode, draws = region(name, 2000, rng)
    found, same = log_mass_by_nested_laplace(mode, draws, rng)
    assert found.reason == ""
    assert same is draws
    assert abs(found.estimate.value - problem.log_z) < N_SE * found.estimate.se
    assert N_SE * found.estimate.se < KNOWN_TO
    assert found.overlap > 0.3
    assert found.checks.khat_proposal < KHAT_RELIABLE
    assert found.checks.khat_draws < KHAT_RELIABLE


@pytest.mark.parametrize("name", HIERARCHIES)
def test_the_log_scale_is_found(name, rng):
    problem, _ = hierarchy(name)
    assert outer_coordinates(problem.sample(1000, rng))[0] == HIERARCHIES[name][1]


@pytest.mark.parametrize("name", ["eight schools", "funnel"])
def test_draws_that_miss_the_neck_are_replaced(name, rng):
    """Chains seldom enter a neck; draws without it have too little mass, and weights of the proposal say so."""
    scale = HIERARCHIES[name][1]
    edge = np.quantile(hierarchy(name)[0].sample(4000, rng)[:, scale], 0.3)
    problem, mode, draws = region(name, 3000, rng, keep=lambda x: x[:, scale] > edge)
    found, others = log_mass_by_nested_laplace(mode, draws, rng)
    assert "the draws miss a part of it" in found.reason
    assert abs(found.estimate.value - problem.log_z) < N_SE * found.estimate.se
    assert others.source == "importance"
    assert np.mean(others.x[:, scale] < edge) == pytest.approx(0.3, abs=0.05)


def test_a_proposal_that_misses_a_part_weighs_nothing(rng):
    """With a coordinate of a funnel that is no scale on the grid, weights look fine and are wrong by nine nats."""
    _, mode, draws = region("funnel", 2000, rng)
    found, same = nested_bridge._with_outer(mode, draws, np.array([1]), rng)
    assert not found.known
    assert same is draws


@pytest.mark.parametrize("outer", [[1], [0, 2]])
def test_of_a_normal_the_proposal_is_that_normal(outer, rng):
    """Density and draws: Laplace's approximation is exact, and the grid fine enough."""
    factor = np.array([[1.0, 0, 0, 0], [0.5, 2, 0, 0], [-1, 0.3, 0.5, 0], [0.2, 0.1, 0.4, 0.01]])
    truth = stats.multivariate_normal(np.arange(4.0), factor @ factor.T)
    precision = np.linalg.inv(factor @ factor.T)

    def value_and_grad(x):
        return truth.logpdf(x) + 7, -(x - truth.mean) @ precision

    q = fit_nested_laplace(value_and_grad, truth.rvs(1000, random_state=rng), np.array(outer))
    y = q.sample(20_000, rng)
    assert np.quantile(np.abs(q.log_prob(y) - truth.logpdf(y)), 0.99) < 0.15  # constant in cells
    weights = np.exp(truth.logpdf(y) - q.log_prob(y))
    assert weights.mean() == pytest.approx(1, abs=5 * weights.std() / np.sqrt(len(y)))
    np.testing.assert_allclose(np.cov(y.T), factor @ factor.T, rtol=0.1, atol=0.06)


def shares_and_copy(shares, width, rng):
    """Unconstrained draws of a simplex and of a normal tied to its first share."""
    logs = np.log(shares)
    return np.column_stack([(logs - logs.mean(axis=1, keepdims=True))[:, :2], rng.normal(shares[:, 0], width)])


@pytest.mark.parametrize("width", [1e-4, 1e-3])
@pytest.mark.parametrize("concentration", [1, 30])
def test_what_is_tied_to_the_others_is_integrated_out(concentration, width, tied, rng):
    """log Z is 0 whether draws have been all along the bent ridge, or about its top alone."""
    target = tied(width)
    x = shares_and_copy(rng.dirichlet(np.full(3, concentration), 1000), width, rng)
    inside = tied_coordinates(target.log_density_and_grad, x)
    np.testing.assert_array_equal(inside, [2])
    q = fit_nested_laplace(target.log_density_and_grad, x, np.array([0, 1]))
    y = q.sample(4000, rng)
    log_weights = target.log_density(y) - q.log_prob(y)
    weights = np.exp(log_weights)
    assert abs(weights.mean() - 1) < N_SE * weights.std() / np.sqrt(len(y))
    assert weights.sum() ** 2 / (weights**2).sum() > 0.9 * len(y)


@pytest.fixture(scope="module")
def tied():
    return cache(lambda width: Target.from_model(tied_simplex(width)))


def test_what_is_not_tied_is_not(rng):
    for name in ("eight schools", "funnel"):
        problem, target = hierarchy(name)
        assert not len(tied_coordinates(target.log_density_and_grad, problem.sample(1000, rng)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_on_a_bent_ridge_that_chains_cannot_follow(seed, tied):
    dt = pkl.sample_reference(model=tied(1e-4), random_seed=seed, progressbar=False)
    value, se = float(dt["evidence"]["log_evidence"]), float(dt["evidence"]["log_evidence_se"])
    assert abs(value) < N_SE * se
    assert N_SE * se < KNOWN_TO
    share = dt["posterior"]["share"].values[..., 0].ravel()
    assert share.mean() == pytest.approx(1 / 3, abs=4 * share.std() / np.sqrt(len(share) / 2))
    assert share.std() == pytest.approx(np.sqrt(1 / 18), rel=0.05)


def test_one_run_without_draws():
    """Whatever NUTS makes of centred eight schools, log Z is that of quadrature."""
    problem, target = hierarchy("eight schools")
    dt = pkl.sample_reference(model=target, random_seed=1, progressbar=False)
    value, se = float(dt["evidence"]["log_evidence"]), float(dt["evidence"]["log_evidence_se"])
    assert abs(value - problem.log_z) < N_SE * se + 1e-3
    assert N_SE * se < KNOWN_TO
    assert dt["modes"].attrs["masses_known"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rates", "league", "clinics"])
def test_hierarchies_with_the_user_s_draws(name, rng):
    problem, target = hierarchy(name)
    given = target.to_dataset(problem.sample(2000, rng).reshape(4, 500, problem.d))
    dt = pkl.sample_reference(given, model=target, random_seed=1, progressbar=False)
    value, se = float(dt["evidence"]["log_evidence"]), float(dt["evidence"]["log_evidence_se"])
    assert abs(value - problem.log_z) < N_SE * se
    assert N_SE * se < KNOWN_TO
