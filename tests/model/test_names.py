"""The answer does not depend on what variables and dims are called: names that PyMC allows, and those of Bambi."""

import re

import bambi as bmb
import numpy as np
import pandas as pd
import pymc as pm
import pytest
from scipy.stats import halfnorm

import pymc_kl as pkl
from pymc_kl.adapters.gaussians import positions
from pymc_kl.model.datatree import check_dims
from pymc_kl.model.table_names import LOCATION, OF_MODES, distinct, free_name, free_var_names
from pymc_kl.model.target import Target
from pymc_kl.plots import plot_divergence_path, plot_modes
from pymc_kl.renyi import divergence_path
from pymc_kl.reports.facts import read_facts
from pymc_kl.reports.verdict import judge

ORDINARY = {"scale": "scale", "effect": "effect", "dim": "group", "free": "free", "total": "total"}
ODD = {
    "bambi": {"scale": "1|g_sigma", "effect": "1|g_offset", "dim": "g__factor_dim", "free": "half", "total": "1|g"},
    "columns": {"scale": "mode", "effect": "mass", "dim": "statistic", "free": "chain", "total": "log_density"},
    "dims": {"scale": "source", "effect": "draw", "dim": "mode", "free": "quantity", "total": "branch"},
    "suffixes": {"scale": "mass", "effect": "mass_location", "dim": "free_dim_0", "free": "free", "total": "order"},
    "markup": {"scale": "", "effect": "a\n<b>", "dim": "<i>", "free": '&" id="#000000', "total": "free[0]"},
}
NAME = re.compile("`[^`]*`")  # of a variable, in a sentence
SUBJECT = np.repeat(np.arange(5), 4)


def named(scale: str, effect: str, dim: str, free: str, total: str) -> pm.Model:
    """Make independent variables, so that the prior is the posterior."""
    with pm.Model(coords={dim: ["a", "b"]}) as model:
        pm.HalfNormal(scale, 1)
        effects = pm.Normal(effect, [0, 1], [1, 2], dims=dim)
        pm.Normal(free, 0.5, 1, shape=2)
        pm.Deterministic(total, effects.sum())
    return model


def exact_draws(n: int) -> np.ndarray:
    """Draw from it, four chains (4, n, 5) of the unconstrained space."""
    z = np.random.default_rng(0).normal(size=(4, n, 5))
    return np.concatenate([np.log(np.abs(z[..., :1])), [0, 1, 0.5, 0.5] + [1, 2, 1, 1] * z[..., 1:]], axis=-1)


class Compared:
    """A comparison and a path of exact draws of the model with these names."""

    def __init__(self, names: dict[str, str]) -> None:
        self.target = Target.from_model(named(**names))
        draws = self.target.to_dataset(exact_draws(500))
        common = {"model": self.target, "random_seed": 1, "progressbar": False}
        self.dt = pkl.compare(draws, {"exact": draws}, forward=("meanfield",), **common)
        self.path = divergence_path(draws, "meanfield", alphas=(0, 1), **common)

    def numbers(self) -> dict[tuple[str, int], np.ndarray]:
        """Return all numbers but timings, by group and place in it."""
        return {
            (node.path, i): variable.values
            for dt in (self.dt, self.path)
            for node in dt.subtree
            for i, (name, variable) in enumerate(node.data_vars.items())
            if variable.dtype.kind in "fi" and name != "seconds"
        }


def locations(compared: Compared) -> np.ndarray:
    """Return where the mode is drawn in each scalar."""
    pc = plot_modes(compared.dt, kind="marginal", max_variables=6, backend="none")
    return np.array([at["x"] for at in pc.viz["location"]["density"].values.ravel()], dtype=float)


@pytest.fixture(scope="module")
def compared():
    """Compare under odd or ordinary names, once each."""
    made: dict[str, Compared] = {}

    def get(case: str) -> Compared:
        if case not in made:
            made[case] = Compared(ODD.get(case, ORDINARY))
        return made[case]

    return get


