"""Fits that a comparison must not believe: foreign densities, a handful of draws, draws from far away."""

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy import stats

import pymc_kl as pkl
from pymc_kl.approximations import FullRank
from pymc_kl.scores.own_density import NOT_ITS_DENSITY


def functions(loc, log_prob):
    """A sample of N(loc, 1), and any function as its density."""
    return lambda n, rng: rng.normal(loc, 1, (n, 1)), lambda x: log_prob(x[:, 0])


def draws_of(values):
    return xr.Dataset({"x": (("chain", "draw"), np.asarray(values, dtype=float)[None])})


RIGHT = stats.norm(3, 1).logpdf
FITS = {
    "own": functions(3, RIGHT),
    "of others": functions(3, stats.norm(-3, 1).logpdf),
    "too high": functions(3, lambda x: RIGHT(x) + 0.5 * np.log(2 * np.pi)),
    "too low": functions(3, lambda x: RIGHT(x) - 3),
    "one draw": draws_of([3.0]),
    "three draws": draws_of([3.0, 2.5, 3.3]),
    "one draw often": draws_of(np.full(1000, 3.0)),
    "forty draws": draws_of(np.random.default_rng(1).normal(3, 1, 40)),
    "far": FullRank(loc=np.array([1e6]), scale_tril=np.ones((1, 1))),
    "far draws": draws_of(np.random.default_rng(1).normal(-1e6, 1, 1000)),
}
NEEDS_DENSITY = ("reverse_kl", "forward_kl", "elbo", "eubo", "khat", "ess_reverse", "ess_forward")


@pytest.fixture(scope="module")
def compared(zoo):
    """.3 N(-3, .6) + .7 N(3, 1)."""
    _, target = zoo("two_modes")
    return pkl.compare(None, FITS, model=target, forward=(), reverse=(), draws=2000, random_seed=1, progressbar=False)


@pytest.fixture(scope="module")
def said(compared):
    """The sentence about each fit, after why it is the first and its uses."""
    verdict = pkl.report(compared).verdict
    starts = {name: (f"{name} ", f"The {name} ", f"The fit {name} ") for name in FITS}
    return {name: [text for text in verdict if text.startswith(starts[name])][-1] for name in FITS}


def row(compared, name):
    return compared["scores"].to_dataset().sel(approximation=name)


def coverage(compared, name):
    return compared["coverage"].to_dataset().sel(approximation=name)


@pytest.mark.parametrize("name", ["of others", "too high", "too low"])
def test_a_density_that_is_not_its_own_is_refused(name, compared, said):
    found = row(compared, name)
    assert np.isnan([float(found[score]) for score in NEEDS_DENSITY]).all()
    assert NOT_ITS_DENSITY in str(found["error"].item())
    assert coverage(compared, name)["verdict"].values.tolist() == ["over", "missed"]
    assert "is refused as a density" in said[name]
    assert "reaches mode 1" in said[name]
    assert "accurate" not in said[name]


def test_a_density_of_its_own_is_kept(compared, said):
    found = row(compared, "own")
    assert float(found["reverse_kl"]) == pytest.approx(-np.log(0.7), abs=5 * float(found["reverse_kl_se"]) + 1e-3)
    assert not str(found["error"].item())
    assert "refused" not in said["own"]


@pytest.mark.parametrize("name", ["one draw", "three draws", "one draw often"])
def test_a_handful_of_draws_covers_nothing_for_certain(name, compared, said):
    found = coverage(compared, name)
    assert found["verdict"].values.tolist() == ["too few draws"] * 2
    assert (found["mass_se"] > 0.1).all()
    assert float(found["mass_upper"].sel(mode=2)) == 1.0
    assert float(row(compared, name)["spill_se"]) > 0.1
    assert "too few draws to tell whether it covers modes 1 and 2" in said[name]


def test_forty_draws_in_one_mode_miss_the_other(compared, said):
    """None of 40 where 12 are due: at most 3/40 are there, less than a tenth short of certain."""
    assert coverage(compared, "forty draws")["verdict"].values.tolist()[0] == "over"
    assert "reaches mode 1" in said["forty draws"]
    assert "both modes" not in said["forty draws"]


@pytest.mark.parametrize("name", ["far", "far draws"])
def test_draws_from_far_away_reach_no_mode(name, compared, said):
    found = coverage(compared, name)
    assert found["verdict"].values.tolist() == ["missed"] * 2
    assert float(found["elsewhere"]) == 1.0
    assert "lies far from every mode found" in said[name]
    assert "covers" not in said[name]


def test_wide_draws_in_many_dimensions_still_reach_their_mode():
    """Twice as wide in 50 dimensions: every draw lies lower than all of the posterior's, yet about its mode."""
    with pm.Model() as model:
        pm.Normal("x", shape=50)
    wide = FullRank(loc=np.zeros(50), scale_tril=2 * np.eye(50))
    c = pkl.compare(
        None, {"wide": wide}, model=model, forward=(), reverse=(), draws=500, random_seed=1, progressbar=False
    )
    assert float(row(c, "wide")["spill"]) == 1.0
    assert coverage(c, "wide")["verdict"].item() == "covered"
