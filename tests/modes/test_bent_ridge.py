"""A ridge a ten-thousandth as wide as long is one mode: climbs along it reach its top, from draws as from the prior."""

import numpy as np
import pytensor.tensor as pt
import pytest
import xarray as xr
from zoo.edges import along_a_curve, tied_simplex

from pymc_kl import find_modes
from pymc_kl.model.target import Target
from pymc_kl.modes.local_scale import scale_about


def exact_draws(target, n, rng):
    share = rng.dirichlet(np.ones(3), n)
    draws = {
        "share": (("chain", "draw", "i"), share[None]),
        "copy": (("chain", "draw"), rng.normal(share[None, :, 0], 1e-4)),
    }
    return target.unconstrain(xr.Dataset(draws)).reshape(n, target.d)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_ridge_of_a_simplex_tied_to_a_normal_is_one_mode(seed, rng):
    target = Target.from_model(tied_simplex())
    modes = find_modes(model=target, random_seed=seed, progressbar=False)
    assert modes.proper
    assert modes.k == 1
    np.testing.assert_allclose(modes.x, [[0, 0, 1 / 3]], atol=1e-3)
    assert modes.unseen.value < 0.05
    assert (modes.assign(exact_draws(target, 500, rng)) == 0).mean() > 0.99


CURVES = {"parabola": pt.square, "sine": pt.sin}


@pytest.mark.parametrize("width", [1e-3, 1e-4])
@pytest.mark.parametrize("curve", CURVES)
def test_the_top_of_a_bent_ridge_is_found_without_draws(curve, width):
    """Most climbs end on their way along it, and Laplace's normal at its top lies off it."""
    modes = find_modes(model=along_a_curve(CURVES[curve], width), random_seed=1, progressbar=False)
    assert modes.proper
    assert modes.k == 1
    np.testing.assert_allclose(modes.x, 0, atol=1e-3)


def test_the_scale_about_the_top_of_a_bent_ridge_is_that_on_the_ridge(rng):
    """A step of a standard deviation along the tangent lies 10⁴ widths off the ridge, where gradients are as large."""
    about = np.zeros((1, 2)), np.diag([1.0, 1e8])[None], np.zeros(20, dtype=int)
    target = Target.from_model(along_a_curve(pt.square, 1e-4))
    scale = scale_about(target.log_density_and_grad, *about, rng)
    assert scale[0, 0] > 3e-4
    straight = Target.from_model(along_a_curve(lambda x: 0 * x, 1e-4))
    scale = scale_about(straight.log_density_and_grad, *about, rng)
    np.testing.assert_allclose(scale, np.diag([1.0, 1e-4]), rtol=0.2, atol=1e-5)
