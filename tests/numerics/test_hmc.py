"""Chains in batches: exact moments, densities to a power, detailed balance, edges of the support."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import expon, kstest, laplace

from pymc_kl.numerics.hmc import Chains, Trajectory, advance

COVARIANCE = np.array([[4.0, 1.8, 0.0], [1.8, 1.0, -0.2], [0.0, -0.2, 0.25]])
MEAN = np.array([1.0, -2.0, 0.5])
FIXED = Trajectory(adapt=False)


def gaussian(x):
    away = x - MEAN
    grad = -np.linalg.solve(COVARIANCE, away.T).T
    return 0.5 * (away * grad).sum(axis=1), grad


def laplace_density(x):
    return -np.abs(x[:, 0]), -np.sign(x)


def exponential(x):
    """Exponential on the positive axis; without value or gradient elsewhere."""
    inside = x[:, 0] > 0
    return np.where(inside, -x[:, 0], -np.inf), np.where(inside[:, None], -1.0, np.nan)


def run(value_and_grad, x, scale, beta, n, rng, trajectory):
    """Points (n, chain, d) of n moves, and where the chains end."""
    chains, kept = Chains.at(value_and_grad, x), []
    for _ in range(n):
        chains = advance(value_and_grad, chains, scale, beta, rng, trajectory)
        kept.append(chains.x)
    return np.array(kept), chains


def check_moments(x, covariance):
    """Chains (n, chain, d) are independent: averages of each tell the error of the mean of all."""
    z = (x - MEAN) @ np.linalg.inv(np.linalg.cholesky(covariance)).T
    seconds = np.einsum("nci,ncj->ncij", z, z).mean(axis=0)
    for values, truth in ((z.mean(axis=0), np.zeros(3)), (seconds, np.eye(3))):
        se = values.std(axis=0, ddof=1) / np.sqrt(len(values))
        assert (np.abs(values.mean(axis=0) - truth) < 5 * se).all()
        assert (se < 0.05).all()


@pytest.mark.parametrize("scale", [np.eye(3), np.linalg.cholesky(COVARIANCE)], ids=["plain", "whitened"])
@pytest.mark.parametrize("beta", [1.0, 0.25])
def test_moments_of_a_normal_to_a_power(beta, scale, rng):
    """N(m, C) to the power β is N(m, C / β)."""
    _, warm = run(gaussian, rng.standard_normal((400, 3)), scale, beta, 150, rng, Trajectory())
    chains, kept = warm, []
    for _ in range(150):
        chains = advance(gaussian, chains, scale, beta, rng, FIXED)
        kept.append(chains.x)
    check_moments(np.array(kept), COVARIANCE / beta)
    assert chains.step == warm.step


def test_each_chain_has_a_power_of_its_own(rng):
    scale = np.linalg.cholesky(COVARIANCE)
    beta = np.repeat([1.0, 0.1], 400)
    x, _ = run(gaussian, MEAN + np.zeros((800, 3)), scale, beta, 200, rng, Trajectory())
    check_moments(x[50:, :400], COVARIANCE)
    check_moments(x[50:, 400:] * np.sqrt(0.1) + MEAN * (1 - np.sqrt(0.1)), COVARIANCE)


@pytest.mark.parametrize("target", [0.6, 0.9])
def test_the_step_is_adapted_to_the_acceptance(target, rng):
    chains = Chains.at(gaussian, rng.standard_normal((400, 3)))
    seen = []
    for _ in range(60):
        chains = advance(gaussian, chains, np.eye(3), 1.0, rng, Trajectory(acceptance=target))
        seen.append(chains.acceptance)
    assert np.mean(seen[20:]) == pytest.approx(target, abs=0.03)


@pytest.mark.parametrize(
    ("density", "exact"), [(laplace_density, laplace()), (exponential, expon())], ids=["a cusp", "an edge"]
)
def test_exact_draws_stay_exact(density, exact, rng):
    """With steps so long that many moves are rejected, also across a cusp and an edge of the support."""
    start = exact.rvs((20_000, 1), random_state=rng)
    chains = replace(Chains.at(density, start), step=1.0)
    for _ in range(4):
        chains = advance(density, chains, np.eye(1), 1.0, rng, Trajectory(n_leapfrog=3, adapt=False))
    assert kstest(chains.x[:, 0], exact.cdf).pvalue > 1e-4
    assert (chains.x != start).mean() > 0.05
    assert chains.acceptance < 0.95
    assert np.isfinite(chains.log_density).all()


@pytest.mark.parametrize("jitter", [0.0, 1.0])
def test_moves_are_in_detailed_balance(jitter, rng):
    """From exact draws, start and end may change places: E[f(start) g(end)] = E[g(start) f(end)]."""
    start = laplace().rvs((40_000, 1), random_state=rng)
    moves = Trajectory(n_leapfrog=2, jitter=jitter, adapt=False)
    chains = replace(Chains.at(laplace_density, start), step=1.0)
    end = advance(laplace_density, chains, np.eye(1), 1.0, rng, moves).x
    pairs = ((np.abs(start), end > 1), (np.abs(end), start > 1))
    difference = pairs[0][0] * pairs[0][1] - pairs[1][0] * pairs[1][1]
    assert abs(difference.mean()) < 5 * difference.std() / np.sqrt(len(difference))
    assert difference.std() > 0.1


def test_starts_outside_the_support_are_dropped(rng):
    chains = Chains.at(exponential, np.array([[1.0], [-1.0], [2.0]]))
    np.testing.assert_array_equal(chains.x, [[1.0], [2.0]])
    none = Chains.at(exponential, np.array([[-1.0]]))
    assert len(advance(exponential, none, np.eye(1), 1.0, rng)) == 0


def test_a_density_that_is_infinite_somewhere_is_not_entered(rng):
    def spike(x):
        value, grad = gaussian(x)
        return np.where(x[:, 0] > 1.5, np.inf, value), grad

    chains = Chains.at(spike, rng.standard_normal((100, 3)))
    for _ in range(20):
        chains = advance(spike, chains, np.eye(3), 1.0, rng)
    assert np.isfinite(chains.log_density).all()
    assert (chains.x[:, 0] <= 1.5).all()


def test_chains_repeat_by_seed():
    one, two = (
        run(gaussian, np.ones((5, 3)), np.eye(3), 0.5, 10, np.random.default_rng(3), Trajectory())[0] for _ in range(2)
    )
    np.testing.assert_array_equal(one, two)


def test_trajectories_that_diverge_are_counted(rng):
    def steep(x):
        return -1e6 * (x**4).sum(axis=1), -4e6 * x**3

    chains = Chains.at(steep, 0.01 * rng.standard_normal((50, 2)))
    far = advance(steep, replace(chains, step=1.0), np.eye(2), 1.0, rng, FIXED)
    assert far.n_diverging == 50
    np.testing.assert_array_equal(far.x, chains.x)
    assert advance(steep, replace(chains, step=1e-3), np.eye(2), 1.0, rng, FIXED).n_diverging == 0
