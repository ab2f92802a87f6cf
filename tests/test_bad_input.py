"""Mistakes at the doors of the public functions: each is told by the argument's name, before anything is compiled.

The model has a discrete variable, which compiling would refuse with an error of its own: an error that names the
argument has come before. None may take longer than `LONGEST`.
"""

import gc
import importlib
import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from pymc.backends.base import MultiTrace
from pymc.backends.ndarray import NDArray
from test_package import DOCUMENTED

import pymc_kl as pkl
from pymc_kl.approximations import (
    Draws,
    FullRank,
    Functions,
    LowRank,
    MeanField,
    Mixture,
    StudentT,
    StudentTMixture,
)
from pymc_kl.cli import main
from pymc_kl.comparison import compare_models
from pymc_kl.fitting import polish
from pymc_kl.model import Target, as_posterior_draws, as_target, subsampled
from pymc_kl.modes import planted_modes
from pymc_kl.plots.parts.contract import select_variables, subset, validated
from pymc_kl.prediction import elpd_table, predict, predictive_checks, stack, tell_modes_apart
from pymc_kl.renyi import divergence_path
from pymc_kl.reports import changes_since, verdict_data
from pymc_kl.sweeps import load_sweep, sweep, sweep_report, sweep_table

LONGEST = 0.2  # seconds of computing that a mistake may take
with pm.Model() as MODEL:
    pm.Poisson("k", 1.0)
Q = MeanField(loc=np.zeros(1), scale=np.ones(1))
DRAWS = xr.Dataset({"x": (("chain", "draw"), np.zeros((4, 10)))})
TREE = xr.DataTree()
COMPARISON = xr.DataTree.from_dict(dict.fromkeys(("posterior", "scores", "coverage"), DRAWS))
FUNCTIONS: dict[Callable[..., Any], tuple[Any, ...]] = {  # what comes first, which is right as far as a door can tell
    pkl.compare: (DRAWS, {"q": Q}), pkl.sample_reference: (DRAWS,), pkl.find_modes: (DRAWS,), pkl.fit_forward: (DRAWS,),
    pkl.fit_reverse: (), pkl.correct: (Q,), pkl.initvals: (Q,), pkl.sample_jump: (Q,), planted_modes: (DRAWS,),
    divergence_path: (DRAWS,), pkl.report: (TREE,), pkl.plot_modes: (TREE,), pkl.plot_coverage: (TREE,),
    pkl.plot_divergence: (TREE,), pkl.plot_divergence_path: (TREE,), pkl.plot_contributions: (TREE,),
    pkl.plot_pareto_k: (TREE,), pkl.plot_loss: (TREE,), pkl.plot_mode_tree: (TREE,), pkl.kl_divergence: ([0.5], [0.5]),
    predictive_checks: (TREE,), predict: (TREE,), stack: (DRAWS,), tell_modes_apart: (TREE,), sweep_report: (TREE,),
    Q.sample: (3,),
}  # fmt: skip
WHOLE = (None, "5", 1.5, True, np.nan, np.inf, -3, 10**15, 10**400)
WRONG: dict[str, tuple[Any, ...]] = {
    "n_starts": WHOLE, "draws": WHOLE, "chains": WHOLE, "jumps": WHOLE, "tune": WHOLE,
    "n_proposals": WHOLE, "max_draws": WHOLE, "repeats": WHOLE, "max_variables": WHOLE, "n": WHOLE,
    "cores": (0, "a", 1.5, 10**6, -(10**6)),
    "visuals": (5, ["x"]), "coords": (5, [("a", 1)], {5: 1}), "aes_by_visuals": (5, "x"),
    "n_components": (2.5, "a", 0, 1000), "rank": (2.5, "a", 0),
    "min_barrier": (None, "a", -1, np.nan, np.inf, 10**400), "planted": ("yes", -1, np.nan),
    "budget": ("a", 0, -1, np.nan, True, -(10**400)), "masses": (5, "a", [], [0.0], [1.0], [np.nan], [True]),
    "widths": (5, [], ["a"], [0.0], [np.inf]), "seconds": ("a", 0, np.nan, None), "log_evidence": ("a", np.nan, np.inf),
    "var_name": (5, ["y"]), "by": ("x", None),
    "target_accept": ("a", 0, 1, 2, np.nan), "ci_prob": (0, 1, 2, np.nan, "a"), "round_to": (-3, "a", 2.5, True),
    "symmetry": (5, "x", None, [1], iter(["x"])), "forward": (5, "nope", "mean-field", iter(["mixture"]), {"flow": 1}),
    "starts": ("x", 5j, [], [["a"]], [[np.nan]], np.zeros((2, 1, 1)), MODEL, Q, {"x": [1.0]}),
    "reverse": (5, "nope", iter(["advi"])),
    "reference": ("nope", 1), "family": (5, None, "nope", "full-rank", np.array(["mixture"])),
    "backend": ("zzz", 5), "modes": ("a", 5), "random_seed": (-1, "a", 1.5),
    "progressbar": ("no", None), "interactive": ("yes",), "overwrite": ("yes",), "relabel": ("x",),
    "var_names": (5, [1]), "filter_vars": ("regexp", 5), "kind": ("nope", 5), "approximations": (5, "q", [Q], DRAWS),
    "quantities": (5, [1], [], {}, {"a": 5}, {1: "x"}, np.zeros(3), DRAWS),
}  # fmt: skip
PLOTS = {function for function in FUNCTIONS if function.__name__.startswith("plot_")}
OTHERWISE = {(plot, name) for plot in PLOTS for name in ("approximations", "modes", "backend")}  # names and numbers


