"""The mass of each mode with its standard error: from normalising constants, or from draws alone.

Counting draws per mode estimates masses only where chains move between modes. Each mode's indicator is a two-state
Markov chain, whose effective sample size follows from how often it was crossed; without a crossing masses are unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from arviz_stats.base import array_stats
from scipy.special import logsumexp

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.modes.numbering import to_region
from pymc_kl.numerics.estimate import Estimate, effective_size
from pymc_kl.numerics.intervals import RULE_OF_THREE, binomial_interval

RHAT_GOOD = 1.05  # R-hat of a mode's indicator at the most; Vehtari et al. 2021 ask 1.01 of less noisy parameters
MIN_CROSSINGS = 20  # moves into or out of a mode: fewer leave a quarter of its mass as error; our choice
LEAST_SE = 1e-6  # nats of a log mass; our choice
UNKNOWN_SE = float(1 / np.sqrt(12))  # mass: standard deviation of one that may be anything in [0, 1]
NORMAL_95 = 1.96  # standard errors from an estimate to its upper bound


@dataclass(frozen=True, eq=False)
class Masses:
    """Mass of each of K modes and, last, of everywhere else.

    Attributes
    ----------
    mass, se : array (K + 1,)
        They sum to 1; and their standard errors.
    upper : array (K + 1,)
        Upper 95 % bound; 3 / n where no draw fell.
    n_draws : array (K + 1,) of int
    ess : array (K + 1,)
        Effective sample size of each indicator; NaN where it is not known.
    rhat : array (K + 1,)
        Of each indicator; NaN where it never changes.
    crossings : int
        Moves of chains from one mode to another.
    known : bool
        Whether the masses are known: they come from normalising constants, from independent draws, or from chains
        that moved between modes often enough.
    reason : str
        Why the masses are not known; empty where they are.
    covariance : array (K + 1, K + 1), optional
        Of the masses, where they come from normalising constants.
    with_evidence : array (K + 1,), optional
        Covariance of each mass with log Z over the standard error of log Z (nats), where both come from these.
    """

    mass: Array
    se: Array
    upper: Array
    n_draws: IntArray
    ess: Array
    rhat: Array
    crossings: int
    known: bool
    reason: str
    covariance: Array | None = None
    with_evidence: Array | None = None

    def interval(self) -> tuple[Array, Array]:
        """Return the ends of a 95 % interval of each mass (K + 1,).

        Of a count it is Clopper's and Pearson's, of a mass from normalising
        constants normal on the logit scale, and of one that is not known all of [0, 1].
        """
        mass = np.nan_to_num(self.mass)
        if self.covariance is not None:
            low, high = _logit_interval(mass, self.se)
            low[-1], high[-1] = 0.0, self.upper[-1]
        else:
            low, high = binomial_interval(mass, np.nan_to_num(self.ess))
        unknown = np.isnan(self.mass) | (self.se >= UNKNOWN_SE)
        return np.where(unknown, 0.0, low), np.where(unknown, 1.0, high)

    @property
    def lower(self) -> Array:
        """Lower 95 % bound (K + 1,); 1 - 3 / n of a mode that all of n draws are in."""
        all_draws = self.known & (self.covariance is None) & (self.mass == 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(all_draws, np.maximum(1 - RULE_OF_THREE / self.ess, 0.0), self.interval()[0])


def masses_from_independent(mode: IntArray, k: int) -> Masses:
    """Count independent draws (n,) per mode; -1 counts as elsewhere."""
    return masses_from_weighted(mode, np.ones(mode.size), k)


def masses_from_distinct(x: Array, mode: IntArray, k: int) -> Masses:
    """Count independent draws x (n, d) per mode (n,); a draw that is there many times tells as much as one."""
    _, first, counts = np.unique(x, axis=0, return_index=True, return_counts=True)
    return masses_from_weighted(mode[first], counts.astype(float), k)


def masses_of_chains(x: Array, mode: IntArray, k: int) -> Masses:
    """Count draws x (chain, draw, d) per mode (chain, draw) by the effective size of the chains that are all there is.

    A mode that holds all draws or none tells nothing of how fast chains moved: their slowest coordinate does. Of one
    that they seldom entered or left, so few moves do. Chains are independent of each other, so they are worth no less
    than one draw each, and no more than distinct draws are.
    """
    counted = masses_from_distinct(x.reshape(mode.size, -1), mode.ravel(), k)
    region = to_region(mode, k)
    slowest = min(effective_size(column) for column in np.moveaxis(x, 2, 0))
    sizes = [
        _indicator_ess(region == j, int(np.diff(region == j).sum()))[0] if 0 < n < mode.size else slowest
        for j, n in enumerate(np.bincount(region.ravel(), minlength=k + 1))
    ]
    ess = np.minimum(np.fmax(sizes, len(mode)), counted.ess)
    return replace(counted, ess=ess, se=_binomial_se(counted.mass, ess), upper=_upper(counted.mass, ess))


def masses_from_weighted(mode: IntArray, weights: Array, k: int) -> Masses:
    """Add up the weights (n,) of independent draws (n,) per mode; -1 counts as elsewhere."""
    region = to_region(mode, k).ravel()
    w = weights.ravel() / weights.sum()
    mass = np.bincount(region, weights=weights.ravel(), minlength=k + 1) / weights.sum()
    ess = np.full(k + 1, 1 / (w**2).sum())
    return Masses(
        mass=mass,
        se=_binomial_se(mass, ess),
        upper=_upper(mass, ess),
        n_draws=np.bincount(region, minlength=k + 1),
        ess=ess,
        rhat=np.full(k + 1, np.nan),
        crossings=0,
        known=True,
        reason="",
    )


def masses_from_chains(mode: IntArray, k: int, *, core: BoolArray, negligible: BoolArray) -> Masses:
    """Estimate masses by the part of MCMC draws in each mode, as far as chains moved between modes.

    Parameters
    ----------
    mode : array (chain, draw) of int
        Mode of each draw, -1 for elsewhere.
    k : int
        Number of modes known, visited or not.
    core : array (chain, draw) of bool
        Draws well inside their mode. A chain has changed modes once it has been in the core of another: one
        that steps over the border and back has not.
    negligible : array (K,) of bool
        Modes whose mass is too small to matter, whether or not a chain went there.

    Returns
    -------
    Masses
        The standard error is that of an unknown mass (0.29) for modes that no chain entered or left.
    """
    region = to_region(mode, k)
    n_draws = np.bincount(region.ravel(), minlength=k + 1)
    mass = n_draws / mode.size
    matters = np.append(~negligible, n_draws[k] > 0) | (n_draws > 0)
    visit = last_core(region, core)
    crossed, ess, rhat = _mixing_of_regions(region, visit, n_draws)
    alone = matters.sum() == 1
    ess = np.where(alone & (n_draws > 0), float(mode.size), ess)
    entered = (crossed > 0) | alone
    counted = np.minimum(_binomial_se(mass, ess), UNKNOWN_SE)
    se = np.where(entered & (n_draws > 0), counted, np.where(matters, UNKNOWN_SE, 1 / mode.size))
    upper = np.where(matters & ~entered, 1.0, _upper(mass, np.where(np.isnan(ess), mode.size, ess)))
    reason = "" if alone else _why_unknown(mode, n_draws[:k], crossed, rhat, matters)
    crossings = int((visit[:, 1:] != visit[:, :-1]).sum())
    return Masses(mass, se, upper, n_draws, ess, rhat, crossings, not reason, reason)


def _mixing_of_regions(region: IntArray, visit: IntArray, n_draws: IntArray) -> tuple[IntArray, Array, Array]:
    """Return crossings, ESS and R-hat (K + 1,) of the indicator of each region.

    `region` (chain, draw) is that of each draw, `visit` (chain, draw) that whose core the chain visited last.
    """
    crossed = np.zeros(len(n_draws), dtype=np.int64)
    ess, rhat = np.full(len(n_draws), np.nan), np.full(len(n_draws), np.nan)
    for j in np.flatnonzero(n_draws):
        staying = visit == j
        crossed[j] = int((staying[:, 1:] != staying[:, :-1]).sum())
        ess[j], rhat[j] = _indicator_ess(region == j, int(crossed[j]))
    return crossed, ess, rhat


def masses_from_log(log_masses: Sequence[Estimate], n_draws: IntArray) -> tuple[Masses, Estimate]:
    """Turn log ∫ p̃ over each of K modes (nats, independent errors) into masses and log Z.

    Parameters
    ----------
    log_masses : sequence of Estimate
    n_draws : array (K + 1,) of int
        Draws behind each, and those that fell elsewhere.

    Returns
    -------
    Masses
        Elsewhere has none, since no climb ended there; its upper bound is that of three draws.
    Estimate
        log Z in nats, with an error of a millionth at the least: for what of p̃ lies beyond, and for rounding.
    """
    values = np.array([value for value, _ in log_masses])
    errors = np.hypot([se for _, se in log_masses], LEAST_SE)
    log_z = float(logsumexp(values))
    w = np.exp(values - log_z)
    slope = np.diag(w) - np.outer(w, w)
    covariance = np.zeros((len(w) + 1, len(w) + 1))
    covariance[:-1, :-1] = slope @ np.diag(errors**2) @ slope
    rest = _rest(n_draws)
    mass, se = np.append(w, 0.0), np.sqrt(np.diag(covariance))
    se[-1] = rest / RULE_OF_THREE
    with np.errstate(divide="ignore", invalid="ignore"):
        ess = np.where(se > 0, mass * (1 - mass) / se**2, np.nan)
    upper = np.append(_logit_interval(w, se[:-1])[1], rest)
    blank = np.full(len(mass), np.nan)
    log_z_se = float(np.sqrt((w**2 * errors**2).sum()))
    with_evidence = np.append(slope @ (w * errors**2), 0.0) / (log_z_se or 1.0)
    masses = Masses(mass, se, upper, n_draws, ess, blank, 0, True, "", covariance, with_evidence)
    return masses, Estimate(log_z, log_z_se)


def unknown_masses(guess: Array, n_draws: IntArray, reason: str) -> Masses:
    """Return masses of K modes that are not known: a guess (K,), with the sd of a uniform mass in [0, 1] as error."""
    mass = np.append(guess, 0.0)
    k = len(mass)
    se = np.append(np.full(k - 1, UNKNOWN_SE), 1 / max(int(n_draws.sum()), 1))
    upper = np.append(np.ones(k - 1), _rest(n_draws))
    blank = np.full(k, np.nan)
    return Masses(mass, se, upper, n_draws, blank, blank, 0, False, reason)


def last_core(region: IntArray, core: BoolArray) -> IntArray:
    """Return the region (chain, draw) whose core the chain visited last; before its first visit, where it began."""
    position = np.where(core, np.arange(region.shape[1]), 0)
    last = np.maximum.accumulate(position, axis=1)
    return np.take_along_axis(region, last, axis=1)


def _indicator_ess(inside: BoolArray, crossed: int) -> tuple[float, float]:
    """ESS and R-hat of a mode's indicator (chain, draw); the ESS is the lesser of ArviZ's and a two-state chain's."""
    values = inside.astype(float)
    n = values.size
    inside_part = (values.sum() + 0.5) / (n + 1)
    sure = crossed - np.sqrt(crossed)  # one standard error below the count, to be careful where crossings are few
    switching = max(sure, 0.5) / (2 * inside_part * (1 - inside_part) * n)  # sum of the chain's two rates
    markov = n * switching / max(2 - switching, switching)
    if inside.all():
        return markov, np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        usual = float(array_stats.ess(values, method="mean"))
        rhat = float(array_stats.rhat(values, method="split")) if len(values) > 1 else np.nan
    return float(np.nanmin([usual, markov])), rhat


