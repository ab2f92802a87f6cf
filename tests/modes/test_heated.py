"""The heated search: it finds narrow modes that climbs from the prior miss, and stays quiet where there are none."""

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest

from pymc_kl import find_modes
from pymc_kl.modes import heated, multistart
from pymc_kl.modes.climbs import find_maxima
from pymc_kl.modes.heated import Trail, begin_chains, excess, outstanding_points, roam
from pymc_kl.modes.maxima import Maxima
from pymc_kl.modes.multistart import MultiStart
from pymc_kl.modes.symmetry.symmetry import trivial
from pymc_kl.numerics.hmc import Chains

PRIOR_SD = 4.0


def normals(d, weights, locs, sds):
    """Sum over normals N(loc·1, sd² I) by weight: log density and gradient."""

    def value_and_grad(x):
        z = (x[:, None] - np.array(locs)[:, None]) / np.array(sds)[:, None]
        terms = np.log(weights) - 0.5 * (z**2).sum(axis=2) - d * (np.log(sds) + 0.5 * np.log(2 * np.pi))
        value = np.logaddexp.reduce(terms, axis=1)
        share = np.exp(terms - value[:, None])
        return value, -(share[:, :, None] * z / np.array(sds)[:, None]).sum(axis=1)

    return value_and_grad


def flipped(d, *arguments):
    """The same with the sign of every other coordinate turned."""
    sign, upright = np.resize([1.0, -1.0], d), normals(d, *arguments)

    def value_and_grad(x):
        value, grad = upright(sign * x)
        return value, sign * grad

    return value_and_grad


def found_by(value_and_grad, d, seed, prior_sd=PRIOR_SD):
    """The maxima found under a wide prior, and the kinds of starts that reached each."""
    rng = np.random.default_rng(seed)
    search = MultiStart(value_and_grad, trivial(d), None, rng)
    scales = np.array([1.0, 0.5, 2.0, 0.25])
    found = search.run({}, lambda n: prior_sd * np.resize(scales, n)[:, None] * rng.standard_normal((n, d)), 2048)
    return found, [set(found.source[found.owner == k]) for k in range(len(found.maxima))]


@pytest.mark.parametrize(
    ("weight", "sd", "d"),
    [
        (0.3, 0.5, 10),
        *(
            pytest.param(*neighbour, marks=pytest.mark.slow)
            for neighbour in [(0.1, 0.5, 10), (0.05, 0.5, 10), (0.3, 0.6, 10), (0.3, 0.5, 8)]
        ),
    ],
)
def test_a_narrow_mode_on_the_flank_of_a_broad_one_is_found(weight, sd, d):
    """It lies where no shift of all coordinates by as much leads: 2 away in each, up and down in turn."""
    by_prior, away = 0, np.resize([2.0, -2.0], d)
    for seed in range(8):
        found, kinds = found_by(flipped(d, [1 - weight, weight], [0.0, 2.0], [1.0, sd]), d, seed)
        narrow = np.flatnonzero(np.abs(found.maxima.x - away).max(axis=1) < 0.1)
        assert len(narrow) == 1
        assert "heated" in kinds[narrow[0]]
        by_prior += "prior" in kinds[narrow[0]]
    assert by_prior < 8


@pytest.mark.parametrize(("sd", "d"), [(0.4, 10), (0.3, 10), (0.5, 20)])
def test_a_narrow_mode_a_common_shift_away_is_found_by_shifts_of_the_vector(sd, d):
    for seed in range(4):
        found, kinds = found_by(normals(d, [0.7, 0.3], [0.0, 2.0], [1.0, sd]), d, seed)
        narrow = np.flatnonzero(np.abs(found.maxima.x - 2).max(axis=1) < 0.1)
        assert len(narrow) == 1
        assert "jumps" in kinds[narrow[0]]


def test_wells_far_apart_are_found_one_from_another():
    """Eight wells in a row, 31 standard deviations apart, searched from beside the first."""
    centres = 31.0 * np.arange(8)

    def value_and_grad(x):
        away = np.stack([x[:, :1] - centres, np.repeat(x[:, 1:], 8, axis=1)], axis=2)
        terms = -0.5 * (away**2).sum(axis=2)
        value = np.logaddexp.reduce(terms, axis=1)
        return value, -(np.exp(terms - value[:, None])[:, :, None] * away).sum(axis=1)

    for seed in range(4):
        found, _ = found_by(value_and_grad, 2, seed, prior_sd=1.0)
        assert len(found.maxima) == 8


def test_one_normal_needs_no_more_than_two_passes(monkeypatch):
    passes = []
    monkeypatch.setattr(heated, "roam", lambda *arguments: passes.append(1) or roam(*arguments))
    found, kinds = found_by(normals(5, [1.0], [0.5], [1.0]), 5, 1)
    assert len(passes) == heated.IDLE_PASSES * len(heated.BETAS)
    assert len(found.maxima) == 1
    assert kinds[0] == {"prior", "jumps", "heated"}
    assert found.unseen == (0.0, 1 / (found.source == "prior").sum())


