"""K-hat's own error, and what is said by it, over replicates of one fit: p = N(0, 1) and q = N(0, s), k = 1 - s²."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from pymc_kl.modes.masses import masses_from_independent
from pymc_kl.numerics.khat import KHAT_RELIABLE
from pymc_kl.reports.importance import can_correct
from pymc_kl.scores.draws import ApproximationDraws
from pymc_kl.scores.reliability import khat, khat_error


def replicates(sd: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    masses, mode = masses_from_independent(np.zeros(n, dtype=int), 1), np.zeros(n, dtype=int)
    found = []
    for seed in range(200):
        x = sd * np.random.default_rng(seed).standard_normal(n)
        q = ApproximationDraws(stats.norm.logpdf(x), stats.norm(0, sd).logpdf(x), mode, masses)
        found.append((khat(q), khat_error(q)))
    k, se = np.array(found).T
    return k, se


@pytest.mark.parametrize("n", [400, 2000, 8000])
@pytest.mark.parametrize("sd", [0.9, 0.7, 0.55, 0.4])
def test_khat_has_the_error_that_it_says_and_no_verdict_flips(sd, n):
    """Two standard errors hold the truth, and no fit is called both surely good and surely bad."""
    k, se = replicates(sd, n)
    assert k.std() / se.mean() == pytest.approx(1.0, abs=0.3)
    assert (np.abs(k - (1 - sd**2)) < 2 * se).mean() >= 0.83  # it is drawn to 0.5 by a prior
    good, bad = (k + 2 * se < KHAT_RELIABLE).mean(), (k - 2 * se >= KHAT_RELIABLE).mean()
    assert min(good, bad) <= 0.025
    assert (bad if sd**2 > 1 - KHAT_RELIABLE else good) <= 0.15


@pytest.mark.parametrize("sd", [0.7, 0.6, 0.5])
def test_one_fit_is_never_said_to_be_correctable_and_not(sd):
    """By its value alone k-hat is on either side of 0.7 with the seed; by its interval the answer is one or open."""
    n, answers = 2000, set()
    masses, mode = masses_from_independent(np.zeros(n, dtype=int), 1), np.zeros(n, dtype=int)
    for seed in range(10):
        x = sd * np.random.default_rng(seed).standard_normal(n)
        q = ApproximationDraws(stats.norm.logpdf(x), stats.norm(0, sd).logpdf(x), mode, masses)
        answers.add(can_correct(SimpleNamespace(khat=khat(q), khat_se=khat_error(q))))
    assert not {"yes", "no"} <= answers, answers


def test_a_khat_within_two_errors_of_its_limit_tells_nothing():
    for value, answer in ((0.3, "yes"), (0.6, "cannot tell"), (0.8, "cannot tell"), (1.0, "no")):
        assert can_correct(SimpleNamespace(khat=value, khat_se=0.1)) == answer
