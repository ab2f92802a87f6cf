"""Masses of all modes and log Z: from log masses; if some are not known, from counting draws; else a guess."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.model.draws import PosteriorDraws
from pymc_kl.modes.masses import Masses, masses_from_log, unknown_masses
from pymc_kl.modes.modes import Modes
from pymc_kl.numerics.estimate import UNKNOWN, Estimate
from pymc_kl.reference.bridge_sampling import NOT_MIXED
from pymc_kl.reference.evidence import Evidence
from pymc_kl.reference.mode_state import ModeState
from pymc_kl.reference.posterior import count_masses

MAX_REASONS = 3  # modes without a mass that one line names; each mode keeps its own reason; our choice


def relative_masses(
    states: Sequence[ModeState], modes: Modes, given: PosteriorDraws | None, given_mode: IntArray | None
) -> tuple[Masses, Estimate]:
    """Compute the masses of all modes relative to each other, and log Z.

    Parameters
    ----------
    states : sequence of ModeState
    modes : Modes
    given : PosteriorDraws or None
    given_mode : array (n,) of int or None
        Mode of each of the user's draws.
    """
    n_draws = np.array([*(len(state.draws) for state in states), 0])
    if all(state.known for state in states):
        return masses_from_log([state.log_mass.estimate for state in states], n_draws)
    if modes.k == 1:
        return _mass_of_all(states[0], modes, n_draws), UNKNOWN
    if given is not None and given_mode is not None:
        counted = count_masses(given, given_mode, modes)
        if counted.known:
            return counted, _evidence_from_one(states, counted)
    return _guess(states, modes.log_mass_laplace, n_draws), UNKNOWN


def _mass_of_all(state: ModeState, modes: Modes, n_draws: IntArray) -> Masses:
    """Give the only mode all the mass, unless it is a region in which chains disagree or could not be searched."""
    alone = masses_from_log([Estimate(0.0, 0.0)], n_draws)[0]
    known = modes.proper or not (modes.reason or state.log_mass.reason.startswith(NOT_MIXED))
    return replace(alone, known=known)


def _evidence_from_one(states: Sequence[ModeState], counted: Masses) -> Estimate:
    """Estimate log Z from the heaviest mode whose log mass is known, and its share of the draws."""
    known = np.array([state.known for state in states])
    if not known.any():
        return UNKNOWN
    j = int(np.where(known, counted.mass[:-1], -1.0).argmax())
    value, se = states[j].log_mass.estimate
    relative = counted.se[j] / counted.mass[j]
    return Estimate(float(value - np.log(counted.mass[j])), float(np.hypot(se, relative)))


def _guess(states: Sequence[ModeState], laplace: Array, n_draws: IntArray) -> Masses:
    """State unknown masses by the log masses that are known, and Laplace's approximation for the others."""
    values = np.array([state.log_mass.estimate.value if state.known else np.nan for state in states])
    guess = np.where(np.isnan(values), laplace, values)
    guess = np.exp(guess - np.nanmax(guess))
    return unknown_masses(guess / guess.sum(), n_draws, "")


def evidence_of(log_z: Estimate, reason: str) -> Evidence:
    """Return log Z with how it was found, or why it was not."""
    return Evidence(log_z, "bridge sampling", "" if np.isfinite(log_z.value) else reason)


def why_unknown(states: Sequence[ModeState]) -> str:
    """Say which modes (numbered from 1, in this order) have no log mass, and why."""
    reasons = [f"mode {i}: {state.log_mass.reason}" for i, state in enumerate(states, 1) if not state.known]
    return "; ".join(reasons[:MAX_REASONS]) + ("; …" if len(reasons) > MAX_REASONS else "")
