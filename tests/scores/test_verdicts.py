"""Verdicts on modes, replicated: how often they are wrong of a q that is right, and of one at either limit."""

from collections import Counter

import numpy as np
import pytest

from pymc_kl.modes.masses import Masses, masses_from_distinct, masses_from_independent, masses_from_log, unknown_masses
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.scores.coverage import OVER_ABOVE, TOO_FEW_DRAWS, UNDER_BELOW, verdicts

N_REPLICATES = 400
WRONG_AT_MOST = 0.025 + 3 * np.sqrt(0.025 * 0.975 / N_REPLICATES)  # of 2.5 % a side, three errors above


def posterior_masses(rng: np.random.Generator, w: float, relative_se: float) -> Masses:
    """Masses 1 - w and w from log normalising constants with errors."""
    logs = np.log([1 - w, w]) + relative_se * rng.standard_normal(2)
    return masses_from_log([Estimate(float(value), relative_se) for value in logs], np.array([1000, 1000, 0]))[0]


def counted(mass: float, n: int) -> Masses:
    """Masses 1 - mass and mass of n draws that fell so exactly."""
    return masses_from_independent(np.repeat([0, 1], [n - round(mass * n), round(mass * n)]), 2)


def shares(rng: np.random.Generator, w: float, ratio: float, n: int, relative_se: float) -> Counter[str]:
    """How often each verdict is given on a mode of mass w under p and ratio · w under q, of which n draws are made."""
    words = Counter(
        verdicts(
            posterior_masses(rng, w, relative_se),
            masses_from_independent((rng.random(n) < ratio * w).astype(int), 2),
        )[1]
        for _ in range(N_REPLICATES)
    )
    return Counter({word: count / N_REPLICATES for word, count in words.items()})


@pytest.mark.parametrize(
    ("w", "n", "relative_se"),
    [(0.001, 2000, 0.01), (0.02, 100, 0.01), (0.02, 100, 0.1), (0.1, 2000, 0.1), (0.3, 2000, 0.01), (0.5, 100, 0.1)],
)
def test_a_perfect_fit_is_seldom_called_wrong(rng, w, n, relative_se):
    """With normal errors, that of mass 0.02 was 'under' in 14 % of replicates, with 100 draws, and 0.001 in 12 %."""
    found = shares(rng, w, 1.0, n, relative_se)
    assert max(found["under"], found["over"], found["missed"]) < WRONG_AT_MOST


@pytest.mark.parametrize("ratio", [UNDER_BELOW, OVER_ABOVE])
@pytest.mark.parametrize(("w", "n", "relative_se"), [(0.05, 2000, 0.01), (0.3, 2000, 0.01), (0.5, 2000, 0.1)])
def test_at_a_limit_either_answer_is_seldom_given(rng, w, n, relative_se, ratio):
    """Where q is on the border, 'covered' was given in 95 %."""
    found = shares(rng, w, ratio, n, relative_se)
    assert max(found["covered"], found["under"], found["over"]) < WRONG_AT_MOST


@pytest.mark.parametrize(("ratio", "word"), [(1.0, "covered"), (0.6, "under"), (1.6, "over"), (0.0, "missed")])
def test_what_is_clear_is_said(rng, ratio, word):
    assert shares(rng, 0.3, ratio, 2000, 0.01)[word] > 0.99


def test_a_mode_without_draws_is_never_covered(rng):
    for n in (1, 20, 100, 2000):
        for w in (0.0005, 0.01, 0.3):
            said = verdicts(posterior_masses(rng, w, 0.01), counted(0.0, n))[1]
            assert said in {"missed", "under", TOO_FEW_DRAWS}


def test_errors_of_either_side_leave_it_open(rng):
    sure, loose = posterior_masses(rng, 0.3, 0.001), posterior_masses(rng, 0.3, 0.2)
    assert verdicts(sure, counted(0.3, 2000))[1] == "covered"
    assert verdicts(loose, counted(0.3, 2000))[1] == TOO_FEW_DRAWS
    assert verdicts(sure, counted(0.3, 100))[1] == TOO_FEW_DRAWS
    assert verdicts(unknown_masses(np.full(2, 0.5), np.array([9, 9, 0]), "never moved"), counted(0.5, 2000))[1] == (
        TOO_FEW_DRAWS
    )


def test_hundred_particles_and_their_repeats_give_no_false_alarm(rng):
    """Over 200 seeds, 100 particles of q = p, each there 20 times."""
    wrong = 0
    for _ in range(200):
        x = np.repeat(rng.standard_normal((100, 1)), 20, axis=0)
        mode = (x[:, 0] > 2.0537).astype(int)  # 2 % of a normal's mass
        said = verdicts(posterior_masses(rng, 0.02, 0.01), masses_from_distinct(x, mode, 2))
        wrong += bool({"missed", "under", "over"} & set(said))
    assert wrong / 200 < 0.05


@pytest.mark.parametrize(("mass", "n"), [(0.5, 50), (0.02, 100), (0.98, 100), (0.001, 2000)])
def test_the_interval_of_a_count_holds_its_mass(rng, mass, n):
    """Clopper's and Pearson's interval holds the truth in at least 95 % of replicates, whatever the count."""
    bounds = (masses_from_independent((rng.random(n) < mass).astype(int), 1).interval() for _ in range(N_REPLICATES))
    inside = np.mean([low[0] <= 1 - mass <= high[0] for low, high in bounds])
    assert inside > 0.95 - 3 * np.sqrt(0.05 * 0.95 / N_REPLICATES)
