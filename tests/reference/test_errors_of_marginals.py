"""Means, standard deviations and quantiles of a posterior of two modes, from correlated draws and uncertain masses."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import brentq
from scipy.signal import lfilter
from scipy.stats import norm

from pymc_kl.approximations import Draws
from pymc_kl.comparison.fit import AssignedFit, Fit
from pymc_kl.modes.assign import CanonicalPoints
from pymc_kl.modes.masses import masses_from_independent, masses_from_log
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.reference.local_draws import LocalDraws
from pymc_kl.reference.posterior import ModewisePosterior
from pymc_kl.scores.marginals import MAX_DRAWS, Source, describe, moments
from pymc_kl.scores.thinning import independent_size

LOC, SCALE, WEIGHT = np.array([3.0, -3.0]), np.array([1.0, 0.6]), np.array([0.7, 0.3])
N_REPLICATES = 400
STATISTICS = ("mean", "sd", "lower", "upper")


class Line:
    """A target with one variable, the unconstrained coordinate itself."""

    def to_dataset(self, x: np.ndarray) -> xr.Dataset:
        return xr.Dataset({"x": (("chain", "draw"), x[..., 0])})


def autoregressive(rng, correlation, shape):
    """Standard normal AR(1) chains along the last axis, from their stationary law."""
    steps = np.sqrt(1 - correlation**2) * rng.standard_normal(shape)
    steps[..., 0] /= np.sqrt(1 - correlation**2)
    return lfilter([1.0], [1.0, -correlation], steps, axis=-1)


def truth(weight=WEIGHT, loc=LOC, scale=SCALE):
    mean = weight @ loc
    quantile = [brentq(lambda q, p=p: weight @ norm.cdf(q, loc, scale) - p, -20, 20) for p in (0.05, 0.95)]
    return np.array([mean, np.sqrt(weight @ (scale**2 + loc**2) - mean**2), *quantile])


def z_of(source, right):
    """Errors (4,) of the statistics over their standard errors."""
    row = describe(Line(), source, {})["x"].sel(source="reference")
    beside = zip(STATISTICS, right, strict=True)
    return np.array([float((row.sel(statistic=s) - t) / row.sel(statistic=f"{s}_se")) for s, t in beside])


def check(z):
    """95 % intervals hold the truth in more than 90 % of replicates, and errors are not too large either."""
    inside = (np.abs(z) < 1.96).mean(axis=0)
    assert (inside > 0.9).all(), (inside, z.std(axis=0))
    assert (z.std(axis=0) > 0.75).all(), z.std(axis=0)
    assert (np.abs(z.mean(axis=0)) < 0.3).all(), z.mean(axis=0)


def drawn(rng, correlation, n, mass_se, template):
    """A posterior of both modes: AR(1) draws of each, and masses from log normalising constants with errors."""
    logs = np.log(WEIGHT) + mass_se * rng.standard_normal(2)
    masses, _ = masses_from_log([Estimate(float(v), mass_se) for v in logs], np.array([n, n, 0]))
    chains = [m + s * autoregressive(rng, correlation, n) for m, s in zip(LOC, SCALE, strict=True)]
    local = tuple(
        LocalDraws(x[:, None], rng.standard_normal(n), np.full(n, k), np.ones(n), "NUTS") for k, x in enumerate(chains)
    )
    return replace(template, masses=masses, local=local)


@pytest.fixture(scope="module")
def template():
    blank = dict.fromkeys(("target", "modes", "masses", "evidence", "given", "canonical"))
    return ModewisePosterior(log_masses=(), local=(), partial=False, **blank)


@pytest.mark.parametrize(("correlation", "n", "mass_se"), [(0.9, 3000, 0.05), (0.0, 6000, 0.05), (0.95, 12_000, 0.001)])
def test_the_errors_of_a_reference_hold(rng, template, correlation, n, mass_se):
    z = []
    for _ in range(N_REPLICATES):
        posterior = drawn(rng, correlation, n, mass_se, template)
        kept = posterior.thinned
        mixed = kept.take(rng.permutation(len(kept)))
        z.append(z_of(Source(mixed.x, mixed.weights, mixed.mode, posterior.masses), truth()))
    check(np.array(z))


@pytest.mark.parametrize("correlation", [0.5, 0.9])
def test_the_errors_of_chains_hold_in_one_mode(rng, correlation):
    """The coordinate is slow, log p̃ is not."""
    z = []
    for _ in range(N_REPLICATES):
        x = autoregressive(rng, correlation, (4, 4000)).reshape(-1, 1)
        masses = masses_from_log([Estimate(0.0, 0.0)], np.array([16_000, 0]))[0]
        source = Source.of_chains(x, rng.standard_normal(16_000), np.zeros(16_000, dtype=int), masses)
        z.append(z_of(source, truth(np.ones(1), np.zeros(1), np.ones(1))))
    check(np.array(z))


def test_the_error_of_a_standard_deviation_hears_of_slow_squares(rng):
    """Signs change at each draw, and so does x, but its scale, 0.5 or 2, stays for twenty draws."""
    z = []
    for _ in range(N_REPLICATES):
        scale = np.repeat(rng.choice([0.5, 2.0], 200), 20)
        x = scale * rng.standard_normal(len(scale))
        mode = np.zeros(len(x), dtype=int)
        chains = Source.of_chains(x[:, None], rng.standard_normal(len(x)), mode, masses_from_independent(mode, 1))
        found = moments(chains.x, chains)
        z.append((found["sd"] - np.sqrt(2.125)) / found["sd_se"])
    check(np.array(z))


def test_the_error_of_a_standard_deviation_makes_up_for_skewed_squares(rng):
    """Of 100 squared normals it is too small where the sd is: without their skewness 85 % of intervals hold."""
    x = rng.standard_normal((100, 4 * N_REPLICATES)) ** 2
    found = moments(x, Source(x, np.full(100, 1 / 100)))
    z = (found["sd"] - np.sqrt(2)) / found["sd_se"]
    assert (np.abs(z) < 1.96).mean() > 0.87
    assert z.std() < 1.3


def chains_between(rng, move):
    """Chains (4, 500) that draw their mode anew with probability `move` at each step: draws (n, 1) and their modes."""
    anew = rng.random((4, 500)) < move
    anew[:, 0] = True
    last = np.maximum.accumulate(np.where(anew, np.arange(500), 0), axis=1)
    mode = np.take_along_axis((rng.random((4, 500)) < WEIGHT[1]).astype(int), last, axis=1)
    return (LOC[mode] + SCALE[mode] * rng.standard_normal((4, 500))).reshape(-1, 1), mode.ravel()


def test_the_errors_of_an_approximation_that_is_chains_hold(rng):
    """Chains that seldom change modes; as independent draws their mean's error was three times too small."""
    z = []
    for _ in range(N_REPLICATES):
        x, mode = chains_between(rng, 0.1)
        canonical = CanonicalPoints(x, mode, mode, np.ones(len(x)), mode >= 0)
        fit = AssignedFit(
            fit=Fit("q", Draws(x=x, n_chains=4)), x=x, log_density=rng.standard_normal(len(x)), log_prob=None,
            canonical=canonical,
        )  # fmt: skip
        z.append(z_of(fit.source(2), truth()))
    check(np.array(z))


