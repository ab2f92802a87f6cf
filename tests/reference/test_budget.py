"""A budget in seconds: what was done in time is kept, and what was left out is told."""

import time

import numpy as np
import pytest

import pymc_kl as pkl
from pymc_kl.comparison import make_fits
from pymc_kl.progress import Alarm, TimeIsUp
from pymc_kl.reports.facts import read_facts
from pymc_kl.reports.verdict import judge


class TestAlarm:
    def test_rings_once(self):
        alarm = Alarm(at=time.monotonic() - 1)
        watched = alarm.watch(abs)
        with pytest.raises(TimeIsUp):
            watched(-1)
        assert alarm.over
        assert watched(-1) == 1

    def test_never_rings_without_a_time(self):
        alarm = Alarm.after(None)
        alarm.check()
        assert alarm.watch(abs) is abs
        assert not alarm.over


class TestBudget:
    def test_that_suffices_changes_nothing(self, zoo):
        _, target = zoo("dial_a_mass")
        free, bounded = (
            pkl.sample_reference(model=target, budget=budget, random_seed=1, progressbar=False)
            for budget in (None, 1e4)
        )
        np.testing.assert_array_equal(free["modes"]["mass"], bounded["modes"]["mass"])
        assert bounded.attrs["partial"] == 0

    def test_that_is_over_at_once_keeps_the_draws_and_says_so(self, zoo, exact_draws):
        _, target = zoo("dial_a_mass")
        draws = exact_draws("dial_a_mass", 400, 1)
        made = pkl.compare(
            draws, {}, model=target, forward="fullrank", budget=1e-3, draws=200, random_seed=1, progressbar=False
        )
        assert made.attrs["partial"] == 1
        assert any("stopped early" in sentence.text for sentence in judge(read_facts(made)))

    def test_without_time_or_draws_is_an_error_that_says_so(self, zoo, monkeypatch):
        monkeypatch.setattr(make_fits, "ADVI_STEPS", 500)
        _, target = zoo("dial_a_mass")
        said = r"before the work was stopped.*its turn did not come in 0\.001 s.*Give it a longer budget"
        with pytest.raises(RuntimeError, match=said) as caught:
            pkl.sample_reference(model=target, budget=1e-3, random_seed=1, progressbar=False)
        assert list(caught.value.kept) == ["modes"]
        with pytest.raises(RuntimeError, match=said) as caught:
            pkl.compare(model=target, forward=(), reverse="advi", budget=1e-3, random_seed=1, progressbar=False)
        assert list(caught.value.kept) == ["fits", "modes"]
        assert list(caught.value.kept["fits"]) == ["ADVI"]
