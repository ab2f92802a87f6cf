"""Modes, and copies of modes, that an approximation hardly reaches."""

import warnings

import numpy as np
from scipy.special import softmax

from pymc_kl._typing import IntArray
from pymc_kl.modes.assign import MAX_COPY_LABELS
from pymc_kl.modes.draws import ModeDraws
from pymc_kl.modes.modes import Modes
from pymc_kl.scores.coverage import MISSED_BELOW
from pymc_kl.scores.missed_modes import LEAST_MASS


def warn_of_missed_modes(draws: ModeDraws, modes: Modes, consequence: str, *, stacklevel: int) -> None:
    """Warn of modes that are hardly among draws of q; see :func:`missed_modes`."""
    if missed := missed_modes(modes, draws.mode):
        warnings.warn(
            f"{missed}: {consequence} Use a fit that covers every mode, such as the forward mixture of fit_forward().",
            stacklevel=stacklevel + 1,
        )


def missed_modes(modes: Modes, mode: IntArray) -> str:
    """Name the modes that hold a hundredth or more, by Laplace's approximation, and few draws of q of modes (n,).

    Empty where there are none.
    """
    mass = softmax(modes.log_mass_laplace) if modes.proper else np.ones(1)
    held = np.bincount(mode[mode >= 0], minlength=modes.k) / len(mode)
    lost = np.flatnonzero((mass > LEAST_MASS) & (held < MISSED_BELOW * mass))
    if not len(lost):
        return ""
    names = ", ".join(str(k + 1) for k in lost)
    return (
        f"the approximation misses mode {names} of {modes.k}, which hold{'s' if len(lost) == 1 else ''} about "
        f"{100 * mass[lost].sum():.0f} % of the posterior by Laplace's approximation"
    )


def warn_of_missed_copies(draws: ModeDraws, modes: Modes, *, stacklevel: int) -> None:
    """Warn where draws reach fewer copies of a mode than the symmetries of p̃ make."""
    for k in range(modes.k if modes.proper else 0):
        reached, copies = len(np.unique(draws.copy[draws.mode == k])), int(modes.copies[k])
        if 0 < reached < min(copies, MAX_COPY_LABELS):
            warnings.warn(
                f"the approximation reaches {reached} of the {copies} copies that {', '.join(modes.symmetries)} make "
                f"of mode {k + 1}, and chains will hardly leave {'it' if reached == 1 else 'them'}. Read the draws up "
                "to that symmetry, or jump by a fit to draws of every copy.",
                stacklevel=stacklevel + 1,
            )
            return