def calls() -> Iterator[Any]:
    """Every wrong value of every argument of every function that has it."""
    for function in FUNCTIONS:
        for name in inspect.signature(function).parameters:
            for value in () if (function, name) in OTHERWISE else WRONG.get(name, ()):
                yield pytest.param(function, name, value, id=f"{function.__name__}-{name}-{value!r:.20}")


@contextmanager
def refused(match: str, *errors: type[Exception]) -> Iterator[pytest.ExceptionInfo[Exception]]:
    """Check that a block raises an error for users, and soon."""
    start = time.process_time()
    gc.disable()  # what other tests left is no part of the call
    try:
        with pytest.raises((TypeError, ValueError, *errors), match=match) as caught:
            yield caught
    finally:
        gc.enable()
    assert time.process_time() - start < LONGEST


@pytest.mark.parametrize(("function", "name", "value"), [*calls()])
def test_an_argument_is_refused_by_its_name(function, name, value):
    parameters = inspect.signature(function).parameters
    given = dict(zip(parameters, FUNCTIONS[function], strict=False))
    given |= {"model": MODEL} if "model" in parameters else {}
    if name == "n_components":
        given["family"] = "mixture"
    with refused(rf"\b{name}\b", OSError) as caught:
        function(**given | {name: value})
    assert "discrete" not in str(caught.value)


NO_COMPARISON = [
    pkl.save, pkl.summary, pkl.coverage, pkl.report, pkl.plot_modes, pkl.plot_coverage, pkl.plot_divergence,
    pkl.plot_contributions, pkl.plot_pareto_k, pkl.plot_loss, pkl.plot_mode_tree, verdict_data, predict,
    predictive_checks, tell_modes_apart,
]  # fmt: skip


NO_MODEL = {divergence_path, pkl.kl_divergence, pkl.plot_divergence_path, Q.sample, sweep_report}
BEHIND_DOORS = "discrete|no comparison|no observed variables"  # what is wrong with all that is given but the argument
DOORS = [
    (f, name)
    for f in FUNCTIONS
    if f not in NO_MODEL
    for name in inspect.signature(f).parameters
    if name[-5:] != "kwargs"
]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text() | st.binary()
JUNK = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(), SCALARS, max_size=3) | st.tuples(SCALARS)


