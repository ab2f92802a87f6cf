"""Whether log q is the density of q's draws: sound ones of any shape pass, and what is wrong is named."""

import numpy as np
import pytest
from scipy import stats

from pymc_kl.numerics.estimate import Estimate
from pymc_kl.scores.own_density import NOT_ITS_DENSITY, why_no_divergence, why_not_its_density


def normal(loc=0.0, sd=1.0):
    return lambda x: stats.norm.logpdf(x, loc, sd).sum(axis=1)


def spike(rng, n, d):
    """Half of the mass in a hundredth of the width."""
    x = rng.normal(size=(n, d))
    x[rng.random(n) < 0.5] *= 0.01
    return x


def log_spike(x):
    return np.logaddexp(normal()(x), normal(sd=0.01)(x)) - np.log(2)


def banana(rng, n, d):
    x = rng.normal(size=(n, d))
    x[:, 1] += 3 * x[:, 0] ** 2
    return x


def log_banana(x):
    return normal()(np.column_stack([x[:, :1], x[:, 1] - 3 * x[:, 0] ** 2, x[:, 2:]]))


def funnel(rng, n, d):
    x = rng.normal(size=(n, d))
    x[:, 0] *= 3
    x[:, 1:] *= np.exp(x[:, :1] / 2)
    return x


def log_funnel(x):
    return stats.norm.logpdf(x[:, 0], 0, 3) + stats.norm.logpdf(x[:, 1:], 0, np.exp(x[:, :1] / 2)).sum(axis=1)


def cauchy(rng, n, d):
    return stats.cauchy.rvs(size=(n, d), random_state=rng)


def log_cauchy(x):
    return stats.cauchy.logpdf(x).sum(axis=1)


def two_modes(rng, n, d):
    x = rng.normal(size=(n, d))
    right = rng.random(n) < 0.3
    x[right] = 0.3 * x[right] + 10
    return x


def log_two_modes(x):
    return np.logaddexp(np.log(0.7) + normal()(x), np.log(0.3) + normal(10, 0.3)(x))


def cube(rng, n, d):
    return rng.random((n, d))


def log_cube(x):
    return np.where(((x > 0) & (x < 1)).all(axis=1), 0.0, -np.inf)


SOUND = [(spike, log_spike), (banana, log_banana), (funnel, log_funnel), (cauchy, log_cauchy),
         (two_modes, log_two_modes), (cube, log_cube)]  # fmt: skip


@pytest.mark.parametrize(("sample", "log_prob"), SOUND)
@pytest.mark.parametrize("d", [2, 5, 12])
def test_sound_densities_of_any_shape_pass(sample, log_prob, d, rng):
    assert not any(why_not_its_density(sample(rng, 2000, d), log_prob, rng) for _ in range(10))


FORGOTTEN = 0.5 * np.log(2 * np.pi)  # nats for each dimension


@pytest.mark.parametrize(
    ("d", "off"),
    [(1, FORGOTTEN), (2, -1.2), (2, 1.2), (5, -1.2), (5, 5 * FORGOTTEN), (10, 1.2), (10, -1.2), (14, 14 * FORGOTTEN)],
)
def test_a_density_that_is_not_normalised_is_named(d, off, rng):
    why = why_not_its_density(rng.normal(size=(2000, d)), lambda x: normal()(x) + off, rng)
    assert why.startswith(f"{NOT_ITS_DENSITY}, or log_prob is not normalised")
    ratio = float(why.split("comes to ")[1].split()[0])
    assert ratio == pytest.approx(np.exp(off), rel=0.35)


@pytest.mark.parametrize("d", [1, 3, 10])
@pytest.mark.parametrize(("loc", "sd"), [(-6.0, 1.0), (0.4, 1.0), (0.0, 1.3), (0.0, 0.75)])
def test_a_density_of_other_draws_is_named(d, loc, sd, rng):
    why = why_not_its_density(rng.normal(size=(2000, d)), normal(loc, sd), rng)
    assert why.startswith(f"{NOT_ITS_DENSITY}: Metropolis steps by log_prob carry them away")


def test_a_few_draws_prove_nothing(rng):
    assert not why_not_its_density(rng.normal(size=(20, 1)), normal(1.0), rng)


def test_a_negative_divergence_is_named_beyond_five_errors():
    fine, below = Estimate(0.3, 0.01), Estimate(-1.0, 0.1)
    assert "KL(q‖p) would be -1.00 ± 0.10 nats" in why_no_divergence(fine, below)
    assert "KL(p‖q) would be -1.00 ± 0.10 nats" in why_no_divergence(below, fine)
    for harmless in (Estimate(-1.0, 0.3), Estimate(-1.0, np.inf), Estimate(np.nan, np.nan)):
        assert not why_no_divergence(fine, harmless)
