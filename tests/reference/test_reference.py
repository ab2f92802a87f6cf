"""The reference: every mode with its mass, what the chains missed, and a plain word where nothing can be known."""

import json
import logging
import warnings

import arviz as az
import joblib
import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
import xarray as xr
from problems import UNIMODAL, improper

import pymc_kl as pkl
from pymc_kl.approximations import MeanField
from pymc_kl.data import galaxies
from pymc_kl.model.target import Target
from pymc_kl.modes import multistart
from pymc_kl.reference import local_sampling

N_SE = 3.5  # some dozens of masses are checked
LARGEST_SE = {
    "two_modes": 0.01, "two_normals_10d": 0.02, "two_normals_50d": 0.03, "wells_and_normals": 0.01,
    "two_bananas": 0.02, "two_students": 0.03, "dial_a_mass": 0.01, "many_wells_16": 0.01,
}  # fmt: skip


@pytest.fixture(scope="module")
def reference_of(zoo):
    made = {}

    def get(name):
        if name not in made:
            problem, target = zoo(name)
            made[name] = problem, pkl.sample_reference(model=target, random_seed=1, progressbar=False)
        return made[name]

    return get


def evidence(dt):
    return float(dt["evidence"]["log_evidence"]), float(dt["evidence"]["log_evidence_se"])


def stuck(problem, target, starts, n=1000):
    """Chains that sit each in the component of exact draws that is nearest to its start."""
    x = problem.sample(40 * n, np.random.default_rng(0))
    owner = np.linalg.norm(x[:, None] - problem.locations, axis=2).argmin(axis=1)
    return target.to_dataset(np.stack([x[owner == k][i * n : (i + 1) * n] for i, k in enumerate(starts)]))


UNSEEN = 1e-6  # mass of a mode that the search need not find


@pytest.mark.parametrize("name", LARGEST_SE)
def test_masses_and_evidence(name, reference_of):
    problem, dt = reference_of(name)
    modes = dt["modes"].to_dataset()
    assert int(modes["copies"].sum()) >= (problem.masses > UNSEEN).sum()
    assert modes.attrs["masses_known"] == 1
    distinct = np.sort(np.round(problem.masses, 9))[::-1]
    truth = [distinct[distinct == value].sum() for value in dict.fromkeys(distinct)]
    found = np.sort(modes["mass"].values)[::-1]
    if name == "two_students":
        truth = [0.5, 0.5]
    for mass, right in zip(found, np.sort(truth)[::-1][: len(found)], strict=True):
        se = float(modes["mass_se"].values[modes["mass"].values == mass][0])
        assert se <= LARGEST_SE[name]
        assert abs(mass - right) < N_SE * se + 1e-6
    value, se = evidence(dt)
    assert abs(value - problem.log_z) < N_SE * se + 1e-6
    assert se < 0.1


def test_equal_draws_have_the_masses(reference_of):
    """Mass left of each of many wells: 0.155689."""
    _, dt = reference_of("many_wells_16")
    x = dt["posterior"]["x"].values.reshape(-1, 8)
    share = (x < -0.0417).mean(axis=0)
    np.testing.assert_allclose(share, 0.155689, atol=N_SE * np.sqrt(0.1557 * 0.8443 / len(x)) + 0.01)
    assert set(np.unique(dt["sample_stats"]["mode"])) <= set(dt["modes"]["mode"].values)


@pytest.mark.parametrize(("name", "copies"), [("labels", 2), ("normal_2", 2), ("factors", 4)])
def test_copies_are_one_mode(name, copies, zoo, reference_of):
    problem, dt = reference_of(name)
    _, target = zoo(name)
    modes = dt["modes"].to_dataset()
    assert modes.sizes["mode"] == 1
    assert modes["copies"].values.tolist() == [copies]
    assert json.loads(modes.attrs["symmetries"])
    value, se = evidence(dt)
    assert abs(value - problem.log_z) < N_SE * np.hypot(se, problem.log_z_error)
    x = target.unconstrain(dt).reshape(-1, target.d)
    nearest = np.linalg.norm(x[:, None] - problem.locations, axis=2).argmin(axis=1)
    share = np.bincount(nearest, minlength=copies) / len(x)
    np.testing.assert_allclose(share, 1 / copies, atol=5 * np.sqrt(0.25 / len(x)))


