"""Newton steps to the top: along a bent ridge, and not to another maximum."""

import numpy as np
import pytest

from pymc_kl.modes.newton import top_by_newton

WIDTH = 1e-4
LOCAL = (0.01, WIDTH)  # scale of the ridge as far as it is straight


def parabola(x):
    """N(0, 1) along y = x², that narrow across."""
    across = (x[:, 1] - x[:, 0] ** 2) / WIDTH
    grad = np.column_stack([-x[:, 0] + 2 * x[:, 0] * across / WIDTH, -across / WIDTH])
    return -0.5 * x[:, 0] ** 2 - 0.5 * across**2, grad


@pytest.mark.parametrize("away", [3e-4, 1e-3, 3e-3])
def test_a_step_off_a_bent_ridge_leads_to_its_top(away):
    """The first step falls off the ridge; the curvature along the ridge is right at the top alone."""
    x, curvature = top_by_newton(parabola, np.array([away, away**2]), np.diag(LOCAL))
    np.testing.assert_allclose(x, 0, atol=1e-6)
    np.testing.assert_allclose(curvature, np.diag([LOCAL[0] ** 2, 1]), rtol=1e-2, atol=1e-4)


def two_tops(x):
    """Log of N(0, 1) plus eight times as much about 8: Newton's steps from 2 lead far off."""
    heights = np.concatenate([-0.5 * x**2, np.log(8) - 0.5 * (x - 8) ** 2], axis=1)
    parts = np.exp(heights - heights.max(axis=1, keepdims=True))
    slope = (parts * np.concatenate([-x, 8 - x], axis=1)).sum(axis=1) / parts.sum(axis=1)
    return np.logaddexp(*heights.T), slope[:, None]


@pytest.mark.parametrize("start", [1.0, 2.0, 3.0, 3.5])
def test_the_top_is_that_of_the_climb(start):
    x, _ = top_by_newton(two_tops, np.array([start]), np.eye(1))
    assert x[0] < 4
    assert two_tops(x[None])[0] >= two_tops(np.array([[start]]))[0]
