"""KL divergences against quadrature and sums of scipy's densities, algebra and their own errors."""

import zlib
from dataclasses import FrozenInstanceError
from itertools import pairwise

import numpy as np
import pymc as pm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from pymc_kl.approximations.fullrank import FullRank
from pymc_kl.approximations.meanfield import MeanField
from pymc_kl.divergence.closed_forms import CLOSED_FORMS
from pymc_kl.divergence.densities import as_density
from pymc_kl.divergence.kl import Divergence, kl_divergence
from pymc_kl.divergence.numerical import average_log_ratio

SPLITS = [
    0,
    1e-13,
    1e-10,
    1e-7,
    1e-4,
    0.01,
    0.1,
    0.3,
    0.5,
    0.7,
    0.9,
    0.99,
    1 - 1e-4,
    1 - 1e-7,
    1 - 1e-10,
    1 - 1e-13,
    1,
]
MIXTURE = {"w": [0.3, 0.7], "mu": [-3.0, 3.0], "sigma": [0.6, 1.0]}
FORWARD_OPTIMUM = (1.2, 2.892750)


@pytest.fixture
def rng(request):
    return np.random.default_rng(zlib.crc32(request.node.name.encode()))


def integrated(p, q):
    """KL(p‖q) of two continuous scipy distributions, between the quantiles of p."""
    points = p.ppf(SPLITS)
    points = np.unique(points[np.isfinite(points)])
    return sum(
        quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), a, b, epsabs=1e-13, epsrel=1e-12)[0]
        for a, b in pairwise(points)
    )


def summed(p, q):
    """KL(p‖q) of two discrete scipy distributions on 0, 1, 2, ..."""
    k = np.arange(0, 400)
    k = k[p.logpmf(k) > -np.inf]
    return (p.pmf(k) * (p.logpmf(k) - q.logpmf(k))).sum()


def gaussian(loc_p, covariance_p, loc_q, covariance_q):
    """KL of two normals by the textbook formula, with inverses and determinants."""
    precision_q = np.linalg.inv(covariance_q)
    shift = loc_q - loc_p
    log_det = np.linalg.slogdet(covariance_q)[1] - np.linalg.slogdet(covariance_p)[1]
    return 0.5 * (np.trace(precision_q @ covariance_p) + shift @ precision_q @ shift - loc_p.size + log_det)


FAMILIES = {
    "normal": (pm.Normal, (0, 2), stats.norm(0, 2), (1.5, 3), stats.norm(1.5, 3)),
    "lognormal": (pm.LogNormal, (0, 0.5), stats.lognorm(0.5), (0.3, 1), stats.lognorm(1, scale=np.exp(0.3))),
    "gamma": (pm.Gamma, (2, 3), stats.gamma(2, scale=1 / 3), (1.5, 0.7), stats.gamma(1.5, scale=1 / 0.7)),
    "exponential": (pm.Exponential, (3,), stats.expon(scale=1 / 3), (0.7,), stats.expon(scale=1 / 0.7)),
    "inverse gamma": (
        pm.InverseGamma, (3, 2), stats.invgamma(3, scale=2), (4, 1.3), stats.invgamma(4, scale=1.3)
    ),
    "beta": (pm.Beta, (2, 3), stats.beta(2, 3), (1.5, 1), stats.beta(1.5, 1)),
    "half-normal": (pm.HalfNormal, (2,), stats.halfnorm(scale=2), (3,), stats.halfnorm(scale=3)),
    "laplace": (pm.Laplace, (1, 2), stats.laplace(1, 2), (0, 0.8), stats.laplace(0, 0.8)),
    "weibull": (
        pm.Weibull, (2, 3), stats.weibull_min(2, scale=3), (1.4, 2), stats.weibull_min(1.4, scale=2)
    ),
}  # fmt: skip
DISCRETE_FAMILIES = {
    "bernoulli": (pm.Bernoulli, (0.3,), stats.bernoulli(0.3), (0.6,), stats.bernoulli(0.6)),
    "poisson": (pm.Poisson, (3,), stats.poisson(3), (4.5,), stats.poisson(4.5)),
    "geometric": (pm.Geometric, (0.3,), stats.geom(0.3), (0.6,), stats.geom(0.6)),
    "categorical": (pm.Categorical, ([0.2, 0.8],), stats.bernoulli(0.8), ([0.6, 0.4],), stats.bernoulli(0.4)),
}


