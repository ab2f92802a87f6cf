"""The missed-mode alarm: the mass of the modes that draws or an approximation missed, and whether it is significant.

k-hat, the effective sample size and the ELBO come from q's own draws, and R-hat from the chains': none of them
can see a mode that was never visited. This alarm compares with modes that a search found, so it is blind only
to a mode that no chain, start or fit reached.
"""

from dataclasses import dataclass

import numpy as np

from pymc_kl._typing import BoolArray
from pymc_kl.modes.masses import Masses
from pymc_kl.numerics.estimate import Estimate

LEAST_MASS = 0.01  # mass of missed modes above which the alarm sounds; our choice


@dataclass(frozen=True)
class Missed:
    """Mass of the modes that were missed, and whether the alarm sounds."""

    mass: Estimate
    sounds: bool


def missed(masses: Masses, gone: BoolArray) -> Missed:
    """Weigh the modes (K,) that were missed.

    The alarm sounds where they hold more than a hundredth of the mass by two standard errors, or where their
    masses are not known and may be that large.
    """
    gone = np.append(gone, False)
    if not gone.any():
        return Missed(Estimate(0.0, 0.0), False)
    mass = float(masses.mass[gone].sum())
    if masses.covariance is not None:
        se = float(np.sqrt(max(masses.covariance[np.ix_(gone, gone)].sum(), 0.0)))
    else:
        se = float(np.linalg.norm(masses.se[gone]))
    sounds = mass - 2 * se > LEAST_MASS or (not masses.known and float(masses.upper[gone].max()) > LEAST_MASS)
    return Missed(Estimate(mass, se), bool(sounds))
