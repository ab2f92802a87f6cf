"""Errors of divergences against exact truth in replicates: two normal modes far apart, weighed with known errors."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import stats

from pymc_kl._typing import Array
from pymc_kl.modes.masses import Masses, masses_from_independent, masses_from_log
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.scores.chain_rule import ChainRule, forward_chain_rule, reverse_chain_rule
from pymc_kl.scores.divergences import elbo, eubo, forward_kl, reverse_kl
from pymc_kl.scores.draws import ApproximationDraws, ReferenceDraws, function_of_masses_se

AWAY = 30.0  # where the second mode stands; the first is at 0
P_MASS, Q_MASS = np.array([0.7, 0.3]), np.array([0.4, 0.6])
Q_SD = np.array([1.3, 1.6])
N_SEEDS = 200


@dataclass(frozen=True)
class Replicate:
    """Draws of p, weighed by estimated masses, and of q; and log Z, whose true value is 0."""

    p: ReferenceDraws
    q: ApproximationDraws
    log_z: Estimate


def log_mixture(x: Array, mass: Array, sd: Array) -> Array:
    return np.logaddexp(
        *(np.log(m) + stats.norm.logpdf(x, AWAY * k, s) for k, (m, s) in enumerate(zip(mass, sd, strict=True)))
    )


def two_modes(seed: int, errors: Array, sizes: tuple[int, int] = (2000, 500)) -> Replicate:
    """`errors` (2,) are those of log Z_k; `sizes` the draws of p in each mode."""
    rng = np.random.default_rng(seed)
    log_masses = [
        Estimate(float(np.log(m) + s * rng.standard_normal()), s) for m, s in zip(P_MASS, errors, strict=True)
    ]
    masses, log_z = masses_from_log(log_masses, np.array([*sizes, 0]))
    mode = np.repeat([0, 1], sizes)
    x = AWAY * mode + rng.standard_normal(mode.size)
    weights = masses.mass[mode] / np.array(sizes)[mode]
    y_mode = (rng.random(2000) < Q_MASS[1]).astype(int)
    y = AWAY * y_mode + Q_SD[y_mode] * rng.standard_normal(2000)
    one = np.ones(2)
    p = ReferenceDraws(
        log_mixture(x, P_MASS, one)[None], log_mixture(x, Q_MASS, Q_SD)[None], mode[None], weights[None], masses,
        np.full(3, np.nan),
    )  # fmt: skip
    q = ApproximationDraws(
        log_mixture(y, P_MASS, one), log_mixture(y, Q_MASS, Q_SD), y_mode, masses_from_independent(y_mode, 2)
    )
    return Replicate(p, q, log_z)


WITHIN = np.log(Q_SD) + 0.5 / Q_SD**2 - 0.5
REVERSE_WITHIN = -np.log(Q_SD) + 0.5 * Q_SD**2 - 0.5
BETWEEN = float((P_MASS * np.log(P_MASS / Q_MASS)).sum())
REVERSE_BETWEEN = float((Q_MASS * np.log(Q_MASS / P_MASS)).sum())


def all_estimates(rule: ChainRule, total: Estimate) -> list[Estimate]:
    each = [Estimate(*pair) for pair in zip(rule.within_each[:2], rule.within_each_se[:2], strict=True)]
    return [total, rule.between, rule.within, *each]


def replicates(errors: Array) -> tuple[Array, Array]:
    """Errors of all parts of both divergences in units of those reported (seed, part)."""
    forward_truth = np.array([BETWEEN + P_MASS @ WITHIN, BETWEEN, P_MASS @ WITHIN, *WITHIN])
    reverse_truth = np.array(
        [REVERSE_BETWEEN + Q_MASS @ REVERSE_WITHIN, REVERSE_BETWEEN, Q_MASS @ REVERSE_WITHIN, *REVERSE_WITHIN]
    )
    forward, reverse = [], []
    for seed in range(N_SEEDS):
        r = two_modes(seed, errors)
        one = all_estimates(forward_chain_rule(r.p, r.q, r.log_z), forward_kl(r.p, r.log_z))
        two = all_estimates(reverse_chain_rule(r.p, r.q, r.log_z), reverse_kl(r.q, r.p.masses, r.log_z))
        forward.append([(value - truth) / se for (value, se), truth in zip(one, forward_truth, strict=True)])
        reverse.append([(value - truth) / se for (value, se), truth in zip(two, reverse_truth, strict=True)])
    return np.array(forward), np.array(reverse)


@pytest.mark.parametrize("errors", [(0.0, 0.0), (0.05, 0.05), (0.1, 0.005), (0.005, 0.1)])
def test_every_part_of_both_divergences_has_the_error_that_it_says(errors):
    """Total, between, within, and within each mode: log Z_k's error is in all of them, whichever mode it is of."""
    for z in replicates(np.array(errors)):
        covered = (np.abs(z) < 1.96).mean(axis=0)
        assert (covered >= 0.90).all(), covered
        assert (z.std(axis=0) > 0.8).all(), z.std(axis=0)
        assert (np.abs(z.mean(axis=0)) < 0.3).all(), z.mean(axis=0)