@pytest.mark.parametrize("name", [*FAMILIES, *DISCRETE_FAMILIES])
def test_closed_form_of_a_family_in_both_directions(name):
    family, args_p, scipy_p, args_q, scipy_q = (FAMILIES | DISCRETE_FAMILIES)[name]
    reference = integrated if name in FAMILIES else summed
    p, q = family.dist(*args_p), family.dist(*args_q)
    forward, reverse = kl_divergence(p, q), kl_divergence(q, p)
    assert float(forward) == pytest.approx(reference(scipy_p, scipy_q), abs=1e-8)
    assert float(reverse) == pytest.approx(reference(scipy_q, scipy_p), abs=1e-8)
    assert abs(float(forward) - float(reverse)) > 1e-3
    assert (forward.method, forward.se) == ("closed form", 0.0)
    assert float(kl_divergence(p, family.dist(*args_p))) == pytest.approx(0, abs=1e-14)


def test_two_normals_give_the_published_numbers():
    narrow, wide = pm.Normal.dist(0, 2), pm.Normal.dist(0, 3)
    assert float(kl_divergence(narrow, wide)) == pytest.approx(0.127687, abs=5e-7)
    assert float(kl_divergence(wide, narrow)) == pytest.approx(0.219535, abs=5e-7)


def test_integer_parameters_are_not_rounded_to_single_precision():
    expected = np.log(3 / 2) + 4 / 18 - 0.5
    assert float(kl_divergence(pm.Normal.dist(0, 2), pm.Normal.dist(0, 3))) == pytest.approx(expected, abs=1e-15)
    one_third = kl_divergence(pm.Exponential.dist(1), pm.Exponential.dist(3))
    assert float(one_third) == pytest.approx(2 - np.log(3), abs=1e-14)


def test_exponential_and_gamma_are_one_family():
    exponential, gamma = pm.Exponential.dist(3.0), pm.Gamma.dist(2.0, 1.5)
    scipy_exponential, scipy_gamma = stats.expon(scale=1 / 3), stats.gamma(2, scale=1 / 1.5)
    forward, reverse = kl_divergence(exponential, gamma), kl_divergence(gamma, exponential)
    assert forward.method == reverse.method == "closed form"
    assert float(forward) == pytest.approx(integrated(scipy_exponential, scipy_gamma), abs=1e-8)
    assert float(reverse) == pytest.approx(integrated(scipy_gamma, scipy_exponential), abs=1e-8)


def test_uniform_is_infinite_out_of_the_other_s_support():
    inner, outer = pm.Uniform.dist(0, 1), pm.Uniform.dist(-1, 3)
    assert float(kl_divergence(inner, outer)) == pytest.approx(np.log(4), abs=1e-14)
    assert float(kl_divergence(outer, inner)) == np.inf


def test_dirichlet_is_beta_in_two_categories_and_matches_scipy_in_three(rng):
    pair = kl_divergence(pm.Dirichlet.dist([2.0, 3.0]), pm.Dirichlet.dist([1.5, 1.0]))
    assert float(pair) == pytest.approx(float(kl_divergence(pm.Beta.dist(2, 3), pm.Beta.dist(1.5, 1))), abs=1e-13)
    p, q = stats.dirichlet([2.0, 3, 4]), stats.dirichlet([1.0, 5, 2])
    x = p.rvs(20_000, random_state=rng).T
    log_ratio = p.logpdf(x) - q.logpdf(x)
    exact = kl_divergence(pm.Dirichlet.dist([2.0, 3, 4]), pm.Dirichlet.dist([1.0, 5, 2]))
    assert exact.method == "closed form"
    assert abs(float(exact) - log_ratio.mean()) < 5 * log_ratio.std() / np.sqrt(x.shape[1])