def test_relabelled_draws_lie_in_one_copy(zoo):
    problem, target = zoo("labels")
    dt = pkl.sample_reference(model=target, relabel=True, random_seed=1, progressbar=False)
    mean = dt["posterior"]["mu"].mean(("chain", "draw")).values
    nearest = np.abs(problem.locations[:, 1:] - mean).max(axis=1).min()
    assert nearest < 0.1
    w = dt["posterior"]["w"].values
    np.testing.assert_allclose(w.sum(axis=-1), 1)


def test_symmetry_can_be_switched_off_or_named(zoo):
    _, target = zoo("labels")
    assert pkl.find_modes(model=target, symmetry=False, random_seed=1).k == 2
    named = pkl.find_modes(model=target, symmetry=["component"], random_seed=1)
    assert named.copies.tolist() == [2]
    with pytest.raises(ValueError, match="got 'labels'"):
        pkl.find_modes(model=target, symmetry=["labels"], random_seed=1)


def test_arviz_takes_it_as_draws(reference_of):
    _, dt = reference_of("two_modes")
    row = az.summary(dt, kind="all")
    assert float(row["r_hat"].iloc[0]) < 1.01
    assert abs(float(dt["posterior"]["x"].mean()) - 1.2) < 5 * 2.9 / np.sqrt(4000)
    local = dt["local"]
    weights = local["sample_stats"]["weight"].values
    assert weights.sum() == pytest.approx(1)
    mean = float((weights * local["posterior"]["x"].values).sum())
    assert abs(mean - 1.2) < 0.15


@pytest.fixture(scope="module")
def made(zoo):
    problem, target = zoo("dial_a_mass")
    idata = xr.DataTree.from_dict({"posterior": stuck(problem, target, [1, 1, 1, 0])})
    return problem, idata, pkl.sample_reference(idata, model=target, random_seed=1, progressbar=False)


class TestUsersDraws:
    """Four chains of 'dial a mass' that sit 1 and 3 in its two modes: masses 0.8 and 0.2, chains say otherwise."""

    def test_masses(self, made):
        problem, _, dt = made
        modes = dt["modes"].to_dataset()
        for mass, se, truth in zip(modes["mass"].values, modes["mass_se"].values, problem.masses, strict=True):
            assert abs(mass - truth) < N_SE * se
            assert se < 0.01
        value, se = evidence(dt)
        assert abs(value + 26.075964) < N_SE * se + 1e-6

    def test_no_draw_is_thrown_away_or_made(self, made):
        _, idata, dt = made
        np.testing.assert_allclose(dt["original"]["posterior"]["mu1"].values, idata["posterior"]["mu1"].values)
        weight, mode = dt["original"]["sample_stats"]["weight"], dt["original"]["sample_stats"]["mode"]
        assert float(weight.sum()) == pytest.approx(1)
        assert float(weight.where(mode == 1).sum()) == pytest.approx(float(dt["modes"]["mass"][0]))
        assert "local" not in dt.children

    def test_audit(self, made):
        _, _, dt = made
        audit = dt["audit"].to_dataset()
        assert audit["n_draws"].values.tolist() == [[0, 1000], [0, 1000], [0, 1000], [1000, 0]]
        assert audit["crossings"].values.tolist() == [0, 0, 0, 0]
        assert (audit["rhat"] > 1.5).all()
        assert audit.attrs["masses_known"] == 0
        assert float(audit["missed_mass"]) == 0
        off = dt["audit/means"]["mu1"].sel(quantity="off_in_sd").item()
        assert off < -0.5  # three chains of four sit in the mode of mass 0.2


def test_audit_of_chains_that_missed_a_mode(zoo):
    problem, target = zoo("two_normals_10d")
    idata = stuck(problem, target, [0, 0, 0, 0])
    dt = pkl.sample_reference(idata, model=target, random_seed=1, progressbar=False)
    audit = dt["audit"].to_dataset()
    assert audit["missed"].values.tolist() == [0, 1]
    assert float(audit["missed_mass"]) == pytest.approx(0.3, abs=0.02)
    assert float(audit["alarm"]) == 1
    means = dt["audit/means"]["x"]
    np.testing.assert_allclose(means.sel(quantity="given"), -2.0, atol=0.15)
    np.testing.assert_allclose(means.sel(quantity="reference"), -0.8, atol=0.15)
    sources = dt["original"]["sample_stats"]["weight"].sum(), dt["local"]["sample_stats"]["weight"].sum()
    np.testing.assert_allclose(sources, [0.7, 0.3], atol=0.02)


