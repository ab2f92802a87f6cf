"""A mode that no proposal overlaps with → its log mass, by bridges along a short path of densities between the two."""

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.model.target import Target
from pymc_kl.modes.modes import Modes
from pymc_kl.numerics.estimate import UNKNOWN, Estimate, effective_size
from pymc_kl.reference.bridge_sampling import (
    LOCAL_RHAT,
    MAX_DIVERGING,
    MIN_INFORMATION,
    LocalDraws,
    LogMass,
    bridge,
    greatest_rhat,
)
from pymc_kl.reference.local_nuts import Task, sample_locally
from pymc_kl.reference.proposals import Proposal, shrunk_gaussian

BETAS = (0.1, 0.3, 0.6)  # of the densities q^(1 - β) p̃^β between a Gaussian q (β = 0) and the mode (β = 1)
CHAINS = 2


def log_mass_annealed(
    target: Target,
    modes: Modes,
    k: int,
    draws: LocalDraws,
    *,
    n_draws: int,
    tune: int,
    n_jobs: int | None = None,
    rng: np.random.Generator,
) -> LogMass:
    """Estimate log ∫ p̃ over mode k and its copies where one bridge is too short.

    NUTS samples each density of the path, restricted to the mode's first copy; neighbours are bridged, and
    their log ratios add up.

    Parameters
    ----------
    target : Target
    modes : Modes
        With proper maxima.
    k : int
    draws : LocalDraws
        Of the mode itself.
    n_draws, tune : int
        Of each chain.
    n_jobs : int, optional
    rng : Generator

    Returns
    -------
    LogMass
        NaN where chains on the path do not mix, or neighbours still overlap too little.
    """
    q = shrunk_gaussian(draws.x, (modes.x[k], modes.covariances[k]))
    centre, factor = q.locs[0], q.scale_trils[0]
    starts = np.linalg.solve(factor, (draws.x[rng.integers(len(draws), size=(len(BETAS), CHAINS))] - centre)[..., None])
    tasks = [
        Task(centre, factor, start[..., 0], n_draws, tune, int(rng.integers(2**31)), beta)
        for start, beta in zip(starts, BETAS, strict=True)
    ]
    chains, _ = sample_locally(target, tasks, n_jobs=n_jobs)
    ends = q.sample(2 * n_draws, rng)
    levels = [_log_ratio(target, modes, k, ends, q)]
    for made in chains:
        if made is None or made.error or made.n_diverging > MAX_DIVERGING * made.x[..., 0].size:
            return _unknown("NUTS failed on the way to it")
        x = made.x.reshape(-1, target.d)
        log_ratio = _log_ratio(target, modes, k, x, q)
        inside = np.isfinite(log_ratio)
        if inside.mean() < 0.1 or greatest_rhat(x[inside]) > LOCAL_RHAT:
            return _unknown("chains do not mix on the way to it")
        levels.append(log_ratio[inside])
    levels.append(draws.log_density + np.log(draws.n_copies) - q.log_prob(draws.x))
    return _along(levels, draws)


def _along(levels: list[Array], draws: LocalDraws) -> LogMass:
    """Add up the log ratios of neighbours on the path."""
    total, variance, least = 0.0, 0.0, np.inf
    steps = np.diff([0.0, *BETAS, 1.0])
    for i, step in enumerate(steps):
        efficiency = draws.ess / len(draws) if i == len(steps) - 1 else 1.0
        below = 1.0 if i == 0 else effective_size(levels[i][None]) / len(levels[i])
        estimate, shared = bridge(step * levels[i + 1], step * levels[i], efficiency, below)
        total, variance, least = total + estimate.value, variance + estimate.se**2, min(least, shared)
    overlap = least / len(draws)
    if least < MIN_INFORMATION or not np.isfinite(total):
        return LogMass(UNKNOWN, overlap, "none", f"densities on the way to it overlap too little ({overlap:.3f})")
    # Draws between two bridges serve both, so that their errors may add up.
    return LogMass(Estimate(float(total), float(np.sqrt(2 * variance))), overlap, "annealed path to Gaussian", "")


def _log_ratio(target: Target, modes: Modes, k: int, x: Array, q: Proposal) -> Array:
    """Evaluate log p̃ - log q, copies counted, at points x (n, d) of the mode's first copy; -inf elsewhere."""
    log_density, canonical = target.log_density(x), modes.canonical(x)
    inside = (canonical.mode == k) & canonical.is_canonical & np.isfinite(log_density)
    return np.where(inside, log_density + np.log(canonical.n_copies) - q.log_prob(x), -np.inf)


def _unknown(reason: str) -> LogMass:
    return LogMass(UNKNOWN, float("nan"), "none", reason)
