"""Choose the family of q: the simplest whose held-out log score is as good as that of any other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from pymc_kl._typing import Array, IntArray
from pymc_kl.approximations.components import WeightedDraws
from pymc_kl.approximations.estimation.fit_data import FitData
from pymc_kl.approximations.estimation.halves import LEAST_HALF_DRAWS, SIZE_CHOICE_DRAWS, HeldOut, half, halves
from pymc_kl.approximations.family import Family
from pymc_kl.approximations.fullrank import FullRank
from pymc_kl.approximations.lowrank import LowRank
from pymc_kl.approximations.meanfield import MeanField
from pymc_kl.approximations.mixture import Mixture
from pymc_kl.approximations.student import StudentT
from pymc_kl.approximations.studentt_mixture import StudentTMixture
from pymc_kl.approximations.training import Training

AUTO = "auto"  # the name that stands for the family that is chosen
CANDIDATES: tuple[type[Family], ...] = (MeanField, LowRank, FullRank, StudentT, Mixture, StudentTMixture)
LOWRANK_FROM = 10  # least dimensions for a low-rank fit: below, a full covariance has hardly more parameters
EVEN = 0.01  # nats a draw: a smaller gain does not justify a less simple family; our choice


@dataclass(frozen=True)
class FamilyChoice:
    """The family chosen, why (one sentence), and the held-out score and its error (nats a draw) of each tried."""

    family: str
    why: str
    scores: Mapping[str, tuple[float, float]]


def choose_family(draws: Training) -> FamilyChoice:
    """Choose a family by two-fold cross-validation of the log score, among those that need no extra package.

    Each half of the draws, cut by blocks, is scored by the fit to the other. The families are compared on the same
    draws, so the error of a difference is that of paired scores.

    Parameters
    ----------
    draws : Training

    Returns
    -------
    FamilyChoice
        The simplest family whose score is within one paired standard error, or within 0.01 nats a draw, of the
        best. A family scores NaN if half of the draws are too few to fit it.
    """
    data = FitData.check(draws.x, draws.weights, draws.mode, draws.blocks, n_least=2)
    kinds = [kind for kind in CANDIDATES if kind is not LowRank or data.d >= LOWRANK_FROM]
    parts = [_Part.of(data, rows) for rows in halves(data.mode, data.blocks, SIZE_CHOICE_DRAWS, draws.rng)]
    if any(part.draws.weights.size < LEAST_HALF_DRAWS for part in parts):
        nothing = dict.fromkeys((kind.family for kind in kinds), (float("nan"), float("inf")))
        return FamilyChoice(MeanField.family, "meanfield: too few draws to hold any out.", nothing)
    log_qs = {kind.family: _log_q(kind, parts, draws.rng) for kind in kinds}
    return _choose(log_qs, _held_out(parts))


@dataclass(frozen=True)
class _Part:
    """One half of the draws, with the label and block of each."""

    draws: WeightedDraws
    mode: IntArray
    blocks: IntArray | None
    rows: IntArray

    @classmethod
    def of(cls, data: FitData, rows: IntArray) -> Self:
        draws = half(WeightedDraws(data.x, data.weights), data.mode, rows)
        return cls(draws, data.mode[rows], None if data.blocks is None else data.blocks[rows], rows)

    def fit(self, kind: type[Family], rng: np.random.Generator) -> Family:
        return kind.fit(Training(self.draws.x, self.draws.weights, self.mode, self.blocks, rng))


def _held_out(parts: list[_Part]) -> HeldOut:
    """Join the halves, each with half the weight."""
    x = np.concatenate([part.draws.x for part in parts])
    weights = np.concatenate([part.draws.weights for part in parts]) / len(parts)
    names = np.concatenate([part.rows if part.blocks is None else part.blocks for part in parts])
    return HeldOut.of(WeightedDraws(x, weights), names)


def _log_q(kind: type[Family], parts: list[_Part], rng: np.random.Generator) -> Array | None:
    """Evaluate log q (n,) at each half under the fit to the other; None if a half is too small for the family."""
    try:
        fits = [part.fit(kind, rng) for part in reversed(parts)]
    except (ValueError, np.linalg.LinAlgError):
        return None
    log_q = np.concatenate([fit.log_prob(part.draws.x) for fit, part in zip(fits, parts, strict=True)])
    return log_q if np.isfinite(log_q).all() else None


def _choose(log_qs: Mapping[str, Array | None], held_out: HeldOut) -> FamilyChoice:
    """Choose among the families that have a score, the simplest first."""
    known = {name: log_q for name, log_q in log_qs.items() if log_q is not None}
    scores = {name: held_out.score(log_q) for name, log_q in known.items()}
    names = list(known)
    best = max(names, key=lambda name: scores[name][0])

    def gain(one: str, two: str) -> tuple[float, float]:
        return held_out.score(known[one] - known[two])

    gaps = {name: gain(best, name) for name in names}
    chosen = next(name for name, (gap, gap_se) in gaps.items() if gap <= max(gap_se, EVEN))
    nothing = (float("nan"), float("inf"))
    why = explain(names, {name: scores[name][0] for name in names}, chosen, "nats a draw", gain)
    return FamilyChoice(chosen, why, {name: scores.get(name, nothing) for name in log_qs})


def explain(
    names: Sequence[str],
    scores: Mapping[str, float],
    chosen: str,
    unit: str,
    gain: Callable[[str, str], tuple[float, float]],
) -> str:
    """Explain in one sentence why a family was chosen.

    `names` starts with the simplest; `gain(one, two)` is how much better one scores than two, with its error.
    """
    reasons = ["the simplest family"]
    if simpler := names[: names.index(chosen)]:
        rival = max(simpler, key=lambda name: scores[name])
        more, se = gain(chosen, rival)
        reasons = [f"{more:.3g} ± {se:.2g} {unit} better than {rival}, the best of the simpler families"]
    best = max(names, key=lambda name: scores[name])
    if best != chosen:
        more, se = gain(best, chosen)
        reasons.append(f"{best}, the best of all, gains {more:.2g} ± {se:.2g} more, too little to matter")
    return f"{chosen}: {'; '.join(reasons)}."
