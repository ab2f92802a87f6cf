"""The log mass of a mode by a nested Laplace proposal: a bridge to the draws, checked by importance sampling."""

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.numerics.estimate import Estimate, pareto_k, systematic
from pymc_kl.numerics.khat import KHAT_FINITE_VARIANCE, KHAT_RELIABLE
from pymc_kl.numerics.tails import tailed_mean
from pymc_kl.reference.bridge_sampling import (
    MAX_APART,
    MIN_INFORMATION,
    MIN_PROPOSAL_DRAWS,
    Bridge,
    bridge,
    differ,
    why_not_weighed,
    worth,
)
from pymc_kl.reference.evidence import LogMass, unknown_log_mass
from pymc_kl.reference.local_draws import LocalDraws
from pymc_kl.reference.mode_density import ModeDensity, log_ratio
from pymc_kl.reference.nested_grid import NODES
from pymc_kl.reference.nested_laplace import TIED, TIED_IF_BENT, fit_nested_laplace, outer_coordinates, tied_coordinates
from pymc_kl.reference.proposals import NormalisedDensity

NESTED_DRAWS = 4000  # draws of the proposal; our choice
MOST_ALONG_A_RIDGE = 5  # coordinates that are tried as the one that goes along a bent ridge; our choice
ENOUGH_OVERLAP = 0.5  # overlap from which no further outer coordinate is tried; our choice
DOUBTFUL_ERRORS = 2.0  # times that the error of importance sampling is taken with k-hat above 0.5; our choice
FAR_ABOVE = float(np.log(100))  # nats: log weight over the mean at which a draw is where the proposal hardly goes
MAX_FAR = 0.01  # share of the draws that may be there; with more the proposal misses a part of the mode; our choice


def _with_error(estimate: Estimate, nats: float) -> Estimate:
    return Estimate(estimate.value, float(np.hypot(estimate.se, nats)))


class _Weighed(NamedTuple):
    """Importance sampling from a proposal: log mass, k-hat, effective draws, and draws resampled by their weights."""

    estimate: Estimate
    khat: float
    size: float
    resampled: LocalDraws

    @property
    def reliable(self) -> bool:
        """Whether the weights can be trusted."""
        return self.khat <= KHAT_RELIABLE and self.size >= MIN_INFORMATION

    def with_error(self, nats: float) -> "_Weighed":
        """Add an error of so many nats."""
        return self._replace(estimate=_with_error(self.estimate, nats))


def log_mass_by_nested_laplace(
    mode: ModeDensity, draws: LocalDraws, rng: np.random.Generator
) -> tuple[LogMass, LocalDraws]:
    """Estimate log ∫ p̃ over a mode and its copies with one or two of its coordinates on a grid.

    Importance sampling needs nothing of the draws but where to begin. So it tells whether they miss a part of the mode:
    where a bridge to them contradicts it by more than both errors, and where chains have diverged or not mixed, it is
    the estimate, and its own draws are returned instead.

    Parameters
    ----------
    mode : ModeDensity
    draws : LocalDraws
    rng : Generator

    Returns
    -------
    LogMass
        NaN where importance weights are not reliable; with a reason where the draws miss a part.
    LocalDraws
        The draws, or others if those miss a part of the mode.
    """
    d = mode.target.d
    if len(draws) < max(MIN_PROPOSAL_DRAWS, 4 * (d + 1)):
        return unknown_log_mass(f"{len(draws)} draws are too few to weigh a mode in {d} dimensions"), draws
    best = unknown_log_mass("it has one dimension"), draws
    for outer in _outer_coordinates(mode, draws):
        found = _with_outer(mode, draws, outer, rng)
        best = max(best, found, key=lambda made: worth(made[0]))
        if best[0].known and best[0].overlap >= ENOUGH_OVERLAP:
            break
    return best


def _outer_coordinates(mode: ModeDensity, draws: LocalDraws) -> list[IntArray]:
    """List which coordinates to put on a grid: all but those tied to them, else the one or two that matter most."""
    d = mode.target.d
    tied_to = TIED_IF_BENT if draws.bent else TIED
    free = np.setdiff1d(np.arange(d), tied_coordinates(mode.target.log_density_and_grad, draws.x, tied_to))
    if len(free) < d and len(free) in NODES:
        return [free]
    order = outer_coordinates(draws.x)
    more = order[1:MOST_ALONG_A_RIDGE] if draws.bent else order[:0]  # any of them may go along it, and none back
    return [*(np.sort(order[:m]) for m in NODES if m < d), *(np.array([i]) for i in more)]


