"""Check that log p̃ falls off far out, as it must for its integral to be finite."""

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.model.target import Target
from pymc_kl.modes.modes import Modes

RAY = (1e4, 1e8)  # scales of the posterior between which an integrable density falls along a ray; our choice
N_RANDOM = 8  # random directions that are looked along, besides every axis both ways; our choice


def refuse_improper(target: Target, modes: Modes, rng: np.random.Generator) -> None:
    """Raise if log p̃ does not fall along some ray far out: its integral is infinite, and nothing has a mass."""
    d = target.d
    centre = modes.x[0] + modes.local_scale @ rng.standard_normal(d)
    directions = np.concatenate([np.eye(d), -np.eye(d), rng.standard_normal((N_RANDOM, d))])
    directions[:, modes.symmetry.angles] = 0.0  # round and round an angle the density repeats itself
    flat = np.flatnonzero(_flat(target, centre, directions, modes.local_scale))
    if not flat.size:
        return
    along = target.labels[flat[0] % d] if flat[0] < 2 * d else "a random direction"
    raise ValueError(
        f"the posterior looks improper: far out along {along} its density does not fall off, so its integral is "
        "infinite and no mode has a mass. Give that parameter a proper prior. (find_modes() "
        "still lists maxima, and compare(..., reference='as given') takes draws as they are.)"
    )


def _flat(target: Target, centre: Array, directions: Array, scale: Array) -> Array:
    """Tell along which directions (m, d) log p̃ falls more slowly than the reciprocal of the distance."""
    steps = np.array(RAY)[:, None] * np.sqrt((scale**2).sum(axis=1))
    with np.errstate(all="ignore"):
        x = (centre + directions[:, None] * steps).reshape(-1, target.d)
        values = target.log_density(x).reshape(-1, 2)
    rises = (values[:, 1] + np.log(RAY[1] / RAY[0]) > values[:, 0]) & directions.any(axis=1)
    return np.asarray(rises & np.isfinite(values).all(axis=1))
