"""NUTS by `pm.sample` from modes that chains in batches do not mix in, whitened by the mode's own curvature.

One PyMC model serves all modes: z has a flat prior and the target's density at centre + factor z. It is compiled once
in each process, and only the data `centre`, `factor` and `beta` change from mode to mode.
"""

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import cloudpickle
import joblib
import numpy as np
import pymc as pm

from pymc_kl.interrupts import not_swallowed
from pymc_kl.model.graphs import PYTENSOR, Variables, affine_model, same_arithmetic
from pymc_kl.model.target import Target
from pymc_kl.progress import SILENT, Alarm, TimeIsUp
from pymc_kl.reference.local_chains import Chains, Task

LOCAL_TARGET_ACCEPT = 0.95  # acceptance rate, above PyMC's 0.8: modes are curved, and short trajectories cost little
MAX_TREEDEPTH = 8  # most doublings of a trajectory (255 steps), which on a plateau are always reached; our choice
WATCH = 1.0  # seconds between two looks of a worker whether its parent lives; our choice
TUNE = 400  # tuning draws of a chain; our choice


def sample_with_nuts(
    target: Target, tasks: Sequence[Task], *, n_jobs: int | None = None, alarm: Alarm = SILENT
) -> Iterator[tuple[int, Chains]]:
    """Sample each task with NUTS, here or in as many processes as there are jobs; give the number and chains of each.

    The results do not depend on `n_jobs`; without it the jobs are those of an enclosing `joblib.parallel_config`, else
    one, in which the alarm is checked at every draw.
    """
    parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator")
    size = 1 if parallel.n_jobs == 1 else max(joblib.effective_n_jobs(parallel.n_jobs), 1)
    if size == 1:
        yield from enumerate(_run(target.model, target.variables, target.rewrites, tasks, alarm))
        return
    groups = [range(i, len(tasks), size) for i in range(size)]
    # As bytes, since joblib's own pickler does not know all that a PyMC model may hold.
    packed = cloudpickle.dumps((target.model, target.variables, target.rewrites))
    parts = parallel(joblib.delayed(_run_packed)(packed, [tasks[i] for i in group], os.getpid()) for group in groups)
    for group, part in zip(groups, parts, strict=True):
        yield from zip(group, part, strict=True)


def _run_packed(packed: bytes, tasks: Sequence[Task], caller: int) -> list[Chains]:
    started_by = multiprocessing.parent_process()
    if started_by is not None and started_by.pid == caller:  # a process that joblib started, not a thread
        _end_with_parent(caller)
    model, variables, rewrites = cloudpickle.loads(packed)
    return list(_run(model, variables, rewrites, tasks, SILENT))


@cache
def _end_with_parent(parent: int) -> None:
    """End this process when its parent is no more: a SIGTERM or SIGKILL leaves it no time to end its workers."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run(
    model: pm.Model, variables: Sequence[Variables], rewrites: Sequence[str], tasks: Sequence[Task], alarm: Alarm
) -> Iterator[Chains]:
    """Compile once and sample task after task."""
    if not tasks:
        return
    affine = affine_model(model, variables, rewrites)
    with PYTENSOR, _quiet(), same_arithmetic(), affine:
        step = pm.NUTS(target_accept=LOCAL_TARGET_ACCEPT, max_treedepth=MAX_TREEDEPTH)
    fresh = step.sampling_state
    for task in tasks:
        step.sampling_state = fresh
        yield _sample(affine, step, task, alarm)


def _sample(affine: pm.Model, step: pm.NUTS, task: Task, alarm: Alarm) -> Chains:
    """Sample one task; an interrupt, after which `pm.sample` returns whole chains or draws less, is raised again."""

    def end(**_: object) -> None:
        interrupts.end()
        if alarm.over:
            raise TimeIsUp

    try:
        with PYTENSOR, _quiet(), not_swallowed() as interrupts, affine:
            pm.set_data({"centre": task.centre, "factor": task.factor, "beta": np.float64(task.beta)})
            trace = pm.sample(
                task.draws,
                tune=task.tune,
                chains=task.chains,
                cores=1,
                step=step,
                initvals=[{"z": start} for start in task.starts[: task.chains]],
                random_seed=task.seed,
                progressbar=False,
                compute_convergence_checks=False,
                quiet=True,
                callback=end,
            )
    except (pm.exceptions.SamplingError, ValueError, FloatingPointError, np.linalg.LinAlgError) as error:
        if alarm.over:
            raise TimeIsUp from error
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return Chains(np.empty((0, 0, len(task.centre))), 0, error=reason)
    sizes = trace.posterior.sizes
    if sizes["draw"] < task.draws or sizes["chain"] < task.chains:
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
