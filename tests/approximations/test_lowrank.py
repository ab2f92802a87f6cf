"""The low-rank Gaussian: its density without a matrix, and a fit that is maximum-likelihood factor analysis."""

import numpy as np
import pytest
from problems import gaussian_kl
from scipy.stats import multivariate_normal

from pymc_kl.approximations import FullRank, LowRank, MeanField
from pymc_kl.approximations.estimation.factor_analysis import (
    LEAST_OWN_VARIANCE,
    Standardised,
    fit_factors,
    leading_axes,
)


def member(d, rank, rng):
    return LowRank(loc=rng.normal(size=d), factor=rng.normal(size=(d, rank)), scale=rng.uniform(0.5, 1.5, d))


def with_moments(q, n, rng):
    """Draws (n, d) whose mean and covariance are exactly those of q."""
    z = rng.standard_normal((n, q.d))
    z -= z.mean(axis=0)
    return q.loc + z @ np.linalg.inv(np.linalg.cholesky(z.T @ z / n)).T @ q.scale_tril.T


def kl_of(q, fit):
    return gaussian_kl(q.loc, q.covariance, fit.loc, fit.covariance)


# The density


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_log_prob_is_that_of_scipy(rank, rng):
    q = member(5, rank, rng)
    x = q.sample(200, random_seed=rng)
    np.testing.assert_allclose(q.log_prob(x), multivariate_normal(q.loc, q.covariance).logpdf(x), rtol=1e-10)
    np.testing.assert_allclose(q.scale_tril @ q.scale_tril.T, q.covariance, atol=1e-12)


def test_log_prob_stands_coordinates_with_next_to_no_variance_of_their_own(rng):
    q = LowRank(loc=np.zeros(3), factor=np.array([[1.0], [2.0], [0.5]]), scale=np.array([1e-6, 1.0, 1e-5]))
    x = q.sample(100, random_seed=rng)
    wide = np.longdouble(1)  # a closed form in extended precision: the inverse by Woodbury, term by term
    z = (x / q.scale).astype(np.longdouble)
    ratio = (q.factor[:, 0] / q.scale).astype(np.longdouble)
    square = (z**2).sum(axis=1) - (z @ ratio) ** 2 / (wide + ratio @ ratio)
    log_det = 2 * np.log(q.scale).sum() + np.log1p(float(ratio @ ratio))
    expected = -0.5 * (square.astype(float) + log_det + 3 * np.log(2 * np.pi))
    np.testing.assert_allclose(q.log_prob(x), expected, atol=1e-5)


def test_moments_of_draws(rng):
    q = member(3, 2, rng)
    x = q.sample(100_000, random_seed=rng) - q.loc
    products = x[:, :, None] * x[:, None, :]
    assert (abs(x.mean(axis=0)) < 5 * x.std(axis=0) / np.sqrt(len(x))).all()
    assert (abs(products.mean(axis=0) - q.covariance) < 5 * products.std(axis=0) / np.sqrt(len(x))).all()


# The fit


@pytest.mark.parametrize(("d", "rank"), [(4, 1), (8, 2), (30, 3), (300, 4)])
def test_a_covariance_that_is_in_the_family_is_found_exactly(d, rank, rng):
    q = member(d, rank, rng)
    fit = LowRank.fit_forward(with_moments(q, 4 * d, rng), rank=rank, rng=rng)
    assert 0 <= kl_of(q, fit) < 1e-6
    assert fit.rank == fit.info["rank"] == rank
    assert fit.info["converged"]


def test_the_fit_is_a_stationary_point_of_the_likelihood(rng):
    """No small change of a parameter raises the mean log density of the draws it was fitted to."""
    x = rng.standard_t(5, size=(400, 6)) @ rng.normal(size=(6, 6))
    fit = LowRank.fit_forward(x, rank=2, rng=rng)
    best = fit.log_prob(x).mean()
    for _ in range(20):
        for step in (-1e-3, 1e-3):
            factor = LowRank(loc=fit.loc, factor=fit.factor + step * rng.normal(size=fit.factor.shape), scale=fit.scale)
            scale = LowRank(loc=fit.loc, factor=fit.factor, scale=fit.scale * np.exp(step * rng.normal(size=6)))
            assert max(factor.log_prob(x).mean(), scale.log_prob(x).mean()) < best + 1e-9


def test_rank_zero_is_the_mean_field_gaussian(rng):
    x = rng.standard_normal((300, 4)) @ rng.normal(size=(4, 4))
    fit, gaussian = LowRank.fit_forward(x, rank=0, rng=rng), MeanField.fit_forward(x)
    np.testing.assert_allclose(fit.scale, gaussian.scale, rtol=1e-12)
    np.testing.assert_allclose(fit.log_prob(x), gaussian.log_prob(x), rtol=1e-12)


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_the_rank_of_the_truth_is_chosen(rank, rng):
    fit = LowRank.fit_forward(member(12, rank, rng).sample(3000, random_seed=rng), rng=rng)
    scores = fit.info["scores"]
    assert fit.rank == fit.info["rank"] == rank
    assert scores[rank] == fit.info["held_out_score"]
    assert scores[rank] >= max(scores.values()) - fit.info["held_out_score_se"]


def test_held_out_score_predicts_that_of_fresh_draws(rng):
    q = member(10, 2, rng)
    fit = LowRank.fit_forward(q.sample(4000, random_seed=rng), rng=rng)
    fresh = fit.log_prob(q.sample(100_000, random_seed=rng)).mean()
    assert abs(fit.info["held_out_score"] - fresh) < 5 * fit.info["held_out_score_se"]


