"""Polished fits: what is called an optimum can gain nothing more."""

import numpy as np
import pytest

from pymc_kl.approximations import FullRank, MeanField
from pymc_kl.fitting import elbo_gap
from pymc_kl.fitting.elbo_gap import ELBO_GAP_TOLERANCE, check_convergence
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.numerics.judgement import CANNOT_TELL, at_most


def sharp_islands(x):
    """Eight islands of width .05 in a narrow band; log density and gradient of (a, w), u = 2 + 2.5 sigmoid(w)."""
    a, w = x.T
    share, k = 1 / (1 + np.exp(-w)), np.arange(1, 9)
    height = k * np.exp(2 + 2.5 * share)[:, None]
    away = (60 - a[:, None] - height) / 0.05
    log_islands = -0.5 * away**2
    value = -0.5 * a**2 - 0.5 * ((0.2 - a) / 0.05) ** 2 + np.log(share * (1 - share))
    value += np.logaddexp.reduce(log_islands, axis=1)
    shares = np.exp(log_islands - np.logaddexp.reduce(log_islands, axis=1, keepdims=True))
    by_a = -a + (0.2 - a) / 0.05**2 + (shares * away / 0.05).sum(axis=1)
    by_u = (shares * away / 0.05 * height).sum(axis=1)
    return value, np.stack([by_a, 1 - 2 * share + by_u * 2.5 * share * (1 - share)], axis=1)


@pytest.mark.parametrize("sd", [0.6, 0.8, 1.0, 1.3, 1.6])
def test_a_second_polish_gains_nothing(sd):
    """A wide normal over sharp islands: one climb ends 1,000 nats below what another from there reaches."""
    fit = FullRank(loc=np.array([0.2, 0.2]), scale_tril=np.array([[0.05, 0.0], [0.1, sd]]))
    for seed in range(3):
        first = check_convergence(sharp_islands, fit, random_seed=seed)
        assert first.converged == "no"
        assert first.is_optimum
        second = check_convergence(sharp_islands, first.polished, random_seed=seed + 100)
        assert second.elbo_gap.value - 2 * second.elbo_gap.se < ELBO_GAP_TOLERANCE


def test_a_climb_that_is_cut_off_is_no_optimum(monkeypatch):
    monkeypatch.setattr(elbo_gap, "MOST_CLIMBS", 2)
    fit = FullRank(loc=np.array([0.2, 0.2]), scale_tril=np.array([[0.05, 0.0], [0.1, 0.8]]))
    found = check_convergence(sharp_islands, fit, random_seed=0)
    assert not found.is_optimum
    assert found.left.value > 100


def test_a_fit_at_its_optimum_is_polished_once():
    """The check costs a fit that has converged nothing."""
    rows = []

    def normal(x):
        rows.append(len(x))
        return -0.5 * (x**2).sum(axis=1), -x

    found = check_convergence(normal, MeanField(loc=np.zeros(2), scale=np.ones(2)), random_seed=1)
    assert found.converged == "yes"
    assert found.is_optimum
    assert sum(rows) < 2 * 4000 + 10 * 512


def quartic(x):
    return -0.25 * x[:, 0] ** 4, -(x**3)


def steep(x):
    """Log density that falls as exp(a²/3): its square has no mean over a normal of sd 1, but over the optimum."""
    a = x[:, 0]
    return -np.exp(a**2 / 3), -2 / 3 * (a * np.exp(a**2 / 3))[:, None]


def test_a_gap_without_a_finite_variance_has_no_error():
    start = MeanField(loc=np.ones(1), scale=np.ones(1))
    gaps = [check_convergence(steep, start, random_seed=seed).elbo_gap for seed in range(20)]
    assert np.mean([np.isinf(se) for _, se in gaps]) > 0.9
    gaps = [check_convergence(quartic, start, random_seed=seed).elbo_gap for seed in range(20)]
    assert np.mean([np.isfinite(se) for _, se in gaps]) > 0.9


def normal(x):
    return -0.5 * x[:, 0] ** 2, -x


@pytest.mark.parametrize(("gap", "answer"), [(0.05, "yes"), (ELBO_GAP_TOLERANCE, CANNOT_TELL), (0.2, "no")])
def test_whether_a_fit_has_converged_has_three_answers(gap, answer):
    """A normal whose mean is off by √(2 gap) standard deviations; at the limit neither answer is given for sure."""
    start = MeanField(loc=np.array([np.sqrt(2 * gap)]), scale=np.ones(1))
    found = [check_convergence(normal, start, random_seed=seed).converged for seed in range(40)]
    assert np.mean([one == answer for one in found]) > 0.85, found


def test_a_number_is_at_most_its_limit_by_its_interval():
    answers = {
        (0.3, 0.05): "yes",
        (0.5, 0.2): CANNOT_TELL,
        (0.5, 0.0): "yes",
        (0.6, 0.04): "no",
        (0.4, 0.2): CANNOT_TELL,
    }
    answers |= {
        (np.inf, np.nan): "no",
        (-np.inf, np.nan): "yes",
        (np.nan, 0.1): CANNOT_TELL,
        (0.4, np.inf): CANNOT_TELL,
    }
    assert {pair: at_most(Estimate(*pair), 0.5) for pair in answers} == answers
