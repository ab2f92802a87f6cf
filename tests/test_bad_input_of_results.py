"""Mistakes with what the package itself returned: predictions, stacking, evidences, sweeps, quantities, files of them.

As in `test_bad_input.py`, each is told by the argument's name before anything is compiled. Here the comparison is real.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from test_bad_input import DRAWS, MODEL, refused

import pymc_kl as pkl
from pymc_kl.cli import main
from pymc_kl.comparison import compare_models
from pymc_kl.prediction import elpd_table, predict, predictive_checks, stack, tell_modes_apart
from pymc_kl.reports import changes_since, verdict_data
from pymc_kl.sweeps import load_sweep, sweep, sweep_report, sweep_table

DATA = [0.1, 0.9, 1.4, 2.0]
QUIET: dict[str, Any] = {"reverse": (), "forward": "meanfield", "random_seed": 1, "progressbar": False}


def normal(name="mu", observed=("y",)):
    with pm.Model() as model:
        mean = pm.Normal(name, 0, 10)
        for each in observed:
            pm.Normal(each, mean, 1, observed=DATA)
    return model


def of_mu(values, dims=("chain", "draw")):
    return xr.Dataset({"mu": (dims, values)})


ONE = normal()
TWO = normal(observed=("y", "z"))
OTHER = normal("alpha")
UNSEEN = normal(observed=())
CHAINS = of_mu(np.random.default_rng(1).normal(1.1, 0.5, (4, 250)))
LACKS = "has no variable 'alpha', which is free in this model.* Give the model that it is of"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A comparison, and a sweep and its folder."""
    folder = tmp_path_factory.mktemp("sweep") / "made"
    swept = sweep({"a": ONE}, store=folder, **QUIET)
    return SimpleNamespace(c=pkl.load(next(folder.glob("*.nc"))), swept=swept, folder=folder, new=folder.parent / "new")


