"""Means, spreads and tails of every variable, with errors that are right."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm, wasserstein_distance

from pymc_kl.modes.masses import masses_from_log
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.scores.marginals import MAX_DRAWS, STATISTICS, Source, describe, mean_se


class Shown:
    """A target whose variables are the unconstrained coordinates themselves: a vector and a scalar."""

    def to_dataset(self, x: np.ndarray) -> xr.Dataset:
        coords = {"group": ["a", "b"]}
        return xr.Dataset(
            {"mu": (("chain", "draw", "group"), x[..., :2]), "tau": (("chain", "draw"), x[..., 2])}, coords
        )


def source(x):
    return Source(x, np.full(len(x), 1 / len(x)))


def test_statistics_and_their_errors_hold_the_truth(rng):
    """Over replicates, errors divided by the standard errors said are of size one; the truth is a normal's."""
    truth = {"mean": 1.0, "sd": 2.0, "lower": 1 + 2 * norm.ppf(0.05), "upper": 1 + 2 * norm.ppf(0.95)}
    scaled = {name: [] for name in truth}
    for _ in range(200):
        table = describe(Shown(), source(1 + 2 * rng.standard_normal((1000, 3))), {})
        row = table["mu"].sel(source="reference", group="a")
        for name, value in truth.items():
            scaled[name].append(float((row.sel(statistic=name) - value) / row.sel(statistic=f"{name}_se")))
    for name, values in scaled.items():
        assert abs(np.mean(values)) < 0.35, name
        assert 0.8 < np.std(values) < 1.25, name


def test_the_distance_is_that_of_a_shift(rng):
    x = rng.standard_normal((2000, 3))
    table = describe(Shown(), source(x), {"q": source(x + 0.5)})
    assert table["statistic"].values.tolist() == list(STATISTICS)
    np.testing.assert_allclose(table["mu"].sel(source="q", statistic="wasserstein"), 0.5, rtol=1e-9)
    assert float(table["tau"].sel(source="reference", statistic="wasserstein")) == 0.0


def test_the_distance_of_weighted_draws_is_that_of_as_many_equal_ones(rng):
    x, y = rng.standard_normal((400, 3)), rng.standard_normal((400, 3)) ** 3
    even = describe(Shown(), source(x), {"q": source(y)})["mu"].sel(source="q", statistic="wasserstein")
    np.testing.assert_allclose(even[0], wasserstein_distance(x[:, 0], y[:, 0]), rtol=1e-12)
    twice = Source(np.concatenate([y, y]), np.repeat([0.75, 0.25], 400) / 400)
    np.testing.assert_allclose(
        describe(Shown(), source(x), {"q": twice})["mu"].sel(source="q", statistic="wasserstein"), even, rtol=1e-9
    )


def test_doubling_a_draw_is_doubling_its_weight(rng):
    x = rng.standard_normal((300, 3))
    weights = rng.integers(1, 4, 300)
    doubled = describe(Shown(), source(np.repeat(x, weights, axis=0)), {})
    weighted = describe(Shown(), Source(x, weights / weights.sum()), {})
    for name in ("mean", "sd", "lower", "upper"):
        expected = doubled["mu"].sel(statistic=name)
        np.testing.assert_allclose(weighted["mu"].sel(statistic=name), expected, rtol=1e-9)


def test_the_error_of_a_mean_over_modes_has_the_masses_part():
    """Two modes at -3 and 3 without spread: the mean's error is 6 times that of a mass."""
    masses, _ = masses_from_log([Estimate(np.log(0.7), 0.02), Estimate(np.log(0.3), 0.02)], np.array([100, 100, 0]))
    values = np.repeat([3.0, -3.0], 100)
    weights = np.repeat([0.7, 0.3], 100) / 100
    mode = np.repeat([0, 1], 100)
    se = mean_se(values[:, None], Source(values[:, None], weights, mode, masses))
    assert float(se[0]) == pytest.approx(6 * masses.se[0], rel=1e-9)


def test_draws_of_no_mode_take_part(rng):
    masses, _ = masses_from_log([Estimate(0.0, 0.0)], np.array([90, 10]))
    values = rng.standard_normal((100, 1))
    mode = np.where(np.arange(100) < 90, 0, -1)
    weights = np.full(100, 0.01)
    assert float(mean_se(values, Source(values, weights, mode, masses))[0]) == pytest.approx(0.1, rel=0.4)


def test_long_runs_are_thinned(rng):
    assert len(source(rng.standard_normal((MAX_DRAWS + 500, 3))).thinned().x) == MAX_DRAWS
    assert float(source(np.zeros((MAX_DRAWS + 500, 3))).thinned().weights.sum()) == pytest.approx(1.0)


def test_a_model_may_have_dims_of_these_names(rng):
    class Named(Shown):
        def to_dataset(self, x):
            return super().to_dataset(x).rename(group="source")

    table = describe(Named(), source(rng.standard_normal((100, 3))), {"q": source(rng.standard_normal((100, 3)))})
    assert table["mu"].sizes["source"] == 2
    assert table["mu"].sizes["source_of_model"] == 2
