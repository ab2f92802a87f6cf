"""A mode whose sharp peak says nothing by its Hessian hides no other mode from the search."""

import numpy as np
import pytest
from zoo import peaks

from pymc_kl import find_modes


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_normal_far_in_the_tails_of_laplace_priors_is_found(seed):
    modes = find_modes(model=peaks.lasso(), random_seed=seed, progressbar=False)
    assert modes.k == 2
    np.testing.assert_allclose(np.sort(modes.x[:, 0]), [-4, 4], atol=0.01)
    np.testing.assert_allclose(modes.x[modes.x[:, 0].argmin(), 1:], 0.4, atol=0.01)


@pytest.mark.parametrize("seed", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (4, 5, 6, 7, 8))])
def test_a_normal_eight_scales_away_in_eight_coordinates_is_found(seed):
    """Its basin is too small for draws of the prior and for heated chains; a shift of the vector leads there."""
    modes = find_modes(model=peaks.lasso(8, 0.2), random_seed=seed, progressbar=False)
    assert modes.k == 2
    np.testing.assert_allclose(modes.x[modes.x[:, 0].argmin(), 1:], 1.6, atol=0.01)
