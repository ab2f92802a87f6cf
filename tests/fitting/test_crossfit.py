"""Forward fits judged on draws that they have not seen, and what symmetry makes of an approximation."""

import numpy as np
import pytest
from problems import gaussian_kl

from pymc_kl.approximations import FullRank, Mixture
from pymc_kl.approximations.symmetrise import symmetrised_log_prob, symmetrised_mixture
from pymc_kl.fitting.cross_fitting import IN_SAMPLE, cross_fit
from pymc_kl.model.draws import PosteriorDraws
from pymc_kl.modes.symmetry import Symmetry, find_symmetry
from pymc_kl.modes.symmetry.enumerate import elements, group_order
from pymc_kl.modes.symmetry.labels import LabelClass

D, N = 10, 150


def normal_reference(target, rng, n=N):
    x = rng.standard_normal((n, D))
    return PosteriorDraws(target, x[None], target.log_density(x)[None], np.full((1, n), 1 / n))


def log_prob(fit, x):
    return fit.log_prob(x)


def folds(n):
    return np.arange(n) * 5 // n


def test_held_out_draws_take_the_optimism_out_of_a_forward_kl(zoo, rng):
    """The truth is closed form; judged on its own draws a fit looks better than it is by 65 parameters over n."""
    _, target = zoo("standard_normal_10")
    own, held_out, truth = [], [], []
    for _ in range(60):
        reference = normal_reference(target, rng)
        fitted = cross_fit("fullrank", reference, np.zeros(N, dtype=int), folds(N), rng=rng)
        q, x = fitted.approximation, reference.flat
        own.append((target.log_density(x) - q.log_prob(x)).mean())
        held_out.append((target.log_density(x) - fitted.at_draws(x, folds(N), log_prob)).mean())
        truth.append(gaussian_kl(np.zeros(D), np.eye(D), q.loc, q.covariance))
    own, held_out, truth = map(np.array, (own, held_out, truth))
    se = (held_out - truth).std() / np.sqrt(len(truth))
    assert (own - truth).mean() < -10 * se
    assert own.mean() < 0 < held_out.mean()
    assert (
        -3 * se < (held_out - truth).mean() < 0.5 * truth.mean()
    )  # fits to four fifths of the draws are a little worse


def test_each_draw_is_judged_by_the_fit_without_its_fold(zoo, rng):
    _, target = zoo("standard_normal_10")
    reference = normal_reference(target, rng)
    fitted = cross_fit("meanfield", reference, np.zeros(N, dtype=int), folds(N), rng=rng)
    values = fitted.at_draws(reference.flat, folds(N), log_prob)
    for i in range(5):
        inside = folds(N) == i
        without = reference.flat[~inside]
        z = (reference.flat[inside] - without.mean(axis=0)) / without.std(axis=0)
        expected = -0.5 * (z**2).sum(axis=1) - np.log(without.std(axis=0)).sum() - 0.5 * D * np.log(2 * np.pi)
        np.testing.assert_allclose(values[inside], expected, rtol=1e-10)


def test_too_few_draws_are_told(zoo, rng):
    _, target = zoo("standard_normal_10")
    reference = normal_reference(target, rng, n=12)
    fitted = cross_fit("mixture", reference, np.zeros(12, dtype=int), folds(12), rng=rng)
    assert fitted.others == ()
    np.testing.assert_array_equal(
        fitted.at_draws(reference.flat, folds(12), log_prob), fitted.approximation.log_prob(reference.flat)
    )
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
