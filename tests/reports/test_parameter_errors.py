"""Which parameters are furthest off: those that vary, not the rounding of those that don't."""

import numpy as np
import pytest
import xarray as xr

from pymc_kl.reports.parameters import largest_mean_error, parameter_errors
from pymc_kl.scores.marginals import STATISTICS


def comparison(reference, fit):
    """Each of (mean, sd) of x[0] and x[1], with errors of a hundredth of the sd."""
    rows = []
    for mean, sd in (np.array(reference).T, np.array(fit).T):
        row = {"mean": mean, "sd": sd, "lower": mean - 1.6 * sd, "upper": mean + 1.6 * sd, "wasserstein": 0 * sd}
        rows.append([row.get(name, sd / 100) for name in STATISTICS])
    x = xr.DataArray(np.array(rows), dims=["source", "statistic", "i"])
    table = xr.Dataset({"x": x}, coords={"source": ["reference", "q"], "statistic": list(STATISTICS)})
    return xr.DataTree.from_dict({"parameters": table})


def test_a_constant_up_to_rounding_is_left_out():
    """The diagonal of a Cholesky factor of correlations, or observed entries beside imputed ones: 1 ± 1e-16."""
    errors = parameter_errors(comparison([(1.0, 1e-16), (0.5, 0.2)], [(1.0 + 1e-15, 6e-15), (0.5, 0.1)]), "q")
    assert [ratio.value for ratio in errors.sd_ratios.values()] == [pytest.approx(0.5)]
    assert errors.mean.by.value == 0
    assert {error.label for error in (errors.mean, errors.sd, errors.tail)} == {"x[1]"}


def test_a_narrow_parameter_is_no_constant():
    """A year known to a tenth of a millisecond varies still."""
    errors = parameter_errors(comparison([(2026.0, 3e-8), (0.5, 0.2)], [(2026.0, 6e-8), (0.5, 0.2)]), "q")
    assert [ratio.value for ratio in errors.sd_ratios.values()] == pytest.approx([2.0, 1.0])
    assert errors.sd.label == "x[0]"


def test_a_mean_that_is_off_by_rounding_is_not_told():
    quantities = ["given", "reference", "reference_se", "off_in_sd"]
    x = xr.DataArray([[1.0 + 2e-16, 2.0], [1.0, 1.0], [1e-17, 0.1], [2.0, 1.5]], dims=["quantity", "i"])
    label, given, _ = largest_mean_error(xr.Dataset({"x": x}, coords={"quantity": quantities}))
    assert (label, given) == ("x[1]", 2.0)
