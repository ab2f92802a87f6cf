"""Modes planted by `compare`: the group `/planted`, in a file and on the page, and why there is none."""

import json
from dataclasses import replace

import numpy as np
import pytest

import pymc_kl as pkl
from pymc_kl.comparison import compare as module
from pymc_kl.modes.planted import SECONDS
from pymc_kl.reports.making import reproduce
from pymc_kl.reports.markup import with_code


@pytest.fixture(scope="module")
def compare_line(zoo, exact_draws):
    _, target = zoo("two_modes")
    draws = exact_draws("two_modes", 1000, 1)

    def compare(**options):
        options = {"forward": (), "random_seed": 1, "progressbar": False, "model": target, "n_starts": 32} | options
        return pkl.compare(draws, {}, **options)

    return compare


@pytest.fixture(scope="module")
def planted(compare_line):
    return compare_line(planted=3.0)


def test_a_comparison_says_how_good_its_search_was(planted, tmp_path):
    ds = planted["planted"].to_dataset()
    assert ds["tried"].sum() > 0
    assert ds.attrs["log_evidence"] == planted["evidence"]["log_evidence"].item()
    assert "would have been found in" in ds.attrs["summary"]
    pkl.save(planted, tmp_path / "comparison.nc")
    assert pkl.load(tmp_path / "comparison.nc")["planted"].to_dataset().identical(ds)
    assert with_code(ds.attrs["summary"]) in pkl.report(planted).html
    assert "planted=3.0" in reproduce(planted)


def test_without_it_nothing_else_changes(planted, compare_line):
    plain = compare_line()
    assert "planted" not in plain.children
    assert "planted" not in reproduce(plain)
    for group in ("posterior", "modes", "evidence"):
        assert plain[group].to_dataset().identical(planted[group].to_dataset())


def test_true_is_a_minute(compare_line, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "pymc_kl.comparison.planted.plant_modes", lambda *arguments, **_: asked.append(arguments[3]) or stop()
    )
    planted = compare_line(planted=True)
    assert asked[0].seconds == SECONDS
    assert json.loads(planted.attrs["settings"])["planted"] is True


def stop():
    raise ValueError("log Z must be known.")


def test_why_none_could_be_planted_is_said(compare_line, monkeypatch):
    group = module.planted_group
    monkeypatch.setattr(
        module, "planted_group",
        lambda against, *rest: group(replace(against, modes=replace(against.modes, reason="it has steps")), *rest),
    )  # fmt: skip
    planted = compare_line(planted=1.0)
    assert planted["planted"].attrs["summary"].endswith("nothing can be planted: it has steps")
    assert "No modes were planted to test the search" in pkl.report(planted).html


@pytest.mark.parametrize("seconds", [-1.0, np.nan])
def test_seconds_below_zero_are_refused(compare_line, seconds):
    with pytest.raises(ValueError, match="planted must be at least 0"):
        compare_line(planted=seconds)
