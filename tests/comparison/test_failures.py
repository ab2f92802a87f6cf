"""One part of a fit's scores that fails costs that part, is named in its row, and costs no other fit anything."""

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy import stats

import pymc_kl as pkl
from pymc_kl.approximations import FullRank
from pymc_kl.comparison import score_fit
from pymc_kl.comparison.failures import Attempts, describe
from pymc_kl.numerics.estimate import pareto_k

OF_Q = ("elbo", "elbo_se", "khat", "ess_reverse", "ess_reverse_se", "spill", "spill_se", "emc", "mode_tv")
ALONE = ("elbo", "elbo_se", "ess_reverse", "spill", "spill_se", "mode_tv")
OF_P = ("eubo", "forward_kl", "forward_kl_within", "ess_forward", "khat_reference")
RIGHT = stats.norm(3, 0.5)  # never below -2, where the left mode of the posterior is


@pytest.fixture(scope="module")
def draws(exact_draws):
    return exact_draws("two_modes", 4000, 1)


def right(log_prob=RIGHT.logpdf):
    """A q in the right mode, with a density of its own."""
    return lambda n, rng: RIGHT.rvs((n, 1), random_state=rng), lambda x: log_prob(x[:, 0])


def nan_on_the_left(x):
    return np.where(x < -2, np.nan, RIGHT.logpdf(x))


def raises_on_many(x):
    if len(x) > 1000:
        raise MemoryError("too many points at once")
    return RIGHT.logpdf(x)


@pytest.fixture(scope="module")
def compared(zoo, draws):
    """Compare one fit given by functions, beside another that nothing is wrong with; once each."""
    _, target = zoo("two_modes")
    made = {}

    def get(name):
        if name not in made:
            fits = {"functions": right(FITS[name]), "other": FullRank(loc=np.zeros(1), scale_tril=np.full((1, 1), 3.0))}
            made[name] = pkl.compare(
                draws, fits, model=target, forward="fullrank", draws=500, random_seed=1, progressbar=False
            )
        return made[name]

    return get


FITS = {"sound": RIGHT.logpdf, "NaN at draws of p": nan_on_the_left, "fails on many points": raises_on_many}


def row(dt, name="functions"):
    return dt["scores"].to_dataset().sel(approximation=name)


def known(of, names):
    return {name for name in names if np.isfinite(float(of[name]))}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("NaN at draws of p", "ValueError: log_prob(x) for x of shape"),
        ("fails on many points", "MemoryError: too many points at once"),
    ],
)
def test_what_needs_draws_of_q_alone_is_there_where_log_q_fails_at_those_of_p(name, reason, compared):
    lost, sound = row(compared(name)), row(compared("sound"))
    for name in OF_Q:
        assert float(lost[name]) == float(sound[name]), name
    assert known(lost, OF_Q) == set(OF_Q) and not known(lost, OF_P)
    error = str(lost["error"].item())
    assert error.startswith("log q at draws of the posterior") and reason in error


@pytest.mark.parametrize("name", [name for name in FITS if name != "sound"])
def test_its_draws_and_coverage_and_every_other_fit_are_untouched(name, compared):
    lost, sound = compared(name), compared("sound")
    for group in ("coverage", "parameters", "posterior", "evidence", "modes", "approximations/other"):
        names = set(sound[group].to_dataset()) - {"hdr_coverage", "forward_kl_within", "forward_kl_within_se"}
        for variable in names:
            xr.testing.assert_identical(lost[group][variable], sound[group][variable])
    for other in ("other", "forward fullrank"):
        left = [dt["scores"].to_dataset().drop_vars("seconds").sel(approximation=other) for dt in (lost, sound)]
        xr.testing.assert_identical(*left)
        xr.testing.assert_identical(*(dt["coverage"].to_dataset().sel(approximation=other) for dt in (lost, sound)))
    assert "functions" in lost["approximations"].children


