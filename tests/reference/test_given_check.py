"""Given draws are checked before they are believed, and better ones are never replaced by worse."""

import re

import numpy as np
import pymc as pm
import pytest
import xarray as xr

import pymc_kl as pkl
from pymc_kl import find_modes
from pymc_kl.model.draws import PosteriorDraws
from pymc_kl.reference import mode_sampler, policy
from pymc_kl.reference.evidence import unknown_log_mass
from pymc_kl.reference.given_check import not_of_this_posterior
from pymc_kl.reference.local_chains import Chains
from pymc_kl.reference.local_draws import LocalDraws, no_draws, stuck_chains
from pymc_kl.reference.mode_sampler import ModeSampler
from pymc_kl.reference.mode_state import ModeState
from pymc_kl.reference.settings import Sampling
from pymc_kl.reports.facts import read_facts
from pymc_kl.reports.verdict import judge

REFUSED = "your draws are not draws of this posterior"


def two_modes(rng, *, left=0.6, right=1.0, shift=0.0):
    """Four chains of 0.3 N(-3, left) + 0.7 N(3, right), moved to the right by so much."""
    is_right = rng.random((4, 1000)) < 0.7
    z = rng.standard_normal(is_right.shape)
    return xr.Dataset({"x": (("chain", "draw"), shift + np.where(is_right, 3 + right * z, -3 + left * z))})


def reference(draws, target, seed=1):
    return pkl.sample_reference(draws, model=target, random_seed=seed, progressbar=False)


