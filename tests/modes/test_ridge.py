"""Why there is no proper maximum is named: a wall, a rotation, a ridge, or a rise without end."""

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from zoo.hard_models import probabilistic_pca

from pymc_kl.model.target import Target
from pymc_kl.modes.ridge import _rise, behind_a_wall, free_rotation, why_no_maximum


def why(model, rng, scale=0.3):
    target = Target.from_model(model)
    return why_no_maximum(target, target.initial_points(100, rng), scale * np.eye(target.d))


def test_a_rotation_is_named(rng):
    assert why(probabilistic_pca(), rng) == "the posterior is not identified along a rotation of `W` (axis 1)"


def test_factors_rotate_with_their_loadings(rng):
    y = rng.normal(size=(12, 4))
    with pm.Model() as model:
        loadings, scores = pm.Normal("loadings", 0, 3, shape=(4, 2)), pm.Normal("scores", 0, 1, shape=(12, 2))
        pm.Normal("y", scores @ loadings.T, 0.3, observed=y)
    assert why(model, rng).endswith("along a rotation of `loadings` (axis 1) and `scores` (axis 1)")


def test_a_wall_is_named_and_no_rotation_within_it(rng):
    with pm.Model() as model:
        x = pm.Normal("x", shape=2)
        pm.Normal("z")
        pm.Potential("wall", pt.switch(x[0] > 0.5, 0.0, -np.inf))
    target = Target.from_model(model)
    x = np.column_stack([0.5 + rng.exponential(0.5, 100), rng.normal(size=(100, 2))])
    assert why_no_maximum(target, x, np.eye(3)).startswith("the density is cut to zero beyond a wall in `x`, which")
    assert free_rotation(target, x, np.eye(3)) == ""
    assert behind_a_wall(target, x + np.array([5, 0, 0]), np.eye(3)) == ""


def test_a_ridge_is_named(rng):
    with pm.Model() as model:
        a, b = pm.Flat("a"), pm.Flat("b")
        pm.Normal("c")
        pm.Normal("y", a * b, 0.1, observed=1.0)
    target = Target.from_model(model)
    x = np.column_stack([rng.uniform(0.5, 2, (50, 2)), rng.standard_normal(50)])
    said = why_no_maximum(target, x, np.diag([0.3, 0.3, 1.0]))
    assert said.startswith("the log density is flat along a ridge in ")
    assert set(said.rpartition(" in ")[2].split(" and ")) == {"`a`", "`b`"}


def test_a_rise_without_end_is_named(zoo, rng):
    _, target = zoo("eight_schools_centred")
    x = target.initial_points(100, rng)
    assert "goes on rising as `tau_log__` → -∞" in why_no_maximum(target, x, np.diag(x.std(axis=0)))


def test_a_proper_maximum_has_nothing_to_say(zoo, rng):
    for name in ("two_modes", "equicorrelated_10", "labels"):
        _, target = zoo(name)
        assert why_no_maximum(target, target.initial_points(100, rng), np.eye(target.d)) == ""


def test_a_climb_that_only_came_from_far_off_is_no_rise(zoo):
    """It went 30 standard deviations along `mu`, where log p̃ rises no more, and 20 along `tau_log__`, where it does."""
    _, target = zoo("eight_schools_centred")
    away, slope = np.zeros((2, target.d)), np.zeros((2, target.d))
    mu, tau = (target.labels.index(name) for name in ("mu", "tau_log__"))
    away[:, mu], away[:, tau], slope[:, mu], slope[:, tau] = 30, -20, 1e-6, -7
    assert "as `tau_log__` → -∞: at" in _rise(target, away, slope)