@settings(max_examples=500, deadline=None)
@for_all(door=st.sampled_from(DOORS), value=JUNK)
def test_whatever_is_given_is_named_or_taken(door, value):
    function, name = door
    parameters = inspect.signature(function).parameters
    given = dict(zip(parameters, FUNCTIONS[function], strict=False))
    given |= {"model": MODEL} if "model" in parameters else {}
    with refused(rf"\b{name}\b|{BEHIND_DOORS}", OSError):
        function(**given | {name: value})


@pytest.mark.parametrize("function", NO_COMPARISON)
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "got None"), (DRAWS, "got a value of type Dataset"),
        (TREE, "it lacks the groups posterior, modes"), (Q, "got a value of type MeanField"),
    ],
    ids=["none", "draws", "tree", "fit"],
)  # fmt: skip
def test_what_is_no_comparison_is_answered_with_what_to_write(function, value, message):
    with refused(message) as caught:
        function(value, "c.nc") if function is pkl.save else function(value)
    assert str(caught.value).startswith("comparison ")


@pytest.mark.parametrize("function", [f for f in FUNCTIONS if FUNCTIONS[f] and FUNCTIONS[f][0] is DRAWS])
@pytest.mark.parametrize(
    ("value", "cure"),
    [
        (MODEL, "model=model"), (np.zeros(3), "{'x': array}"), ({"x": [1.0]}, ""),
        (5, "DataTree"), (Q, "DataTree"), (MultiTrace([NDArray(model=pm.Model())]), "pm.to_inference_data(trace"),
    ],
    ids=["model", "array", "dict", "number", "fit", "trace"],
)  # fmt: skip
def test_what_is_no_draws_is_answered_with_what_to_write(function, value, cure):
    with refused(function.__name__) as caught:
        function(value)
    assert cure in str(caught.value)


