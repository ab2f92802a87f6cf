"""What the package promises as a whole: its surface, its pins, its data."""

import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import pymc_kl
from pymc_kl.data.galaxies import velocities

ROOT = Path(__file__).parent.parent


def test_the_surface_is_small_and_documented():
    assert len(pymc_kl.__all__) <= 24
    for name in pymc_kl.__all__:
        thing = getattr(pymc_kl, name)
        assert inspect.getdoc(thing), name
        if inspect.isfunction(thing):
            parameters = list(inspect.signature(thing).parameters.values())
            assert all(p.annotation is not p.empty for p in parameters), name
            assert inspect.signature(thing).return_annotation is not inspect.Signature.empty, name


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
    run = [sys.executable, "-W", "ignore", "-c", "from pymc_kl.target import Target" + code]
    cold, warm = (subprocess.run(run, env=flags, check=True, capture_output=True, text=True).stdout for _ in range(2))
    assert cold.count("\n") == 4
    assert cold == warm


def test_pins_are_the_same_for_uv_and_pip():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pins = (ROOT / "constraints.txt").read_text().split()
    assert settings["tool"]["uv"]["constraint-dependencies"] == pins
    assert all(re.fullmatch(r"[a-z0-9_.-]+==[^/:@]+", pin) for pin in pins)


def test_ci_runs_the_readme_s_test_command():
    command = "python -m uv run pytest"
    assert command in (ROOT / "README.md").read_text()
    assert command in (ROOT / ".ci" / "run").read_text()


def test_pytensor_is_imported_in_few_places():
    """PyTensor is known to a model's graphs, the backends, the adapters and the divergence of distributions alone."""
    allowed = {
        "graphs.py",
        "backends.py",
        "pymc.py",
        "densities.py",
        "closed_forms.py",
        "divergence.py",
        "integration.py",
    }
    for path in (ROOT / "pymc_kl").rglob("*.py"):
        if re.search(r"^\s*(from|import) pytensor", path.read_text(), re.MULTILINE):
            assert path.name in allowed, path


def test_the_galaxies_are_all_there():
    y = velocities()
    assert y.shape == (82,)
    np.testing.assert_allclose([y.min(), y.max(), y[77]], [9.172, 34.279, 26.960])
