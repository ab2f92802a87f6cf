"""Files and folders that are whole or not there: written beside their place and moved into it when they are complete.

Whatever interrupts a write, the old or the new stands there whole. A file is replaced in one step. A folder can't be:
the old one is moved aside before the new one is moved in, and `recover` finishes a swap that was cut short in between.
"""

import errno
import os
import shutil
import signal
import tempfile
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType

NEW, OLD = "new", "old"  # what is being written and what it replaces, in the folder beside their place
READABLE = 50  # letters of a file's name that the folder beside it bears
SYNCS = 8  # files that are flushed at a time: one by one, a Zarr store takes seconds
STALE = 86_400  # seconds after which a folder that a killed process left is removed
TRIES = 20  # swaps against other processes, and removals of a folder that a thread still writes to


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a place to write a file or folder to; it replaces `path` if the block ends without an error.

    Raises
    ------
    OSError
        If it could not be written; what was at `path` is unchanged.
    """
    path = Path(os.path.realpath(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        recover(path)
        _sweep(path)
        with _folder_beside(path) as folder:
            yield folder / NEW
            with interrupts_wait():
                _sync(folder / NEW)
            _put(folder / NEW, path)
            _flush(path.parent)
    except (OSError, RuntimeError) as error:  # NetCDF's errors are RuntimeErrors
        raise OSError(f"{path} could not be written: {error}. {_cause(path)} What was there is unchanged.") from error


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Let a first Ctrl-C wait for the end of the block: raised within a library's lock, it would leave that locked."""
    came: list[int] = []

    def wait(number: int, _: FrameType | None) -> None:
        came.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second one ends at once

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or current_thread() is not main_thread():
        yield
        return
    signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt


def write_text(path: Path, text: str) -> None:
    """Write a text file whole, in UTF-8; letters that it can't hold are escaped."""
    with written_whole(path) as new:
        new.write_text(text, encoding="utf-8", errors="backslashreplace")


def recover(path: Path) -> None:
    """Finish a swap of folders that was cut short: what was about to take the empty place takes it."""
    path = Path(os.path.realpath(path))
    if path.exists():
        return
    for folder in _folders_beside(path):
        if (folder / NEW).is_dir() and any(folder.glob(f"{OLD}*")):
            with suppress(FileNotFoundError):  # another process was faster
                os.replace(folder / NEW, path)
            _remove(folder)
            return


@contextmanager
def _folder_beside(path: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.parent))
    try:
        yield folder
    finally:
        recover(path)
        _remove(folder)


def _prefix(path: Path) -> str:
    """Begin the name of folders beside `path`: hidden, no result's name, and no other path's."""
    return f".{path.name[:READABLE]}-{zlib.crc32(os.fsencode(path.name)):08x}-"


def _folders_beside(path: Path) -> list[Path]:
    return list(path.parent.glob(f"{escape(_prefix(path))}*"))


def _sweep(path: Path) -> None:
    """Remove what killed processes left beside `path` long ago."""
    for folder in _folders_beside(path):
        with suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > STALE:
                _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder; an interrupted Zarr write may go on for a moment in its thread and put files back."""
    for _ in range(TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.01)


def _put(new: Path, path: Path) -> None:
    """Move `new` to `path`, as often as other processes come between."""
    if path.is_file():
        shutil.copymode(path, new)
    for attempt in range(TRIES):
        if path.is_dir():
            with suppress(FileNotFoundError):
                os.replace(path, new.with_name(f"{OLD}{attempt}"))
        try:
            return os.replace(new, path)
        except FileNotFoundError:
            if path.exists():  # another process finished this swap
                return None
            raise
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    raise FileExistsError(f"other processes replaced it {TRIES} times at the same moment")


def _sync(path: Path) -> None:
    """Wait until all that was written is on the disk, before anything is replaced by it."""
    with ThreadPoolExecutor(SYNCS) as pool:
        list(pool.map(_flush, [path, *path.rglob("*")]))


def _flush(path: Path) -> None:
    """Flush a file, or a folder's list of files where the system can."""
    if path.is_dir():
        with suppress(OSError):
            _flush_opened(path, os.O_RDONLY)
    else:
        _flush_opened(path, os.O_RDWR)


def _flush_opened(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cause(path: Path) -> str:
    """Say what the likely causes are and what helps."""
    with suppress(OSError):
        free = shutil.disk_usage(path.parent).free / 1e6
        return (
            f"The disk may be full ({free:,.1f} MB are free) or a limit reached, or the folder can't be written to: "
            "make room, or choose another path."
        )
    return "The folder can't be written to: choose another path."
