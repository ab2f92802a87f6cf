"""Draws of each mode → so few of them that they are as good as independent, standing for the same masses."""

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.numerics.estimate import effective_size

LEFT_CORRELATION = 0.03  # autocorrelation of draws that pass as independent: makes errors 3 % too small; our choice


def independent_size(n: int, ess: float) -> int:
    """Count the draws, evenly spaced among n, that are nearly independent.

    Draws of an effective size `ess` are taken for those of an autoregressive process, whose correlation falls by the
    same factor at each step. As many draws as their effective size are still correlated by about exp(-2).
    """
    time = n / max(ess, 1.0)
    correlation = max((time - 1) / (time + 1), 0.0)
    if correlation <= LEFT_CORRELATION:
        return n
    return max(int(n * np.log(correlation) / np.log(LEFT_CORRELATION)), 1)


def slowest_ess(columns: Array) -> float:
    """Return the least effective size of any column (n, m) of a sequence of draws, or of its squared deviations.

    Standard deviations, and divergences from normals, are means of squares, whose tails chains may seldom enter.
    """
    squares = (columns - columns.mean(axis=0)) ** 2
    return float(min(effective_size(column[None]) for column in (*columns.T, *squares.T)))


def thin_within_modes(mode: IntArray, weights: Array, sizes: dict[int, int]) -> tuple[IntArray, Array]:
    """Choose so many draws of each mode, evenly spread, and scale their weights up to all that the mode had.

    Parameters
    ----------
    mode : array (n,) of int
    weights : array (n,)
    sizes : dict of int to int
        Draws to choose, by mode; no more than it has.

    Returns
    -------
    rows, weights : array (m,)
    """
    rows, scaled = [np.empty(0, dtype=np.int64)], [np.empty(0)]
    for k, size in sizes.items():
        inside = np.flatnonzero(mode == k)
        chosen = inside[np.linspace(0, len(inside) - 1, size).round().astype(int)]
        part = weights[chosen].sum()
        rows.append(chosen)
        scaled.append(weights[chosen] * (weights[inside].sum() / part if part > 0 else 0.0))
    return np.concatenate(rows), np.concatenate(scaled)
