"""Student-t families: one multivariate t and mixtures of them, with their degrees of freedom."""

import warnings

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, multivariate_t
from scipy.stats import t as scipy_t

from pymc_kl import fit_forward
from pymc_kl.approximations import FullRank, Mixture, StudentT, StudentTMixture
from pymc_kl.approximations.components import Components, WeightedDraws
from pymc_kl.approximations.estimation.em import Prior, expect, fit_em, maximise, maximise_dfs
from pymc_kl.approximations.estimation.growth import from_clusters
from pymc_kl.approximations.estimation.student_ml import MAX_DF, MIN_DF, fit_student, least_df
from pymc_kl.approximations.symmetrise import symmetrised_mixture
from pymc_kl.fitting.cross_fitting import cross_fit
from pymc_kl.model.draws import PosteriorDraws
from pymc_kl.modes.symmetry import Symmetry

TRIL = np.array([[1.0, 0, 0], [0.8, 0.6, 0], [-0.5, 0.5, 0.7]])
HEAVY = StudentT(loc=np.array([1.0, -2.0, 0.5]), scale_tril=TRIL, df=3.0)
PAIR = StudentTMixture(
    weights=np.array([0.3, 0.7]),
    locs=np.array([[-5.0, 0.0], [5.0, 1.0]]),
    scale_trils=np.array([[[1, 0], [0.5, 0.5]], [[0.7, 0], [0, 2]]]),
    dfs=np.array([2.5, 8.0]),
)


def kl_and_se(p, q, rng, n=50_000):
    x = p.sample(n, random_seed=rng)
    gap = p.log_prob(x) - q.log_prob(x)
    return gap.mean(), gap.std() / np.sqrt(n)


# One multivariate t


@pytest.mark.parametrize("df", [0.5, 3.0, 50.0])
def test_log_prob_is_that_of_scipy(df, rng):
    q = StudentT(loc=HEAVY.loc, scale_tril=TRIL, df=df)
    x = q.sample(300, random_seed=rng)
    expected = multivariate_t(q.loc, TRIL @ TRIL.T, df=df).logpdf(x)
    np.testing.assert_allclose(q.log_prob(x), expected, rtol=1e-9)
    mixture = StudentTMixture(weights=np.ones(1), locs=q.loc[None], scale_trils=TRIL[None], dfs=np.array([df]))
    np.testing.assert_allclose(mixture.log_prob(x), expected, rtol=1e-9)


def test_covariance_is_that_of_draws_and_nan_where_there_is_none(rng):
    q = StudentT(loc=HEAVY.loc, scale_tril=TRIL, df=9.0)
    x = q.sample(200_000, random_seed=rng) - q.loc
    products = x[:, :, None] * x[:, None, :]
    assert (abs(products.mean(axis=0) - q.covariance) < 5 * products.std(axis=0) / np.sqrt(len(x))).all()
    assert np.isnan(StudentT(loc=q.loc, scale_tril=TRIL, df=2.0).covariance).all()


def test_draws_have_the_tails_of_a_t(rng):
    x = HEAVY.sample(100_000, random_seed=rng)[:, 0] - HEAVY.loc[0]
    for threshold in (1.0, 4.0, 12.0):
        p = 2 * scipy_t(3.0).sf(threshold)
        assert abs((abs(x) > threshold).mean() - p) < 5 * np.sqrt(p / len(x))


@pytest.mark.parametrize("df", [0.7, 2.0, 5.0])
def test_a_fit_recovers_a_t_without_moments_too(df, rng):
    truth = StudentT(loc=HEAVY.loc, scale_tril=TRIL, df=df)
    fit = StudentT.fit_forward(truth.sample(20_000, random_seed=rng))
    kl, kl_se = kl_and_se(truth, fit, rng)
    assert kl < 3 * 10 / (2 * 20_000) + 5 * kl_se
    assert fit.df == pytest.approx(df, rel=0.1)
    assert fit.info["converged"]
    assert fit.info["warnings"] == ()


def test_the_fit_is_the_maximum_of_the_weighted_likelihood(rng):
    """A quasi-Newton search of all parameters, from the truth, finds no higher likelihood."""
    x, weights = HEAVY.sample(400, random_seed=rng), rng.random(400)
    weights /= weights.sum()
    fit = StudentT.fit_forward(x, weights)
    lower = np.tril_indices(3)

    def loss(theta):
        tril = np.zeros((3, 3))
        tril[lower] = theta[3:9]
        tril[np.diag_indices(3)] = np.exp(np.diag(tril))
        return -weights @ StudentT(loc=theta[:3], scale_tril=tril, df=np.exp(theta[9])).log_prob(x)

    start = TRIL.copy()
    start[np.diag_indices(3)] = np.log(np.diag(TRIL))
    found = minimize(loss, np.r_[HEAVY.loc, start[lower], np.log(3.0)], options={"gtol": 1e-7})
    assert weights @ fit.log_prob(x) == pytest.approx(-found.fun, abs=1e-6)
    assert fit.df == pytest.approx(np.exp(found.x[9]), rel=1e-2)


