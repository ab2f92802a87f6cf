"""Draws of p and of q as scores take them: both log densities, region and weight of each."""

from dataclasses import dataclass

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.modes.masses import Masses
from pymc_kl.numerics.estimate import effective_size


@dataclass(frozen=True, eq=False)
class TailDraws:
    """log p̃ (n,) and weights (n,) of draws of p, and how many independent ones they are worth."""

    log_density: Array
    weights: Array | None
    n_effective: float


def tail_of(log_density: Array, weights: Array | None) -> TailDraws:
    """Collect what the tail of log p̃ is estimated from: draws of p (chain, draw), weighted or Markov chains."""
    if weights is None:
        return TailDraws(log_density.ravel(), None, effective_size(log_density))
    w = weights.ravel() / weights.sum()
    return TailDraws(log_density.ravel(), w, float(1 / (w**2).sum()))


@dataclass(frozen=True, eq=False)
class ReferenceDraws:
    """Draws of p, with log p̃ and log q at each.

    Attributes
    ----------
    log_density, log_prob : array (chain, draw)
        log p̃ and log q at the draws, nats; log_prob is None where q has no density.
    mode : array (chain, draw) of int
        Region of each draw, K for elsewhere.
    weights : array (chain, draw), optional
    masses : Masses
    unvisited : array (K + 1,)
        Mean of log p̃ - log q over local draws of modes that no draw visited; NaN for the others.
    tail : TailDraws, optional
        More draws of p, for quantiles far out in the tail; the draws above by default.
    fit_variance : array (chain, draw), optional
        Where q was fitted to the same draws: what each adds, in nats² and times its squared weight, to the variance of
        a mean of log q.
    """

    log_density: Array
    log_prob: Array | None
    mode: IntArray
    weights: Array | None
    masses: Masses
    unvisited: Array
    tail: TailDraws | None = None
    fit_variance: Array | None = None


@dataclass(frozen=True, eq=False)
class ApproximationDraws:
    """Independent draws of q (n,): log p̃, log q (None without density), region (K for elsewhere), masses."""

    log_density: Array
    log_prob: Array | None
    mode: IntArray
    masses: Masses


def region_means(values: Array, p: ReferenceDraws) -> Array:
    """Average values (chain, draw) at draws of p over each region (K + 1,); NaN where no draw is."""
    weights = np.ones_like(values) if p.weights is None else p.weights
    k = len(p.masses.mass)
    total = np.bincount(p.mode.ravel(), weights=weights.ravel(), minlength=k)
    summed = np.bincount(p.mode.ravel(), weights=(weights * values).ravel(), minlength=k)
    return np.asarray(np.where(total > 0, summed / np.where(total > 0, total, 1.0), np.nan))


def function_of_masses_se(slope: Array, masses: Masses, log_evidence_se: float = 0.0) -> float:
    """Standard error of a function of the masses whose partial derivatives are `slope` (K + 1,).

    Since masses sum to 1, only differences of the slopes matter; for a multinomial sample this is exact. To a
    function that log Z is added to, `log_evidence_se` (nats) adds, negative if log Z is subtracted; where masses and
    log Z come from the same normalising constants, their covariance counts.
    """
    if masses.covariance is None:
        centred = slope - (masses.mass * slope).sum()
        left = np.maximum(1 - masses.mass, masses.se)
        return float(np.sqrt((centred**2 * masses.se**2 / left).sum() + log_evidence_se**2))
    both = 0.0 if masses.with_evidence is None else 2 * log_evidence_se * float(slope @ masses.with_evidence)
    return float(np.sqrt(max(float(slope @ masses.covariance @ slope) + both + log_evidence_se**2, 0.0)))


def log_mass_se(masses: Masses, log_evidence_se: float) -> Array:
    """Standard error (K + 1,) of log Z_k = log w_k + log Z, nats; infinite where there is no mass."""
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = masses.se / masses.mass
        both = 0.0 if masses.with_evidence is None else 2 * log_evidence_se * masses.with_evidence / masses.mass
        variance = relative**2 + both + log_evidence_se**2
    return np.sqrt(np.where(masses.mass > 0, np.maximum(variance, 0.0), np.inf))
