"""Scores from draws alone: identities that hold exactly, and known values within reported errors."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pymc_kl.approximations import FullRank
from pymc_kl.modes.masses import masses_from_chains, masses_from_independent, masses_from_weighted
from pymc_kl.numerics.estimate import Estimate, mean_estimate, pareto_k, smoothed_weights
from pymc_kl.scores.chain_rule import forward_chain_rule, reverse_chain_rule
from pymc_kl.scores.coverage import entropic_coverage, hdr_coverage, mass_jsd, mass_tv, verdicts
from pymc_kl.scores.divergences import elbo, eubo, forward_kl, reverse_kl
from pymc_kl.scores.draws import ApproximationDraws, ReferenceDraws, TailDraws
from pymc_kl.scores.reliability import ess_forward, ess_reverse, khat, khat_reference, spill

SETTINGS = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def gaussian_pair(rng: np.random.Generator, d: int = 2, n: int = 4000):
    """Draws of two normals with all that scores need, two regions split by the first coordinate's sign."""
    p = FullRank(loc=np.zeros(d), scale_tril=np.linalg.cholesky(np.cov(rng.normal(size=(d, 4 * d)))))
    q = FullRank(loc=0.2 * np.ones(d), scale_tril=1.2 * np.eye(d))
    x, y = p.sample(n, random_seed=rng), q.sample(n, random_seed=rng)
    return draws_of(p, q, x, y)