def test_categories_that_one_side_lacks():
    two, three = pm.Categorical.dist([0.5, 0.5]), pm.Categorical.dist([0.25, 0.25, 0.5])
    assert float(kl_divergence(two, three)) == pytest.approx(np.log(2), abs=1e-14)
    assert float(kl_divergence(three, two)) == np.inf


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pm.Normal.dist(1, tau=0.25), pm.Normal.dist(1, 2)),
        (pm.Gamma.dist(mu=2, sigma=1), pm.Gamma.dist(4, 2)),
        (pm.Beta.dist(mu=0.4, nu=5), pm.Beta.dist(2, 3)),
        (pm.Exponential.dist(scale=4), pm.Exponential.dist(0.25)),
        (pm.Bernoulli.dist(logit_p=np.log(0.3 / 0.7)), pm.Bernoulli.dist(0.3)),
        (pm.Categorical.dist(logit_p=np.log([0.2, 0.8])), pm.Categorical.dist([0.2, 0.8])),
        (
            pm.MvNormal.dist([0.0, 1], tau=[[2.0, 0.6], [0.6, 1]]),
            pm.MvNormal.dist([0.0, 1], np.linalg.inv([[2.0, 0.6], [0.6, 1]])),
        ),
        (
            pm.MvNormal.dist([0.0, 1], chol=[[2.0, 0], [0.5, 1]]),
            pm.MvNormal.dist([0.0, 1], [[4.0, 1], [1, 1.25]]),
        ),
    ],
)
def test_parametrisations_of_one_distribution_agree(one, other):
    divergence = kl_divergence(one, other)
    assert divergence.method == "closed form"
    assert float(divergence) == pytest.approx(0, abs=1e-13)


def test_an_extreme_logit_is_not_rounded_to_certainty():
    divergence = kl_divergence(pm.Bernoulli.dist(0.5), pm.Bernoulli.dist(logit_p=40.0))
    assert float(divergence) == pytest.approx(20 - np.log(2), rel=1e-12)


def random_gaussians(rng, d):
    """A mean-field and a full-rank Gaussian, as PyMC variables and as approximations, with moments."""
    loc, scale = rng.normal(size=d), rng.uniform(0.5, 2, size=d)
    tril = np.tril(rng.normal(size=(d, d)), -1) + np.diag(rng.uniform(0.5, 2, size=d))
    diagonal, full = np.diag(scale**2), tril @ tril.T
    return {
        "Normal": (pm.Normal.dist(loc, scale), loc, diagonal),
        "MeanField": (MeanField(loc=loc, scale=scale), loc, diagonal),
        "MvNormal": (pm.MvNormal.dist(loc, full), loc, full),
        "FullRank": (FullRank(loc=loc, scale_tril=tril), loc, full),
    }


@pytest.mark.parametrize("kind_q", ["Normal", "MeanField", "MvNormal", "FullRank"])
@pytest.mark.parametrize("kind_p", ["Normal", "MeanField", "MvNormal", "FullRank"])
def test_every_ordered_pair_of_gaussians(rng, kind_p, kind_q):
    p, loc_p, covariance_p = random_gaussians(rng, 3)[kind_p]
    q, loc_q, covariance_q = random_gaussians(rng, 3)[kind_q]
    divergence = kl_divergence(p, q)
    assert divergence.method == "closed form"
    assert float(divergence) == pytest.approx(gaussian(loc_p, covariance_p, loc_q, covariance_q), rel=1e-10)


def test_a_batch_adds_up_over_entries_with_broadcast_parameters(rng):
    loc, scale = rng.normal(size=(2, 3)), rng.uniform(0.5, 2, size=3)
    batch = kl_divergence(pm.Normal.dist(loc, scale), pm.Normal.dist(0.5, 2, shape=(2, 3)))
    entries = np.log(2 / scale) + (scale**2 + (loc - 0.5) ** 2) / 8 - 0.5
    assert float(batch) == pytest.approx(entries.sum(), rel=1e-12)
    repeated = kl_divergence(pm.Poisson.dist(3, shape=5), pm.Poisson.dist(4, shape=5))
    assert float(repeated) == pytest.approx(5 * float(kl_divergence(pm.Poisson.dist(3), pm.Poisson.dist(4))))


