"""Random streams have names: what one fit draws does not depend on which others there are."""

import numpy as np
import pymc as pm
import pytest
import xarray as xr

import pymc_kl as pkl
from pymc_kl.approximations import MeanField
from pymc_kl.comparison.reference import completed_reference
from pymc_kl.model.target import Target
from pymc_kl.numerics.random_streams import RandomStreams
from pymc_kl.progress import stages
from pymc_kl.reference.build import build_posterior
from pymc_kl.reference.settings import Sampling


def test_a_stream_depends_on_seed_and_name_alone():
    one, two = RandomStreams.of(1), RandomStreams.of(2)
    assert one("a").random() == RandomStreams.of(1)("a").random()
    assert len({one("a").random(), one("b").random(), two("a").random()}) == 3


def test_a_generator_gives_new_streams_at_each_call():
    rng = np.random.default_rng(1)
    first, second = RandomStreams.of(rng), RandomStreams.of(rng)
    assert first("a").random() != second("a").random()


@pytest.mark.parametrize("name", ["the reference", "reference draws", "layout", "mode 0"])
def test_no_two_consumers_share_a_stream_whatever_a_fit_is_called(name, zoo, exact_draws, monkeypatch):
    opened, open_stream = [], RandomStreams.__call__

    def opening(streams, name):
        opened.append((streams.root.spawn_key, name))
        return open_stream(streams, name)

    monkeypatch.setattr(RandomStreams, "__call__", opening)
    draws = exact_draws("two_modes", 4000, 1)
    arguments = {"model": zoo("two_modes")[1], "forward": "meanfield", "draws": 100, "progressbar": False}
    pkl.compare(draws, {name: MeanField(loc=np.zeros(1), scale=np.ones(1))}, random_seed=1, **arguments)
    assert len(opened) > 8 and len(set(opened)) == len(opened)


@pytest.fixture(scope="module")
def compared(zoo, exact_draws):
    """Comparisons of one posterior with several sets of fits, by name of the set."""
    _, target = zoo("two_modes")
    draws = exact_draws("two_modes", 4000, 1)

    def one(**fits):
        arguments = {"forward": (), "reverse": None} | fits
        given = {"given": (lambda n, rng: rng.normal(3, 1, (n, 1)), lambda x: -0.5 * (x[:, 0] - 3) ** 2 - 0.9189385332)}
        return pkl.compare(draws, given, model=target, draws=500, random_seed=1, progressbar=False, **arguments)

    return {
        "few": one(forward="fullrank"),
        "more": one(forward=("mixture", "fullrank", "meanfield"), reverse=("advi", "meanfield")),
        "alone": one(),
    }


@pytest.mark.parametrize(("one", "two", "fit"), [("few", "more", "forward fullrank"), ("alone", "more", "given")])
def test_other_fits_change_no_number_of_a_fit(one, two, fit, compared):
    one, two = compared[one], compared[two]
    for name in ("posterior", "sample_stats", "modes", "evidence"):
        # What climbed to a mode is counted; nothing else of the reference knows of the fits.
        xr.testing.assert_equal(
            *(dt[name].to_dataset().drop_vars(["hits", "found_by"], errors="ignore") for dt in (one, two))
        )
    assert one[f"approximations/{fit}"].equals(two[f"approximations/{fit}"])
    for name in ("scores", "coverage"):
        xr.testing.assert_identical(
            *(dt[name].to_dataset().sel(approximation=fit).drop_vars("seconds", errors="ignore") for dt in (one, two))
        )
    xr.testing.assert_identical(*(dt["parameters"].to_dataset().sel(source=fit) for dt in (one, two)))


# A third mode of mass 3e-6, too far off and too narrow for the search: only draws of a fit lead to it.
FAR = 60.0
EXCHANGEABLE = {"w": [0.3, 0.7 - 3e-6, 3e-6], "mu": [-3.0, 3.0, FAR], "sigma": [0.6, 1.0, 0.05]}
SETTINGS = Sampling(draws=250, negligible=9.0)


def led_astray(n, rng):
    """Draw from the right mode, and one draw in ten from the far one beside it."""
    x = rng.normal(3, 1, (n, 2))
    x[::10, 0] = rng.normal(FAR, 0.05, len(x[::10]))
    return x


@pytest.fixture(scope="module")
def far():
    """Build the posterior of two exchangeable variables, each with a far mode: alone, and when a fit leads to that."""
    with pm.Model() as model:
        pm.NormalMixture("x", **EXCHANGEABLE, shape=2)
    target = Target.from_model(model)

    def build(**fit_draws):
        with stages(False) as stage:
            return build_posterior(
                target, None, {}, SETTINGS, fit_draws=fit_draws, rng=np.random.default_rng(1), stage=stage
            )

    return build(), build(astray=led_astray(400, np.random.default_rng(2)))


def places(one, two):
    """Row in `two` of each mode of `one`."""
    return [int(np.linalg.norm(two.modes.x - x, axis=1).argmin()) for x in one.modes.x]


def test_a_late_mode_changes_no_draw_of_another_mode_nor_its_log_mass(far):
    without, found = far
    assert without.modes.k == 3 and found.modes.k > 3 and (found.modes.copies == 2).sum() > 1
    assert np.nansum(found.masses.mass[3:]) < 1e-4
    for k, j in enumerate(places(without, found)):
        assert np.array_equal(without.local[k].x, found.local[j].x)
        assert without.log_masses[k] == found.log_masses[j]
        assert without.local[k].source == "HMC"


def test_a_late_mode_leaves_the_draws_that_fits_are_scored_on_in_their_order_and_copies(far):
    without, found = far
    old, new = (completed_reference(posterior, np.random.default_rng(3)) for posterior in (without, found))
    at = np.array(places(without, found))
    for name in ("draws", "training"):
        one, two = getattr(old, name), getattr(new, name)
        kept = np.isin(two.mode, at)
        assert len(one.mode) > 300 and np.array_equal(at[one.mode], two.mode[kept])
        assert np.array_equal(one.posterior.flat, two.posterior.flat[kept])
        np.testing.assert_allclose(one.posterior.flat_weights, two.posterior.flat_weights[kept], rtol=1e-4)
        same = one.canonical.copy == one.canonical.copy[:, None]
        copy = two.canonical.copy[kept]
        assert np.array_equal(same, copy == copy[:, None])
    rows = [reference.training.equal_rows(400, 4, np.random.default_rng(4)) for reference in (old, new)]
    one, two = (reference.training.posterior.flat[r] for reference, r in zip((old, new), rows, strict=True))
    assert np.array_equal(one, two)


def test_draws_of_equal_weight_stand_for_the_masses(far, rng):
    training = completed_reference(far[0], rng).training
    mode, n = training.mode[training.equal_rows(4000, 4, rng)].ravel(), 4000
    masses = np.bincount(training.mode, weights=training.posterior.flat_weights)
    assert (abs(np.bincount(mode, minlength=3) - n * masses) < 1 + 1e-9).all()
