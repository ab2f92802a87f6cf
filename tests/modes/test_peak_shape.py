"""How far a peak reaches, where its Hessian says so and where it does not."""

import numpy as np
import pytest

from pymc_kl.modes.newton import whitened_precision
from pymc_kl.modes.peak_shape import peak_shape

SCALE = np.array([[2.0, 0.0], [0.3, 0.5]])


def shape_of(log_density, gradient, x):
    def value_and_grad(points):
        return log_density(points), gradient(points)

    x = np.asarray(x, dtype=float)
    curvature = whitened_precision(value_and_grad, x, SCALE)
    peak = peak_shape(value_and_grad, x, curvature, SCALE)
    return None if peak is None else peak.precision


def test_the_hessian_of_a_normal_stands():
    precision = np.array([[2.0, 0.7], [0.7, 1.0]])
    found = shape_of(lambda x: -0.5 * np.einsum("ni,ij,nj->n", x, precision, x), lambda x: -x @ precision, [0, 0])
    np.testing.assert_allclose(found, precision, rtol=1e-6)


def test_a_cusp_is_as_wide_as_where_it_has_fallen_by_two():
    found = shape_of(lambda x: -np.abs(x).sum(axis=1), lambda x: -np.sign(x), [0, 0])
    sds = np.sqrt(np.linalg.eigvalsh(np.linalg.inv(found)))  # the L1 norm is 2 at distances from √2 to 2
    assert 0.45 < sds.min() <= sds.max() < 3  # its own are 1.41, and rays see its tails


@pytest.mark.parametrize("power", [4, 6, 10])
def test_a_flat_top_is_as_wide_as_where_it_has_fallen_by_two(power):
    found = shape_of(lambda x: -(x**power).sum(axis=1), lambda x: -power * x ** (power - 1), [1e-3, -1e-3])
    sds = np.sqrt(np.linalg.eigvalsh(np.linalg.inv(found)))
    np.testing.assert_allclose(sds, 2 ** (1 / power) / 2, rtol=0.3)


def test_one_curved_and_one_flat_axis():
    found = shape_of(
        lambda x: -50 * x[:, 0] ** 2 - x[:, 1] ** 4,
        lambda x: np.column_stack([-100 * x[:, 0], -4 * x[:, 1] ** 3]),
        [0, 0],
    )
    assert found[0, 0] == pytest.approx(100, rel=0.01)
    assert found[1, 1] == pytest.approx((2 / 2**0.25) ** 2, rel=0.02)


@pytest.mark.parametrize(("d", "height"), [(2, 4.0), (2, 12.0), (10, 12.0), (10, 20.0)])
def test_a_spike_does_not_hide_the_hill_below_it(d, height):
    sd = np.exp(-(height + 5) / d)  # of the mass, e⁻⁵ is in the spike

    def log_density(x):
        square = (x**2).sum(axis=1)
        return np.logaddexp(-0.5 * square, height - 0.5 * square / sd**2)

    def gradient(x):
        in_spike = np.exp(height - 0.5 * (x**2).sum(axis=1) / sd**2 - log_density(x))[:, None]
        return -x * (in_spike / sd**2 + 1 - in_spike)

    def value_and_grad(x):
        return log_density(x), gradient(x)

    origin, scale = np.zeros(d), np.eye(d)
    peak = peak_shape(value_and_grad, origin, whitened_precision(value_and_grad, origin, scale), scale)
    mass = log_density(origin[None])[0] + peak.log_volume
    assert mass == pytest.approx(d / 2 * np.log(2 * np.pi), abs=1.5)
    assert np.linalg.eigvalsh(np.linalg.inv(peak.precision)).min() > 0.3**2


def test_a_neighbouring_mode_widens_nothing():
    def log_density(x):
        return np.logaddexp(-0.5 * ((x - 1.5) ** 2).sum(axis=1), -0.5 * ((x + 1.5) ** 2).sum(axis=1))

    def gradient(x):
        at_right = np.exp(-0.5 * ((x - 1.5) ** 2).sum(axis=1) - log_density(x))[:, None]
        return at_right * (1.5 - x) + (1 - at_right) * (-1.5 - x)

    found = shape_of(log_density, gradient, [1.4999, 1.4999])
    assert np.linalg.eigvalsh(np.linalg.inv(found)).max() < 1.5


def test_points_of_a_ridge_a_saddle_and_a_slope_are_no_maxima():
    def ring(x):
        return -0.5 * ((np.linalg.norm(x, axis=1) - 3) / 0.1) ** 2

    def ring_gradient(x):
        radius = np.linalg.norm(x, axis=1, keepdims=True)
        return -(radius - 3) / 0.1**2 * x / radius

    assert shape_of(ring, ring_gradient, [3, 0]) is None
    assert shape_of(lambda x: x[:, 0] ** 2 - x[:, 1] ** 2, lambda x: 2 * x * [1, -1], [0, 0]) is None
    assert (
        shape_of(lambda x: x[:, 0] - x[:, 1] ** 2, lambda x: np.column_stack([np.ones(len(x)), -2 * x[:, 1]]), [0, 0])
        is None
    )


@pytest.mark.parametrize("slant", [0.0, 0.05])
def test_cusps_leave_a_smooth_direction_its_width_whatever_the_axes(slant):
    """A normal of sd 1 beside four Laplace densities of scale 0.05, looked at along axes that cross the cusps."""
    scale = np.diag([8.0, *[0.05] * 4])
    scale[1:, 0] = slant

    def value_and_grad(x):
        value = -0.5 * x[:, 0] ** 2 - np.abs(x[:, 1:]).sum(axis=1) / 0.05
        return value, np.column_stack([-x[:, 0], -np.sign(x[:, 1:]) / 0.05])

    x = np.zeros(5)
    peak = peak_shape(value_and_grad, x, whitened_precision(value_and_grad, x, scale), scale)
    sds = np.sqrt(np.diag(np.linalg.inv(peak.precision)))
    np.testing.assert_allclose(sds, [1, *[0.05] * 4], rtol=0.05)