class TestMissedModeAlarm:
    """½ N(0, 1) + ½ N(Δ, 1) with every chain and q in one mode: k-hat, ESS and R-hat are perfect."""

    @staticmethod
    def alarm(delta, seed):
        with pm.Model() as model:
            x = pm.Normal("x", 0.0, np.float64(12.0))
            both = pt.logaddexp(-0.5 * x**2, -0.5 * (x - delta) ** 2)
            pm.Potential("target", both + 0.5 * (x / np.float64(12.0)) ** 2)
        target = Target.from_model(model)
        chains = target.to_dataset(np.random.default_rng(seed).normal(size=(4, 1000, 1)))
        q = MeanField(loc=np.array([0.02]), scale=np.array([1.02]), kind="reverse")
        dt = pkl.compare(chains, {"q": q}, model=target, forward=(), random_seed=seed, progressbar=False)
        row = dt["scores"].to_dataset().sel(approximation="q")
        assert float(row["khat"]) < 0.5
        assert float(row["ess_reverse"]) > 0.98
        return bool(row["alarm"]), bool(dt["audit"]["alarm"]), float(row["missed_mass"]), float(row["missed_mass_se"])

    @pytest.mark.parametrize("delta", [8.0, 20.0])
    def test_it_sounds(self, delta):
        of_q, of_chains, mass, se = self.alarm(delta, 0)
        assert of_q
        assert of_chains
        assert abs(mass - 0.5) < N_SE * se + 1e-3

    @pytest.mark.slow
    def test_it_sounds_in_all_of_a_hundred_seeds(self):
        rounds = [self.alarm(delta, seed) for seed, delta in enumerate(np.linspace(8, 20, 100))]
        assert all(of_q and of_chains for of_q, of_chains, _, _ in rounds)


@pytest.mark.slow
def test_the_alarm_is_silent_on_unimodal_controls(zoo):
    """At most 5 % false alarms, of q's and of the chains', over the controls and five seeds."""
    sounded, rounds = 0, 0
    for name in UNIMODAL:
        problem, target = zoo(name)
        if problem.sample is None:
            continue
        for seed in range(5):
            draws = target.to_dataset(problem.sample(2000, np.random.default_rng(seed)).reshape(4, 500, problem.d))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                dt = pkl.compare(draws, {}, model=target, forward=("fullrank",), random_seed=seed, progressbar=False)
            sounded += bool(dt["scores"]["alarm"].values[0] == 1) + bool(dt["audit"]["alarm"] == 1)
            rounds += 2
    assert rounds >= 100
    assert sounded <= 0.05 * rounds


def test_galaxies_from_chains_stuck_in_labellings():
    """PyMC's own NUTS: four chains in different labellings become a reference that knows all six of them."""
    with galaxies.model() as model:
        logging.getLogger("pymc").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            idata = pm.sample(500, tune=500, chains=4, random_seed=3, progressbar=False)
    dt = pkl.sample_reference(idata, model=model, random_seed=1, progressbar=False)
    modes = dt["modes"].to_dataset()
    assert set(modes["copies"].values) == {6.0}
    assert modes["log_density"].max() == pytest.approx(-224.119, abs=2e-3)
    assert float(modes["mass"][0]) > 0.95
    assert (modes["mass_se"] < 0.02).all()
    value, se = evidence(dt)
    assert abs(value + 224.018) < N_SE * np.hypot(se, 0.002)
    assert float(dt["original"]["sample_stats"]["weight"].sum()) >= 0
    w = dt["posterior"]["w"].values.reshape(-1, 3)
    np.testing.assert_allclose(w.mean(axis=0), 1 / 3, atol=0.03)


