"""The best fit along a path as one curve, with a jump where it switches from one branch to another."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from pymc_kl._typing import Array

type Knot = tuple[float, int, Mapping[tuple[int, int], float]]
"""An order, the best branch there, and the weight of the value at each (order, branch)."""


@dataclass(frozen=True, eq=False)
class Course:
    """The best fit along a path, as weights of the values at its orders.

    Attributes
    ----------
    x : array (m,)
        Orders: those of the path, and that of each switch twice.
    orders : array (O,)
        Orders at which there is a fit.
    weights : array (m, O, branches)
        Weight, at each point, of the value at each order and branch.
    owner : array (m,) of int
        The best branch at each point.
    """

    x: Array
    orders: Array
    weights: Array
    owner: Array

    def values(self, values: xr.DataArray) -> Array:
        """Interpolate a quantity (order, branch, ...) at each point, (m, ...)."""
        known = np.nan_to_num(values.sel(order=self.orders).transpose("order", "branch", ...).values)
        return np.tensordot(self.weights, known, axes=2)

    def of_branch(self, values: Array, branch: int) -> Array:
        """Set values (m, ...) to NaN where another branch is the best."""
        mine = (self.owner == branch).reshape(-1, *[1] * (values.ndim - 1))
        return np.where(mine, values, np.nan)


def best_course(path: xr.Dataset, switches: xr.Dataset) -> Course:
    """Follow the best branch. Two branches meet at their switch, or half way between two orders without one."""
    names, path = path["branch"].values.tolist(), path.isel(order=path["best"].values != "")
    orders, best = path["order"].values, [names.index(name) for name in path["best"].values]
    at = dict(zip(switches["lower"].values.tolist(), switches["at"].values.tolist(), strict=True))
    there = path["divergence"].notnull().transpose("order", "branch").values
    knots: list[Knot] = [(orders[0], best[0], {(0, best[0]): 1.0})]
    for i, (one, two) in enumerate(pairwise(best)):
        if one != two:
            switch = at.get(orders[i])
            fraction = (
                0.5 if switch is None else float(np.clip((switch - orders[i]) / (orders[i + 1] - orders[i]), 0, 1))
            )
            middle = orders[i] + fraction * (orders[i + 1] - orders[i])
            ends = [_end(there, i, branch, fraction) for branch in (one, two)]
            joined = {(i, one): 0.5, (i + 1, two): 0.5}
            knots += [
                (middle, branch, joined if switch is None else own)
                for branch, own in zip((one, two), ends, strict=True)
            ]
        knots.append((orders[i + 1], two, {(i + 1, two): 1.0}))
    weights = np.zeros((len(knots), *there.shape))
    for row, (_, _, parts) in zip(weights, knots, strict=True):
        for entry, weight in parts.items():
            row[entry] = weight
    return Course(np.array([knot[0] for knot in knots]), orders, weights, np.array([knot[1] for knot in knots]))


def _end(there: Any, i: int, branch: int, fraction: float) -> dict[tuple[int, int], float]:
    """Interpolate a branch between two orders, or take the one at which it exists."""
    if there[i, branch] and there[i + 1, branch]:
        return {(i, branch): 1 - fraction, (i + 1, branch): fraction}
    return {(i if there[i, branch] else i + 1, branch): 1.0}