def test_the_likelihood_never_falls(rng):
    x, weights = HEAVY.sample(300, random_seed=rng), np.full(300, 1 / 300)
    values = [fit_student(x, weights, tolerance=-np.inf, max_iterations=k).log_prob for k in range(1, 25)]
    assert (np.diff(values) > -1e-12).all()
    assert values[-1] > values[0]


def test_gaussian_draws_give_the_gaussian(rng):
    x = rng.standard_normal((5000, 2)) @ TRIL[1:, 1:].T
    fit, gaussian = StudentT.fit_forward(x), FullRank.fit_forward(x)
    assert fit.df > 50
    assert abs((fit.log_prob(x) - gaussian.log_prob(x)).mean()) < 1e-3
    flat = StudentT.fit_forward(rng.uniform(-1, 1, (2000, 2)))
    assert flat.df == pytest.approx(MAX_DF, rel=1e-2)
    assert any("upper bound, 1000" in warning for warning in flat.info["warnings"])


def test_the_lower_bound_is_told(rng):
    x = np.exp(rng.normal(0, 12, (4000, 1))) * rng.choice([-1, 1], (4000, 1))
    fit = StudentT.fit_forward(x)
    assert fit.df == pytest.approx(MIN_DF, rel=1e-2)
    assert any("lower bound, 0.3" in warning for warning in fit.info["warnings"])


@pytest.mark.parametrize("n", [12, 15, 40])
def test_few_draws_do_not_make_it_collapse(n, rng):
    """With free degrees of freedom the likelihood of few draws has no maximum: a t may collapse on one of them."""
    for _ in range(20):
        x = rng.standard_normal((n, 10))
        fit = StudentT.fit_forward(x)
        assert np.linalg.svd(fit.scale_tril, compute_uv=False).min() > 1e-3
        assert fit.df > 0.99 * least_df(np.full(n, 1 / n), 10)


def test_a_draw_that_weighs_much_does_not_make_it_collapse(rng):
    x, weights = HEAVY.sample(60, random_seed=rng), np.ones(60)
    weights[0] = 20
    fit = StudentT.fit_forward(x, weights)
    assert np.linalg.svd(fit.scale_tril, compute_uv=False).min() > 0.05
    assert np.isfinite(fit.log_prob(x)).all()


def test_copies_equal_weights_and_scales_do_not_matter(rng):
    x, copies = HEAVY.sample(300, random_seed=rng), rng.integers(1, 4, 300)
    one = StudentT.fit_forward(x, copies.astype(float))
    two = StudentT.fit_forward(np.repeat(x, copies, axis=0))
    np.testing.assert_allclose(one.log_prob(x), two.log_prob(x), atol=1e-8)
    scales = np.array([1e-6, 1.0, 1e6])
    moved = StudentT.fit_forward(x * scales + scales, copies.astype(float))
    np.testing.assert_allclose(moved.log_prob(x * scales + scales) + np.log(scales).sum(), one.log_prob(x), atol=1e-3)


@pytest.mark.parametrize(
    ("x", "match"),
    [
        (np.zeros((3, 3)), "effective draws that differ"),
        (np.c_[np.arange(9.0), np.ones(9)], r"coordinates \[1\] of x don't vary"),
        (np.arange(40.0)[:, None] * np.ones((1, 2)), "lie on a hyperplane"),
    ],
)
def test_bad_input_is_refused(x, match):
    for family in (StudentT, StudentTMixture):
        with pytest.raises(ValueError, match=match):
            family.fit_forward(x)


# Mixtures of t's


def test_moments_of_draws_are_those_of_the_mixture(rng):
    q = StudentTMixture(weights=PAIR.weights, locs=PAIR.locs, scale_trils=PAIR.scale_trils, dfs=np.array([9.0, 12.0]))
    x = q.sample(200_000, random_seed=rng)
    assert (abs(x.mean(axis=0) - q.loc) < 5 * x.std(axis=0) / np.sqrt(len(x))).all()
    products = (x - q.loc)[:, :, None] * (x - q.loc)[:, None, :]
    assert (abs(products.mean(axis=0) - q.covariance) < 5 * products.std(axis=0) / np.sqrt(len(x))).all()
    heavy = StudentTMixture(weights=q.weights, locs=q.locs, scale_trils=q.scale_trils, dfs=np.array([0.9, 12.0]))
    assert np.isnan(heavy.loc).all()
    assert np.isnan(heavy.covariance).all()


