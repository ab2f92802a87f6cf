"""Given draws where no mode was weighed leave the masses unknown, and the reason says so."""

import re

import numpy as np
import pytest
from scipy import stats
from zoo import peaks

from pymc_kl import compare, sample_reference
from pymc_kl.model.draws import PosteriorDraws
from pymc_kl.model.target import Target
from pymc_kl.modes.numbering import ELSEWHERE
from pymc_kl.reference.unweighed import MOST_UNWEIGHED, why_unweighed
from pymc_kl.reports.facts import read_facts
from pymc_kl.reports.verdict import judge


@pytest.fixture
def given(zoo, rng):
    _, target = zoo("two_modes")
    x = rng.normal(size=(4, 250, target.d))
    return PosteriorDraws(target, x, target.log_density(x.reshape(-1, target.d)).reshape(4, 250))


def test_few_draws_elsewhere_say_nothing(given):
    mode = np.zeros(1000, dtype=int)
    mode[: int(1000 * MOST_UNWEIGHED)] = ELSEWHERE
    assert why_unweighed(given, mode) == ""


def test_many_draws_elsewhere_are_counted_and_located(given):
    mode = np.where(given.flat[:, 0] > 1.0, ELSEWHERE, 0)
    text = why_unweighed(given, mode)
    part = (mode == ELSEWHERE).mean()
    exact = stats.binomtest(int((mode == ELSEWHERE).sum()), 1000).proportion_ci(method="exact")
    found = re.match(r"(\S+) % \((\S+) to (\S+) %\) of your draws", text)
    assert found[1] == f"{100 * part:.2g}"
    low, high = float(found[2]) / 100, float(found[3]) / 100
    assert low < part < high
    assert high - low >= 0.9 * (exact.high - exact.low)  # the draws are worth no more than as many independent ones
    assert f"`{given.target.labels[0]}`" in text


def test_weights_count(given):
    weights = np.full(given.log_density.shape, 1.0)
    weights.ravel()[:100] = 1e-6
    weighted = PosteriorDraws(given.target, given.x, given.log_density, weights / weights.sum())
    mode = np.zeros(1000, dtype=int)
    mode[:100] = ELSEWHERE
    assert why_unweighed(given, mode)
    assert why_unweighed(weighted, mode) == ""


def test_draws_about_a_pole_that_climb_nowhere_leave_the_masses_unknown():
    target = Target.from_model(peaks.pole())
    draws = peaks.pole_draws(2000, 2, 0.5, np.random.default_rng(1)).reshape(4, 500, 2)
    dt = sample_reference(target.to_dataset(draws), model=target, random_seed=1, progressbar=False)
    assert not dt["modes"].attrs["masses_known"]
    said = "of your draws lie in none of these modes, most of them apart along `x[0]`"
    assert said in dt["modes"].attrs["reason"]
    assert np.isnan(dt["evidence"]["log_evidence"])


def test_without_draws_the_search_tells_of_climbs_to_a_pole():
    """Nothing samples about it, so the chance of a mode unseen is all that speaks for it, and it comes first."""
    dt = compare(None, {}, model=peaks.pole(), forward="meanfield", random_seed=1, progressbar=False)
    assert float(dt["modes"].attrs["unseen"]) > 0.1
    first = judge(read_facts(dt))[0].text
    assert first.startswith("Take the reference with care. The chance that one more start finds a new mode")
