"""One mode as a density of its own: p̃ of all its copies on the first copy, and zero outside."""

from dataclasses import dataclass

import numpy as np

from pymc_kl._typing import Array, BoolArray
from pymc_kl.model.target import Target
from pymc_kl.modes.modes import Modes
from pymc_kl.reference.local_draws import LocalDraws
from pymc_kl.reference.proposals import NormalisedDensity


@dataclass(frozen=True, eq=False)
class ModeDensity:
    """The density of mode k: n_copies · p̃ on its first copy, zero outside.

    Its integral is that of p̃ over the mode with all its copies.
    """

    target: Target
    modes: Modes
    k: int

    @property
    def laplace(self) -> tuple[Array, Array] | None:
        """Location (d,) and covariance (d, d) of Laplace's approximation; None without a proper maximum."""
        return (self.modes.x[self.k], self.modes.covariances[self.k]) if self.modes.proper else None

    def evaluate(self, x: Array) -> tuple[LocalDraws, BoolArray]:
        """Return points (n, d) as draws of the mode, with log p̃, and tell which of them lie in its first copy."""
        log_density, canonical = self.target.log_density(x), self.modes.canonical(x)
        inside = (canonical.mode == self.k) & canonical.is_canonical & np.isfinite(log_density)
        return LocalDraws(x, log_density, canonical.maximum, canonical.n_copies, "importance"), inside

    def log_ratio(self, x: Array, q: NormalisedDensity, *, least: float = -np.inf) -> Array:
        """Evaluate the log density less that of q (n,), nats, at points x (n, d).

        It is -inf outside the first copy, and below `least`: whether such points lie inside is not asked, since climbs
        from far below a mode are the longest.
        """
        values, counted = np.full(len(x), -np.inf), np.arange(len(x))
        if least > -np.inf:
            highest = self.target.log_density(x) + np.log(self.modes.basins.n_copies.max(initial=1)) - q.log_prob(x)
            counted = np.flatnonzero(highest >= least)
        draws, inside = self.evaluate(x[counted])
        values[counted[inside]] = log_ratio(draws.take(inside), q)
        return values


def log_ratio(draws: LocalDraws, q: NormalisedDensity) -> Array:
    """Evaluate the mode's log density less that of q (n,), nats, at draws of the mode."""
    return np.asarray(draws.log_density_of_copies - q.log_prob(draws.x))
