"""Thresholds of Pareto k-hat, the shape of a generalized Pareto distribution fitted to the tail of importance ratios.

Vehtari et al. (2024), https://jmlr.org/papers/v25/19-556.html. k-hat has no unit, and is itself good to 0.1 or 0.2.
"""

KHAT_RELIABLE = 0.7  # largest k-hat at which a feasible number of draws gives a reliable mean of the ratios
KHAT_FINITE_VARIANCE = 0.5  # largest k-hat at which the ratios have a finite variance
