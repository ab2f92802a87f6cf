"""Bridge sampling (Meng and Wong 1996) between draws of a mode and a proposal fitted to them: the log mass of the mode.

Meng, X.-L. and Wong, W. H. (1996). Simulating ratios of normalizing constants via a simple identity: a theoretical
exploration. Statistica Sinica 6, 831-860. The optimal bridge is logistic regression (Geyer 1994). Its error is checked
after Micaletto, G. and Vehtari, A. (2025). Bridge sampling diagnostics. arXiv:2508.14487.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, log_expit

from pymc_kl._typing import Array
from pymc_kl.numerics.estimate import UNKNOWN, Estimate, effective_size, pareto_k
from pymc_kl.numerics.khat import KHAT_RELIABLE
from pymc_kl.numerics.whitening import WIDE
from pymc_kl.reference.evidence import NO_CHECKS, BridgeChecks, LogMass, unknown_log_mass
from pymc_kl.reference.local_draws import LOCAL_RHAT, LocalDraws
from pymc_kl.reference.mode_density import ModeDensity, log_ratio
from pymc_kl.reference.proposals import NormalisedDensity, fit_low_rank, fit_proposal, fit_student_mixture
from pymc_kl.reference.warped_proposal import fit_warped

MIN_PROPOSAL_DRAWS = 100  # draws of a mode; with fewer no proposal is fitted; our choice
MIN_INFORMATION = 30.0  # draws' worth of overlap; with less the error of a bridge can't be trusted; our choice
MIN_OVERLAP = 0.02  # least overlap as a share of the draws: fewer than 20 of 1,000 are a matter of luck; our choice
MAX_DIVERGING = 0.02  # share of transitions that diverge; above it a mode was not seen whole; our choice
MAX_APART = 3.5  # standard errors between two estimates of one mass; above it neither is trusted; our choice
ALWAYS_APART = 0.02  # nats by which they may always differ: a perfect proposal has no standard error; our choice
NOT_MIXED = "draws within the mode have not mixed"  # how the reason begins where R-hat is too large
WIDE_OVERLAP = 0.2  # overlap from which k-hat is not asked: no term is above 1, or 20 times their mean; the least
# where there is no maximum to tell what the region is, and nothing but the draws speaks for it; our choice
NEVER_COUNTS = 50.0  # nats below the lowest log ratio of a mode's draws, from which a draw of q weighs nothing
BRACKET = 50.0  # nats beyond the extreme log ratios within which the root is sought; our choice
MAX_HALVINGS_OF_BRACKET = 2200  # steps to a root; those from the widest bracket of doubles to the narrowest
N_BLOCKS_OF_CHAIN = 40  # blocks of a chain whose means tell its error to a tenth; our choice


class Bridge(NamedTuple):
    """What a bridge found.

    Attributes
    ----------
    estimate : Estimate
        log (Z_p / Z_q), nats, with the larger of the two errors in `checks`.
    shared : float
        Effective number of draws of either density that lie where the other has mass: all of them where p = q.
    checks : BridgeChecks
    """

    estimate: Estimate
    shared: float
    checks: BridgeChecks


NO_BRIDGE = Bridge(UNKNOWN, 0.0, NO_CHECKS)

type FitDensity = Callable[[LocalDraws], NormalisedDensity | None]


def log_mass(mode: ModeDensity, draws: LocalDraws, rng: np.random.Generator) -> LogMass:
    """Estimate log ∫ p̃ over a mode and its copies by bridge sampling.

    The draws are split in two halves; each is bridged to a proposal that was fitted to the other, and the two
    estimates are averaged. Where proposal and draws overlap too little, or k-hat says that the error can't be trusted,
    skewed and then heavy-tailed proposals are tried; the first without a doubt is taken, else that with most overlap.
    In wide spaces the proposal is of low rank: others have as many parameters as there are draws, or more.

    Returns
    -------
    LogMass
        NaN where draws are too few or do not mix within the mode, or where proposal and mode overlap too little; with
        a reason where k-hat is above 0.7.
    """
    if reason := why_not_weighed(draws):
        return unknown_log_mass(reason)
    tried: list[LogMass] = []
    wide = draws.x.shape[1] > WIDE
    for fit in (
        (partial(fit_low_rank, rng=rng),)
        if wide
        else (
            lambda x: fit_proposal(x.x, x.maximum, mode.laplace, rng),
            fit_warped,
            partial(fit_student_mixture, rng=rng),
        )
    ):
        tried.append(_cross_bridge(mode, draws, fit, rng))
        if tried[-1].known and not tried[-1].reason:
            break
    return max(tried, key=worth)


def worth(found: LogMass) -> tuple[bool, bool, float]:
    """Order estimates: known before unknown, without a doubt before doubtful, then by overlap."""
    return found.known, not found.reason, float(np.nan_to_num(found.overlap))


def why_not_weighed(draws: LocalDraws) -> str:
    """Say why draws are too few or have not seen the whole mode; nothing where they can be weighed."""
    n, d = draws.x.shape
    if n < max(MIN_PROPOSAL_DRAWS, 4 * (min(d, WIDE) + 1)):
        return f"{n} draws are too few to weigh a mode in {d} dimensions"
    if draws.crawl:
        return f"{NOT_MIXED} (the mode is so narrow across that chains can't go along it)"
    if draws.rhat > LOCAL_RHAT:
        return f"{NOT_MIXED} (R-hat {draws.rhat:.2f} over quarters of them)"
    if draws.n_diverging > MAX_DIVERGING * (n + draws.n_left):
        return f"{draws.n_diverging} transitions of its chains diverged: the chains have not seen the whole mode"
    return ""


def _cross_bridge(mode: ModeDensity, draws: LocalDraws, fit: FitDensity, rng: np.random.Generator) -> LogMass:
    """Fit a proposal to each half of the draws, bridge the other half to it, and average the two estimates."""
    first = np.arange(len(draws)) < len(draws) // 2
    halves = []
    for fitted in (first, ~first):
        q = fit(draws.take(fitted))
        if q is None:
            return unknown_log_mass("no other proposal could be fitted to its draws")
        halves.append((q, bridge_to(mode, draws.take(~fitted), draws.ess / len(draws), q, rng)))
    (q, one), (_, two) = halves
    overlap = min(one.shared, two.shared) / (len(draws) / 2)
    least = MIN_OVERLAP if mode.modes.proper else WIDE_OVERLAP
    for bridged in (one, two):
        if reason := too_little_overlap(bridged, overlap, q.name, least):
            return unknown_log_mass(reason, overlap)
    if reason := _disagreement(one.estimate, two.estimate):
        return unknown_log_mass(reason, overlap)
    checks = _average_checks(one.checks, two.checks)
    return LogMass(_average(one.estimate, two.estimate), overlap, f"bridge to {q.name}", doubt(checks, overlap), checks)


def bridge_to(
    mode: ModeDensity, draws: LocalDraws, efficiency: float, q: NormalisedDensity, rng: np.random.Generator
) -> Bridge:
    """Bridge draws of a mode, which q was not fitted to, to as many draws of q."""
    from_p = log_ratio(draws, q)
    from_q = mode.log_ratio(q.sample(len(draws), rng), q, least=from_p.min() - NEVER_COUNTS)
    return bridge(from_p, from_q, efficiency)


def too_little_overlap(bridged: Bridge, overlap: float, name: str, least: float) -> str:
    """Say that proposal and mode overlap too little for a bridge; nothing where they overlap enough."""
    if np.isfinite(bridged.estimate.value) and overlap >= least and bridged.shared >= MIN_INFORMATION:
        return ""
    return f"a {name} overlaps too little with the mode (overlap {overlap:.3f}, least {least:g})"


def doubt(checks: BridgeChecks, overlap: float) -> str:
    """Say that the error of a bridge can't be trusted, by k-hat; nothing where it can."""
    khat, side = max((checks.khat_draws, "mode"), (checks.khat_proposal, "proposal"))
    if overlap >= WIDE_OVERLAP or not khat > KHAT_RELIABLE:
        return ""
    return f"the error of its bridge is not reliable (k-hat {khat:.2f} at draws of the {side})"


