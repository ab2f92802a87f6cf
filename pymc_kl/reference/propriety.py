"""Whether log p̃ falls off far out, as it must for its integral to be finite."""

import numpy as np

from pymc_kl.model.target import Target
from pymc_kl.modes.modes import Modes

RAY = (1e4, 1e8)  # scales of the posterior, far out, between which an integrable density falls


def refuse_improper(target: Target, modes: Modes, rng: np.random.Generator) -> None:
    """Raise if log p̃ does not fall along some ray far out: its integral is infinite, and nothing has a mass."""
    d = target.d
    scale = modes.local_scale
    centre = modes.x[0] + scale @ rng.standard_normal(d)
    directions = np.concatenate([np.eye(d), -np.eye(d), rng.standard_normal((8, d))])[:, None]
    steps = np.array(RAY)[:, None] * np.sqrt((scale**2).sum(axis=1))
    with np.errstate(all="ignore"):
        values = target.log_density((centre + directions * steps).reshape(-1, d)).reshape(-1, 2)
    rises = values[:, 1] + np.log(RAY[1] / RAY[0]) > values[:, 0]
    if not (flat := np.flatnonzero(rises & np.isfinite(values).all(axis=1))).size:
        return
    i = int(flat[0])
    along = target.labels[i % d] if i < 2 * d else "a random direction"
    mend = "Give that parameter a proper prior."
    if "_circular__" in along:
        name = along.partition("_circular__")[0]
        mend = (
            f"{name} is an angle, which PyMC lets go round and round. Cut the circle: pm.VonMises({name!r}, ..., "
            "default_transform=pm.distributions.transforms.Interval(-np.pi, np.pi))."
        )
    raise ValueError(
        f"the posterior looks improper: far out along {along} its density does not fall off, so its integral is "
        f"infinite and no mode has a mass. {mend} (find_modes() still lists maxima, and compare(..., "
        "reference='as given') takes draws as they are.)"
    )
