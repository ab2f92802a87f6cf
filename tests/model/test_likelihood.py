"""The pointwise log likelihood of many draws at once is that of PyMC, draw by draw."""

import numpy as np
import pymc as pm
import pytest
import xarray as xr

from pymc_kl.model import likelihood
from pymc_kl.model.likelihood import LogLikelihood


def several() -> pm.Model:
    """Observed variables of two shapes, one multivariate, one that no parameter touches, with transforms and dims."""
    rng = np.random.default_rng(1)
    with pm.Model(coords={"group": ["a", "b", "c"]}) as model:
        scale = pm.HalfNormal("scale", 1)
        effect = pm.Normal("effect", 0, scale, dims="group")
        share = pm.Beta("share", 2, 2)
        twice = pm.Deterministic("twice", 2 * effect, dims="group")
        pm.Normal("y", twice, scale, observed=rng.normal(size=3), dims="group")
        pm.MvNormal("pair", pm.math.stack([scale, share]), np.eye(2), observed=rng.normal(size=(4, 2)))
        pm.Bernoulli("success", logit_p=effect[0], observed=np.array([[0, 1], [1, 1]]))
        pm.Normal("fixed", 0, 1, observed=[0.3])
    return model


def draws_of(model: pm.Model, n: int) -> xr.Dataset:
    with model:
        prior = pm.sample_prior_predictive(n, random_seed=1)["prior"].to_dataset()
    return prior.isel(draw=slice(n // 2)).drop_vars("chain").isel(chain=0).expand_dims(chain=[0])


def test_it_is_that_of_pymc():
    model = several()
    draws = draws_of(model, 40)
    theirs = pm.compute_log_likelihood(
        xr.DataTree.from_dict({"posterior": draws}), model=model, extend_inferencedata=False, progressbar=False,
        compile_kwargs={"mode": "FAST_COMPILE"},
    )  # fmt: skip
    ours = LogLikelihood.of_model(model)(draws)
    assert ours.sizes == {"sample": 20, "observation": 3 + 4 + 4 + 1}
    for name in ("y", "pair", "success", "fixed"):
        flat = theirs[name].transpose("chain", "draw", ...).values.reshape(20, -1)
        mine = ours.values[:, [str(o).startswith(name) for o in ours["observation"].values]]
        np.testing.assert_allclose(mine, flat, rtol=1e-10, atol=1e-12)
    assert ours["observation"].values.tolist()[:5] == ["y[a]", "y[b]", "y[c]", "pair[0]", "pair[1]"]
    assert ours["observation"].values[-2] == "success[1, 1]"


def test_batches_change_nothing(monkeypatch):
    model = several()
    draws = draws_of(model, 40)
    log_likelihood = LogLikelihood.of_model(model, "y")
    whole = log_likelihood(draws)
    monkeypatch.setattr(likelihood, "MOST_AT_ONCE", 10)
    xr.testing.assert_identical(log_likelihood(draws), whole)


def test_what_has_none_is_refused():
    with pm.Model() as model:
        x = pm.Normal("x")
        pm.Potential("p", -(x**2))
    with pytest.raises(ValueError, match="no observed variables"):
        LogLikelihood.of_model(model)
    with pytest.raises(ValueError, match="unknown observed variable 'z' in var_name; known are 'y', 'pair'"):
        LogLikelihood.of_model(several(), "z")
    with pytest.raises(ValueError, match="no variable 'effect'"):
        LogLikelihood.of_model(several())(draws_of(several(), 10).drop_vars("effect"))
