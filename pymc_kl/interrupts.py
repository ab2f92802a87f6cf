"""Ctrl-C in long work: the first ends the step in which it comes, what is done is kept and told; the second ends all.

Libraries swallow interrupts: `pm.fit` and `pm.sample` return what they have, and what Python calls on its own account
(a callback of the garbage collector) drops any exception. So signals are counted where work is done.
"""

import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import xarray as xr

from pymc_kl.arguments import OURS


class _Filters:
    """Filters of warnings, put back when the last of the threads that work at once is done.

    Libraries' `catch_warnings` put back what they found, which may be what another thread had set for a moment.
    """

    def __init__(self) -> None:
        self.lock, self.n = threading.Lock(), 0
        self.before = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self.lock:
            self.n += 1
            if self.n == 1:
                self.before = warnings.catch_warnings()
                self.before.__enter__()

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.n -= 1
            if self.n == 0:
                self.before.__exit__(None, None, None)


_FILTERS = _Filters()


@dataclass(eq=False)
class Interrupts:
    """How often Ctrl-C came, and what the first one ended."""

    n: int = 0
    step: str = ""

    @property
    def came(self) -> bool:
        """Whether any came, seen as a signal or noted as an exception."""
        return bool(self.n or self.step)

    def note(self, step: str) -> None:
        """Note what the first ended; raise KeyboardInterrupt at the second."""
        if self.n > 1 or (self.step and not self.n):
            raise KeyboardInterrupt
        self.step = self.step or step

    def end(self, **_: Any) -> None:
        """End `pm.sample`, as its `callback`: one chain after another, it goes on with the next after an interrupt."""
        if self.came:
            raise KeyboardInterrupt

    def said(self, what: str) -> str:
        """Say what was interrupted, and when; empty if nothing was."""
        if not self.came:
            return ""
        step = f"during {self.step}" if self.step else "before its end"
        return f"{what} was interrupted {step}: what it had not made by then is missing."

    def once_more[T](self, step: str, make: Callable[[], T]) -> T:
        """Make what must be there to tell what is done; where the first Ctrl-C ends that, make it again."""
        try:
            return make()
        except KeyboardInterrupt:
            self.note(step)
            return make()


@contextmanager
def counted() -> Iterator[Interrupts]:
    """Count the SIGINTs of a block, each of which does what it did before; only the main thread receives any."""
    interrupts, before = Interrupts(), signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        with _FILTERS:
            yield interrupts
        return

    def count(number: int, frame: FrameType | None) -> None:
        interrupts.n += 1
        before(number, frame)

    try:
        signal.signal(signal.SIGINT, count)
        with _FILTERS:
            yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def not_swallowed() -> Iterator[Interrupts]:
    """Raise KeyboardInterrupt at the end of a block that a SIGINT came in, whoever caught it there."""
    with counted() as interrupts:
        try:
            yield interrupts
        except Exception as error:  # such as of `pm.sample`, that there is no draw
            if interrupts.n:
                raise KeyboardInterrupt from error
            raise
    if interrupts.n:
        raise KeyboardInterrupt


@contextmanager
def keeping(**done: Any) -> Iterator[None]:
    """Let what ends the block early keep what is done by then: a dict by name, its attribute `kept`."""
    try:
        yield
    except (KeyboardInterrupt, RuntimeError) as error:
        keep(error, **done)
        raise


def tell(dt: xr.DataTree, said: str, *, partial: bool = False) -> xr.DataTree:
    """Put into the attributes, and into a warning, what was said of an interrupt, if anything was."""
    dt.attrs["partial"] = int(bool(said) or partial)
    if said:
        dt.attrs["interrupted"] = said
        warnings.warn(said, UserWarning, skip_file_prefixes=OURS)
    return dt


def keep(error: BaseException, **done: Any) -> None:
    """Add to what an error keeps; an interrupt has no class of its own: Python ends by a signal for this one alone."""
    if "kept" not in vars(error):
        error.add_note("What was done by then is in this error's attribute `kept`.")
    vars(error)["kept"] = done | vars(error).get("kept", {})


def interrupted(message: str, **done: Any) -> KeyboardInterrupt:
    """Return a KeyboardInterrupt that keeps what is done."""
    error = KeyboardInterrupt(message)
    if done:
        keep(error, **done)
    return error
