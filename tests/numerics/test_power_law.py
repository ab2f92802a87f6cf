"""A power law's tail and a stretched exponential's, told apart by both densities at draws of the first one."""

import numpy as np
import pytest
from problems import banana, two_students
from scipy import stats

from pymc_kl.numerics.power_law import NO_LAW, PowerLaw, power_law
from pymc_kl.numerics.tails import CERTAIN_LAW, POWER_LAW, tailed_mean

N_SEEDS = 60


def of_student(df: float, seed: int, n: int) -> PowerLaw:
    """What is told of a t in five dimensions beside the normal that has its variance."""
    x = stats.multivariate_t(np.zeros(5), df=df).rvs(n, random_state=np.random.default_rng(seed))
    normal = stats.multivariate_normal(np.zeros(5), df / (df - 2))
    return power_law(stats.multivariate_t(np.zeros(5), df=df).logpdf(x), normal.logpdf(x))


@pytest.mark.parametrize("df", [3, 5, 10])
def test_the_index_of_a_t_is_that_of_its_square(df):
    """y = x²/2 + const has the index 2/df; a threshold at a tenth of the draws leaves it a little too high."""
    found = [of_student(df, seed, 2000) for seed in range(N_SEEDS)]
    assert min(law.evidence for law in found) > CERTAIN_LAW
    assert 2 / df - 0.03 < np.median([law.k for law in found]) < 2 / df + 0.07


def test_the_square_of_an_exponential_is_no_power_law():
    evidence = []
    for seed in range(N_SEEDS):
        x = np.random.default_rng(seed).laplace(size=2000)
        evidence.append(power_law(stats.laplace.logpdf(x), stats.norm.logpdf(x, 0, np.sqrt(2))).evidence)
    assert max(evidence) < -POWER_LAW


def test_constants_of_regions_and_draws_of_no_weight_change_nothing(rng):
    x = rng.standard_t(3, (400, 2))
    own, foreign = stats.t.logpdf(x, 3).sum(axis=1), stats.norm.logpdf(x).sum(axis=1)
    region = np.repeat([0, 2], 200)
    one = power_law(own, foreign, np.ones(400), region)
    two = power_law(own + 7.0 * region, foreign - 5.0 * region, np.ones(400), region)
    weights, wider = np.append(np.ones(400), 0.0), np.append(region, 1)
    both = power_law(np.append(own, np.nan), np.append(foreign, -np.inf), weights, wider)
    np.testing.assert_allclose(two, one)
    np.testing.assert_allclose(both, one)
    assert power_law(own, np.zeros(400)) == power_law(np.zeros(400), foreign) == NO_LAW


@pytest.mark.parametrize("n", [300, 2000])
def test_a_banana_beside_a_normal_has_a_finite_error_that_covers(n):
    """-log q is a fourth power of a normal: counted, its tail passes for one without a variance in a third to most."""
    problem = banana()
    best = problem.forward["fullrank"]
    q = stats.multivariate_normal(best.mean, best.cov)
    truth = float((problem.log_density(x := problem.sample(400_000, np.random.default_rng(1))) - q.logpdf(x)).mean())
    found = []
    for seed in range(N_SEEDS):
        x = problem.sample(n, np.random.default_rng(seed))
        found.append(tailed_mean(problem.log_density(x) - q.logpdf(x), foreign=q.logpdf(x)))
    assert np.mean([np.isinf(se) for _, se in found]) <= 0.05
    assert np.mean([abs(value - truth) < 1.96 * se for value, se in found]) >= 0.9


def test_two_students_are_refused_within_their_modes():
    """Whichever normal stands beside them: the tail of each mode is counted from the top of log q over its region."""
    problem = two_students()
    best = problem.forward["fullrank"]
    q = stats.multivariate_normal(best.mean, best.cov)
    refused = []
    for seed in range(N_SEEDS):
        x = problem.sample(2000, np.random.default_rng(seed))
        region = (x.sum(axis=1) > 0).astype(int)
        log_ratio = problem.log_density(x) - q.logpdf(x)
        refused.append(np.isinf(tailed_mean(log_ratio, foreign=q.logpdf(x), regions=region).se))
    assert np.mean(refused) >= 0.95