def _with_outer(
    mode: ModeDensity, draws: LocalDraws, outer: IntArray, rng: np.random.Generator
) -> tuple[LogMass, LocalDraws]:
    """Weigh a mode with these coordinates on the grid."""
    try:
        q = fit_nested_laplace(mode.target.log_density_and_grad, draws.x, outer)
        x = q.sample(NESTED_DRAWS, rng)
    except np.linalg.LinAlgError:
        return unknown_log_mass("no nested Laplace approximation could be made"), draws
    drawn, inside = mode.evaluate(x)
    from_q = np.where(inside, log_ratio(drawn, q), -np.inf)
    nowhere = _climbing_nowhere(mode, drawn, inside, q)
    weighed = _importance(drawn, from_q, rng).with_error(nowhere)
    if not weighed.reliable:
        return unknown_log_mass(f"importance weights of a {q.name} are not reliable (k-hat {weighed.khat:.2f})"), draws
    from_p, n = log_ratio(draws, q), min(len(draws), NESTED_DRAWS)
    if np.mean(from_p > weighed.estimate.value + FAR_ABOVE) > MAX_FAR:
        return unknown_log_mass(f"a {q.name} misses a part of it that draws are in"), draws
    bridged = bridge(from_p, from_q[:n], draws.ess / len(draws))
    bridged = bridged._replace(estimate=_with_error(bridged.estimate, nowhere))
    overlap, method = weighed.size / NESTED_DRAWS, f"importance sampling from a {q.name}"
    unlike = why_not_weighed(draws) or _why_not_bridged(bridged, weighed)
    if reason := unlike or _why_not_alike(draws, drawn, from_q, outer):
        return LogMass(weighed.estimate, overlap, method, reason, bridged.checks), weighed.resampled
    if bridged.shared < MIN_INFORMATION or not bridged.estimate.se < weighed.estimate.se:
        return LogMass(weighed.estimate, overlap, method, "", bridged.checks), draws
    return LogMass(bridged.estimate, overlap, f"bridge to {q.name}", "", bridged.checks), draws


def _climbing_nowhere(mode: ModeDensity, drawn: LocalDraws, inside: BoolArray, q: NormalisedDensity) -> float:
    """Nats that points which climb to no maximum would add if they are of this mode: climbs along it may be long."""
    nowhere = (drawn.maximum < 0) & np.isfinite(drawn.log_density) & mode.modes.proper
    if not nowhere.any() or not inside.any():
        return 0.0
    ratio = drawn.log_density - q.log_prob(drawn.x)
    return float(np.log1p(np.exp(logsumexp(ratio[nowhere]) - logsumexp(ratio[inside]))))


def _why_not_bridged(bridged: Bridge, weighed: _Weighed) -> str:
    """Say by how much a bridge to the draws contradicts importance sampling; nothing where it does not."""
    if not differ(bridged.estimate, weighed.estimate):
        return ""
    apart = bridged.estimate.value - weighed.estimate.value
    return f"the draws miss a part of it: a bridge to them gives {apart:+.2f} nats"


def _why_not_alike(draws: LocalDraws, drawn: LocalDraws, log_weights: Array, outer: IntArray) -> str:
    """Say that draws and weighted draws of a proposal differ in the mean of log p̃ or of an outer coordinate."""
    w = np.exp(log_weights - log_weights.max())
    w /= w.sum()
    values = [(draws.log_density, drawn.log_density), *((draws.x[:, i], drawn.x[:, i]) for i in outer)]
    for one, two in values:
        mean = w @ two
        se = np.sqrt(w**2 @ (two - mean) ** 2 + one.var() / draws.ess)
        if abs(one.mean() - mean) > MAX_APART * se:
            return f"the draws miss a part of it: a mean of theirs is {abs(one.mean() - mean) / se:.0f} errors off"
    return ""


def _importance(drawn: LocalDraws, log_weights: Array, rng: np.random.Generator) -> _Weighed:
    """Weigh draws of a proposal by their log weights (n,), nats, -inf outside the mode."""
    top = log_weights.max()
    if not np.isfinite(top):
        return _Weighed(Estimate(np.nan, np.nan), np.inf, 0.0, drawn)
    w = np.exp(log_weights - top)
    khat, size = pareto_k(log_weights), float(w.sum() ** 2 / (w**2).sum())
    se = float(w.std() / w.mean() / np.sqrt(len(w))) * (DOUBTFUL_ERRORS if khat > KHAT_FINITE_VARIANCE else 1.0)
    widened = tailed_mean(w, heavy="upper").se / w.mean()
    se = max(se, widened) if np.isfinite(widened) else se
    rows = rng.permutation(systematic(w / w.sum(), max(int(size), 1), rng))
    return _Weighed(Estimate(float(top + np.log(w.mean())), se), khat, size, drawn.take(rows))
