"""The local scale for a search that has no draws: about the maxima that a few climbs reach, or beside their ends."""

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.modes.climbs import find_maxima
from pymc_kl.modes.local_scale import local_scale, scale_about
from pymc_kl.modes.maxima import Maxima
from pymc_kl.modes.peak_shape import scale_beside
from pymc_kl.numerics.lbfgs import ValueAndGrad, climb

SCALE_DRAWS = 1000  # points whose gradients set the local scale, at the most; our choice
SCALE_CLIMBS = 64  # climbs to maxima about which the local scale is measured; our choice
LONG_CLIMBS = 16  # climbs that go on where none, or too few, ended at a maximum; our choice
LONG = 2000  # evaluations of each leg of them, at the most; our choice
LEGS = 2  # of such a climb, each by the scale beside where the last one ended; our choice


def scale_of_starts(value_and_grad: ValueAndGrad, x: Array, none: Maxima, rng: np.random.Generator) -> Array:
    """Find the local scale (d, d) from climbs that begin at a few of the starts (n, d), before any maximum is known.

    Gradients at the starts say how narrow a ridge is and not how long: climbs that follow one have a second leg, by
    the scale beside where the first ended.
    """
    x = x[np.isfinite(value_and_grad(x)[0])]
    scale = local_scale(value_and_grad(x[:SCALE_DRAWS])[1])
    maxima, owner = find_maxima(value_and_grad, none, x[:SCALE_CLIMBS], scale, rng)
    ends = x[:LONG_CLIMBS]
    for _ in range(0 if len(maxima) else LEGS):
        climbed = climb(value_and_grad, ends, scale, max_steps=LONG)
        maxima, owner = find_maxima(value_and_grad, none, climbed.x, scale, rng)
        if len(maxima):
            break
        ends, scale = climbed.x, scale_beside(value_and_grad, climbed, scale)
        if climbed.converged.all():
            break
    if not len(maxima):
        return scale
    return scale_about(value_and_grad, maxima.x, maxima.precisions, owner[owner >= 0], rng)
