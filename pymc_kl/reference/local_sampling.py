"""Local sampling of several modes: HMC in batches, and NUTS in those where that does not mix."""

import time
from collections.abc import Callable, Sequence

from pymc_kl.model.target import Target
from pymc_kl.numerics.warm_up import Inside
from pymc_kl.progress import SILENT, Alarm, Report
from pymc_kl.reference.local_chains import Chains, Task
from pymc_kl.reference.local_hmc import sample_batch
from pymc_kl.reference.local_nuts import sample_with_nuts

WORTH_TELLING = 5.0  # seconds from which the time that remains is told; our choice


def sample_locally[Draws](
    target: Target,
    tasks: Sequence[Task],
    inside: Sequence[Inside],
    take: Callable[[int, Chains], Draws],
    mixed: Callable[[Draws], bool],
    *,
    n_jobs: int | None = None,
    alarm: Alarm = SILENT,
    report: Report,
) -> tuple[list[Draws | None], bool]:
    """Sample each task in a batch, and those that do not mix with NUTS.

    Parameters
    ----------
    target : Target
    tasks : sequence of Task
    inside : sequence of callable
        For each task (n, d) -> whether points lie where its chains may be.
    take : callable
        (number of the task, chains) -> draws: what is made of the chains.
    mixed : callable
        Whether such draws can be used.
    n_jobs : int, optional
        Jobs of joblib for NUTS; without it those of an enclosing `joblib.parallel_config`, else one. The results do
        not depend on it.
    alarm : Alarm, optional
        What interrupts the sampling.
    report : callable
        Told how many modes are done.

    Returns
    -------
    list
        The draws of each task; None where an interrupt left none.
    bool
        Whether an interrupt cut the sampling short.
    """
    made: list[Draws | None] = [None] * len(tasks)
    start = time.monotonic()
    try:
        for i, task in enumerate(tasks):
            made[i] = take(i, sample_batch(target, task, inside[i], alarm))
            report(f"HMC in {i + 1} of {len(tasks)} modes{_more(start, i + 1, len(tasks))}")
        unmixed = [i for i, draws in enumerate(made) if draws is None or not mixed(draws)]
        if unmixed:
            report(f"NUTS in 0 of {len(unmixed)} modes that HMC does not mix in")
        sampled = sample_with_nuts(target, [tasks[i] for i in unmixed], n_jobs=n_jobs, alarm=alarm)
        for n_done, (j, chains) in enumerate(sampled, 1):
            made[unmixed[j]] = take(unmixed[j], chains)
            report(f"NUTS in {n_done} of {len(unmixed)} modes that HMC does not mix in")
    except KeyboardInterrupt:
        return made, True
    return made, False


def _more(start: float, n_done: int, n: int) -> str:
    """Estimate the seconds that the rest takes, where they are many."""
    seconds = (time.monotonic() - start) / n_done * (n - n_done)
    return f", about {seconds:.0f} s more" if seconds > WORTH_TELLING else ""