class TestNothingToFind:
    def test_improper_posterior_is_refused(self):
        with pytest.raises(ValueError, match=r"looks improper: far out along x\[1\] its density does not fall off"):
            pkl.sample_reference(model=improper(), random_seed=1, progressbar=False)

    def test_an_angle_may_go_round_or_be_cut_open(self):
        """Both ways the circle has the mass that it should have."""
        with pm.Model() as circle:
            pm.VonMises("angle", 1, 2)
        with pm.Model() as cut:
            pm.VonMises("angle", 1, 2, default_transform=pm.distributions.transforms.Interval(-np.pi, np.pi))
        for model in (circle, cut):
            value, se = evidence(pkl.sample_reference(model=model, random_seed=1, progressbar=False))
            assert abs(value) < N_SE * se + 1e-6

    def test_funnel_is_one_region_with_evidence(self, zoo):
        """NUTS can't enter the neck; a nested Laplace approximation over the log scale can, and its draws stand in."""
        problem, target = zoo("funnel")
        dt = pkl.sample_reference(model=target, random_seed=1, progressbar=False)
        assert dt["modes"].attrs["proper"] == 0
        value, se = evidence(dt)
        assert abs(value - problem.log_z) < N_SE * se
        assert se < 0.02
        assert "nested Laplace approximation" in dt["modes"]["method"].item()
        np.testing.assert_array_equal(dt["modes"]["mass"], [1.0])

    def test_shells_are_not_mistaken_for_one(self, zoo):
        """Modes that are surfaces have no point to climb to; chains from all over must agree, and don't."""
        _, target = zoo("shells_5")
        dt = pkl.sample_reference(model=target, random_seed=1, progressbar=False)
        assert dt["modes"].attrs["proper"] == 0
        assert dt["modes"].attrs["masses_known"] == 0
        assert "not mixed" in dt["modes"].attrs["reason"]
        assert np.isnan(dt["modes"]["mass"].values).all()
        assert np.isnan(evidence(dt)[0])

    @pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
    def test_a_plateau_is_one_mode_or_has_no_log_z(self, seed, zoo):
        """Its top is level: what counts is that all of it belongs to the point that is called its maximum."""
        problem, target = zoo("plateau")
        dt = pkl.sample_reference(model=target, random_seed=seed, progressbar=False)
        assert dt["modes"].sizes["mode"] == 1
        value, se = evidence(dt)
        assert abs(value - problem.log_z) < N_SE * se if np.isfinite(value) else dt["evidence"].attrs["reason"]
        assert (np.abs(dt["posterior"]["x"].values) < 1).all()

    @pytest.mark.parametrize("name", ["standard_normal_10", "logistic_regression", "eight_schools_noncentred"])
    def test_unimodal(self, name, reference_of):
        problem, dt = reference_of(name)
        assert dt["modes"].sizes["mode"] == 1
        assert dt["modes"]["copies"].item() == 1
        value, se = evidence(dt)
        if np.isfinite(problem.log_z):
            assert abs(value - problem.log_z) < N_SE * se + 1e-6


class TestBadInput:
    def test_starts_outside_the_support(self):
        with pm.Model() as model:
            x = pm.Normal("x")
            pm.Potential("positive", pt.switch(x > 0, 0.0, -np.inf))
        with pytest.raises(ValueError, match=r"1 of 2 starts lie outside .* \(the first is row 1\)"):
            pkl.sample_reference(model=model, starts=np.array([[1.0], [-1.0]]), progressbar=False)

    @pytest.mark.parametrize("name", ["n_starts", "draws", "chains"])
    def test_sizes(self, name, zoo):
        _, target = zoo("two_modes")
        with pytest.raises(ValueError, match=f"{name} must be at least 1; got 0"):
            pkl.sample_reference(model=target, progressbar=False, **{name: 0})

    def test_nan_at_the_initial_point(self):
        with pm.Model() as model:
            x = pm.Normal("x")
            pm.Potential("nan", pt.log(-1.0 - x**2))
        with pytest.raises(ValueError, match=r"NaN at its initial point.*point_logps"):
            pkl.find_modes(model=model)

    def test_infinite_density(self):
        with pm.Model() as model:
            x = pm.Normal("x")
            pm.Potential("spike", pt.switch(x > 2, np.inf, 0.0))
        with pytest.raises(ValueError, match=r"\+inf at x = .*Bound the parameter"):
            pkl.find_modes(model=model, random_seed=1)

    def test_no_start_inside(self):
        with pm.Model() as model:
            pm.Normal("x")
            pm.Potential("nowhere", pt.as_tensor(-np.inf))
        with pytest.raises(ValueError, match="none of the starts has a finite log density"):
            pkl.find_modes(model=model, random_seed=1)