def _disagreement(one: Estimate, two: Estimate) -> str:
    """Say by how much the halves disagree; nothing where they agree within their errors."""
    if differ(one, two):
        return f"two halves of the draws disagree by {abs(one.value - two.value):.2f} nats about the mode's mass"
    return ""


def differ(one: Estimate, two: Estimate) -> bool:
    """Tell whether two estimates of one mass contradict each other."""
    return bool(abs(one.value - two.value) > MAX_APART * np.hypot(one.se, two.se) + ALWAYS_APART)


def _average(one: Estimate, two: Estimate) -> Estimate:
    """Average two estimates; their distance bounds the error from below."""
    se = max(np.hypot(one.se, two.se) / 2, abs(one.value - two.value) / 4)
    return Estimate((one.value + two.value) / 2, float(se))


def _average_checks(one: BridgeChecks, two: BridgeChecks) -> BridgeChecks:
    return BridgeChecks(
        khat_draws=float(np.fmax(one.khat_draws, two.khat_draws)),
        khat_proposal=float(np.fmax(one.khat_proposal, two.khat_proposal)),
        se_sandwich=float(np.hypot(one.se_sandwich, two.se_sandwich) / 2),
        se_blocks=float(np.hypot(one.se_blocks, two.se_blocks) / 2),
    )


