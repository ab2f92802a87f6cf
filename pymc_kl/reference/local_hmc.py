"""Chains about a mode in one batch: Hamiltonian Monte Carlo on the batched log density, with one kernel for all."""

from dataclasses import replace

import numpy as np
from scipy.linalg import solve_triangular

from pymc_kl._typing import Array
from pymc_kl.model.target import Target
from pymc_kl.numerics.hmc import Chains as Batch
from pymc_kl.numerics.lbfgs import ValueAndGrad
from pymc_kl.numerics.warm_up import ACCEPTANCES, Inside, Kernel, shorten_steps, warm_up
from pymc_kl.progress import SILENT, Alarm
from pymc_kl.reference.bridge_sampling import MAX_DIVERGING
from pymc_kl.reference.local_chains import Chains, Task
from pymc_kl.reference.local_draws import LOCAL_RHAT, greatest_rhat

CHAINS_OF_BATCH = 64  # chains in a batch: a call costs little more than of one, and the metric needs many; our choice
MOST_AHEAD = 8  # draws that chains make between two looks whether they have left the mode, at the most; our choice
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
    if stays is not None:
        return _draw_within(density, chains, kernel, n, rng, stays)
    made = _run_ahead(density, chains, kernel, n, rng)
    x = np.stack([at.x for at in made], axis=1)
    return Chains(x, sum(at.n_diverging for at in made), "HMC", np.empty((0, x.shape[2])))


def _run_ahead(density: ValueAndGrad, chains: Batch, kernel: Kernel, n: int, rng: np.random.Generator) -> list[Batch]:
    """Make n draws of each chain, wherever they lead."""
    made = []
    for _ in range(n):
        for _ in range(kernel.moves_per_draw):
            chains = kernel.move(density, chains, rng)
        made.append(chains)
    return made


def _draw_within(
    density: ValueAndGrad, chains: Batch, kernel: Kernel, n: int, rng: np.random.Generator, stays: Inside
) -> Chains:
    """Make n draws of each chain restricted to a region: a draw outside is replaced by the last one inside.

    To look where chains are takes climbs, which cost little more for many points than for a few. So chains run several
    draws ahead, and one that has left goes on from where it last was inside.
    """
    x, done = np.empty((len(chains), n, chains.x.shape[1])), np.zeros(len(chains), dtype=np.int64)
    left, n_diverging, ahead = [np.empty((0, x.shape[2]))], 0.0, MOST_AHEAD
    while len(rows := np.flatnonzero(done < n)):
        before = chains.take(rows)
        made = _run_ahead(density, before, kernel, min(ahead, int(n - done[rows].min())), rng)
        trail = np.stack([at.x for at in (before, *made)])
        within = stays(trail[1:].reshape(-1, x.shape[2])).reshape(len(made), len(rows))
        n_inside = within.cumprod(axis=0).sum(axis=0)
        kept = np.minimum(n_inside + 1, np.minimum(len(made), n - done[rows]))
        turned = np.flatnonzero(n_inside < kept)
        left.append(trail[n_inside[turned] + 1, turned])
        for i in range(1, len(made) + 1):
            goes_on = np.flatnonzero(i <= kept)
            x[rows[goes_on], done[rows[goes_on]] + i - 1] = trail[np.minimum(i, n_inside)[goes_on], goes_on]
        n_diverging += sum(at.n_diverging for at in made) * kept.sum() / within.size
        chains = chains.put(rows, [before, *made], n_inside)
        done[rows] += kept
        ahead = int(np.clip(kept.sum() / max(len(turned), 1), 1, MOST_AHEAD))
    return Chains(x, round(n_diverging), "HMC", np.concatenate(left))


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