def draws_of(p, q, x, y, label=lambda x: (x[:, 0] > 0).astype(int)):
    shape = (4, len(x) // 4)
    mode = label(x).reshape(shape)
    core = np.ones(shape, dtype=bool)
    masses = masses_from_chains(mode, 2, core=core, negligible=np.zeros(2, dtype=bool))
    p_draws = ReferenceDraws(
        p.log_prob(x).reshape(shape), q.log_prob(x).reshape(shape), mode, None, masses, np.full(3, np.nan)
    )
    q_draws = ApproximationDraws(p.log_prob(y), q.log_prob(y), label(y), masses_from_independent(label(y), 2))
    return p_draws, q_draws


@SETTINGS
@given(seed=seeds)
def test_chain_rule_is_exact(seed):
    p, q = gaussian_pair(np.random.default_rng(seed), n=400)
    log_z = Estimate(0.3, 0.01)
    for rule, total in (
        (forward_chain_rule(p, q, log_z), forward_kl(p, log_z)),
        (reverse_chain_rule(p, q, log_z), reverse_kl(q, p.masses, log_z)),
    ):
        assert rule.between.value + rule.within.value == pytest.approx(total.value, abs=1e-12)
    forward = forward_chain_rule(p, q, log_z)
    assert np.nansum(p.masses.mass * forward.within_each) == pytest.approx(forward.within.value, abs=1e-9)
    reverse = reverse_chain_rule(p, q, log_z)
    assert np.nansum(q.masses.mass * reverse.within_each) == pytest.approx(reverse.within.value, abs=1e-9)


@SETTINGS
@given(seed=seeds, shift=st.floats(-50, 50))
def test_a_constant_in_the_log_density_moves_log_z_alone(seed, shift):
    p, q = gaussian_pair(np.random.default_rng(seed), n=2000)
    moved_p = ReferenceDraws(p.log_density + shift, p.log_prob, p.mode, None, p.masses, p.unvisited)
    moved_q = ApproximationDraws(q.log_density + shift, q.log_prob, q.mode, q.masses)
    zero, moved = Estimate(0.0, 0.0), Estimate(shift, 0.0)
    assert forward_kl(moved_p, moved).value == pytest.approx(forward_kl(p, zero).value, abs=1e-9)
    assert reverse_kl(moved_q, p.masses, moved).value == pytest.approx(reverse_kl(q, p.masses, zero).value, abs=1e-9)
    assert khat(moved_q) == pytest.approx(khat(q), abs=1e-6)
    assert ess_reverse(moved_q).value == pytest.approx(ess_reverse(q).value, rel=1e-9)
    assert spill(moved_p, moved_q).value == spill(p, q).value


@SETTINGS
@given(seed=seeds)
def test_relabelling_modes_permutes_every_output(seed):
    rng = np.random.default_rng(seed)
    p_law = FullRank(loc=np.zeros(2), scale_tril=np.eye(2))
    q_law = FullRank(loc=np.full(2, 0.3), scale_tril=np.eye(2))
    x, y = p_law.sample(400, random_seed=rng), q_law.sample(400, random_seed=rng)
    one = draws_of(p_law, q_law, x, y)
    two = draws_of(p_law, q_law, x, y, label=lambda x: (x[:, 0] <= 0).astype(int))
    log_z = Estimate(0.0, 0.0)
    swap = [1, 0, 2]
    np.testing.assert_allclose(two[0].masses.mass, one[0].masses.mass[swap])
    np.testing.assert_allclose(two[1].masses.se, one[1].masses.se[swap])
    a, b = forward_chain_rule(*one, log_z), forward_chain_rule(*two, log_z)
    assert a.between == pytest.approx(b.between)
    np.testing.assert_allclose(b.within_each, a.within_each[swap], atol=1e-12)
    assert verdicts(one[0].masses, one[1].masses) == verdicts(two[0].masses, two[1].masses)[::-1]


def test_gaussian_divergences_match_closed_forms(rng):
    sd_p, sd_q = 2.0, 3.0
    p = FullRank(loc=np.zeros(1), scale_tril=np.array([[sd_p]]))
    q = FullRank(loc=np.zeros(1), scale_tril=np.array([[sd_q]]))
    x, y = p.sample(40_000, random_seed=rng), q.sample(40_000, random_seed=rng)
    p_draws, q_draws = draws_of(p, q, x, y)
    zero = Estimate(0.0, 0.0)
    for estimate, truth in (
        (forward_kl(p_draws, zero), 0.127687),
        (reverse_kl(q_draws, p_draws.masses, zero), 0.219535),
    ):
        assert abs(estimate.value - truth) < 5 * estimate.se
        assert estimate.se < 0.02
    # E_p[p/q] = sd_q² / (sd_p √(2 sd_q² - sd_p²)), so the share of draws that importance sampling keeps is
    kept = sd_p * np.sqrt(2 * sd_q**2 - sd_p**2) / sd_q**2
    for estimate in (ess_forward(p_draws, zero), ess_reverse(q_draws)):
        assert abs(estimate.value - kept) < 5 * estimate.se
    inside = stats.norm.cdf(1.6448536 * sd_q / sd_p) * 2 - 1
    np.testing.assert_allclose(hdr_coverage(p_draws, q_draws)[:2], inside, atol=0.01)


def test_khat_has_the_right_sign(rng):
    """The tail index of a t with three degrees of freedom against a normal's weights, and of known ratios."""
    assert pareto_k(np.log(rng.pareto(2.0, 50_000) + 1)) == pytest.approx(0.5, abs=0.12)
    wide, narrow = stats.norm(0, 2), stats.norm(0, 1)
    x = narrow.rvs(50_000, random_state=rng)
    # p = N(0, 2) under q = N(0, 1): k = 1 - 1/4; the other way weights are bounded
    assert pareto_k(wide.logpdf(x) - narrow.logpdf(x)) == pytest.approx(0.75, abs=0.2)
    y = wide.rvs(50_000, random_state=rng)
    assert pareto_k(narrow.logpdf(y) - wide.logpdf(y)) < 0
    assert pareto_k(np.zeros(1000)) == -np.inf
    nearly = 0.01 * np.random.default_rng(1).standard_normal(2000)
    nearly[0] = 0.08
    assert pareto_k(nearly) == -np.inf  # a tail of hundredths
    assert np.isfinite(pareto_k(10 * nearly))
    assert pareto_k(np.array([0.0, np.inf, 1.0])) == pareto_k(np.full(100, -np.inf)) == np.inf


def test_khat_is_not_known_without_a_tail(rng):
    """Of few ratios, where a chain that is stuck repeats one, or where hardly any is not zero."""
    few, stuck, zeros = rng.standard_normal(24), rng.standard_normal(1000), np.full(1000, -np.inf)
    stuck[:500], zeros[:3] = 4.0, [1.0, 2.0, 3.0]
    for log_ratio in (few, stuck, zeros):
        weights, khat = smoothed_weights(log_ratio)
        assert np.isnan(khat)
        np.testing.assert_allclose(weights, np.exp(log_ratio) / np.exp(log_ratio).sum())
    assert np.isfinite(pareto_k(rng.standard_normal(50)))


def test_a_zero_count_is_a_bound_not_a_zero(rng):
    p = FullRank(loc=np.zeros(1), scale_tril=np.eye(1))
    q = FullRank(loc=np.array([8.0]), scale_tril=0.1 * np.eye(1))
    p_draws, q_draws = draws_of(p, q, p.sample(400, random_seed=rng), q.sample(400, random_seed=rng))
    rule = forward_chain_rule(p_draws, q_draws, Estimate(0.0, 0.0))
    assert q_draws.masses.mass[0] == 0
    assert q_draws.masses.upper[0] == pytest.approx(3 / 400)
    assert rule.is_bound
    w = p_draws.masses.mass
    assert rule.between.value == pytest.approx(w[0] * np.log(w[0] / (3 / 400)) + w[1] * np.log(w[1]), abs=1e-12)
    assert np.isnan(rule.within_each[0])
    assert verdicts(p_draws.masses, q_draws.masses) == ["missed", "over"]


def test_no_density_gives_nan(rng):
    p, q = gaussian_pair(rng, n=400)
    p = ReferenceDraws(p.log_density, None, p.mode, None, p.masses, p.unvisited)
    q = ApproximationDraws(q.log_density, None, q.mode, q.masses)
    log_z = Estimate(0.0, 0.0)
    for estimate in (elbo(q, p.masses, log_z), eubo(p), forward_kl(p, log_z), reverse_kl(q, p.masses, log_z),
                     ess_reverse(q), ess_forward(p, log_z)):  # fmt: skip
        assert np.isnan(estimate.value)
    assert np.isnan(khat(q))
    assert np.isnan(khat_reference(p))
    assert np.isnan(forward_chain_rule(p, q, log_z).within.value)
    assert np.isfinite(forward_chain_rule(p, q, log_z).between.value)


def test_entropic_coverage_of_unequal_masses():
    masses = masses_from_independent(np.repeat([0, 1], [300, 700]), 2)
    expected = -(0.3 * np.log(0.3) + 0.7 * np.log(0.7)) / np.log(2)
    assert entropic_coverage(masses).value == pytest.approx(expected)
    assert np.isnan(entropic_coverage(masses_from_independent(np.zeros(10, dtype=int), 1)).value)


def test_jsd_and_tv_of_disjoint_masses():
    one = masses_from_independent(np.zeros(100, dtype=int), 2)
    two = masses_from_independent(np.ones(100, dtype=int), 2)
    assert mass_jsd(one, two).value == pytest.approx(1.0)
    assert mass_tv(one, two).value == pytest.approx(1.0)
    assert mass_tv(one, one).value == 0.0


@pytest.mark.slow
def test_reported_errors_are_right_in_replicates():
    """95 % intervals of both divergences, the masses, JSD and TV cover the truth 90 to 99 % of the time."""
    p_law = FullRank(loc=np.zeros(2), scale_tril=np.eye(2))
    q_law = FullRank(loc=np.full(2, 0.4), scale_tril=1.3 * np.eye(2))
    zero = Estimate(0.0, 0.0)
    share = stats.norm.cdf(0.4 / 1.3)
    kl = 0.5 * (2 / 1.69 + 0.32 / 1.69 - 2 + 4 * np.log(1.3))
    lk = 0.5 * (2 * 1.69 + 0.32 - 2 - 4 * np.log(1.3))
    tv = share - 0.5
    hits = np.zeros(5)
    n = 300
    for seed in range(n):
        rng = np.random.default_rng(seed)
        p, q = draws_of(p_law, q_law, p_law.sample(1000, random_seed=rng), q_law.sample(1000, random_seed=rng))
        between = forward_chain_rule(p, q, zero).between
        between_truth = 0.5 * np.log(0.5 / share) + 0.5 * np.log(0.5 / (1 - share))
        pairs = [
            (forward_kl(p, zero), kl), (reverse_kl(q, p.masses, zero), lk),
            (Estimate(q.masses.mass[1], q.masses.se[1]), share), (mass_tv(p.masses, q.masses), tv),
            (between, between_truth),
        ]  # fmt: skip
        hits += [abs(e.value - truth) < 1.96 * e.se for e, truth in pairs]
    assert (hits / n > 0.90).all(), hits / n
    assert (hits / n <= 0.99).all(), hits / n


class TestMassesFromChains:
    """Counting is trusted as far as chains crossed."""

    def masses(self, mode, k=2, core=None, negligible=(False, False)):
        mode = np.asarray(mode)
        core = np.ones(mode.shape, dtype=bool) if core is None else core
        return masses_from_chains(mode, k, core=core, negligible=np.array(negligible))

    def test_stuck_chains_know_nothing(self):
        masses = self.masses(np.repeat([[0], [0], [0], [1]], 500, axis=1))
        np.testing.assert_allclose(masses.mass, [0.75, 0.25, 0])
        np.testing.assert_allclose(masses.se[:2], 1 / np.sqrt(12))
        assert not masses.known
        assert masses.reason == "the 4 chains never moved between modes"

    def test_a_mode_that_no_chain_entered_may_hold_anything(self):
        masses = self.masses(np.zeros((4, 500), dtype=int))
        assert masses.se[1] == pytest.approx(1 / np.sqrt(12))
        assert masses.upper[1] == 1
        assert masses.reason == "no chain entered 1 mode that the search found (2)"
        low = self.masses(np.zeros((4, 500), dtype=int), negligible=(False, True))
        assert low.known
        assert low.se[1] < 0.001

    def test_stepping_over_the_border_is_no_crossing(self):
        mode = np.zeros((4, 500), dtype=int)
        mode[0, 100] = 1
        core = mode == 0
        assert self.masses(mode, core=core).crossings == 0
        assert self.masses(mode).crossings == 2

    def test_independent_draws_have_binomial_errors(self, rng):
        masses = self.masses((rng.random((4, 2500)) < 0.3).astype(int))
        assert masses.known
        np.testing.assert_allclose(masses.se[:2], np.sqrt(0.3 * 0.7 / 10_000), rtol=0.1)

    def test_sticky_chains_have_the_error_of_a_markov_chain(self):
        """Two states that switch with probability 0.02: the mass's error is known in closed form."""
        truth, covered, errors = 0.5, 0, []
        for seed in range(100):
            rng = np.random.default_rng(seed)
            flips = rng.random((4, 2000)) < 0.02
            mode = (np.cumsum(flips, axis=1) + rng.integers(0, 2, (4, 1))) % 2
            masses = self.masses(mode)
            covered += abs(masses.mass[0] - truth) < 1.96 * masses.se[0]
            errors.append(masses.se[0])
        expected = np.sqrt(0.25 * (2 - 0.04) / 0.04 / 8000)
        assert np.mean(errors) == pytest.approx(expected, rel=0.2)
        assert covered >= 88

    def test_one_region_is_certain(self):
        masses = masses_from_chains(
            np.zeros((4, 100), dtype=int), 1, core=np.zeros((4, 100), dtype=bool), negligible=np.array([False])
        )
        assert masses.known
        assert masses.mass[0] == 1
        assert masses.se[0] < 0.01


@SETTINGS
@given(seed=seeds)
def test_doubling_a_weight_is_adding_a_copy(seed):
    rng = np.random.default_rng(seed)
    mode, weights = rng.integers(0, 2, 50), np.ones(50)
    doubled = weights.copy()
    doubled[7] = 2
    one = masses_from_weighted(mode, doubled, 2).mass
    two = masses_from_weighted(np.append(mode, mode[7]), np.ones(51), 2).mass
    np.testing.assert_allclose(one, two)
    np.testing.assert_allclose(one.sum(), 1)
    x = rng.normal(size=50)
    weighted = mean_estimate(x, doubled)
    assert weighted.value == pytest.approx(np.append(x, x[7]).mean())


def test_a_mean_of_infinite_terms_has_no_error():
    estimate = mean_estimate(np.array([[0.0, np.inf], [1.0, 2.0]]))
    assert estimate.value == np.inf
    assert np.isnan(estimate.se)


@pytest.mark.parametrize("n", [400, 2000, 8000], ids=["none below", "two below", "eight below"])
def test_the_error_of_spill_has_the_quantile_s_part(rng, n):
    """Over replicates with few draws of p below the quantile, the spill of one q scatters as its error says."""
    p, q = FullRank(loc=np.zeros(1), scale_tril=np.eye(1)), FullRank(loc=np.zeros(1), scale_tril=np.array([[2.0]]))
    floor = stats.norm.ppf(0.0005)
    truth = 2 * stats.norm.cdf(floor / 2)
    scaled = []
    for _ in range(200):
        p_draws, q_draws = draws_of(p, q, p.sample(n, random_seed=rng), q.sample(20_000, random_seed=rng))
        value, se = spill(p_draws, q_draws)
        scaled.append((value - truth) / se)
    assert abs(np.mean(scaled)) < 0.4
    assert 0.7 < np.std(scaled) < 1.5
    more = replace(p_draws, tail=TailDraws(p_draws.log_density.ravel(), None, 1e9))
    assert spill(more, q_draws).se < 0.5 * se