class BadAtItsOwnDraws:
    """A q in the right mode whose log_prob is not right at what was drawn, but is everywhere else."""

    def __init__(self, bad):
        self.bad, self.drawn = bad, [np.empty(0)]

    def sample(self, n, rng):
        x = RIGHT.rvs((n, 1), random_state=rng)
        if n > 8:  # those that both functions are tried on
            self.drawn.append(x[:, 0])
        return x

    def log_prob(self, x):
        own = np.isin(x[:, 0], np.concatenate(self.drawn))
        if self.bad is None and own.any():
            raise FloatingPointError("not there")
        return np.where(own, np.float64(self.bad or 0.0), RIGHT.logpdf(x[:, 0]))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (None, "FloatingPointError: not there"),
        (np.nan, "ValueError: log_prob(x) for x of shape (500, 1) must hold no NaN and no +inf; 500 of 500 are not"),
        (np.inf, "ValueError: log_prob(x) for x of shape (500, 1) must hold no NaN and no +inf; 500 of 500 are not"),
        (-np.inf, "ValueError: log_prob must be finite at draws of q itself; at 500 of 500 it is not"),
    ],
)
def test_log_q_that_fails_at_its_own_draws_costs_the_scores_that_need_it(bad, reason, zoo, draws, compared):
    _, target = zoo("two_modes")
    q = BadAtItsOwnDraws(bad)
    arguments = {"model": target, "forward": (), "draws": 500, "random_seed": 1, "progressbar": False}
    dt = pkl.compare(draws, {"functions": (q.sample, q.log_prob)}, **arguments)
    lost, sound = row(dt), row(compared("sound"))
    needs_log_q = {"elbo", "khat", "ess_reverse", "reverse_kl", "reverse_kl_within"}
    for name in (
        {*OF_Q, *OF_P, "missed_mass", "mode_jsd", "emc_reference"} - needs_log_q - {"elbo_se", "ess_reverse_se"}
    ):
        assert float(lost[name]) == float(sound[name]), name
    assert not known(lost, needs_log_q)
    assert str(lost["error"].item()).startswith(f"log q at its own draws: {reason}")
    for name in ("mass", "mass_se", "verdict", "elsewhere", "copies_reached"):
        ours, theirs = (of["coverage"][name].sel(approximation="functions") for of in (dt, compared("sound")))
        xr.testing.assert_identical(ours, theirs)
    assert "functions" in dt["approximations"].children and len(pkl.summary(dt)) == 1


def test_a_fit_whose_log_q_failed_is_left_out_of_its_contributions(zoo, draws):
    _, target = zoo("two_modes")
    own = BadAtItsOwnDraws(np.nan)
    fits = {"at its own": (own.sample, own.log_prob), "at those of p": right(nan_on_the_left), "draws": draws}
    arguments = {"model": target, "draws": 500, "random_seed": 1, "progressbar": False}
    dt = pkl.compare(draws, fits | {"sound": right()}, forward=(), **arguments)
    pc = pkl.plot_contributions(dt, kind="marginal", backend="none")
    shown = pc.viz["forward"].to_dataset()["approximation"].values.tolist()
    assert shown == ["sound"]
    note = pc.viz["note"].item()["string"].replace("\n", " ")
    assert "log q failed (see `error` in /scores): at its own, at those of p." in note
    assert "No density: draws." in note
    with pytest.raises(ValueError, match=r"none of \['at its own'\] has a density; log q of \['at its own'\] failed"):
        pkl.plot_contributions(dt, kind="marginal", backend="none", approximations="at its own")


@pytest.mark.parametrize("name", [name for name in FITS if name != "sound"])
def test_a_comparison_that_lacks_a_part_is_read_as_any(name, compared, tmp_path):
    dt = compared(name)
    assert set(pkl.summary(dt).index) == {"functions", "other", "forward fullrank"}
    assert "missed" in pkl.coverage(dt, values=["verdict"])[("functions", "verdict")].to_list()
    assert pkl.load(pkl.save(dt, tmp_path / "comparison.nc")).attrs == dt.attrs
    text = pkl.report(dt).html
    assert str(row(dt)["error"].item()).split(":")[0] in text


