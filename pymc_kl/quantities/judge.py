"""Does a source change the conclusion on a quantity? yes, no or cannot tell, by the interval of the estimate.

The 90 % interval of a quantity excludes 0 where the probability of a positive value is at least 95 %, or at most 5 %:
that one probability, and its 95 % interval, decides.
"""

from typing import Literal

from pymc_kl.numerics.estimate import Estimate
from pymc_kl.numerics.judgement import CANNOT_TELL, Answer, at_most
from pymc_kl.scores.marginals import INTERVAL_TAIL

MEAN_MOVED = 0.25  # reference sd: a difference of means from which on the conclusion is another; our choice

type Zero = Literal["below the interval", "in the interval", "above the interval", "cannot tell"]

BELOW: Zero = "below the interval"
INSIDE: Zero = "in the interval"
ABOVE: Zero = "above the interval"


def zero_is(lower: float, upper: float) -> Zero:
    """Say where 0 lies of the central 90 % interval, given the 95 % interval of P(quantity > 0)."""
    possible = _possible(lower, upper)
    return possible.pop() if len(possible) == 1 else "cannot tell"


def changes_of_interval(reference: tuple[float, float], other: tuple[float, float]) -> Answer:
    """Tell if 0 lies elsewhere of one 90 % interval than of the other, given the 95 % interval of each P(> 0)."""
    p, q = _possible(*reference), _possible(*other)
    if not p & q:
        return "yes"
    return "no" if p == q and len(p) == 1 else CANNOT_TELL


def changes_of_mean(off: Estimate) -> Answer:
    """Tell if two means, `off` reference standard deviations apart, differ by more than a quarter of one."""
    opposite: dict[Answer, Answer] = {"yes": "no", "no": "yes"}
    return opposite.get(at_most(Estimate(abs(off.value), off.se), MEAN_MOVED), CANNOT_TELL)


def either(*answers: Answer) -> Answer:
    """Answer yes if any does, and no if all do."""
    if "yes" in answers:
        return "yes"
    return "no" if set(answers) == {"no"} else CANNOT_TELL


def _possible(lower: float, upper: float) -> set[Zero]:
    """Name the places of 0 that a 95 % interval of P(quantity > 0) leaves open."""
    found: set[Zero] = set()
    if upper >= 1 - INTERVAL_TAIL:
        found.add(BELOW)
    if lower < 1 - INTERVAL_TAIL and upper > INTERVAL_TAIL:
        found.add(INSIDE)
    if lower <= INTERVAL_TAIL:
        found.add(ABOVE)
    return found
