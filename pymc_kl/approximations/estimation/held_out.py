"""Choose the number of components of a mixture by its log score on draws held out."""

from dataclasses import dataclass, field, replace

import numpy as np

from pymc_kl._typing import IntArray
from pymc_kl.approximations.base import raised
from pymc_kl.approximations.components import Components, WeightedDraws, effective_number, min_draws
from pymc_kl.approximations.estimation.em import EMFit, fit_em
from pymc_kl.approximations.estimation.growth import add_modes, from_clusters, grow, large_clusters, reseed
from pymc_kl.approximations.estimation.halves import (
    PATIENCE,
    SIZE_CHOICE_DRAWS,
    HeldOut,
    Trial,
    half,
    halves,
    smallest_good,
)

FIXED_DRAWS = 10_000  # most draws in both halves together, where the number of components is given; our choice
TRIAL_TOLERANCE = 1e-4  # nats a draw: EM on a half stops when an iteration gains less; our choice
ROUGH_TOLERANCE = 1e-2  # nats a draw: the same for the sizes on the way to a given number of components; our choice
MAX_EM_ITERATIONS = 200  # most iterations of EM; our choice
HOPELESS = 4.0  # paired errors by which one more component may score worse before no more are tried; our choice
NO_SCORE = "too few draws to hold any out: one component was fitted a mode, and the score is NaN."


