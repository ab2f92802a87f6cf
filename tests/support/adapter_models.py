"""One small model with every kind of transform, for fits and draws of other packages, and what each is held to."""

from contextlib import AbstractContextManager

import numpy as np
import pymc as pm
import pytensor
import xarray as xr
from pymc.distributions.transforms import ordered

from pymc_kl.model.target import Target

COORDS = {"part": ["a", "b", "c"], "group": ["u", "v"]}
Y, PACE = np.array([0.5, -0.3]), np.array([1.7, 2.2])
N, K = 20, 8
CONCENTRATION, CUT_LOC = np.array([4.0, 5.0, 6.0]), np.array([-1.0, 1.0])


def build_model() -> pm.Model:
    """Hold a simplex, an ordered and two bounded variables and a positive one; freezing permutes its variables."""
    with pm.Model(coords=COORDS) as model:
        pm.Dirichlet("w", CONCENTRATION, dims="part")
        cut = pm.Normal("cut", CUT_LOC, 0.5, dims="group", transform=ordered, initval=CUT_LOC)
        share = pm.Beta("share", 5.0, 4.0)
        speed = pm.Uniform("speed", 1.0, 3.0, dims="group")
        scale = pm.Gamma("scale", 6.0, 4.0)
        mu = pm.Normal("mu", cut, scale, dims="group")
        pm.Normal("y", mu, 0.5, observed=Y)
        pm.Normal("pace", speed, 0.3, observed=PACE)
        pm.Binomial("k", N, share, observed=K)
        pm.Deterministic("twice", 2 * mu, dims="group")
    return model


def other_model() -> pm.Model:
    """Share the name of one variable with the model above, of another size, and nothing else."""
    with pm.Model() as model:
        pm.Normal("mu", shape=3)
        pm.Normal("unknown")
    return model


def quickly() -> AbstractContextManager:
    """Compile in seconds instead of minutes: the fits are tested for how they are read, not for their speed."""
    return pytensor.config.change_flags(mode="FAST_COMPILE")


def unconstrained(tree: xr.DataTree, target: Target) -> np.ndarray:
    """Draws (n, d) of a fit in the order of the target, from the model's own space, by name."""
    return target.unconstrain(tree["posterior"].to_dataset()).reshape(-1, target.d)


def assert_moments(x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> None:
    """Mean and covariance of independent Gaussian draws are within five standard errors."""
    n, variance = len(x), np.diag(covariance)
    error = (x.mean(axis=0) - mean) / np.sqrt(variance / n)
    np.testing.assert_array_less(np.abs(error), 5)
    spread = np.sqrt((np.outer(variance, variance) + covariance**2) / n)
    np.testing.assert_array_less(np.abs(np.cov(x.T) - covariance) / spread, 5)


def assert_same_draws(x: np.ndarray, theirs: dict[str, np.ndarray], target: Target, rtol: float = 1e-9) -> None:
    """Draws (n, d) are those of another package in the model's own space, {name: (n, ...)}, in the same order."""
    ours = target.constrain(x)
    assert {v.name for v in target.variables} <= theirs.keys()
    for v in target.variables:
        np.testing.assert_allclose(ours[v.name], np.asarray(theirs[v.name]), rtol=rtol, atol=rtol)
