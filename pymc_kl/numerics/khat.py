"""Thresholds of Pareto k-hat, the shape of a generalized Pareto distribution fitted to the tail of importance ratios.

Vehtari et al. (2024), https://jmlr.org/papers/v25/19-556.html. k-hat has no unit, and is itself good to 0.1 or 0.2.
"""

KHAT_RELIABLE = 0.7  # bounds k-hat from above: the mean of the ratios is reliable at feasible numbers of draws
KHAT_FINITE_VARIANCE = 0.5  # bounds k-hat from above: the ratios have a finite variance
