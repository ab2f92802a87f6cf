"""A budget in seconds: what was done in time is kept, and what was left out is told."""

import time
import warnings
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pymc as pm
import pytest

import pymc_kl as pkl
from pymc_kl import progress
from pymc_kl.comparison import make_fits
from pymc_kl.model import as_target, cost
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


@dataclass
class SlowDensity:
    """A density that takes so many seconds a point, by a clock of its own: other work on a machine does not count."""

    density: Any
    seconds: float
    clock: float = 0.0

    def now(self) -> float:
        return self.clock

    def value(self, x):
        self.clock += self.seconds * len(x)
        return self.density.value(x)

    def value_and_grad(self, x):
        self.clock += self.seconds * len(x)
        return self.density.value_and_grad(x)


@pytest.fixture(scope="module")
def target():
    with pm.Model() as model:
        scale = pm.LogNormal("scale", 0.0, 0.3)
        pm.Normal("y", pm.Normal("mu", 0.0, scale, shape=2), 1.0, observed=np.array([0.5, -0.2]))
    return as_target(model)


class TestSlowDensity:
    """A comparison ends within four times its budget however slow the density is, with a result or an error."""

    BUDGET = 1000.0

    def compared(self, target, monkeypatch, seconds, budget=BUDGET):
        """Compare a fit that has not converged; return the comparison or the error, what was said, and the seconds."""
        slow = SlowDensity(target._evaluator, seconds)
        clock = SimpleNamespace(monotonic=slow.now, perf_counter=slow.now)
        for module in (progress, cost):
            monkeypatch.setattr(module, "time", clock)
        monkeypatch.setattr(make_fits, "ADVI_STEPS", 200)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                made = pkl.compare(
                    model=target.with_density(slow), reverse="advi", forward="fullrank", budget=budget,
                    random_seed=1, progressbar=False,
                )  # fmt: skip
            except RuntimeError as error:
                made = error
        return made, [str(each.message) for each in said], slow.clock

    def test_that_is_fast_enough_loses_nothing(self, target, monkeypatch):
        made, said, _ = self.compared(target, monkeypatch, seconds=1e-4)
        free, _, _ = self.compared(target, monkeypatch, seconds=1e-4, budget=None)
        assert not any("draws of each fit" in text for text in said)
        assert made.attrs["partial"] == 0
        np.testing.assert_array_equal(made["scores"]["forward_kl"], free["scores"]["forward_kl"])

    def test_that_is_slow_is_compared_by_less_and_that_is_told(self, target, monkeypatch):
        made, said, seconds = self.compared(target, monkeypatch, seconds=0.06)
        assert seconds < 4 * self.BUDGET
        assert any("of each fit are scored, not 2,000: a budget of 1000 s is worth no more" in text for text in said)
        scores = made["scores"].to_dataset().sel(approximation="ADVI")
        assert scores["error"].item() == "convergence not checked: its turn did not come in 1000 s"
        assert made.attrs["partial"] == 1
        assert abs(float(scores["elbo"]) + float(scores["reverse_kl"]) - float(made["evidence"]["log_evidence"])) < 1e-6
        assert made["approximations/ADVI/posterior"].sizes["draw"] < 2000

    def test_that_is_too_slow_for_any_draw_ends_too(self, target, monkeypatch):
        made, _, seconds = self.compared(target, monkeypatch, seconds=0.6)
        assert seconds < 4 * self.BUDGET
        assert "Give it a longer budget" in str(made)
