"""Ctrl-C at every stage of long work: real signals, sent when the density is evaluated for the n-th time."""

import os
import signal
import threading
import warnings
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pymc as pm
import pytest
import xarray as xr

import pymc_kl as pkl
from pymc_kl.approximations import MeanField, Mixture
from pymc_kl.comparison import make_fits
from pymc_kl.interrupts import counted, keeping, not_swallowed
from pymc_kl.model import PosteriorDraws
from pymc_kl.modes.modes import Modes
from pymc_kl.reference.local_chains import Task
from pymc_kl.reference.local_nuts import sample_with_nuts
from pymc_kl.reports.facts import read_facts
from pymc_kl.reports.verdict import judge
from pymc_kl.sampling.steps import JumpStep

MOMENTS = (0.0, 0.1, 0.3, 0.5, 0.65, 0.75, 0.85, 0.93, 0.98, 1.0)  # shares of all evaluations of the density
NOT_NUMBERS = {"seconds", "error"}


class Interrupted:
    """A target that sends its own process a SIGINT when it is evaluated for the n-th time."""

    def __init__(self, target):
        self.n, self.at = 0, ()
        self.target = replace(target)
        for name in ("log_density", "log_density_and_grad"):
            object.__setattr__(self.target, name, self._counting(getattr(target, name)))

    def _counting(self, evaluate):
        def evaluated(x):
            self.n += 1
            if self.n in self.at:
                send()
            return evaluate(x)

        return evaluated

    def run(self, work, *at):
        """Return what the work returns or raises, and the warnings it gives."""
        self.n, self.at = 0, at
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            try:
                made = work(self.target)
            except KeyboardInterrupt as error:
                made = error
        assert self.n >= min(at, default=0)
        return made, [str(warning.message) for warning in given]


def send():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def interrupted(zoo):
    return Interrupted(zoo("two_modes")[1])


def moment(total, share):
    return max(round(share * total), 1)


def kept_by(error):
    assert type(error) is KeyboardInterrupt
    return getattr(error, "kept", {})


def compared(target):
    q = MeanField(loc=np.array([3.0]), scale=np.array([1.0]), kind="reverse")
    return pkl.compare(
        None, {"q": q}, model=target, reverse="meanfield", forward=("meanfield", "mixture"), draws=500,
        random_seed=1, progressbar=False,
    )  # fmt: skip


def with_planted(target):
    return pkl.compare(
        model=target, reverse=(), forward="meanfield", planted=5, random_seed=1, draws=500, progressbar=False
    )


def sampled(target):
    return pkl.sample_reference(model=target, draws=100, random_seed=1, progressbar=False)


def fitted(target):
    return pkl.fit_reverse("meanfield", model=target, n_starts=8, random_seed=1, progressbar=False)


@pytest.fixture(scope="module")
def whole(interrupted):
    """What each of them makes without an interrupt, and in how many evaluations."""
    found = {}
    for work in (compared, sampled, fitted):
        made, given = interrupted.run(work)
        assert not given
        found[work] = made, interrupted.n
    assert found[compared][0].attrs["partial"] == found[sampled][0].attrs["partial"] == 0
    return found


def without_error(dt):
    scores = dt["scores"].to_dataset()
    return scores["approximation"].values[scores["error"].values == ""].tolist()


def check_numbers(made, expected):
    """Check that fits without an error have the numbers of the uninterrupted run."""
    for group in ("scores", "coverage"):
        mine, theirs = (dt[group].to_dataset().sel(approximation=without_error(made)) for dt in (made, expected))
        drop = NOT_NUMBERS & set(mine)
        xr.testing.assert_equal(mine.drop_vars(drop), theirs.drop_vars(drop))


@pytest.mark.parametrize("share", MOMENTS)
def test_a_comparison_is_partial_and_says_so_or_is_raised(interrupted, whole, share):
    expected, total = whole[compared]
    made, given = interrupted.run(compared, moment(total, share))
    if isinstance(made, KeyboardInterrupt):
        assert share < 0.4
        assert set(kept_by(made)) in (set(), {"fits"}, {"fits", "modes"})
        return
    assert made.attrs["partial"] == 1
    assert made.attrs["interrupted"] in given
    assert any(made.attrs["interrupted"] in sentence.text for sentence in judge(read_facts(made)))
    if not made["modes"].attrs["partial"]:
        check_numbers(made, expected)


def test_of_a_comparison_nothing_is_missing_where_only_its_layout_was_made_again(interrupted, whole):
    expected, total = whole[compared]
    made, _ = interrupted.run(compared, total)
    assert without_error(made) == without_error(expected)
    check_numbers(made, expected)