ROWS: list[tuple[Callable[[Any], Any], str]] = [
        (lambda m: predict(m.c, OTHER), f"^comparison {LACKS}"),
        (lambda m: predict(m.c, UNSEEN), "the model has no observed variables"),
        (lambda m: predict(m.c), "no model: call this inside `with model:`"),
        (lambda m: predict(m.c, "model"), "model must be a pm.Model; got str"),
        (lambda m: predict(ONE, m.c), "comparison must be the DataTree that compare"),
        (lambda m: predict([m.c], ONE), "comparison must be the DataTree that compare"),
        (lambda m: predict(m.swept, ONE), "comparison is a DataTree, but no comparison"),
        (lambda m: predict(m.c, ONE, var_name="yy"), "unknown observed variable 'yy' in var_name.* Did you mean 'y'"),
        (lambda m: predict(m.c, ONE, var_name="mu"), "unknown observed variable 'mu' in var_name"),
        (lambda m: predict(m.c, ONE, var_name=["y"]), r"var_name must be a str; got \['y'\]"),
        (lambda m: predict(m.c, ONE, var_name=""), "unknown observed variable '' in var_name"),
        (lambda m: predict(m.c, ONE, idata=DRAWS), "^idata has no variable 'mu'.* it has .'x'.. Give the model"),
        (lambda m: predict(m.c, ONE, idata=xr.Dataset()), "^idata has no variable 'mu'"),
        (lambda m: predict(m.c, ONE, idata="nowhere.nc"), "idata, .*: there is no such file"),
        (lambda m: predict(m.c, ONE, idata=ONE), "idata, the first argument of predict, must be draws"),
        (lambda m: predict(m.c, ONE, idata=xr.DataTree()), "the DataTree has no posterior group"),
        (lambda m: predictive_checks(m.c, OTHER), f"^comparison {LACKS}"),
        (lambda m: predictive_checks(m.c, ONE, draws=10**7), "draws must be at most [0-9,]+; got 10000000"),
        (lambda m: predictive_checks(m.c, ONE, var_name="yy"), "unknown observed variable 'yy' in var_name"),
        (lambda m: predictive_checks(m.c, TWO), "several observed variables: give var_name, one of 'y', 'z'"),
        (lambda m: predictive_checks(CHAINS, ONE), "comparison must be the DataTree that compare"),
        (lambda m: tell_modes_apart(m.c, ONE), "only one mode"),
        (lambda m: tell_modes_apart(ONE, m.c), "comparison must be the DataTree that compare"),
        (lambda m: stack(ONE, CHAINS), r"idata, the first argument of stack, must be draws.* Write stack\(..., model="),
        (lambda m: stack(CHAINS, OTHER), f"^idata {LACKS}"),
        (lambda m: stack(xr.Dataset(), ONE), "^idata has no variable 'mu'"),
        (lambda m: stack(DRAWS, ONE), "^idata has no variable 'mu'"),
        (lambda m: stack(CHAINS.isel(chain=[0]), ONE), "stacking needs two chains with draws; idata has 1"),
        (lambda m: stack(of_mu(1.0, ()), ONE), r"idata must have dims \(chain, draw, \.\.\.\); it has \[\]"),
        (lambda m: stack(CHAINS, ONE, by="mode"), "modes are stacked of what sample_reference"),
        (lambda m: stack(CHAINS, ONE, by=["mode"]), "by must be one of 'chain', 'mode'"),
        (lambda m: stack(CHAINS, ONE, var_name="mu"), "unknown observed variable 'mu' in var_name"),
        (lambda m: stack(np.zeros((4, 250)), ONE), "idata, the first argument of stack, must be draws"),
        (lambda m: stack({"a": m.c, "b": m.c}, ONE), "idata, the first argument of stack, must be draws"),
        (lambda m: elpd_table(m.c), "prediction must be a Dataset"),
        (lambda m: elpd_table(CHAINS), "prediction must be what predict.* returns; it lacks 'diff', 'elpd'"),
        (lambda m: elpd_table(None), "prediction must be a Dataset"),
        (lambda m: compare_models([m.c, m.c]), "comparisons must be a dict of comparisons"),
        (lambda m: compare_models({}), "comparisons must hold at least 2 comparisons; got 0"),
        (lambda m: compare_models(m.swept), "comparisons must be a dict of comparisons"),
        (lambda m: compare_models({"a": ONE, "b": TWO}), r"comparisons\['a'\] must be the DataTree"),
        (lambda m: compare_models({"a": m.c, "b": "nowhere.nc"}), "nowhere.nc"),
        (lambda m: compare_models({"a": m.c, "b": m.swept}), r"comparisons\['b'\] is a DataTree, but no comparison"),
        (lambda m: compare_models({"a": 0.5, "b": 0.5}, prior={"a": m.c, "b": m.c}), "prior must be a number"),
        (lambda m: compare_models({"a": m.c, "b": m.c}, prior=[0.5, 0.5]), "prior must be a dict with a weight for"),
        (lambda m: compare_models({"a": m.c, "b": m.c}, prior={"a": np.nan, "b": 1}), "prior must be .*; got nan"),
        (lambda m: compare_models({"a": m.c, "b": m.c}, prior={"a": True, "b": 1}), "prior must be a number; got True"),
        (lambda m: compare_models({"a": m.c, "b": m.c}, prior={"a": -1, "b": 1}), "prior must be above 0; got -1"),
        (lambda m: compare_models({"a": m.c, "b": m.c}, round_to="atuo"), "Did you mean 'auto'"),
        (lambda m: changes_since(m.c, CHAINS), "baseline must be the DataTree that compare"),
        (lambda m: verdict_data(m.swept), "comparison is a DataTree, but no comparison"),
        (lambda m: pkl.summary(m.swept), "comparison is a DataTree, but no comparison"),
        (lambda m: pkl.report(m.swept), "comparison is a DataTree, but no comparison"),
        (lambda m: pkl.load(m.folder), "can't be read as a comparison|must be|is a folder"),
        (lambda m: load_sweep(m.c), "store must be the path of a file; got a value of type DataTree"),
        (lambda m: load_sweep(m.folder.parent), "is there and is no sweep"),
        (lambda m: sweep_table(m.c), "swept must be what sweep"),
        (lambda m: sweep_table(m.folder), "swept must be what sweep"),
        (lambda m: sweep_report(m.c), "swept must be what sweep"),
        (lambda m: sweep_report(m.swept, "page.txt"), r"the path of a report must end in \.html; got 'page\.txt'"),
        (lambda m: sweep_report(m.swept, m.folder), "is a folder; name a file in it"),
        (lambda m: sweep({"a": ONE}, store=m.folder, **QUIET | {"random_seed": 2}), "another seed. Leave out random_s"),
        (lambda m: sweep({"a": ONE}, store=m.folder, **QUIET | {"forward": "fullrank"}), r"settings \(forward='meanf"),
        (lambda m: sweep({"a": ONE}, store=m.new, quantities=["nope"]), "unknown variable 'nope' in q"),
        (lambda m: sweep({"a": ONE}, store=m.new, quantities=["mu"] * 2), "'mu' came more than once"),
        (lambda m: sweep({"a": ONE}, store=m.new, symmetry=["nope"]), "a symmetry is named by a dim"),
        (lambda m: sweep({"a": {"model": ONE, "quantities": ["muu"]}}, store=m.new), "Did you mean 'mu'"),
        (lambda m: sweep([ONE], store=m.new), "cells must be a dict of models by name"),
        (lambda m: sweep({"n": [1]}, lambda n: ONE, store=m.new), "grid is for a function"),
        (lambda m: sweep(dict, {"n": [1]}, store=m.new), "cells must be a function of Python"),
        (
            lambda m: sweep(lambda **k: ONE, {c: range(10) for c in "abcdef"}, store=m.new),
            "grid must have at most 100,000 cells, one a combination; it has 1,000,000",
        ),
        (lambda m: sweep(lambda n: ONE, {"n": (1, [])}, store=m.new), r"grid\['n'\] must hold texts"),
        (lambda m: sweep({"a": ONE}, store="s3://b/c"), "store must be a path on this machine"),
        (lambda m: sweep({"a": ONE}, store=m.new, cores=True), "cores must be a whole number"),
        (lambda m: pkl.compare(CHAINS, model=ONE, quantities=["mu", "mu"]), "'mu' came more than once"),
        (lambda m: pkl.compare(CHAINS, model=ONE, quantities="mu > 0"), "unknown variable 'mu > 0' in quantities"),
        (lambda m: pkl.compare(CHAINS, model=ONE, quantities=["y"]), "unknown variable 'y' in quantities"),
        (lambda m: pkl.compare(CHAINS, model=ONE, quantities=""), "unknown variable '' in quantities"),
        (lambda m: pkl.compare(CHAINS, model=ONE, quantities={"mu"}), "quantities must be names of variables"),
        (lambda m: pkl.compare(CHAINS, model=ONE, quantities=[["mu"]]), "quantities must be names of variables"),
        (lambda m: pkl.compare(CHAINS, model=ONE, quantities={"a": {}}), "quantities must be names of variables"),
        (lambda m: pkl.compare(CHAINS, model=MODEL, quantities=b"k"), "quantities must be names of variables"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), ROWS)
