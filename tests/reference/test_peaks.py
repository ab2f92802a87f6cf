"""Peaks without a curvature, or with one that misleads, are modes with the masses that they hold."""

import pytest
from zoo import peaks

from pymc_kl import sample_reference
from pymc_kl.model.target import Target


def weighed(model, x=None, seed=1):
    target = Target.from_model(model)
    given = None if x is None else target.to_dataset(x.reshape(4, -1, target.d))
    dt = sample_reference(given, model=target, random_seed=seed, progressbar=False)
    evidence = dt["evidence"].to_dataset()
    return dt["modes"].to_dataset(), float(evidence["log_evidence"]), float(evidence["log_evidence_se"])


def check(model, x=None, seed=1, tolerance=0.0):
    modes, log_z, se = weighed(model, x, seed)
    assert modes.sizes["mode"] == 2
    assert abs(modes["mass"].values - 0.5).max() < 3 * modes["mass_se"].values.max() + tolerance
    assert abs(log_z) < 3 * se + tolerance


def test_a_cusp_beside_a_normal():
    # A point far out in the cusp's tails climbs to the normal: 1.4 % of its draws, 0.007 of the mass, are that mode's.
    check(peaks.cusp(), tolerance=0.007)


def test_a_spike_on_the_top_of_a_hill(rng):
    check(peaks.spike(), peaks.spike_draws(4000, rng))


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [peaks.flat_top(), peaks.flat_top(4, 3), peaks.lasso(), peaks.spike()],
    ids=["flat top", "fourth powers in d = 3", "lasso", "spike, no draws given"],
)
def test_peaks_without_a_curvature(model):
    check(model)