def test_two_components_are_recovered_with_their_tails(rng):
    fit = StudentTMixture.fit_forward(PAIR.sample(20_000, random_seed=rng), rng=rng)
    assert fit.n_components == fit.info["n_components"] == 2
    kl, kl_se = kl_and_se(PAIR, fit, rng)
    assert kl < 3 * 13 / (2 * 20_000) + 5 * kl_se
    np.testing.assert_allclose(np.sort(fit.dfs), PAIR.dfs, rtol=0.25)
    np.testing.assert_allclose(np.sort(fit.weights), PAIR.weights, atol=0.02)


def test_infinite_degrees_of_freedom_are_gaussians(rng):
    weights, locs, trils = PAIR.weights, PAIR.locs, PAIR.scale_trils
    x = PAIR.sample(100, random_seed=rng)
    near = StudentTMixture(weights=weights, locs=locs, scale_trils=trils, dfs=np.full(2, 1e9))
    gaussian = Mixture(weights=weights, locs=locs, scale_trils=trils)
    np.testing.assert_allclose(near.log_prob(x), gaussian.log_prob(x), rtol=1e-5, atol=1e-5)


def test_the_penalised_likelihood_never_falls(rng):
    x = PAIR.sample(2000, random_seed=rng)
    draws = WeightedDraws(x, np.full(2000, 1 / 2000))
    start = from_clusters(draws, rng.integers(3, size=2000), heavy=True)
    fit = fit_em(draws, start, tolerance=0, max_iterations=60)
    assert len(fit.objective) > 20
    assert (np.diff(fit.objective) > -1e-12).all()


def test_a_step_is_that_of_peel_and_mclachlan(rng):
    """One M-step with next to no prior, beside the formulas written out draw by draw."""
    x = PAIR.sample(500, random_seed=rng)
    start = Components(np.array([0.5, 0.5]), PAIR.locs + 1, 1.5 * PAIR.scale_trils, np.array([4.0, 6.0]))
    draws = WeightedDraws(x, np.full(500, 1 / 500))
    step = maximise(start, expect(draws, start), Prior(start.covariances, np.full(2, 1e-9)), 500)
    densities = [multivariate_t(m, s, df=df) for m, s, df in zip(start.locs, start.covariances, start.dfs, strict=True)]
    joint = np.stack([w * density.pdf(x) for w, density in zip(start.weights, densities, strict=True)])
    share = joint / joint.sum(axis=0)
    for k in range(2):
        residual = x - start.locs[k]
        square = np.einsum("ni,ij,nj->n", residual, np.linalg.inv(start.covariances[k]), residual)
        u = (start.dfs[k] + 2) / (start.dfs[k] + square)
        loc = (share[k] * u) @ x / (share[k] @ u)
        scatter = ((x - loc).T * share[k] * u) @ (x - loc) / share[k].sum()
        np.testing.assert_allclose(step.locs[k], loc, rtol=1e-8)
        np.testing.assert_allclose(step.covariances[k], scatter, rtol=1e-6)
        assert step.weights[k] == pytest.approx(share[k].mean(), rel=1e-10)


def test_degrees_of_freedom_are_where_the_expected_likelihood_is_largest(rng):
    """The expected complete log likelihood of one component, integrated over its precision, peaks at the new df."""
    x = StudentT(loc=np.zeros(2), scale_tril=np.eye(2), df=4.0).sample(3000, random_seed=rng)
    draws = WeightedDraws(x, np.full(3000, 1 / 3000))
    one = Components(np.ones(1), np.zeros((1, 2)), np.eye(2)[None], np.array([10.0]))
    dfs = one.dfs
    for _ in range(200):  # at a fixed point the likelihood itself is largest
        dfs = maximise_dfs(dfs, 2, expect(draws, Components(one.weights, one.locs, one.scale_trils, dfs)))
    grid = np.exp(np.linspace(np.log(2), np.log(8), 400))
    values = [multivariate_t(np.zeros(2), np.eye(2), df=df).logpdf(x).mean() for df in grid]
    assert dfs[0] == pytest.approx(grid[int(np.argmax(values))], rel=0.01)


def test_too_many_components_do_not_collapse(rng):
    for n, d, size in ((1000, 1, 20), (200, 2, 15), (400, 5, 15)):
        fit = StudentTMixture.fit_forward(rng.standard_normal((n, d)), n_components=size, rng=rng)
        assert np.linalg.svd(fit.scale_trils, compute_uv=False).min() > 1e-3
        fresh = fit.log_prob(rng.standard_normal((5000, d))).mean()
        assert fresh > -0.5 * d * (1 + np.log(2 * np.pi)) - 1.5


def test_copies_of_few_draws_do_not_collapse(rng):
    few = rng.standard_normal((12, 2))
    fit = StudentTMixture.fit_forward(np.tile(few, (10, 1)), rng=np.random.default_rng(1))
    smallest = np.linalg.svd(fit.scale_trils, compute_uv=False).min()
    assert smallest > 0.1 * np.sqrt(np.linalg.eigvalsh(np.cov(few.T)).min())


