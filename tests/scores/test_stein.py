"""Draws of p, and draws of something else, under Stein's identities and detailed balance."""

import numpy as np
import pytest
from problems import ALL
from scipy import stats

from pymc_kl.scores.stein import FALSE_ALARMS, Whitening, check_draws, critical_z, stein_identities, stein_spread

DRAWN = tuple(name for name in ALL if name not in ("factors", "logistic_regression"))  # those with exact draws
LARGE = ("two_normals_50d", "standard_normal_100")


def gradient_of(log_density, x):
    """Central differences (n, d); 0 where they are not finite."""
    columns = []
    for step in np.diag(1e-5 * np.maximum(np.median(np.abs(x - np.median(x, axis=0)), axis=0), 1e-3)):
        with np.errstate(invalid="ignore"):
            columns.append((log_density(x + step) - log_density(x - step)) / (2 * step.sum()))
    return np.nan_to_num(np.column_stack(columns), posinf=0.0, neginf=0.0)


def check(log_density, x):
    return check_draws(x, log_density(x), gradient_of(log_density, x), log_density)


@pytest.mark.parametrize("name", DRAWN)
def test_exact_draws_are_not_refused(name, rng):
    """No more seeds than false alarms of one in a thousand leave room for: one of 40."""
    problem = ALL[name]()
    seeds = 3 if name in LARGE else 40
    refused = sum(check(problem.log_density, problem.sample(800, rng)).refused for _ in range(seeds))
    assert refused <= stats.binom.isf(1e-4, seeds, FALSE_ALARMS)


@pytest.mark.slow
def test_of_all_exact_draws_one_in_a_hundred_is_refused_at_the_most(rng):
    """Over the whole zoo, heavy tails and edges included."""
    refused = n = 0
    for name in (name for name in DRAWN if name not in LARGE):
        problem = ALL[name]()
        refused += sum(check(problem.log_density, problem.sample(1000, rng)).refused for _ in range(50))
        n += 50
    for name in OTHERS:
        log_density, sample = of_scipy(name)
        refused += sum(check(log_density, sample(1000, rng)).refused for _ in range(50))
        n += 50
    assert n >= 2000
    assert refused <= 0.01 * n


OTHERS = {
    "cauchy": (stats.cauchy(), 0.0),
    "student_2": (stats.t(2), 0.0),
    "light_tails": (stats.gennorm(6), 0.0),
    "cusp": (stats.laplace(), 0.0),
    "log_of_half_normal": (stats.halfnorm(), 1.0),
    "log_of_half_cauchy": (stats.halfcauchy(), 1.0),
    "log_of_gamma": (stats.gamma(0.3), 1.0),
    "uniform": (stats.uniform(), 0.0),
    "exponential_with_a_wall": (stats.expon(), 0.0),
    "gumbel": (stats.gumbel_r(), 0.0),
}


def of_scipy(name):
    """Log density (n, 1) -> (n,) and a sampler; on the log scale, with its Jacobian, where that is unconstrained."""
    law, is_log = OTHERS[name]

    def log_density(x):
        v = x[:, 0]
        return law.logpdf(np.exp(v)) + v if is_log else law.logpdf(v)

    def sample(n, rng):
        v = law.rvs(n, random_state=rng)
        return (np.log(v) if is_log else v)[:, None]

    return log_density, sample


@pytest.mark.parametrize("name", OTHERS)
def test_tails_bounds_and_cusps_are_no_reason_to_refuse(name, rng):
    log_density, sample = of_scipy(name)
    refused = sum(check(log_density, sample(1000, rng)).refused for _ in range(100))
    assert refused <= stats.binom.isf(1e-4, 100, FALSE_ALARMS)


def test_a_staircase_has_no_slope_and_its_draws_are_not_refused(rng):
    """Density 1, 2, 3 on [0, 1], [1, 2], [2, 3]: the gradient is 0 throughout, so Stein's identities must fail."""

    def log_density(x):
        v = x[:, 0]
        return np.where((v > 0) & (v < 3), np.log(np.maximum(np.ceil(v), 1)), -np.inf)

    for _ in range(20):
        x = (rng.choice(3, 2000, p=[1 / 6, 2 / 6, 3 / 6]) + rng.random(2000))[:, None]
        assert stein_identities(x, np.zeros_like(x), chains=True).greatest_z > 5
        assert not check(log_density, x).refused


def about(x, factor):
    centre = np.median(x, axis=0)
    return centre + factor * (x - centre)


UNIMODAL = (
    "standard_normal_10", "equicorrelated_10", "gaussian_condition", "banana", "funnel", "skew_normal",
    "student_t_location", "eight_schools_noncentred", "heavy_tails", "labels",
)  # fmt: skip


