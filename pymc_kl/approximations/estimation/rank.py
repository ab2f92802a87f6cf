"""Choose the number of factors of a low-rank Gaussian by its log score on draws held out."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.approximations.base import Approximation, FitInfo, raised
from pymc_kl.approximations.components import WeightedDraws, effective_number
from pymc_kl.approximations.estimation.factor_analysis import LEAST_OWN_VARIANCE, Factors, Standardised, fit_factors
from pymc_kl.approximations.estimation.fit_data import FitData
from pymc_kl.approximations.estimation.halves import (
    LEAST_HALF_DRAWS,
    PATIENCE,
    SIZE_CHOICE_DRAWS,
    HeldOut,
    Trial,
    half,
    halves,
    smallest_good,
)

CLEAR = 3.0  # paired standard errors by which a rank must score worse than the best to end the search; our choice
HEYWOOD = 1.01 * LEAST_OWN_VARIANCE  # own variance up to which a coordinate of unit variance is a Heywood case
NO_SCORE = "too few draws to hold any out: the score is NaN."

type Make = Callable[[Standardised, Factors], Approximation]


@dataclass(frozen=True)
class RankChoice:
    """The rank chosen, own variances to start from, and the score of each rank that was tried (nats a draw)."""

    rank: int
    own: Array | None = None
    scores: dict[int, float] = field(default_factory=dict)
    score: float = float("nan")
    score_se: float = float("inf")

    def info(self, factors: Factors) -> FitInfo:
        """Report the choice, and warn of what is doubtful about the fit to all draws."""
        heywood = int((factors.own <= HEYWOOD).sum())
        doubts = {
            NO_SCORE: np.isnan(self.score),
            "all held-out draws are of one block, so the score has no error; give shorter blocks.": (
                np.isinf(self.score_se) and not np.isnan(self.score)
            ),
            f"{heywood} of {factors.own.size} coordinates have next to no variance of their own (a Heywood case).": (
                heywood > 0
            ),
            "factor analysis had not settled.": not factors.converged,
        }
        return FitInfo(
            rank=factors.rank,
            held_out_score=self.score,
            held_out_score_se=self.score_se,
            scores=self.scores,
            converged=factors.converged,
            warnings=raised(doubts),
        )


@dataclass(frozen=True)
class _Trials:
    """Factor analyses of one half of the draws, scored on the other half; `make` turns factors into a density."""

    train: Standardised
    held_out: HeldOut
    make: Make

    def at(self, rank: int) -> Trial[Factors]:
        """Fit one rank."""
        factors = fit_factors(self.train.root, rank)
        return Trial(factors, self.make(self.train, factors).log_prob(self.held_out.draws.x))

    def best(self, trials: list[Trial[Factors]]) -> tuple[int, list[float]]:
        """Find the smallest rank within one paired standard error of the best, and the score of each."""
        return smallest_good([trial.log_q for trial in trials], self.held_out)

    def search(self, limit: int) -> list[Trial[Factors]]:
        """Double the rank until the score stops improving, then halve the gap below the smallest good one."""
        trials = [self.at(0)]
        best, failures = trials[0], 0
        while failures < PATIENCE and trials[-1].fit.rank < limit:
            trial = self.at(min(max(1, 2 * trials[-1].fit.rank), limit))
            trials.append(trial)
            gain, gain_se = self.held_out.score(trial.log_q - best.log_q)
            failures += 1 if gain > -CLEAR * gain_se else PATIENCE
            best, failures = (trial, 0) if gain > gain_se else (best, failures)
        while (middle := self._between(trials)) is not None:
            trials = sorted([*trials, middle], key=lambda trial: trial.fit.rank)
        return trials

    def _between(self, trials: list[Trial[Factors]]) -> Trial[Factors] | None:
        """Try the rank half-way between the smallest good one and the next smaller one, if there is any."""
        index, _ = self.best(trials)
        low, high = (trials[i].fit.rank for i in (max(index - 1, 0), index))
        return self.at((low + high) // 2) if high - low > 1 else None


def choose_rank(data: FitData, make: Make, rank: int | None, rng: np.random.Generator) -> RankChoice:
    """Choose the number of factors by the log score of one half of the draws under fits to the other.

    Parameters
    ----------
    data : FitData
    make : callable
        Standardised draws and their factors -> the density.
    rank : int or None
        Score this rank instead of choosing.
    rng : Generator

    Returns
    -------
    RankChoice
        Scores are NaN, and the rank 0 unless given, where there are too few draws to hold out.
    """
    mode = np.zeros(data.weights.size, dtype=np.int64)
    parts = halves(mode, data.blocks, SIZE_CHOICE_DRAWS, rng)
    if any(not rows.size or effective_number(data.weights[rows]) < LEAST_HALF_DRAWS for rows in parts):
        return RankChoice(rank or 0)
    draws = WeightedDraws(data.x, data.weights)
    train, test = (half(draws, mode, rows) for rows in parts)
    held_out = HeldOut.of(test, None if data.blocks is None else data.blocks[parts[1]])
    trials = _Trials(Standardised.of(train.x, train.weights), held_out, make)
    found = trials.search(min(data.d - 1, parts[0].size // 2)) if rank is None else [trials.at(rank)]
    index, scores = trials.best(found)
    factors, named = found[index].fit, [trial.fit.rank for trial in found]
    own = factors.own if factors.rank else None
    return RankChoice(factors.rank, own, dict(zip(named, scores, strict=True)), *held_out.score(found[index].log_q))
