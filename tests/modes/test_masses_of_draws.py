"""Masses counted from draws that are all there is of an approximation: chains, stuck chains, repeats, one draw."""

import numpy as np
import pytest

from pymc_kl.adapters import as_approximation
from pymc_kl.approximations import Draws
from pymc_kl.modes.masses import masses_from_distinct, masses_from_log, masses_of_chains
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.scores.coverage import verdicts


def two_state_chains(rng, move, n_chains=4, n_draws=500):
    """Chains between two modes of equal mass, six apart: with probability `move` a step draws the mode anew."""
    drawn = rng.integers(0, 2, (n_chains, n_draws))
    anew = rng.random((n_chains, n_draws)) < move
    anew[:, 0] = True
    last = np.maximum.accumulate(np.where(anew, np.arange(n_draws), 0), axis=1)
    mode = np.take_along_axis(drawn, last, axis=1)
    return rng.standard_normal((n_chains, n_draws, 1)) + 6 * mode[..., None], mode


@pytest.mark.parametrize("move", [0.04, 0.2, 1.0])
def test_the_error_of_a_mass_holds_for_chains(rng, move):
    """Over 200 replicates; as independent draws, those that move least would be off by seven errors."""
    z = []
    for _ in range(200):
        masses = masses_of_chains(*two_state_chains(rng, move), 2)
        z.append((masses.mass[0] - 0.5) / masses.se[0])
    assert 0.85 < np.std(z) < 1.15
    assert np.mean(np.abs(z) < 1.96) > 0.9


def test_a_light_mode_that_was_visited_once_is_seldom_called_too_light(rng):
    """A mode of 5 % where chains stay fifty draws: with the usual effective size, 'under' came in 6 % of replicates."""
    w, n = np.array([0.5, 0.3, 0.15, 0.05]), 300
    p = masses_from_log([Estimate(float(np.log(mass)), 1e-3) for mass in w], np.array([1000] * 4 + [0]))[0]
    wrong = 0
    for _ in range(n):
        anew = rng.random((4, 500)) < 0.02
        anew[:, 0] = True
        last = np.maximum.accumulate(np.where(anew, np.arange(500), 0), axis=1)
        mode = np.take_along_axis(rng.choice(4, p=w, size=(4, 500)), last, axis=1)
        q = masses_of_chains(rng.standard_normal((4, 500, 1)) + 10 * mode[..., None], mode, 4)
        wrong += verdicts(p, q)[3] in ("under", "missed")
    assert wrong / n < 0.025 + 3 * np.sqrt(0.025 * 0.975 / n)


def test_stuck_chains_are_worth_a_draw_each(rng):
    """Two of four chains in each mode: the error is that of four draws, sqrt(0.25 / 5) with one added."""
    mode = np.repeat([0, 0, 1, 1], 500).reshape(4, 500)
    masses = masses_of_chains(rng.standard_normal((4, 500, 1)) + 6 * mode[..., None], mode, 3)
    np.testing.assert_allclose(masses.se[:2], np.sqrt(0.05), rtol=0.05)
    assert masses.upper[2] > 0.6


def test_chains_that_mix_within_one_mode_bound_the_other(rng):
    """None of 2,000 nearly independent draws: at most 3 / 2,000."""
    masses = masses_of_chains(rng.standard_normal((4, 500, 2)), np.zeros((4, 500), dtype=int), 2)
    assert masses.upper[1] == pytest.approx(3 / 2000, rel=0.3)


def test_repeats_within_chains_count_once(rng):
    x = np.tile(rng.standard_normal((1, 100, 1)), (1, 20, 1))
    masses = masses_of_chains(x, (x[..., 0] > 0).astype(int), 2)
    assert (masses.ess <= 100 + 1e-9).all()


def test_one_draw_is_no_certainty():
    for masses in (
        masses_of_chains(np.zeros((1, 1, 1)), np.zeros((1, 1), dtype=int), 1),
        masses_from_distinct(np.zeros((2000, 1)), np.zeros(2000, dtype=int), 1),
    ):
        assert masses.se[0] > 0.3
        assert masses.upper.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("n", [1000, 400, 90])
def test_a_sample_of_chains_keeps_their_order(rng, n):
    """Draw t of chain c is 1000 c + t; in a sample each chain is found in order and evenly spaced."""
    x = (1000.0 * np.arange(4)[:, None] + np.arange(250)).reshape(-1, 1)
    q = Draws(x=x, n_chains=4)
    drawn = q.sample(n, random_seed=rng)
    assert len(np.unique(drawn)) == n
    assert (np.diff(drawn[:, 0]) < 0).mean() > 0.3
    found = drawn[q.in_chains(drawn), 0]
    assert found.shape == (4, n // 4)
    assert (found // 1000 == np.arange(4)[:, None]).all()
    assert (np.diff(found, axis=1) >= 250 // (n // 4)).all()


def test_independent_draws_have_no_chains(rng):
    q = Draws(x=rng.standard_normal((50, 2)))
    assert q.in_chains(q.sample(50, random_seed=rng)) is None
    assert Draws(x=q.x, n_chains=50).in_chains(q.x[:20]) is None


def test_chains_of_a_dataset_stay_chains(zoo, rng):
    _, target = zoo("two_normals")
    x = rng.standard_normal((4, 30, target.d))
    assert as_approximation(target.to_dataset(x), model=target).n_chains == 4
