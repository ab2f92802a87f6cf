"""Which modes are sampled next, which are given up, and when to stop.

Pure functions of the state of each mode and of the log masses by Laplace's approximation (K,), in nats. The latter are
None where the posterior is one region without a proper maximum.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import logsumexp

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.modes.masses import masses_from_log
from pymc_kl.numerics.whitening import WIDE
from pymc_kl.reference.bridge_sampling import MAX_DIVERGING
from pymc_kl.reference.evidence import LogMass
from pymc_kl.reference.local_draws import LOCAL_RHAT, LocalDraws
from pymc_kl.reference.mode_state import ModeState

MINOR = 6.0  # nats below the mass of all modes (0.25 % of it), from which no chain is started in a mode; our choice
SMALL = 3.9  # nats below the mass of all modes (2 % of it), from which a doubtful estimate will do; our choice
MIN_SHARE_INSIDE = 0.25  # share of the draws of a mode's chains inside it; with less a second try is no use; our choice
MAX_TRIES = 2  # most times that chains are started in a mode whose mass they fail to give; our choice
MAX_ROUNDS = 3  # rounds of sampling, each of twice as many draws as the last; our choice
MOST_MORE = 4  # times as many draws as were asked for that a round makes for the sake of dimensions; our choice
MASS_SE = 0.008  # largest standard error of a mass from which no more draws are made; our choice
LOG_MASS_SE = 4 * MASS_SE  # nats: the same of the log mass, where there is only one mode
MOST_OF_ERROR = 0.3  # share of the largest part of the masses' error; a mode above it is sampled again; our choice
ENOUGH_ESS = 400.0  # least effective number of given draws that represent a mode; Vehtari et al. 2021
LEAST_GIVEN = 100  # draws given in a mode; with fewer they never stand against chains made here; our choice
MIXED_ESS = 50.0  # effective draws of a mode's chains, with fewer of which another sampler is tried; our choice
LEAST_OF_NUTS = 100.0  # effective draws of NUTS, with fewer of which it is not tried again; our choice
HOPELESS_RHAT = 1.3  # R-hat over quarters of the draws above which NUTS is not asked, which mixes no better; our choice
ENOUGH_RHAT = 1.05  # largest R-hat, over quarters, of given draws that represent a mode; our choice


def suffice(given: LocalDraws) -> bool:
    """Tell whether the user's draws of a mode are enough to represent it."""
    return len(given) >= ENOUGH_ESS and given.ess >= ENOUGH_ESS and given.rhat <= ENOUGH_RHAT


def given_stand(given: LocalDraws, made: LocalDraws) -> bool:
    """Tell whether the user's draws of a mode stand for it, because those made here are worse.

    They do where chains made here diverge or disagree, by themselves or with the given ones, and the given ones agree,
    or disagree less; chains that crawl agree about nothing.
    """
    if given.source != "given" or len(given) < LEAST_GIVEN or _agree(made):
        return False
    return given.rhat <= LOCAL_RHAT or made.crawl or given.rhat < made.rhat


def can_go_on_from(draws: LocalDraws, checked: bool) -> bool:
    """Tell whether chains may start from draws of a mode, made here or checked, instead of from its maximum."""
    return (checked or draws.made_here) and draws.rhat <= ENOUGH_RHAT and draws.ess >= LEAST_GIVEN and _agree(draws)


def mixed(made: LocalDraws) -> bool:
    """Tell whether chains have mixed within a mode, or no other sampler would: they left it, or are far from that."""
    if not len(made) or made.crawl or made.rhat > HOPELESS_RHAT:
        return True
    return _agree(made) and made.ess >= min(MIXED_ESS, len(made) / 4)


def _agree(made: LocalDraws) -> bool:
    """Tell whether chains agree, and seldom diverge."""
    return not made.crawl and made.rhat <= LOCAL_RHAT and seldom_diverge(made)


def agree_less(made: LocalDraws, before: LocalDraws) -> bool:
    """Tell whether chains disagree, and more than those before them."""
    return not _agree(made) and (not len(made) or made.rhat > before.rhat)


