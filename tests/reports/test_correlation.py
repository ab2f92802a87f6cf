"""Which correlation a fit misses: only where draws leave no doubt, within one mode, which has no copies."""

import numpy as np
import pytest
import xarray as xr

from pymc_kl.reports.correlation import missed_correlation


def comparison(posterior: float, fit: float, *, n: int = 2000, copies: float = 1.0) -> xr.DataTree:
    """Normal draws of x[0] and x[1] that are so correlated; a Deterministic that is a copy; a second mode far off."""
    rng, groups = np.random.default_rng(1), {}
    for name, r in (("", posterior), ("approximations/q/", fit)):
        x = rng.multivariate_normal([0, 0], [[1, r], [r, 1]], (4, n // 4))
        x[:, 0], mode = 50.0, np.ones((4, n // 4), int)
        mode[:, 0] = 2
        data = {"x": (("chain", "draw", "i"), x), "twice": (("chain", "draw"), 2 * x[..., 0])}
        groups[f"{name}posterior"] = xr.Dataset(data)
        groups[f"{name}sample_stats"] = xr.Dataset({"mode": (("chain", "draw"), mode)})
    groups["scores"] = xr.Dataset(coords={"approximation": ["q"]})
    groups["modes"] = xr.Dataset({"copies": ("mode", [copies, 1.0]), "ess": ("mode", [n, 4.0])}, {"mode": [1, 2]})
    dt = xr.DataTree.from_dict(groups)
    dt.attrs["free_variables"] = '["x"]'
    return dt


def test_a_strong_correlation_that_a_fit_lacks_is_named() -> None:
    missed = missed_correlation(comparison(-0.9, 0.0), "q")
    assert missed is not None and missed.of == ("x[0]", "x[1]")
    for estimate, truth in ((missed.posterior, -0.9), (missed.fit, 0.0)):
        assert abs(estimate.value - truth) < 5 * estimate.se
    assert missed.posterior.se == pytest.approx(0.19 / np.sqrt(2000), rel=0.1)


@pytest.mark.parametrize(
    ("posterior", "fit", "options"),
    [
        (-0.9, -0.8, {}),  # it has most of it
        (0.45, 0.0, {}),  # not strong
        (-0.9, 0.0, {"copies": 2.0}),  # copies of a mode may have other signs
        (-0.9, 0.0, {"n": 40}),  # too few draws
        (0.6, 0.2, {"n": 120}),  # not surely
    ],
)
def test_nothing_is_said_where_it_is_not_sure(posterior: float, fit: float, options: dict) -> None:
    assert missed_correlation(comparison(posterior, fit, **options), "q") is None


def test_the_other_sign_is_missed_as_well() -> None:
    assert missed_correlation(comparison(0.9, -0.9), "q") is not None