def _binomial_se(mass: Array, ess: Array) -> Array:
    """Standard error of a mass, with half a draw added inside and outside so that it is never zero."""
    smoothed = (mass * ess + 0.5) / (ess + 1)
    return np.asarray(np.sqrt(smoothed * (1 - smoothed) / (ess + 1)))


def _upper(mass: Array, ess: Array) -> Array:
    """Upper 95 % bound of a mass."""
    return np.minimum(np.where(mass > 0, binomial_interval(mass, ess)[1], RULE_OF_THREE / ess), 1.0)


def _logit_interval(mass: Array, se: Array) -> tuple[Array, Array]:
    """Ends of a 95 % interval of a mass that is normal on the logit scale; a mass of 0 or 1 is one for certain."""
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.exp(NORMAL_95 * se / (mass * (1 - mass)))
        odds = mass / (1 - mass)
        low, high = odds / (odds + reach), odds * reach / (1 + odds * reach)
    inside = (mass > 0) & (mass < 1)
    return np.where(inside, low, mass), np.where(inside, np.nan_to_num(high, nan=1.0), mass)


def _rest(n_draws: IntArray) -> float:
    """Return the upper 95 % bound of the mass elsewhere, where no draw fell: the rule of three."""
    return min(RULE_OF_THREE / max(int(n_draws.sum()), RULE_OF_THREE), 1.0)


def _why_unknown(mode: IntArray, n_draws: IntArray, crossed: IntArray, rhat: Array, matters: BoolArray) -> str:
    """Say why the masses cannot be told from the draws of chains; empty where they can."""
    missed = np.flatnonzero((n_draws == 0) & matters[:-1])
    if len(missed):
        names = ", ".join(str(i + 1) for i in missed[:3]) + (", …" if len(missed) > 3 else "")
        plural = "s" if len(missed) > 1 else ""
        return f"no chain entered {len(missed)} mode{plural} that the search found ({names})"
    visited = np.flatnonzero(n_draws)
    least = int(crossed[:-1][visited].min()) if len(visited) else 0
    if least == 0:
        return f"the {len(mode)} chains never moved between modes"
    if least < MIN_CROSSINGS:
        return f"the chains entered or left a mode only {least} times in all"
    worst = float(np.nanmax(rhat[:-1])) if np.isfinite(rhat[:-1]).any() else 1.0
    if worst > RHAT_GOOD:
        return f"R-hat of a mode's indicator is {worst:.2f}"
    return ""
