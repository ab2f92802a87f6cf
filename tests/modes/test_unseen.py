"""The chance of a mode that is not listed: Good and Turing's estimate with its error, and climbs that were lost."""

import numpy as np
import pytest

from pymc_kl.modes.multistart import MATTERS, MultiStart
from pymc_kl.modes.symmetry.symmetry import trivial
from pymc_kl.modes.unseen import PER_MODE, estimate_unseen, is_settled


@pytest.mark.parametrize(
    ("hits", "n_lost", "n", "value", "se"),
    [
        ([100, 1, 1, 2], 0, 104, 2 / 104, np.sqrt(2 + 2) / 104),
        ([100, 2, 2], 0, 104, 0.0, np.sqrt(4) / 104),
        ([100, 4], 0, 104, 0.0, 1 / 104),
        ([60, 1], 39, 100, 0.4, np.sqrt(40) / 100),
    ],
)
def test_good_and_turing(hits, n_lost, n, value, se):
    np.testing.assert_allclose(estimate_unseen(np.array(hits), n_lost, n), (value, se))


def test_without_draws_nothing_is_known():
    assert np.isnan(estimate_unseen(np.array([], dtype=int), 0, 0)).all()


def test_the_estimate_and_its_error_hold_in_replicates(rng):
    """Species of many sizes: the mass of those not seen, against the estimate, in its own errors."""
    p = rng.dirichlet(np.full(60, 0.3))
    n, z = 200, []
    for _ in range(400):
        hits = rng.multinomial(n, p)
        estimate = estimate_unseen(hits, 0, n)
        z.append((estimate.value - p[hits == 0].sum()) / estimate.se)
    assert abs(np.mean(z)) < 0.25
    assert 0.7 < np.std(z) < 1.4


@pytest.mark.parametrize("n", [256, 1024])
@pytest.mark.parametrize("rare", [[0.002], [0.001] * 3, [0.005] * 20, [0.0005] * 60])
def test_three_errors_above_the_estimate_bound_what_is_not_seen(rng, rare, n):
    """One large mode and some that a start seldom reaches: the bound fails in at most 5 % of 2,000 searches."""
    p = np.append(rare, 1 - sum(rare))
    hits = rng.multinomial(n, p, size=2000)
    unseen = np.where(hits == 0, p, 0.0).sum(axis=1)
    estimates = np.array([estimate_unseen(row, 0, n) for row in hits])
    assert (unseen <= estimates @ [1.0, 3.0]).mean() > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 2000)
    assert abs((estimates[:, 0] - unseen).mean()) < 5 * (estimates[:, 0] - unseen).std() / np.sqrt(2000)


def test_none_of_n_means_at_most_three_over_n(rng):
    """A mode that 3/n of the prior climbs to stays hidden from n draws in 5 % of searches."""
    n = 500
    missed = (rng.binomial(n, 3 * estimate_unseen(np.array([n]), 0, n).se, 20_000) == 0).mean()
    assert missed == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize(
    ("hits", "last_new", "n_done", "settled"),
    [
        ([400, 112], 256, 512, True),
        ([400, 112], 512, 512, False),
        ([400, 111, 1], 256, 512, False),
        ([200, 56], 0, 256, False),
        ([40] * (512 // PER_MODE + 1), 256, 512, False),
        ([40] * (512 // PER_MODE + 1), 256, 1024, True),
    ],
)
def test_when_the_search_may_end(hits, last_new, n_done, settled):
    assert is_settled(np.array(hits), last_new, n_done, 2048) == settled


def half_runs_away(x):
    """A normal to the right of a pass; to its left log p̃ rises for ever, from the height that `level` sets."""
    right = x[:, 0] > 0
    value = np.where(right, -0.5 * (x[:, 0] - 3) ** 2, -4.5 - 0.1 * x[:, 0] - 0.0 * x[:, 1]) - 0.5 * x[:, 1] ** 2
    grad = np.column_stack([np.where(right, 3 - x[:, 0], -0.1), -x[:, 1]])
    return value, grad


@pytest.mark.parametrize("height", [0.0, -1000.0], ids=["as high as the mode", "far below it"])
def test_climbs_that_were_lost_count_as_unseen_where_a_mode_could_matter(height, rng):
    def value_and_grad(x):
        value, grad = half_runs_away(x)
        left = (x[:, 0] < 0)[:, None]
        return value + np.where(left[:, 0], height, 0.0), np.where(left & (height < 0) & (x < -50), np.nan, grad)

    search = MultiStart(value_and_grad, trivial(2), None, rng)
    found = search.run({}, lambda n: rng.normal(0.5, 2, (n, 2)), 1024)
    prior = found.owner[found.source == "prior"]
    lost = (prior < 0).mean()
    assert 0.2 < lost < 0.5
    assert len(found.maxima) == 1
    assert found.unseen.value == pytest.approx(lost if height == 0 else 0.0, abs=1e-12)
    assert (len(found.lost) > 0) == (height == 0)
    if len(found.lost):
        assert (value_and_grad(found.lost)[0] > -MATTERS).all()


def test_an_end_at_the_edge_of_the_support_is_climbed_from_again(rng):
    """Climbs that end at an edge: a step beside it may have no density, and they still count as lost."""

    def value_and_grad(x):
        value, grad = half_runs_away(x)
        return np.where(x[:, 0] < -8, -np.inf, value), np.where(x[:, :1] < -8, np.nan, grad)

    search = MultiStart(value_and_grad, trivial(2), None, rng)
    found = search.run({}, lambda n: rng.normal(0.5, 2, (n, 2)), 1024)
    lost = (found.owner[found.source == "prior"] < 0).mean()
    assert found.unseen.value == pytest.approx(lost)
    assert len(found.lost)
    assert (found.lost[:, 0] >= -8).all()
