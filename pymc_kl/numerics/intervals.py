"""95 % intervals of probabilities, which are not normal near 0 and 1 or where counts are small."""

import numpy as np
from scipy.stats import beta

from pymc_kl._typing import Array
from pymc_kl.numerics.estimate import Estimate

TAIL = 0.025  # probability beyond either end of a 95 % interval
EXACT = 5e-7  # standard error below which a number counts as exact: it is that of rounding
RULE_OF_THREE = 3  # divided by n: 95 % bound of a mass in which none of n draws fell; Hanley and Lippman-Hand 1983


def binomial_interval(mass: Array, n: Array) -> tuple[Array, Array]:
    """Return the ends of Clopper's and Pearson's 95 % interval of a mass that is counted among n draws; [0, 1] of none.

    (1934, doi:10.1093/biomet/26.4.404.)
    """
    inside, outside = mass * n, (1 - mass) * n
    with np.errstate(invalid="ignore"):
        low, high = beta.ppf(TAIL, inside, outside + 1), beta.ppf(1 - TAIL, inside + 1, outside)
    return np.where(inside > 0, np.nan_to_num(low), 0.0), np.where(outside > 0, np.nan_to_num(high, nan=1.0), 1.0)


def share_interval(share: Estimate) -> tuple[float, float]:
    """Return the ends of a 95 % interval of a probability, as of the count that has its standard error.

    NaN where it is 0 or 1, since its error does not say how many draws there were, or where the error is not known.
    """
    value, se = share
    if not (0 < value < 1 and EXACT < se < np.inf):
        return float("nan"), float("nan")
    low, high = binomial_interval(np.array(value), np.array(value * (1 - value) / se**2))
    return float(low), float(high)