def test_mistakes_with_results_are_answered(made, call, message):
    with refused(message, OSError):
        call(made)
    assert not made.new.exists()


def test_a_quantity_that_changes_what_it_is_given_changes_no_other():
    def changes(posterior):
        posterior["mu"] = posterior["mu"] * 0
        return posterior["mu"]

    asked = {"changes": changes, "mu": "mu"}
    dt = pkl.compare(CHAINS, {}, model=ONE, forward=(), quantities=asked, random_seed=1, progressbar=False)
    assert dt["quantities"]["mean"].sel(source="reference", quantity="mu").item() == pytest.approx(1.1, abs=0.2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--seed", "-1"], "random_seed must be at least 0; got -1"),
        (["report", "c.nc", "-o", "page.pdf"], "the path of a report must end in .html; got 'page.pdf'"),
        (["report", "c.nc", "-o", "."], "is a folder"),
        (["report", "c.nc", "--ci-prob", "2"], "ci_prob must be above 0 and below 1; got 2"),
        (["report", "c.nc", "--round-to", "-1"], "round_to must be at least 0; got -1"),
        (["report", "c.nc", "--var-names", "nope"], "nope"),
        (["summary", "c.nc", "--baseline", "nowhere.nc"], "no such comparison: nowhere.nc"),
        (["compare", "m.py:model", "--baseline", "c.nc"], f"--baseline {LACKS.split('.*')[0]}"),
        (["compare", "m.py:model", "--draws", "d.csv"], "a file of draws must be NetCDF (.nc) or Zarr (.zarr)"),
        (["compare", "m.py:", "--quiet"], "no pm.Model named ''"),
        (["compare", "m.py:modle", "--quiet"], "no pm.Model named 'modle'; it has ['model']"),
        (["compare", "d.csv:model", "--quiet"], "the model's file must be one of Python"),
        (["compare", "m.py:model", "--quiet", "--reverse", "advi", "advi"], "'advi' came more than once"),
        (["compare", "m.py:model", "--quiet", "--budget", "nan"], "budget must be above 0"),
        (["compare", "m.py:model", "--quiet", "--quantity", "a", "--quantity", "a"], "unknown variable 'a' in"),
    ],
)  # fmt: skip
def test_commands_exit_with_two_before_the_work(made, arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pkl.save(made.c, "c.nc")
    (tmp_path / "d.csv").touch()
    (tmp_path / "m.py").write_text("import pymc as pm\nwith pm.Model() as model:\n    pm.Normal('alpha')\n")
    assert main(arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"c.nc", "d.csv", "m.py"}


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        (["demo", "--out", "http://a.org/x"], "--out"),
        (["summary", "http://a.org/c.nc"], "comparison"),
        (["report", "c.nc", "-o", "s3://b/r.html"], "-o/--output"),
        (["compare", "m.py:model", "--draws", "https://a.org/d.nc"], "--draws"),
        (["compare", "m.py:model", "--fit", "a=https://a.org/q.nc"], "--fit"),
        (["compare", "m.py:model", "--baseline", "gs://b/c.nc"], "--baseline"),
    ],
)  # fmt: skip
def test_addresses_are_no_paths(arguments, argument, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert f"argument {argument}: must be a path on this machine; got " in capsys.readouterr().err
