"""What stands for draws and for a comparison: trees, datasets, arrays, paths; and what a table says of itself."""

import arviz as az
import numpy as np
import pytest
import xarray as xr
from support.report_comparisons import typical

import pymc_kl as pkl
from pymc_kl.model.draws import as_posterior_draws

FORMS = {
    "dataset": lambda tree, path: tree["posterior"].to_dataset(),
    "node": lambda tree, path: tree["posterior"],
    "arrays": lambda tree, path: {"x": tree["posterior"]["x"].values},
    "path": lambda tree, path: path,
    "text": lambda tree, path: str(path),
}


@pytest.fixture(scope="module")
def tree(exact_draws):
    return xr.DataTree.from_dict({"posterior": exact_draws("two_modes", 400, 1)})


@pytest.mark.parametrize("form", FORMS)
def test_draws_in_any_form_are_the_same(form, tree, zoo, tmp_path):
    _, target = zoo("two_modes")
    tree.to_netcdf(tmp_path / "trace.nc")
    given = FORMS[form](tree, tmp_path / "trace.nc")
    np.testing.assert_array_equal(as_posterior_draws(given, target).x, as_posterior_draws(tree, target).x)


@pytest.fixture(scope="module")
def compared(tree, zoo, tmp_path_factory):
    """A comparison with draws that are named by their file."""
    path = tmp_path_factory.mktemp("draws") / "trace.nc"
    data = xr.DataTree(xr.Dataset({"y": ("n", [1.0, 2.0])}))
    xr.DataTree.from_dict({"posterior": tree["posterior"], "observed_data": data}).to_netcdf(path)
    _, target = zoo("two_modes")
    return pkl.compare(path, {}, model=target, n_starts=64, forward=(), random_seed=1, progressbar=False)


def test_a_file_of_draws_is_compared_with_its_data(compared):
    assert compared["observed_data"]["y"].values.tolist() == [1.0, 2.0]
    assert float(compared["audit"]["n_draws"].sum()) == 400


def test_arviz_colours_draws_by_their_mode(compared):
    shown = az.plot_dist(compared, aes={"color": ["mode"]}, backend="none").viz["dist"]["x"]
    assert shown["mode"].values.tolist() == [1, 2]
    np.testing.assert_array_equal(compared["posterior"]["mode"], compared["sample_stats"]["mode"])


def test_columns_say_what_they_are_and_in_which_unit(compared):
    for group in ("modes", "scores", "coverage", "evidence"):
        table = compared[group].to_dataset()
        assert all(column.attrs["long_name"] for column in table.data_vars.values())
    assert compared["evidence"]["log_evidence_se"].attrs == {
        "long_name": "standard error of: log evidence, log Z",
        "units": "nats",
    }
    assert compared["coverage"]["reverse_kl_within"].attrs["units"] == "nats"
    assert "units" not in compared["modes"]["mass"].attrs


@pytest.mark.parametrize("function", [pkl.report, pkl.summary, pkl.coverage])
@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["text", "path"])
def test_the_path_of_a_comparison_stands_for_it(function, kind, tmp_path):
    comparison = typical()
    path = pkl.save(comparison, tmp_path / "comparison.nc")
    assert str(function(kind(path))) == str(function(comparison))