class TestInterrupt:
    def test_of_the_search_gives_what_was_found(self, zoo, monkeypatch):
        _, target = zoo("many_wells_6")
        calls = []

        def jumps(*_arguments):
            calls.append(1)
            raise KeyboardInterrupt

        monkeypatch.setattr(multistart, "jumps", jumps)
        with pytest.warns(UserWarning, match="the search was interrupted"):
            modes = pkl.find_modes(model=target, random_seed=1)
        assert calls
        assert modes.partial
        assert modes.k >= 1
        assert modes.n_starts == 512

    def test_of_the_sampling_keeps_what_there_is(self, zoo, monkeypatch):
        problem, target = zoo("dial_a_mass")
        sample = local_sampling.sample_batch
        made = []

        def once(*arguments):
            if made:
                raise KeyboardInterrupt
            made.append(1)
            return sample(*arguments)

        monkeypatch.setattr(local_sampling, "sample_batch", once)
        with pytest.warns(UserWarning, match="was interrupted during the search for modes or their sampling"):
            dt = pkl.sample_reference(model=target, random_seed=1, progressbar=False)
        assert dt.attrs["partial"] == 1
        assert dt["modes"].sizes["mode"] == 2
        for mass, se, truth in zip(
            dt["modes"]["mass"].values, dt["modes"]["mass_se"].values, problem.masses, strict=True
        ):
            assert abs(mass - truth) < N_SE * se  # of the other mode by importance sampling about its peak


@pytest.mark.parametrize("name", ["many_wells_6", "labels"])
def test_folded_draws_are_those_of_one_copy(name, zoo, rng):
    """Folding uses the peak's copy alone: what is symmetric within a copy (the sign of z) stays so."""
    problem, target = zoo(name)
    modes = pkl.find_modes(model=target, random_seed=1)
    x = problem.sample(4000, rng)
    canonical = modes.canonical(x)
    np.testing.assert_allclose(target.log_density(canonical.x), target.log_density(x), rtol=1e-9)
    again = modes.canonical(canonical.x)
    np.testing.assert_array_equal(again.mode, canonical.mode)
    assert again.is_canonical.mean() > 0.999
    home, moved = canonical.x[canonical.is_canonical], canonical.x[~canonical.is_canonical]
    first = canonical.mode[canonical.is_canonical] == 0, canonical.mode[~canonical.is_canonical] == 0
    if name == "labels":
        apart = home[first[0]].mean(axis=0) - moved[first[1]].mean(axis=0)
        error = np.hypot(home.std(axis=0) / np.sqrt(first[0].sum()), moved.std(axis=0) / np.sqrt(first[1].sum()))
        assert (np.abs(apart) < 4 * error).all()
    else:
        assert (np.abs(moved[:, 3:].mean(axis=0)) < 4 / np.sqrt(len(moved))).all()


def test_it_repeats_and_jobs_change_nothing(zoo):
    _, target = zoo("dial_a_mass")
    one, two = (pkl.sample_reference(model=target, random_seed=5, progressbar=False) for _ in range(2))
    xr.testing.assert_identical(one["posterior"].to_dataset(), two["posterior"].to_dataset())
    assert evidence(one) == evidence(two)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        three = pkl.sample_reference(model=target, random_seed=5, progressbar=False)
    xr.testing.assert_allclose(one["posterior"].to_dataset(), three["posterior"].to_dataset())


def test_reference_survives_netcdf(reference_of, tmp_path):
    _, dt = reference_of("two_modes")
    dt.to_netcdf(tmp_path / "reference.nc")
    with warnings.catch_warnings(), xr.open_datatree(tmp_path / "reference.nc") as loaded:
        np.testing.assert_array_equal(loaded["modes"]["mass"].values, dt["modes"]["mass"].values)


def test_chains_in_different_copies_agree_once_relabelled(zoo):
    problem, target = zoo("labels")
    idata = stuck(problem, target, [0, 1, 0, 0])
    dt = pkl.sample_reference(idata, model=target, random_seed=1, progressbar=False)
    assert dt["audit"]["copy"].values.tolist() == [1, 2, 1, 1]
    rhat = dt["audit/convergence"]["mu"]
    assert (rhat.sel(quantity="rhat") > 1.5).all()
    assert (rhat.sel(quantity="rhat_relabelled") < 1.01).all()
    assert (rhat.sel(quantity="ess_bulk") < 20).all()
