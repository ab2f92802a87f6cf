"""Bridge sampling (Meng and Wong 1996) between draws of a mode and a proposal fitted to them: the log mass of the mode.

Meng, X.-L. and Wong, W. H. (1996). Simulating ratios of normalizing constants via a simple identity: a theoretical
exploration. Statistica Sinica 6, 831-860. The optimal bridge is logistic regression (Geyer 1994).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from pymc_kl._typing import Array, BoolArray
from pymc_kl.numerics.estimate import UNKNOWN, Estimate, effective_size
from pymc_kl.reference.evidence import LogMass, unknown_log_mass
from pymc_kl.reference.local_draws import LOCAL_RHAT, LocalDraws
from pymc_kl.reference.mode_density import ModeDensity, log_ratio
from pymc_kl.reference.proposals import fit_proposal

MIN_PROPOSAL_DRAWS = 100  # draws of a mode; with fewer no proposal is fitted; our choice
MIN_INFORMATION = 30.0  # draws' worth of overlap; with less the error of a bridge can't be trusted; our choice
MIN_OVERLAP = 0.02  # overlap as a share of the draws; with less a bridge is refused; our choice
MIN_OVERLAP_WITHOUT_MODE = 0.2  # the same where there is no maximum to tell what the region is; our choice
MAX_DIVERGING = 0.02  # share of transitions that diverge; above it a mode was not seen whole; our choice
MAX_APART = 3.5  # standard errors between the estimates of two halves; above it neither is trusted; our choice
ALWAYS_APART = 0.02  # nats by which the halves may always differ: a perfect proposal has no standard error; our choice
NOT_MIXED = "draws within the mode have not mixed"  # how the reason begins where R-hat is too large
BRACKET = 50.0  # nats beyond the extreme log ratios within which the root is sought; our choice


class _Half(NamedTuple):
    """A bridge from one half of the draws: the estimate, draws' worth of overlap, and the name of the proposal."""

    estimate: Estimate
    shared: float
    proposal: str


def log_mass(mode: ModeDensity, draws: LocalDraws, rng: np.random.Generator) -> LogMass:
    """Estimate log ∫ p̃ over a mode and its copies by bridge sampling.

    The draws are split in two halves; each is bridged to a proposal that was fitted to the other, and the two
    estimates are averaged.

    Returns
    -------
    LogMass
        NaN where draws are too few or do not mix within the mode, or where proposal and mode overlap too little.
    """
    if reason := _why_not_weighed(draws):
        return unknown_log_mass(reason)
    first = np.arange(len(draws)) < len(draws) // 2
    one, two = (_cross_bridge(mode, draws, fitted, rng) for fitted in (first, ~first))
    overlap = min(one.shared, two.shared) / (len(draws) / 2)
    least = MIN_OVERLAP if mode.modes.proper else MIN_OVERLAP_WITHOUT_MODE
    if reason := _too_little_overlap(one, two, overlap, least) or _disagreement(one.estimate, two.estimate):
        return unknown_log_mass(reason, overlap)
    return LogMass(_average(one.estimate, two.estimate), overlap, f"bridge to {one.proposal}", "")


def _why_not_weighed(draws: LocalDraws) -> str:
    """Say why draws are too few or have not seen the whole mode; nothing where they can be weighed."""
    n, d = draws.x.shape
    if n < max(MIN_PROPOSAL_DRAWS, 4 * (d + 1)):
        return f"{n} draws are too few to weigh a mode in {d} dimensions"
    if draws.rhat > LOCAL_RHAT:
        return f"{NOT_MIXED} (R-hat {draws.rhat:.2f} over quarters of them)"
    if draws.n_diverging > MAX_DIVERGING * (n + draws.n_left):
        return f"{draws.n_diverging} transitions of NUTS diverged: the chains have not seen the whole mode"
    return ""


def _cross_bridge(mode: ModeDensity, draws: LocalDraws, fitted: BoolArray, rng: np.random.Generator) -> _Half:
    """Fit a proposal to some of the draws, and bridge the others to as many draws of it."""
    train, test = draws.take(fitted), draws.take(~fitted)
    q = fit_proposal(train.x, train.maximum, mode.laplace, rng)
    from_q = mode.log_ratio(q.sample(len(test), rng), q)
    return _Half(*bridge(log_ratio(test, q), from_q, draws.ess / len(draws)), q.name)


def _too_little_overlap(one: _Half, two: _Half, overlap: float, least: float) -> str:
    """Say that proposal and mode overlap too little for a bridge; nothing where they overlap enough."""
    finite = np.isfinite(one.estimate.value + two.estimate.value)
    if finite and overlap >= least and min(one.shared, two.shared) >= MIN_INFORMATION:
        return ""
    return f"a {one.proposal} overlaps too little with the mode (overlap {overlap:.3f})"


def _disagreement(one: Estimate, two: Estimate) -> str:
    """Say by how much the halves disagree; nothing where they agree within their errors."""
    apart = abs(one.value - two.value)
    if apart > MAX_APART * np.hypot(one.se, two.se) + ALWAYS_APART:
        return f"two halves of the draws disagree by {apart:.2f} nats about the mode's mass"
    return ""


def _average(one: Estimate, two: Estimate) -> Estimate:
    """Average two estimates; their distance bounds the error from below."""
    se = max(np.hypot(one.se, two.se) / 2, abs(one.value - two.value) / 4)
    return Estimate((one.value + two.value) / 2, float(se))


def bridge(from_p: Array, from_q: Array, efficiency: float = 1.0, efficiency_q: float = 1.0) -> tuple[Estimate, float]:
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
    estimate : Estimate
        Nats. The error is that of the estimating equation, with the effective sample size of p's draws.
    shared : float
        Effective number of draws of either density that lie where the other has mass: all of them where p = q.
    """
    if not np.isfinite(from_q).any() or not np.isfinite(from_p).all():
        return UNKNOWN, 0.0
    share = min(effective_size(from_p[None]) / len(from_p), efficiency)
    offset = np.log(share * len(from_p) / (efficiency_q * len(from_q)))

    def excess(log_z: float) -> float:
        is_p = share * expit(-(from_p - log_z + offset)).sum()
        return float(is_p - efficiency_q * expit(from_q - log_z + offset).sum())

    value = _root(excess, np.concatenate([from_p, from_q[np.isfinite(from_q)]]))
    if np.isnan(value):
        return UNKNOWN, 0.0
    not_p, as_p = expit(-(from_p - value + offset)), expit(from_q - value + offset)
    information = share * (not_p * (1 - not_p)).sum() + efficiency_q * (as_p * (1 - as_p)).sum()
    if information <= 0:
        return UNKNOWN, 0.0
    size = min(effective_size(not_p[None]), efficiency * len(from_p))
    noise = share**2 * len(from_p) ** 2 * not_p.var() / size + efficiency_q * len(from_q) * as_p.var()
    return Estimate(value, float(np.sqrt(noise) / information)), float(2 * information)


def _root(excess: Callable[[float], float], log_ratios: Array) -> float:
    """Find where an increasing function is zero, within the range of the log ratios; NaN where it is not there."""
    low, high = log_ratios.min() - BRACKET, log_ratios.max() + BRACKET
    if excess(low) > 0 or excess(high) < 0:
        return float("nan")
    return float(brentq(excess, low, high, xtol=1e-10))
