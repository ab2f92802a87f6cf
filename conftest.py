"""Doctests that go on from another example: whoever says so in its docstring starts from the names that one leaves."""

import doctest
from functools import cache
from typing import Any

import pytest

import pymc_kl

GOES_ON_FROM = "example of :func:`pymc_kl.compare`"


@cache
def _names_after_compare() -> dict[str, Any]:
    """Run the example in the docstring of `compare`, once a session."""
    names: dict[str, Any] = {}
    for example in doctest.DocTestParser().get_examples(pymc_kl.compare.__doc__):
        exec(example.source, names)
    return names


@pytest.fixture(autouse=True)
def _start_from_the_example_of_compare(request: pytest.FixtureRequest) -> None:
    if isinstance(request.node, pytest.DoctestItem) and GOES_ON_FROM in request.node.dtest.docstring:
        request.node.dtest.globs |= _names_after_compare()