@pytest.mark.parametrize("factor", [1.2, 1 / 1.2])
@pytest.mark.parametrize("name", UNIMODAL)
def test_other_widths_are_caught(name, factor, rng):
    """4,000 draws a fifth too wide or too narrow are caught at each of ten seeds."""
    problem = ALL[name]()
    found = [check(problem.log_density, about(problem.sample(4000, rng), factor)) for _ in range(10)]
    assert all(test.refused for test in found)


@pytest.mark.parametrize("name", ["cauchy", "student_2", "cusp", "light_tails", "log_of_half_normal", "gumbel"])
@pytest.mark.parametrize("factor", [1.2, 1 / 1.2])
def test_other_widths_of_tails_are_caught(name, factor, rng):
    log_density, sample = of_scipy(name)
    assert all(check(log_density, about(sample(4000, rng), factor)).refused for _ in range(10))


@pytest.mark.parametrize("name", ["standard_normal_10", "equicorrelated_10", "banana", "student_t_location"])
def test_another_place_is_caught(name, rng):
    """All draws 0.3 standard deviations off."""
    problem = ALL[name]()
    x = problem.sample(4000, rng)
    assert check(problem.log_density, x + 0.3 * x.std(axis=0)).refused


def correlated(d, rng, n=4000):
    """Draws of N(0, Σ) with standard deviations 1 to d and correlations 0.8, and its log density."""
    scale = np.arange(1, d + 1)
    covariance = np.where(np.eye(d) > 0, 1.0, 0.8) * np.outer(scale, scale)
    law = stats.multivariate_normal(np.zeros(d), covariance)
    return rng.multivariate_normal(np.zeros(d), covariance, n), law.logpdf, np.linalg.inv(covariance)


def test_spread_and_shift_of_normals_are_exact(rng):
    """Draws of N(m, s²) under N(0, 1) have a spread of s and a shift of m, in standard deviations of p."""
    x = 2 * rng.standard_normal((4000, 1))
    found = stein_identities(x, -x, chains=False)
    spread = stein_spread(found)
    assert found.spread[0] == spread.value
    assert abs(spread.value - 2) < 4 * spread.se
    assert spread.se < 0.05
    x = rng.standard_normal((4000, 1)) + 0.3
    assert abs(stein_identities(x, -x, chains=False).shift[0] - 0.3) < 0.08


def test_the_coordinate_is_named(rng):
    x, log_density, precision = correlated(4, rng)
    x[:, 2] *= 1.5
    found = check_draws(x, log_density(x), -x @ precision, log_density)
    assert found.refused
    assert found.is_width
    x, log_density, precision = correlated(4, rng)
    x[:, 1] += 0.5 * 2
    found = check_draws(x, log_density(x), -x @ precision, log_density)
    assert found.refused
    assert found.coordinates[0] == 1
    assert not found.is_width


@pytest.mark.parametrize(("d", "correlation"), [(2, 0.9), (2, -0.3), (2, 0.15), (20, 0.2)])
@pytest.mark.parametrize("of_draws", [True, False])
def test_a_wrong_correlation_is_refused(d, correlation, of_draws, rng):
    """Along each coordinate draws are as wide as the slope says: those of N(0, I), or the best mean field's."""
    covariance = np.full((d, d), correlation) + (1 - correlation) * np.eye(d)
    precision = np.eye(d) if of_draws else np.linalg.inv(covariance)
    factor = np.linalg.cholesky(covariance) if of_draws else np.diag(np.diag(precision) ** -0.5)
    x = rng.standard_normal((4000, d)) @ factor.T

    def log_density(y):
        return -0.5 * ((y @ precision) * y).sum(axis=1)

    assert check_draws(x, log_density(x), -x @ precision, log_density).refused


def test_chains_count_by_their_effective_size(rng):
    """AR(1) chains of N(0, 1) with correlation 0.95: 4,000 draws are worth 100, and as such are not refused."""
    refused, naive = 0, 0
    for _ in range(50):
        noise = np.sqrt(1 - 0.95**2) * rng.standard_normal(4000)
        x = np.empty((4000, 1))
        x[0] = rng.standard_normal()
        for i in range(1, 4000):
            x[i] = 0.95 * x[i - 1] + noise[i]
        test = check_draws(x, -0.5 * x[:, 0] ** 2, -x, lambda y: -0.5 * y[:, 0] ** 2)
        refused += test.refused
        naive += stein_identities(x, -x, chains=False).greatest_z > critical_z(2)
    assert refused <= 1
    assert naive > 10


def test_whitening_withstands_heavy_tails(rng):
    x = rng.standard_cauchy((2000, 3)) * [1.0, 100.0, 0.01]
    whitened = Whitening.of(x)
    np.testing.assert_allclose(x, whitened.centre + whitened.u @ whitened.factor.T, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(np.median(np.abs(whitened.u), axis=0), 1 / 1.4826, rtol=0.1)


def test_draws_that_do_not_move_say_nothing():
    x = np.ones((100, 2))
    found = check_draws(x, np.zeros(100), np.zeros((100, 2)), lambda y: np.zeros(len(y)))
    assert not found.refused