ONE = np.ones(1)
ROWS: list[tuple[Callable[[], Any], str]] = [
        (lambda: pkl.compare({"q": Q}, DRAWS), r"compare\(idata, \{'ADVI': advi\}\)"),
        (lambda: pkl.compare(DRAWS, DRAWS), "Draws come first"),
        (lambda: pkl.compare({"q": TREE}, DRAWS), "idata, the first argument of compare"),
        (lambda: pkl.compare(DRAWS, {".": Q}), "a name in approximations must be .* names a group; got '.'"),
        (lambda: pkl.compare(DRAWS, {"": Q}), "a name in approximations must be .* names a group; got ''"),
        (lambda: pkl.compare(COMPARISON), "idata is a comparison"),
        (lambda: pkl.compare(DRAWS, reverse=["advi", "advi"]), "'advi' came more than once"),
        (lambda: pkl.compare(DRAWS, forward="mean-field"), "Did you mean 'meanfield'"),
        (lambda: pkl.compare(DRAWS, reverse="ADVI"), "Did you mean 'advi'"),
        (lambda: pkl.compare(DRAWS, {}, reference="as_given"), "Did you mean 'as given'"),
        (lambda: pkl.compare(model=MODEL, symmetry=["kk"]), r"one of \['k'\]; got 'kk'.*Did you mean 'k'"),
        (lambda: pkl.sample_reference(model=MODEL, symmetry=["z"]), "a symmetry is named by a dim"),
        (lambda: pkl.find_modes(model=MODEL, symmetry=["z"]), "a symmetry is named by a dim"),
        (lambda: planted_modes(model=MODEL, symmetry=["z"]), "a symmetry is named by a dim"),
        (lambda: pkl.fit_reverse(DRAWS), "family"),
        (lambda: pkl.fit_reverse("fullrank", rank=2), "rank is of the family 'lowrank'"),
        (lambda: pkl.initvals(4, Q), "approximation, the first argument, must be a fit"),
        (lambda: pkl.correct(MODEL), "must be a fit"),
        (lambda: pkl.sample_jump(None), "must be a fit"),
        (lambda: pkl.to_pymc(None), "approximation must be"),
        (lambda: pkl.to_pymc("cmp.nc"), "approximation must be"),
        (lambda: pkl.to_pymc(MODEL), "approximation must be"),
        (lambda: pkl.to_pymc(Q, MODEL), "k is discrete"),  # the model comes first or second: it is taken
        (lambda: pkl.to_pymc(MODEL, Q), "approximation must be"),
        (lambda: pkl.find_modes(model=5), "model must be a pm.Model"),
        (lambda: pkl.save("a.nc", TREE), "path must be the path of a file; got a value of type DataTree"),
        (lambda: pkl.save(TREE, None), "path must be"),
        (lambda: pkl.save(TREE, "a\0.nc"), "path must be"),
        (lambda: pkl.load(None), "path must be"),
        (lambda: pkl.load(TREE), "path must be"),
        (lambda: pkl.load("http://a.org/c.nc"), "path must be a path on this machine; got 'http://a.org/c.nc'. Fetch"),
        (lambda: pkl.save(COMPARISON, "s3://bucket/c.zarr"), "path must be a path on this machine"),
        (lambda: pkl.plot_loss("\0"), r"comparison must be the path of a file; got '\\x00'"),
        (lambda: pkl.summary("https://a.org/c.nc"), "comparison must be a path on this machine"),
        (lambda: pkl.compare("https://a.org/trace.nc", model=MODEL), "idata must be a path on this machine"),
        (lambda: pkl.as_approximation("s3://b/q.nc", model=MODEL), "a file of draws must be a path on this machine"),
        (lambda: pkl.correct("trace.nc", model=MODEL), "a fit with a density; got 'trace.nc', and draws have none"),
        (lambda: pkl.sample_jump(DRAWS, model=MODEL), "and draws have none. Fit a family to them first"),
        (lambda: subset(["q", "q"], ["q"], "approximations"), r"each of approximations may .* once; got \['q', 'q'\]"),
        (lambda: subset(1.5, [1, 2], "modes"), r"modes must be one or more of \[1, 2\]; got 1.5"),
        (lambda: subset(True, [1, 2], "modes"), "modes must be one or more of .* got True"),
        (lambda: subset(b"q", ["q"], "approximations"), "approximations must be one or more of .* got b'q'"),
        (lambda: validated(pkl.plot_loss, {"loss": 5}, {}), r"visuals\['loss'\] must be a dict of settings.* got 5"),
        (lambda: select_variables(DRAWS, None, None, {"nope": 1}), "'nope' in coords is no dim"),
        (lambda: pkl.load("a" * 300 + ".nc"), "path must have names of at most 255 bytes"),
        (lambda: pkl.correct(Q, n_proposals=1), "n_proposals must be at least 100"),
        (lambda: pkl.load("nowhere.nc"), "nowhere.nc"),
        (lambda: pkl.report(TREE, 5), "path must be"),
        (lambda: pkl.report(5), "comparison must be the DataTree"),
        (lambda: pkl.summary(TREE), "no comparison"),
        (lambda: pkl.coverage(DRAWS), "comparison must be the DataTree"),
        (lambda: pkl.coverage(TREE, values=5), "values must be a name or a sequence of names"),
        (lambda: pkl.coverage(TREE, round_to="all"), "round_to must be one of 'auto', 'none'"),
        (lambda: pkl.summary(TREE, round_to=2.5), "round_to must be a whole number"),
        (lambda: pkl.summary(TREE, columns="elbow"), "unknown score 'elbow' in columns.*Did you mean 'elbo'"),
        (lambda: pkl.summary(TREE, kind=[]), "kind must be one of 'main', 'all'"),
        (lambda: pkl.plot_modes("c.nc"), "no such comparison: c.nc"),
        (lambda: pkl.compare("trace.nc"), "idata, .*: there is no such file, 'trace.nc'"),
        (lambda: pkl.compare(__file__), "can't be read as draws"),
        (lambda: pkl.compare({"x": [[1.0], [1.0, 2.0]]}), "idata, the first argument of compare, must be draws"),
        (lambda: pkl.as_approximation(5, model=MODEL), "cannot read a fit of type int"),
        (lambda: pkl.as_approximation("draws.csv", model=MODEL), "must be NetCDF .* got 'draws.csv'"),
        (lambda: pkl.as_approximation("nowhere.nc", model=MODEL), "no such file of draws: nowhere.nc"),
        (lambda: pkl.kl_divergence([1.0], [0.4]), "weights must sum to 1; .* Normalise q"),
        (lambda: pkl.kl_divergence(["a"], [0.4]), "p must be an array of real numbers"),
        (lambda: pkl.kl_divergence([1j], [0.4]), "p must be an array of real numbers"),
        (lambda: as_target(5), "model must be a pm.Model; got 5"),
        (lambda: as_target(MODEL), "k is discrete"),
        (lambda: subsampled(5), "model must be a pm.Model; got int"),
        (lambda: subsampled(MODEL), "rows"),
        (lambda: subsampled(MODEL, n_rows=0), "n_rows must be at least 1; got 0"),
        (lambda: subsampled(MODEL, budget="long"), "budget must be"),
        (lambda: subsampled(MODEL, random_seed=-1), "random_seed must be"),
        (lambda: Target.from_model("x"), "model must be a pm.Model"),
        (lambda: as_posterior_draws(DRAWS, MODEL), r"target must be a Target, such as as_target\(model\)"),
        (lambda: as_posterior_draws(5, Q), "draws, the first argument of as_posterior_draws, must be draws"),
        (lambda: compare_models(TREE), "comparisons must be a dict of comparisons"),
        (lambda: compare_models({"a": TREE}), "comparisons must hold at least 2"),
        (lambda: compare_models({"a": TREE, "b": TREE}), r"comparisons\['a'\] is a DataTree, but no comparison"),
        (lambda: compare_models({"a": 5, "b": TREE}), r"comparisons\['a'\] must be the DataTree"),
        (lambda: compare_models({"a": TREE, "b": TREE}, prior={"a": 1}), "prior must be a dict with a weight for each"),
        (lambda: compare_models({"a": TREE, "b": TREE}, prior={"a": "x", "b": 1}), "weights of prior must be a number"),
        (lambda: compare_models({"a": TREE, "b": TREE}, round_to=3), "round_to must be one of 'auto', 'none'"),
        (lambda: elpd_table(TREE), r"prediction must be a Dataset, what predict\(\) returns"),
        (lambda: elpd_table(DRAWS), r"prediction must be what predict\(\) returns; it lacks 'diff', 'elpd'"),
        (lambda: stack(DRAWS, 5), "model must be a pm.Model"),
        (lambda: stack(DRAWS, MODEL), "the model has no observed variables"),
        (lambda: stack(DRAWS, by="modes"), "by must be .* Did you mean 'mode'"),
        (lambda: changes_since(5, TREE), "comparison must be the DataTree"),
        (lambda: changes_since(TREE, TREE), "comparison is a DataTree, but no comparison"),
        (lambda: load_sweep(5), "store must be the path"),
        (lambda: load_sweep("nowhere"), "no such sweep: .*nowhere"),
        (lambda: load_sweep(__file__), "is there and is no sweep.* Name a new folder"),
        (lambda: sweep_table(TREE), r"swept must be what sweep\(\) returns"),
        (lambda: sweep_table("folder"), "got 'folder'"),
        (lambda: sweep_report(None), r"swept must be what sweep\(\) returns"),
        (lambda: sweep(MODEL, store="new"), "cells must be a dict of models"),
        (lambda: sweep({"a": 5}, store="new"), "the cell 'a' must be a model"),
        (lambda: sweep(DRAWS, store="new"), "the cell 'x' must be a model"),
        (lambda: sweep({"a": {"model": MODEL, "drws": 5}}, store="new"), "Did you mean 'draws'"),
        (lambda: sweep({"a": {"model": MODEL, "idata": 5}}, store="new"), "idata, the first argument of compare"),
        (lambda: sweep({"a": MODEL}, store=5), "store must be the path"),
        (lambda: sweep({"a": MODEL}, store=__file__), "is no sweep.* Name a new folder"),
        (lambda: sweep({"a": MODEL}, {"n": [1]}, store="new"), "grid is for a function"),
        (lambda: sweep(lambda n: MODEL, {"m": [1]}, store="new"), "grid does not fit the function"),
        (lambda: sweep({"a": MODEL}, store="new", model=MODEL), "model is of one cell alone"),
        (lambda: sweep({"a": MODEL}, store="new", forwrd="mixture"), "Did you mean 'forward'"),
        (lambda: sweep({"a": MODEL}, store="new", quantities=[]), "quantities must be names of variables"),
        (lambda: sweep({"a": MODEL}, store="new", cores=0), "cores must not be 0"),
        (lambda: sweep({"a": MODEL}, store="new", retry_failed="yes"), "retry_failed must be True or False"),
        (lambda: MeanField(loc="a", scale=ONE), "loc must be an array of real numbers; got 'a'"),
        (lambda: MeanField(loc=ONE, scale=np.ones(2)), r"scale must have shape \(d\) with d = 1; got \(2,\)"),
        (lambda: MeanField(loc=ONE, scale=-ONE), "scale must be positive"),
        (lambda: MeanField(loc=np.array([np.nan]), scale=ONE), "loc must be finite"),
        (lambda: FullRank(loc=np.ones(2), scale_tril=np.ones((2, 2))), r"numpy\.linalg\.cholesky\(covariance\)"),
        (lambda: FullRank(loc=np.ones(2), scale_tril=np.eye(3)), "scale_tril must have shape .* with d = 2"),
        (lambda: LowRank(loc=ONE, factor=ONE, scale=ONE), r"factor must have shape \(d, r\)"),
        (lambda: StudentT(loc=ONE, scale_tril=np.eye(1), df=-1.0), "df must be positive"),
        (lambda: Mixture(weights=ONE / 2, locs=np.ones((1, 1)), scale_trils=np.ones((1, 1, 1))), "weights .*sum to 1"),
        (lambda: Mixture(weights=ONE, locs=np.ones((2, 1)), scale_trils=np.ones((1, 1, 1))), "locs must have shape"),
        (
            lambda: StudentTMixture(
                weights=ONE, locs=np.ones((1, 1)), scale_trils=np.ones((1, 1, 1)), dfs=np.zeros(1)
            ),
            "dfs must be positive",
        ),
        (lambda: Draws(x=ONE), r"x must have shape \(n, d\)"),
        (lambda: Q.log_prob("a"), "x must be an array of real numbers; got 'a'"),
        (lambda: Q.log_prob(DRAWS), "x must be an array of real numbers; got a value of type Dataset"),
        (lambda: Q.log_prob(np.zeros((3, 4))), r"x must have shape \(n, 1\); got \(3, 4\)"),
        (lambda: Q.log_prob(np.zeros((3, 1), complex)), "x must be an array of real numbers"),
        (lambda: Functions(sample=5), "sample must be a function; got 5"),
        (lambda: Functions(sample=abs, log_prob=5), "log_prob must be a function; got 5"),
        (lambda: polish(5, Q, rng=np.random.default_rng()), "value_and_grad must be a function"),
        (lambda: polish(abs, 5, rng=np.random.default_rng()), "fit must be a MeanField or a FullRank"),
        (lambda: polish(abs, Q, rng=1), "rng must be a Generator"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), ROWS)
