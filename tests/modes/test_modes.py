"""The search: all modes of the zoo, none that is not there, and labels that stay put."""

import warnings

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from scipy.stats import norm

from pymc_kl import find_modes
from pymc_kl.model.target import Target
from pymc_kl.modes.barriers import merge_by_persistence, passes_between
from pymc_kl.modes.heated import IDLE_PASSES, N_OUTSTANDING
from pymc_kl.modes.local_scale import local_scale
from pymc_kl.numerics.lbfgs import climb


@pytest.mark.parametrize("name", ["two_modes", "two_normals_10d", "two_bananas", "two_students", "many_wells_6",
                                  "dial_a_mass", "switch_6", "quickstart"])  # fmt: skip
def test_every_mode_is_found(name, zoo):
    problem, target = zoo(name)
    modes = find_modes(model=target, symmetry=False, random_seed=1)
    assert modes.k == len(problem.masses)
    assert find_modes(model=target, random_seed=1).copies.sum() == len(problem.masses)
    if problem.locations is None:
        return
    for truth in problem.locations:
        nearest = modes.x[np.linalg.norm(modes.x - truth, axis=1).argmin()]
        np.testing.assert_allclose(nearest, truth, atol=0.02)
    _, grad = target.log_density_and_grad(modes.x)
    np.testing.assert_allclose(grad, 0, atol=1e-4)


def test_assignment_is_the_basin_of_attraction(zoo):
    """In one dimension the regions meet at the saddle, -0.7313."""
    _, target = zoo("two_modes")
    modes = find_modes(model=target, random_seed=1)
    x = np.linspace(-6, 6, 2001)[:, None]
    label = modes.assign(x)
    right = int(np.argmax(modes.x[:, 0]))
    border = x[np.flatnonzero(label == right)[0], 0]
    assert border == pytest.approx(-0.7313, abs=0.02)
    np.testing.assert_array_equal(np.unique(np.diff(np.flatnonzero(label == right))), [1])


def test_labels_do_not_depend_on_the_points_beside_them(zoo, rng):
    problem, target = zoo("two_bananas")
    modes = find_modes(model=target, random_seed=1)
    x = problem.sample(1500, rng)
    label = modes.assign(x)
    order = rng.permutation(len(x))
    np.testing.assert_array_equal(modes.assign(x[order]), label[order])
    np.testing.assert_array_equal(modes.assign(x[:7]), label[:7])
    share = np.bincount(label, minlength=2) / len(x)
    np.testing.assert_allclose(np.sort(share), np.sort(problem.masses), atol=5 * np.sqrt(0.25 / len(x)))


def test_masses_of_wells_are_products(zoo, rng):
    problem, target = zoo("many_wells_6")
    modes = find_modes(model=target, symmetry=False, random_seed=1)
    x = problem.sample(4000, rng)
    share = np.bincount(modes.assign(x), minlength=modes.k) / len(x)
    np.testing.assert_allclose(np.sort(share), np.sort(problem.masses), atol=5 * np.sqrt(0.25 / len(x)))


def test_barrier_is_the_fall_to_the_saddle(zoo):
    _, target = zoo("two_modes")
    modes = find_modes(model=target, random_seed=1)
    saddle = np.log(0.3 * norm.pdf(-0.7313, -3, 0.6) + 0.7 * norm.pdf(-0.7313, 3, 1))
    np.testing.assert_allclose(modes.barrier, modes.log_density.min() - saddle, atol=0.05)


def test_min_barrier_merges():
    with pm.Model() as model:
        pm.NormalMixture("x", w=[0.5, 0.5], mu=[-2.0, 2.0], sigma=[1.0, 1.0])
    assert find_modes(model=model, min_barrier=1.0, random_seed=1).k == 2  # the pass is 1.29 nats down
    assert find_modes(model=model, min_barrier=2.0, random_seed=1).k == 1


def test_a_low_peak_between_two_high_ones_does_not_join_them():
    log_density = np.array([0.0, 0.0, -10.0])
    passes = np.full((3, 3), -np.inf)
    np.fill_diagonal(passes, log_density)
    passes[0, 2] = passes[2, 0] = -10.3
    passes[1, 2] = passes[2, 1] = -10.5
    group = merge_by_persistence(passes, log_density, 1.0)
    assert group.tolist() == [0, 1, 0]
    assert merge_by_persistence(passes, log_density, 11.0).tolist() == [0, 0, 0]


def test_strings_find_a_way_round():
    """Two peaks on a ring: the straight line crosses a deep hole, the ring falls by next to nothing."""

    def ring(x):
        radius, angle = np.linalg.norm(x, axis=1), np.arctan2(x[:, 1], x[:, 0])
        value = -20 * (radius - 3) ** 2 + 0.5 * np.cos(2 * angle)
        radial, around = -40 * (radius - 3), -np.sin(2 * angle) / np.maximum(radius, 1e-9)
        out = x / np.maximum(radius, 1e-9)[:, None]
        return value, radial[:, None] * out + around[:, None] * np.column_stack([-out[:, 1], out[:, 0]])

    maxima = np.array([[3.0, 0.0], [-3.0, 1e-3]])
    value, _ = ring(maxima)
    top = passes_between(ring, maxima, value, 0.16 * np.eye(2), 1.0)[0, 1]
    assert value.min() - top == pytest.approx(1.0, abs=0.3)


def test_climbing_needs_few_steps_even_from_far_tails(rng):
    def student(x):
        square = (x**2).sum(axis=1)
        return -4 * np.log1p(square / 3), -8 * x / (3 + square)[:, None]

    starts = 1000 * rng.normal(size=(200, 5))
    climbed = climb(student, starts, np.eye(5))
    assert climbed.converged.all()
    np.testing.assert_allclose(climbed.x, 0, atol=1e-3)


