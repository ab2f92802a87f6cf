"""Angles: coordinates along which a log density repeats itself without end, by PyMC's circular transform."""

import numpy as np
from pymc.distributions.transforms import CircularTransform

from pymc_kl._typing import Array, IntArray
from pymc_kl.model.target import Target

PERIOD = 2 * np.pi  # radians
CUT = -np.pi - 0.0123  # radians: where one turn begins; a little off the angles where modes tend to be; our choice


def angles_of(target: Target) -> IntArray:
    """Coordinates of the unconstrained space that are angles, ascending.

    PyMC's circular transform lets the unconstrained value go round and round, so that log p̃ has the period 2π there.
    """
    transforms = {rv.name: transform for rv, transform in target.model.rvs_to_transforms.items()}
    angles = [v.coordinates for v in target.variables if isinstance(transforms[v.name], CircularTransform)]
    return np.concatenate([np.empty(0, dtype=np.int64), *(np.arange(c.start, c.stop) for c in angles)])


def turns(x: Array, angles: IntArray) -> Array:
    """Count the whole turns (n, A) of the angles of points (n, d)."""
    return np.asarray(np.floor((x[:, angles] - CUT) / PERIOD))


def in_one_turn(x: Array, angles: IntArray) -> Array:
    """Bring the angles of points (n, d) to one turn."""
    y = np.array(x, dtype=float)
    y[:, angles] -= PERIOD * turns(y, angles)
    return y


def shortest(away: Array, angles: IntArray) -> Array:
    """Take differences (n, d) of points the shorter way round."""
    shorter = np.array(away, dtype=float)
    shorter[:, angles] -= PERIOD * np.round(shorter[:, angles] / PERIOD)
    return shorter
