"""A mode that breaks a symmetry which holds wherever the search began is found, and the symmetry given up."""

import numpy as np
import pytensor.tensor as pt
import pytest
from zoo.problem import LOG_2PI, cancelled_prior, logsumexp_graph

from pymc_kl import find_modes


@pytest.mark.parametrize("seed", [1, 2])
def test_a_narrow_mode_that_has_no_copies(seed):
    def normal(x, loc, sd):
        return -0.5 * pt.sum(((x - loc) / sd) ** 2) - 2 * (np.log(sd) + LOG_2PI / 2)

    def graph(x):
        narrow = np.log(0.1) + normal(x, np.array([-5.0, 3.0]), 0.25)
        return logsumexp_graph(pt.stack([np.log(0.9) + normal(x, np.zeros(2), 1.0), narrow]))

    modes = find_modes(model=cancelled_prior(2, 4.0, graph)(), random_seed=seed, progressbar=False)
    assert modes.k == 2
    assert modes.copies.tolist() == [1, 1]
    near = np.abs(modes.x - [-5.0, 3.0]).max(axis=1).min()
    assert near < 1e-3
    np.testing.assert_allclose(np.sort(np.exp(modes.log_mass_laplace)), [0.1, 0.9], rtol=1e-3)
