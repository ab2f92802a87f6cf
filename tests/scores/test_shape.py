"""Widths within modes against normals whose standard deviations are known, and the verdicts that follow from them."""

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy.stats import norm

from pymc_kl.approximations import MeanField
from pymc_kl.comparison.compare import compare
from pymc_kl.modes.masses import Masses
from pymc_kl.numerics.estimate import UNKNOWN, Estimate
from pymc_kl.scores.draws import ReferenceDraws
from pymc_kl.scores.marginals import Source
from pymc_kl.scores.shape import shape_verdicts, sharper, widths


def two_modes(rng, n, scales):
    """Draws in modes 0 and 1; the second has `scales` times the standard deviations 1 and 2."""
    first, second = rng.normal(size=(n, 2)), 50 + rng.normal(size=(n, 2)) * np.array([1, 2]) * scales
    return Source(np.vstack([first, second]), np.full(2 * n, 0.5 / n), np.repeat([0, 1], n))


def test_the_width_is_that_of_the_coordinate_that_differs_most(rng):
    p, q = two_modes(rng, 4000, (1, 1)), two_modes(rng, 2000, (0.9, 0.25))
    (same, narrow), (_, coordinate) = widths(p, q, 2)
    assert coordinate == 1
    assert abs(narrow.value - 0.25) < 5 * narrow.se
    assert abs(same.value - 1) < 5 * same.se
    assert narrow.se == pytest.approx(0.25 * np.sqrt(1 / 4000 + 1 / 2000), rel=0.2)  # of half of the normal draws


def test_the_error_covers_though_the_coordinate_was_chosen(rng):
    """Of forty coordinates the one that differs most by the same draws was three errors off."""
    held = 0
    for _ in range(200):
        p, q = (Source(rng.normal(size=(500, 40)), np.full(500, 1 / 500), np.zeros(500, int)) for _ in range(2))
        [width], _ = widths(p, q, 1)
        held += abs(width.value - 1) < 1.96 * width.se
    assert held / 200 > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 200)


def test_doubling_a_draw_equals_doubling_its_weight(rng):
    x, q = rng.normal(size=(100, 3)), Source(rng.normal(size=(500, 3)), np.full(500, 1 / 500), np.zeros(500, int))
    twice = np.repeat(x, np.where(np.arange(100) < 52, 2, 1), axis=0)
    weights = np.where(np.arange(100) < 52, 2.0, 1.0) / 152
    [by_weight], _ = widths(Source(x, weights, np.zeros(100, int)), q, 1)
    [by_draws], _ = widths(Source(twice, np.full(152, 1 / 152), np.zeros(152, int)), q, 1)
    assert by_weight.value == pytest.approx(by_draws.value)


def test_a_comparison_measures_widths_of_draws_in_the_order_in_which_they_were_drawn(rng):
    """Halves of sorted draws are halves of the space: a normal's had 0.6 of its standard deviation."""
    with pm.Model() as model:
        pm.Normal("x", shape=2)
    draws = xr.Dataset({"x": (("chain", "draw", "i"), rng.normal(size=(4, 500, 2)))})
    half = MeanField(loc=np.zeros(2), scale=np.full(2, 0.5))
    dt = compare(draws, {"half": half}, model=model, forward=(), reverse=(), random_seed=1, progressbar=False)
    coverage = dt["coverage"].to_dataset().squeeze()
    assert abs(float(coverage["width"]) - 0.5) < 5 * float(coverage["width_se"])


def test_a_mode_without_draws_has_no_width(rng):
    q = Source(rng.normal(size=(100, 2)), np.full(100, 0.01), np.zeros(100, int))
    (_, missing), (_, coordinate) = widths(two_modes(rng, 100, (1, 1)), q, 2)
    assert np.isnan(missing).all() and coordinate == -1


@pytest.mark.parametrize(
    ("kl", "width", "said"),
    [
        ((0.02, 0.01), (0.95, 0.02), "well fitted"),
        ((0.09, 0.01), (0.95, 0.02), "cannot tell"),
        ((0.20, 0.01), (0.95, 0.02), "wrong shape"),
        ((571.0, 9.0), (0.04, 0.001), "too narrow"),
        ((571.0, np.inf), (0.04, 0.001), "too narrow"),
        ((571.0, np.inf), (0.95, 0.02), "cannot tell"),
        ((0.90, 0.01), (3.00, 0.10), "too wide"),
        (UNKNOWN, (0.40, 0.02), "too narrow"),
        (UNKNOWN, (1.00, 0.02), "cannot tell"),
        (UNKNOWN, UNKNOWN, ""),
        ((-0.01, 0.02), UNKNOWN, "well fitted"),
    ],
)
def test_a_shape_is_judged_by_intervals(kl, width, said):
    assert shape_verdicts(np.array([kl[0]]), np.array([kl[1]]), [Estimate(*width)]) == [said]


def paired(rng, scale, n=1000):
    """Draws of a standard normal beside the log densities of q, a normal of this scale, with unknown constants."""
    x = rng.normal(size=(1, n))
    log_q = norm.logpdf(x, 0, scale)
    one = np.array([1.0, 0.0])
    masses = Masses(one, 0 * one, one, np.array([n, 0]), n * one, one, 0, known=True, reason="")
    weights = np.full((1, n), 1 / n)
    return ReferenceDraws(norm.logpdf(x) + 7.0, log_q - 2.0, np.zeros((1, n), int), weights, masses, np.zeros(2))


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.2])
def test_the_sharper_estimate_needs_no_constant_and_covers(scale, rng):
    truth = np.log(scale) + 0.5 / scale**2 - 0.5
    (value,), (se,) = sharper(np.array([truth + 0.04]), np.array([0.05]), paired(rng, scale))
    assert abs(value - truth) < 5 * se + 1e-12
    assert se < 0.02


def test_the_sharper_estimate_does_not_overrule_a_mass_that_it_cannot_see(rng):
    (value,), (se,) = sharper(np.array([0.69]), np.array([0.05]), paired(rng, 1.0))
    assert (value, se) == (0.69, 0.05)