def test_local_scale_does_not_see_the_distance_of_modes(zoo, rng):
    problem, target = zoo("two_normals_10d")
    x = problem.sample(2000, rng)
    scale = local_scale(target.log_density_and_grad(x)[1])
    sd = np.sqrt(np.diag(scale @ scale.T))
    assert (sd > 0.3).all()
    assert (sd < 1.2).all()


def test_a_maximum_that_does_not_exist_makes_one_region(zoo):
    _, target = zoo("eight_schools_centred")
    with warnings.catch_warnings(), target.model:
        warnings.simplefilter("ignore")
        draws = pm.sample(200, tune=300, chains=2, random_seed=1, progressbar=False)
    modes = find_modes(draws, model=target, random_seed=1)
    assert not modes.proper
    assert modes.k == 1
    assert modes.assign(target.initial_points(10, np.random.default_rng(0))).tolist() == [0] * 10


def test_the_search_repeats(zoo):
    _, target = zoo("two_bananas")
    one, two = (find_modes(model=target, random_seed=5) for _ in range(2))
    np.testing.assert_array_equal(one.x, two.x)
    assert one.found_by == two.found_by


def test_bad_input_is_refused(zoo):
    _, target = zoo("two_modes")
    with pytest.raises(ValueError, match="n_starts must be at least 1; got 0"):
        find_modes(model=target, n_starts=0)
    with pytest.raises(ValueError, match=r"shape \(n, 1\); got \(1, 3\)"):
        find_modes(model=target, starts=np.zeros(3))
    for first in (target, target.model):
        with pytest.raises(TypeError, match=r"must be draws.*Write find_modes\(\.\.\., model=model\)"):
            find_modes(first)


def test_a_symmetry_that_a_narrow_mode_breaks_is_dropped():
    """Where the prior lies, all signs of 0.7 N(0, I) seem free to flip; 0.3 N(2·1, 0.5² I) says otherwise."""

    def log_normal(x, loc, sd):
        return -0.5 * (((x - loc) / sd) ** 2).sum() - 10 * np.log(sd * np.sqrt(2 * np.pi))

    with pm.Model() as model:
        x = pm.Normal("x", 0, np.float64(4), shape=10)
        both = pt.logaddexp(np.log(0.7) + log_normal(x, 0.0, 1.0), np.log(0.3) + log_normal(x, 2.0, 0.5))
        pm.Potential("target", both - log_normal(x, 0.0, 4.0))
    for seed in range(5):
        modes = find_modes(model=model, starts=np.full((1, 10), 2.1), random_seed=seed)
        assert modes.copies.tolist() == [1, 1]


@pytest.fixture(scope="module")
def hundred_groups():
    rng = np.random.default_rng(0)
    y = rng.normal(rng.normal(2, 1.5, 100)[:, None], 1, (100, 5))
    with pm.Model() as model:
        mu, tau, z = pm.Normal("mu", 0, 5), pm.HalfNormal("tau", 3), pm.Normal("z", shape=100)
        pm.Normal("y", (mu + tau * z)[:, None], 1, observed=y)
    return Target.from_model(model)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_hundred_groups_are_one_mode(seed, hundred_groups):
    """Climbs in 102 dimensions that know no scale end short of the maximum."""
    modes = find_modes(model=hundred_groups, random_seed=seed, progressbar=False)
    assert modes.proper
    assert modes.k == 1
    assert modes.unseen.value == 0


def test_a_larger_budget_searches_longer(zoo):
    _, target = zoo("two_modes")
    few, many = (find_modes(model=target, n_starts=n, random_seed=1) for n in (512, 16_384))
    assert 512 + 128 <= few.n_starts <= 512 + 128 + 2 * IDLE_PASSES * N_OUTSTANDING
    assert many.n_starts >= 4096


@pytest.mark.parametrize("d", [1, 6, 30])
@pytest.mark.parametrize(("weight", "away", "sds"), [(0.05, 5.0, (1.0, 1.0)), (0.5, 6.0, (2.0, 0.7))])
def test_points_by_a_saddle_are_of_the_side_they_are_on(d, weight, away, sds, rng):
    """The basins of a density of one coordinate times that of others are those of the one, wherever the others are."""
    loc = np.array([0.0, away])

    def along(a, log, logsumexp):
        parts = zip((weight, 1 - weight), loc, sds, strict=True)
        return logsumexp([log(w) - 0.5 * ((a - m) / s) ** 2 - log(s) for w, m, s in parts])

    with pm.Model() as model:
        x = pm.Normal("x", 0, 1, shape=d)
        pm.Potential("p", along(x[0], np.log, lambda t: pt.logsumexp(pt.stack(t))) + 0.5 * x[0] ** 2)
    grid = np.linspace(*loc, 100_001)
    saddle = grid[along(grid, np.log, lambda t: np.logaddexp(*t)).argmin()]
    modes = find_modes(model=model, starts=loc[:, None] * np.eye(d)[0], random_seed=1, progressbar=False)
    points = rng.normal(size=(2000, d))
    points[:, 0] = rng.uniform(saddle - 1, saddle + 1, 2000)
    left = modes.assign(points) == modes.x[:, 0].argmin()
    wrong = left != (points[:, 0] < saddle)
    assert np.abs(points[wrong, 0] - saddle).max(initial=0.0) < 0.1  # a climb may step over the saddle close to it
    assert wrong.mean() < 0.02
    assert abs(int(left[wrong].sum()) - int((~left[wrong]).sum())) <= 4 * np.sqrt(wrong.sum())
