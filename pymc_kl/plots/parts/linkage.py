"""Single linkage of the modes over the passes between them, as a tree whose branches do not cross."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import cophenet, dendrogram, linkage
from scipy.spatial.distance import squareform

from pymc_kl._typing import Array


@dataclass(frozen=True, eq=False)
class Tree:
    """A tree whose K leaves are modes; a depth is a log density minus that of the highest maximum, in nats.

    Attributes
    ----------
    x, depth : array (K,)
        Horizontal position of each mode, and the depth of its maximum.
    foot : array (K,)
        Depth of the pass where each mode joins another; NaN if none is known.
    copy_pass : array (K,)
        Depth of the pass to another copy of the mode; NaN if none is known.
    join : array (J,)
        Depth of each pass that joins two branches.
    join_lines : array (2, n)
        The lines that join branches, as points; NaN between two lines.
    roots : list of (position, depth)
        Lowest join, or else maximum, of each branch that no path joins to another, from left to right.
    """

    x: Array
    depth: Array
    foot: Array
    copy_pass: Array
    join: Array
    join_lines: Array
    roots: list[tuple[float, float]]


def link(log_density: Array, passes: Array, chosen: Sequence[int]) -> Tree:
    """Join the chosen modes by log p at the highest known pass between any two of all, (K, K), NaN without one."""
    top = np.nanmax(log_density)
    depth, copies = (log_density - top)[list(chosen)], (np.diag(passes) - top)[list(chosen)]
    fall = _highest_route(top - passes)[np.ix_(chosen, chosen)]
    k = len(chosen)
    unknown = 1.0 + 2 * np.max(np.abs(fall[np.isfinite(fall)]), initial=0.0)
    if k == 1:
        return _lay_out(depth, copies, np.empty((0, 4)), np.zeros(1), unknown)
    np.fill_diagonal(fall, 0.0)
    merges = linkage(squareform(np.where(np.isfinite(fall), fall, unknown), checks=False), "single")
    leaves = dendrogram(merges, no_plot=True, distance_sort="ascending")["leaves"]
    return _lay_out(depth, copies, merges, np.argsort(leaves).astype(float), unknown)


def _highest_route(fall: Array) -> Array:
    """Return the fall to the lowest pass of the best route over all modes (K, K); infinite where there is none."""
    if len(fall) == 1:
        return np.zeros((1, 1))
    known = np.isfinite(fall)
    unknown = 1.0 + 2 * np.max(np.abs(fall[known]), initial=0.0)
    least = np.fmin(np.where(known, fall, unknown), np.where(known, fall, unknown).T)
    np.fill_diagonal(least, 0.0)
    route = squareform(cophenet(linkage(squareform(least, checks=False), "single")))
    return np.where(route >= unknown, np.inf, route)


def _lay_out(depth: Array, copies: Array, merges: Array, x: Array, unknown: float) -> Tree:
    """Lay out the tree; each join lies in the middle of the two branches it joins."""
    k = len(depth)
    position, height = [*x], [*depth]
    foot, joins, lines, heads = np.full(k, np.nan), [], [], set(range(k))
    for new, (left, right, fall, _) in enumerate(merges, start=k):
        position.append((position[int(left)] + position[int(right)]) / 2)
        height.append(-fall)
        if fall >= unknown:
            continue
        joins.append(-fall)
        for child in (int(left), int(right)):
            heads.discard(child)
            if child < k:
                foot[child] = -fall
            else:
                lines.append([(position[child], height[child]), (position[child], -fall)])
        lines.append([(position[int(left)], -fall), (position[int(right)], -fall)])
        heads.add(new)
    roots = sorted((float(position[node]), float(height[node])) for node in heads)
    points = [point for line in lines for point in (*line, (np.nan, np.nan))]
    return Tree(x, depth, foot, copies, np.array(joins), np.reshape(points, (-1, 2)).T, roots)