def seldom_diverge(made: LocalDraws) -> bool:
    """Tell whether the chains of draws diverge so seldom that they may have seen the whole mode."""
    return made.n_diverging <= MAX_DIVERGING * (len(made) + made.n_left)


def worth_chains(laplace: Array | None, k: int) -> BoolArray:
    """Tell in which of K modes chains are started at all: those that may hold enough mass."""
    return np.ones(k, dtype=bool) if laplace is None else ~_lower_than(laplace, MINOR)


def draws_wanted(turn: int, draws: int, chains: int, d: int) -> int:
    """Return how many draws a chain makes in a round, counted from 0.

    A Gaussian fitted to n of a normal's draws in d dimensions is d (d + 3) / 4 n nats from it on average. With so many
    that a half of them leaves 0.67 nats, bridges have overlap. In wide spaces proposals have fewer parameters.
    """
    enough = 0.75 * d * (d + 3) if d <= WIDE else 0.0
    return max(draws * 2**turn, min(-(-int(enough) // chains), MOST_MORE * draws))


def next_modes(states: Sequence[ModeState], laplace: Array | None, turn: int) -> IntArray:
    """List the modes to sample in a round: those without a mass, then those whose errors are the largest."""
    if laplace is None:  # one region: chains from dispersed starts must agree, even if draws were given
        return np.flatnonzero([state.tries == 0 for state in states])
    worth = worth_chains(laplace, len(states))
    if turn == 0 or not all(state.known for state in states):
        return np.flatnonzero(worth & np.array([not s.known and _may_try(s) for s in states]))
    if len(states) == 1:
        wide = states[0].draws.x.shape[1] > WIDE  # a round is long there, and shifts no mass
        return np.flatnonzero([states[0].log_mass.estimate.se > LOG_MASS_SE and not wide])
    return np.flatnonzero(worth & _least_certain(states))


def _least_certain(states: Sequence[ModeState]) -> BoolArray:
    """Tell which modes contribute most to the errors of the masses; none where all are small enough."""
    k = len(states)
    masses, _ = masses_from_log([state.log_mass.estimate for state in states], np.ones(k + 1, dtype=int))
    if masses.se[:k].max() <= MASS_SE:
        return np.zeros(k, dtype=bool)
    part = masses.mass[:k] * np.array([state.log_mass.estimate.se for state in states])
    return np.asarray(part > MOST_OF_ERROR * part.max())


def given_up(states: Sequence[ModeState], laplace: Array | None) -> IntArray:
    """List the modes without a mass in which no more chains are started.

    Chains were tried there as often as allowed, or once if they left the mode, can't cross it or its mass is small; or
    the mass is too small for any chain.
    """
    if laplace is None:
        return np.empty(0, dtype=int)
    tries = np.array([state.tries for state in states])
    over = np.array([not _may_try(state) for state in states])
    hopeless = np.array([state.draws.inside < MIN_SHARE_INSIDE for state in states]) | _lower_than(laplace, SMALL)
    done = ~worth_chains(laplace, len(states)) | over | ((tries == 1) & hopeless)
    return np.flatnonzero(done & np.array([not state.known for state in states]))


def _may_try(state: ModeState) -> bool:
    """Tell whether chains may be started in a mode once more: not where they can't cross it or NUTS does not mix."""
    if not state.tries:
        return True
    draws = state.draws
    slow = draws.source == "NUTS" and draws.ess < min(LEAST_OF_NUTS, len(draws) / 10)
    hopeless = draws.crawl or draws.bent or slow or (len(draws) >= LEAST_GIVEN and not mixed(draws))
    return state.tries < MAX_TRIES and not hopeless


def good_enough(found: LogMass, states: Sequence[ModeState], laplace: Array) -> bool:
    """Tell whether an estimate made without chains is taken: a doubtful one only of a mode too small to matter.

    A mode is that small if even its upper bound is far below the masses that are known.
    """
    if not found.reason:
        return True
    known = [state.log_mass.estimate.value for state in states if state.known]
    together = logsumexp(known) if known else laplace.max()
    return bool(found.estimate.value + 2 * found.estimate.se < together - SMALL)


def _lower_than(laplace: Array, depth: float) -> BoolArray:
    return np.asarray(laplace < logsumexp(laplace) - depth)
