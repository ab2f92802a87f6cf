"""Importance sampling: draws of an approximation, weighted by p̃/q and assigned to their modes."""

import numpy as np

from pymc_kl.approximations import Approximation
from pymc_kl.approximations.wrapped import log_prob_on_circle
from pymc_kl.model.target import Target
from pymc_kl.modes.draws import ModeDraws
from pymc_kl.modes.modes import Modes
from pymc_kl.numerics.estimate import smoothed_weights

N_WEIGHTED = 4000  # draws of q that are weighted; our choice


def weighted_draws(approximation: Approximation, target: Target, modes: Modes, rng: np.random.Generator) -> ModeDraws:
    """Draw from q, weight the draws by p̃/q and assign each to a mode and a copy of it.

    Only draws where p̃ is positive are returned. Weights are Pareto-smoothed; those of a q without density are equal.
    """
    x = approximation.sample(N_WEIGHTED, random_seed=rng)
    log_density = target.log_density(x)
    x, log_density = x[log_density > -np.inf], log_density[log_density > -np.inf]
    if not len(x):
        raise ValueError(
            f"none of {N_WEIGHTED} draws of the {approximation.family} approximation has a positive density. Fit it to "
            "this model."
        )
    weights = np.full(len(x), 1 / len(x))
    if approximation.has_log_prob:
        weights, _ = smoothed_weights(log_density - log_prob_on_circle(approximation, x))
    canonical = modes.canonical(x)
    one_copy = modes.symmetry.is_trivial or not modes.proper
    copy = canonical.mode if one_copy else modes.copy_labels(x, canonical.maximum)
    return ModeDraws(x, log_density, weights, canonical.mode, copy, fold=np.zeros(len(x), dtype=np.int64))
