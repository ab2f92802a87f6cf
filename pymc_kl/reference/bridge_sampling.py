"""Local draws of a mode → log of its mass, by bridge sampling (Meng and Wong 1996) from a fitted proposal."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from arviz_stats.base import array_stats
from scipy.optimize import brentq
from scipy.special import expit

from pymc_kl._typing import Array, IntArray
from pymc_kl.model.target import Target
from pymc_kl.modes.modes import Modes
from pymc_kl.numerics.estimate import UNKNOWN, Estimate, effective_size, pareto_k
from pymc_kl.numerics.khat import KHAT_FINITE_VARIANCE, KHAT_RELIABLE
from pymc_kl.reference.proposals import Proposal, fit_proposal

MIN_DRAWS = 100  # of a mode, below which nothing is fitted
LOCAL_RHAT = 1.1  # of quarters of the local draws: beyond it they have not seen the whole mode
MIN_INFORMATION = 30.0  # draws' worth of overlap below which the error of a bridge can't be trusted
MIN_OVERLAP = 0.02  # and the same as a share of the draws
MIN_OVERLAP_WITHOUT_MODE = 0.2  # where nothing but the draws says what the region is
MAX_DIVERGING = 0.02  # share of transitions: beyond it the chains have not seen the whole mode
IMPORTANCE_DRAWS = 2000
GUESS_SE = (0.5, 1.0)  # nats: the error of a mode's log mass where its weights are doubtful, and where they fail
DISAGREE = 3.5  # standard errors between the two halves' estimates beyond which neither is


@dataclass(frozen=True, eq=False)
class LocalDraws:
    """Draws of one mode, folded to its first copy, in the order of their chains.

    Attributes
    ----------
    x : array (n, d)
        Unconstrained space.
    log_density : array (n,)
        log p̃, nats.
    maximum : array (n,) of int
    n_copies : array (n,)
        Copies of each draw's peak.
    source : str
        "given", "NUTS" or "importance".
    n_left : int
        Draws of the same chains that lay outside the mode.
    n_diverging : int
        Divergent transitions of the chains.
    """

    x: Array
    log_density: Array
    maximum: IntArray
    n_copies: Array
    source: str
    n_left: int = 0
    n_diverging: int = 0

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def ess(self) -> float:
        """Least effective sample size of any coordinate or of log p̃."""
        return float(min(effective_size(column[None]) for column in (*self.x.T, self.log_density)))

    @property
    def rhat(self) -> float:
        """Greatest R-hat over quarters of the draws, of any coordinate or of log p̃."""
        return greatest_rhat(np.column_stack([self.x, self.log_density]))


@dataclass(frozen=True, eq=False)
class LogMass:
    """log ∫ p̃ over a mode and its copies, in nats, with how it was found and why it is NaN if it is.

    `overlap` is the share of draws, of either end, that carry the estimate: 1 where proposal and mode agree.
    """

    estimate: Estimate
    overlap: float
    method: str
    reason: str


def greatest_rhat(columns: Array) -> float:
    """Greatest R-hat of any column (n, m) over quarters of the rows; NaN of fewer than four."""
    n = len(columns) // 4
    if not n:
        return float("nan")
    quarters = columns[: 4 * n].reshape(4, n, -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = [float(array_stats.rhat(quarters[..., j], method="rank")) for j in range(quarters.shape[2])]
    return float(np.nanmax(values)) if np.isfinite(values).any() else float("nan")


def log_mass(target: Target, modes: Modes, k: int, draws: LocalDraws, rng: np.random.Generator) -> LogMass:
    """Estimate log ∫ p̃ over mode k and its copies.

    The draws are split in two halves; each is bridged to a proposal that was fitted to the other, and the two
    estimates are averaged.

    Parameters
    ----------
    target : Target
    modes : Modes
    k : int
    draws : LocalDraws
    rng : Generator

    Returns
    -------
    LogMass
        NaN where draws are too few or do not mix within the mode, or where proposal and mode overlap too little.
    """
    n, d = draws.x.shape
    if n < max(MIN_DRAWS, 4 * (d + 1)):
        return LogMass(UNKNOWN, float("nan"), "none", f"{n} draws are too few to weigh a mode in {d} dimensions")
    if (rhat := draws.rhat) > LOCAL_RHAT:
        reason = f"draws within the mode have not mixed (R-hat {rhat:.2f} over quarters of them)"
        return LogMass(UNKNOWN, float("nan"), "none", reason)
    if draws.n_diverging > MAX_DIVERGING * (n + draws.n_left):
        reason = f"{draws.n_diverging} transitions of NUTS diverged: the chains have not seen the whole mode"
        return LogMass(UNKNOWN, float("nan"), "none", reason)
    halves = np.arange(n) < n // 2
    laplace = (modes.x[k], modes.covariances[k]) if modes.proper else None
    tries = []
    for fitted in (halves, ~halves):
        proposal = fit_proposal(draws.x[fitted], draws.maximum[fitted], laplace, rng)
        tries.append((*_bridge_to(target, modes, k, draws, ~fitted, proposal, rng), proposal.name))
    (one, shared_one, name), (two, shared_two, _) = tries
    overlap = min(shared_one, shared_two) / (n / 2)
    least = MIN_OVERLAP if modes.proper else MIN_OVERLAP_WITHOUT_MODE
    if min(shared_one, shared_two) < MIN_INFORMATION or overlap < least or not np.isfinite(one.value + two.value):
        reason = f"a {name} overlaps too little with the mode (overlap {overlap:.3f})"
        return LogMass(UNKNOWN, overlap, "none", reason)
    apart = abs(one.value - two.value)
    if apart > DISAGREE * np.hypot(one.se, two.se) + 0.02:
        reason = f"two halves of the draws disagree by {apart:.2f} nats about the mode's mass"
        return LogMass(UNKNOWN, overlap, "none", reason)
    se = max(np.hypot(one.se, two.se) / 2, apart / 4)
    return LogMass(Estimate((one.value + two.value) / 2, float(se)), overlap, f"bridge to {name}", "")


def log_mass_by_importance(
    target: Target, modes: Modes, k: int, rng: np.random.Generator
) -> tuple[LogMass, LocalDraws]:
    """Estimate log ∫ p̃ over mode k and its copies without chains: by importance sampling about its peak.

    Parameters
    ----------
    target : Target
    modes : Modes
        With proper maxima.
    k : int
    rng : Generator

    Returns
    -------
    LogMass
        With a reason and a wide guess of its error where k-hat of the weights is above 0.5.
    LocalDraws
        Resampled with those weights.
    """
    d = target.d
    proposal = Proposal("Laplace", np.ones(1), modes.x[k][None], np.linalg.cholesky(modes.covariances[k])[None], 5.0)
    x = proposal.sample(IMPORTANCE_DRAWS, rng)
    log_density, canonical = target.log_density(x), modes.canonical(x)
    inside = (canonical.mode == k) & canonical.is_canonical & np.isfinite(log_density)
    if inside.sum() < MIN_DRAWS // 10:
        guess = Estimate(float(modes.log_mass_laplace[k]), GUESS_SE[1])
        return LogMass(guess, 0.0, "Laplace's approximation", "hardly a draw stays in the mode"), none_drawn(d)
    log_weights = np.where(inside, log_density + np.log(canonical.n_copies) - proposal.log_prob(x), -np.inf)
    khat, top = pareto_k(log_weights[inside]), log_weights.max()
    w = np.exp(log_weights - top)
    se, efficiency = float(w.std() / w.mean() / np.sqrt(len(w))), float(w.sum() ** 2 / (len(w) * (w**2).sum()))
    rows = rng.choice(len(w), int(max(efficiency * len(w), 10)), p=w / w.sum())
    draws = LocalDraws(x[rows], log_density[rows], canonical.maximum[rows], canonical.n_copies[rows], "importance")
    reason = ""
    if not khat <= KHAT_FINITE_VARIANCE:
        se = max(se, GUESS_SE[int(not khat <= KHAT_RELIABLE)])
        reason = f"importance sampling about the peak is not reliable (k-hat {khat:.2f})"
    estimate = Estimate(float(top + np.log(w.mean())), se)
    return LogMass(estimate, efficiency, "importance sampling about the peak", reason), draws


def none_drawn(d: int) -> LocalDraws:
    """Return no draws in d dimensions."""
    none = np.empty(0, dtype=np.int64)
    return LocalDraws(np.empty((0, d)), np.empty(0), none, np.empty(0), "given")


def _bridge_to(
    target: Target,
    modes: Modes,
    k: int,
    draws: LocalDraws,
    used: Array,
    proposal: Proposal,
    rng: np.random.Generator,
) -> tuple[Estimate, float]:
    """Bridge the `used` draws of a mode to as many of a proposal; also the draws' worth of overlap."""
    x = proposal.sample(int(used.sum()), rng)
    log_density = target.log_density(x)
    canonical = modes.canonical(x)
    inside = (canonical.mode == k) & canonical.is_canonical & np.isfinite(log_density)
    from_q = np.where(inside, log_density + np.log(canonical.n_copies) - proposal.log_prob(x), -np.inf)
    from_p = draws.log_density[used] + np.log(draws.n_copies[used]) - proposal.log_prob(draws.x[used])
    return bridge(from_p, from_q, draws.ess / len(draws))


