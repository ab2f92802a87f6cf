"""Find sign flips: sets of coordinates whose signs may change together without changing log p̃.

Where a flip's coordinates are all zero, the gradient along them vanishes whatever the others are. So coordinates
that have a gradient there drop out, and the rest fall apart into sets that are coupled: those are tried.
"""

from collections.abc import Callable
from itertools import combinations

import numpy as np
from scipy.sparse.csgraph import connected_components

from pymc_kl._typing import Array, BoolArray, IntArray
from pymc_kl.model.graphs import Variables
from pymc_kl.model.target import Target
from pymc_kl.modes.symmetry.invariance import Check
from pymc_kl.modes.symmetry.labels import Block

N_BASES = 3  # points about which gradients are compared; our choice
MAX_FLIPPED = 400  # coordinates that may change sign, beyond which no flips are looked for; our choice
GRADIENT_TOLERANCE = 1e-8  # relative to the point's largest gradient: one this small vanishes; our choice
COUPLING_TOLERANCE = 1e-6  # relative to the curvatures of two coordinates: less does not couple them; our choice
COUPLING_ROUNDING = 1e-10  # relative to the largest curvature of all: less is rounding; our choice
MAX_JOINED = 10  # sets that are no symmetry alone, up to which every two are tried together; our choice


def find_flips(target: Target, blocks: tuple[Block, ...], check: Check) -> list[IntArray]:
    """Find disjoint sets of coordinates that may change sign: their indices, ascending."""
    fibres = _fibres(target.d, blocks)
    candidates = _zero_gradient(target, check.x[:N_BASES], fibres)
    if not 0 < len(candidates) <= MAX_FLIPPED:
        return []
    coupled = _coupled(target, check.x[:N_BASES], candidates)
    coupled |= fibres[candidates][:, None] == fibres[candidates]
    n, part = connected_components(coupled, directed=False)
    sets = [candidates[part == i] for i in range(n)]
    passing = check.passes(flip_signs(sets), n)
    flips = [s for s, passes in zip(sets, passing, strict=True) if passes]
    return flips + _joined([s for s, passes in zip(sets, passing, strict=True) if not passes], check)


def flip_signs(sets: list[IntArray]) -> Callable[[Array, IntArray], Array]:
    """Map a point (d,) to its images (m, d) under flips of the chosen sets of coordinates."""

    def move(point: Array, rows: IntArray) -> Array:
        images = np.tile(point, (len(rows), 1))
        for image, row in zip(images, rows, strict=True):
            image[sets[row]] *= -1
        return images

    return move


def _joined(sets: list[IntArray], check: Check) -> list[IntArray]:
    """Try sets that are no symmetry alone by twos, then all that are left together."""
    if len(sets) < 2:
        return []
    pairs = list(combinations(range(len(sets)), 2)) if len(sets) <= MAX_JOINED else []
    unions = [np.sort(np.concatenate([sets[i], sets[j]])) for i, j in pairs]
    flips, used = [], set[int]()
    for pair, union, passes in zip(pairs, unions, check.passes(flip_signs(unions), len(unions)), strict=True):
        if passes and not used & set(pair):
            flips.append(union)
            used |= set(pair)
    left = [s for i, s in enumerate(sets) if i not in used]
    if len(left) > 2:
        everything = np.sort(np.concatenate(left))
        flips += [everything] if check.passes(flip_signs([everything]), 1)[0] else []
    return flips


def _fibres(d: int, blocks: tuple[Block, ...]) -> IntArray:
    """Number (d,) of the simplex or zero-sum vector that each coordinate belongs to: its coordinates flip together."""
    fibre = np.arange(d)
    for block in blocks:
        if block.extensions:
            first = fibre[block.coordinates].reshape(block.value_shape)
            for axis, _ in block.extensions:
                first = np.repeat(first.take([0], axis=axis), block.value_shape[axis], axis=axis)
            fibre[block.coordinates] = first.ravel()
    return fibre


def _zero_gradient(target: Target, x: Array, fibres: IntArray) -> IntArray:
    """Largest set of coordinates along which the gradient vanishes where all of them are zero."""
    inside = np.ones(target.d, dtype=bool)
    while inside.any():
        _, grad = target.log_density_and_grad(np.where(inside, 0.0, x))
        grad = grad[np.isfinite(grad).any(axis=1)]
        if not len(grad):
            return np.empty(0, dtype=np.int64)
        largest = np.abs(np.where(np.isfinite(grad), grad, 0)).max(axis=1, keepdims=True)
        vanishes = (np.abs(grad) <= GRADIENT_TOLERANCE * (1 + largest)).all(axis=0)
        leaving = inside & np.isin(fibres, fibres[inside & ~vanishes])
        if not leaving.any():
            break
        inside &= ~leaving
    return np.flatnonzero(inside)


def _coupled(target: Target, x: Array, candidates: IntArray) -> BoolArray:
    """Whether the gradient along one candidate changes with the sign of another, all the rest being zero."""
    coupled = np.zeros((len(candidates), len(candidates)), dtype=bool)
    for point in x:
        hessian = _hessian(target, point, candidates)
        largest = hessian.max(axis=1)
        rounding = COUPLING_ROUNDING * largest.max()
        coupled |= hessian > COUPLING_TOLERANCE * np.sqrt(np.outer(largest, largest)) + rounding
    return coupled


def _hessian(target: Target, point: Array, candidates: IntArray) -> Array:
    """Absolute Hessian (m, m) of log p̃ where all candidates are zero, by central differences of the gradient.

    A step of the size of typical values sees odd terms of higher order too.
    """
    n = len(candidates)
    base = point.copy()
    base[candidates] = 0
    step = 0.5 * np.where(point[candidates] == 0, 1.0, np.abs(point[candidates]))
    ends = np.tile(base, (2, n, 1))
    ends[0, np.arange(n), candidates] = step
    ends[1, np.arange(n), candidates] = -step
    _, grad = target.log_density_and_grad(ends.reshape(2 * n, -1))
    plus, minus = grad.reshape(2, n, -1)[:, :, candidates]
    hessian = np.abs(plus - minus) / (2 * step[:, None])
    return np.where(np.isfinite(hessian), np.maximum(hessian, hessian.T), 0)


def name_flip(target: Target, coordinates: IntArray) -> str:
    """Write the coordinates of a flip as slices of variables, such as `loadings[:, 0], factors[0, :]`."""
    slices: list[str] = []
    for variable in target.variables:
        inside = np.zeros(target.d, dtype=bool)
        inside[coordinates] = True
        slices += _slices(variable, inside[variable.coordinates].reshape(variable.value_shape))
    return ", ".join(slices) if len(slices) <= 3 else f"{', '.join(slices[:2])} and {len(slices) - 2} more"


def _slices(variable: Variables, inside: BoolArray) -> list[str]:
    """Write entries of one variable: whole, as one slice, or one by one."""
    if inside.all() or not inside.any():
        return [variable.value_name] if inside.all() else []
    used = [sorted(set(axis.tolist())) for axis in np.nonzero(inside)]
    whole = [len(u) == n for u, n in zip(used, inside.shape, strict=True)]
    if all(w or len(u) == 1 for w, u in zip(whole, used, strict=True)):
        index = ", ".join(":" if w else str(u[0]) for w, u in zip(whole, used, strict=True))
        return [f"{variable.value_name}[{index}]"]
    return [variable.value_name + str(index) for index in np.argwhere(inside).tolist()]
