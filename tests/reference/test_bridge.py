"""Normalising constants against exact ones: bridges, the path between two densities, weights about a peak."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm, skewnorm

from pymc_kl import find_modes
from pymc_kl.modes.masses import masses_from_log, unknown_masses
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.numerics.khat import KHAT_RELIABLE
from pymc_kl.reference.bridge_sampling import WIDE_OVERLAP, bridge, doubt, log_mass
from pymc_kl.reference.importance_sampling import log_mass_by_importance
from pymc_kl.reference.local_chains import make_task
from pymc_kl.reference.local_draws import LocalDraws
from pymc_kl.reference.local_hmc import sample_batch
from pymc_kl.reference.local_nuts import sample_with_nuts
from pymc_kl.reference.mode_density import ModeDensity
from pymc_kl.reference.proposals import fit_proposal, fit_student_mixture
from pymc_kl.reference.tempered_bridge import log_mass_by_path
from pymc_kl.reference.warped_proposal import fit_warped


def exact_local(problem, target, k, n, rng):
    """Exact draws of one mode, as if from a chain."""
    modes = find_modes(model=target, symmetry=False, random_seed=1)
    x = problem.sample(4 * n, rng)
    x = x[modes.assign(x) == k][:n]
    maximum = modes.canonical(x).maximum
    return modes, LocalDraws(x, target.log_density(x), maximum, np.ones(len(x)), "NUTS")


def test_bridge_between_two_normals_is_calibrated(rng):
    """log ratio of N(0, 1), times e², to N(0.5, 1.5): exact 2; the error is that of replicates."""
    errors, values = [], []
    for _ in range(200):
        p, q = rng.normal(0, 1, 500), rng.normal(0.5, 1.5, 500)

        def log_ratio(x):
            return 2 + norm.logpdf(x) - norm.logpdf(x, 0.5, 1.5)

        estimate, shared, _ = bridge(log_ratio(p), log_ratio(q))
        values.append(estimate.value)
        errors.append(estimate.se)
    z = (np.array(values) - 2) / np.array(errors)
    assert abs(z.mean()) < 4 / np.sqrt(200)
    assert 0.85 < z.std() < 1.2
    assert 250 < shared < 500


def test_the_larger_of_two_errors_counts(rng):
    """A chain that slowly goes to and fro: blocks of it differ; and k-hat of both sides is that of its terms."""
    p = np.zeros(4000)
    for i in range(1, len(p)):
        p[i] = 0.95 * p[i - 1] + rng.normal() * np.sqrt(1 - 0.95**2)
    q = rng.normal(0.5, 1.5, 4000)
    found = bridge(*(norm.logpdf(x) - norm.logpdf(x, 0.5, 1.5) for x in (p, q)))
    checks = found.checks
    assert found.estimate.se == max(checks.se_sandwich, checks.se_blocks)
    assert checks.se_blocks == pytest.approx(checks.se_sandwich, rel=0.5)
    assert max(checks.khat_draws, checks.khat_proposal) < KHAT_RELIABLE


def test_khat_of_terms_says_that_an_error_is_not_reliable(rng):
    """N(0, 3²) in ten dimensions seen from N(0, 1): a few terms carry the sum."""
    p, q = rng.normal(0, 3, (2000, 10)), rng.normal(size=(2000, 10))
    found = bridge(*((norm.logpdf(x, 0, 3) - norm.logpdf(x)).sum(axis=1) for x in (p, q)))
    assert found.shared / 2000 < WIDE_OVERLAP
    assert "not reliable (k-hat" in doubt(found.checks, found.shared / 2000)
    assert doubt(found.checks, 0.5) == ""  # terms are bounded, so that with much overlap none is far above their mean


def test_bridge_without_overlap_says_so():
    estimate, shared, _ = bridge(np.full(100, 800.0), np.full(100, -800.0))
    assert shared < 1e-6
    assert not np.isfinite(estimate.value) or estimate.se > 10
    estimate, shared, _ = bridge(np.zeros(10), np.full(10, -np.inf))
    assert np.isnan(estimate.value)
    assert shared == 0


def test_one_draw_absurdly_far_out_stops_no_bridge(rng):
    """A proposal with very light tails may put a draw 10⁴³ nats down; the root is found in that range too."""
    p, q = np.append(rng.normal(size=999), 1e43), rng.normal(size=1000)
    assert bridge(p, q).estimate.value == pytest.approx(0, abs=0.3)


def test_bridge_respects_the_autocorrelation_of_chains(rng):
    """A chain that says everything ten times over has a tenth of the draws."""
    z = []
    for _ in range(100):
        p, q = np.repeat(rng.normal(size=50), 10), rng.normal(0.5, 1.5, 2000)
        ratios = (norm.logpdf(x) - norm.logpdf(x, 0.5, 1.5) for x in (p, q))
        estimate, *_ = bridge(*ratios)
        z.append(estimate.value / estimate.se)
    assert 0.75 < np.std(z) < 1.3


@pytest.mark.parametrize("name", ["two_modes", "two_bananas", "two_students", "many_wells_6"])
def test_log_mass_of_exact_draws(name, zoo, rng):
    problem, target = zoo(name)
    modes, local = exact_local(problem, target, 0, 2000, rng)
    found = log_mass(ModeDensity(target, modes, 0), local, rng)
    truth = np.log(problem.masses[nearest(problem, modes, 0)]) + problem.log_z
    assert found.reason == ""
    assert abs(found.estimate.value - truth) < 3.5 * found.estimate.se + 1e-6
    assert found.estimate.se < 0.05


def nearest(problem, modes, k):
    if problem.locations is None:
        return int(np.argmax(problem.masses))
    return int(np.linalg.norm(problem.locations - modes.x[k], axis=1).argmin())


@pytest.mark.parametrize("name", ["two_bananas", "many_wells_6"])
def test_path_reaches_the_same_mass(name, zoo, rng):
    problem, target = zoo(name)
    modes, local = exact_local(problem, target, 0, 2000, rng)
    found = log_mass_by_path(ModeDensity(target, modes, 0), local, n_draws=1000, tune=400, rng=rng)
    truth = np.log(problem.masses[nearest(problem, modes, 0)]) + problem.log_z
    assert abs(found.estimate.value - truth) < 3.5 * found.estimate.se
    assert found.estimate.se < 0.05
    assert found.method == "annealed path to Gaussian"


def test_weights_about_a_peak(zoo, rng):
    problem, target = zoo("many_wells_6")
    modes = find_modes(model=target, random_seed=1)
    for k in range(modes.k):
        found, draws = log_mass_by_importance(ModeDensity(target, modes, k), rng)
        left = int((modes.x[k] < -1).sum())
        mass = 0.155689**left * 0.844311 ** (3 - left) * modes.copies[k]
        assert abs(found.estimate.value - np.log(mass) - problem.log_z) < 3.5 * found.estimate.se
        assert found.estimate.se < 0.1
        assert draws.source == "importance"


def test_reasons_instead_of_numbers(zoo, rng):
    problem, target = zoo("two_modes")
    modes, local = exact_local(problem, target, 0, 2000, rng)
    few = LocalDraws(local.x[:50], local.log_density[:50], local.maximum[:50], local.n_copies[:50], "NUTS")
    assert "50 draws are too few" in log_mass(ModeDensity(target, modes, 0), few, rng).reason
    order = np.argsort(local.x[:, 0])
    stuck = LocalDraws(local.x[order], local.log_density[order], local.maximum, local.n_copies, "NUTS")
    found = log_mass(ModeDensity(target, modes, 0), stuck, rng)
    assert "have not mixed" in found.reason
    assert np.isnan(found.estimate.value)
    divergent = LocalDraws(local.x, local.log_density, local.maximum, local.n_copies, "NUTS", 0, 500)
    assert "500 transitions of its chains diverged" in log_mass(ModeDensity(target, modes, 0), divergent, rng).reason


def test_masses_from_log_masses():
    masses, log_z = masses_from_log([Estimate(0.0, 0.1), Estimate(np.log(3.0), 0.1)], np.array([10, 10, 0]))
    np.testing.assert_allclose(masses.mass, [0.25, 0.75, 0.0])
    assert log_z.value == pytest.approx(np.log(4))
    np.testing.assert_allclose(masses.se[:2], 0.25 * 0.75 * np.sqrt(0.02))  # dw = w (1 - w) d(log ratio)
    assert log_z.se == pytest.approx(0.1 * np.hypot(0.25, 0.75))
    np.testing.assert_allclose(masses.covariance.sum(axis=0), 0, atol=1e-12)
    unknown = unknown_masses(np.array([0.4, 0.6]), np.array([5, 5, 0]), "why")
    assert not unknown.known
    assert unknown.reason == "why"
    assert (unknown.upper[:2] == 1).all()


def test_proposals_fit_what_they_are_given(rng):
    x = rng.standard_t(3, size=(2000, 2))
    heavy = fit_proposal(x, np.zeros(2000, dtype=int), None, rng)
    light = fit_proposal(rng.normal(size=(2000, 2)), np.zeros(2000, dtype=int), None, rng)
    assert np.isfinite(heavy.df) or len(heavy.weights) > 1
    truth = multivariate_normal(np.zeros(2), np.eye(2))
    y = light.sample(4000, rng)
    assert abs((light.log_prob(y) - truth.logpdf(y)).mean()) < 0.02
    grid = np.stack(np.meshgrid(*[np.linspace(-60, 60, 1201)] * 2), -1).reshape(-1, 2)
    assert np.exp(heavy.log_prob(grid)).sum() * 0.01 == pytest.approx(1, abs=0.01)


def as_draws(x):
    none = np.zeros(len(x), dtype=np.int64)
    return LocalDraws(x, np.zeros(len(x)), none, np.ones(len(x)), "NUTS")


def test_better_proposals_are_densities_and_fit_better(rng):
    """A skewed density that no single Gaussian fits, and one with tails of a Student-t: both integrate to 1."""
    skewed = skewnorm.rvs(8, size=(4000, 2), random_state=rng)
    heavy = rng.standard_t(2, size=(4000, 2))
    grid = np.stack(np.meshgrid(*[np.linspace(-80, 80, 1601)] * 2), -1).reshape(-1, 2)
    gaussian = multivariate_normal(skewed.mean(axis=0), np.cov(skewed.T))
    warped = fit_warped(as_draws(skewed[:2000]))
    assert warped.log_prob(skewed[2000:]).mean() > gaussian.logpdf(skewed[2000:]).mean() + 0.2
    np.testing.assert_allclose(warped.sample(4000, rng).mean(axis=0), skewed.mean(axis=0), atol=0.06)
    students = fit_student_mixture(as_draws(heavy), rng)
    assert "Student-t" in students.name
    for q in (warped, students):
        assert np.exp(q.log_prob(grid)).sum() * 0.01 == pytest.approx(1, abs=0.03)


def test_local_chains_know_nothing_of_other_modes(zoo, rng):
    _, target = zoo("two_normals_10d")
    modes = find_modes(model=target, random_seed=1)
    tasks = [make_task(modes.x[k], modes.covariances[k], draws=300, tune=200, chains=2, rng=rng) for k in (0, 1)]
    batches = [sample_batch(target, task, lambda x, k=k: modes.assign(x) == k) for k, task in enumerate(tasks)]
    nuts = [chains for _, chains in sample_with_nuts(target, tasks)]
    assert all(made.x.shape == (64, 10, 10) for made in batches)
    assert all(made.x.shape == (2, 300, 10) for made in nuts)
    for k, made in [*enumerate(batches), *enumerate(nuts)]:
        assert (modes.assign(made.x.reshape(-1, 10)) == k).all()
        np.testing.assert_allclose(made.x.mean(axis=(0, 1)), modes.x[k], atol=0.3)
