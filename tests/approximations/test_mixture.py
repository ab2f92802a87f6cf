"""The Gaussian mixture: its density, its draws, and a forward fit that neither misses nor collapses."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.signal import lfilter
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations import FullRank, Mixture
from pymc_kl.approximations.components import Components, WeightedDraws, effective_number
from pymc_kl.approximations.estimation.em import PRIOR_DRAWS, Prior, expect, fit_em, maximise, set_prior
from pymc_kl.approximations.estimation.fit_data import FitData, merge_copies
from pymc_kl.approximations.estimation.growth import add_modes, from_clusters, grow
from pymc_kl.approximations.estimation.halves import HeldOut, Trial, half, halves
from pymc_kl.approximations.estimation.held_out import FIXED_DRAWS, choose_trial

TWO_MODES = Mixture(
    weights=np.array([0.3, 0.7]), locs=np.array([[-3.0], [3.0]]), scale_trils=np.array([[[0.6]], [[1.0]]])
)
PLANE = Mixture(
    weights=np.array([0.2, 0.3, 0.5]),
    locs=np.array([[-2.0, 0.0], [2.0, 1.0], [0.0, 5.0]]),
    scale_trils=np.array([[[0.5, 0], [0.2, 1]], [[1, 0], [-0.8, 0.4]], [[0.3, 0], [0, 0.7]]]),
)


def two_modes(n: int, rng: np.random.Generator) -> tuple[Array, IntArray]:
    """Exact draws of TWO_MODES and the mode of each; the regions meet at the saddle."""
    x = TWO_MODES.sample(n, random_seed=rng)
    return x, (x[:, 0] > -0.7312).astype(int)


def banana(n: int, rng: np.random.Generator) -> Array:
    first = rng.standard_normal(n)
    return np.column_stack([first, first**2 + 0.5 * rng.standard_normal(n)])


def kl_and_se(p: Mixture, q: Mixture, rng: np.random.Generator, n: int = 50_000) -> tuple[float, float]:
    x = p.sample(n, random_seed=rng)
    log_ratio = p.log_prob(x) - q.log_prob(x)
    return float(log_ratio.mean()), float(log_ratio.std() / np.sqrt(n))


def reference_log_prob(q: Mixture, x: Array) -> Array:
    parts = zip(q.weights, q.locs, q.scale_trils, strict=True)
    return logsumexp([np.log(w) + multivariate_normal(m, tril @ tril.T).logpdf(x) for w, m, tril in parts], axis=0)


def assert_same(left: Mixture, right: Mixture, rtol: float = 1e-9) -> None:
    for name in ("weights", "locs", "scale_trils"):
        np.testing.assert_allclose(getattr(left, name), getattr(right, name), rtol=rtol, atol=1e-12)


# The density and its draws


def test_density_integrates_to_one_on_the_line() -> None:
    total = quad(lambda x: float(np.exp(TWO_MODES.log_prob(np.array([[x]])))[0]), -12, 12, limit=200)[0]
    assert total == pytest.approx(1, abs=1e-8)


def test_density_integrates_to_one_in_the_plane() -> None:
    axis = np.linspace(-12, 12, 1201)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    assert np.exp(PLANE.log_prob(grid)).sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=1e-8)


def test_log_prob_is_that_of_scipy() -> None:
    x = PLANE.sample(500, random_seed=1)
    np.testing.assert_allclose(PLANE.log_prob(x), reference_log_prob(PLANE, x), rtol=1e-11)


def test_log_prob_stands_far_points_and_uneven_scales() -> None:
    scales = np.array([1e-6, 1e6])
    q = Mixture(weights=PLANE.weights, locs=PLANE.locs * scales, scale_trils=scales[:, None] * PLANE.scale_trils)
    x = np.concatenate([PLANE.sample(100, random_seed=1), [[1e4, -1e4]]])
    np.testing.assert_allclose(q.log_prob(x * scales), PLANE.log_prob(x) - np.log(scales).sum(), rtol=1e-9)


def test_memory_of_log_prob_does_not_grow_with_the_number_of_draws() -> None:
    d, size, n = 10, 10, 100_000
    q = Mixture(weights=np.full(size, 0.1), locs=np.zeros((size, d)), scale_trils=np.stack([np.eye(d)] * size))
    x = np.zeros((n, d))
    q.log_prob(x[:10])
    tracemalloc.start()
    q.log_prob(x)
    maximum = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert maximum < 20 * n * 8 < size * d * n * 8


@pytest.mark.parametrize("q", [TWO_MODES, PLANE], ids=["line", "plane"])
def test_moments_of_draws_are_those_of_the_mixture(q: Mixture, rng: np.random.Generator) -> None:
    x = q.sample(100_000, random_seed=rng)
    assert (abs(x.mean(axis=0) - q.loc) < 5 * x.std(axis=0) / np.sqrt(len(x))).all()
    centred = x - q.loc
    products = centred[:, :, None] * centred[:, None, :]
    assert (abs(products.mean(axis=0) - q.covariance) < 5 * products.std(axis=0) / np.sqrt(len(x))).all()


def test_entropy_of_draws_is_that_of_the_density(rng: np.random.Generator) -> None:
    grid = np.linspace(-12, 12, 20_001)
    log_q = TWO_MODES.log_prob(grid[:, None])
    entropy = -np.trapezoid(np.exp(log_q) * log_q, grid)
    draws = -TWO_MODES.log_prob(TWO_MODES.sample(100_000, random_seed=rng))
    assert abs(draws.mean() - entropy) < 5 * draws.std() / np.sqrt(draws.size)


# The fit: what it finds


@pytest.mark.parametrize("labelled", [True, False], ids=["labels", "no labels"])
def test_two_modes_are_found_exactly(labelled: bool, rng: np.random.Generator) -> None:
    x, labels = two_modes(20_000, rng)
    q = Mixture.fit_forward(x, mode=labels if labelled else None, rng=rng)
    assert q.n_components == q.info["n_components"] == 2
    weights = q.weights[np.argsort(q.locs[:, 0])]
    assert (abs(weights - [0.3, 0.7]) < 3 * np.sqrt(0.3 * 0.7 / len(x))).all()
    kl, kl_se = kl_and_se(TWO_MODES, q, rng)
    assert kl < 0.003
    assert kl > -5 * kl_se


def test_fit_to_its_own_draws_recovers_the_mixture(rng: np.random.Generator) -> None:
    n, parameters = 20_000, 17
    q = Mixture.fit_forward(PLANE.sample(n, random_seed=rng), rng=rng)
    assert q.n_components == 3
    kl, kl_se = kl_and_se(PLANE, q, rng)
    assert kl < 3 * parameters / (2 * n) + 5 * kl_se


def test_one_component_is_the_full_rank_gaussian(rng: np.random.Generator) -> None:
    x = banana(4000, rng)
    one, gaussian = Mixture.fit_forward(x, n_components=1, rng=rng), FullRank.fit_forward(x)
    np.testing.assert_allclose(one.loc, gaussian.loc, rtol=1e-6)
    np.testing.assert_allclose(one.covariance, gaussian.covariance, rtol=1e-4, atol=1e-4)


def test_one_component_covers_two_labelled_modes(rng: np.random.Generator) -> None:
    x, labels = two_modes(4000, rng)
    one = Mixture.fit_forward(x, mode=labels, n_components=1, rng=rng)
    assert one.n_components == 1
    np.testing.assert_allclose(one.covariance, FullRank.fit_forward(x).covariance, rtol=1e-3)


def test_weights_are_used(rng: np.random.Generator) -> None:
    x, labels = two_modes(4000, rng)
    weights = np.where(labels == 0, 7.0, 3.0)
    q = Mixture.fit_forward(x, weights, mode=labels, rng=rng)
    expected = weights[labels == 0].sum() / weights.sum()
    assert q.weights[np.argmin(q.locs[:, 0])] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_a_gaussian_gets_one_component(seed: int) -> None:
    rng = np.random.default_rng(seed)
    q = Mixture.fit_forward(rng.standard_normal((2000, 5)) @ rng.standard_normal((5, 5)), rng=rng)
    assert q.n_components == 1
    assert max(q.info["scores"]) <= 3


def test_a_curved_posterior_gets_several_components_and_a_better_score(rng: np.random.Generator) -> None:
    q = Mixture.fit_forward(banana(4000, rng), rng=rng)
    scores, size = q.info["scores"], q.n_components
    assert size > 3
    assert scores[size] > scores[1] + 0.3
    assert scores[size] == q.info["held_out_score"]
    assert scores[size] >= max(scores.values()) - q.info["held_out_score_se"]
    assert q.info["converged"]
    assert q.info["warnings"] == ()


def test_a_narrow_mode_keeps_its_width(rng: np.random.Generator) -> None:
    x = np.concatenate([rng.standard_normal((2000, 4)), 5 + 1e-3 * rng.standard_normal((2000, 4))])
    for labels in (None, np.repeat([0, 1], 2000)):
        q = Mixture.fit_forward(x, mode=labels, rng=rng)
        narrow = q.scale_trils[np.argmax(q.locs[:, 0])]
        np.testing.assert_allclose(np.diag(narrow), 1e-3, rtol=0.1)


def test_a_mode_of_little_mass_and_many_draws_keeps_its_shape(rng: np.random.Generator) -> None:
    shape = np.array([[0.1, 0], [0.19, 0.04]])
    x = np.concatenate([rng.standard_normal((2000, 2)), [20, 0] + rng.standard_normal((500, 2)) @ shape.T])
    weights = np.repeat([1 / 2000, 1e-6 / 500], [2000, 500])
    q = Mixture.fit_forward(x, weights, mode=np.repeat([0, 1], [2000, 500]), rng=rng)
    small = np.argmax(q.locs[:, 0])
    assert q.weights[small] == pytest.approx(1e-6, rel=1e-3)
    np.testing.assert_allclose(q.scale_trils[small], shape, atol=0.1 * 0.19)


def test_a_component_on_one_heavy_draw_is_dropped(rng: np.random.Generator) -> None:
    x = np.concatenate([rng.standard_normal((500, 2)), 30 + rng.standard_normal((20, 2))])
    weights = np.r_[np.ones(500), 200, np.ones(19)]
    draws = WeightedDraws(x, weights / weights.sum())
    two = Components(np.array([0.7, 0.3]), np.array([[0.0, 0], [30, 30]]), np.stack([np.eye(2)] * 2))
    assert len(fit_em(draws, two, tolerance=1e-6, max_iterations=50).components) == 1


def test_a_component_that_vanishes_is_dropped(rng: np.random.Generator) -> None:
    draws = WeightedDraws(rng.standard_normal((500, 2)), np.full(500, 1 / 500))
    wide = Components(np.array([1, 1e-6]), np.zeros((2, 2)), np.stack([np.eye(2)] * 2))
    assert len(fit_em(draws, wide, tolerance=1e-6, max_iterations=50).components) == 1


def test_draws_outside_any_mode_are_covered_too(rng: np.random.Generator) -> None:
    x, labels = two_modes(4000, rng)
    q = Mixture.fit_forward(x, mode=np.where(labels == 0, -1, 5), rng=rng)
    assert kl_and_se(TWO_MODES, q, rng)[0] < 0.02
    alone = Mixture.fit_forward(x, mode=np.full(len(x), -1), rng=rng)
    assert alone.n_components == 2


def test_a_mode_too_small_to_hold_draws_out_still_gets_a_component(rng: np.random.Generator) -> None:
    small = np.array([40.0, 0, 0, 0]) + 0.1 * rng.standard_normal((7, 4))
    x = np.concatenate([rng.standard_normal((1000, 4)), small])
    q = Mixture.fit_forward(x, mode=np.repeat([0, 1], [1000, 7]), rng=rng)
    assert q.locs[:, 0].max() == pytest.approx(40, abs=0.5)
    assert q.weights[q.locs[:, 0].argmax()] == pytest.approx(7 / 1007, rel=1e-6)
    assert any("too few draws to hold any out" in warning for warning in q.info["warnings"])


# The fit: what must not change it


def test_copies_equal_weights(rng: np.random.Generator) -> None:
    x = banana(600, rng)
    copies = rng.integers(1, 4, len(x))
    weighted = Mixture.fit_forward(x, copies.astype(float), rng=np.random.default_rng(1))
    in_place = Mixture.fit_forward(np.repeat(x, copies, axis=0), rng=np.random.default_rng(1))
    appended = np.concatenate([x, x[copies > 1], x[copies > 2]])
    assert_same(weighted, in_place)
    assert_same(weighted, Mixture.fit_forward(appended, rng=np.random.default_rng(1)))
    assert weighted.info["scores"] == pytest.approx(in_place.info["scores"])


def test_draws_of_weight_zero_do_not_count(rng: np.random.Generator) -> None:
    x = banana(600, rng)
    padded = np.concatenate([x, 1e3 + rng.standard_normal((50, 2))])
    weights = np.repeat([1.0, 0.0], [600, 50])
    assert_same(
        Mixture.fit_forward(x, rng=np.random.default_rng(1)),
        Mixture.fit_forward(padded, weights, rng=np.random.default_rng(1)),
    )


def test_scales_of_coordinates_do_not_matter(rng: np.random.Generator) -> None:
    x, scales = banana(1000, rng), np.array([1e-6, 1e6])
    q = Mixture.fit_forward(x, rng=np.random.default_rng(1))
    scaled = Mixture.fit_forward(x * scales + scales, rng=np.random.default_rng(1))
    jacobian = np.log(scales).sum()
    np.testing.assert_allclose(scaled.weights, q.weights, rtol=1e-5)
    np.testing.assert_allclose(scaled.log_prob(x * scales + scales) + jacobian, q.log_prob(x), atol=1e-4)
    assert scaled.info["held_out_score"] + jacobian == pytest.approx(q.info["held_out_score"], abs=1e-5)


def test_names_of_modes_do_not_matter(rng: np.random.Generator) -> None:
    x, labels = two_modes(1000, rng)
    q = Mixture.fit_forward(x, mode=labels, rng=np.random.default_rng(1))
    assert_same(q, Mixture.fit_forward(x, mode=labels * 10**9 + 3, rng=np.random.default_rng(1)))


def test_the_same_seed_gives_the_same_fit_and_inputs_stay(rng: np.random.Generator) -> None:
    x, weights = banana(1000, rng), rng.random(1000)
    labels, blocks = np.zeros(1000, int), np.arange(1000) // 50
    before = [a.copy() for a in (x, weights, labels, blocks)]
    first, second = (
        Mixture.fit_forward(x, weights, mode=labels, blocks=blocks, rng=np.random.default_rng(4)) for _ in range(2)
    )
    assert_same(first, second, rtol=0)
    assert first.info == second.info
    for after, original in zip((x, weights, labels, blocks), before, strict=True):
        np.testing.assert_array_equal(after, original)


# The fit: what must not collapse


def test_copies_of_few_draws_do_not_collapse(rng: np.random.Generator) -> None:
    few = rng.standard_normal((12, 2))
    q = Mixture.fit_forward(np.tile(few, (10, 1)), rng=np.random.default_rng(1))
    assert_same(q, Mixture.fit_forward(few, rng=np.random.default_rng(1)))
    smallest = np.linalg.svd(q.scale_trils, compute_uv=False).min()
    assert smallest > 0.2 * np.sqrt(np.linalg.eigvalsh(np.cov(few.T)).min())


@pytest.mark.parametrize(("n", "d", "size"), [(1000, 1, 30), (200, 2, 20), (400, 5, 20)])
def test_too_many_components_do_not_collapse(n: int, d: int, size: int, rng: np.random.Generator) -> None:
    x = rng.standard_normal((n, d))
    q = Mixture.fit_forward(x, n_components=size, rng=rng)
    assert np.linalg.svd(q.scale_trils, compute_uv=False).min() > 2e-3
    fresh = q.log_prob(rng.standard_normal((5000, d))).mean()
    assert fresh > -0.5 * d * (1 + np.log(2 * np.pi)) - 1.5


def test_a_stuck_chain_gets_no_component_when_blocks_are_held_out(rng: np.random.Generator) -> None:
    x = rng.standard_normal((4000, 3))
    x[1000:1060] = x[1000] + 1e-5 * rng.standard_normal((60, 3))
    q = Mixture.fit_forward(x, blocks=np.arange(4000) // 100, rng=rng)
    assert np.linalg.svd(q.scale_trils, compute_uv=False).min() > 0.5


def test_a_component_of_few_draws_is_dropped(rng: np.random.Generator) -> None:
    draws = WeightedDraws(rng.standard_normal((500, 3)), np.full(500, 1 / 500))
    far = Components(np.array([0.5, 0.5]), np.array([[0.0] * 3, [50.0] * 3]), np.stack([np.eye(3)] * 2))
    fit = fit_em(draws, far, tolerance=1e-6, max_iterations=50)
    assert len(fit.components) == 1
    assert fit.converged


# EM


def start_of(x: Array, size: int, rng: np.random.Generator) -> tuple[WeightedDraws, Components]:
    weights = rng.random(len(x))
    draws = WeightedDraws(x, weights / weights.sum())
    return draws, from_clusters(draws, rng.integers(size, size=len(x)))


def prior_of(draws: WeightedDraws, start: Components) -> Prior:
    return set_prior(start, expect(draws, start), draws.n_effective)


def map_objective(draws: WeightedDraws, components: Components, prior: Prior) -> float:
    covariances = components.scale_trils @ components.scale_trils.swapaxes(1, 2)
    log_priors = [
        -0.5 * n * (np.linalg.slogdet(c)[1] + np.trace(mode @ np.linalg.inv(c)))
        for c, mode, n in zip(covariances, *prior, strict=True)
    ]
    mixture = Mixture(weights=components.weights, locs=components.locs, scale_trils=components.scale_trils)
    return float(draws.weights @ reference_log_prob(mixture, draws.x) + sum(log_priors) / draws.n_effective)


@pytest.mark.parametrize(("n", "size"), [(40, 2), (2000, 4)])
def test_each_iteration_climbs_the_penalised_likelihood(n: int, size: int, rng: np.random.Generator) -> None:
    draws, start = start_of(banana(n, rng), size, rng)
    fit = fit_em(draws, start, tolerance=1e-9, max_iterations=100)
    assert len(fit.components) == size
    assert (np.diff(fit.objective) > -1e-12).all()
    assert fit.objective[-1] > fit.objective[0] + 0.1
    prior = prior_of(draws, start)
    assert fit.objective[0] == pytest.approx(map_objective(draws, start, prior), abs=1e-9)
    if fit.converged:
        assert fit.objective[-1] == pytest.approx(map_objective(draws, fit.components, prior), abs=1e-9)


def test_m_step_takes_weighted_moments(rng: np.random.Generator) -> None:
    draws, start = start_of(banana(300, rng), 2, rng)
    expectation, prior = expect(draws, start), prior_of(draws, start)
    after = maximise(start, expectation, prior, draws.n_effective)
    parts = zip(start.weights, start.locs, start.covariances, strict=True)
    joint = np.stack([w * multivariate_normal(m, c).pdf(draws.x) for w, m, c in parts])
    for k, share in enumerate(joint / joint.sum(axis=0) * draws.weights):
        mean = share @ draws.x / share.sum()
        scatter = np.cov(draws.x.T, aweights=share, bias=True)
        n, pseudo = draws.n_effective * share.sum(), prior.draws[k]
        np.testing.assert_allclose(after.weights[k], share.sum(), rtol=1e-9)
        np.testing.assert_allclose(after.locs[k], mean, rtol=1e-9)
        expected = (n * scatter + pseudo * prior.modes[k]) / (n + pseudo)
        np.testing.assert_allclose(after.covariances[k], expected, rtol=1e-9)


def test_em_stops_at_a_maximum(rng: np.random.Generator) -> None:
    x, labels = two_modes(300, rng)
    draws = WeightedDraws(x, np.full(300, 1 / 300))
    start = from_clusters(draws, labels)
    prior = prior_of(draws, start)
    np.testing.assert_allclose(prior.draws, PRIOR_DRAWS, rtol=0.05)
    fit = fit_em(draws, start, tolerance=1e-14, max_iterations=1000).components
    best = map_objective(draws, fit, prior)
    for step in (-1e-2, 1e-2):
        assert map_objective(draws, Components(fit.weights, fit.locs + step, fit.scale_trils), prior) < best
        scaled = fit.scale_trils * np.array([1 + step, 1])[:, None, None]
        assert map_objective(draws, Components(fit.weights, fit.locs, scaled), prior) < best
        tilted = fit.weights + np.array([step, -step])
        assert map_objective(draws, Components(tilted, fit.locs, fit.scale_trils), prior) < best


def test_splitting_finds_the_component_that_is_not_gaussian(rng: np.random.Generator) -> None:
    two = np.where(rng.random(2000) < 0.5, -1, 1) + 0.2 * rng.standard_normal(2000)
    x = np.concatenate([rng.standard_normal((2000, 2)) - 20, np.column_stack([two, rng.standard_normal(2000)])])
    draws = WeightedDraws(x, np.full(4000, 1 / 4000))
    for at_most in (1, 2):
        components = grow(draws, from_clusters(draws, np.repeat([0, 1], 2000)), at_most=at_most)
        assert components is not None
        order = np.argsort(components.locs[:, 0])
        np.testing.assert_allclose(components.locs[order, 0], [-20, -1, 1], atol=0.15)
        np.testing.assert_allclose(components.weights[order], [0.5, 0.25, 0.25], atol=0.05)


def test_modes_that_have_a_component_get_no_second_one(rng: np.random.Generator) -> None:
    x, labels = two_modes(500, rng)
    draws = WeightedDraws(x, np.full(500, 1 / 500))
    one = from_clusters(draws, np.where(labels == 1, 0, -1))
    both = add_modes(draws, one, labels, [0])
    np.testing.assert_allclose(both.weights, [labels.mean(), 1 - labels.mean()])
    assert len(add_modes(draws, one, labels, [1])) == 1


# The held-out score


def held_out_by_hand(x: Array, blocks: IntArray | None, seed: int) -> tuple[float, float]:
    train, test = halves(np.zeros(len(x), int), blocks, FIXED_DRAWS, np.random.default_rng(seed))
    gaussian = multivariate_normal(x[train].mean(axis=0), np.cov(x[train].T, bias=True))
    log_q = gaussian.logpdf(x[test])
    blocks = np.arange(len(x)) if blocks is None else blocks
    residuals = [(log_q - log_q.mean())[blocks[test] == b].sum() for b in np.unique(blocks[test])]
    n_blocks = len(residuals)
    return log_q.mean(), float(np.std(residuals) * n_blocks / np.sqrt(n_blocks - 1) / len(test))


@pytest.mark.parametrize("blocked", [True, False], ids=["blocks", "no blocks"])
def test_held_out_score_is_that_of_a_fit_to_the_other_half(blocked: bool, rng: np.random.Generator) -> None:
    x = banana(1000, rng)
    blocks = np.arange(1000) // 47 if blocked else None
    info = Mixture.fit_forward(x, blocks=blocks, n_components=1, rng=np.random.default_rng(5)).info
    score, score_se = held_out_by_hand(x, blocks, 5)
    assert info["held_out_score"] == pytest.approx(score, rel=1e-8)
    assert info["held_out_score_se"] == pytest.approx(score_se, rel=1e-8)


def test_held_out_score_predicts_the_score_of_fresh_draws(rng: np.random.Generator) -> None:
    q = Mixture.fit_forward(TWO_MODES.sample(4000, random_seed=rng), rng=rng)
    fresh = q.log_prob(TWO_MODES.sample(100_000, random_seed=rng)).mean()
    assert abs(q.info["held_out_score"] - fresh) < 5 * q.info["held_out_score_se"]


def test_error_of_the_score_is_right_for_autocorrelated_draws(rng: np.random.Generator) -> None:
    n, per_block = 4000, 200
    z = []
    for _ in range(200):
        x = lfilter([0.6], [1, -0.8], rng.standard_normal(n + 50))[50:]
        held_out = HeldOut(WeightedDraws(x[:, None], np.full(n, 1 / n)), np.arange(n) // per_block)
        score, score_se = held_out.score(norm.logpdf(x))
        z.append((score + 0.5 * (1 + np.log(2 * np.pi))) / score_se)
    assert 0.85 < np.std(z) < 1.3
    assert abs(np.mean(z)) < 5 * np.std(z) / np.sqrt(len(z))


@pytest.mark.parametrize(("gain", "size"), [(-0.01, 1), (0.01, 1), (0.1, 2)])
def test_smallest_size_within_an_error_of_the_best_is_chosen(gain: float, size: int) -> None:
    noise = np.tile([-1.0, 1.0], 500)  # a paired standard error of 1 / sqrt(999) = 0.03
    held_out = HeldOut(WeightedDraws(np.zeros((1000, 1)), np.full(1000, 1e-3)), np.arange(1000))
    components = [Components(np.ones(m) / m, np.zeros((m, 1)), np.ones((m, 1, 1))) for m in (1, 2)]
    trials = [Trial(components[0], np.zeros(1000)), Trial(components[1], noise + gain)]
    choice = choose_trial(trials, held_out)
    assert len(choice.components) == size
    assert choice.scores == pytest.approx({1: 0, 2: gain})


def test_blocks_keep_autocorrelation_from_looking_like_structure() -> None:
    rng = np.random.default_rng(0)
    x = lfilter([0.31], [1, -0.95], rng.standard_normal((4200, 3)), axis=0)[200:]
    blocked = Mixture.fit_forward(x, blocks=np.arange(4000) // 100, rng=np.random.default_rng(1))
    shuffled = Mixture.fit_forward(x, rng=np.random.default_rng(1))
    assert blocked.n_components == 1
    assert shuffled.n_components > 3
    assert blocked.info["held_out_score_se"] > 3 * shuffled.info["held_out_score_se"]


def test_halves_hold_every_mode_and_never_cut_a_block(rng: np.random.Generator) -> None:
    mode = np.repeat([-1, 0, 1, 2], [40, 500, 60, 400])
    blocks = np.repeat(np.arange(50), 20)
    train, test = halves(mode, blocks, 10**6, rng)
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(1000))
    for stratum in np.unique(mode):
        cells = [set(blocks[part][mode[part] == stratum]) for part in (train, test)]
        assert cells[0]
        assert cells[1]
        assert not cells[0] & cells[1]


def test_a_mode_of_one_block_is_cut_in_the_middle(rng: np.random.Generator) -> None:
    train, test = halves(np.zeros(10, int), np.zeros(10, int), 100, rng)
    assert train.tolist() == [0, 1, 2, 3, 4]
    assert test.tolist() == [5, 6, 7, 8, 9]


def test_halves_are_thinned_without_losing_small_modes(rng: np.random.Generator) -> None:
    mode = np.repeat([0, 1], [100_000, 60])
    train, test = halves(mode, None, 1000, rng)
    assert len(train) + len(test) < 1100
    assert np.count_nonzero(mode[train]) == np.count_nonzero(mode[test]) == 30
    draws = WeightedDraws(rng.standard_normal((100_060, 1)), np.full(100_060, 1 / 100_060))
    weights = half(draws, mode, train).weights
    assert weights[mode[train] == 1].sum() == pytest.approx(60 / 100_060)


def test_one_block_gives_a_score_without_error(rng: np.random.Generator) -> None:
    q = Mixture.fit_forward(banana(500, rng), blocks=np.zeros(500, int), rng=rng)
    assert np.isfinite(q.info["held_out_score"])
    assert q.info["held_out_score_se"] == np.inf
    assert any("one block" in warning for warning in q.info["warnings"])


# What is doubtful, and what is refused


@pytest.mark.parametrize(
    ("n", "arguments", "match"),
    [
        (4, {}, "too few draws to hold any out"),
        (2000, {"max_components": 2}, "all 2 components allowed are in use"),
        (30, {"n_components": 12}, "not the 12 asked for"),
        (500, {"mode": np.repeat([0, 1], [498, 2])}, "1 of 2 modes have too few draws for a component"),
    ],
)
def test_doubts_are_said(n: int, arguments: dict[str, Any], match: str, rng: np.random.Generator) -> None:
    q = Mixture.fit_forward(banana(n, rng), **arguments, rng=rng)
    assert any(match in warning for warning in q.info["warnings"])
    assert np.isfinite(q.log_prob(banana(10, rng))).all()


def test_too_few_draws_to_hold_out_give_a_fit_without_a_score(rng: np.random.Generator) -> None:
    q = Mixture.fit_forward(rng.standard_normal((5, 4)), rng=rng)
    assert q.n_components == 1
    assert np.isnan(q.info["held_out_score"])


X = np.random.default_rng(0).standard_normal((50, 3))
BAD: list[tuple[Any, dict[str, Any], str]] = [
    (X[:3], {}, r"at least d \+ 1 = 4 effective draws that differ; got 3.0"),
    (np.repeat(X[:3], 10, axis=0), {}, r"at least d \+ 1 = 4 effective draws that differ; got 3.0"),
    (X, {"weights": np.r_[1e9, np.ones(49)]}, "effective draws that differ; got 1.0"),
    (X[:, 0], {}, r"x must have shape \(n, d\)"),
    (X[:0], {}, r"x must have shape \(n, d\)"),
    (np.where(X > 2, np.nan, X), {}, "x must be finite"),
    (np.c_[X, np.ones(50)], {}, r"coordinates \[3\] of x don't vary"),
    (np.c_[X, X[:, 0] - X[:, 1]], {}, "lie on a hyperplane"),
    (X, {"weights": np.ones(49)}, r"weights must have shape \(50,\)"),
    (X, {"weights": np.r_[-1, np.ones(49)]}, "weights must be finite, not negative"),
    (X, {"weights": np.zeros(50)}, "weights must be finite, not negative and not all zero"),
    (X, {"mode": np.zeros(49, int)}, r"mode must be integers of shape \(50,\)"),
    (X, {"mode": np.zeros(50)}, "mode must be integers"),
    (X, {"blocks": np.zeros((50, 1), int)}, r"blocks must be integers of shape \(50,\)"),
    (X, {"n_components": 0}, "n_components must be at least 1"),
    (X, {"max_components": -1}, "max_components must be at least 1"),
]


@pytest.mark.parametrize(("x", "arguments", "match"), BAD, ids=[match for *_, match in BAD])
def test_bad_input_is_refused(x: Array, arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Mixture.fit_forward(x, **arguments, rng=np.random.default_rng(0))


def test_modes_are_numbered_whatever_their_labels() -> None:
    labels = np.array([10**12, -1, 5, -7, 5, 10**12])
    assert FitData.check(X[:6], None, labels, None).mode.tolist() == [1, -1, 0, -1, 0, 1]


def test_copies_are_merged_where_they_first_stand() -> None:
    x = np.array([[2.0, 1.0], [1.0, 1.0], [2.0, 1.0], [2.0, 3.0], [1.0, 1.0], [9.0, 9.0]])
    index, weights = merge_copies(x, np.array([1.0, 2.0, 3.0, 4.0, 5.0, 0.0]))
    assert index.tolist() == [0, 1, 3]
    assert weights.tolist() == [4, 7, 4]
    assert effective_number(np.ones(7)) == pytest.approx(7)
