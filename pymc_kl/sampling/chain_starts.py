"""Where chains start: points dealt to modes by their masses, and as PyMC takes them."""

from collections.abc import Sequence

import numpy as np

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.model.target import Target
from pymc_kl.numerics.estimate import systematic
from pymc_kl.sampling.importance import Weighed

SAME_POINT = 1e-6  # to which a point must come back from the model's own space


def shares(mass: Array, n: int) -> IntArray:
    """Deal n chains to modes of these masses (K,): one to each that holds more than 1/(2n), the rest in proportion."""
    mass = mass / mass.sum()
    counts = np.zeros(len(mass), dtype=np.int64)
    deserving = [k for k in np.argsort(-mass, kind="stable") if mass[k] > 0.5 / n]
    counts[deserving[:n]] = 1
    while counts.sum() < n:
        counts[np.argmax(mass / (2 * counts + 1))] += 1  # Sainte-Laguë
    return counts


def spread(weighed: Weighed, n: int, target: Target, rng: np.random.Generator) -> IntArray:
    """Choose n rows to start chains from: modes by their masses, and within each by weight."""
    usable = _comes_back(weighed.x, target)
    weights = np.where(usable, weighed.weights, 0.0)
    if not weights.any():
        raise ValueError(
            "no draw of the approximation comes back from the model's own space: all are so far out that a transform "
            "rounds them to the boundary. Fit the approximation again, or start chains yourself."
        )
    label = weighed.mode if (weights[weighed.mode >= 0] > 0).any() else np.zeros(len(weights), dtype=np.int64)
    held = np.bincount(label[label >= 0], weights[label >= 0], minlength=weighed.k)
    rows: list[int] = []
    for k, count in enumerate(shares(held, n)):
        if count:
            mine = np.flatnonzero(label == k)
            part = weights[mine] / weights[mine].sum()
            rows.extend(mine[systematic(part, int(count), rng)])
    return rng.permutation(np.array(rows, dtype=np.int64))


def _comes_back(x: Array, target: Target) -> BoolArray:
    """Whether points (n, d) survive the way to the model's own space and back, as what starts PyMC's chains must."""
    own = target.constrain(x)
    values = [own[v.name] for v in target.variables]
    with np.errstate(all="ignore"):
        back = np.concatenate([np.reshape(part, (len(x), -1)) for part in target._unconstrain(*values)], axis=1)
    return np.asarray((np.abs(back - x) <= SAME_POINT * (1 + np.abs(x))).all(axis=1))


def start_points(x: Array, target: Target) -> list[dict[str, Array]]:
    """Put points (n, d) in the model's own space, one dict of its free variables a chain."""
    own = target.constrain(x)
    return [{v.name: np.asarray(own[v.name][i]) for v in target.variables} for i in range(len(x))]


def order_of(target: Target, names: Sequence[str]) -> IntArray:
    """Coordinates of the target (d,) in the order of these value names."""
    places = {v.value_name: np.arange(v.coordinates.start, v.coordinates.stop) for v in target.variables}
    return np.concatenate([places[name] for name in names])
