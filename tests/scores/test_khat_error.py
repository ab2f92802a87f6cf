"""K-hat's own error, and what is said by it, over replicates of one fit: p = N(0, 1) and q = N(0, s), k = 1 - s²."""

import numpy as np
import pytest
from scipy import stats

from pymc_kl.modes.masses import masses_from_independent
from pymc_kl.numerics.khat import KHAT_RELIABLE
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
