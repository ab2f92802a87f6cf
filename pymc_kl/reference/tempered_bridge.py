"""Log mass of a mode with which no proposal overlaps enough: bridge sampling along a short tempered path."""

from collections.abc import Iterator

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.numerics.estimate import Estimate, effective_size
from pymc_kl.reference.bridge_sampling import MAX_DIVERGING, MIN_INFORMATION, bridge
from pymc_kl.reference.evidence import LogMass, unknown_log_mass
from pymc_kl.reference.local_chains import Chains, Task
from pymc_kl.reference.local_draws import LOCAL_RHAT, LocalDraws, greatest_rhat
from pymc_kl.reference.local_sampling import sample_locally
from pymc_kl.reference.mode_density import ModeDensity, log_ratio
from pymc_kl.reference.proposals import Proposal, shrunk_gaussian

PATH_BETAS = (0.1, 0.3, 0.6)  # β of the densities q^(1 - β) p̃^β on the path from a Gaussian q to the mode; our choice
PATH_CHAINS = 2  # chains of NUTS on each density of the path; our choice
PATH_STARTS = 4  # draws of the mode that chains of each density start at; our choice
MIN_SHARE_INSIDE_PATH = 0.1  # share of the chains' draws inside the mode; with less they have left it; our choice


def log_mass_by_path(
    mode: ModeDensity,
    draws: LocalDraws,
    *,
    n_draws: int,
    tune: int,
    n_jobs: int | None = None,
    rng: np.random.Generator,
) -> LogMass:
    """Estimate log ∫ p̃ over a mode and its copies by bridge sampling along a geometric path (Gelman and Meng 1998).

    Chains sample each density of the path, restricted to the mode's first copy; neighbours are bridged, and
    their log ratios add up.

    Parameters
    ----------
    mode : ModeDensity
        With a proper maximum.
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

    References
    ----------
    Gelman, A. and Meng, X.-L. (1998). Simulating normalizing constants: from importance sampling to bridge sampling
    to path sampling. Statistical Science 13, 163-185. doi:10.1214/ss/1028905934
    """
    q = shrunk_gaussian(draws.x, mode.laplace)
    tasks = list(_tasks(q, draws, n_draws, tune, rng))
    between, interrupted = sample_locally(
        mode.target,
        tasks,
        [lambda x: mode.evaluate(x)[1]] * len(tasks),
        lambda _, chains: _log_ratio_of_chains(mode, chains, q),
        lambda values: len(values) > 0,
        n_jobs=n_jobs,
        report=lambda _: None,
    )
    if interrupted:
        raise KeyboardInterrupt
    ends = q.sample(2 * n_draws, rng)
    levels = [values for values in between if values is not None and len(values)]
    if len(levels) < len(tasks):
        return unknown_log_mass("chains do not mix on the way to it")
    return _sum_of_bridges([mode.log_ratio(ends, q), *levels, log_ratio(draws, q)], draws)


def _tasks(q: Proposal, draws: LocalDraws, n_draws: int, tune: int, rng: np.random.Generator) -> Iterator[Task]:
    """Plan the chains of each density on the path, from draws of the mode."""
    centre, factor = q.locs[0], q.scale_trils[0]
    rows = rng.integers(len(draws), size=(len(PATH_BETAS), PATH_STARTS))
    starts = np.linalg.solve(factor, (draws.x[rows] - centre)[..., None])[..., 0]
    for start, beta in zip(starts, PATH_BETAS, strict=True):
        yield Task(centre, factor, start, n_draws, tune, PATH_CHAINS, int(rng.integers(2**31)), beta)


def _log_ratio_of_chains(mode: ModeDensity, chains: Chains, q: Proposal) -> Array:
    """Evaluate the mode's log density less that of q, nats, at the draws of a density on the path that stay inside.

    There are none where chains diverge, leave the mode or have not mixed.
    """
    if chains.error or chains.n_diverging > MAX_DIVERGING * chains.x[..., 0].size:
        return np.empty(0)
    x = chains.x.reshape(-1, mode.target.d)
    values = mode.log_ratio(x, q)
    inside = np.isfinite(values)
    if inside.mean() < MIN_SHARE_INSIDE_PATH or greatest_rhat(x[inside]) > LOCAL_RHAT:
        return np.empty(0)
    return np.asarray(values[inside])


def _sum_of_bridges(levels: list[Array], draws: LocalDraws) -> LogMass:
    """Add up the log ratios of neighbours on the path, from log ratios at draws of each, q's first."""
    steps = np.diff([0.0, *PATH_BETAS, 1.0])
    total, variance, least = 0.0, 0.0, np.inf
    for i, step in enumerate(steps):
        efficiency = draws.ess / len(draws) if i == len(steps) - 1 else 1.0
        below = 1.0 if i == 0 else effective_size(levels[i][None]) / len(levels[i])
        estimate, shared, _ = bridge(step * levels[i + 1], step * levels[i], efficiency, below)
        total, variance, least = total + estimate.value, variance + estimate.se**2, min(least, shared)
    overlap = least / len(draws)
    if least < MIN_INFORMATION or not np.isfinite(total):
        return unknown_log_mass(f"densities on the way to it overlap too little ({overlap:.3f})", overlap)
    # The draws between two bridges serve both: their errors are correlated, and added to be safe.
    return LogMass(Estimate(float(total), float(np.sqrt(2 * variance))), overlap, "annealed path to Gaussian", "")