def bridge(from_p: Array, from_q: Array, efficiency: float = 1.0, efficiency_q: float = 1.0) -> tuple[Estimate, float]:
    """Estimate log (Z_p / Z_q) from log ratios log p̃ - log q̃ at draws of p and of q.

    Parameters
    ----------
    from_p : array (n,)
        At draws of p, a Markov chain in its order.
    from_q : array (m,)
        At draws of q; -inf where p̃ is zero.
    efficiency, efficiency_q : float
        Effective draws a draw, of p at the most and of q: those of the coordinate that mixes least.

    Returns
    -------
    estimate : Estimate
        Nats. The error is that of the estimating equation, with the effective sample size of p's draws.
    shared : float
        Draws' worth of overlap, of either end: as many as there are where p and q agree.

    References
    ----------
    Meng, X.-L. and Wong, W. H. (1996). Simulating ratios of normalizing constants via a simple identity.
    Statistica Sinica 6, 831-860. The optimal bridge is logistic regression (Geyer 1994).
    """
    if not np.isfinite(from_q).any() or not np.isfinite(from_p).all():
        return UNKNOWN, 0.0
    share = min(effective_size(from_p[None]) / len(from_p), efficiency)
    offset = np.log(share * len(from_p) / (efficiency_q * len(from_q)))

    def excess(log_ratio: float) -> float:
        is_p = share * expit(-(from_p - log_ratio + offset)).sum()
        return float(is_p - efficiency_q * expit(from_q - log_ratio + offset).sum())

    finite = np.concatenate([from_p, from_q[np.isfinite(from_q)]])
    low, high = finite.min() - 50.0, finite.max() + 50.0
    if excess(low) > 0 or excess(high) < 0:
        return UNKNOWN, 0.0
    value = float(brentq(excess, low, high, xtol=1e-10))
    not_p, as_p = expit(-(from_p - value + offset)), expit(from_q - value + offset)
    information = share * (not_p * (1 - not_p)).sum() + efficiency_q * (as_p * (1 - as_p)).sum()
    size = min(effective_size(not_p[None]), efficiency * len(from_p))
    noise_p = share**2 * len(from_p) ** 2 * not_p.var() / size
    noise = noise_p + efficiency_q * len(from_q) * as_p.var()
    if information <= 0:
        return UNKNOWN, 0.0
    return Estimate(value, float(np.sqrt(noise) / information)), float(2 * information)
