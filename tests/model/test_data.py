"""Data that spoil the density are named before anything is compiled; those that do no harm are left alone."""

import numpy as np
import pymc as pm
import pymc.dims as pmd
import pytensor.tensor as pt
import pytest

from pymc_kl.model import target as target_module
from pymc_kl.model.target import Target

GOOD = np.arange(5.0)
INF, NAN = (np.where(GOOD == 3, bad, GOOD) for bad in (np.inf, np.nan))


def covariate(x=GOOD, y=GOOD):
    pm.Normal("y", pm.Normal("a") + pm.Normal("b") * x, 1.0, observed=y)


def changed_to_nan():
    covariate(pm.Data("x", GOOD))
    pm.set_data({"x": NAN})


def observed_changed_to_nan():
    covariate(y=pm.Data("seen", GOOD))
    pm.set_data({"seen": NAN})


def design():
    pm.Normal("y", pm.math.dot(pm.Data("X", np.where(np.eye(5), np.inf, 1.0)), pm.Normal("b", shape=5)), observed=GOOD)


def of_a_potential():
    pm.Normal("a")
    pm.Potential("y", -pm.Data("x", np.array(np.inf)))


def of_a_prior():
    covariate(pm.Normal("x", pm.Data("centre", INF)))


def with_dims():
    model = pm.modelcontext(None)
    model.add_coord("obs", range(5))
    pmd.Normal("y", pmd.Normal("a") * pmd.Data("x", INF, dims="obs"), 1.0, observed=pmd.as_xtensor(GOOD, dims=("obs",)))


SPOILT = [
    (lambda: covariate(pm.Data("x", INF)), r"the data 'x' are inf at \[3\], .* log density of 'y' is NaN"),
    (lambda: covariate(y=pm.Data("seen", INF)), r"the observed values of 'y' are inf at \[3\].* 'y' is -inf"),
    (lambda: covariate(y=INF), r"the observed values of 'y' are inf at \[3\]"),
    (lambda: covariate(NAN), r"constants that 'y' is made from are nan at \[3\]"),
    (changed_to_nan, r"the data 'x' are nan at \[3\]"),
    (observed_changed_to_nan, r"the observed values of 'y' are nan at \[3\]"),
    (design, r"the data 'X' are inf at \[0, 0\], \[1, 1\], \[2, 2\], …"),
    (of_a_potential, "the data 'x' are inf, so that the log density of 'y' is -inf"),
    (of_a_prior, r"the data 'centre' are inf at \[3\], so that the log density of 'x'"),
    (with_dims, r"the data 'x' are inf at \[3\]"),
]  # fmt: skip


@pytest.mark.parametrize(("add", "said"), SPOILT)
def test_what_spoils_the_density_is_named_before_compiling(add, said, monkeypatch):
    monkeypatch.setattr(target_module, "compile_density", lambda *_, **__: pytest.fail("compiled"))
    with pm.Model() as model:
        add()
    with pytest.raises(ValueError, match=said):
        Target.from_model(model)


def bounds():
    pm.Censored("y", pm.Normal.dist(pm.Normal("a")), lower=None, upper=pm.Data("u", np.full(5, np.inf)), observed=GOOD)


def masked():
    x = pm.Data("x", GOOD)
    pm.Normal("y", pm.Normal("a") + pt.switch(pt.isinf(x), 0.0, x), observed=GOOD)
    pm.set_data({"x": INF})


def imputed():
    with pytest.warns(pm.exceptions.ImputationWarning):
        covariate(y=NAN)


@pytest.mark.parametrize("add", [bounds, masked, imputed])
def test_what_does_no_harm_is_left_alone(add):
    with pm.Model() as model:
        add()
    target = Target.from_model(model, gradient=False)
    assert np.isfinite(target.log_density(target.initial_point()[None])).all()
