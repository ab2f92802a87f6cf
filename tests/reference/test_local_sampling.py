"""Local sampling: exact draws in batches, NUTS where those do not mix, interrupts, and jobs that change nothing."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pymc as pm
import pytest
from scipy.stats import truncnorm

from pymc_kl import find_modes
from pymc_kl.model.target import Target
from pymc_kl.numerics.estimate import effective_size
from pymc_kl.reference import local_sampling, policy
from pymc_kl.reference.bridge_sampling import why_not_weighed
from pymc_kl.reference.local_chains import make_task
from pymc_kl.reference.local_draws import LocalDraws, joined
from pymc_kl.reference.local_hmc import sample_batch
from pymc_kl.reference.local_nuts import sample_with_nuts
from pymc_kl.reference.local_sampling import sample_locally


def everywhere(x):
    return np.ones(len(x), dtype=bool)


def task_of(d, *, seed=1, draws=1000, scale=1.0):
    rng = np.random.default_rng(seed)
    return make_task(np.zeros(d), scale**2 * np.eye(d), draws=draws, tune=400, chains=2, rng=rng)


def check_normal(x, variance):
    """Chains (chain, draw, 1) are independent: their averages tell the error of the mean of all."""
    for values, truth in ((x[..., 0].mean(axis=1), 0.0), ((x[..., 0] ** 2).mean(axis=1), variance)):
        se = values.std(ddof=1) / np.sqrt(len(values))
        assert abs(values.mean() - truth) < 5 * se
        assert se < 0.1


@pytest.mark.parametrize(("beta", "variance"), [(1.0, 1.0), (0.5, 1.6)])
def test_densities_between_a_normal_and_a_wider_one(beta, variance, zoo):
    """N(0, 1)^½ N(0, 2)^½ has the precision ½ + ⅛."""
    _, target = zoo("standard_normal_1")
    made = sample_batch(target, replace(task_of(1, scale=2.0), beta=beta), everywhere)
    assert made.x.shape == (64, 32, 1)
    assert (made.source, len(made.left), made.n_diverging) == ("HMC", 0, 0)
    check_normal(made.x, variance)


def test_a_mode_of_half_the_mass_is_kept_to(zoo):
    """Chains in the right well of two that touch are turned back at the top between them."""
    problem, target = zoo("many_wells_6")
    modes = find_modes(model=target, random_seed=1)
    task = make_task(modes.x[0], 9 * modes.covariances[0], draws=1000, tune=400, chains=2, rng=np.random.default_rng(1))
    made = sample_batch(target, task, lambda x: modes.assign(x) == 0)
    x = made.x.reshape(-1, problem.d)
    assert (modes.assign(x) == 0).mean() > 0.99


def test_chains_that_run_ahead_stay_chains_of_the_restricted_density(zoo):
    """A normal restricted to x > -0.5: chains leave it so often that half of what they do ahead is taken back."""
    _, target = zoo("standard_normal_1")
    made = sample_batch(target, task_of(1, draws=2000), lambda x: x[:, 0] > -0.5)
    x = made.x[..., 0]
    assert (x.shape, made.x.min() > -0.5) == ((64, 63), True)
    assert (made.left < -0.5).all()
    truth = truncnorm(-0.5, np.inf)
    for values, moment in ((x.mean(axis=1), truth.mean()), ((x**2).mean(axis=1), truth.moment(2))):
        se = values.std(ddof=1) / np.sqrt(len(values))
        assert abs(values.mean() - moment) < 4 * se
        assert se < 0.04


def test_the_size_of_many_short_chains_as_one_series(rng):
    """Autoregressive chains of 32 draws: the variance of the mean of all is that which the effective size tells."""
    rho, n_chains, n = 0.8, 64, 32
    sizes, means = [], []
    for _ in range(200):
        x = np.empty((n_chains, n))
        x[:, 0] = rng.standard_normal(n_chains)
        for i in range(1, n):
            x[:, i] = rho * x[:, i - 1] + np.sqrt(1 - rho**2) * rng.standard_normal(n_chains)
        sizes.append(effective_size(x.ravel()[None]))
        means.append(x.mean())
    assert 1 / np.var(means) == pytest.approx(np.mean(sizes), rel=0.35)


def test_nuts_samples_what_batches_do_not_mix_in(zoo):
    _, target = zoo("standard_normal_1")
    tasks, told = [task_of(1, seed=1, draws=200), task_of(1, seed=2, draws=200)], []
    made, interrupted = sample_locally(
        target, tasks, [everywhere] * 2, lambda i, chains: (i, chains),
        lambda pair: pair[0] == 0 or pair[1].source == "NUTS", report=told.append,
    )  # fmt: skip
    assert not interrupted
    assert [(i, chains.source) for i, chains in made] == [(0, "HMC"), (1, "NUTS")]
    assert told[1] == "HMC in 2 of 2 modes"
    assert told[-1] == "NUTS in 1 of 1 modes that HMC does not mix in"
    check_normal(made[0][1].x, 1.0)


def test_an_interrupt_keeps_the_modes_that_are_done(zoo, monkeypatch):
    _, target = zoo("standard_normal_1")
    tasks = [task_of(1, seed=seed, draws=50) for seed in range(3)]

    def stops(target, task, inside, alarm):
        if task is tasks[1]:
            raise KeyboardInterrupt
        return sample_batch(target, task, inside, alarm)

    monkeypatch.setattr(local_sampling, "sample_batch", stops)
    made, interrupted = sample_locally(
        target, tasks, [everywhere] * 3, lambda _, chains: chains, lambda _: True, report=lambda _: None
    )
    assert interrupted
    assert made[0].source == "HMC"
    assert made[1:] == [None, None]


def test_a_mode_does_not_depend_on_which_others_are_sampled(zoo):
    _, target = zoo("standard_normal_1")
    tasks = [task_of(1, seed=seed, draws=50) for seed in range(2)]
    both, alone = (
        sample_locally(target, some, [everywhere] * len(some), lambda _, c: c.x, lambda _: True, report=lambda _: None)
        for some in (tasks, tasks[1:])
    )
    np.testing.assert_array_equal(both[0][1], alone[0][0])


def test_no_start_inside_the_support_is_an_error(zoo):
    _, target = zoo("standard_normal_1")
    task = replace(task_of(1), centre=np.array([np.nan]))
    assert "no chain starts inside" in sample_batch(target, task, everywhere).error


class TestMixed:
    def draws(self, x, **fields):
        n = len(x)
        x = np.reshape(x, (n, -1))
        return LocalDraws(x, -0.5 * (x**2).sum(1), np.zeros(n, dtype=int), np.ones(n), "HMC", **fields)

    def test_good_draws_have(self, rng):
        assert policy.mixed(self.draws(rng.standard_normal(2000)))

    def test_draws_that_diverge_disagree_or_hardly_move_have_not(self, rng):
        apart = np.repeat([-0.8, 0.8, 0.0, 0.0], 500) + rng.standard_normal(2000)
        slow = np.sin(2 * np.pi * np.arange(2000) / 250) + 0.1 * rng.standard_normal(2000)
        for x, fields in ((rng.standard_normal(2000), {"n_diverging": 100}), (apart, {}), (slow, {})):
            draws = self.draws(x, **fields)
            assert draws.rhat < policy.HOPELESS_RHAT
            assert not policy.mixed(draws)

    def test_of_draws_that_are_far_apart_no_other_sampler_is_asked(self, rng):
        assert policy.mixed(self.draws(np.repeat([-2.0, 2.0, 0.0, 0.0], 500) + rng.standard_normal(2000)))

    def test_draws_that_crawl_agree_and_weigh_nothing(self, rng):
        draws = self.draws(rng.standard_normal(2000), crawl=True)
        assert policy.mixed(draws)
        assert "chains can't go along it" in why_not_weighed(draws)
        assert "chains can't go along it" in why_not_weighed(joined(draws, self.draws(rng.standard_normal(2000))))


def test_chains_that_cannot_cross_a_mode_say_so(rng):
    """A ridge a ten-thousandth as wide as long, bent as a parabola; and one that the metric makes round."""

    def parabola(bend):
        def value_and_grad(x):
            off = (x[:, 1] - bend * x[:, 0] ** 2) / 1e-4
            return -0.5 * (x[:, 0] ** 2 + off**2), np.column_stack([2e4 * bend * x[:, 0] * off - x[:, 0], -1e4 * off])

        return value_and_grad

    task = make_task(np.zeros(2), np.diag([1.0, 1e-8]), draws=20, tune=400, chains=2, rng=rng)
    for bend, crawl in ((1.0, True), (0.0, False)):
        made = sample_batch(SimpleNamespace(log_density_and_grad=parabola(bend)), task, everywhere)
        assert made.crawl == crawl


def test_nuts_works_inside_a_model_with_any_names():
    """The sampler's own model must be no child of the user's, whatever names that uses."""
    with pm.Model():
        pm.Normal("centre")
        pm.Normal("z")
        target = Target.from_model()
        [(_, made)] = sample_with_nuts(target, [task_of(2, draws=100)])
    assert made.x.shape == (2, 100, 2)
    assert abs(made.x.mean()) < 0.5


@pytest.mark.slow
def test_nuts_in_other_processes_samples_the_same(zoo):
    _, target = zoo("standard_normal_1")
    tasks = [task_of(1, seed=seed, draws=50) for seed in range(3)]
    here = dict(sample_with_nuts(target, tasks))
    there = dict(sample_with_nuts(target, tasks, n_jobs=2))
    for i in range(3):
        np.testing.assert_allclose(here[i].x, there[i].x)
