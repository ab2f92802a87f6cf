"""The density of an approximation on the circle: of angles, the sum over all turns that are the same point."""

import numpy as np
from scipy.special import logsumexp

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations.base import Approximation
from pymc_kl.model.periodic import PERIOD, angles_of, shortest

TURN_DRAWS = 1000  # draws of q that tell how many turns it reaches; our choice
MAX_TURNS = 100  # combinations of turns that are summed over, those with most draws; bounds evaluations; our choice


def log_prob_on_circle(q: Approximation, x: Array) -> Array:
    """Evaluate log q (n,), in nats, at points x (n, d); where PyMC lets an angle go round, of the wrapped density.

    A fit on the line gives every turn of an angle a density of its own, though they are one point of the model.
    """
    angles = np.empty(0, dtype=np.int64) if q.target is None else angles_of(q.target)
    if not len(angles):
        return q.log_prob(x)
    draws = q.sample(TURN_DRAWS, random_seed=0)
    centre = np.median(draws, axis=0)
    near = centre + shortest(x - centre, angles)
    return np.asarray(logsumexp([q.log_prob(near + turn) for turn in _turns(draws - centre, angles)], axis=0))


def _turns(away: Array, angles: IntArray) -> Array:
    """Shifts (m, d) by whole turns that draws (n, d), less their centre, have reached, and one turn beyond."""
    turns = np.round((away - shortest(away, angles)) / PERIOD)
    reached, n_draws = np.unique(turns, axis=0, return_counts=True)
    reached = reached[np.argsort(-n_draws, kind="stable")[:MAX_TURNS]]
    one = np.eye(away.shape[1])[angles]
    beside = [reached, *(reached + step for step in np.concatenate([one, -one]))]
    return np.asarray(PERIOD * np.unique(np.concatenate(beside), axis=0))
