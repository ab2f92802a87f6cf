"""Whether a number is at most its limit: yes, no or cannot tell, by its 95 % interval."""

from typing import Literal

from pymc_kl.numerics.estimate import Estimate

type Answer = Literal["yes", "no", "cannot tell"]

CANNOT_TELL: Answer = "cannot tell"
ERRORS = 2.0  # standard errors to either end of an interval by which is judged


def at_most(estimate: Estimate, limit: float) -> Answer:
    """Tell if an estimate is at most `limit`; an infinite value is what it is, whatever its error."""
    value, se = estimate
    reach = ERRORS * se if abs(value) < float("inf") else 0.0
    if value + reach <= limit:
        return "yes"
    return "no" if value - reach > limit else CANNOT_TELL
