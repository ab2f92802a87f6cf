"""Fits may be called anything that is text: tables, pictures, pages and files give their names whole."""

from html import escape

import pymc as pm
import pytest
import xarray as xr
from arviz_base.labels import BaseLabeller
from hypothesis import example, given
from hypothesis import strategies as st

import pymc_kl as pkl
from pymc_kl.comparison.datatree import fit_groups, group_of_fit
from pymc_kl.plots.parts.contract import Selection
from pymc_kl.plots.parts.view import view_comparison

NAMES = ("a/b", "a%2Fb", "=1+1", "<img src=x>", "x\ny", "long " * 60, "/", "100%/")


@pytest.fixture(scope="module")
def compared() -> xr.DataTree:
    """Compare with a fit of each name, made by PyMC so that it has losses, and draws of the same name at last."""
    with pm.Model():
        pm.Normal("x")
        fit = pm.fit(200, random_seed=1, progressbar=False)
        draws = pm.sample_prior_predictive(500, random_seed=1)["prior"].to_dataset()
        fits = dict.fromkeys(NAMES, fit)
        return pkl.compare(draws, fits, forward=(), random_seed=1, progressbar=False)


def test_a_comparison_gives_names_whole(compared):
    assert list(fit_groups(compared)) == list(NAMES)
    assert set(pkl.summary(compared).index) == set(NAMES)
    assert not any(pkl.summary(compared, kind="all")["error"])
    assert {name for name, value in pkl.coverage(compared) if value == "%"} == {"reference", *NAMES}
    x = fit_groups(compared)["a/b"]["posterior"]["x"]
    assert x.identical(compared["approximations/a%2Fb/posterior"]["x"])
    assert not x.equals(compared["posterior"]["x"])


def test_pictures_and_the_page_find_every_fit(compared):
    assert list(pkl.plot_loss(compared, backend="none").viz["loss"]["loss"]["approximation"].values) == list(NAMES)
    selection, labeller = Selection(None, None, None), BaseLabeller()
    view = view_comparison(compared, selection, approximations=None, n=1, jointly=False, labeller=labeller)
    assert list(view.approximations) == list(NAMES)
    page = pkl.report(compared).html
    assert "could not be drawn" not in page
    for name in NAMES:
        assert escape(name) in page


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_files_give_names_back(suffix, compared, tmp_path):
    loaded = pkl.load(pkl.save(compared, tmp_path / f"c{suffix}"))
    xr.testing.assert_identical(loaded, compared)
    assert set(pkl.summary(loaded).index) == set(NAMES)
    assert list(fit_groups(loaded)) == list(NAMES)


@example({"%2F", "/", "%252F", "%25/", "%/2F"})
@given(st.sets(st.text("/%25F", min_size=1), max_size=6))
def test_every_fit_has_a_group_of_its_own(names):
    groups = {name: group_of_fit(name) for name in names}
    assert not any("/" in group for group in groups.values())
    assert len({*groups.values()}) == len(names)


@pytest.mark.parametrize("name", ["ADVI", "forward mixture", "100%", "a%2fb", "a%25b"])
def test_a_name_without_a_slash_is_that_of_its_group(name):
    assert group_of_fit(name) == name


def test_no_draws_have_dims_with_a_slash():
    """What `compare` refuses, PyMC can't sample: its DataTree takes the dim's labels for a path."""
    with pm.Model(coords={"a/b": [1, 2]}):
        pm.Normal("x", dims="a/b")
        with pytest.raises(ValueError, match="names containing the '/' character"):
            pm.sample_prior_predictive(5, random_seed=1)
    with pm.Model(), pytest.raises(ValueError, match="'a/b' cannot contain '/'"):
        pm.Normal("a/b")
