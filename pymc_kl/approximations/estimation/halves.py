"""Draws in two halves, one to fit to and one to score on; each has draws of every mode, in whole blocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations.components import WeightedDraws

SIZE_CHOICE_DRAWS = 20_000  # most draws in both halves together; more are slower and choose hardly better; our choice
LEAST_HALF_DRAWS = 10  # effective draws in each half; with fewer, none are held out; our choice
PATIENCE = 2  # sizes in a row that may fail to improve the held-out score before the search ends; our choice


@dataclass(frozen=True)
class Trial[Fit]:
    """A fit to one half of the draws, and its log q (n,) at those of the other half."""

    fit: Fit
    log_q: Array


@dataclass(frozen=True)
class HeldOut:
    """Draws held out, and the block (n,) of each."""

    draws: WeightedDraws
    blocks: IntArray

    @classmethod
    def of(cls, draws: WeightedDraws, blocks: IntArray | None) -> Self:
        """Number the blocks (n,) of the draws; without blocks, each draw is one."""
        names = np.arange(draws.weights.size) if blocks is None else blocks
        return cls(draws, np.unique(names, return_inverse=True)[1])

    def score(self, log_q: Array) -> tuple[float, float]:
        """Average log q (n,) over the draws, with the standard error of a ratio of sums over blocks.

        The error is infinite if all draws are of one block.
        """
        totals = np.bincount(self.blocks, self.draws.weights)
        residuals = np.bincount(self.blocks, self.draws.weights * log_q)
        mean = residuals.sum() / totals.sum()
        residuals -= mean * totals
        n = np.count_nonzero(totals)
        if n < 2:
            return float(mean), float("inf")
        return float(mean), float(np.sqrt(n / (n - 1) * (residuals**2).sum()) / totals.sum())


def halves(mode: IntArray, blocks: IntArray | None, size: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Split draws in two halves that both hold draws of every mode.

    Parameters
    ----------
    mode : array (n,)
        The mode of each draw; -1 counts as one.
    blocks : array (n,) or None
        Contiguous blocks of draws: whole blocks of a mode go to one half, by turns. A mode that lies in
        one block is cut in the middle. Without blocks the split is random.
    size : int
        Draws in both halves together, at most; modes with many draws are thinned.
    rng : Generator

    Returns
    -------
    train, test : arrays of int
        Indices in ascending order.
    """
    train, test = [], []
    names = np.unique(mode)
    each = size // (2 * names.size) + 1
    for k in names:
        index = np.flatnonzero(mode == k)
        odd = _turns(index, blocks, rng) % 2 == 1
        train.append(_thin(index[~odd], each, rng))
        test.append(_thin(index[odd], each, rng))
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(test))


def _turns(index: IntArray, blocks: IntArray | None, rng: np.random.Generator) -> IntArray:
    if blocks is None:
        return rng.permutation(index.size)
    names, turns = np.unique(blocks[index], return_inverse=True)
    return turns if names.size > 1 else 2 * np.arange(index.size) // index.size


def _thin(index: IntArray, size: int, rng: np.random.Generator) -> IntArray:
    return index if index.size <= size else rng.choice(index, size, replace=False)


def half(draws: WeightedDraws, mode: IntArray, index: IntArray) -> WeightedDraws:
    """Take some of the draws, with each mode's total weight unchanged."""
    codes = np.unique(mode, return_inverse=True)[1]
    target = np.bincount(codes, draws.weights)
    present = np.bincount(codes[index], draws.weights[index], minlength=target.size)
    scaled = draws.weights[index] * target[codes[index]] / present[codes[index]]
    return WeightedDraws(np.asfortranarray(draws.x[index]), scaled / scaled.sum())


def smallest_good(log_qs: Sequence[Array], held_out: HeldOut) -> tuple[int, list[float]]:
    """Choose the first of some fits whose score is within one paired standard error of the best.

    Parameters
    ----------
    log_qs : sequence of array (n,)
        log q of each fit at the held-out draws, nats; the simplest fit first.
    held_out : HeldOut

    Returns
    -------
    index : int
    scores : list of float
        Of all fits, nats a draw.
    """
    scores = [held_out.score(log_q)[0] for log_q in log_qs]
    best = log_qs[int(np.argmax(scores))]
    gaps = [held_out.score(best - log_q) for log_q in log_qs]
    return next(i for i, (gap, gap_se) in enumerate(gaps) if gap <= gap_se), scores
