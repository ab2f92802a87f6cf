"""What the package promises as a whole: its surface, its pins, its data."""

import inspect
import re
import tomllib
from pathlib import Path

import numpy as np

import pymc_kl
from pymc_kl.galaxies import velocities

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
