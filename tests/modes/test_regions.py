"""Many points in many dimensions: most are assigned by a sample of them, and none otherwise than a climb would."""

from dataclasses import replace

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest

from pymc_kl import find_modes
from pymc_kl.modes.numbering import ELSEWHERE
from pymc_kl.modes.regions import Region

D, PLACES, WIDTHS = 24, np.array([-8.0, 0.0, 12.0]), np.array([1.0, 1.5, 0.7])


@pytest.fixture(scope="module")
def three_modes():
    """Three normal modes along the first coordinate, of a third each."""
    with pm.Model() as model:
        x = pm.Flat("x", shape=D)
        away = (x - pt.as_tensor(PLACES[:, None] * np.eye(D)[0])) / WIDTHS[:, None]
        pm.Potential("p", pt.logsumexp(-0.5 * (away**2).sum(axis=1) - D * np.log(WIDTHS)))
        starts = PLACES[:, None] * np.eye(D)[0] + 0.1
        return find_modes(model=model, starts=starts, symmetry=False, n_starts=50, random_seed=1, progressbar=False)


def points_of(counts, rng):
    k = np.repeat(np.arange(3), counts)
    x = PLACES[k, None] * np.eye(D)[0] + WIDTHS[k, None] * rng.normal(size=(len(k), D))
    order = rng.permutation(len(k))
    return x[order], k[order]


def counted(modes):
    """Return the modes, and the numbers of points at which their density will have been evaluated."""
    calls = []

    def value_and_grad(x):
        calls.append(len(x))
        return modes.basins.value_and_grad(x)

    return replace(modes, basins=replace(modes.basins, value_and_grad=value_and_grad)), calls


def test_climbs_keep_to_their_basin(three_modes, rng):
    """Far from a narrow mode log p̃ also rises on the straight line to a wide one, which draws of it do not climb to."""
    x, k = points_of((2000, 1500, 900), rng)
    for mode in (three_modes.basins._climbing(x).mode, three_modes.assign(x)):
        assert (np.round(three_modes.x[mode, 0]) != PLACES[k]).mean() < 0.003


def test_a_sample_says_what_climbs_from_all_say(three_modes, rng):
    x, k = points_of((2500, 0, 2500), rng)
    modes, calls = counted(three_modes)
    label = modes.assign(x)
    np.testing.assert_array_equal(np.round(modes.x[label, 0]), PLACES[k])
    by_sample = sum(calls)
    calls.clear()
    np.testing.assert_array_equal(modes.basins._climbing(x).mode, label)
    assert by_sample < 0.5 * sum(calls)


def test_few_points_of_a_place_that_the_sample_misses_are_climbed_from(three_modes, rng):
    x, k = points_of((2000, 0, 2000), rng)
    far = rng.choice(len(x), 4, replace=False)
    x[far], k[far] = points_of((0, 4, 0), rng)
    label = three_modes.assign(x)
    np.testing.assert_array_equal(np.round(three_modes.x[label, 0]), PLACES[k])


def test_no_point_is_told_by_a_sample_that_leaves_its_modes(three_modes, rng):
    """Of a mode that is not in the list, points are elsewhere, also where few of many are."""
    kept = three_modes.keep(np.round(three_modes.x[:, 0]) != PLACES[1])
    x, k = points_of((2000, 30, 2000), rng)
    label = kept.assign(x)
    np.testing.assert_array_equal(label, kept.basins._climbing(x).mode)
    assert ((label == ELSEWHERE) == (k == 1)).mean() > 0.999


@pytest.mark.parametrize("kind", ["a coordinate stands still", "few points are repeated"])
def test_points_that_fill_no_region_are_all_climbed_from(kind, three_modes, rng):
    x, k = points_of((1000, 0, 1000), rng)
    if kind == "a coordinate stands still":
        x[:, 3] = 0.5
    else:
        x, k = np.repeat(x[: D // 2], 200, axis=0), np.repeat(k[: D // 2], 200)
    np.testing.assert_array_equal(np.round(three_modes.x[three_modes.assign(x), 0]), PLACES[k])


def test_a_region_holds_new_points_as_often_as_its_own(rng):
    """The farthest of n is as if it were told by the others, so that new points lie beyond it once in about n."""
    outside = []
    for _ in range(20):
        x = rng.normal(size=(384, 60))
        region = Region.around(x, -0.5 * (x**2).sum(axis=1))
        new = rng.normal(size=(2000, 60))
        outside.append(1 - region.holds(new, np.full(2000, region.lowest)).mean())
    assert np.mean(outside) == pytest.approx(1 / 384, abs=4 * np.std(outside) / np.sqrt(20))
