"""Newton's method climbs bent ridges, goes on from saddles and stays inside the support."""

import numpy as np
import pytest
from numerics.test_lbfgs import bent
from scipy.stats import ortho_group

from pymc_kl.numerics.newton_climb import climb_by_newton

N = 48


def near_the_origin(x, value):
    """Capture what is close to the only maximum."""
    return np.where((np.linalg.norm(x, axis=1) < 1e-3) & (value > -1e-6), 0, -1)


@pytest.mark.parametrize("d", [2, 6])
@pytest.mark.parametrize("width", [0.1, 1e-2])
def test_climbs_a_bent_ridge_to_its_top(d, width, rng):
    value_and_grad = bent(ortho_group.rvs(d, random_state=rng), width)
    climbed = climb_by_newton(value_and_grad, 2 * rng.normal(size=(N, d)), np.eye(d), capture=near_the_origin)
    assert (climbed.captured == 0).all()


def test_a_row_goes_on_from_a_saddle(rng):
    """Two tops at ±1 of the first coordinate, with a saddle between them."""

    def value_and_grad(x):
        a = x[:, 0]
        grad = -x
        grad[:, 0] = -4 * a * (a**2 - 1)
        return -((a**2 - 1) ** 2) - 0.5 * (x[:, 1:] ** 2).sum(axis=1), grad

    starts = np.column_stack([rng.normal(size=N) * 1e-3, rng.normal(size=(N, 2))])
    climbed = climb_by_newton(value_and_grad, starts, np.eye(3), capture=lambda x, _: np.full(len(x), -1))
    assert climbed.converged.all()
    np.testing.assert_allclose(climbed.x, np.column_stack([np.sign(starts[:, 0]), np.zeros((N, 2))]), atol=1e-5)


def test_steps_that_leave_the_support_are_made_shorter(rng):
    def gamma(x):
        inside = (x > 0).all(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(inside, (2 * np.log(x) - x).sum(axis=1), np.nan), 2 / x - 1

    climbed = climb_by_newton(gamma, rng.uniform(0.01, 20, (N, 3)), np.eye(3), capture=lambda x, _: np.full(len(x), -1))
    assert climbed.converged.all()
    np.testing.assert_allclose(climbed.x, 2, atol=1e-5)


def test_what_is_not_finite_at_its_start_stays_there():
    start = np.array([[np.nan, 0.0], [1.0, 1.0]])
    climbed = climb_by_newton(
        lambda x: (-0.5 * (x**2).sum(axis=1), -x), start, np.eye(2), capture=lambda x, _: np.full(len(x), -1)
    )
    assert climbed.converged.tolist() == [False, True]
