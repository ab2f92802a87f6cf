"""The tail of a mean's terms: found where it is, not where a bounded cluster lies far off, and told in the error."""

import numpy as np
import pytest

from pymc_kl.numerics.estimate import mean_estimate
from pymc_kl.numerics.tails import tail_index, tailed_mean

N_SEEDS = 200


def clusters(share, at):
    return lambda rng, n: rng.standard_normal(n) + at * (rng.random(n) < share)


FINITE = {
    "normal": (lambda rng, n: rng.standard_normal(n), 0.0),
    "a cluster of 5 % 300 nats off": (clusters(0.05, 300), 15.0),
    "a cluster of 20 % 30 nats off": (clusters(0.2, 30), 6.0),
    "half a chi-square with 1": (lambda rng, n: 0.5 * rng.chisquare(1, n), 0.5),
    "half a chi-square with 10": (lambda rng, n: 0.5 * rng.chisquare(10, n), 5.0),
    "a cube": (lambda rng, n: (rng.standard_normal((10, n)) ** 3).sum(axis=0), 0.0),
    "Pareto 2.5": (lambda rng, n: rng.pareto(2.5, n), 1 / 1.5),
}  # terms with a finite variance, and their mean
INFINITE = {
    "Pareto 1.8": (lambda rng, n: rng.pareto(1.8, n), 1.25, 0.35),
    "Pareto 1.5": (lambda rng, n: rng.pareto(1.5, n), 2.0, 0.8),
    "minus Pareto 1.2": (lambda rng, n: -rng.pareto(1.2, n), -5.0, 0.95),
    "half a squared t with 2.5": (lambda rng, n: 0.5 * rng.standard_t(2.5, n) ** 2, 2.5, 0.9),
    "half a squared t with 1.5": (lambda rng, n: 0.5 * rng.standard_t(1.5, n) ** 2, np.inf, 0.99),
}  # terms without, their mean, and in which share of samples this must be seen


@pytest.mark.parametrize("name", FINITE)
@pytest.mark.parametrize("n", [400, 4000])
def test_terms_with_a_variance_have_an_error_that_covers(name, n):
    draw, truth = FINITE[name]
    found = [tailed_mean(draw(np.random.default_rng(seed), n)) for seed in range(N_SEEDS)]
    kept = [estimate for estimate in found if np.isfinite(estimate.se)]
    covered = np.mean([abs(value - truth) < 1.96 * se for value, se in kept])
    assert len(kept) >= (0.75 if "Pareto" in name else 0.97) * N_SEEDS
    assert 0.9 <= covered <= 1.0, covered


@pytest.mark.parametrize("name", INFINITE)
def test_terms_without_a_variance_have_no_error_or_one_that_covers(name):
    draw, truth, least = INFINITE[name]
    found = [tailed_mean(draw(np.random.default_rng(seed), 2000)) for seed in range(N_SEEDS)]
    assert np.mean([np.isinf(se) for _, se in found]) >= least
    assert np.mean([abs(value - truth) > 1.96 * se for value, se in found]) <= 0.08


def test_a_t_with_two_degrees_of_freedom_is_on_the_border():
    """The index says so, and where an error is given, it holds."""
    found = [tailed_mean(np.random.default_rng(seed).standard_t(2, 2000)) for seed in range(N_SEEDS)]
    kept = [estimate for estimate in found if np.isfinite(estimate.se)]
    assert np.mean([abs(value) < 1.96 * se for value, se in kept]) >= 0.9
    index = [tail_index(np.random.default_rng(seed).standard_t(2, 2000)) for seed in range(N_SEEDS)]
    assert np.median(index) == pytest.approx(0.5, abs=0.1)


def test_the_tail_is_judged_by_weight(rng):
    """Draws of hardly any weight decide nothing, and the weights of importance sampling have a tail of their own."""
    n = 2000
    values, weights = rng.standard_normal(2 * n), np.repeat([1.0, 1e-9], n)
    values[n:] = rng.pareto(0.8, n)
    assert tailed_mean(values, weights).se == pytest.approx(1 / np.sqrt(n), rel=0.1)
    assert np.isinf(tailed_mean(rng.standard_normal(n), rng.pareto(1.1, n)).se)


def test_what_the_draws_show_is_enough_where_terms_have_no_tail(rng):
    for values in (rng.random(1000), rng.standard_normal((4, 500)), np.ones(100), rng.standard_normal(20)):
        one, two = tailed_mean(values), mean_estimate(values)
        assert one.value == two.value
        assert one.se == pytest.approx(two.se, rel=0.02)


def test_an_error_too_small_to_matter_is_given(rng):
    """Terms that are constant but for one draw that crosses a border, as those of a normal fitted to one of two."""
    values = np.zeros(4000) + 1e-9 * rng.standard_normal(4000)
    values[7] = 0.1
    assert 2e-5 < tailed_mean(values).se < 1e-3
    assert np.isinf(tailed_mean(1000 * values).se)


def test_an_index_is_that_of_a_known_tail(rng):
    """From the upper side alone, at whatever scale and place."""
    for k in (0.25, 0.5, 1.0):
        x = rng.pareto(1 / k, 20_000)
        assert tail_index(x) == pytest.approx(k, abs=0.15)
        assert tail_index(7 - 3 * x) < 0.1
        assert tail_index(7 + 3 * x) == pytest.approx(tail_index(x), abs=1e-6)
    assert tail_index(np.array([0.0, np.inf])) == np.inf
    assert tail_index(np.zeros(100)) < 0