def test_the_second_ends_at_once(interrupted, whole):
    n = moment(whole[compared][1], 0.98)
    made, _ = interrupted.run(compared, n, n + 1)
    assert type(made) is KeyboardInterrupt
    assert interrupted.n == n + 1


def test_while_modes_are_planted_the_comparison_is_whole(interrupted):
    made, _ = interrupted.run(with_planted, 1800)
    assert made.attrs["partial"] == made["planted"].attrs["partial"] == 1
    assert made["scores"]["error"].values.tolist() == [""]


@pytest.mark.parametrize("share", MOMENTS)
def test_a_reference_is_partial_and_says_so_or_is_raised(interrupted, whole, share):
    expected, total = whole[sampled]
    made, given = interrupted.run(sampled, moment(total, share))
    if isinstance(made, KeyboardInterrupt):
        assert share < 0.4
        assert all(isinstance(modes, Modes) for modes in kept_by(made).values())
        return
    assert made.attrs["partial"] == 1
    assert made.attrs["interrupted"] in given
    np.testing.assert_array_equal(made["modes"]["x"], expected["modes"]["x"])
    np.testing.assert_allclose(made["modes"]["mass"], [0.7, 0.3], atol=0.01)
    if 0.6 < share < 0.95:  # later it may come while the mode is weighed, with the draws of a round before
        np.testing.assert_array_equal(draws_of_first(made), draws_of_first(expected))


def draws_of_first(dt):
    """Draws of the first mode, whose chains are made before those of the second."""
    return dt["local"]["posterior"]["x"].values[dt["local"]["sample_stats"]["mode"].values == 1]


@pytest.mark.parametrize("share", MOMENTS)
def test_a_reverse_fit_is_raised_with_the_modes(interrupted, whole, share):
    made, _ = interrupted.run(fitted, moment(whole[fitted][1], share))
    assert isinstance(made, KeyboardInterrupt)
    kept = kept_by(made)
    if share > 0.85:
        again = pkl.fit_reverse("meanfield", model=interrupted.target, n_starts=8, progressbar=False, **kept)
        assert len(again.info["optima"]) == 2


# ---- shorter work ----

TWO = {"locs": np.array([[-3.0], [3.0]]), "scale_trils": np.ones((2, 1, 1)), "weights": np.full(2, 0.5)}


def searched(target):
    return pkl.find_modes(model=target, random_seed=1, progressbar=False)


def fitted_to_draws(target):
    x = np.repeat([-3.0, 3.0], [600, 1400]) + np.random.default_rng(1).standard_normal(2000)
    x = np.random.default_rng(2).permutation(x).reshape(4, 500, 1)
    draws = PosteriorDraws(target, x, target.log_density(x.reshape(-1, 1)).reshape(4, 500))
    return pkl.fit_forward(draws, "mixture", random_seed=1)


def corrected(target, **known):
    return pkl.correct(Mixture(**TWO, target=target), draws=500, random_seed=1, progressbar=False, **known)


def started(target, **known):
    return pkl.initvals(Mixture(**TWO, target=target), random_seed=1, **known)


@pytest.mark.parametrize("share", MOMENTS)
def test_a_search_is_partial_and_says_so_or_is_raised(interrupted, share):
    interrupted.run(searched)
    made, given = interrupted.run(searched, moment(interrupted.n, share))
    if isinstance(made, KeyboardInterrupt):
        assert share < 0.3
        return
    assert made.partial
    assert given == ["the search was interrupted: modes that it had not found by then are missing."]
    if share > 0.4:
        np.testing.assert_allclose(made.x, [[3], [-3]], atol=1e-3)


@pytest.mark.parametrize("share", MOMENTS)
@pytest.mark.parametrize("work", [corrected, started])
def test_work_with_a_fit_is_raised_with_the_modes(interrupted, work, share):
    interrupted.run(work)
    made, _ = interrupted.run(work, moment(interrupted.n, share))
    kept = kept_by(made)
    assert set(kept) == ({"modes"} if share > 0.2 else set())
    if share > 0.9:
        again, given = interrupted.run(lambda target: work(target, **kept))
        assert not isinstance(again, KeyboardInterrupt)
        assert not given


@pytest.mark.parametrize("share", MOMENTS)
def test_a_forward_fit_is_raised(interrupted, share):
    interrupted.run(fitted_to_draws)
    made, _ = interrupted.run(fitted_to_draws, moment(interrupted.n, share))
    assert set(kept_by(made)) == (set() if share < 0.95 else {"modes"})


def test_a_forward_fit_keeps_the_modes_that_its_components_start_from(interrupted, monkeypatch):
    monkeypatch.setattr(Mixture, "fit", lambda _: send())
    made, _ = interrupted.run(fitted_to_draws)
    assert kept_by(made)["modes"].k == 2


