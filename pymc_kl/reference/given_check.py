"""Whether the user's draws of a mode are draws of this posterior, checked before they are believed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.reference.local_draws import LocalDraws
from pymc_kl.reference.mode_density import ModeDensity
from pymc_kl.scores.stein import DrawsTest, check_draws

MOST_CHECKED = 4000  # draws of a mode that are checked, evenly spread; bounds gradients evaluated; our choice
LEAST_ESS = 100.0  # effective draws of a mode; with fewer their number itself is too uncertain to refuse; our choice
MAX_RHAT = 1.05  # R-hat over quarters of the draws; above it no error of a mean can be trusted; Vehtari et al. 2021
MAX_NAMED = 3  # modes that the sentence on refused draws names; our choice


@dataclass(frozen=True)
class GivenCheck:
    """The check of the user's draws of one mode, and the coordinates that contradict them most, by name."""

    test: DrawsTest
    coordinates: Sequence[str]

    @property
    def refused(self) -> bool:
        """Whether the draws are none of this posterior."""
        return self.test.refused

    @property
    def phrase(self) -> str:
        """Say by how much the draws are off; empty where they are not."""
        if not self.refused:
            return ""
        spread, shift = self.test.spread, self.test.shift
        along = " and ".join(f"`{name}`" for name in self.coordinates) + " together" * (len(self.coordinates) > 1)
        if spread == 0:
            return f"along {along} they are all the same"
        if not np.isfinite(spread):
            return f"along {along} they lie where its slope points away from them"
        if self.test.is_width:
            verb = "allows" if spread > 1 else "asks for"
            return f"their spread along {along} is {spread:#.2g} times what its slope {verb}"
        side = "above" if shift > 0 else "below"
        return f"along {along} they lie {abs(shift):.2g} sd {side} where its slope puts them"


def check_given(mode: ModeDensity, draws: LocalDraws, n_modes: int) -> GivenCheck | None:
    """Check the user's draws of one of so many modes; None where they are too few or have not mixed.

    Draws that do not change at all along some coordinate are refused as well.
    """
    constant = np.flatnonzero(np.ptp(draws.x, axis=0) == 0) if len(draws) >= LEAST_ESS else np.empty(0, dtype=int)
    if len(constant):
        test = DrawsTest(np.nan, [int(constant[0])], spread=0.0, shift=0.0, is_width=True, refused=True)
        return GivenCheck(test, [mode.target.shown_labels[i] for i in test.coordinates])
    if len(draws) < LEAST_ESS or not (draws.ess >= LEAST_ESS and draws.rhat <= MAX_RHAT):
        return None
    n = len(draws)
    drawn = draws.take(np.linspace(0, n - 1, min(n, MOST_CHECKED)).round().astype(int))
    gradient = mode.target.log_density_and_grad(drawn.x)[1]

    def log_density(x: Array) -> Array:
        there, inside = mode.evaluate(x)
        return np.where(inside, there.log_density_of_copies, -np.inf)

    test = check_draws(drawn.x, drawn.log_density_of_copies, gradient, log_density, n_sets=n_modes)
    return GivenCheck(test, [mode.target.shown_labels[i] for i in test.coordinates])


def not_of_this_posterior(phrases: Mapping[int, str]) -> str:
    """Say that the user's draws are none of this posterior, from what is off in each mode, numbered from 1."""
    off = [f"in mode {number} {phrase}" for number, phrase in phrases.items()]
    named = "; ".join(off[:MAX_NAMED]) + (f"; and in {len(off) - MAX_NAMED} more" if len(off) > MAX_NAMED else "")
    return (
        f"your draws are not draws of this posterior ({named}): another model, data or transform, or chains that have "
        "not converged"
    )
