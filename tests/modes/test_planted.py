"""Planted modes: the density, the places, the shares and their intervals, what is refused, seeds and interrupts."""

import time
from dataclasses import replace

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from scipy.special import gammaln
from scipy.stats import binom, multivariate_normal

from pymc_kl import find_modes
from pymc_kl.model.target import Target
from pymc_kl.modes import planted, planted_modes
from pymc_kl.modes.modes import Modes
from pymc_kl.modes.planted import Planting, search_from
from pymc_kl.modes.planting import PlantedDensity, Planter
from pymc_kl.modes.search import SearchSettings
from pymc_kl.modes.symmetry.enumerate import matrices
from pymc_kl.numerics.random_streams import RandomStreams

QUICK = {"progressbar": False, "n_starts": 32, "seconds": 600}


def log_normal(x, loc, sd, d):
    return -0.5 * pt.sum(((x - loc) / sd) ** 2) - d * (np.log(sd) + 0.5 * np.log(2 * np.pi))


def with_planted(d, log_density, *, planted_at=None, mass=0.0, sd=1.0):
    """A normalised log density under a cancelled prior, with log Z = 0, and a mode that is written into it."""
    with pm.Model() as model:
        x = pm.Normal("x", 0.2, 4.0, shape=d)
        total = log_density(x)
        if mass:
            centre = pm.Data("centre", planted_at)
            total = pt.logaddexp(np.log1p(-mass) + total, np.log(mass) + log_normal(x, centre, sd, d))
        pm.Potential("p", total - log_normal(x, 0.2, 4.0, d))
    return model


def nested(d, **planted):
    """.7 N(.3, I) + .3 N(2.3, .5² I)."""
    narrow = {"loc": 2.3, "sd": 0.5, "d": d}

    def log_density(x):
        return pt.logaddexp(np.log(0.7) + log_normal(x, 0.3, 1.0, d), np.log(0.3) + log_normal(x, **narrow))

    return with_planted(d, log_density, **planted)


def heavy(d, **planted):
    """A product of Student t's with 5 degrees of freedom about .3."""
    constant = d * (gammaln(3.0) - gammaln(2.5) - 0.5 * np.log(5 * np.pi))
    return with_planted(d, lambda x: constant - 3.0 * pt.sum(pt.log1p((x - 0.3) ** 2 / 5.0)), **planted)


def bent(d, **planted):
    """A normal along a parabola: half as wide across it as along it."""

    def log_density(x):
        across = pt.concatenate([x[:1] - 0.3, x[1:2] - 0.5 * (x[0] - 0.3) ** 2, x[2:] - 0.3])
        return log_normal(across[:1], 0.0, 1.0, 1) + log_normal(across[1:], 0.0, 0.5, d - 1)

    return with_planted(d, log_density, **planted)


@pytest.fixture(scope="module")
def line():
    """A normal posterior of one dimension, off the centre of its prior; log Z = 0 with the cancelled prior."""
    with pm.Model() as model:
        x = pm.Normal("x", 0.2, 4.0, shape=1)
        pm.Potential("p", log_normal(x, 1.0, 1.0, 1) - log_normal(x, 0.2, 4.0, 1))
    return Target.from_model(model)


@pytest.fixture(scope="module")
def nested_target():
    return Target.from_model(nested(2))


@pytest.fixture(scope="module")
def planter(nested_target):
    modes = find_modes(model=nested_target, n_starts=64, random_seed=1, progressbar=False)
    return Planter.prepare(nested_target, modes, 0.0, np.random.default_rng(1))