@pytest.mark.parametrize("sizes", [(150, 4000), (4000, 150)])
def test_the_error_within_a_mode_is_that_of_the_draws_in_it(sizes):
    """However light it is: Kish's number of all draws times its mass is up to six times too large or too small."""
    z, exact = [], masses_from_log([Estimate(float(np.log(v)), 0.0) for v in Q_MASS], np.array([1000, 1000, 0]))[0]
    for seed in range(N_SEEDS):
        r = two_modes(seed, np.zeros(2), sizes)
        rule = forward_chain_rule(r.p, replace(r.q, masses=exact), r.log_z)
        z.append((rule.within_each[:2] - WITHIN) / rule.within_each_se[:2])
    assert (np.abs(np.std(z, axis=0) - 1) < 0.2).all(), np.std(z, axis=0)


def test_the_error_of_a_single_mode_within_is_that_of_the_whole():
    masses, log_z = masses_from_log([Estimate(0.0, 0.05)], np.array([1000, 0]))
    rng = np.random.default_rng(0)
    x, y, zeros = rng.standard_normal(1000), 1.2 * rng.standard_normal(1000), np.zeros((1, 1000), dtype=int)
    p_at, q_at = stats.norm(0, 1).logpdf, stats.norm(0, 1.2).logpdf
    p = ReferenceDraws(p_at(x)[None], q_at(x)[None], zeros, None, masses, np.full(2, np.nan))
    q = ApproximationDraws(p_at(y), q_at(y), zeros[0], masses_from_independent(zeros[0], 1))
    for rule, total in (
        (forward_chain_rule(p, q, log_z), forward_kl(p, log_z)),
        (reverse_chain_rule(p, q, log_z), reverse_kl(q, p.masses, log_z)),
    ):
        assert rule.within_each[0] == pytest.approx(total.value, abs=1e-12)
        assert rule.within_each_se[0] == pytest.approx(total.se, rel=0.01)
        assert total.se > 0.05


@pytest.mark.parametrize("constants", [(0.0, 0.0), (1.0, -0.5), (3.0, -3.0)])
def test_the_error_by_the_constants_is_that_of_finite_differences(constants):
    """KL(p‖q) = Σ w_k e_k - log Z, and its derivative by log Z_k is w_k (e_k - EUBO - 1)."""
    e, errors, step = np.array([2.0, -1.0]), np.array([0.3, 0.1]), 1e-6

    def weighed(log_masses: Array) -> tuple[Masses, Estimate]:
        pairs = [Estimate(float(value), float(se)) for value, se in zip(log_masses, errors, strict=True)]
        return masses_from_log(pairs, np.array([1, 1, 0]))

    def kl(log_masses: Array) -> float:
        masses, log_z = weighed(log_masses)
        return float(masses.mass[:2] @ e - log_z.value)

    at = np.array(constants)
    slope = np.array([(kl(at + step * unit) - kl(at - step * unit)) / (2 * step) for unit in np.eye(2)])
    masses, log_z = weighed(at)
    w = masses.mass[:2]
    np.testing.assert_allclose(slope, w * (e - w @ e - 1), atol=1e-8)
    assert function_of_masses_se(np.append(e, 0.0), masses, -log_z.se) == pytest.approx(np.linalg.norm(slope * errors))


