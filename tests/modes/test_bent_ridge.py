"""A ridge a ten-thousandth as wide as long is one mode: climbs along it reach its top, from draws as from the prior."""

import numpy as np
import pytest
import xarray as xr
from zoo.edges import tied_simplex

from pymc_kl import find_modes
from pymc_kl.model.target import Target


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