def test_the_planted_density_is_the_one_that_a_model_would_have(planter, rng):
    """The same sum written as a PyMC model, at the planted mode and far from it."""
    planting, _ = planter.plant(0.1, 0.5, "prior", rng)
    density = planting.target._evaluator
    factor = 0.5 * planter.modes.local_scale
    x = np.concatenate([density.bump.centres[0] + rng.standard_normal((20, 2)), 5 * rng.standard_normal((20, 2))])
    value, grad = planting.target.log_density_and_grad(x)
    there = multivariate_normal(density.bump.centres[0], factor @ factor.T).logpdf(x)
    expected = np.logaddexp(np.log(0.9) + planter.target.log_density(x), np.log(0.1) + there)
    np.testing.assert_allclose(value, expected, rtol=1e-10)
    np.testing.assert_allclose(planting.target.log_density(x), expected, rtol=1e-10)
    for j in range(2):
        h = 1e-5 * np.eye(2)[j]
        slope = (planting.target.log_density(x + h) - planting.target.log_density(x - h)) / 2e-5
        np.testing.assert_allclose(grad[:, j], slope, rtol=1e-5, atol=1e-5)


def test_log_evidence_is_divided_out(line):
    modes = find_modes(model=line, n_starts=16, random_seed=1, progressbar=False)
    planter = Planter.prepare(line, modes, 0.0, np.random.default_rng(1))
    bump = planter.plant(0.3, 1.0, "prior", np.random.default_rng(2))[0].target._evaluator.bump
    grid = np.linspace(-40, 40, 40_001)[:, None]
    for log_z in (0.0, 2.0):
        total = np.trapezoid(np.exp(PlantedDensity(line, log_z, 0.3, bump).value(grid)), grid[:, 0])
        assert total == pytest.approx(0.3 + 0.7 * np.exp(-log_z), abs=1e-6)


def test_a_planted_mode_is_a_maximum_apart_from_every_mode(planter, rng):
    n_merged = 0
    for _ in range(10):
        planting, merged = planter.plant(0.1, 0.5, "heated", rng)
        n_merged += merged
        _, grad = planting.target.log_density_and_grad(planting.peak.centres)
        assert np.abs(grad).max() < 0.01
        assert (planting.peak.distance(planter.modes.x) > 1).all()
    assert n_merged > 0


def test_where_every_place_merges_nothing_is_planted(planter, rng):
    """Beside a mode's top, a bump as wide as the mode has no maximum of its own."""
    crowded = replace(planter, places={"prior": np.repeat(planter.modes.x[:1], 7, axis=0)})
    assert crowded.plant(0.1, 1.0, "prior", rng) == (None, 7)


def test_copies_are_planted_with_a_mode(rng):
    """Two exchangeable means: the planted density keeps the symmetry, and a search of it counts two copies."""
    with pm.Model() as model:
        means = pm.Normal("means", 0.5, 3.0, shape=2)
        pm.NormalMixture("y", w=[0.5, 0.5], mu=means, sigma=0.5, observed=np.repeat([-1.5, 1.5], 5))
    target = Target.from_model(model)
    modes = find_modes(model=target, n_starts=64, random_seed=1, progressbar=False)
    log_z = float(np.logaddexp.reduce(modes.log_mass_laplace))
    planter = Planter.prepare(target, modes, log_z, rng)
    assert len(planter.images) == 2
    planting, _ = planter.plant(0.3, 0.5, "heated", rng)
    x = 3 * rng.standard_normal((50, 2))
    np.testing.assert_allclose(planting.target.log_density(x), planting.target.log_density(x[:, ::-1]), rtol=1e-10)
    found = search_from(None, {}, SearchSettings(64))(planting.target, rng)
    assert planting.is_among(found)
    assert found.copies.tolist() == [2] * found.k
    assert not planting.is_among(modes)
    np.testing.assert_allclose(planting.peak.centres, matrices(modes.symmetry, 2) @ planting.peak.centres[0])


def test_easy_modes_are_found_and_needles_are_not(line):
    ds = planted_modes(model=line, masses=(0.3, 0.001), widths=(1.0, 1e-7), repeats=4, random_seed=1, **QUICK)
    assert (ds["tried"] + ds["unplaced"]).sum("place").values.tolist() == [[4, 4], [4, 4]]
    assert ds["tried"].sel(width=1e-7).sum("place").values.tolist() == [4, 4]
    assert ds["share"].sel(mass=0.3, width=1.0) == 1
    assert ds["share"].sel(mass=0.001, width=1e-7) == 0
    np.testing.assert_array_equal(ds["share"], ds["found"].sum("place") / ds["tried"].sum("place"))
    assert "in 0 of 4 tries (95 % interval: 0 % to 49 %)" in ds.attrs["summary"]
    assert ds.attrs["log_evidence"] == pytest.approx(0, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("build", "width"), [(nested, 0.1), (heavy, 0.25), (bent, 0.25)])
