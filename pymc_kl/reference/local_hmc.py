"""Chains about a mode in one batch: Hamiltonian Monte Carlo on the batched log density, with one kernel for all."""

from dataclasses import replace

import numpy as np
from scipy.linalg import solve_triangular

from pymc_kl._typing import Array
from pymc_kl.model.target import Target
from pymc_kl.numerics.hmc import Chains as Batch
from pymc_kl.numerics.hmc import where
from pymc_kl.numerics.lbfgs import ValueAndGrad
from pymc_kl.numerics.warm_up import ACCEPTANCES, Inside, Kernel, shorten_steps, warm_up
from pymc_kl.progress import SILENT, Alarm
from pymc_kl.reference.bridge_sampling import MAX_DIVERGING
from pymc_kl.reference.local_chains import Chains, Task
from pymc_kl.reference.local_draws import LOCAL_RHAT, greatest_rhat

CHAINS_OF_BATCH = 64  # chains in a batch: a call costs little more than of one, and the metric needs many; our choice
USUAL_TUNE = 400  # tuning draws of NUTS where chains start close by; as many times more, so is the warm-up; our choice


def sample_batch(target: Target, task: Task, inside: Inside, alarm: Alarm = SILENT) -> Chains:
    """Sample about a mode with many chains at once, about as many from each start.

    Draws of one start are neighbours, so that R-hat over quarters of all draws compares chains of different starts, as
    nested R-hat does [1]_. Where chains leave the mode, they are made chains of p̃ restricted to it: a draw outside is
    replaced by the last one inside.

    Parameters
    ----------
    target : Target
    task : Task
    inside : callable
        (n, d) -> whether each point lies in the mode.
    alarm : Alarm
        What interrupts the chains.

    Returns
    -------
    Chains

    References
    ----------
    .. [1] Margossian, C. C. et al. (2024). Nested R-hat: assessing the convergence of Markov chain Monte Carlo when
       running many short chains. Bayesian Analysis. doi:10.1214/24-BA1453
    """
    rng, density = np.random.default_rng(task.seed), alarm.watch(_density(target, task))
    starts = np.repeat(task.centre + task.starts @ task.factor.T, -(-CHAINS_OF_BATCH // len(task.starts)), axis=0)
    chains = Batch.at(density, starts)
    if not len(chains):
        return Chains(np.empty((0, 0, len(task.centre))), 0, "HMC", error="no chain starts inside the support")
    repeats = max(task.tune // USUAL_TUNE, 1)
    chains, kernel, leaves = warm_up(
        density, chains, task.factor, rng, inside=inside, repeats=repeats, settled=task.settled
    )
    stays, n = inside if leaves else None, -(-task.draws * task.chains // len(chains))
    if kernel.crawls(chains):
        return replace(_draw(density, chains, replace(kernel, pace=1.0), n, rng, stays), crawl=True)
    made, bent = _draw(density, chains, kernel, n, rng, stays), kernel.bends(chains)
    if _only_diverges(made) and kernel.acceptance < ACCEPTANCES[-1]:
        chains, kernel = shorten_steps(density, chains, kernel, rng, inside=inside)
        made = _draw(density, chains, kernel, made.x.shape[1], rng, stays)
    return replace(made, bent=bent)


def _only_diverges(made: Chains) -> bool:
    """Tell whether chains of different starts agree and diverge: shorter steps may help."""
    n_draws, d = made.x[..., 0].size, made.x.shape[2]
    return made.n_diverging > MAX_DIVERGING * n_draws and greatest_rhat(made.x.reshape(n_draws, d)) <= LOCAL_RHAT


def _draw(
    density: ValueAndGrad, chains: Batch, kernel: Kernel, n: int, rng: np.random.Generator, stays: Inside | None
) -> Chains:
    """Make n draws of each chain; where there is a region that they stay in, they are turned back at its border."""
    draws, left, n_diverging = [], [np.empty((0, chains.x.shape[1]))], 0
    for _ in range(n):
        before = chains
        for _ in range(kernel.moves_per_draw):
            chains = kernel.move(density, chains, rng)
        n_diverging += chains.n_diverging
        if stays is not None:
            within = stays(chains.x)
            left.append(chains.x[~within])
            chains = where(within, chains, before)
        draws.append(chains.x)
    return Chains(np.stack(draws, axis=1), n_diverging, "HMC", np.concatenate(left))


def _density(target: Target, task: Task) -> ValueAndGrad:
    """Value and gradient of the density that the task asks for."""
    if task.beta == 1.0:
        return target.log_density_and_grad

    def tempered(x: Array) -> tuple[Array, Array]:
        value, grad = target.log_density_and_grad(x)
        z = solve_triangular(task.factor, (x - task.centre).T, lower=True)
        normal, slope = -0.5 * (z**2).sum(axis=0), -solve_triangular(task.factor, z, lower=True, trans="T").T
        return task.beta * value + (1 - task.beta) * normal, task.beta * grad + (1 - task.beta) * slope

    return tempered
