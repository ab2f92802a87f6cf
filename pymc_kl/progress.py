"""Display of long computations while they run: one line for each stage, with its findings, as PyMC does."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

type Report = Callable[[str], None]


def silent(text: str) -> None:
    """Ignore a text."""


@dataclass(eq=False)
class Stages:
    """Shows which stage is running and keeps how long each took, in seconds."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[Report]:
        """Run a stage; what it reports is shown beside its name."""
        task = self.progress.add_task(name, total=1)
        start = time.perf_counter()

        def report(text: str) -> None:
            self.progress.update(task, description=f"{name}: {text}")

        try:
            yield report
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
            self.progress.update(task, completed=1)


@contextmanager
def stages(progressbar: bool) -> Iterator[Stages]:
    """Open the display for a run of stages; nothing is shown without `progressbar`."""
    columns = SpinnerColumn(finished_text="✓"), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, disable=not progressbar) as progress:
        yield Stages(progress)
