"""What a budget allows of the work on fits, once the posterior is sampled, by what a point of the density costs."""

import warnings
from dataclasses import dataclass

from pymc_kl.arguments import OURS
from pymc_kl.model.cost import seconds_a_point
from pymc_kl.model.target import Target
from pymc_kl.progress import NEVER, SILENT, Alarm

POINTS_A_DRAW = 20  # points at which log p̃ is evaluated for a scored draw, climbed from twice; read off the code
POINTS_OF_CHECK = 20_000  # points that a check of convergence takes, 8,000 of them for the gap alone; read off the code
FEWEST_SCORED = 200  # draws of each fit that are scored, however long that takes, and others by the lot; our choice
SHORT = 10.0  # seconds that checks or scores may take whatever the budget is; our choice


@dataclass(frozen=True)
class Allowance:
    """A budget in seconds, None for as long as it takes, and the seconds that a point takes."""

    budget: float | None
    seconds: float

    @classmethod
    def of(cls, budget: float | None, target: Target) -> "Allowance":
        """Time a density if there is a budget."""
        return cls(budget, 0.0 if budget is None else seconds_a_point(target))

    @property
    def worth(self) -> float:
        """Seconds that checks, and that scores, may take."""
        return NEVER if self.budget is None else max(self.budget, SHORT)

    def draws(self, wanted: int, n_fits: int) -> int:
        """Return how many draws of each fit are scored, so that all together take no longer than they may; tell."""
        lot = FEWEST_SCORED * n_fits * POINTS_A_DRAW * self.seconds
        if wanted * lot <= FEWEST_SCORED * self.worth:
            return wanted
        n = min(wanted, FEWEST_SCORED * max(int(self.worth / lot), 1))
        if n < wanted:
            warnings.warn(
                f"log p̃ and its gradient take {1e3 * self.seconds:.2g} ms a point, so that {n:,} draws of each fit are "
                f"scored, not {wanted:,}: a budget of {self.budget:g} s is worth no more. Give it a longer one.",
                UserWarning,
                skip_file_prefixes=OURS,
            )
        return n

    def alarm(self) -> Alarm:
        """Set an alarm for all checks of convergence together; one that is over where not one could be made."""
        if self.budget is None:
            return SILENT
        return Alarm.after(self.worth if POINTS_OF_CHECK * self.seconds <= self.worth else -1.0)

    @property
    def late(self) -> str:
        """Say why a check was not made."""
        return f"its turn did not come in {self.worth:g} s"
