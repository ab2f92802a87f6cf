"""Thresholds of Pareto k-hat, the shape of a generalized Pareto distribution fitted to the tail of importance ratios.

Vehtari et al. (2024), https://jmlr.org/papers/v25/19-556.html. k-hat has no unit, and is itself good to 0.1 or 0.2.
"""

import numpy as np

KHAT_RELIABLE = 0.7  # largest k-hat at which a feasible number of draws gives a reliable mean of the ratios
KHAT_FINITE_VARIANCE = 0.5  # largest k-hat at which the ratios have a finite variance


def khat_se(k: float, n: float) -> float:
    """Return the standard error of a k-hat of n ratios: (1 + k) / √m for the m largest, which it is fitted to.

    That of the maximum likelihood estimate (Smith 1987, doi:10.1214/aos/1176350499), for k above -0.5; NaN where k is
    not finite.
    """
    tail = np.ceil(min(0.2 * n, 3 * np.sqrt(n)))  # of PSIS; Vehtari et al. 2024
    return float((1 + max(k, -0.5)) / np.sqrt(tail)) if np.isfinite(k) else float("nan")
