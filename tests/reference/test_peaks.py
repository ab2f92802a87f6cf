"""Peaks without a curvature, or with one that misleads, are modes with the masses that they hold."""

import numpy as np
import pytest
from zoo import peaks

from pymc_kl import find_modes, sample_reference
from pymc_kl.model.target import Target
from pymc_kl.modes.search import search_target


def weighed(model, x=None, seed=1):
    target = Target.from_model(model)
    given = None if x is None else target.to_dataset(x.reshape(4, -1, target.d))
    dt = sample_reference(given, model=target, random_seed=seed, progressbar=False)
    evidence = dt["evidence"].to_dataset()
    return dt["modes"].to_dataset(), float(evidence["log_evidence"]), float(evidence["log_evidence_se"])


def check(model, x=None, seed=1):
    modes, log_z, se = weighed(model, x, seed)
    assert modes.sizes["mode"] == 2
    assert abs(modes["mass"].values - 0.5).max() < 3 * modes["mass_se"].values.max()
    assert abs(log_z) < 3 * se


def share_that_climbs_away(model, x):
    """Share of draws (n, d) of the part about 0 that climb to the other mode."""
    modes = find_modes(model=model, random_seed=1, progressbar=False)
    return np.mean(modes.assign(x) != np.abs(modes.x[:, 0]).argmin())


def test_a_cusp_beside_a_normal(rng):
    """A mode is its basin: points far out in the cusp's tails climb to the normal."""
    modes, log_z, se = weighed(peaks.cusp())
    away = share_that_climbs_away(peaks.cusp(), rng.laplace(size=(20_000, 3)))
    assert 0 < away < 0.02
    truth = 0.5 + 0.5 * away * np.array([-1, 1])[np.argsort(np.argsort(modes["x"].values[:, 0]))]
    assert (abs(modes["mass"].values - truth) < 3 * modes["mass_se"].values).all()
    assert abs(log_z) < 3 * se


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


def test_ends_on_a_flat_top_are_one_maximum_under_a_symmetry_that_is_none():
    """At starts near 0 the two coordinates look exchangeable: then no end on the top is near its own canonical copy."""
    steps = []
    modes = search_target(
        Target.from_model(peaks.mesa(2, 12)), None, {}, rng=np.random.default_rng(4), report=steps.append
    )
    assert modes.k == 2
    assert max(int(step.split()[2]) for step in steps) < 40