@pytest.mark.parametrize("share", MOMENTS)
@pytest.mark.parametrize("work", [searched, fitted_to_draws, corrected, started, fitted])
def test_of_shorter_work_the_second_ends_all_at_once(interrupted, work, share):
    interrupted.run(work)
    n = moment(interrupted.n - 1, share)
    made, _ = interrupted.run(work, n, n + 1)
    assert type(made) is KeyboardInterrupt
    assert interrupted.n <= n + 1


# ---- PyMC swallows interrupts ----


@pytest.fixture
def at_step(monkeypatch):
    """Interrupt `pm.fit` at a step, of 300."""

    def interrupt(n, method):
        fit = pm.fit

        def interrupted(*arguments, **options):
            callbacks = [lambda _, __, step: send() if step == n and options["method"] == method else None]
            return fit(*arguments, callbacks=callbacks, **options)

        monkeypatch.setattr(make_fits.pm, "fit", interrupted)
        monkeypatch.setattr(make_fits, "ADVI_STEPS", 300)

    return interrupt


@pytest.mark.parametrize(
    ("n", "method", "kept"),
    [
        (1, "advi", {}),
        (200, "advi", {"ADVI": ("pm.fit was interrupted after 199 of 300 steps.",)}),
        (10, "fullrank_advi", {"ADVI": None, "full-rank ADVI": ("pm.fit was interrupted after 9 of 300 steps.",)}),
    ],
)
def test_a_fit_that_pymc_cut_short_says_so(zoo, at_step, n, method, kept):
    at_step(n, method)
    with pytest.raises(KeyboardInterrupt, match="nothing yet to compare with") as error:
        pkl.compare(model=zoo("two_modes")[1], random_seed=1, progressbar=False)
    assert {name: q.info.warnings for name, q in kept_by(error.value)["fits"].items()} == kept


@pytest.fixture
def counted_steps(monkeypatch):
    """Interrupt at the n-th step of a step method, over all chains; they are sampled one after another."""

    def interrupt(method, n):
        step, count = method.step, [0]

        def stepped(self, point):
            count[0] += 1
            if count[0] == n:
                send()
            return step(self, point)

        monkeypatch.setattr(method, "step", stepped)
        return count

    monkeypatch.setattr("pymc.sampling.mcmc._cpu_count", lambda: 1)
    return interrupt


def jumped(target):
    q = Mixture(weights=np.full(2, 0.5), locs=np.array([[-3.0], [3.0]]), scale_trils=np.ones((2, 1, 1)), target=target)
    return pkl.sample_jump(q, draws=100, tune=50, chains=3, random_seed=1, progressbar=False)


@pytest.mark.filterwarnings("ignore:The number of samples is too small")
def test_jumps_return_the_chains_that_are_there(interrupted, counted_steps):
    expected, _ = interrupted.run(jumped)
    count = counted_steps(JumpStep, 290)  # at draw 90 of the second chain
    made, given = interrupted.run(jumped)
    said = "The sampling was interrupted: 2 of 3 chains are there, each of 89 of 100 draws."
    assert made.attrs["interrupted"] == said
    assert said in given
    assert made.attrs["partial"] == 1
    assert count[0] <= 291
    first = expected["posterior"]["x"].sel(chain=[0, 1], draw=slice(88))
    np.testing.assert_array_equal(made["posterior"]["x"].sortby("chain"), first)


def test_jumps_without_a_draw_are_raised(interrupted, counted_steps):
    counted_steps(JumpStep, 20)
    made, _ = interrupted.run(jumped)
    assert isinstance(kept_by(made)["modes"], Modes)


def test_local_chains_cut_short_are_not_taken_for_all(zoo, counted_steps):
    count = counted_steps(pm.NUTS, 130)
    task = Task(np.zeros(1), np.eye(1), np.zeros((3, 1)), draws=50, tune=50, chains=3, seed=1)
    with pytest.raises(KeyboardInterrupt):
        list(sample_with_nuts(zoo("standard_normal_1")[1], [task]))
    assert count[0] <= 132


# ---- parts ----


def test_signals_are_counted_and_do_what_they_did():
    before = signal.getsignal(signal.SIGINT)
    with counted() as interrupts:
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                send()
    assert interrupts.n == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_that_is_caught_inside_is_raised_at_the_end():
    with pytest.raises(KeyboardInterrupt), not_swallowed(), suppress(KeyboardInterrupt):
        send()


def test_other_threads_count_nothing():
    before, seen = signal.getsignal(signal.SIGINT), []

    def work():
        with counted():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_what_is_kept_adds_up_and_is_told_once():
    with pytest.raises(KeyboardInterrupt) as error, keeping(fits=2), keeping(modes=1):
        raise KeyboardInterrupt
    assert kept_by(error.value) == {"fits": 2, "modes": 1}
    assert len(error.value.__notes__) == 1
