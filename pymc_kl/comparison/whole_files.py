"""Files and folders that are whole or not there: written beside their path, and moved to it when they are complete.

Whatever interrupts a write, the old or the new stands there whole. A file is replaced in one step. A folder can't be:
the old one is moved aside before the new one is moved in, and `recover` finishes a swap that was cut short in between.
"""

import errno
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
import zlib
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from glob import escape
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType
from typing import IO

if sys.platform != "win32":
    import fcntl

NEW = "new"  # name of what is being written, in the folder beside its path
OLD = "old"  # name, before a number, of what it replaces, in the same folder
OWNER = "owner"  # name of a file in the same folder, which the process that writes holds locked as long as it lives
READABLE = 50  # letters of a file's name in the name of the folder beside it, which file systems bound by 255; ours
SYNCS = 8  # files flushed at a time; bounds threads: one file at a time, a Zarr store takes seconds; our choice
STALE = 86_400  # seconds after which a folder goes whose owner can't be told: longer than any write; our choice
TRIES = 20  # attempts to swap two folders while other processes do, or to remove one still written to; our choice
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)  # error numbers of a folder that can't be written to
FULL = 1e6  # bytes free at most on a full disk, which NetCDF tells as a lack of permission; our choice
NO_FOLDER = (errno.ENOTDIR, errno.EEXIST)  # error numbers of a file that stands where a folder is needed


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield the path of a new file or folder for the block to write, and move it to `path` once the block is done.

    If the block raises, what it wrote is removed, and what was at `path` stays.

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
        raise _told(path, error) from error


def check_writable(path: Path) -> None:
    """Make the folders above a path, and a file beside it that is removed again, before long work whose result it is.

    Raises
    ------
    OSError
        If nothing can be written there.
    """
    path = Path(os.path.realpath(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent, prefix=_prefix(path)):
            pass
    except OSError as error:
        raise _told(path, error) from error


def check_new(path: Path, *, overwrite: bool) -> None:
    """Raise if there is something at a path that may not be replaced."""
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; pass overwrite=True (on the command line, --overwrite) to replace it.")


def check_folder(path: Path, known: Collection[str], *, overwrite: bool) -> None:
    """Raise if a new folder of files of known names can't take the place of what is at a path."""
    there = sorted(file.name for file in path.iterdir()) if path.is_dir() else []
    if others := [name for name in there if name not in known]:
        raise FileExistsError(f"{path} holds other files, such as {others[0]}; name a new folder for the results.")
    if there:
        check_new(path, overwrite=overwrite)


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
    """Finish a swap of folders that was cut short: move the new one to the path that the old one has left."""
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
    folder = path.parent / f"{_prefix(path)}{secrets.token_hex(8)}"
    try:
        folder.mkdir(mode=0o700)
        with _owned(folder):
            yield folder
    finally:
        with interrupts_wait():
            recover(path)
            _remove(folder)


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """Hold a file in a folder locked; it gets its name once it is, so that none is ever found unlocked."""
    with ExitStack() as opened:
        if sys.platform != "win32":
            with suppress(OSError):  # where no file can be made, the block says why
                file = opened.enter_context((folder / f"{OWNER}.new").open("w"))
                if _lock(file):
                    os.replace(file.name, folder / OWNER)
        yield


def _lock(file: IO[str]) -> bool:
    """Lock a file until it is closed or this process ends; False if another has it or it can't be told."""
    if sys.platform == "win32":
        return False
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def clear_left(folder: Path) -> None:
    """Remove what killed processes left in a folder."""
    for owner in folder.glob(f".*-*-*/{OWNER}"):
        if _is_left(owner.parent):
            _remove(owner.parent)


def _prefix(path: Path) -> str:
    """Begin the name of folders beside `path`: hidden, no result's name, and no other path's."""
    return f".{path.name[:READABLE]}-{zlib.crc32(os.fsencode(path.name)):08x}-"


def _folders_beside(path: Path) -> list[Path]:
    return list(path.parent.glob(f"{escape(_prefix(path))}*"))


def _sweep(path: Path) -> None:
    """Remove what killed processes left beside `path`."""
    for folder in _folders_beside(path):
        if _is_left(folder):
            _remove(folder)


def _is_left(folder: Path) -> bool:
    """Whether the process that made a folder has ended."""
    with suppress(OSError):
        if time.time() - folder.stat().st_mtime > STALE:
            return True
        with (folder / OWNER).open() as file:
            return _lock(file)
    return False


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


def _told(path: Path, error: Exception) -> OSError:
    """Return the error that says what could not be written, why, and what helps."""
    return OSError(f"{path} could not be written: {error}. {_cure(path, error)} What was there is unchanged.")


def _free(folder: Path) -> float:
    """Return the bytes that are free in a folder; infinite where that can't be told."""
    with suppress(OSError):
        return shutil.disk_usage(folder).free
    return float("inf")


def _cure(path: Path, error: Exception) -> str:
    """Say what helps: NetCDF's errors have no number, and may be those of a full disk."""
    number = getattr(error, "errno", None)
    free = _free(path.parent)
    if number in NOT_ALLOWED and free > FULL:
        return f"You may not write to the folder {path.parent}: choose another path, or change its permissions."
    if number in NO_FOLDER:
        return "A file stands where a folder is needed: choose another path."
    room = f"{free / 1e6:,.1f} MB are free"
    return f"The disk may be full ({room}) or a limit reached: make room, or choose another path."
