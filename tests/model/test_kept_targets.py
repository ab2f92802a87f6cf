"""A model is compiled once, and again when it or its data change."""

import gc
import weakref

import cloudpickle
import numpy as np
import pymc as pm
import pytest

from pymc_kl.model.target import as_target


@pytest.fixture
def model() -> pm.Model:
    with pm.Model(coords={"group": ["a", "b"]}) as model:
        x = pm.Normal("x", 0, 1, dims="group")
        pm.Normal("y", x[0], 1, observed=pm.Data("data", np.arange(3.0)))
    return model


def test_a_second_call_compiles_nothing(model: pm.Model) -> None:
    target = as_target(model)
    assert as_target(model) is target
    with model:
        assert as_target(None) is target
    assert as_target(model, "numba") is not target
    assert as_target(model) is target


def test_other_data_are_another_density(model: pm.Model) -> None:
    before = as_target(model)
    with model:
        pm.set_data({"data": np.arange(3.0) + 1})
    after = as_target(model)
    x = np.zeros((1, 2))
    assert after.log_density(x) - before.log_density(x) == pytest.approx((0 + 1 + 4 - 1 - 4 - 9) / 2)
    assert as_target(model) is after


def test_what_is_added_to_a_model_is_seen(model: pm.Model) -> None:
    before = as_target(model)
    with model:
        pm.Deterministic("twice", 2 * model["x"])
    assert "twice" in as_target(model).posterior_names
    with model:
        pm.Potential("more", -model["x"][1])
    x = np.ones((1, 2))
    assert as_target(model).log_density(x) - before.log_density(x) == pytest.approx(-1.0)


def test_copies_of_a_model_are_compiled_anew(model: pm.Model) -> None:
    target = as_target(model)
    assert b"pymc_kl.model" not in cloudpickle.dumps(model)
    copied = cloudpickle.loads(cloudpickle.dumps(model))
    assert as_target(copied) is not target
    assert as_target(cloudpickle.loads(cloudpickle.dumps(copied))) is not as_target(copied)
    assert as_target(model.copy()) is not target


def test_a_target_lives_no_longer_than_its_model() -> None:
    with pm.Model() as model:
        pm.Normal("x")
    reference = weakref.ref(as_target(model))
    del model
    gc.collect()
    assert reference() is None
