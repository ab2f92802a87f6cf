"""Forward fits judged on draws that they have not seen, and what symmetry makes of an approximation."""

import numpy as np
import pytest
from problems import gaussian_kl

from pymc_kl.approximations import FullRank, Mixture
from pymc_kl.approximations.symmetrise import symmetrised_log_prob, symmetrised_mixture
from pymc_kl.fitting.cross_fitting import FIT_VARIANCE, IN_SAMPLE, CrossFit, cross_fit
from pymc_kl.model.draws import PosteriorDraws
from pymc_kl.modes.masses import masses_from_independent
from pymc_kl.modes.symmetry import Symmetry, find_symmetry
from pymc_kl.modes.symmetry.enumerate import elements, group_order
from pymc_kl.modes.symmetry.labels import LabelClass
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.scores.divergences import forward_kl
from pymc_kl.scores.draws import ReferenceDraws

D, N = 10, 150


def normal_reference(target, rng, n=N):
    x = rng.standard_normal((n, D))
    return PosteriorDraws(target, x[None], target.log_density(x)[None], np.full((1, n), 1 / n))


def log_prob(fit, x):
    return fit.log_prob(x)


def folds(n):
    return np.arange(n) * 5 // n


def normal_fit(x):
    """The normal of the same moments, as the forward fit is."""
    return FullRank(loc=x.mean(axis=0), scale_tril=np.linalg.cholesky(np.cov(x.T, bias=True)))


def cross_fitted(x):
    fold = folds(len(x))
    return CrossFit(normal_fit(x), tuple(normal_fit(x[fold != i]) for i in range(5)))


def forward_kl_of(fitted, x, log_density):
    """Score a cross-fitted normal on the draws it was fitted to, as a comparison does; log Z is 0."""
    n, zero = len(x), np.zeros((1, len(x)), dtype=int)
    held_out = fitted.at_draws(x, folds(n), log_prob).reshaped((1, n))
    masses = masses_from_independent(zero[0], 1)
    weights = np.full((1, n), 1 / n)
    p = ReferenceDraws(
        log_density[None], held_out.log_prob, zero, weights, masses, np.full(2, np.nan), None, held_out.fit_variance
    )
    return forward_kl(p, Estimate(0.0, 0.0))


@pytest.mark.parametrize(("d", "n"), [(5, 1000), (20, 1000), (50, 1000), (5, 100), (20, 4000)])
def test_the_forward_kl_of_a_fit_to_the_same_draws_has_the_error_that_it_says(d, n):
    """A normal fitted to a normal, whose KL is closed form: no optimism, none of a fit to four fifths, and 95 %."""
    law, found = FullRank(loc=np.zeros(d), scale_tril=np.eye(d)), []
    for seed in range(120):
        x = np.random.default_rng(seed).standard_normal((n, d))
        fitted = cross_fitted(x)
        q = fitted.approximation
        value, se = forward_kl_of(fitted, x, law.log_prob(x))
        found.append((value - gaussian_kl(law.loc, np.eye(d), q.loc, q.covariance)) / se)
    assert 0.9 <= (np.abs(found) < 1.96).mean() <= 0.99, (np.abs(found) < 1.96).mean()
    assert abs(np.mean(found)) < 0.3
    assert 0.8 < np.std(found) < 1.25


def test_where_the_family_is_wrong_the_error_is_that_of_the_draws():
    """A normal fitted to a correlated normal, one dimension at a time: what it loses by being fitted is little."""
    d, n, found = 5, 1000, []
    covariance = 0.5 * np.eye(d) + 0.5
    law = FullRank(loc=np.zeros(d), scale_tril=np.linalg.cholesky(covariance))

    def diagonal(x):
        return FullRank(loc=x.mean(axis=0), scale_tril=np.diag(x.std(axis=0)))

    for seed in range(120):
        x = law.sample(n, random_seed=seed)
        fitted = CrossFit(diagonal(x), tuple(diagonal(x[folds(n) != i]) for i in range(5)))
        q = fitted.approximation
        value, se = forward_kl_of(fitted, x, law.log_prob(x))
        found.append((value - gaussian_kl(law.loc, covariance, q.loc, q.covariance)) / se)
    assert 0.9 <= (np.abs(found) < 1.96).mean() <= 0.99


def test_a_draw_without_density_stays_so():
    """Outside the support of the fit without its fold it has none, whatever the fit to all says."""
    x = np.random.default_rng(0).standard_normal((100, 2))
    fitted = cross_fitted(x)

    def evaluate(q, at):
        values = q.log_prob(at)
        return values if q is fitted.approximation else np.where(at[:, 0] > 2, -np.inf, values)

    held_out = fitted.at_draws(x, folds(100), evaluate)
    assert (np.isneginf(held_out.log_prob) == (x[:, 0] > 2)).all()
    assert np.isfinite(held_out.fit_variance).all()


