"""Which maximum points belong to without a climb from each: by the regions that a sample of them fills.

Climbs are long in many dimensions, and most points lie where many others do that have been climbed from.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.modes.numbering import ELSEWHERE

SAMPLE = 384  # points that are climbed from first, of many; our choice
CLIMBED_ALL = 20  # dimensions up to which all points are climbed from: climbs are short there; our choice
ENOUGH_FOR_SHAPE = 3  # sample points a dimension from which a region has a covariance, and not sds alone; our choice
LEAST_IN_REGION = 30  # sample points of a maximum whose points are told so; our choice
CLEAR_OF = 2.0  # squared distance from a region's centre, over that of its surface, that is clear of it; our choice


@dataclass(frozen=True, eq=False)
class Region:
    """What sample points of one maximum fill: an ellipsoid about their mean, and a range of log p̃.

    Attributes
    ----------
    centre : array (d,)
    scale : array (d, d)
        Lower Cholesky factor of their covariance.
    farthest : float
        Squared distance within which each of them is of the others, in their standard deviations.
    lowest, highest : float
        Of log p̃ at them, nats.
    """

    centre: Array
    scale: Array
    farthest: float
    lowest: float
    highest: float

    @classmethod
    def around(cls, x: Array, log_density: Array) -> "Region":
        """Return the region of points (n, d), of which each counts as if the others alone had told the region."""
        n, d = x.shape
        away = x - x.mean(axis=0)
        covariance = away.T @ away / (n - 1)
        if n < ENOUGH_FOR_SHAPE * d:
            covariance = np.diag(np.diag(covariance))
        scale = np.linalg.cholesky(covariance)
        share = _squared(away, scale) / (n - 1)
        left_out = share * (n - 2) * (n / (n - 1)) ** 2 / np.maximum(1 - share * n / (n - 1), 1e-9)
        farthest = left_out if n >= ENOUGH_FOR_SHAPE * d else share * (n - 1)
        return cls(x.mean(axis=0), scale, float(farthest.max()), float(log_density.min()), float(log_density.max()))

    def holds(self, x: Array, log_density: Array) -> BoolArray:
        """Tell which points (n, d) lie in the ellipsoid and have a log p̃ (n,) in the range."""
        in_range = (log_density >= self.lowest) & (log_density <= self.highest)
        return np.asarray(in_range & (self.apart(x) <= 1))

    def apart(self, x: Array) -> Array:
        """Squared distances (n,) of points (n, d) from the centre, over that of the ellipsoid's surface."""
        return _squared(x - self.centre, self.scale) / self.farthest


def _squared(away: Array, scale: Array) -> Array:
    """Squared distances (n,) of differences (n, d), in standard deviations."""
    return np.asarray((solve_triangular(scale, away.T, lower=True) ** 2).sum(axis=0))


def maximum_by_sample(x: Array, log_density: Array, rows: IntArray, maximum: IntArray) -> IntArray:
    """Maximum of each point (n, d) by a sample of them; -1 where only a climb can tell.

    Parameters
    ----------
    x : array (n, d)
        Unconstrained space.
    log_density : array (n,)
        log p̃ there, nats.
    rows : array (m,) of int
        Which of the points are the sample.
    maximum : array (m,) of int
        The maximum that each of these climbs to.

    Returns
    -------
    array (n,) of int
        A point is of a maximum without a climb where it lies in the region of that one's sample points, and clear of
        any other's. None is where a sample point climbs to no maximum, or those of one maximum fill no region.
    """
    owner = np.full(len(x), ELSEWHERE, dtype=np.int64)
    names, counts = np.unique(maximum, return_counts=True)
    if (maximum == ELSEWHERE).any() or counts.min() < LEAST_IN_REGION:
        return owner
    try:
        regions = [Region.around(x[rows[maximum == k]], log_density[rows[maximum == k]]) for k in names]
    except np.linalg.LinAlgError:  # repeated points, or some that do not move along a coordinate, fill no region
        return owner
    holding = np.array([region.holds(x, log_density) for region in regions])
    close = np.array([region.apart(x) < CLEAR_OF for region in regions])
    alone = holding.any(axis=0) & (close.sum(axis=0) == 1)
    owner[alone] = names[holding[:, alone].argmax(axis=0)]
    owner[rows] = maximum
    return owner