def bridge(from_p: Array, from_q: Array, efficiency: float = 1.0, efficiency_q: float = 1.0) -> Bridge:
    """Estimate log (Z_p / Z_q) by the optimal bridge of Meng and Wong (1996).

    Parameters
    ----------
    from_p : array (n,)
        Log ratios log p̃ - log q̃ at draws of p, a Markov chain in its order.
    from_q : array (m,)
        The same at draws of q; -inf where p̃ is zero.
    efficiency, efficiency_q : float
        Effective sample size over the number of draws, for p and for q. For p it is an upper bound, such as that
        of the coordinate that mixes worst; the log ratios' own may be lower.

    Returns
    -------
    Bridge
        NaN where the log ratios have no overlap at all.
    """
    if not np.isfinite(from_q).any() or not np.isfinite(from_p).all():
        return NO_BRIDGE
    share = min(effective_size(from_p[None]) / len(from_p), efficiency)
    offset = np.log(share * len(from_p) / (efficiency_q * len(from_q)))

    def excess(log_z: float) -> float:
        is_p = share * expit(-(from_p - log_z + offset)).sum()
        return float(is_p - efficiency_q * expit(from_q - log_z + offset).sum())

    value = _root(excess, np.concatenate([from_p, from_q[np.isfinite(from_q)]]))
    if np.isnan(value):
        return NO_BRIDGE
    log_not_p, log_as_p = log_expit(-(from_p - value + offset)), log_expit(from_q - value + offset)
    not_p, as_p = np.exp(log_not_p), np.exp(log_as_p)
    information = share * (not_p * (1 - not_p)).sum() + efficiency_q * (as_p * (1 - as_p)).sum()
    if information <= 0:
        return NO_BRIDGE
    size = min(effective_size(not_p[None]), efficiency * len(from_p))
    noise_q = efficiency_q * len(from_q) * as_p.var()
    variances = np.array([not_p.var() / size, _variance_by_blocks(not_p)])
    sandwich, blocks = np.sqrt((share * len(from_p)) ** 2 * variances + noise_q) / information
    checks = BridgeChecks(pareto_k(log_not_p), pareto_k(log_as_p), float(sandwich), float(blocks))
    return Bridge(Estimate(value, float(np.fmax(sandwich, blocks))), float(2 * information), checks)


def _variance_by_blocks(chain: Array) -> float:
    """Variance of the mean of a chain (n,) by the means of its blocks; NaN where they would be of one draw."""
    length = len(chain) // N_BLOCKS_OF_CHAIN
    if length < 2:
        return float("nan")
    means = chain[: length * N_BLOCKS_OF_CHAIN].reshape(N_BLOCKS_OF_CHAIN, length).mean(axis=1)
    return float(means.var(ddof=1) / N_BLOCKS_OF_CHAIN)


def _root(excess: Callable[[float], float], log_ratios: Array) -> float:
    """Find where an increasing function is zero, within the range of the log ratios; NaN where it is not there."""
    low, high = log_ratios.min() - BRACKET, log_ratios.max() + BRACKET
    if excess(low) > 0 or excess(high) < 0:
        return float("nan")
    return float(brentq(excess, low, high, xtol=1e-10, maxiter=MAX_HALVINGS_OF_BRACKET))
