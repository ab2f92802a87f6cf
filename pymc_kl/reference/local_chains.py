"""Chains about one mode: how they are to be made, and what came of them."""

from dataclasses import dataclass, replace

import numpy as np

from pymc_kl._typing import Array
from pymc_kl.model.target import Target
from pymc_kl.numerics.whitening import WIDE, whiten

STARTS_OF_CHAINS = 4  # starts of the chains about a mode; draws of different starts must agree; our choice
SETTLED_STARTS = 64  # draws of a mode that chains start from, evenly spread over those at hand; our choice
START_SPREAD = 0.5  # standard deviations of the chains' starts about the mode; our choice
MAX_HALVINGS = 30  # of the distance from the mode of starts outside the support; our choice


@dataclass(frozen=True, eq=False)
class Task:
    """Chains to be sampled about one mode.

    Attributes
    ----------
    centre : array (d,)
    factor : array (d, d)
        Lower Cholesky factor of the covariance that whitens the mode.
    starts : array (start, d)
        In whitened coordinates.
    draws, tune : int
        Of each chain of NUTS.
    chains : int
        Of NUTS. Chains in batches are more and shorter, and make as many draws together.
    seed : int
    beta : float
        Below 1 the density is p̃^β times that of a Gaussian with this centre and scale to the power 1 - β.
    settled : bool
        The starts are draws of the mode, and the factor that of their covariance: batches need little warm-up.
    """

    centre: Array
    factor: Array
    starts: Array
    draws: int
    tune: int
    chains: int
    seed: int
    beta: float = 1.0
    settled: bool = False


def make_task(
    centre: Array, covariance: Array, *, draws: int, tune: int, chains: int, rng: np.random.Generator
) -> Task:
    """Plan chains from a mode; they start about half a standard deviation from it, so that none starts outside."""
    starts = START_SPREAD * rng.standard_normal((max(STARTS_OF_CHAINS, chains), len(centre)))
    return Task(centre, _factor(covariance), starts, draws, tune, chains, int(rng.integers(2**31)))


def continue_task(x: Array, ess: float, covariance: Array, task: Task, rng: np.random.Generator) -> Task:
    """Start the chains of a task from draws x (n, d) of its mode, worth `ess`, in the order of their chains.

    Their covariance takes the place of the one about the maximum, as far as their number allows.
    """
    share = (task.centre.size + 1) / (ess + task.centre.size + 1)
    factor = _factor((1 - share) * np.cov(x, rowvar=False).reshape(covariance.shape) + share * covariance)
    rows = (np.arange(SETTLED_STARTS) + rng.random(SETTLED_STARTS)) * len(x) / SETTLED_STARTS
    starts = whiten(x[rows.astype(int)] - task.centre, factor)
    return replace(task, factor=factor, starts=starts, settled=True)


def _factor(covariance: Array) -> Array:
    """Factor a covariance (d, d); of wide spaces, where draws do not tell correlations, its diagonal."""
    d = len(covariance)
    return np.linalg.cholesky(covariance) if d <= WIDE else np.diag(np.sqrt(np.diag(covariance)))


def starts_inside(target: Target, task: Task) -> Task:
    """Move starts outside the support towards the mode until every chain starts inside."""
    starts = task.starts.copy()
    for _ in range(MAX_HALVINGS):
        outside = ~np.isfinite(target.log_density(task.centre + starts @ task.factor.T))
        if not outside.any():
            break
        starts[outside] /= 2
    return replace(task, starts=starts)


@dataclass(frozen=True, eq=False)
class Chains:
    """Draws of one task.

    Attributes
    ----------
    x : array (chain, draw, d)
        Unconstrained; chains of one start are neighbours.
    n_diverging : int
        Divergent transitions among those that end at the draws.
    source : str
        "HMC" or "NUTS".
    left : array (m, d), optional
        Draws that had left the mode and were turned back.
    error : str
        Why the sampler failed; empty where it did not.
    crawl : bool
        The trajectories are too short to cross the mode, and the chains hardly move from where they started.
    bent : bool
        The mode is a narrow ridge that bends, and the chains may not enter all of it.
    """

    x: Array
    n_diverging: int
    source: str = "NUTS"
    left: Array | None = None
    error: str = ""
    crawl: bool = False
    bent: bool = False