def test_blocks_keep_autocorrelation_from_looking_like_factors():
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.standard_normal((4000, 12)), axis=0)
    x -= np.array([x[max(i - 60, 0) : i + 60].mean(axis=0) for i in range(len(x))])
    blocks = np.arange(4000) // 400
    blocked = LowRank.fit_forward(x, blocks=blocks, rng=np.random.default_rng(1))
    shuffled = LowRank.fit_forward(x, rng=np.random.default_rng(1))
    assert blocked.rank < shuffled.rank
    assert blocked.info["held_out_score_se"] > 2 * shuffled.info["held_out_score_se"]


def test_weights_and_copies_agree(rng):
    x = member(6, 2, rng).sample(500, random_seed=rng)
    copies = rng.integers(1, 4, 500)
    one = LowRank.fit_forward(x, copies.astype(float), rng=np.random.default_rng(1))
    two = LowRank.fit_forward(np.repeat(x, copies, axis=0), rng=np.random.default_rng(1))
    np.testing.assert_allclose(one.covariance, two.covariance, rtol=1e-3, atol=1e-4)
    assert one.info["scores"] == pytest.approx(two.info["scores"], rel=1e-5)
    np.testing.assert_allclose(one.loc, np.average(x, axis=0, weights=copies), rtol=1e-10)


def test_scales_and_origin_do_not_matter(rng):
    x, scales = member(6, 2, rng).sample(800, random_seed=rng), 10.0 ** np.arange(-4, 8, 2)
    one = LowRank.fit_forward(x, rng=np.random.default_rng(1))
    two = LowRank.fit_forward(x * scales + scales, rng=np.random.default_rng(1))
    assert one.rank == two.rank
    jacobian = np.log(scales).sum()
    np.testing.assert_allclose(two.log_prob(x * scales + scales) + jacobian, one.log_prob(x), atol=1e-5)
    assert two.info["held_out_score"] + jacobian == pytest.approx(one.info["held_out_score"], abs=1e-5)


def test_fewer_draws_than_coordinates_beat_mean_field(rng):
    q = member(60, 2, rng)
    fit = LowRank.fit_forward(q.sample(50, random_seed=rng), rng=rng)
    mean_field = MeanField.fit_forward(q.sample(50, random_seed=rng))
    assert 1 <= fit.rank <= 4
    assert kl_of(q, fit) < 0.5 * kl_of(q, mean_field)


def test_a_heywood_case_neither_crashes_nor_collapses(rng):
    """One coordinate is the factor itself: its own variance is 0, and the likelihood is bounded all the same."""
    z = rng.standard_normal((2000, 1))
    x = np.hstack([z, 0.8 * z + rng.standard_normal((2000, 1)), 0.5 * z + rng.standard_normal((2000, 1))])
    fit = LowRank.fit_forward(x, rank=1, rng=rng)
    share = fit.scale**2 / np.diag(fit.covariance)
    assert share.min() >= 0.9 * LEAST_OWN_VARIANCE
    assert np.isfinite(fit.log_prob(x)).all()
    assert kl_of(FullRank.fit_forward(x), fit) < 0.01
    two = LowRank.fit_forward(np.hstack([z, z + 1e-9 * rng.standard_normal((2000, 1)), x[:, 1:]]), rank=1, rng=rng)
    assert any("Heywood case" in warning for warning in two.info["warnings"])
    assert np.isfinite(two.log_prob(two.sample(10, random_seed=rng))).all()


def test_leading_axes_are_those_of_a_dense_eigenvalue_problem(rng):
    for m, d in ((40, 300), (400, 300), (500, 20)):
        root = rng.standard_normal((m, d)) * np.linspace(1, 3, d)
        values, axes = leading_axes(root, 3)
        expected = np.linalg.eigvalsh(root.T @ root)[-3:]
        np.testing.assert_allclose(np.sort(values), expected, rtol=1e-8)
        np.testing.assert_allclose(root.T @ (root @ axes), axes * values, atol=1e-5 * expected.max())


def test_the_start_does_not_matter(rng):
    x = member(8, 2, rng).sample(2000, random_seed=rng)
    root = Standardised.of(x, np.full(2000, 1 / 2000)).root
    fits = [fit_factors(root, 2, start) for start in (None, np.full(8, 0.05), rng.uniform(0.1, 1, 8))]
    for fit in fits[1:]:
        np.testing.assert_allclose(fit.own, fits[0].own, atol=1e-4)


@pytest.mark.slow
def test_a_thousand_dimensions_take_seconds(rng):
    q = member(1000, 10, rng)
    fit = LowRank.fit_forward(q.sample(3000, random_seed=rng), rng=rng)
    assert fit.rank == 10
    assert kl_of(q, fit) < 1.2 * (1000 * 12 - 45) / (2 * 3000)


# What is refused


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"rank": 3}, r"rank must be from 0 to d - 1 = 2; got 3\. Use fullrank"),
        ({"rank": -1}, "rank must be from 0 to d - 1 = 2; got -1"),
        ({"x": np.ones((5, 3))}, "at least 2 effective draws that differ; got 1.0"),
        ({"x": np.c_[np.arange(9.0), np.ones(9)]}, r"coordinates \[1\] of x don't vary, so"),
        ({"blocks": np.zeros(3, int)}, "blocks must be integers of shape"),
    ],
)
def test_bad_input_is_refused(arguments, match, rng):
    with pytest.raises(ValueError, match=match):
        LowRank.fit_forward(**{"x": rng.standard_normal((50, 3)), **arguments})


def test_too_few_draws_to_hold_out_give_rank_zero_and_no_score(rng):
    fit = LowRank.fit_forward(rng.standard_normal((8, 3)), rng=rng)
    assert fit.rank == 0
    assert np.isnan(fit.info["held_out_score"])
    assert any("too few draws to hold any out" in warning for warning in fit.info["warnings"])
