"""Climbs reach the top along ridges of any width and at cusps, whatever the scale that they are told."""

import numpy as np
import pytest
from scipy.stats import ortho_group

from pymc_kl.numerics.lbfgs import Climbs, climb

N = 64
SETTINGS = [(d, width, scale) for d in (3, 8) for width in (0.1, 1e-2, 1e-4) for scale in (1.0, width)]


def straight(rotation, width):
    """A normal that is narrow along one direction."""
    precision = (rotation / np.append(width**2, np.ones(len(rotation) - 1))) @ rotation.T
    return lambda x: (-0.5 * np.einsum("ni,ij,nj->n", x, precision, x), -x @ precision)


def bent(rotation, width):
    """A normal along a sine curve of amplitude 1, narrow across it."""

    def value_and_grad(x):
        y = x @ rotation
        across = (y[:, 0] - np.sin(y[:, 1])) / width
        grad = -y
        grad[:, 0] = -across / width
        grad[:, 1] += across / width * np.cos(y[:, 1])
        return -0.5 * across**2 - 0.5 * (y[:, 1:] ** 2).sum(axis=1), grad @ rotation.T

    return value_and_grad


def cusp(rotation, width):  # noqa: ARG001 as the others
    """A product of Laplace densities."""
    return lambda x: (-np.abs(x).sum(axis=1) / width, -np.sign(x) / width)


def depths(make, d, width, scale, rng):
    """Nats (N,) below the top where climbs from about two units away ended, and which of them converged."""
    value_and_grad = make(ortho_group.rvs(d, random_state=rng), width)
    ends = climb(value_and_grad, 2 * rng.standard_normal((N, d)), scale * np.eye(d))
    return -ends.log_density, ends.converged


@pytest.mark.parametrize(("d", "width", "scale"), SETTINGS)
def test_climbs_reach_the_top_of_a_straight_ridge(d, width, scale, rng):
    depth, converged = depths(straight, d, width, scale, rng)
    assert converged.all()
    assert depth.max() < 1e-4


@pytest.mark.parametrize(("d", "width", "scale"), [setting for setting in SETTINGS if setting[1] > 1e-3])
def test_climbs_follow_a_bent_ridge_to_its_top(d, width, scale, rng):
    depth, converged = depths(bent, d, width, scale, rng)
    assert converged.all()
    assert depth.max() < 1e-4


@pytest.mark.parametrize(("width", "share"), [(3e-3, 0.9), (1e-3, 0.5)])
@pytest.mark.parametrize("d", [3, 8])
def test_climbs_follow_a_narrow_bent_ridge(d, width, share, rng):
    depth, _ = depths(bent, d, width, 1.0, rng)
    assert (depth < 1e-4).mean() > share


@pytest.mark.parametrize(("d", "width", "scale"), SETTINGS)
def test_climbs_reach_a_cusp(d, width, scale, rng):
    depth, converged = depths(cusp, d, width, scale, rng)
    assert converged.mean() > 0.5
    assert (depth < 1e-3).mean() > 0.9
    assert depth[converged].max() < 1e-3


def test_a_climb_whose_gain_is_lost_in_rounding_has_converged(rng):
    def value_and_grad(x):
        return 1e6 - 0.5 * (x**2).sum(axis=1), -x

    ends = climb(value_and_grad, rng.standard_normal((N, 5)), np.diag([1.0, 2.0, 0.5, 3.0, 0.2]))
    assert ends.converged.all()
    assert np.abs(ends.x).max() < 1e-3


def test_a_climb_to_an_edge_has_not_converged():
    def value_and_grad(x):
        inside = x[:, 0] < 1
        return np.where(inside, x[:, 0], -np.inf), np.where(inside[:, None], 1.0, np.nan)

    ends = climb(value_and_grad, np.array([[0.0], [0.5]]), np.eye(1))
    assert not ends.converged.any()


def test_rows_that_are_renewed_climb_again():
    def towards(centre):
        return lambda y, _: (-0.5 * ((y - centre) ** 2).sum(axis=1), centre - y)

    climbs = Climbs.begin(towards(1.0), np.zeros((2, 3)))
    climbs.run(1e-12, 50)
    moves = climbs.renew(towards(2.0), np.array([0]))
    climbs.run(1e-12, 50)
    assert moves == pytest.approx([1.0])
    np.testing.assert_allclose(climbs.y, [[2.0] * 3, [1.0] * 3], atol=1e-6)