@pytest.mark.parametrize("case", ODD)
class TestOddNames:
    def test_numbers_are_those_of_ordinary_names(self, case, compared):
        odd, plain = compared(case), compared("ordinary")
        found, expected = odd.numbers(), plain.numbers()
        assert found.keys() == expected.keys()
        assert ("/audit/means", 0) in found
        for place, values in expected.items():
            np.testing.assert_array_equal(found[place], values, err_msg=str(place))
        assert not odd.dt["scores"]["error"].values.any()

    def test_draws_of_a_comparison_are_read_again(self, case, compared):
        odd, plain = compared(case), compared("ordinary")
        np.testing.assert_array_equal(odd.target.unconstrain(odd.dt), plain.target.unconstrain(plain.dt))

    def test_a_report_and_plots_are_made(self, case, compared):
        odd, plain = compared(case), compared("ordinary")
        page = pkl.report(odd.dt)
        assert "could not be drawn" not in page.html
        expected = tuple(NAME.sub("", sentence.text) for sentence in judge(read_facts(plain.dt)))
        assert tuple(NAME.sub("", sentence) for sentence in page.verdict) == expected
        panels = plot_divergence_path(odd.path, max_variables=6, backend="none").viz["plot"]["panel"].values
        assert len({*panels}) == 8
        np.testing.assert_array_equal(locations(odd), locations(plain))


def test_variables_are_chosen_by_the_names_that_draws_have(compared):
    """Here tables of ours have a `source` and a `mode`, and `draw` is no name for a variable of draws."""
    odd = compared("dims")
    asked = {"var_names": ["source", "draw_of_model"], "coords": {"mode": ["b"]}}
    page = pkl.report(odd.dt, **asked).html
    assert "source_of_model" in page
    assert "draw_of_model[b]" in page
    assert "draw_of_model[a]" not in page.replace("<code>draw_of_model[a]</code>", "")  # R-hat's worst, above all else
    assert "quantity[0]" not in page
    assert plot_modes(odd.dt, kind="pair", backend="none", **asked).viz["plot"].sizes["approximation"] == 2
    panels = plot_divergence_path(odd.path, var_names="~branch", coords={"mode": ["b"]}, backend="none").viz["plot"]
    assert "draw_of_model[b]" in panels["panel"].values
    assert "draw_of_model[a]" not in panels["panel"].values


def test_names_in_pictures_are_no_markup(compared):
    page = pkl.report(compared("markup").dt, var_names=['&" id="#000000', ""]).html
    assert '&amp;" id="#000000[0]</text>' in page


def test_a_table_s_names_for_variables_are_its_own_and_no_two_alike():
    names = ["x", "mode", "mode_of_model", "mode_location", "mass", "x_location", "mode_of_model_location"]
    for suffix in ("_of_model", LOCATION):
        new = [free_name(name, OF_MODES, suffix) for name in names]
        assert len({*new}) == len(names)
        assert not {*new} & {*OF_MODES}
        assert new[0] == "x"
        assert new[5] == "x_location"
    assert free_var_names(["~mode", "x"], OF_MODES) == ["~mode_of_model", "x"]


def test_no_column_of_the_modes_is_left_out_of_its_names(compared):
    plain = compared("ordinary")
    reference = pkl.sample_reference(plain.dt, model=plain.target, draws=50, random_seed=1, progressbar=False)
    for dt in (plain.dt, reference):
        assert {*dt["modes"].variables} - {*plain.dt["posterior"].variables} <= {*OF_MODES}


def test_a_deterministic_may_be_called_like_an_unconstrained_variable():
    with pm.Model() as model:
        scale = pm.HalfNormal("scale")
        pm.Deterministic("scale_log__", 2 * scale)
    target = Target.from_model(model, gradient=False)
    x = np.random.default_rng(0).normal(size=(2, 5, 1))
    np.testing.assert_allclose(target.unconstrain(target.to_dataset(x)), x, rtol=1e-12)


@pytest.mark.parametrize(
    "labels", [("a", "a"), ("", "/"), (None, float("nan")), ("a", 1), (True, False), ((1, 2), ("a", None))]
)
def test_draws_are_read_again_whatever_labels_are(labels):
    with pm.Model(coords={"g": labels}) as model:
        pm.Normal("x", dims="g")
    target = Target.from_model(model, gradient=False)
    x = np.random.default_rng(0).normal(size=(2, 5, 2))
    np.testing.assert_array_equal(target.unconstrain(target.to_dataset(x)), x)


def test_a_deterministic_may_leave_a_dim_without_a_name():
    with pm.Model(coords={"g": ["a", "b"]}) as model:
        x = pm.Normal("x", dims="g")
        pm.Deterministic("outer", x[:, None] * np.ones(3), dims=("g", None))
    target = Target.from_model(model, gradient=False)
    check_dims(target)
    assert target.to_dataset(np.zeros((1, 2, 2)))["outer"].dims == ("chain", "draw", "g", "outer_dim_1")