def test_a_batch_of_vectors_adds_up_over_vectors(rng):
    loc, alpha = rng.normal(size=(2, 3)), np.array([[1.0, 2, 3], [4.0, 5, 6]])
    covariance = np.diag([1.0, 2, 3])
    vectors = kl_divergence(pm.MvNormal.dist(loc, covariance), pm.MvNormal.dist(np.zeros((2, 3)), np.eye(3)))
    expected = sum(gaussian(row, covariance, np.zeros(3), np.eye(3)) for row in loc)
    assert float(vectors) == pytest.approx(expected, rel=1e-12)
    against_normals = kl_divergence(pm.MvNormal.dist(loc, covariance), pm.Normal.dist(0, 1, shape=(2, 3)))
    assert float(against_normals) == pytest.approx(expected, rel=1e-12)
    simplices = kl_divergence(pm.Dirichlet.dist(alpha), pm.Dirichlet.dist([1.0, 1, 1], shape=(2, 3)))
    single = [float(kl_divergence(pm.Dirichlet.dist(row), pm.Dirichlet.dist([1.0, 1, 1]))) for row in alpha]
    assert float(simplices) == pytest.approx(sum(single), rel=1e-12)


def test_one_dimension_as_scalar_vector_or_approximation():
    expected = float(kl_divergence(pm.Normal.dist(0, 2), pm.Normal.dist(1, 3)))
    approximation = FullRank(loc=np.array([1.0]), scale_tril=np.array([[3.0]]))
    assert float(kl_divergence(pm.Normal.dist(0, 2), approximation)) == pytest.approx(expected, rel=1e-12)
    assert float(kl_divergence(pm.Normal.dist(0, 2, shape=1), pm.Normal.dist(1, 3))) == pytest.approx(expected)


gaussians = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def draw_full_rank(rng, d):
    tril = np.tril(rng.normal(size=(d, d)), -1) + np.diag(rng.uniform(0.3, 3, size=d))
    return FullRank(loc=rng.normal(size=d), scale_tril=tril)


def mapped(approximation, matrix, shift):
    """The distribution of matrix x + shift."""
    factor = matrix @ approximation.scale_tril
    return FullRank(loc=matrix @ approximation.loc + shift, scale_tril=np.linalg.cholesky(factor @ factor.T))


@settings(max_examples=30, deadline=None)
@given(rng=gaussians, d=st.integers(1, 6))
def test_invariance_under_affine_maps(rng, d):
    p, q = draw_full_rank(rng, d), draw_full_rank(rng, d)
    matrix = np.linalg.qr(rng.normal(size=(d, d)))[0] * rng.uniform(0.1, 10, size=d)
    shift = rng.normal(size=d)
    moved = kl_divergence(mapped(p, matrix, shift), mapped(q, matrix, shift))
    assert float(moved) == pytest.approx(float(kl_divergence(p, q)), rel=1e-8)
    assert float(moved) >= 0


@settings(max_examples=30, deadline=None)
@given(rng=gaussians, d=st.integers(2, 6))
def test_invariance_under_permutation_of_coordinates(rng, d):
    p, q = draw_full_rank(rng, d), draw_full_rank(rng, d)
    permutation = np.eye(d)[rng.permutation(d)]
    permuted = kl_divergence(mapped(p, permutation, 0), mapped(q, permutation, 0))
    assert float(permuted) == pytest.approx(float(kl_divergence(p, q)), rel=1e-9)


def test_mixture_example_in_both_directions():
    p, q = pm.NormalMixture.dist(**MIXTURE), pm.Normal.dist(*FORWARD_OPTIMUM)
    forward, reverse = kl_divergence(p, q), kl_divergence(q, p)
    assert float(forward) == pytest.approx(0.604861, abs=5e-7)
    assert float(reverse) == pytest.approx(1.458602, abs=5e-7)
    assert forward.method == reverse.method == "quadrature"
    assert max(forward.se, reverse.se) < 1e-9


