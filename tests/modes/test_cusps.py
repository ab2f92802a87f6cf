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
