"""Fixtures that every test shares: a generator seeded by the test's name, compiled targets, a guard of global state."""

import copy
import logging
import random
import warnings
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytensor.link.jax.dispatch
import pytensor.link.numba.dispatch  # noqa: F401 both set filters of warnings of their own when first imported
import pytest
import xarray as xr
from problems import ALL, Problem

from pymc_kl.model.target import Target

mpl.use("agg")
logging.getLogger("pymc").setLevel(logging.ERROR)


SLOW = frozenset((Path(__file__).parent / "slow_tests.txt").read_text().splitlines()[1:])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the list as slow."""
    for item in items:
        if item.nodeid in SLOW:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Seed from the names of the test and its file, in whatever folder that lies."""
    path, _, test = request.node.nodeid.partition("::")
    return np.random.default_rng(zlib.crc32(f"tests/{Path(path).name}::{test}".encode()))


@cache
def compiled(name: str) -> tuple[Problem, Target]:
    problem = ALL[name]()
    return problem, Target.from_model(problem.model())


@pytest.fixture(scope="session")
def zoo() -> Callable[[str], tuple[Problem, Target]]:
    """A problem of the zoo by name, with its target; compiled once a session."""
    return compiled


@pytest.fixture(scope="session")
def exact_draws() -> Callable[..., xr.Dataset]:
    """n exact draws of a problem as four chains, in the model's own space."""

    def draw(name: str, n: int, seed: int) -> xr.Dataset:
        problem, target = compiled(name)
        assert problem.sample is not None
        x = problem.sample(n, np.random.default_rng(seed))
        return target.to_dataset(x.reshape(4, n // 4, target.d))

    return draw


@pytest.fixture(autouse=True)
def _no_global_state() -> Iterator[None]:
    """No test may change seeds, rcParams, filters of warnings or levels of loggers."""
    legacy, python = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    parameters, filters = copy.deepcopy(dict(mpl.rcParams)), list(warnings.filters)
    levels = logging.root.level, logging.getLogger("pymc").level
    yield
    assert np.array_equal(legacy, np.random.get_state()[1]), "numpy's global generator was used"  # noqa: NPY002
    assert python == random.getstate(), "Python's global generator was used"
    assert parameters == dict(mpl.rcParams), "matplotlib's rcParams were changed"
    assert filters == list(warnings.filters), "filters of warnings were changed"
    assert levels == (logging.root.level, logging.getLogger("pymc").level), "a logger's level was changed"