@pytest.mark.parametrize(
    ("p", "q", "scipy_p", "scipy_q"),
    [
        (pm.Logistic.dist(1, 2), pm.Normal.dist(0, 3), stats.logistic(1, 2), stats.norm(0, 3)),
        (pm.Normal.dist(0, 3), pm.StudentT.dist(5, 0, sigma=2), stats.norm(0, 3), stats.t(5, 0, 2)),
        (pm.Laplace.dist(1, 2), pm.Normal.dist(0, 2), stats.laplace(1, 2), stats.norm(0, 2)),
        (pm.Gamma.dist(0.5, 1), pm.LogNormal.dist(0, 1), stats.gamma(0.5), stats.lognorm(1)),
        (pm.Uniform.dist(0, 1), pm.Beta.dist(2, 2), stats.uniform(), stats.beta(2, 2)),
        (pm.VonMises.dist(0, 1), pm.VonMises.dist(1, 2), stats.vonmises(1), stats.vonmises(2, 1)),
    ],
    ids=["heavy p", "heavy q", "kink", "pole", "edges", "circle"],
)
def test_quadrature_matches_scipy(p, q, scipy_p, scipy_q):
    if p.owner.op.name == "vonmises":
        reference = quad(lambda x: scipy_p.pdf(x) * (scipy_p.logpdf(x) - scipy_q.logpdf(x)), -np.pi, np.pi)[0]
    else:
        reference = integrated(scipy_p, scipy_q)
    divergence = kl_divergence(p, q)
    assert divergence.method == "quadrature"
    assert float(divergence) == pytest.approx(reference, abs=1e-8)
    assert divergence.se < 1e-8


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_quadrature_does_not_depend_on_the_unit(scale):
    reference = integrated(stats.laplace(), stats.norm(0.5))
    divergence = kl_divergence(pm.Laplace.dist(0, scale), pm.Normal.dist(scale / 2, scale))
    assert float(divergence) == pytest.approx(reference, abs=1e-8)


def test_cauchy_has_its_known_divergence():
    """KL of two Cauchys is log(((s_p + s_q)^2 + (m_p - m_q)^2) / (4 s_p s_q)) (Chyzak and Nielsen 2019)."""
    divergence = kl_divergence(pm.Cauchy.dist(0, 1), pm.Cauchy.dist(1, 2))
    assert float(divergence) == pytest.approx(np.log(10 / 8), abs=1e-10)


def test_quadrature_finds_a_narrow_and_a_rare_mode():
    """Far modes don't overlap, so KL(p‖q) = sum of w_k (log w_k + KL(p_k‖q))."""
    weights, locs, scales = np.array([0.001, 0.05, 0.949]), np.array([100.0, 20, 0]), np.array([0.1, 1e-6, 1])
    p, q = pm.NormalMixture.dist(weights, locs, scales), pm.Normal.dist(0, 5)
    each = np.log(5 / scales) + (scales**2 + locs**2) / 50 - 0.5
    divergence = kl_divergence(p, q, random_seed=0)
    assert divergence.method == "quadrature"
    assert float(divergence) == pytest.approx(weights @ (np.log(weights) + each), abs=1e-8)


@pytest.mark.parametrize(
    ("p", "q"),
    [
        (pm.Normal.dist(0, 1), pm.HalfNormal.dist(1)),
        (pm.Normal.dist(0, 1), pm.Truncated.dist(pm.Normal.dist(0, 1), lower=-20)),
        (pm.Cauchy.dist(0, 1), pm.Normal.dist(0, 1)),
        (pm.HalfNormal.dist(1), pm.InverseGamma.dist(2, 1)),
        (pm.Poisson.dist(3), pm.Binomial.dist(1000, 0.003)),
        (pm.Normal.dist(0, 1, shape=2), pm.Uniform.dist(-1, 1, shape=2)),
    ],
    ids=["half line", "far edge", "heavy tail", "essential zero", "finite support", "monte carlo"],
)
def test_infinite_where_q_lacks_mass_that_p_has(p, q):
    divergence = kl_divergence(p, q, random_seed=0)
    assert (divergence.value, divergence.se) == (np.inf, 0.0)


def test_finite_where_only_p_lacks_mass():
    assert float(kl_divergence(pm.HalfNormal.dist(1), pm.Normal.dist(0, 1))) == pytest.approx(np.log(2), abs=1e-10)
    student = kl_divergence(pm.StudentT.dist(3, 0, sigma=1), pm.Normal.dist(0, 1))
    cross_entropy = 0.5 * np.log(2 * np.pi) + 1.5
    assert float(student) == pytest.approx(cross_entropy - stats.t(3).entropy(), abs=1e-8)


