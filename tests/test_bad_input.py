"""Mistakes at the doors of the public functions: each is told by the argument's name, before anything is compiled.

The model has a discrete variable, which compiling would refuse with an error of its own: an error that names the
argument has come before.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from pymc.backends.base import MultiTrace
from pymc.backends.ndarray import NDArray

import pymc_kl as pkl
from pymc_kl.approximations import MeanField
from pymc_kl.cli import main
from pymc_kl.modes import planted_modes
from pymc_kl.renyi import divergence_path

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
}  # fmt: skip
WHOLE = (None, "5", 1.5, True, np.nan, np.inf, -3, 10**15)
WRONG: dict[str, tuple[Any, ...]] = {
    "n_draws": WHOLE, "n_starts": WHOLE, "draws": WHOLE, "chains": WHOLE, "jumps": WHOLE, "tune": WHOLE,
    "n_proposals": WHOLE, "max_draws": WHOLE, "repeats": WHOLE, "max_variables": WHOLE, "n": WHOLE,
    "n_jobs": (0, "a", 1.5), "n_components": (2.5, "a", 0, 1000), "rank": (2.5, "a", 0),
    "min_barrier": (None, "a", -1, np.nan, np.inf), "planted": ("yes", -1, np.nan), "budget": ("a", 0, -1, np.nan),
    "target_accept": ("a", 0, 1, 2, np.nan), "ci_prob": (0, 1, 2, np.nan, "a"), "round_to": (-3, "a", 2.5, True),
    "symmetry": (5, "x", None, [1], iter(["x"])), "forward": (5, "nope", "mean-field", iter(["mixture"])),
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


@pytest.mark.parametrize(("function", "name", "value"), [*calls()])
def test_an_argument_is_refused_by_its_name(function, name, value):
    parameters = inspect.signature(function).parameters
    given = dict(zip(parameters, FUNCTIONS[function], strict=False))
    given |= {"model": MODEL} if "model" in parameters else {}
    if name == "n_components":
        given["family"] = "mixture"
    with pytest.raises((TypeError, ValueError, FileNotFoundError), match=rf"\b{name}\b") as caught:
        function(**given | {name: value})
    assert "discrete" not in str(caught.value)


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
    with pytest.raises(TypeError, match=function.__name__) as caught:
        function(value)
    assert cure in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pkl.compare({"q": Q}, DRAWS), r"compare\(idata, \{'ADVI': advi\}\)"),
        (lambda: pkl.compare(DRAWS, DRAWS), "Draws come first"),
        (lambda: pkl.compare(DRAWS, {".": Q}), "names a group"),
        (lambda: pkl.compare(COMPARISON), "idata is a comparison"),
        (lambda: pkl.compare(DRAWS, reverse=["advi", "advi"]), "'advi' came more than once"),
        (lambda: pkl.compare(DRAWS, forward="mean-field"), "Did you mean 'meanfield'"),
        (lambda: pkl.compare(DRAWS, reverse="ADVI"), "Did you mean 'advi'"),
        (lambda: pkl.compare(DRAWS, {}, reference="as_given"), "Did you mean 'as given'"),
        (lambda: pkl.fit_reverse(DRAWS), "family"),
        (lambda: pkl.fit_reverse("fullrank", rank=2), "rank is of the family 'lowrank'"),
        (lambda: pkl.initvals(4, Q), "approximation, the first argument, must be a fit"),
        (lambda: pkl.correct(MODEL), "must be a fit"),
        (lambda: pkl.sample_jump(None), "must be a fit"),
        (lambda: pkl.to_pymc(None), "approximation must be"),
        (lambda: pkl.to_pymc("cmp.nc"), "approximation must be"),
        (lambda: pkl.to_pymc(MODEL), "approximation must be"),
        (lambda: pkl.find_modes(model=5), "model must be a pm.Model"),
        (lambda: pkl.save("a.nc", TREE), "path must be the path of a file; got a value of type DataTree"),
        (lambda: pkl.save(TREE, None), "path must be"),
        (lambda: pkl.save(TREE, "a\0.nc"), "path must be"),
        (lambda: pkl.load(None), "path must be"),
        (lambda: pkl.load(TREE), "path must be"),
        (lambda: pkl.load("nowhere.nc"), "nowhere.nc"),
        (lambda: pkl.report(TREE, 5), "path must be"),
        (lambda: pkl.report(5), "expected a comparison"),
        (lambda: pkl.summary(TREE), "no comparison"),
        (lambda: pkl.coverage(DRAWS), "expected a comparison"),
        (lambda: pkl.coverage(TREE, values=5), "values must be a name or a sequence of names"),
        (lambda: pkl.coverage(TREE, round_to="all"), "round_to must be one of 'auto', 'none'"),
        (lambda: pkl.summary(TREE, round_to=2.5), "round_to must be a whole number"),
        (lambda: pkl.summary(TREE, columns="elbow"), "unknown score 'elbow' in columns.*Did you mean 'elbo'"),
        (lambda: pkl.summary(TREE, kind=[]), "kind must be one of 'main', 'all'"),
        (lambda: pkl.plot_modes("c.nc"), "no such comparison: c.nc"),
        (lambda: pkl.compare("trace.nc"), "idata, .*: there is no such file, 'trace.nc'"),
    ],
)  # fmt: skip
def test_swapped_and_near_miss_calls_are_answered(call, message):
    with pytest.raises((TypeError, ValueError, OSError), match=message):
        call()


MODEL_FILE = "import pymc as pm\nwith pm.Model() as model:\n    pm.Normal('x')\n"


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
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
    ],
)
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
