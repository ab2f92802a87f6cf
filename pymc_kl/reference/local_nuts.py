"""NUTS by `pm.sample` from each mode, in coordinates that the mode's own curvature has whitened.

One PyMC model serves all modes: z has a flat prior and the target's density at centre + factor z. It is compiled once
in each process, and only the data `centre`, `factor` and `beta` change from mode to mode.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import cloudpickle
import joblib
import numpy as np
import pymc as pm

from pymc_kl._typing import Array
from pymc_kl.model.graphs import Variables, affine_model, same_arithmetic
from pymc_kl.model.target import Target

type Show = Callable[[int], None]

LOCAL_TARGET_ACCEPT = 0.95  # acceptance rate, above PyMC's 0.8: modes are curved, and short trajectories cost little
MAX_TREEDEPTH = 8  # most doublings of a trajectory (255 steps), which on a plateau are always reached; our choice
TUNE = 400  # tuning draws of a chain; our choice
START_SPREAD = 0.5  # standard deviations of the chains' starts about the mode; our choice
MAX_HALVINGS = 30  # of the distance from the mode of starts outside the support; our choice
COMPILING = threading.Lock()  # PyTensor compiles, and changes its settings, in one thread at a time


@dataclass(frozen=True, eq=False)
class Task:
    """Chains to be sampled about one mode.

    Attributes
    ----------
    centre : array (d,)
    factor : array (d, d)
        Cholesky factor of the covariance that whitens the mode.
    starts : array (chain, d)
        In whitened coordinates.
    draws, tune : int
        Of each chain.
    seed : int
    beta : float
        Below 1 the density is p̃^β times that of a Gaussian with this centre and scale to the power 1 - β.
    """

    centre: Array
    factor: Array
    starts: Array
    draws: int
    tune: int
    seed: int
    beta: float = 1.0


def make_task(
    centre: Array, covariance: Array, *, draws: int, tune: int, chains: int, rng: np.random.Generator
) -> Task:
    """Plan chains from a mode; they start about half a standard deviation from it, so that none starts outside."""
    starts = START_SPREAD * rng.standard_normal((chains, len(centre)))
    return Task(centre, np.linalg.cholesky(covariance), starts, draws, tune, int(rng.integers(2**31)))


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
    """Draws x (chain, draw, d) of one task, unconstrained, how many diverged, or why NUTS failed."""

    x: Array
    n_diverging: int
    error: str = ""


def sample_locally(
    target: Target, tasks: Sequence[Task], *, n_jobs: int | None = None, show: Show | None = None
) -> tuple[list[Chains | None], bool]:
    """Sample each task with NUTS.

    Parameters
    ----------
    target : Target
    tasks : sequence of Task
    n_jobs : int, optional
        Jobs of joblib; without it those of an enclosing `joblib.parallel_config`, else one. The results do
        not depend on it.
    show : callable, optional
        Called with the number of tasks done.

    Returns
    -------
    list of Chains or None
        None for a task that an interrupt left undone.
    bool
        Whether an interrupt cut the sampling short.
    """
    results: list[Chains | None] = [None] * len(tasks)
    try:
        for i, chains in _run_all(target, tasks, n_jobs):
            results[i] = chains
            if show is not None:
                show(sum(made is not None for made in results))
    except KeyboardInterrupt:
        return results, True
    return results, False


def _run_all(target: Target, tasks: Sequence[Task], n_jobs: int | None) -> Iterator[tuple[int, Chains]]:
    """Sample all tasks, here or in as many processes as there are jobs; give the index and the chains of each."""
    parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator")
    size = 1 if parallel.n_jobs == 1 else max(joblib.effective_n_jobs(parallel.n_jobs), 1)
    if size == 1:
        yield from enumerate(_run(target.model, target.variables, tasks))
        return
    groups = [range(i, len(tasks), size) for i in range(size)]
    # As bytes, since joblib's own pickler does not know all that a PyMC model may hold.
    packed = cloudpickle.dumps((target.model, target.variables))
    parts = parallel(joblib.delayed(_run_packed)(packed, [tasks[i] for i in group]) for group in groups)
    for group, part in zip(groups, parts, strict=True):
        yield from zip(group, part, strict=True)


def _run_packed(packed: bytes, tasks: Sequence[Task]) -> list[Chains]:
    model, variables = cloudpickle.loads(packed)
    return list(_run(model, variables, tasks))


def _run(model: pm.Model, variables: Sequence[Variables], tasks: Sequence[Task]) -> Iterator[Chains]:
    """Compile once and sample task after task."""
    if not tasks:
        return
    affine = affine_model(model, variables)
    with COMPILING, _quiet(), same_arithmetic(), affine:
        step = pm.NUTS(target_accept=LOCAL_TARGET_ACCEPT, max_treedepth=MAX_TREEDEPTH)
    fresh = step.sampling_state
    for task in tasks:
        step.sampling_state = fresh
        yield _sample(affine, step, task)


def _sample(affine: pm.Model, step: pm.NUTS, task: Task) -> Chains:
    """Sample one task; an interrupt, after which `pm.sample` returns what it has, is raised again."""
    try:
        with _quiet(), affine:
            pm.set_data({"centre": task.centre, "factor": task.factor, "beta": np.float64(task.beta)})
            trace = pm.sample(
                task.draws,
                tune=task.tune,
                chains=len(task.starts),
                cores=1,
                step=step,
                initvals=[{"z": start} for start in task.starts],
                random_seed=task.seed,
                progressbar=False,
                compute_convergence_checks=False,
                quiet=True,
            )
    except (pm.exceptions.SamplingError, ValueError, FloatingPointError, np.linalg.LinAlgError) as error:
        return Chains(np.empty((0, 0, len(task.centre))), 0, f"{type(error).__name__}: {error}".splitlines()[0])
    if trace.posterior.sizes["draw"] < task.draws:
        raise KeyboardInterrupt
    x = task.centre + trace.posterior["z"].values @ task.factor.T
    return Chains(np.asarray(x), int(trace.sample_stats["diverging"].sum()))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence PyMC's messages, which would name variables of a model that the user did not write."""
    logger = logging.getLogger("pymc")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
