"""One contract for every family of q."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymc_kl.approximations import (
    FAMILIES,
    Family,
    Flow,
    FullRank,
    LowRank,
    MeanField,
    Mixture,
    StudentT,
    StudentTMixture,
)
from pymc_kl.approximations.estimation import flow_training
from pymc_kl.approximations.estimation.moments import weighted_moments

SETTINGS = settings(max_examples=20, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def example(family: str, d: int, rng: np.random.Generator) -> Family:
    """Some member of a family."""
    loc = rng.normal(size=d)
    tril = np.tril(0.3 * rng.normal(size=(d, d)), -1) + np.diag(rng.uniform(0.5, 1.5, d))
    if family == "meanfield":
        return MeanField(loc=loc, scale=np.diag(tril))
    if family == "fullrank":
        return FullRank(loc=loc, scale_tril=tril)
    if family == "lowrank":
        return LowRank(loc=loc, factor=tril[:, : d - 1], scale=rng.uniform(0.5, 1.5, d))
    if family == "studentt":
        return StudentT(loc=loc, scale_tril=tril, df=5.0)
    if family == "flow":
        return Flow(loc=loc, scale_tril=tril, flow=bent(d, rng))
    weights, locs, trils = np.array([0.3, 0.7]), np.stack([loc, loc + 6]), np.stack([tril, 0.5 * tril])
    if family == "studentt_mixture":
        return StudentTMixture(weights=weights, locs=locs, scale_trils=trils, dfs=np.array([5.0, 7.0]))
    return Mixture(weights=weights, locs=locs, scale_trils=trils)


def bent(d: int, rng: np.random.Generator) -> Any:
    """A flow with random parameters, so no longer the standard normal; its density has kinks where splines meet."""
    with jax.enable_x64(True):
        return jax.tree.map(
            lambda leaf: leaf + 0.05 * rng.standard_normal(leaf.shape) if eqx.is_inexact_array(leaf) else leaf,
            flow_training.build(d),
        )


def stretched(step: float) -> tuple[np.ndarray, np.ndarray]:
    """Points of a line that reach far into the tails, and the length (in x) that each stands for."""
    u = np.arange(-9, 9, step)
    return 3 + 6 * np.sinh(u), 6 * np.cosh(u) * step


@pytest.mark.parametrize("family", FAMILIES)
class TestContract:
    def test_integrates_to_one(self, family, rng):
        q = example(family, 1, rng)
        x, lengths = stretched(1e-3)
        assert np.exp(q.log_prob(x[:, None])) @ lengths == pytest.approx(1, abs=1e-5 if family == "flow" else 1e-9)

    def test_integrates_to_one_in_the_plane(self, family, rng):
        q = example(family, 2, rng)
        side, lengths = stretched(0.025)
        density = np.exp(q.log_prob(np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)))
        total = lengths @ density.reshape(side.size, -1) @ lengths
        assert total == pytest.approx(1, abs=1e-3 if family == "flow" else 1e-6)

    def test_sample_agrees_with_log_prob(self, family, rng):
        """Importance sampling from a wide normal gives q's moments; so must its own draws."""
        q = example(family, 2, rng)
        wide = FullRank(loc=np.full(2, 3.0), scale_tril=5 * np.eye(2))
        z = wide.sample(100_000, random_seed=rng)
        w = np.exp(q.log_prob(z) - wide.log_prob(z))
        x = q.sample(20_000, random_seed=rng)
        middle = np.median(x, axis=0)
        for f in (lambda x: x, lambda x: x**2, lambda x: (x > middle).astype(float)):
            theirs, ours = (w[:, None] * f(z)).mean(axis=0), f(x).mean(axis=0)
            se = np.hypot((w[:, None] * f(z)).std(axis=0) / np.sqrt(len(z)), f(x).std(axis=0) / np.sqrt(len(x)))
            assert (abs(theirs - ours) < 5 * se).all()

    def test_a_fit_to_its_own_draws_recovers_it(self, family, rng):
        q = example(family, 2, rng)
        x = q.sample(20_000, random_seed=rng)
        fit = FAMILIES[family].fit_forward(x, rng=rng)
        difference = q.log_prob(x) - fit.log_prob(x)
        assert abs(difference.mean()) < (0.02 if family == "flow" else 0.003)

    def test_same_seed_same_draws(self, family, rng):
        q = example(family, 3, rng)
        np.testing.assert_array_equal(q.sample(50, random_seed=4), q.sample(50, random_seed=4))
        assert (q.sample(50, random_seed=4) != q.sample(50, random_seed=5)).any()

    def test_is_frozen_and_checks_its_input(self, family, rng):
        q = example(family, 2, rng)
        with pytest.raises(AttributeError):
            q.loc = np.zeros(2)
        with pytest.raises(ValueError, match=r"x must have shape \(n, 2\); got \(3,\)"):
            q.log_prob(np.zeros(3))
        with pytest.raises(ValueError, match="n must be at least 1; got 0"):
            q.sample(0)

    def test_draws_are_not_changed_by_a_fit(self, family, rng):
        x = rng.normal(size=(200, 2))
        before = x.copy()
        FAMILIES[family].fit_forward(x, rng=rng)
        np.testing.assert_array_equal(x, before)


CONTAINS = {  # the simpler families that each family has as members, or as limits
    "lowrank": ["meanfield", "lowrank"],
    "fullrank": ["meanfield", "lowrank", "fullrank"],
    "studentt": ["meanfield", "fullrank", "studentt"],
    "mixture": ["meanfield", "fullrank", "mixture"],
    "studentt_mixture": ["meanfield", "fullrank", "studentt", "mixture", "studentt_mixture"],
    "flow": ["meanfield", "fullrank"],
}


@pytest.mark.parametrize(("family", "simpler"), [(f, s) for f, members in CONTAINS.items() for s in members if s != f])
def test_a_family_fits_what_it_contains(family, simpler, rng):
    """The divergence of a fit from its truth is about half its number of parameters over that of the draws."""
    q = example(simpler, 2, rng)
    fit = FAMILIES[family].fit_forward(q.sample(8000, random_seed=rng), rng=rng)
    x = q.sample(50_000, random_seed=rng)
    gap = q.log_prob(x) - fit.log_prob(x)
    kl, kl_se = gap.mean(), gap.std() / np.sqrt(len(gap))
    assert -5 * kl_se < kl < 20 / 8000 + 5 * kl_se


@SETTINGS
@given(seed=seeds)
def test_gaussian_fits_equal_weighted_moments(seed):
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 3)), rng.random(40)
    mean = np.average(x, axis=0, weights=w)
    cov = np.cov(x.T, aweights=w, bias=True)
    full, mean_field = FullRank.fit_forward(x, w), MeanField.fit_forward(x, w)
    np.testing.assert_allclose(full.loc, mean, atol=1e-12)
    np.testing.assert_allclose(full.covariance, cov, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(mean_field.scale**2, np.diag(cov), rtol=1e-12)


@SETTINGS
@given(seed=seeds)
def test_doubling_a_weight_is_adding_a_copy_of_the_draw(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(30, 2))
    w = np.ones(30)
    w[3] = 2
    for one, two in zip(weighted_moments(x, w), weighted_moments(np.vstack([x, x[3]])), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-12)