def test_each_draw_is_judged_by_the_fit_without_its_fold(zoo, rng):
    _, target = zoo("standard_normal_10")
    reference = normal_reference(target, rng)
    fitted = cross_fit("meanfield", reference, np.zeros(N, dtype=int), folds(N), rng=rng)
    values, variance = fitted.at_draws(reference.flat, folds(N), log_prob)
    difference = variance / FIT_VARIANCE
    held_out = fitted.approximation.log_prob(reference.flat) - difference
    share = (values - held_out).sum() / difference.sum()
    assert 1 / 9 <= share < 0.15
    np.testing.assert_allclose(values, held_out + share * difference, rtol=1e-10)
    for i in range(5):
        inside = folds(N) == i
        without = reference.flat[~inside]
        z = (reference.flat[inside] - without.mean(axis=0)) / without.std(axis=0)
        expected = -0.5 * (z**2).sum(axis=1) - np.log(without.std(axis=0)).sum() - 0.5 * D * np.log(2 * np.pi)
        np.testing.assert_allclose(held_out[inside], expected, rtol=1e-10)


def test_too_few_draws_are_told(zoo, rng):
    _, target = zoo("standard_normal_10")
    reference = normal_reference(target, rng, n=12)
    fitted = cross_fit("mixture", reference, np.zeros(12, dtype=int), folds(12), rng=rng)
    assert fitted.others == ()
    values, variance = fitted.at_draws(reference.flat, folds(12), log_prob)
    np.testing.assert_array_equal(values, fitted.approximation.log_prob(reference.flat))
    assert variance is None
    assert "judged on the draws it was fitted to" in IN_SAMPLE


@pytest.fixture(scope="module")
def symmetry(zoo) -> Symmetry:
    problem, target = zoo("normal_2")
    x = problem.sample(64, np.random.default_rng(1))
    found = find_symmetry(target, x, None)
    assert group_order(found) == 2
    return found


@pytest.fixture(scope="module")
def mixture() -> Mixture:
    rng = np.random.default_rng(2)
    tril = np.linalg.cholesky(np.cov(rng.standard_normal((3, 9))))
    locs = rng.standard_normal((2, 3))
    return Mixture(weights=np.array([0.3, 0.7]), locs=locs, scale_trils=np.stack([tril, 0.5 * tril]))


def test_elements_are_the_whole_group(symmetry):
    every = elements(symmetry)
    x = np.random.default_rng(0).standard_normal(symmetry.d)
    images = symmetry.apply(every, np.tile(x, (len(every), 1)))
    np.testing.assert_array_equal(images[0], x)
    found = symmetry.images(x, 10)
    assert len(found) == len(images) == group_order(symmetry)
    np.testing.assert_allclose(np.sort(images, axis=0), np.sort(found, axis=0), atol=1e-12)


def test_the_average_over_the_group_is_symmetric_and_the_mean_of_its_images(symmetry, mixture, rng):
    x = rng.standard_normal((200, symmetry.d))
    averaged = symmetrised_log_prob(mixture.log_prob, symmetry, x)
    swapped = symmetry.apply(symmetry.random(200, rng), x)
    np.testing.assert_allclose(symmetrised_log_prob(mixture.log_prob, symmetry, swapped), averaged, rtol=1e-10)
    images = [symmetry.images(point, 2) for point in x]
    expected = [np.log(np.exp(mixture.log_prob(image)).mean()) for image in images]
    np.testing.assert_allclose(averaged, expected, rtol=1e-10)


def test_a_mixture_spread_over_copies_has_that_density(symmetry, mixture, rng):
    x = 2 * rng.standard_normal((200, symmetry.d))
    spread = symmetrised_mixture(mixture, symmetry)
    assert spread.n_components == 4
    assert spread.info["n_components"] == 4
    np.testing.assert_allclose(spread.log_prob(x), symmetrised_log_prob(mixture.log_prob, symmetry, x), rtol=1e-9)


def test_a_large_group_is_not_averaged_over():
    labels = LabelClass(name="component", labels=tuple(range(7)), sites=())
    large = Symmetry(7, classes=(labels,))
    assert group_order(large) == 5040
    q = FullRank(loc=np.zeros(7), scale_tril=np.eye(7))
    assert symmetrised_log_prob(q.log_prob, large, np.zeros((1, 7))) is None
