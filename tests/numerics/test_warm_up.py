"""Warm-up of chains in batches: what they learn, exact draws with it, and regions that they may not leave."""

import numpy as np
import pytest
from scipy.stats import special_ortho_group

from pymc_kl.numerics.hmc import Chains, where
from pymc_kl.numerics.warm_up import MAX_MOVES, Kernel, shorten_steps, warm_up

D = 10
ROTATION = special_ortho_group.rvs(D, random_state=1)
SDS = np.geomspace(0.05, 20, D)


def everywhere(x):
    return np.ones(len(x), dtype=bool)


def normal(x):
    """A rotated normal whose widest direction is 400 times as wide as its narrowest."""
    z = x @ ROTATION / SDS
    return -0.5 * (z**2).sum(axis=1), -(z / SDS) @ ROTATION.T


def standard(x):
    return -0.5 * (x**2).sum(axis=1), -x


def wells(x):
    """½ N(-4, 1) + ½ N(4, 1) in one dimension."""
    density = np.logaddexp(-0.5 * (x - 4) ** 2, -0.5 * (x + 4) ** 2)
    return density[:, 0], 4 * np.tanh(4 * x) - x


def draw(density, chains, kernel, n, rng):
    made = []
    for _ in range(n):
        chains = kernel.move(density, chains, rng)
        made.append(chains.x)
    return np.array(made)


def test_the_metric_of_a_normal_is_learned_and_its_draws_are_exact(rng):
    chains, kernel, leaves = warm_up(
        normal, Chains.at(normal, rng.standard_normal((64, D))), np.eye(D), rng, inside=everywhere, repeats=3
    )
    assert not leaves
    whitened = np.linalg.solve(kernel.scale, ROTATION * SDS)
    assert 1 / 3 < np.linalg.svd(whitened, compute_uv=False).min() < np.linalg.svd(whitened)[1].max() < 3
    z = draw(normal, chains, kernel, 100, rng) @ ROTATION / SDS
    for values, truth in ((z.mean(axis=0), 0.0), ((z**2).mean(axis=0), 1.0)):
        se = values.std(axis=0, ddof=1) / np.sqrt(len(values))
        assert (np.abs(values.mean(axis=0) - truth) < 5 * se).all()
        assert (se < 0.05).all()


def test_the_acceptance_is_that_of_the_kernel(rng):
    chains, kernel, _ = warm_up(
        standard, Chains.at(standard, rng.standard_normal((64, D))), np.eye(D), rng, inside=everywhere
    )
    seen = []
    for _ in range(50):
        chains = kernel.move(standard, chains, rng)
        seen.append(chains.acceptance)
    assert np.mean(seen) == pytest.approx(kernel.acceptance, abs=0.06)


def test_chains_that_leave_a_region_are_those_of_the_density_in_it(rng):
    """Half of a standard normal: mean √(2/π), mean square 1."""

    def inside(x):
        return x[:, 0] > 0

    start = np.abs(rng.standard_normal((400, 1)))
    chains, kernel, leaves = warm_up(standard, Chains.at(standard, start), np.eye(1), rng, inside=inside)
    assert leaves
    assert inside(chains.x).all()
    made = []
    for _ in range(100):
        moved = kernel.move(standard, chains, rng)
        chains = where(inside(moved.x), moved, chains)
        made.append(chains.x[:, 0])
    for values, truth in ((np.mean(made, axis=0), np.sqrt(2 / np.pi)), (np.mean(np.square(made), axis=0), 1.0)):
        se = values.std(ddof=1) / np.sqrt(len(values))
        assert abs(values.mean() - truth) < 5 * se
        assert se < 0.02


def test_where_chains_hardly_mix_draws_lie_many_moves_apart(rng):
    start = np.repeat([[-4.0], [4.0]], 32, axis=0)
    _, kernel, _ = warm_up(wells, Chains.at(wells, start), np.eye(1), rng, inside=everywhere)
    assert MAX_MOVES / 2 < kernel.moves_per_draw <= MAX_MOVES
    _, kernel, _ = warm_up(standard, Chains.at(standard, start), np.eye(1), rng, inside=everywhere)
    assert kernel.moves_per_draw == 1


def test_steps_are_made_shorter_where_trajectories_diverge(rng):
    """A wall that rises by a nat within a ten thousandth of the width of the normal before it."""

    def walled(x):
        beyond = np.maximum(x, 0.0)
        return (-0.5 * x**2 - 1e16 * beyond**4).sum(axis=1), -x - 4e16 * beyond**3

    def plain(x):
        return standard(x)

    start = -np.abs(rng.standard_normal((64, 2)))
    kernels = [
        warm_up(density, Chains.at(density, start), np.eye(2), rng, inside=everywhere)[1] for density in (walled, plain)
    ]
    assert kernels[0].acceptance > kernels[1].acceptance == Kernel(np.eye(2)).acceptance


def test_warm_up_repeats_by_seed():
    one, two = (
        warm_up(standard, Chains.at(standard, np.ones((8, 2))), np.eye(2), np.random.default_rng(3), inside=everywhere)
        for _ in range(2)
    )
    np.testing.assert_array_equal(one[0].x, two[0].x)
    assert one[0].step == two[0].step


def test_shorter_steps_diverge_less(rng):
    """A wall of 1e16 x⁴ on one side of a normal, met by steps that are long for it."""

    def walled(x):
        beyond = np.maximum(x, 0.0)
        return (-0.5 * x**2 - 1e16 * beyond**4).sum(axis=1), -x - 4e16 * beyond**3

    chains = Chains.at(walled, -np.abs(rng.standard_normal((400, 1))))
    kernel = Kernel(np.eye(1))
    before = kernel.move(walled, chains, rng)
    chains, shorter = shorten_steps(walled, chains, kernel, rng, inside=everywhere)
    assert shorter.acceptance > kernel.acceptance
    assert shorter.move(walled, chains, rng).n_diverging < before.n_diverging / 2
