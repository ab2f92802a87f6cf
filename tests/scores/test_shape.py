"""Widths within modes against normals whose standard deviations are known, and the verdicts that follow from them."""

import numpy as np
import pytest

from pymc_kl.numerics.estimate import UNKNOWN, Estimate
from pymc_kl.scores.marginals import Source
from pymc_kl.scores.shape import shape_verdicts, widths


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
    assert narrow.se == pytest.approx(0.25 * np.sqrt(1 / 8000 + 1 / 4000), rel=0.2)  # of normal draws


def test_doubling_a_draw_equals_doubling_its_weight(rng):
    x, q = rng.normal(size=(100, 3)), Source(rng.normal(size=(500, 3)), np.full(500, 1 / 500), np.zeros(500, int))
    twice = np.repeat(x, np.where(np.arange(100) < 50, 2, 1), axis=0)
    weights = np.where(np.arange(100) < 50, 2.0, 1.0) / 150
    [by_weight], _ = widths(Source(x, weights, np.zeros(100, int)), q, 1)
    [by_draws], _ = widths(Source(twice, np.full(150, 1 / 150), np.zeros(150, int)), q, 1)
    assert by_weight.value == pytest.approx(by_draws.value)


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
