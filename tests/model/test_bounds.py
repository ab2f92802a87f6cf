"""Parameters out of their bounds are told before anything is compiled; those that free variables decide are not."""

import numpy as np
import pymc as pm
import pymc.dims as pmd
import pytest

from pymc_kl.model import Target, target
from pymc_kl.model.bounds import check_bounds

Y = np.zeros(3)
SPOILT = {
    "scale": (lambda: pm.Normal("x", 0, -1), r"'x' must have sigma > 0; got Normal\(0, -1\)"),
    "NaN": (lambda: pm.Normal("x", np.nan, 1 / np.float64(-2)), r"sigma > 0; got Normal\(nan, -0\.5\)"),
    "shape": (lambda: pm.Beta("x", 0, 1), r"alpha > 0, beta > 0; got Beta\(0, 1\)"),
    "moments": (lambda: pm.Gamma("x", mu=1, sigma=-1), r"alpha > 0, beta > 0; got Gamma\("),
    "ends": (lambda: pm.Uniform("x", 2, 1), r"lower <= upper; got Uniform\(2, 1\)"),
    "covariance": (lambda: pm.MvNormal("x", np.zeros(2), cov=1 - 2 * np.eye(2)), "'x' must have posdef covariance"),
    "simplex": (lambda: pm.Dirichlet("x", [1.0, -1.0]), r"a > 0; got Dirichlet\(\[ 1\., -1\.\]\)"),
    "component": (lambda: pm.NormalMixture("x", [0.5, 0.5], [0, 1], [1, -1]), r"sigma > 0; got Mixture\("),
    "likelihood": (lambda: pm.Normal("y", pm.Normal("x"), [1, -2, 3], observed=Y), r"'y' must .* \[ 1, -2,  3\]\)"),
    "data": (lambda: pm.Normal("y", pm.Normal("x"), pm.Data("s", -Y - 1), observed=Y), "'y' must have sigma > 0"),
    "censored": (lambda: pm.Censored("x", pm.Normal.dist(0, -1), lower=-1, upper=1), "'x' must have sigma > 0"),
    "dims": (lambda: pmd.Normal("x", 0, -1), "'x' must have sigma > 0"),
    "of LKJ": (
        lambda: pm.LKJCholeskyCov("x", n=2, eta=1, sd_dist=pm.HalfNormal.dist(-1, shape=2)),
        "'x' must have sigma > 0",
    ),
    "potential": (
        lambda: (pm.Normal("x"), pm.Potential("p", pm.logp(pm.Normal.dist(0, -1), 0.3))),
        "'p' must have sigma > 0; got a potential",
    ),
    "not in the density": (lambda: pm.ZeroSumNormal("x", -1, shape=3), "no initial point: ValueError: scale < 0"),
}  # fmt: skip


def built(add):
    with pm.Model() as model:
        add()
    return model


@pytest.mark.parametrize("name", SPOILT)
def test_what_is_out_of_bounds_is_named_before_compiling(name, monkeypatch):
    add, said = SPOILT[name]
    monkeypatch.setattr(target, "compile_density", None)
    with pytest.raises(ValueError, match=said) as caught:
        Target.from_model(built(add))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "add",
    [
        lambda: pm.Normal("y", 0, pm.Normal("x"), observed=Y),
        lambda: pm.Uniform("y", pm.Normal("low", 1), pm.Normal("high", -1), observed=Y),
        lambda: pm.MvNormal("y", Y, pm.LKJCholeskyCov("x", n=3, eta=1, sd_dist=pm.HalfNormal.dist())[0], observed=Y),
        lambda: pm.Normal("x", 0, [1, np.inf]),
    ],
)
def test_what_the_free_variables_decide_is_left_to_them(add):
    check_bounds(built(add))
