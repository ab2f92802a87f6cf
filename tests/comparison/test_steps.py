"""A posterior whose density is a staircase: what `compare` still says by the draws given, and what it refuses."""

import numpy as np
import pytest
import xarray as xr
from scipy.special import gammaln
from zoo.edges import COUNTS, change_point

import pymc_kl as pkl
from pymc_kl.model.smoothness import SmoothnessError


@pytest.fixture(scope="module")
def staircase():
    return change_point()


def exact_draws(rng):
    """With k counts before the switch both rates are gamma variables, and the switch is uniform between k - 1 and k."""
    k = np.arange(1, 20)
    before, after = np.cumsum(COUNTS)[k - 1], COUNTS.sum() - np.cumsum(COUNTS)[k - 1]
    log_mass = sum(gammaln(1 + s) - (1 + s) * np.log(1 + n) for s, n in ((before, k), (after, 20 - k)))
    mass = np.exp(log_mass - log_mass.max())
    step = rng.choice(k, (4, 500), p=mass / mass.sum())
    draws = {
        "switch": step - rng.random((4, 500)),
        "early": rng.gamma(1 + before[step - 1], 1 / (1 + step)),
        "late": rng.gamma(1 + after[step - 1], 1 / (21 - step)),
    }
    return xr.Dataset({name: (("chain", "draw"), values) for name, values in draws.items()})


def test_given_draws_are_compared_with_as_they_are(staircase, rng):
    draws = exact_draws(rng)
    comparison = pkl.compare(draws, {}, model=staircase, forward="mixture", random_seed=1, progressbar=False)
    first, second, *_ = pkl.report(comparison).verdict
    assert first.endswith("but the reference cannot be trusted.")
    assert "jumps in `switch`" in second
    modes = comparison["modes"]
    assert modes.sizes["mode"] == 1
    assert modes.attrs["masses_known"] == 0
    assert modes.attrs["n_starts"] == 0
    assert np.isnan(comparison["evidence"]["log_evidence"].item())
    np.testing.assert_allclose(comparison["posterior"]["switch"].values, draws["switch"].values, rtol=1e-12)
    assert comparison["scores"]["khat"].sel(approximation="forward mixture").item() < 0.7


@pytest.mark.parametrize("given", [True, False])
def test_nothing_is_sampled_or_searched(staircase, given, rng):
    draws = exact_draws(rng) if given else None
    for refuse in (pkl.sample_reference, pkl.find_modes):
        with pytest.raises(SmoothnessError, match="jumps in `switch`"):
            refuse(draws, model=staircase, random_seed=1, progressbar=False)
    if not given:
        with pytest.raises(SmoothnessError, match="jumps in `switch`"):
            pkl.compare(model=staircase, approximations={}, random_seed=1, progressbar=False)