def against_normal(df: float, seed: int, n: int = 2000, sd: float = 1.0) -> tuple[ReferenceDraws, ApproximationDraws]:
    """Draws of t as p beside a normal q, and of t as q beside a normal p."""
    x = np.random.default_rng(seed).standard_t(df, n)
    t, normal, zeros = stats.t(df).logpdf(x), stats.norm(0, sd).logpdf(x), np.zeros(n, dtype=int)
    masses = masses_from_independent(zeros, 1)
    p = ReferenceDraws(t[None], normal[None], zeros[None], np.full((1, n), 1 / n), masses, np.full(2, np.nan))
    return p, ApproximationDraws(normal, t, zeros, masses)


def kl_to_normal(df: float, sd: float = 1.0) -> float:
    """KL(t‖N), by quadrature."""
    at = np.linspace(0, 1, 2_000_002)[1:-1]
    x, law = at / (1 - at), stats.t(df)
    return 2 * float((law.pdf(x) * (law.logpdf(x) - stats.norm(0, sd).logpdf(x)) / (1 - at) ** 2).mean())


@pytest.mark.parametrize(("df", "truth", "least"), [(1.5, np.inf, 0.97), (2.5, kl_to_normal(2.5), 0.85)])
def test_a_divergence_without_a_finite_error_says_so(df, truth, least):
    """KL(t‖N) is infinite for df = 1.5, and the terms have no variance for df = 2.5, in either direction."""
    zero, refused, wrong = Estimate(0.0, 0.0), [], []
    for seed in range(N_SEEDS):
        p, q = against_normal(df, seed)
        found = eubo(p), forward_kl(p, zero), elbo(q, p.masses, zero), reverse_kl(q, p.masses, zero)
        refused.append([not np.isfinite(se) for _, se in found])
        wrong.append([abs(abs(value) - truth) > 1.96 * se for value, se in found])
    assert (np.mean(refused, axis=0) >= least).all(), np.mean(refused, axis=0)
    assert (np.mean(wrong, axis=0) <= 0.1).all(), np.mean(wrong, axis=0)


@pytest.mark.parametrize(("df", "least", "most"), [(3, 0.9, 1.0), (10, 0.0, 0.1)])
def test_a_normal_beside_a_t_in_five_dimensions_is_refused_by_its_own_tail(df, least, most):
    """Of 300 draws: -log q is a squared t, whose variance is finite from 4 degrees of freedom on."""
    refused, zeros, n = [], np.zeros((1, 300), dtype=int), 300
    t, normal = stats.multivariate_t(np.zeros(5), df=df), stats.multivariate_normal(np.zeros(5), df / (df - 2))
    for seed in range(N_SEEDS):
        x, masses = t.rvs(n, random_state=np.random.default_rng(seed)), masses_from_independent(zeros, 1)
        p = ReferenceDraws(t.logpdf(x)[None], normal.logpdf(x)[None], zeros, None, masses, np.full(2, np.nan))
        refused.append(np.isinf(eubo(p).se))
    assert least <= np.mean(refused) <= most, np.mean(refused)


def test_a_divergence_with_a_finite_error_covers():
    """The normal with the variance of a t with 10 degrees of freedom: few are refused, and the others cover."""
    sd = float(np.sqrt(10 / 8))
    truth = kl_to_normal(10, sd)
    found = [eubo(against_normal(10, seed, 4000, sd)[0]) for seed in range(N_SEEDS)]
    kept = [estimate for estimate in found if np.isfinite(estimate.se)]
    covered = np.mean([abs(value - truth) < 1.96 * se for value, se in kept])
    assert len(kept) > 0.9 * N_SEEDS
    assert 0.9 <= covered <= 0.995, covered
