"""Draws where nothing was weighed: while they are there, the masses of the modes are not known."""

from collections.abc import Sequence

import numpy as np

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.model.draws import PosteriorDraws
from pymc_kl.modes.masses import Masses, unknown_masses
from pymc_kl.modes.numbering import ELSEWHERE
from pymc_kl.numerics.estimate import effective_size
from pymc_kl.numerics.intervals import binomial_interval
from pymc_kl.reference.mode_state import ModeState

MOST_UNWEIGHED = 0.01  # weight of the draws outside all weighed modes that is left out of account; our choice


def why_unweighed(given: PosteriorDraws, mode: IntArray) -> str:
    """Say how many of the user's draws lie in no mode, and along what; empty where they are too few to matter.

    `mode` (n,) is that of each draw, -1 for elsewhere.
    """
    outside = mode == ELSEWHERE
    weights = np.full(len(mode), 1 / len(mode)) if given.flat_weights is None else given.flat_weights
    part = float(weights[outside].sum() / weights.sum())
    if part <= MOST_UNWEIGHED:
        return ""
    n = effective_size(outside.astype(float).reshape(given.log_density.shape))
    if given.flat_weights is not None:
        n = float(weights.sum() ** 2 / (weights**2).sum())
    return (
        f"{_with_interval(part, n)} of your draws lie in none of these modes{_along(given, outside)}: climbs from "
        "there reach no maximum that could be weighed, so that what that region holds is not known"
    )


def why_chains_leave(states: Sequence[ModeState], masses: Masses) -> str:
    """Say how much of the posterior chains find beside the modes; empty where that is too little to matter."""
    beside = float(masses.mass[:-1] @ [state.lost for state in states])
    part = beside / (1 + beside)
    if not part > MOST_UNWEIGHED:
        return ""
    sizes = np.array([max(np.nan_to_num(state.draws.ess), 1.0) for state in states])
    lost = np.array([state.lost for state in states])
    variance = float((masses.mass[:-1] ** 2 * lost / sizes).sum())  # of counts, Poisson
    return (
        f"{_with_interval(part, part / variance)} of the draws of chains started in these modes climb to no maximum "
        "that could be weighed, so that what the region beside them holds is not known"
    )


def _with_interval(part: float, n: float) -> str:
    """Write a share of n effective draws in per cent, with its 95 % interval."""
    low, high = binomial_interval(np.array(part), np.array(n))
    return f"{100 * part:.2g} % ({100 * low:.2g} to {100 * high:.2g} %)"


def _along(given: PosteriorDraws, outside: BoolArray) -> str:
    """Name the coordinate along which draws outside all modes are furthest from the others; empty if all are."""
    if outside.all():
        return ""
    x = given.flat
    away = np.abs(np.median(x[outside], axis=0) - np.median(x[~outside], axis=0)) / _spread(x)
    return f", most of them apart along `{given.target.shown_labels[int(away.argmax())]}`"


def _spread(x: Array) -> Array:
    spread = x.std(axis=0)
    return np.where(spread > 0, spread, 1.0)


def unknown(masses: Masses, reason: str) -> Masses:
    """Take masses as guesses that nothing bounds, and say why."""
    return unknown_masses(masses.mass[:-1] / masses.mass[:-1].sum(), masses.n_draws, reason)
