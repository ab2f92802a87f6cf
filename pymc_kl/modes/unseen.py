"""What a search has not seen: when climbs from the prior have settled, and the chance of a mode that is not listed."""

import numpy as np

from pymc_kl._typing import IntArray
from pymc_kl.numerics.estimate import UNKNOWN, Estimate

PER_MODE = 64  # draws of the prior for each mode that matters, below which a search does not end early; our choice


def estimate_unseen(hits: IntArray, n_lost: float, n: int) -> Estimate:
    """Estimate the chance that one more draw of the prior climbs to a mode that is not listed.

    That is the number of modes that one of n draws reached alone, with the error of Good (1953,
    doi:10.1093/biomet/40.3-4.237), and of draws that reached no proper maximum, which may all stand for modes.

    Parameters
    ----------
    hits : array (P,) of int
        Draws that climbed to each maximum that matters.
    n_lost : float
        Draws that climbed to no proper maximum where a mode could matter.
    n : int
        Draws in all.

    Returns
    -------
    Estimate
        Three standard errors above a value of 0 is 3/n, the upper 95 % limit where none of n draws
        has shown something (Hanley and Lippman-Hand 1983, doi:10.1001/jama.1983.03330370053031).

    Examples
    --------
    >>> import numpy as np
    >>> estimate_unseen(np.array([200, 50, 6]), 0, 256)
    Estimate(value=0.0, se=0.00390625)
    """
    if not n:
        return UNKNOWN
    once, twice = float((hits == 1).sum()), float((hits == 2).sum())
    return Estimate((once + n_lost) / n, float(np.sqrt(max(once + 2 * twice + n_lost, 1.0))) / n)


def is_settled(hits: IntArray, last_new: int, n_done: int, n_starts: int) -> bool:
    """Decide whether climbs from the prior may stop before all `n_starts`.

    They may after a quarter of them, or half where there are many modes: if the later half of the draws so far
    found no mode that matters, and none was found by one draw alone.
    """
    least = n_starts / 4 if n_done >= PER_MODE * len(hits) else n_starts / 2
    return n_done >= least and last_new <= n_done / 2 and not (hits == 1).any()
