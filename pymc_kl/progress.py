"""How long computations show what they do, one line a stage as PyMC does, and how they end when their time is over."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Self

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

NEVER = float("inf")  # seconds: the time of an alarm that does not ring

type Report = Callable[[str], None]


def silent(text: str) -> None:
    """Ignore a text."""


class TimeIsUp(KeyboardInterrupt):
    """An interrupt by the clock: what was done until then is kept, as with any interrupt."""


@dataclass(eq=False)
class Alarm:
    """Interrupts work once, at a time by `time.monotonic()`."""

    at: float = NEVER
    rung: bool = False

    @classmethod
    def after(cls, seconds: float | None) -> Self:
        """Set an alarm, or none."""
        return cls() if seconds is None else cls(time.monotonic() + seconds)

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() > self.at

    def check(self) -> None:
        """Interrupt if the time is over and nothing was interrupted yet."""
        if not self.rung and self.over:
            self.rung = True
            raise TimeIsUp

    def watch[**P, R](self, function: Callable[P, R]) -> Callable[P, R]:
        """Return the function with a check before each call."""

        def watched(*args: P.args, **kwargs: P.kwargs) -> R:
            self.check()
            return function(*args, **kwargs)

        return function if self.at == NEVER else watched


SILENT = Alarm()  # never rings


HINTS = ContextVar("HINTS", default=True)  # whether the display ends with what to call next; not on the command line


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
        except Exception:
            self.progress.remove_task(task)  # whose line would end with a tick
            raise
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
            if task in self.progress.task_ids:
                self.progress.update(task, completed=1)

    def hint(self, text: str) -> None:
        """Show a line below the stages, if they are shown."""
        if HINTS.get() and not self.progress.disable:
            self.progress.console.print(text, markup=False, highlight=False)


@contextmanager
def stages(progressbar: bool) -> Iterator[Stages]:
    """Open the display for a run of stages; nothing is shown without `progressbar`."""
    columns = SpinnerColumn(finished_text="✓"), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, disable=not progressbar) as progress:
        yield Stages(progress)