@dataclass(frozen=True)
class Choice:
    """The components chosen, their held-out score and its error, and the score of each size tried (nats)."""

    components: Components
    score: float = float("nan")
    score_se: float = float("inf")
    scores: dict[int, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def choose_components(
    draws: WeightedDraws,
    mode: IntArray,
    blocks: IntArray | None,
    *,
    n_components: int | None,
    max_components: int,
    heavy: bool = False,
    rng: np.random.Generator,
) -> Choice:
    """Choose the number of components by the log score of one half of the draws under fits to the other.

    Parameters
    ----------
    draws : WeightedDraws
    mode : array (n,)
        The mode of each draw, where a component starts; -1 for none.
    blocks : array (n,) or None
        Contiguous block of each draw.
    n_components : int or None
        Fit this many instead of choosing.
    max_components : int
        At least the number of modes.
    heavy : bool
        Fit Student-t's instead of Gaussians.
    rng : Generator

    Returns
    -------
    Choice
        Scores are nats a draw in the coordinates of `draws`; NaN where there are too few draws to hold out.
    """
    size = SIZE_CHOICE_DRAWS if n_components is None else FIXED_DRAWS
    train_index, test_index = halves(mode, blocks, size, rng)
    if test_index.size == 0 or effective_number(draws.weights[train_index]) < min_draws(draws.d):
        return Choice(from_clusters(draws, mode, heavy=heavy), warnings=(NO_SCORE,))
    train = half(draws, mode, train_index)
    held_out = HeldOut.of(half(draws, mode, test_index), None if blocks is None else blocks[test_index])
    start = from_clusters(train, mode[train_index], heavy=heavy)
    if n_components is None:
        trials = _search(train, held_out, start, max_components, rng)
    else:
        trials = [_scored(_fit(train, _reach(train, start, n_components)), held_out)]
    choice = _with_small_modes(choose_trial(trials, held_out), draws, mode, train_index, max_components)
    return replace(choice, warnings=(*choice.warnings, *_doubts(choice, n_components, max_components)))


def _with_small_modes(
    choice: Choice, draws: WeightedDraws, mode: IntArray, train_index: IntArray, max_components: int
) -> Choice:
    """Add components for modes that have enough draws in all, but too few in the half that was fitted."""
    modes, large = np.unique(mode[mode >= 0]), large_clusters(draws, mode)
    small = np.setdiff1d(large, large_clusters(draws.take(train_index), mode[train_index])).tolist()
    components = choice.components
    if small and len(components) + len(small) <= max_components:
        components = add_modes(draws, components, mode, small)
    doubts = {
        f"{modes.size - len(large)} of {modes.size} modes have too few draws for a component of their own.": (
            len(large) < modes.size
        ),
        f"{len(small)} of {modes.size} modes have too few draws to hold any out; their fit is not scored.": (
            bool(small)
        ),
    }
    return replace(choice, components=components, warnings=raised(doubts))


def _doubts(choice: Choice, n_components: int | None, max_components: int) -> tuple[str, ...]:
    size = len(choice.components)
    return raised(
        {
            f"the draws support {size} components, not the {n_components} asked for.": (
                n_components is not None and size < n_components
            ),
            f"all {max_components} components allowed are in use; raise max_components to see if more score better.": (
                n_components is None and size == max_components
            ),
            "all held-out draws are of one block, so the score has no error; give shorter blocks.": (
                bool(np.isinf(choice.score_se))
            ),
        }
    )


def _fit(train: WeightedDraws, start: Components) -> EMFit:
    return fit_em(train, start, tolerance=TRIAL_TOLERANCE, max_iterations=MAX_EM_ITERATIONS)


def _scored(fit: EMFit, held_out: HeldOut) -> Trial[Components]:
    return Trial(fit.components, fit.components.log_prob(held_out.draws.x))


def _search(
    train: WeightedDraws, held_out: HeldOut, start: Components, limit: int, rng: np.random.Generator
) -> list[Trial[Components]]:
    """Add components until the held-out score stops improving by more than its paired error."""
    trials = [_scored(_fit(train, start), held_out)]
    best, failures = trials[0], 0
    while failures < PATIENCE and len(trials[-1].fit) < limit:
        larger = grow(train, trials[-1].fit)
        if larger is None:
            break
        trial = _better(train, held_out, larger, best, rng)
        if len(trial.fit) <= len(trials[-1].fit):
            break
        trials.append(trial)
        gain, gain_se = held_out.score(trial.log_q - best.log_q)
        if _hopeless(gain, gain_se):
            break
        best, failures = (trial, 0) if gain > gain_se else (best, failures + 1)
    return trials


def _better(
    train: WeightedDraws, held_out: HeldOut, larger: Components, best: Trial[Components], rng: np.random.Generator
) -> Trial[Components]:
    """Run EM from the split of a component and from new clusters, unless that is hopeless; keep what fits better."""
    trial = Trial(larger, larger.log_prob(held_out.draws.x))
    if _hopeless(*held_out.score(trial.log_q - best.log_q)):
        return trial
    fit = _fit(train, larger)
    trial = _scored(fit, held_out)
    if _hopeless(*held_out.score(trial.log_q - best.log_q)):
        return trial
    anew = _fit(train, reseed(train, len(larger), rng, heavy=larger.dfs is not None))
    return trial if fit.objective[-1] >= anew.objective[-1] else _scored(anew, held_out)


def _hopeless(gain: float, gain_se: float) -> bool:
    """Tell whether a larger mixture fits its own draws alone: it scores far worse on those held out."""
    return gain < -HOPELESS * gain_se


def _reach(train: WeightedDraws, start: Components, size: int) -> Components:
    """Add components up to a given number, with a rough fit after each."""
    components = start
    while len(components) < size:
        larger = grow(train, components, at_most=size - len(components))
        if larger is None:
            break
        larger = fit_em(train, larger, tolerance=ROUGH_TOLERANCE, max_iterations=MAX_EM_ITERATIONS).components
        if len(larger) <= len(components):
            break
        components = larger
    return components


def choose_trial(trials: list[Trial[Components]], held_out: HeldOut) -> Choice:
    """Choose the fewest components whose score is within one paired standard error of the best."""
    index, scores = smallest_good([trial.log_q for trial in trials], held_out)
    score, score_se = held_out.score(trials[index].log_q)
    sizes = [len(trial.fit) for trial in trials]
    return Choice(trials[index].fit, score, score_se, dict(zip(sizes, scores, strict=True)))