def test_repeats_of_particles_add_nothing(rng):
    x = rng.standard_normal((100, 1))
    errors = []
    for rows in (np.arange(100), np.repeat(np.arange(100), 20)):
        none = np.zeros(len(rows), dtype=int)
        fit = AssignedFit(
            fit=Fit("q", Draws(x=x[rows])), x=x[rows], log_density=none * 1.0, log_prob=None,
            canonical=CanonicalPoints(x[rows], none, none, none + 1.0, none == 0),
        )  # fmt: skip
        errors.append(describe(Line(), fit.source(1), {})["x"].sel(source="reference", statistic="mean_se").item())
    assert errors[1] == pytest.approx(errors[0], rel=1e-9)


def test_as_many_draws_are_kept_as_are_nearly_independent():
    """AR(1) draws of correlation 0.9 have an effective size of n / 19, and 0.9³³ is 0.03."""
    assert independent_size(19_000, 1000) == pytest.approx(19_000 / 33.3, rel=0.01)
    assert independent_size(1000, 1000) == 1000
    assert independent_size(1000, 0.0) >= 1


def test_thinning_keeps_the_mass_of_each_mode(rng):
    mode = rng.integers(0, 3, 3 * MAX_DRAWS) - 1
    weights = rng.random(len(mode))
    masses, _ = masses_from_log([Estimate(0.0, 0.1)] * 2, np.array([9, 9, 0]))
    thinned = Source(rng.standard_normal((len(mode), 1)), weights / weights.sum(), mode, masses).thinned()
    assert len(thinned.x) <= MAX_DRAWS + 3
    for k in (-1, 0, 1):
        assert thinned.weights[thinned.mode == k].sum() == pytest.approx(weights[mode == k].sum() / weights.sum())