def test_the_model_of_a_narrow_mode():
    """.7 N(0, I) + .3 N(2·1, .5² I) under a N(0, 4) prior, whose symmetry of signs the narrow mode breaks."""
    d = 10

    def log_normal(x, loc, sd):
        return -0.5 * pt.sum(((x - loc) / sd) ** 2) - d * (np.log(sd) + 0.5 * np.log(2 * np.pi))

    with pm.Model() as model:
        x = pm.Normal("x", 0, PRIOR_SD, shape=d)
        terms = np.log(0.7) + log_normal(x, 0.0, 1.0), np.log(0.3) + log_normal(x, 2.0, 0.5)
        pm.Potential("p", pt.logsumexp(pt.stack(terms)) - log_normal(x, 0.0, PRIOR_SD))
    modes = find_modes(model=model, random_seed=0, progressbar=False)
    np.testing.assert_allclose(np.exp(modes.log_mass_laplace), [0.3, 0.7], atol=0.01)
    assert "heated" in modes.found_by[0].split("+")


def known(d):
    """The maximum of a standard normal, found."""
    maxima, _ = find_maxima(
        normals(d, [1.0], [0.0], [1.0]), Maxima.none(trivial(d)), np.ones((1, d)), np.eye(d), np.random.default_rng(1)
    )
    return maxima


@pytest.mark.parametrize("dof", [np.inf, 5.0], ids=["normal", "student"])
def test_points_of_one_elliptical_mode_do_not_stand_out(dof, rng):
    x = 2 * rng.standard_normal((3000, 4))
    squared = (x**2).sum(axis=1)
    value = -0.5 * squared if np.isinf(dof) else -0.5 * (dof + 4) * np.log1p(squared / dof)
    above = excess(known(4), x, value)
    assert np.abs(above[squared < np.quantile(squared, 0.9)]).max() < 0.5


def test_a_point_in_another_basin_stands_out(rng):
    value_and_grad = normals(10, [0.7, 0.3], [0.0, 2.0], [1.0, 0.5])
    x = np.vstack([2 * rng.standard_normal((3000, 10)), 2 + 0.5 * rng.standard_normal((3, 10))])
    above = excess(known(10), x, value_and_grad(x)[0])
    assert set(np.argsort(-above)[:3]) == {3000, 3001, 3002}
    chosen = outstanding_points(known(10), x[:, None].transpose(1, 0, 2), value_and_grad(x)[0][None])
    assert len(chosen) == heated.N_OUTSTANDING
    np.testing.assert_array_equal(np.sort(chosen[:3, 0]), np.sort(x[3000:, 0]))


def test_points_without_density_are_not_chosen(rng):
    x = rng.standard_normal((4, 20, 3))
    value = np.where(x[..., 0] > 0, -0.5 * (x**2).sum(axis=-1), -np.inf)
    value[0, 0] = np.nan
    for maxima in (known(3), Maxima.none(trivial(3))):
        chosen = outstanding_points(maxima, x, value)
        assert (chosen[:, 0] > 0).all()
        assert len(outstanding_points(maxima, x, np.full((4, 20), -np.inf))) == 0


def test_chains_pass_six_points_a_chain_and_repeat(rng):
    value_and_grad = normals(2, [1.0], [0.0], [1.0])
    starts = rng.standard_normal((10, 2))
    chains = begin_chains(value_and_grad, starts, rng)
    assert len(chains) == heated.MIN_CHAINS
    one, two = (roam(value_and_grad, chains, np.eye(2), 0.3, np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(one[0].x, two[0].x)
    x, value = one[1].points(np.array([0.0, -np.inf]))
    assert x.shape == (heated.SWEEPS * heated.MOVES.n_leapfrog, heated.MIN_CHAINS, 2)
    np.testing.assert_allclose(value.ravel(), value_and_grad(x.reshape(-1, 2))[0])
    assert isinstance(one[0], Chains)


def test_an_interrupt_keeps_what_was_found(monkeypatch):
    def interrupt(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(multistart, "search_heated", interrupt)
    found, _ = found_by(normals(3, [0.5, 0.5], [-4.0, 4.0], [1.0, 1.0]), 3, 1)
    assert found.partial
    assert found.proper
    assert len(found.maxima) == 2


def test_points_far_below_where_chains_stand_are_not_chosen(rng):
    trail = Trail(lambda x: (-0.5 * (x**2).sum(axis=1), -x))
    trail(rng.standard_normal((50, 2)))
    x, value = trail.points(np.array([0.0, -1 / heated.DEEPEST]))
    assert x.shape == (1, 50, 2)
    np.testing.assert_array_equal(np.isfinite(value), 0.5 * (x**2).sum(axis=2) <= 1)