def test_swapped_and_near_miss_calls_are_answered(call, message):
    with refused(message, OSError):
        call()


ELSEWHERE = {  # names that take no arguments, are made by other names, or are parts of a page of one's own
    "Approximation", "Code", "ComponentFamily", "FAMILIES", "Family", "Figure", "FitInfo", "Flow", "Masses", "Modes",
    "Painter", "PosteriorDraws", "Report", "Section", "Subsampled", "css_variables", "galaxies", "measurements",
    "model", "observed", "page_environment", "show_versions", "velocities",
}  # fmt: skip


def test_every_public_name_has_rows():
    rows = {function.__name__ for function in (*FUNCTIONS, *NO_COMPARISON)}
    rows |= {name for call, _ in ROWS for name in call.__code__.co_names}
    public = {name for module in {"pymc_kl", *DOCUMENTED} for name in importlib.import_module(module).__all__}
    assert public - rows == ELSEWHERE
    assert len([*calls()]) + len(ROWS) + len(COMMANDS) >= 150


MODEL_FILE = "import pymc as pm\nwith pm.Model() as model:\n    pm.Normal('x')\n"


COMMANDS: list[tuple[str, list[str], str]] = [
        (MODEL_FILE, ["--fit", "a=trace.nc", "--fit", "a=other.nc"], "'a' was given more than once"),
        (MODEL_FILE, ["--draws", "nowhere.nc"], "no such file of draws"),
        (MODEL_FILE, ["--fit", "a=nowhere.nc"], "no such file of the fit"),
        (MODEL_FILE, ["--seed", "-1"], "random_seed must be at least 0"),
        ("raise SystemExit(0)", [], "SystemExit"),
        ("1 / 0", [], "ZeroDivisionError"),
        ("def model(:", [], "SyntaxError"),
        ("import nowhere_to_be_found", [], "ModuleNotFoundError"),
        ("def model(): raise RuntimeError('boom')", [], "boom"),
        ("model = 5", [], "no pm.Model named 'model'"),
        (MODEL_FILE, ["--baseline", "nowhere.nc"], "no such comparison: nowhere.nc"),
        (MODEL_FILE, ["--baseline", "trace.nc"], "trace.nc can't be read as a comparison"),
        (MODEL_FILE, ["--quantity", "nope"], "unknown variable 'nope' in quantities; known are 'x'"),
        (MODEL_FILE, ["--n-starts", "0"], "n_starts must be at least 1"),
        (MODEL_FILE, ["--budget", "-1"], "budget must be above 0"),
        (MODEL_FILE, ["--out", "trace.nc"], "trace.nc is a file"),
        (MODEL_FILE, ["--out", "trace.nc/below"], "A file stands where a folder is needed"),
        (MODEL_FILE, ["--out", "."], "holds other files"),
        (MODEL_FILE, ["--fit", "forward mixture=trace.nc", "--draws", "trace.nc"], "can't be read"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["summary", "nowhere.nc"], "no such comparison: nowhere.nc"),
        (["report", "nowhere.nc"], "no such comparison: nowhere.nc"),
        (["summary", "draws.nc"], "no comparison"),
        (["report", "draws.nc", "--overwrite"], "no comparison"),
        (["compare", "model_file.py"], "the model is given as FILE.py:NAME"),
        (["compare", "nowhere.py:model"], "there is no file 'nowhere.py'"),
    ],
)
def test_other_commands_exit_with_two(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    DRAWS.to_netcdf("draws.nc")
    assert main(arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "m.py:model", "--forward", "mean-field"], ["compare", "m.py:model", "--seed", "a"],
        ["compare", "m.py:model", "--fit", "a"], ["summary", "c.nc", "--fail-on", "mised"],
        ["report", "c.nc", "--round-to", "2.5"], ["report", "c.nc", "--ci-prob", "a"], ["compar"], [],
    ],
)  # fmt: skip
def test_words_that_no_command_has_are_named(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    said = capsys.readouterr().err
    assert "error: " in said
    assert not arguments or arguments[-1] in said


@pytest.mark.parametrize(("source", "arguments", "message"), COMMANDS)
def test_the_command_line_exits_with_two(source, arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model_file.py").write_text(source)
    for name in ("trace.nc", "other.nc"):
        (tmp_path / name).touch()
    assert main(["compare", "model_file.py:model", "--quiet", *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != "") == [
        "model_file.py", "other.nc", "trace.nc",
    ]  # fmt: skip
