"""Draws of p and of q as the scores see them: log densities, region and weight of each."""

from dataclasses import dataclass

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.modes.masses import Masses
from pymc_kl.scores.divergences import ReferenceDraws


@dataclass(frozen=True, eq=False)
class ApproximationDraws:
    """Independent draws of q (n,): log p̃, log q (None without density), region (K for elsewhere), masses."""

    log_density: Array
    log_prob: Array | None
    mode: IntArray
    masses: Masses


def _region_means(values: Array, p: ReferenceDraws) -> Array:
    weights = np.ones_like(values) if p.weights is None else p.weights
    k = len(p.masses.mass)
    total = np.bincount(p.mode.ravel(), weights=weights.ravel(), minlength=k)
    summed = np.bincount(p.mode.ravel(), weights=(weights * values).ravel(), minlength=k)
    return np.asarray(np.where(total > 0, summed / np.where(total > 0, total, 1.0), np.nan))


def _shares_se(slope: Array, masses: Masses) -> float:
    """Standard error of a function of the masses whose partial derivatives are `slope` (K + 1,).

    Since masses sum to 1, only differences of the slopes matter; for a multinomial sample this is exact.
    """
    if masses.covariance is not None:
        return float(np.sqrt(max(float(slope @ masses.covariance @ slope), 0.0)))
    centred = slope - (masses.mass * slope).sum()
    left = np.maximum(1 - masses.mass, masses.se)
    return float(np.sqrt((centred**2 * masses.se**2 / left).sum()))
