"""Importance sampling about a maximum: the log mass of a mode without chains."""

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.numerics.estimate import Estimate, pareto_k
from pymc_kl.numerics.khat import KHAT_FINITE_VARIANCE, KHAT_RELIABLE
from pymc_kl.reference.evidence import LogMass
from pymc_kl.reference.local_draws import LocalDraws, no_draws
from pymc_kl.reference.mode_density import ModeDensity, log_ratio
from pymc_kl.reference.proposals import HEAVY_DF, Proposal

IMPORTANCE_DRAWS = 2000  # draws of the proposal; our choice
MIN_DRAWS_INSIDE = 10  # draws inside the mode; with fewer Laplace's approximation is the estimate; our choice
MIN_RESAMPLED = 10  # draws returned at the least; our choice
DOUBTFUL_SE = 0.5  # nats: least error of a log mass if k-hat of its weights is above KHAT_FINITE_VARIANCE; our choice
GUESS_SE = 1.0  # nats: the same above KHAT_RELIABLE, and that of Laplace's approximation; our choice


def log_mass_by_importance(mode: ModeDensity, rng: np.random.Generator) -> tuple[LogMass, LocalDraws]:
    """Estimate log ∫ p̃ over a mode and its copies by importance sampling about its maximum.

    The proposal is Laplace's approximation with the tails of a Student-t.

    Returns
    -------
    LogMass
        With a reason and a wide guess of its error where k-hat of the weights is above 0.5.
    LocalDraws
        Resampled with those weights.
    """
    q = _laplace_proposal(mode)
    draws, inside = mode.evaluate(q.sample(IMPORTANCE_DRAWS, rng))
    if inside.sum() < MIN_DRAWS_INSIDE:
        guess = Estimate(float(mode.modes.log_mass_laplace[mode.k]), GUESS_SE)
        nothing = no_draws(mode.target.d)
        return LogMass(guess, 0.0, "Laplace's approximation", "hardly a draw stays in the mode"), nothing
    log_weights = np.where(inside, log_ratio(draws, q), -np.inf)
    khat, top = pareto_k(log_weights[inside]), log_weights.max()
    w = np.exp(log_weights - top)
    efficiency = float(w.sum() ** 2 / (len(w) * (w**2).sum()))
    rows = rng.choice(len(w), int(max(efficiency * len(w), MIN_RESAMPLED)), p=w / w.sum())
    estimate = Estimate(float(top + np.log(w.mean())), max(_relative_se(w), _least_se(khat)))
    return LogMass(estimate, efficiency, "importance sampling about the peak", _doubt(khat)), draws.take(rows)


def _laplace_proposal(mode: ModeDensity) -> Proposal:
    """Return a Student-t with the location and the covariance of Laplace's approximation."""
    scale_tril = np.linalg.cholesky(mode.modes.covariances[mode.k])
    return Proposal("Laplace", np.ones(1), mode.modes.x[mode.k][None], scale_tril[None], HEAVY_DF)


def _relative_se(weights: Array) -> float:
    """Return the standard error of the mean weight over the mean: that of its log."""
    return float(weights.std() / weights.mean() / np.sqrt(len(weights)))


def _least_se(khat: float) -> float:
    """Return the least error (nats) that a log mass is given whose weights have this k-hat."""
    if khat <= KHAT_FINITE_VARIANCE:
        return 0.0
    return DOUBTFUL_SE if khat <= KHAT_RELIABLE else GUESS_SE


def _doubt(khat: float) -> str:
    """Say that weights with this k-hat are not reliable; empty where they are."""
    if khat <= KHAT_FINITE_VARIANCE:
        return ""
    return f"importance sampling about the peak is not reliable (k-hat {khat:.2f})"