@pytest.mark.parametrize(
    ("p", "q", "scipy_p", "scipy_q"),
    [
        (pm.NegativeBinomial.dist(3, 2), pm.Poisson.dist(3), stats.nbinom(2, 0.4), stats.poisson(3)),
        (pm.Poisson.dist(3), pm.NegativeBinomial.dist(3, 2), stats.poisson(3), stats.nbinom(2, 0.4)),
        (pm.Binomial.dist(10, 0.3), pm.Poisson.dist(3), stats.binom(10, 0.3), stats.poisson(3)),
        (pm.Geometric.dist(0.2), pm.Poisson.dist(4), stats.geom(0.2), stats.poisson(4)),
    ],
    ids=["overdispersed p", "overdispersed q", "finite", "offset"],
)
def test_sum_matches_scipy(p, q, scipy_p, scipy_q):
    divergence = kl_divergence(p, q)
    assert divergence.method == "sum"
    assert float(divergence) == pytest.approx(summed(scipy_p, scipy_q), abs=1e-8)
    assert divergence.se < 1e-12


def two_modes_in_the_plane():
    """The mixture example times a standard normal, against a normal with the same second factor."""
    components = [
        pm.MvNormal.dist([loc, 0.0], np.diag([scale**2, 1.0]))
        for loc, scale in zip(MIXTURE["mu"], MIXTURE["sigma"], strict=True)
    ]
    loc, scale = FORWARD_OPTIMUM
    return pm.Mixture.dist(MIXTURE["w"], components), pm.MvNormal.dist([loc, 0.0], np.diag([scale**2, 1.0]))


def test_monte_carlo_is_within_its_error_in_both_directions():
    p, q = two_modes_in_the_plane()
    forward, reverse = kl_divergence(p, q, random_seed=1), kl_divergence(q, p, random_seed=2)
    assert forward.method == reverse.method == "monte carlo"
    assert abs(float(forward) - 0.604861) < 5 * forward.se
    assert abs(float(reverse) - 1.458602) < 5 * reverse.se
    assert max(forward.se, reverse.se) < 0.01


def test_monte_carlo_against_an_approximation_is_reproducible():
    p, _ = two_modes_in_the_plane()
    q = MeanField(loc=np.array([FORWARD_OPTIMUM[0], 0.0]), scale=np.array([FORWARD_OPTIMUM[1], 1.0]))
    first, second = (kl_divergence(p, q, draws=5000, random_seed=3) for _ in range(2))
    other = kl_divergence(p, q, draws=5000, random_seed=4)
    assert first == second != other
    assert abs(float(first) - 0.604861) < 5 * first.se


def test_monte_carlo_error_is_calibrated_and_the_estimate_never_clamped(rng):
    p = MeanField(loc=np.zeros(2), scale=np.array([1.0, 2]))
    q = MeanField(loc=np.array([0.02, 0]), scale=np.array([1.02, 2]))
    exact = float(kl_divergence(p, q))
    p_density, q_density = as_density(p, "p"), as_density(q, "q")
    estimates = np.array([average_log_ratio(p_density, q_density, 200, rng) for _ in range(400)])
    z = (estimates[:, 0] - exact) / estimates[:, 1]
    assert abs(z.mean()) < 5 / np.sqrt(400)
    assert 0.85 < z.std() < 1.15
    assert (estimates[:, 0] < 0).any()


def test_arrays_of_probabilities():
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.5, 0.25])
    before = p.copy()
    assert kl_divergence(p, q) == Divergence(0.5 * np.log(2), 0.0, "sum")
    assert float(kl_divergence(q, p)) == np.inf
    assert float(kl_divergence(q, [0.5, 0.25, 0.25])) == pytest.approx(0.25 * np.log(0.5) + 0.5 * np.log(2))
    assert (p == before).all()


def test_arrays_agree_with_categoricals(rng):
    p, q = rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(5))
    categorical = kl_divergence(pm.Categorical.dist(p), pm.Categorical.dist(q))
    assert float(kl_divergence(p, q)) == pytest.approx(float(categorical), rel=1e-12)


def test_infinite_bounds_do_no_harm():
    half = pm.TruncatedNormal.dist(0, 1, lower=0, upper=np.inf)
    assert float(kl_divergence(half, pm.Normal.dist(0, 1))) == pytest.approx(np.log(2), abs=1e-9)


def test_variables_of_a_model_with_constant_parameters():
    with pm.Model():
        x = pm.Normal("x", 0, 2)
        y = pm.Normal("y", pm.Data("loc", np.array([0.0, 1])), 1)
    assert float(kl_divergence(x, pm.Normal.dist(0, 3))) == pytest.approx(0.127687, abs=5e-7)
    assert float(kl_divergence(y, pm.Normal.dist(0, 1, shape=2))) == pytest.approx(0.5)