def test_equal_labels_are_numbered():
    assert distinct(["a[0]", "a[0]", "mass"], ("mass",)) == ["a[0]", "a[0] (2)", "mass (2)"]


def test_a_variable_may_be_called_like_an_element_of_another():
    with pm.Model() as model:
        pm.Normal("mu", shape=2)
        pm.Normal("mu[a]")
    target = Target.from_model(model, gradient=False)
    assert positions(["mu[0]", "mu[a]", "mu[1]"], target).tolist() == [0, 2, 1]


def test_a_symmetry_may_be_that_of_a_dim_called_none():
    with pm.Model(coords={"None": ["a", "b", "c"]}) as model:
        x = pm.Normal("x", 0, 1, dims="None")
        pm.Potential("sum", -((x.sum() - 1) ** 2))
    found = pkl.find_modes(model=model, symmetry=["None"], n_starts=64, random_seed=1, progressbar=False)
    assert [c.name for c in found.symmetry.classes] == ["None"]


@pytest.fixture(scope="module")
def measurements() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    x, level = rng.normal(size=20), rng.normal(0, 0.7, 5)
    y = 1 + 0.5 * x + level[SUBJECT] + rng.normal(0, 0.5, 20)
    return pd.DataFrame({"y": y, "x": x, "subject": pd.Categorical(SUBJECT)})


@pytest.fixture(scope="module")
def of_bambi(measurements):
    half = bmb.Prior("HalfNormal", sigma=1)
    priors = {
        "Intercept": bmb.Prior("Normal", mu=0, sigma=2),
        "x": bmb.Prior("Normal", mu=0, sigma=1),
        "1|subject": bmb.Prior("Normal", mu=0, sigma=half),
        "sigma": half,
    }
    model = bmb.Model("y ~ x + (1|subject)", measurements, priors=priors)
    model.build()
    with model.backend.model:
        return pkl.compare(None, {}, forward=("meanfield",), random_seed=1, progressbar=False)


@pytest.fixture(scope="module")
def truth(measurements):
    """log Z, and mean and sd of how much subjects differ; Bambi centres x."""
    x, y = measurements["x"] - measurements["x"].mean(), measurements["y"].to_numpy()
    log_s, log_t = np.linspace(-2.5, 1.5, 40), np.linspace(-8, 1.8, 60)
    s, t = np.meshgrid(np.exp(log_s), np.exp(log_t), indexing="ij")
    covariance = 2**2 + np.outer(x, x) + np.multiply.outer(s**2, np.eye(20))
    covariance += np.multiply.outer(t**2, SUBJECT[:, None] == SUBJECT)
    squares = np.linalg.solve(covariance, np.broadcast_to(y[:, None], (40, 60, 20, 1)))[..., 0] @ y
    log_p = -0.5 * (np.linalg.slogdet(2 * np.pi * covariance)[1] + squares) + np.log(s * t)
    p = np.exp(log_p + halfnorm.logpdf(s) + halfnorm.logpdf(t))
    mean = (p * t).sum() / p.sum()
    sd = np.sqrt((p * (t - mean) ** 2).sum() / p.sum())
    return np.log(p.sum() * np.diff(log_s)[0] * np.diff(log_t)[0]), mean, sd


class TestBambi:
    """A group term. Given both standard deviations all is normal, so that the rest is a sum over these two."""

    def test_log_evidence(self, of_bambi, truth):
        evidence = of_bambi["evidence"].to_dataset()
        assert abs(float(evidence["log_evidence"]) - truth[0]) < 5 * float(evidence["log_evidence_se"])

    def test_how_much_subjects_differ(self, of_bambi, truth):
        row = of_bambi["parameters"]["1|subject_sigma"].sel(source="reference")
        for name, value in (("mean", truth[1]), ("sd", truth[2])):
            assert abs(float(row.sel(statistic=name)) - value) < 5 * float(row.sel(statistic=f"{name}_se"))

    def test_tables_and_the_report_have_its_names(self, of_bambi):
        assert of_bambi["posterior"]["1|subject_offset"].dims == ("chain", "draw", "subject__factor_dim")
        assert not pkl.summary(of_bambi, kind="all")["error"].any()
        assert pkl.coverage(of_bambi, values=["verdict"])["forward meanfield", "verdict"].tolist() == ["covered", ""]
        assert "1|subject_sigma" in pkl.report(of_bambi, var_names="1|subject_sigma").html
