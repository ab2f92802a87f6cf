"""Starting points of chains: draws chosen by the masses of their modes, in the form that PyMC takes."""

from collections.abc import Sequence

import numpy as np

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.model.target import Target
from pymc_kl.modes.draws import ModeDraws
from pymc_kl.numerics.estimate import systematic

SAME_COORDINATE = 1e-6  # largest relative error of a coordinate mapped to the model's own space and back; our choice


def choose_starts(draws: ModeDraws, n: int, target: Target, rng: np.random.Generator) -> ModeDraws:
    """Choose n draws to start chains from: modes by their masses, and within each by weight."""
    weights = np.where(_comes_back(draws.x, target), draws.weights, 0.0)
    if not weights.any():
        raise ValueError(
            "no draw of the approximation comes back from the model's own space: all are so far out that a transform "
            "rounds them to the boundary. Fit the approximation again, or start chains yourself."
        )
    mode = draws.mode if weights[draws.mode >= 0].any() else np.zeros(len(draws), dtype=np.int64)
    mass = np.bincount(mode[mode >= 0], weights[mode >= 0])
    rows: list[int] = []
    for k, count in enumerate(apportion(mass, n)):
        if count:
            mine = np.flatnonzero(mode == k)
            rows.extend(mine[systematic(weights[mine] / weights[mine].sum(), int(count), rng)])
    return draws.take(rng.permutation(np.array(rows, dtype=np.int64)))


def apportion(mass: Array, n: int) -> IntArray:
    """Give n chains to modes by their masses (K,): one to each that holds more than 1/(2n), the rest in proportion.

    The rest is apportioned by the method of Sainte-Laguë.
    """
    mass = mass / mass.sum()
    counts = np.zeros(len(mass), dtype=np.int64)
    deserving = [k for k in np.argsort(-mass, kind="stable") if mass[k] > 0.5 / n]
    counts[deserving[:n]] = 1
    while counts.sum() < n:
        counts[np.argmax(mass / (2 * counts + 1))] += 1
    return counts


def _comes_back(x: Array, target: Target) -> BoolArray:
    """Tell which points (n, d) keep their value when they are mapped to the model's own space and back.

    PyMC takes starts in the model's own space. Far out, a transform may round them to the boundary of the support.
    """
    own = target.constrain(x)
    values = [own[v.name] for v in target.variables]
    with np.errstate(all="ignore"):
        back = np.concatenate([np.reshape(part, (len(x), -1)) for part in target._unconstrain(*values)], axis=1)
    return np.asarray((np.abs(back - x) <= SAME_COORDINATE * (1 + np.abs(x))).all(axis=1))


def to_initvals(x: Array, target: Target) -> list[dict[str, Array]]:
    """Put points (n, d) in the model's own space, one dict of its free variables a chain."""
    own = target.constrain(x)
    return [{v.name: np.asarray(own[v.name][i]) for v in target.variables} for i in range(len(x))]


def order_of(target: Target, names: Sequence[str]) -> IntArray:
    """Return the coordinates of the target (d,) in the order of these value names."""
    coordinates = {v.value_name: np.arange(v.coordinates.start, v.coordinates.stop) for v in target.variables}
    return np.concatenate([coordinates[name] for name in names])