def test_the_share_is_that_of_modes_which_are_really_there(build, width):
    """A further mode is written into the PyMC model at the same kinds of places, and searched for."""
    d, mass, n, target = 3, 0.03, 24, Target.from_model(build(3))
    settings = SearchSettings(32)
    modes = search_from(None, {}, settings)(target, np.random.default_rng(1))
    printed = planted_modes(
        model=target, masses=[mass], widths=[width], repeats=2 * n, random_seed=1, log_evidence=0.0, **QUICK
    )
    planter = Planter.prepare(target, modes, 0.0, np.random.default_rng(2))
    sd = width * float(np.exp(np.log(np.diag(modes.local_scale)).mean()))
    there = build(d, planted_at=np.zeros(d), mass=mass, sd=sd)
    found = 0
    for i in range(n):
        rng = np.random.default_rng(100 + i)
        planting, _ = planter.plant(mass, width, ("prior", "heated")[i % 2], rng)
        there["centre"].set_value(planting.peak.centres[0])
        real = search_from(None, {}, settings)(Target.from_model(there), rng)
        found += bool((np.linalg.norm(real.x - planting.peak.centres[0], axis=1) < sd / 2).any())
    share = printed["share"].item()
    assert 0.05 < share < 0.95
    pooled = (found + share * 2 * n) / (3 * n)
    assert abs(share - found / n) < 3 * np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / (2 * n)))


def test_intervals_hold_in_replicates():
    """Wilson's interval covers the true share in about 95 % of tables, at shares where few would do."""
    for true in (0.05, 0.5, 0.95):
        k = np.arange(21)
        ends = np.array([planted._share(int(found), 20)[1:] for found in k])
        covered = (ends[:, 0] <= true) & (true <= ends[:, 1])
        assert 0.91 < binom.pmf(k, 20, true)[covered].sum() < 0.99


@pytest.mark.parametrize(
    ("argument", "match"),
    [
        ({"masses": (0.3, 1.0)}, "each of masses must be above 0 and below 1"),
        ({"masses": (0.0,)}, "each of masses must be above 0"),
        ({"masses": (np.nan,)}, "each of masses must be above 0"),
        ({"masses": ()}, "masses must be a sequence of numbers"),
        ({"widths": (1.0, 0.0)}, "each of widths must be above 0"),
        ({"widths": (-1.0,)}, "each of widths must be above 0"),
        ({"widths": (np.inf,)}, "each of widths must be above 0"),
        ({"repeats": 0}, "repeats must be at least 1"),
        ({"seconds": 0.0}, "seconds must be above 0"),
        ({"seconds": np.nan}, "seconds must be above 0"),
        ({"log_evidence": np.nan}, "log_evidence must be finite"),
    ],
)
def test_what_cannot_be_planted_is_refused(line, argument, match):
    with pytest.raises((TypeError, ValueError), match=match):
        planted_modes(model=line, random_seed=1, progressbar=False, n_starts=16, **argument)


def test_a_seed_repeats_whatever_there_is_time_for(line):
    options = {"model": line, "masses": (0.1,), "widths": (0.5, 0.25), "random_seed": 3} | QUICK
    one, two = (planted_modes(repeats=2, **options) for _ in range(2))
    assert one.identical(two)
    fewer = planted_modes(repeats=1, **options)
    assert (fewer["tried"] <= one["tried"]).all()