def test_divergence_is_a_frozen_number():
    divergence = Divergence(0.5, 0.1, "monte carlo")
    assert float(divergence) == 0.5
    with pytest.raises(FrozenInstanceError):
        divergence.value = 0.0


def test_every_ordered_pair_of_the_registry_has_its_reverse():
    assert all((q, p) in CLOSED_FORMS for p, q in CLOSED_FORMS)


def child_of_a_random_variable():
    with pm.Model():
        return pm.Normal("child", pm.Normal("parent"), 1)


NORMAL, POISSON = pm.Normal.dist(0, 1), pm.Poisson.dist(3)
ERRORS = {
    "sum": ([0.5, 0.43], [0.5, 0.5], ValueError, r"weights must sum to 1; got 0\.93\. Normalise p"),
    "sum of q": ([0.5, 0.5], [0.5, 0.6], ValueError, r"weights must sum to 1; got 1\.1\. Normalise q"),
    "negative": ([1.5, -0.5], [0.5, 0.5], ValueError, r"weights must be 0 or more; p holds -0\.5"),
    "lengths": ([0.5, 0.5], [1.0], ValueError, r"expected \(2,\) as of p, got \(1,\)"),
    "shapes": (
        pm.Normal.dist([0.0, 1]), NORMAL,
        ValueError, r"same shape; expected \(2,\) as of p \(Normal\), got \(1,\)",
    ),
    "approximation's shape": (
        MeanField(loc=np.zeros(3), scale=np.ones(3)), pm.Normal.dist(0, 1, shape=2),
        ValueError, r"expected \(3,\) as of p \(MeanField\), got \(2,\) for q \(Normal\)",
    ),
    "kinds": (POISSON, NORMAL, ValueError, r"got p discrete \(Poisson\) and q continuous \(Normal\)"),
    "unknown": (3.0, NORMAL, TypeError, r"p must be a PyMC distribution .* probabilities .* got float"),
    "one array": (NORMAL, [0.5, 0.5], TypeError, r"q must be .* \(both p and q\); got list"),
    "class": (NORMAL, pm.Normal, TypeError, r"got the class Normal; call its \.dist"),
    "computed": (NORMAL, 2 * NORMAL, TypeError, r"wrap the computation in pm\.CustomDist"),
    "range": (NORMAL, pm.Normal.dist(0, -1), ValueError, r"of q \(Normal\) must satisfy sigma > 0"),
    "mean": (NORMAL, pm.Normal.dist(np.inf, 1), ValueError, r"draws of q \(Normal\) must be finite"),
    "width": (pm.Laplace.dist(0, np.inf), NORMAL, ValueError, r"draws of p \(Laplace\) must be finite"),
    "infinite component": (
        NORMAL, pm.Mixture.dist([0.5, 0.5], pm.Normal.dist([0, np.inf], 1)),
        ValueError, r"draws of q \(Mixture\) must be finite",
    ),
    "covariance": (
        pm.MvNormal.dist([0.0, 0], np.eye(2)), pm.MvNormal.dist([0.0, 0], [[1.0, 1], [1, 1]]),
        ValueError, r"of q \(MvNormal\) must satisfy posdef covariance",
    ),
    "point mass": (
        pm.Censored.dist(NORMAL, lower=-1, upper=1), NORMAL,
        ValueError, r"p \(Censored\) must have a density",
    ),
    "random parameter": (
        NORMAL, child_of_a_random_variable(),
        ValueError, r"parameters of q \(Normal\) must be constants; they depend on parent",
    ),
    "simplex": (
        pm.Dirichlet.dist([1.0, 1, 1]), pm.MvNormal.dist(np.zeros(3), np.eye(3)),
        ValueError, r"\(Dirichlet\) span 2 dimensions and draws of q \(MvNormal\) span 3",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_what_was_expected_and_what_came(name):
    p, q, error, match = ERRORS[name]
    with pytest.raises(error, match=match):
        kl_divergence(p, q)


def test_one_draw_has_no_standard_error():
    p, q = two_modes_in_the_plane()
    with pytest.raises(ValueError, match="draws must be at least 2, to have a standard error; got 1"):
        kl_divergence(p, q, draws=1)
