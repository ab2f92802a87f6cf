"""Peaks without a curvature, or with one that misleads, are modes with the masses that they hold."""

import numpy as np
import pymc as pm
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


def test_chains_move_between_a_hill_and_one_below_a_sharp_spike(rng):
    """Hardly a draw is as high as the spike is narrow, and the masses that draws counted were not known."""
    target = Target.from_model(peaks.spike(0.001, 1e-5))
    x = peaks.spike_draws(4000, rng).reshape(4, -1, 3)
    moves = np.diff(x[..., 0] > 6, axis=1).sum()
    audit = sample_reference(target.to_dataset(x), model=target, random_seed=1, progressbar=False)["audit"]
    assert moves / 10 < audit["crossings"].sum() <= moves
    assert audit.attrs["masses_known"]


@pytest.mark.parametrize("seed", [0, 8])
def test_a_ridge_a_ten_thousandth_as_wide_has_a_scale(seed):
    """Its precision has no inverse in floating point that is positive definite."""
    with pm.Model() as model:
        x = pm.Normal("x", shape=3)
        pm.Normal("y", x.sum(), 1e-4)
    _, log_z, se = weighed(model, seed=seed)
    assert abs(log_z) < 3 * se


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
