"""Whether p has a power law's tail in -log q, told by both densities at draws of p and not by how many there are.

Under p, y = -log q has no finite variance where p falls as a low power of y, as Student's t beside a normal q does. An
exponential tail, the heaviest of log-concave ones and that of any positive variable's logarithm, falls as exp(-√y)
beside a normal q. Counts of draws tell the two apart from some thousands on, log p at each of them far sooner.
"""

from typing import NamedTuple

import numpy as np

from pymc_kl._typing import Array, IntArray

SHARE_OF_TAIL = 0.25  # of draws, those of largest y, by which the shape is told; our choice
SHARE_OF_INDEX = 0.1  # of draws, those of largest y, by which the law's index is told; our choice
ORIGINS = np.geomspace(0.02, 4.0, 24)  # what is added to y, in medians of y over the tail; our choice
PERFECT_FIT = 1e-9  # nats²: mean squared residual below which a shape fits exactly; our choice


class PowerLaw(NamedTuple):
    """Evidence (nats) that the tail of y is a power law's, above 0 in favour of it, and the index k that it has then.

    The evidence is a log likelihood ratio with residuals taken as independent and normal.
    """

    evidence: float
    k: float


NO_LAW = PowerLaw(0.0, 0.0)


def power_law(own: Array, foreign: Array, weights: Array | None = None, regions: IntArray | None = None) -> PowerLaw:
    """Compare log p = a - b log(y + c) with a - b √(y + c) over the tail of y.

    The index is Hill's about the origin -c of the law: exact where p falls as that power, whatever the threshold.

    Parameters
    ----------
    own, foreign : array
        log p and log q at draws of p, nats, each up to a constant in every region.
    weights : array like `own`, optional
    regions : array of int like `own`, optional
        From the top of log q in a region y is counted, and each has an intercept a of its own.
    """
    w = np.ones(own.shape) if weights is None else weights
    region = np.zeros(own.shape, dtype=np.int64) if regions is None else regions
    own, foreign, region, w = own[w > 0], foreign[w > 0], region[w > 0], w[w > 0]
    top = np.full(region.max() + 1, -np.inf)
    np.maximum.at(top, region, foreign)
    y = top[region] - foreign
    tail = y >= np.quantile(y, 1 - SHARE_OF_TAIL)
    if not (np.median(y[tail]) > 0 and np.ptp(own[tail]) > 0):
        return NO_LAW
    of_tail = own[tail], w[tail], region[tail]
    origins = np.median(y[tail]) * ORIGINS
    moved = y[tail] + origins[:, None]
    power, root = (_residuals(shapes, *of_tail) for shapes in (np.log(moved), np.sqrt(moved)))
    effective = w[tail].sum() ** 2 / (w[tail] ** 2).sum()
    evidence = 0.5 * effective * np.log(root.min() / power.min())
    return PowerLaw(float(evidence), _hill(y + origins[power.argmin()], w))


def _residuals(shapes: Array, own: Array, w: Array, region: IntArray) -> Array:
    """Return weighted mean squares (m,) of own (n,) less multiples of shapes (m, n), with an intercept a region."""
    for k in np.unique(region):
        rows = region == k
        own = np.where(rows, own - np.average(own[rows], weights=w[rows]), own)
        shapes = np.where(rows, shapes - np.average(shapes[:, rows], axis=1, weights=w[rows])[:, None], shapes)
    explained = (shapes @ (w * own)) ** 2 / np.maximum(shapes**2 @ w, PERFECT_FIT)
    return np.asarray(np.maximum(((w * own**2).sum() - explained) / w.sum(), PERFECT_FIT))


def _hill(x: Array, w: Array) -> float:
    """Return Hill's (1975) index of positive values (n,), doi:10.1214/aos/1176343247."""
    order = np.argsort(x)
    above = np.cumsum(w[order]) > (1 - SHARE_OF_INDEX) * w.sum()
    log_x = np.log(x[order])
    return float(np.average(log_x[above] - log_x[above][0], weights=w[order][above]))
