"""Successive halving [1]_ of many starts: all climb the ELBO on few points, those near the best on more and more.

Each level keeps the fits within a margin of the best ELBO, not a fixed half, and merges fits that have become the same.
This module is the policy; :mod:`pymc_kl.fitting.climbers` has the mechanics: how fits climb, merge and are given up.

References
----------
.. [1] Jamieson, K. and Talwalkar, A. (2016). Non-stochastic best arm identification and hyperparameter optimization.
   AISTATS, PMLR 51, 240-248. https://proceedings.mlr.press/v51/jamieson16.html
"""

from collections.abc import Sequence

import numpy as np

from pymc_kl._typing import IntArray
from pymc_kl.fitting.climbers import Ascent, Climbers, Level
from pymc_kl.fitting.gaussian_elbo import Gaussian
from pymc_kl.fitting.maximise import COARSE_POINTS, FIT_DRAWS

LEVEL_STEPS = 15  # most steps of a level, after which all fits are whitened anew; our choice
LEVELS = (
    Level(32, 0.1, np.inf, LEVEL_STEPS),
    Level(32, 0.1, 20.0, LEVEL_STEPS),
    Level(64, 0.01, 10.0, LEVEL_STEPS),
    Level(128, 0.01, 7.0, LEVEL_STEPS),
    Level(256, 1e-3, 5.5, LEVEL_STEPS),
)
LAST_LEVEL = Level(FIT_DRAWS, 1e-4, LEVELS[-1].within, n_steps=40, coarse=False)
LAST_ROUNDS = 10  # most times that the last level is repeated until all fits that are followed converge; our choice
FAR_BELOW = 20.0  # nats below the best ELBO: fits further down repeat the first level if they still rise; our choice
LEAST_RISE = 5.0  # nats that such a fit must gain in a round to go on; our choice
CHASES = 8  # most of these rounds; our choice
CHASE_COST = 32  # most evaluations of log p̃ in these rounds, as a multiple of `at_most`; our choice
NEARLY_SAME = 0.1  # nats of KL below which two fits that have not converged count as one optimum; our choice
SAME = 0.01  # nats of KL below which two fits at their optimum count as one; our choice
FINE_MOST = 4  # most optima that are maximised on many points; our choice
FINE_WITHIN = 4.6  # nats below the best ELBO: optima further down have under 1 % of its weight in a mixture; our choice


def settle(ascent: Ascent, starts: Sequence[Gaussian], at_most: int) -> Climbers:
    """Maximise the ELBO from all starts on few points, from the better ones on more, and the best to convergence.

    The best fit is maximised on `at_most` points, others with a weight in a mixture on a quarter of them.
    """
    first, *others = LEVELS
    climbers = _run_level(ascent, Climbers.begin(starts), first)
    climbers = _let_catch_up(ascent, climbers, CHASE_COST * at_most)
    for level in others:
        climbers = _run_level(ascent, climbers, level)
    for _ in range(LAST_ROUNDS):
        climbers = _run_level(ascent, climbers, LAST_LEVEL)
        if all(climber.converged for climber in climbers.followed):
            break
    return _finish(ascent, climbers, at_most)


def _run_level(ascent: Ascent, climbers: Climbers, level: Level, rows: IntArray | None = None) -> Climbers:
    """Climb with all followed climbers, or with `rows` of them; merge equal ones and drop those far behind."""
    rows = np.arange(climbers.n_followed) if rows is None else rows
    climbers = ascent.climb(climbers, level, rows).ranked()
    return climbers.merged(ascent.maps, NEARLY_SAME).narrowed(level.within)


def _let_catch_up(ascent: Ascent, climbers: Climbers, budget: int) -> Climbers:
    """Repeat the first level for fits far below the best that still gain, within `budget` evaluations of log p̃."""
    level = LEVELS[0]
    n_draws = int(max(level.n_draws, COARSE_POINTS * climbers.climbers[0].fit.d))
    for _ in range(CHASES):
        behind = climbers.behind(FAR_BELOW, LEAST_RISE)
        budget -= len(behind) * n_draws * level.n_steps
        if not len(behind) or budget < 0:
            break
        climbers = _run_level(ascent, climbers, level, behind)
    return climbers


def _finish(ascent: Ascent, climbers: Climbers, at_most: int) -> Climbers:
    """Maximise the best fit on `at_most` points and others near it on fewer, then merge those that are the same."""
    n = min(FINE_MOST, climbers.n_within(FINE_WITHIN))
    climbers = ascent.maximise(climbers, np.arange(1), at_most)
    climbers = ascent.maximise(climbers, np.arange(1, n), at_most // 4)
    return climbers.merged(ascent.maps, SAME)