@pytest.mark.parametrize("lost", ["spill", "eubo", "khat", "hdr_coverage", "reverse_chain_rule"])
def test_a_score_that_fails_is_lost_alone(lost, zoo, draws, monkeypatch):
    _, target = zoo("two_modes")

    def fail(*_):
        raise FloatingPointError("a number of its own")

    arguments = {"model": target, "forward": (), "draws": 500, "random_seed": 1, "progressbar": False}
    whole = pkl.compare(draws, {"functions": right()}, **arguments)
    monkeypatch.setattr(score_fit, lost, fail)
    dt = pkl.compare(draws, {"functions": right()}, **arguments)
    gone = {
        "reverse_chain_rule": {"reverse_kl_between", "reverse_kl_within", "reverse_kl_is_bound"},
        "hdr_coverage": set(),
    }.get(lost, {lost})
    kept, before = row(dt), row(whole)
    numbers = [name for name in before if before[name].dtype.kind == "f" and name.removesuffix("_se") not in gone]
    for name in set(numbers) - {"seconds"}:
        np.testing.assert_equal(float(kept[name]), float(before[name]), name)
    assert not known(kept, gone)
    assert (dt["coverage"]["verdict"] == whole["coverage"]["verdict"]).all()
    named, _, reason = str(kept["error"].item()).partition(": ")
    assert set(named.split(", ")) >= (gone or {"hdr_coverage"})
    assert reason == "FloatingPointError: a number of its own"


def test_a_reference_of_four_draws_scores_what_it_can(zoo):
    """As NUTS gives where it hardly moves: k-hat of so few ratios is not known, and costs nothing else."""
    _, target = zoo("two_modes")
    few = target.to_dataset(np.array([[3.0], [2.5], [-3.0], [3.5]])[None])
    arguments = {"model": target, "reference": "as given", "random_seed": 1, "progressbar": False}
    dt = pkl.compare(few, {"functions": right()}, forward="meanfield", **arguments)
    for name in ("functions", "forward meanfield"):
        assert str(row(dt, name)["error"].item()) == ""
        assert known(row(dt, name), OF_Q) == set(OF_Q)
        assert known(row(dt, name), OF_P) == {*OF_P} - {"khat_reference"}


@pytest.mark.parametrize("n", range(25))
def test_few_ratios_do_not_tell_their_tail(n):
    assert np.isnan(pareto_k(np.random.default_rng(n).standard_normal(n)))


def test_failures_are_told_by_their_reason():
    attempts = Attempts()
    assert describe(attempts.failures) == ""
    done = attempts.each({"a": lambda: 1, "b": lambda: 1 / 0, "c": lambda: [][0], "d": lambda: 1 / 0, "e": lambda: 2})
    assert done == {"a": 1, "e": 2}
    with attempts.kept(""):
        raise RuntimeError("No fit.")
    told = "b, d: ZeroDivisionError: division by zero; c: IndexError: list index out of range; RuntimeError: No fit."
    assert describe(attempts.failures) == told
    with pytest.raises(KeyboardInterrupt), attempts.kept("an interrupt is no failure"):
        raise KeyboardInterrupt


@pytest.mark.slow
def test_a_normal_that_is_tied_to_a_share_of_a_simplex():
    """NUTS hardly moves along a ridge that is 1e-4 wide: a handful of draws stands for p, and all of q is scored."""
    with pm.Model() as model:
        share = pm.Dirichlet("share", np.ones(3))
        pm.Normal("copy", share[0], 1e-4)
    dt = pkl.compare(model=model, random_seed=1, progressbar=False)
    for name in dt["scores"]["approximation"].values:
        assert str(row(dt, name)["error"].item()) == ""
        # k-hat does not tell where one draw has all the weight; the ELBO has no error where its terms have no variance
        assert known(row(dt, name), ALONE) | {"elbo_se"} == set(ALONE)
        assert not np.isnan(row(dt, name)["elbo_se"])
        assert "log_density" in dt[f"approximations/{name}/sample_stats"]
