"""Files and trees that are not as `compare` makes them: whatever is raised while they are read, told in one line."""

import dis
from collections.abc import Iterator
from contextlib import contextmanager

MOST_LETTERS = 300  # of another library's error that are told; our choice
STRANGE = "Is it as compare() made it, and load() read it?"
RAISE = dis.opmap["RAISE_VARARGS"]
PACKAGE = __name__.partition(".")[0]


@contextmanager
def told_in_a_line(what: str, cure: str, *passing: type[Exception]) -> Iterator[None]:
    """Raise a ValueError of one line for any error that is not this package's own; `what` fails, and its cure."""
    try:
        yield
    except Exception as error:
        if _is_own(error) or isinstance(error, (Warning, *passing)):
            raise
        text = " ".join(f"{type(error).__name__}: {error}".split())
        text = text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}…"
        raise ValueError(f"{what}: {text.rstrip('.')}. {cure}") from error


def _is_own(error: Exception) -> bool:
    """Tell whether an error is one that this package raises itself, by a `raise`: those say what is wrong."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or not isinstance(error, ValueError | TypeError | OSError):
        return False
    module = str(trace.tb_frame.f_globals.get("__name__", ""))
    raises = trace.tb_frame.f_code.co_code[trace.tb_lasti] == RAISE
    return raises and module.partition(".")[0] == PACKAGE and len(str(error).splitlines()) == 1