def test_labels_blocks_and_weights_are_used(rng):
    x = PAIR.sample(3000, random_seed=rng)
    labels = (x[:, 0] > 0).astype(int)
    weights = np.where(labels == 0, 7.0, 3.0)
    fit = StudentTMixture.fit_forward(
        x, weights, mode=labels, blocks=np.arange(3000) // 100, rng=np.random.default_rng(1)
    )
    expected = weights[labels == 0].sum() / weights.sum()
    assert fit.weights[fit.locs[:, 0] < 0].sum() == pytest.approx(expected, abs=0.01)
    again = StudentTMixture.fit_forward(
        x, weights, mode=labels, blocks=np.arange(3000) // 100, rng=np.random.default_rng(1)
    )
    np.testing.assert_array_equal(fit.dfs, again.dfs)
    assert fit.info == again.info


def test_ten_heavy_modes_are_fitted_better_than_by_gaussians(zoo, rng):
    problem, target = zoo("heavy_tails")
    x = problem.sample(6000, rng)
    labels = ((x[:, None] - problem.locations) ** 2).sum(axis=2).argmin(axis=1)
    heavy = StudentTMixture.fit_forward(x, mode=labels, rng=rng)
    gaussian = Mixture.fit_forward(x, mode=labels, rng=rng)
    gain = heavy.info["held_out_score"] - gaussian.info["held_out_score"]
    assert gain > 2 * np.hypot(heavy.info["held_out_score_se"], gaussian.info["held_out_score_se"])
    assert heavy.n_components == 10
    np.testing.assert_allclose(heavy.dfs, 2, atol=0.6)
    fresh = problem.sample(20_000, rng)
    gap = target.log_density(fresh) - heavy.log_prob(fresh)
    assert gap.mean() < 2 * 10 * 67 / (2 * 6000)  # twice half the number of parameters over that of the draws
    assert gap.mean() < 0.3 * (target.log_density(fresh) - gaussian.log_prob(fresh)).mean()


# In the package


def test_heavy_tails_warn_of_gaussians_and_point_to_the_t(zoo, rng):
    _, target = zoo("standard_normal_10")  # whose way to the unconstrained space is the identity
    x = StudentT(loc=np.zeros(10), scale_tril=np.eye(10), df=1.5).sample(4000, random_seed=rng)
    draws = target.to_dataset(x.reshape(4, 1000, -1))
    for family in ("meanfield", "fullrank", "lowrank"):
        with pytest.warns(UserWarning, match="Use 'studentt' or 'studentt_mixture'"):
            fit_forward(draws, family, model=target)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fit_forward(draws, "studentt", model=target).df == pytest.approx(1.5, rel=0.1)


def test_a_mixture_of_ts_is_spread_over_copies_and_cross_fitted(zoo, rng):
    _, target = zoo("two_modes")
    flip = Symmetry(2, flips=())
    assert symmetrised_mixture(PAIR, flip).n_components == 2
    x = rng.standard_t(4, size=(600, 1)) + np.where(rng.random((600, 1)) < 0.3, -4, 4)
    reference = PosteriorDraws(target, x[None], target.log_density(x)[None], np.full((1, 600), 1 / 600))
    fitted = cross_fit("studentt_mixture", reference, (x[:, 0] > 0).astype(int), np.arange(600) * 5 // 600, rng=rng)
    assert len(fitted.others) == 5
    assert all(isinstance(other, StudentTMixture) for other in fitted.others)


def test_images_of_a_mixture_average_its_density(rng):
    maps = np.stack([np.eye(2), np.array([[0.0, 1.0], [1.0, 0.0]])])
    spread, x = PAIR.images(maps), 4 * rng.standard_normal((200, 2))
    expected = np.logaddexp(PAIR.log_prob(x), PAIR.log_prob(x[:, ::-1].copy())) - np.log(2)
    np.testing.assert_allclose(spread.log_prob(x), expected, rtol=1e-9)
    np.testing.assert_array_equal(spread.dfs, np.tile(PAIR.dfs, 2))
    assert spread.info["n_components"] == 4


def test_gaussian_components_draw_as_before(rng):
    x = Mixture(weights=PAIR.weights, locs=PAIR.locs, scale_trils=PAIR.scale_trils).sample(50_000, random_seed=rng)
    expected = PAIR.weights @ [
        multivariate_normal(m, t @ t.T).cdf([0, 0]) for m, t in zip(PAIR.locs, PAIR.scale_trils, strict=True)
    ]
    assert abs((x < 0).all(axis=1).mean() - expected) < 5 * np.sqrt(expected / len(x))
