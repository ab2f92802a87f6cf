"""What the package promises as a whole: its surface, its pins, its data."""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import pymc_kl
from pymc_kl.data.galaxies import velocities

ROOT = Path(__file__).parent.parent
DOCUMENTED = {  # submodules that examples may import from
    "pymc_kl.approximations", "pymc_kl.comparison", "pymc_kl.data", "pymc_kl.data.galaxies",
    "pymc_kl.data.measurements", "pymc_kl.fitting", "pymc_kl.model", "pymc_kl.modes", "pymc_kl.prediction",
    "pymc_kl.renyi", "pymc_kl.reports", "pymc_kl.sweeps",
}  # fmt: skip


def test_the_surface_is_small_and_documented():
    assert len(pymc_kl.__all__) <= 25
    for name in pymc_kl.__all__:
        thing = getattr(pymc_kl, name)
        assert inspect.getdoc(thing), name
        if inspect.isfunction(thing):
            parameters = list(inspect.signature(thing).parameters.values())
            assert all(p.annotation is not p.empty for p in parameters), name
            assert inspect.signature(thing).return_annotation is not inspect.Signature.empty, name


EXAMPLE_ELSEWHERE = {  # names whose example is that of another
    "FAMILIES": "Family", "Flow": "Family", "Masses": "Modes", "Target": "Target.from_model",
    "as_target": "as_posterior_draws", "elpd_table": "predict",
    "galaxies": "galaxies.velocities", "load": "save", "measurements": "measurements.observed",
    "Subsampled": "subsampled",
}  # fmt: skip


@pytest.mark.parametrize("module", sorted({"pymc_kl", *DOCUMENTED}))
def test_every_public_name_has_an_executed_example(module):
    public = importlib.import_module(module)
    without = {name for name in public.__all__ if ">>> " not in (inspect.getdoc(getattr(public, name)) or "")}
    assert without <= set(EXAMPLE_ELSEWHERE)


def test_an_old_name_works_and_warns():
    with pytest.warns(FutureWarning, match="plot_khat is called plot_pareto_k now."):
        assert pymc_kl.plot_khat is pymc_kl.plot_pareto_k


RENAMED = {  # earlier names of arguments, by function
    "compare": {"n_draws": "draws"}, "find_modes": {"reference": "idata"}, "fit_forward": {"reference": "idata"},
    "kl_divergence": {"n": "draws"}, "modes.planted_modes": {"reference": "idata"},
    "renyi.divergence_path": {"reference": "idata"}, "sample_reference": {"n_jobs": "cores"},
    "sweeps.sweep": {"n_jobs": "cores", "n_draws": "draws"},
}  # fmt: skip


@pytest.mark.parametrize(("path", "old", "new"), [(f, *pair) for f, pairs in RENAMED.items() for pair in pairs.items()])
def test_an_old_argument_works_and_warns(path, old, new):
    """What is wrong with its value is told by the name that it has now."""
    module, _, name = f"pymc_kl.{path}".rpartition(".")
    function, required = getattr(importlib.import_module(module), name), {}
    if name == "sweep":
        required = {"cells": {}, "store": "new"}
    if name == "kl_divergence":
        required = {"p": [1.0], "q": [1.0]}
    with (
        pytest.warns(FutureWarning, match=rf"{old} is called {new} now\.") as warned,
        pytest.raises((TypeError, ValueError), match=rf"\b{new}\b"),
    ):
        function(**required, **{old: -0.5})
    assert warned[0].filename == __file__
    with pytest.raises(TypeError, match=f"{old} is the earlier name of {new}; give {new} alone"):
        function(**required, **{old: 2, new: 2})


def test_every_public_name_has_a_page():
    listed = set(re.findall(r"^   ([\w.]+)$", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE))
    for module in {"pymc_kl", *DOCUMENTED}:
        prefix = module.removeprefix("pymc_kl").removeprefix(".")
        shown = {f"{prefix}.{name}".removeprefix(".") for name in importlib.import_module(module).__all__}
        homonyms = {name for name in shown if name.rpartition(".")[2] in pymc_kl.__all__}  # a page at the top is enough
        assert shown - (homonyms if prefix else set()) <= listed, module


def test_whatever_is_random_takes_a_seed():
    for name in (
        "compare", "correct", "find_modes", "fit_forward", "fit_reverse", "initvals", "kl_divergence", "sample_jump",
        "sample_reference",
    ):  # fmt: skip
        assert "random_seed" in inspect.signature(getattr(pymc_kl, name)).parameters