OTHERS = {
    "twice as wide": ({"left": 1.2, "right": 2.0}, r"spread along `x` is (1\.9|2\.\d) times what its slope allows"),
    "half as wide": ({"left": 0.3, "right": 0.5}, r"spread along `x` is 0\.(49|50|51) times what its slope asks for"),
    "the right one twice as wide": ({"right": 2.0}, r"in mode 1 their spread along `x` is (1\.9|2\.\d) times"),
    "beside it": ({"shift": 0.3}, r"along `x` they lie 0\.\d+ sd above where its slope puts them"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_draws_of_another_posterior_are_refused_and_cost_nothing(name, zoo, rng):
    """Log Z is 0 and the masses are 0.699957 and 0.300043, by draws of the package's own."""
    widths, said = OTHERS[name]
    _, target = zoo("two_modes")
    with pytest.warns(UserWarning, match=REFUSED) as caught:
        dt = reference(two_modes(rng, **widths), target)
    assert re.search(said, str(caught[0].message))
    evidence, modes = dt["evidence"].to_dataset(), dt["modes"].to_dataset()
    assert abs(float(evidence["log_evidence"])) < 3 * float(evidence["log_evidence_se"])
    assert abs(float(modes["mass"][0]) - 0.699957) < 3 * float(modes["mass_se"][0])
    assert float(dt["original"]["sample_stats"]["weight"].sum()) == 0
    assert float(dt["local"]["sample_stats"]["weight"].sum()) == pytest.approx(1)
    audit = dt["audit"].to_dataset()
    assert audit.attrs["masses_known"] == 0
    assert audit.attrs["reason"].startswith(REFUSED)


STUCK = {
    "all at one top": (np.full((4, 500), 3.0), "in mode 1 along `x` they are all the same"),
    "each chain at a top": (np.repeat([[-3.0], [3.0], [3.0], [3.0]], 500, axis=1), "in mode 2 along `x` they are all"),
    "hardly moving": (
        3 + 1e-3 * np.random.default_rng(3).standard_normal((4, 500)),
        "in mode 1 their spread along `x`",
    ),
}


@pytest.mark.parametrize("name", STUCK)
def test_stuck_draws_are_refused_and_do_not_mislead_the_search(name, zoo):
    """A scale that was taken from them joined both modes."""
    x, said = STUCK[name]
    _, target = zoo("two_modes")
    with pytest.warns(UserWarning, match=REFUSED) as caught:
        dt = reference(xr.Dataset({"x": (("chain", "draw"), x)}), target)
    assert said in str(caught[0].message)
    evidence, modes = dt["evidence"].to_dataset(), dt["modes"].to_dataset()
    assert abs(float(evidence["log_evidence"])) < 3 * float(evidence["log_evidence_se"])
    assert abs(float(modes["mass"][0]) - 0.699957) < 3 * float(modes["mass_se"][0])


@pytest.mark.parametrize(("factor", "refused"), [(1.0, False), (1.3, True)])
def test_weighted_draws_are_checked_by_their_weights(factor, refused, zoo, rng):
    """Draws of N(0, 2) weighted to N(0, factor)."""
    _, target = zoo("standard_normal_1")
    x = 2 * rng.standard_normal((1, 8000, 1))
    weights = np.exp(-0.5 * x[..., 0] ** 2 * (factor**-2 - 0.25))
    given = PosteriorDraws(target, x, target.log_density(x[0])[None], weights / weights.sum())
    modes = find_modes(model=target, random_seed=1, progressbar=False)
    sampler = ModeSampler(target, modes, Sampling(), [rng])
    check = sampler.check(given, modes.canonical(x[0]), 0)
    assert check.refused == refused
    assert (check.test.spread == pytest.approx(factor, rel=0.1)) or not refused


def test_weights_worth_few_draws_tell_nothing(zoo, rng):
    """They stand for fewer than a hundred draws, of which the spread is not known well enough to refuse any."""
    _, target = zoo("standard_normal_1")
    x = 30 + rng.standard_normal((1, 2000, 1))
    weights = np.where(np.arange(2000) < 50, 1.0, 1e-9)[None]
    given = PosteriorDraws(target, x, target.log_density(x[0])[None], weights / weights.sum())
    modes = find_modes(model=target, random_seed=1, progressbar=False)
    assert ModeSampler(target, modes, Sampling(), [rng]).check(given, modes.canonical(x[0]), 0) is None


def test_refused_draws_of_a_region_without_maximum_are_compared_as_given(zoo, exact_draws):
    _, target = zoo("shells_2")
    wide = 1.5 * exact_draws("shells_2", 4000, 1)
    dt = pkl.compare(wide, {}, model=target, reference="as given", forward="fullrank", random_seed=1, progressbar=False)
    assert dt["audit"]["refusal"].values[0]
    assert dt["modes"].attrs["proper"] == 0
    assert np.isfinite(float(dt["scores"]["eubo"].sel(approximation="forward fullrank")))
    for values in dt["audit/means"].data_vars.values():
        assert np.isfinite(values.sel(quantity="given")).all()
        assert values.sel(quantity=["reference", "reference_se", "off_in_sd"]).isnull().all()


def test_exact_draws_are_used_as_ever(zoo, exact_draws):
    _, target = zoo("two_modes")
    dt = reference(exact_draws("two_modes", 4000, 3), target)
    assert float(dt["original"]["sample_stats"]["weight"].sum()) == pytest.approx(1)
    audit = dt["audit"].to_dataset()
    assert audit["refusal"].values.tolist() == ["", ""]
    assert (audit["stein_z"] < 4).all()
    assert np.abs(audit["stein_spread"] - 1).max() < 0.1


@pytest.mark.slow
def test_exact_draws_are_hardly_ever_refused(zoo, exact_draws):
    """Of 100 seeds at most one, where one in a thousand is expected."""
    _, target = zoo("two_modes")
    refused = 0
    for seed in range(100):
        dt = reference(exact_draws("two_modes", 4000, seed), target)
        refused += any(dt["audit"]["refusal"].values != "")
    assert refused <= 1


@pytest.mark.parametrize("how", ["complete", "as given"])
def test_the_first_sentence_says_so(how, zoo, rng):
    _, target = zoo("two_modes")
    draws = two_modes(rng, left=1.2, right=2.0)
    dt = pkl.compare(draws, {}, model=target, reference=how, forward="fullrank", reverse=(), random_seed=1,
                     progressbar=False)  # fmt: skip
    first = judge(read_facts(dt))[0]
    assert first.rule == "draws refused"
    assert first.text.startswith("Your draws are not draws of this posterior (in mode 1 their spread along `x` is ")
    assert dt["modes"].attrs["masses_known"] == (how == "complete")
    if how == "as given":
        assert first.text.endswith("They are compared with as they are, and no masses are known.")
        assert all("cannot be trusted" not in sentence.text for sentence in judge(read_facts(dt)))
        assert dt["modes"].attrs["reason"].startswith(REFUSED)


def test_a_score_tells_widths_of_draws_alone(zoo, exact_draws, rng):
    """Draws of N(0, 1.5) under N(0, 1) are 1.5 times too wide; exact ones are not."""
    _, target = zoo("standard_normal_1")
    wide = target.to_dataset(1.5 * rng.standard_normal((4, 500, 1)))
    right = target.to_dataset(rng.standard_normal((4, 500, 1)))
    dt = pkl.compare(exact_draws("standard_normal_1", 4000, 1), {"wide": wide, "right": right}, model=target,
                     forward=(), random_seed=1, progressbar=False)  # fmt: skip
    row = dt["scores"].to_dataset()
    for name, spread in (("wide", 1.5), ("right", 1.0)):
        of_q = row.sel(approximation=name)
        assert abs(float(of_q["stein_spread"]) - spread) < 4 * float(of_q["stein_spread_se"])
    assert float(row["stein_z"].sel(approximation="wide")) > 10
    assert float(row["stein_z"].sel(approximation="right")) < 5


def test_modes_are_named_up_to_a_few():
    text = not_of_this_posterior({i: f"phrase {i}" for i in range(1, 6)})
    assert "in mode 1 phrase 1; in mode 2 phrase 2; in mode 3 phrase 3; and in 2 more)" in text


def local(x, source="given", n_diverging=0):
    n = len(x)
    x = np.asarray(x, dtype=float).reshape(n, -1)
    return LocalDraws(x, -0.5 * (x**2).sum(1), np.zeros(n, dtype=int), np.ones(n), source, n_diverging=n_diverging)


class TestGivenStand:
    """Draws of N(0, 1), and chains made here that are worse, or as good."""

    def test_against_chains_that_disagree(self, rng):
        apart = np.concatenate([rng.standard_normal(500), 5 + rng.standard_normal(500)])
        assert policy.given_stand(local(rng.standard_normal(500)), local(apart, "NUTS"))

    def test_against_chains_that_diverge(self, rng):
        good, diverging = local(rng.standard_normal(500)), local(rng.standard_normal(1000), "NUTS", n_diverging=100)
        assert policy.given_stand(good, diverging)

    def test_not_against_good_chains(self, rng):
        assert not policy.given_stand(local(rng.standard_normal(500)), local(rng.standard_normal(1000), "NUTS"))

    def test_not_if_they_disagree_themselves_or_are_few_or_are_not_given(self, rng):
        apart = np.concatenate([rng.standard_normal(500), 5 + rng.standard_normal(500)])
        for given in (local(apart), local(rng.standard_normal(50)), local(rng.standard_normal(500), "NUTS")):
            assert not policy.given_stand(given, local(apart, "NUTS"))


def test_chains_are_stuck_where_nothing_is(rng):
    """Of two chains about -10 and one at -500; at -60 no mass is ruled out in three dimensions (65 nats)."""
    log_density = np.array([[-10.0], [-12.0], [-500.0]]) + 0.1 * rng.random((3, 50))
    assert stuck_chains(log_density, np.empty(0), 3).tolist() == [False, False, True]
    assert stuck_chains(log_density[2:], np.empty(0), 3).tolist() == [False]
    assert stuck_chains(log_density[2:], np.array([-10.0, -20.0]), 3).tolist() == [True]
    assert stuck_chains(log_density - [[0.0], [0.0], [-440.0]], np.empty(0), 3).tolist() == [False] * 3


def test_good_given_draws_are_kept_where_chains_made_here_are_not(zoo, rng, monkeypatch):
    """300 exact draws of N(0, 1) do not suffice, and are weighed (log Z 0) when the chains made here disagree."""
    _, target = zoo("standard_normal_1")
    modes = pkl.find_modes(model=target, random_seed=1)
    sampler = ModeSampler(target, modes, Sampling(), [rng])
    x = rng.standard_normal((300, 1))
    draws = LocalDraws(x, target.log_density(x), np.zeros(300, dtype=int), np.ones(300), "given")
    check = sampler.check(PosteriorDraws(target, x[None], target.log_density(x)[None]), modes.canonical(x), 0)
    state = sampler.start(draws, policy.suffice(draws), 0, check)
    assert not state.known
    apart = np.stack([rng.standard_normal((500, 1)) - 2, rng.standard_normal((500, 1)) + 2])
    monkeypatch.setattr(
        mode_sampler, "sample_locally", lambda _, __, ___, take, *____, **_____: ([take(0, Chains(apart, 0))], False)
    )
    (after,), _ = sampler.sample([state], [0], 500, lambda _: None)
    assert after.draws.source == "given"
    assert abs(after.log_mass.estimate.value) < 4 * after.log_mass.estimate.se + 1e-9


@pytest.mark.parametrize("apart", [0.0, 4.0])
def test_nuts_takes_the_place_of_batches_unless_it_agrees_less(zoo, rng, monkeypatch, apart):
    """Batches of N(0, 1) that diverged in a twentieth; chains of NUTS are half `apart` from the others, or agree."""
    _, target = zoo("standard_normal_1")
    sampler = ModeSampler(target, pkl.find_modes(model=target, random_seed=1), Sampling(), [rng])
    state = ModeState(no_draws(1), unknown_log_mass("no local draws were made"), given_suffice=False)
    x = rng.standard_normal((4, 500, 1))
    batches, nuts = Chains(x, 100, "HMC"), Chains(x + apart * np.array([0, 0, 1, 1])[:, None, None], 0, "NUTS")

    def both(_, __, ___, take, mixed, **____):
        assert not mixed(take(0, batches))
        return [take(0, nuts)], False

    monkeypatch.setattr(mode_sampler, "sample_locally", both)
    (after,), _ = sampler.sample([state], [0], 500, lambda _: None)
    assert after.draws.source == ("HMC" if apart else "NUTS")


@pytest.mark.slow
def test_a_chain_stuck_at_a_bound_replaces_no_good_draws():
    """Centred effects and a flat intercept: chains from all over, of which some stay near ±1000, where nothing is."""
    rng = np.random.default_rng(5)
    y = 2 + rng.normal(0, 1.2, 30)
    with pm.Model():
        b = pm.Uniform("b", -1000, 1000)
        s = pm.Uniform("s", 0, 3)
        z = pm.Normal("z", 0, s, shape=30)
        pm.Normal("y", b + z, 1.0, observed=y)
        idata = pm.sample(500, tune=500, chains=4, cores=1, random_seed=1, progressbar=False,
                          compute_convergence_checks=False)  # fmt: skip
        dt = pkl.sample_reference(idata, random_seed=1, progressbar=False)
    b = dt["posterior"]["b"]
    assert abs(float(b.mean()) - y.mean()) < 0.1
    assert 0.15 < float(b.std()) < 0.3


@pytest.mark.parametrize("bent", [False, True])
def test_no_path_is_tried_along_a_bent_ridge_that_has_hardly_been_seen(bent, zoo, rng, monkeypatch):
    _, target = zoo("standard_normal_1")
    modes = find_modes(model=target, random_seed=1, progressbar=False)
    x = np.repeat(rng.standard_normal((10, 1)), 40, axis=0)
    draws = LocalDraws(x, target.log_density(x), np.zeros(400, int), np.ones(400), "NUTS", bent=bent)
    state, tried = ModeState(draws, unknown_log_mass("too little overlap", 0.01), given_suffice=False), []
    monkeypatch.setattr(ModeSampler, "_tempered", lambda self, k, state: tried.append(k) or state)
    ModeSampler(target, modes, Sampling(), [rng]).along_path(0, state)
    assert tried == ([] if bent else [0])
