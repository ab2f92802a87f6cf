"""The normalising flow: an optional extra that starts as the Gaussian and leaves it where held-out draws gain."""

import subprocess
import sys

import numpy as np
import pytest

from pymc_kl import fit_forward
from pymc_kl.approximations import Flow, FullRank
from pymc_kl.approximations.estimation import flow_training


def test_a_flow_starts_as_the_standard_normal(rng):
    z = rng.standard_normal((50, 2))
    expected = -0.5 * (z**2).sum(axis=1) - np.log(2 * np.pi)
    np.testing.assert_allclose(flow_training.log_prob(flow_training.build(2), z), expected, atol=1e-12)


def test_a_gaussian_stays_one(rng):
    x = rng.standard_normal((500, 2)) @ np.array([[2.0, 0.5], [0.0, 0.3]]) + 7
    q, gaussian = Flow.fit_forward(x, rng=rng), FullRank.fit_forward(x)
    assert (q.log_prob(x) - gaussian.log_prob(x)).mean() == pytest.approx(0, abs=0.02)
    assert q.info["held_out_score"] >= q.info["scores"][0] - 1e-9


def test_a_curve_is_followed_and_the_score_is_that_of_fresh_draws(zoo, rng):
    problem, target = zoo("banana")
    x = problem.sample(4000, rng)
    q = fit_forward(target.to_dataset(x[None]), "flow", model=target, random_seed=1)
    fresh = problem.sample(20_000, rng)
    log_q = q.log_prob(fresh)
    kl = (problem.log_density(fresh) - problem.log_z - log_q).mean()
    gaussian = FullRank.fit_forward(x)
    assert kl < 0.15 < (log_q - gaussian.log_prob(fresh)).mean()
    error = np.hypot(q.info["held_out_score_se"], log_q.std() / np.sqrt(len(log_q)))
    assert abs(q.info["held_out_score"] - log_q.mean()) < 5 * error
    assert q.info["converged"]
    assert q.info["warnings"] == ()


def test_weights_are_used(rng):
    """Weights x² turn N(0, 1) into two bumps; the best Gaussian lacks ψ(3/2) + log 2 + log(3) / 2 - 1 = 0.28 nats."""
    x = rng.standard_normal((4000, 1))
    q = Flow.fit_forward(x, x[:, 0] ** 2, rng=rng)
    fresh = np.sqrt(rng.chisquare(3, (20_000, 1))) * rng.choice([-1, 1], (20_000, 1))
    log_p = np.log(fresh[:, 0] ** 2) - 0.5 * fresh[:, 0] ** 2 - 0.5 * np.log(2 * np.pi)
    assert (log_p - q.log_prob(fresh)).mean() < 0.06


def test_the_same_seed_gives_the_same_flow_in_double_precision(rng):
    x = rng.standard_normal((400, 2))
    one, two = (Flow.fit_forward(x, rng=np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.log_prob(x), two.log_prob(x))
    assert one.info == two.info
    assert one.log_prob(x).dtype == one.sample(3, random_seed=1).dtype == np.float64


def test_blocks_are_held_out_whole(rng):
    """Draws of a block are copies but for rounding: held out singly, the flow could learn them by heart."""
    from pymc_kl.approximations.estimation.fit_data import FitData
    from pymc_kl.approximations.flow import _parts

    blocks = np.repeat(np.arange(10), 20)
    for given in (blocks, None):
        data = FitData.check(rng.standard_normal((200, 2)), None, blocks=given)
        train, test = _parts(data, rng)
        assert len(test) == 40
        assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(200))
        shared = set(blocks[train]) & set(blocks[test])
        assert bool(shared) == (given is None)


def test_too_few_draws_are_refused(rng):
    with pytest.raises(ValueError, match=r"at least 20 effective draws; got 10\.0"):
        Flow.fit_forward(rng.standard_normal((10, 2)))


def test_without_flowjax_the_error_says_what_to_install(rng, monkeypatch):
    monkeypatch.delitem(sys.modules, "pymc_kl.approximations.estimation.flow_training", raising=False)
    monkeypatch.setitem(sys.modules, "flowjax", None)
    monkeypatch.setitem(sys.modules, "flowjax.bijections", None)
    with pytest.raises(ImportError, match=r"pip install pymc_kl\[flow\]"):
        Flow.fit_forward(rng.standard_normal((100, 2)))


def test_the_package_does_not_import_it():
    code = "import sys, pymc_kl.fitting.forward; assert not {'flowjax', 'equinox'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