@pytest.mark.slow  # compiles all anew
def test_a_seed_repeats_whether_or_not_numba_finds_its_cache(tmp_path):
    """A funnel sends chains elsewhere for one bit."""
    code = """
import hashlib, numpy as np, pymc as pm, pymc_kl as pkl
with pm.Model():
    width = pm.Normal("width", 0, 3)
    x = pm.Normal("x", 0, pm.math.exp(width / 2), shape=9)
    numba = pkl.fit_reverse("meanfield", model=Target.from_model(backend="numba"), random_seed=1, progressbar=False)
    fit = pkl.fit_reverse("meanfield", random_seed=1, progressbar=False)
    drawn = pkl.sample_reference(random_seed=1, progressbar=False)
    jumped = pkl.sample_jump(fit, draws=300, tune=300, chains=2, random_seed=1, progressbar=False)
    advi = pkl.compare(drawn, reverse="advi", forward=(), random_seed=1, progressbar=False)["approximations/ADVI"]
draws = [dt["posterior"]["width"].values for dt in (drawn, jumped, advi)]
for name, array in zip(("reference", "jumps", "ADVI", "fit"), [*draws, numba.loc], strict=True):
    print(name, hashlib.sha256(np.ascontiguousarray(array)).hexdigest())
"""
    flags = os.environ | {"PYTENSOR_FLAGS": f"base_compiledir={tmp_path}"}
    run = [sys.executable, "-W", "ignore", "-c", "from pymc_kl.model import Target" + code]
    cold, warm = (subprocess.run(run, env=flags, check=True, capture_output=True, text=True).stdout for _ in range(2))
    assert cold.count("\n") == 4
    assert cold == warm


def names_used(code: str) -> Iterator[tuple[str, str]]:
    """The modules of this package that code imports from, each with a name that it takes there."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if module.partition(".")[0] == "pymc_kl":
                yield from ((module, alias.name) for alias in names)
            case ast.Import(names=names):
                yield from ((alias.name, "") for alias in names if alias.name.startswith("pymc_kl."))
            case ast.Attribute(value=ast.Name(id="pkl" | "pymc_kl"), attr=name):
                yield "pymc_kl", name


@pytest.mark.parametrize(
    "path", sorted([*ROOT.glob("examples/*.py"), *ROOT.glob("benchmarks/*.py")]), ids=lambda p: p.name
)
def test_examples_use_public_names_only(path):
    used = set(names_used(path.read_text()))
    assert used or path.parent.name == "benchmarks"  # where the work may be in what tests share
    for module, name in used:
        assert module in {"pymc_kl", *DOCUMENTED}, module
        public = importlib.import_module(module)
        assert name in public.__all__, f"{module}.{name}"
        assert inspect.getdoc(getattr(public, name)), f"{module}.{name}"


def test_a_private_name_in_an_example_would_be_seen():
    code = "import pymc_kl.modes.search\nfrom pymc_kl._typing import Array\npkl.io.read_tree(file)"
    assert set(names_used(code)) == {("pymc_kl.modes.search", ""), ("pymc_kl._typing", "Array"), ("pymc_kl", "io")}


def test_pins_are_the_same_for_uv_and_pip():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pins = (ROOT / "constraints.txt").read_text().split()
    assert settings["tool"]["uv"]["constraint-dependencies"] == pins
    assert all(re.fullmatch(r"[a-z0-9_.-]+==[^/:@]+", pin) for pin in pins)


def test_ci_runs_the_readme_s_test_command():
    command = "python -m uv run pytest -n auto"
    assert command in (ROOT / "README.md").read_text()
    assert command in (ROOT / ".ci" / "run").read_text()


def test_every_slow_test_is_one():
    """A test that is renamed would be slow no more, and run unseen with the fast ones."""
    paths = {}
    for line in (ROOT / "tests" / "slow_tests.txt").read_text().splitlines()[1:]:
        path, *_, name = line.split("[")[0].split("::")
        text = paths.setdefault(path, (ROOT / path).read_text())
        assert re.search(rf"^ *def {name}\(", text, re.MULTILINE), line


def test_pytensor_is_imported_in_few_places():
    """PyTensor is known to a model's graphs, bounds, rows and backends, and the divergence of distributions alone."""
    allowed = {
        "model/graphs.py",
        "model/backends.py",
        "model/bounds.py",
        "model/rows.py",
        "divergence/densities.py",
        "divergence/closed_forms.py",
    }
    importing = {
        path.relative_to(ROOT / "pymc_kl").as_posix()
        for path in (ROOT / "pymc_kl").rglob("*.py")
        if re.search(r"^\s*(from|import) pytensor", path.read_text(), re.MULTILINE)
    }
    assert importing == allowed


def test_the_galaxies_are_all_there():
    y = velocities()
    assert y.shape == (82,)
    np.testing.assert_allclose([y.min(), y.max(), y[77]], [9.172, 34.279, 26.960])
