"""Modes → local draws: NUTS by `pm.sample` from each mode, in coordinates that its own curvature has whitened.

One PyMC model stands for all modes: z ~ flat, with the target's density at centre + factor z. So its density
is compiled once a process, and only the data `centre`, `factor` and `beta` change from mode to mode.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import cloudpickle
import joblib
import numpy as np
import pymc as pm

from pymc_kl._typing import Array
from pymc_kl.model.graphs import Variables, affine_model, same_arithmetic
from pymc_kl.model.target import Target

type Show = Callable[[int], None]

TARGET_ACCEPT = 0.95  # above PyMC's 0.8: regions are curved, and short trajectories cost little here
MAX_TREEDEPTH = 8  # 255 steps in whitened coordinates; on a plateau every trajectory would be as long as it may
TUNE = 400
COMPILING = threading.Lock()  # PyTensor compiles, and changes its settings, in one thread at a time
START_SPREAD = 0.5  # standard deviations about the mode from where chains start


@dataclass(frozen=True, eq=False)
class Task:
    """What it takes to sample one mode: its place, its scale, the chains' starts in whitened units, a seed.

    With `beta` below 1 the density is p̃^β times that of a Gaussian with this place and scale to the power 1 - β.
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
    """Plan chains from a mode; starts are overdispersed less than a standard deviation so that none leaves."""
    starts = START_SPREAD * rng.standard_normal((chains, len(centre)))
    return Task(centre, np.linalg.cholesky(covariance), starts, draws, tune, int(rng.integers(2**31)))


@dataclass(frozen=True, eq=False)
class Chains:
    """What NUTS made of one task: draws x (chain, draw, d), unconstrained, how many diverged, or why it failed."""

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
    parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator")
    results: list[Chains | None] = [None] * len(tasks)
    size = 1 if parallel.n_jobs == 1 else max(joblib.effective_n_jobs(parallel.n_jobs), 1)
    if size == 1:
        try:
            for i, x in enumerate(_run(target.model, target.variables, tasks)):
                results[i] = x
                if show is not None:
                    show(i + 1)
        except KeyboardInterrupt:
            return results, True
        return results, False
    groups = [list(range(i, len(tasks), size)) for i in range(size)]
    # As bytes, since joblib's own pickler does not know all that a PyMC model may hold.
    packed = cloudpickle.dumps((target.model, target.variables))
    parts = parallel(joblib.delayed(_run_packed)(packed, [tasks[i] for i in group]) for group in groups)
    try:
        for group, part in zip(groups, parts, strict=True):
            for i, x in zip(group, part, strict=True):
                results[i] = x
            if show is not None:
                show(sum(x is not None for x in results))
    except KeyboardInterrupt:
        return results, True
    return results, False


def _run_packed(packed: bytes, tasks: Sequence[Task]) -> list[Chains | None]:
    model, variables = cloudpickle.loads(packed)
    return list(_run(model, variables, tasks))


def _run(model: pm.Model, variables: Sequence[Variables], tasks: Sequence[Task]) -> Iterator[Chains | None]:
    """Compile once and sample task after task."""
    if not tasks:
        return
    affine = affine_model(model, variables)
    with COMPILING, _quiet(), same_arithmetic(), affine:
        step = pm.NUTS(target_accept=TARGET_ACCEPT, max_treedepth=MAX_TREEDEPTH)
    fresh = step.sampling_state
    for task in tasks:
        step.sampling_state = fresh
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
            yield Chains(np.empty((0, 0, len(task.centre))), 0, f"{type(error).__name__}: {error}".splitlines()[0])
            continue
        if trace.posterior.sizes["draw"] < task.draws:
            raise KeyboardInterrupt  # pm.sample keeps what it has and returns; the rest of the tasks is off
        x = task.centre + trace.posterior["z"].values @ task.factor.T
        yield Chains(np.asarray(x), int(trace.sample_stats["diverging"].sum()))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep PyMC's messages on a model of the user's own making out of sight."""
    logger = logging.getLogger("pymc")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