def test_a_try_stops_when_the_time_is_over_and_is_not_counted(line):
    """Evaluations take a tenth of a second, so that a search would take minutes."""
    modes = find_modes(model=line, n_starts=16, random_seed=1, progressbar=False)

    class Slow:
        def value(self, x):
            return self.value_and_grad(x)[0]

        def value_and_grad(self, x):
            time.sleep(0.1)
            return line.log_density_and_grad(x)

    search, planting = search_from(None, {}, SearchSettings(2048)), Planting((0.1,), (0.5,), 1, seconds=2.0)
    prepared = Planter.prepare(line, modes, 0.0, np.random.default_rng(1))
    tally = planted.Tally.empty(tuple(prepared.places), planting)
    begin = time.monotonic()
    slow = replace(prepared, target=line.with_density(Slow()))
    planted._fill(tally, slow, search, RandomStreams.of(1), lambda text: None)
    assert time.monotonic() - begin < 4.0
    assert tally.counts["tried"].sum() == 0
    assert "there was no time" in planted.summarise(tally.dataset())


@pytest.mark.parametrize("how", ["raised", "by the search"])
def test_an_interrupt_keeps_what_was_tried(line, monkeypatch, how):
    calls = []

    def interrupted(search):
        def run(target, rng) -> Modes:
            calls.append(1)
            if len(calls) < 4:
                return search(target, rng)
            if how == "raised":
                raise KeyboardInterrupt
            with monkeypatch.context() as patch:
                patch.setattr("pymc_kl.modes.multistart.search_heated", raise_interrupt)
                return search(target, rng)

        return run

    monkeypatch.setattr(planted, "search_from", lambda *arguments: interrupted(search_from(*arguments)))
    ds = planted_modes(model=line, masses=(0.3, 0.1), widths=(1.0,), repeats=3, random_seed=1, **QUICK)
    assert ds.attrs["partial"] == 1
    assert ds["tried"].sum() == 2
    assert ds["tried"].sel(mass=0.3).sum() == ds["tried"].sel(mass=0.1).sum() == 1


def test_nothing_is_tried_after_a_search_that_was_interrupted(line, monkeypatch):
    monkeypatch.setattr("pymc_kl.modes.multistart.search_heated", raise_interrupt)
    ds = planted_modes(model=line, random_seed=1, **QUICK)
    assert ds.attrs["partial"] == 1
    assert ds["tried"].sum() == 0
    assert np.isnan(ds["share"]).all()
    assert ds.attrs["summary"].startswith("No mode of 10 % half as wide as yours was tried")


def test_on_a_circle_the_planted_mode_comes_round_again(rng):
    with pm.Model() as model:
        pm.VonMises("angle", mu=1.0, kappa=20.0)
    target = Target.from_model(model)
    modes = find_modes(model=target, n_starts=64, random_seed=1, progressbar=False)
    planter = Planter.prepare(target, modes, 0.0, rng)
    planting, _ = planter.plant(0.3, 0.5, "heated", rng)
    x = np.linspace(-np.pi, np.pi, 4001)[:, None]
    value = planting.target.log_density(x)
    np.testing.assert_allclose(planting.target.log_density(x + 4 * np.pi), value, rtol=1e-8)
    assert np.trapezoid(np.exp(value), x[:, 0]) == pytest.approx(1, abs=1e-4)
    assert planting.is_among(search_from(None, {}, SearchSettings(64))(planting.target, rng))


def raise_interrupt(*_arguments):
    raise KeyboardInterrupt


def test_a_symmetry_of_too_many_copies_is_refused(monkeypatch):
    monkeypatch.setattr("pymc_kl.modes.planting.MOST_PLANTED", 1)
    with pm.Model() as model:
        means = pm.Normal("means", 0.5, 3.0, shape=2)
        pm.NormalMixture("y", w=[0.5, 0.5], mu=means, sigma=0.5, observed=np.repeat([-1.5, 1.5], 5))
    with pytest.raises(ValueError, match="up to 2 copies here"):
        planted_modes(model=model, random_seed=1, **QUICK)


def test_planting_needs_a_search(line):
    streams = RandomStreams.of(1)
    modes = find_modes(model=line, n_starts=16, random_seed=1, progressbar=False)
    with pytest.raises(ValueError, match="nothing is searched for here"):
        planted.plant_modes(
            line, replace(modes, reason="it has steps"), search_from(None, {}, SearchSettings(16)), Planting(), 0.0,
            streams=streams,
        )  # fmt: skip
