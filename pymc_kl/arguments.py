"""Rules that arguments of public functions must keep, told by the argument's name before any work begins."""

import difflib
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import wraps
from numbers import Integral, Real
from os import PathLike, fsencode
from pathlib import Path
from typing import Any

import numpy as np

type Rule = Callable[[str, Any], None]

MOST_COUNTED = 10**8  # largest number of draws, starts and the like: 800 MB of double precision a dimension; our choice
MOST_JOBS = 1024  # processes: more than one machine has cores; our choice
LONGEST_NAME = 255  # bytes of a file's name, which file systems bound
OURS = (str(Path(__file__).parent),)  # files that a warning leaves out, to point at the user's line
URL = re.compile("[a-z][a-z0-9+.-]+:/")  # as an address begins, of which a Path keeps one slash; RFC 3986
SHOWN = 60  # letters of a value that an error shows


def check_arguments(given: Mapping[str, Any], **rules: Rule) -> None:
    """Raise if an argument, by its name in `given`, breaks its rule; those that mean the same everywhere have one."""
    for name, value in given.items():
        if (rule := rules.get(name) or EVERYWHERE.get(name)) is not None:
            rule(name, value)


def renamed[**P, T](**new: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let arguments be given by their earlier names, of which `new` has the new ones, with a FutureWarning."""

    def takes_both(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def called(*args: P.args, **given: P.kwargs) -> T:
            for old in new.keys() & given.keys():
                if new[old] in given:
                    raise TypeError(f"{old} is the earlier name of {new[old]}; give {new[old]} alone.")
                warnings.warn(f"{old} is called {new[old]} now.", FutureWarning, skip_file_prefixes=OURS)
                given[new[old]] = given.pop(old)
            return function(*args, **given)

        return called

    return takes_both


def optional(rule: Rule) -> Rule:
    """Allow None as well."""
    return lambda name, value: None if value is None else rule(name, value)


def whole(least: int = 1, most: int = MOST_COUNTED) -> Rule:
    """Allow whole numbers from `least` to `most`."""

    def rule(name: str, value: Any) -> None:
        if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
            raise TypeError(f"{name} must be a whole number, such as {max(least, 1)}; got {shown(value)}.")
        if not least <= int(value) <= most:
            bound = f"at least {least}" if int(value) < least else f"at most {most:,}"
            raise ValueError(f"{name} must be {bound}; got {shown(value)}.")

    return rule


def jobs(name: str, value: Any) -> None:
    """Allow numbers of processes as joblib counts them: below 0 from the number of cores down."""
    whole(least=-MOST_JOBS, most=MOST_JOBS)(name, value)
    if value == 0:
        raise ValueError(f"{name} must not be 0: 1 is one process, -1 one for each core.")


def number(least: float, below: float = np.inf, *, open_below: bool = False) -> Rule:
    """Allow numbers from `least`, itself left out if `open_below`, to less than `below`."""

    def rule(name: str, value: Any) -> None:
        if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
            raise TypeError(f"{name} must be a number; got {shown(value)}.")
        try:
            x = float(value)
        except OverflowError:  # of a whole number
            x = np.inf if value > 0 else -np.inf  # type: ignore[operator]
        if not (least < x < below if open_below else least <= x < below):
            bounds = [f"above {least:g}" if open_below else f"at least {least:g}"] if np.isfinite(least) else []
            bounds += [f"below {below:g}"] if np.isfinite(below) else []
            bounds += [] if np.isfinite(x) else ["finite"]
            raise ValueError(f"{name} must be {' and '.join(bounds)}; got {shown(value)}.")

    return rule


def numbers(rule: Rule, example: str) -> Rule:
    """Allow some numbers, each of which keeps a rule."""

    def of_each(name: str, value: Any) -> None:
        if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray) or not len(value):
            raise TypeError(f"{name} must be a sequence of numbers, such as {example}; got {shown(value)}.")
        for each in value:
            rule(f"each of {name}", each)

    return of_each


def function(name: str, value: Any) -> None:
    """Allow what can be called."""
    if not callable(value):
        raise TypeError(f"{name} must be a function; got {shown(value)}.")


def flag(name: str, value: Any) -> None:
    """Allow True and False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False; got {shown(value)}.")


def flag_or(rule: Rule) -> Rule:
    """Allow True and False as well."""
    return lambda name, value: None if isinstance(value, bool | np.bool_) else rule(name, value)


def choice(*known: str, what: str = "") -> Rule:
    """Allow one of the known names."""

    def rule(name: str, value: Any) -> None:
        if not isinstance(value, str):
            raise TypeError(f"{name} must be one of {quoted(known)}; got {shown(value)}.")
        if value not in known:
            wrong = f"unknown {what} {value!r}{'' if what == name else f' in {name}'}; known are {quoted(known)}"
            told = wrong if what else f"{name} must be one of {quoted(known)}; got {value!r}"
            raise ValueError(f"{told}.{did_you_mean(value, known)}")

    return rule


def choices(*known: str, what: str = "") -> Rule:
    """Allow a known name or a sequence of them."""

    def rule(name: str, value: Any) -> None:
        texts(name, value)
        for each in [value] if isinstance(value, str) else value:
            choice(*known, what=what)(name, each)

    return rule


def texts(name: str, value: Any) -> None:
    """Allow a text or several; what can be read only once would be empty afterwards."""
    if not isinstance(value, str) and not _are_texts(value):
        raise TypeError(f"{name} must be a name or a sequence of names; got {shown(value)}.")


def flag_or_texts(name: str, value: Any) -> None:
    """Allow True, False and several texts; a single one would be read letter by letter."""
    if isinstance(value, str) or not (isinstance(value, bool | np.bool_) or _are_texts(value)):
        cure = f": write [{value!r}]" if isinstance(value, str) else ""
        raise TypeError(f"{name} must be True, False or a sequence of names; got {shown(value)}{cure}.")


def _are_texts(value: Any) -> bool:
    return (
        isinstance(value, Collection)
        and not isinstance(value, Mapping)
        and all(isinstance(each, str) for each in value)
    )


def instance(*types: type, cure: str = "") -> Rule:
    """Allow instances of some types; `cure` says where they come from."""
    names = " or ".join(f"{'an' if each.__name__[0] in 'AEIO' else 'a'} {each.__name__}" for each in types)

    def rule(name: str, value: Any) -> None:
        if not isinstance(value, types):
            raise TypeError(f"{name} must be {names}{cure and f', {cure}'}; got {shown(value)}.")

    return rule


def by_dim(name: str, value: Any) -> None:
    """Allow labels by dim."""
    if not isinstance(value, Mapping) or not _are_texts(value.keys()):
        raise TypeError(f"{name} must be a mapping of labels by dim, such as {{'group': ['a']}}; got {shown(value)}.")


def seed(name: str, value: Any) -> None:
    """Allow what starts numpy's generators."""
    if isinstance(value, np.random.Generator | np.random.SeedSequence | None):
        return
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, a Generator, a SeedSequence or None; got {shown(value)}.")
    if value < 0:
        raise ValueError(f"{name} must be at least 0; got {value}.")


def labels(name: str, value: Any) -> None:
    """Allow ArviZ's labellers."""
    if not callable(getattr(value, "make_label_flat", None)):
        raise TypeError(f"{name} must be a labeller, such as arviz.labels.MapLabeller(); got {shown(value)}.")


def file_path(name: str, value: Any) -> None:
    """Allow what names a file or a folder."""
    if not isinstance(value, str | PathLike) or "\0" in str(value) or not str(value):
        raise TypeError(f"{name} must be the path of a file; got {shown(value)}.")
    on_this_machine(name, value)
    if any(len(fsencode(part)) > LONGEST_NAME for part in Path(value).parts):
        raise ValueError(f"{name} must have names of at most {LONGEST_NAME} bytes; got {str(value)[:SHOWN]}….")


def on_this_machine(name: str, value: Any) -> None:
    """Allow no address of the web or of a store: its file would be looked for, or made, in a folder of that name."""
    if URL.match(str(value)):
        raise ValueError(f"{name} must be a path on this machine; got {shown(value)}. Fetch that file first.")


def real_array(name: str, value: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a value as an array of floats; raise a TypeError if it holds anything but real numbers."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):  # rows of different lengths; a Dataset
        array = np.asarray(None)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be an array of real numbers; got {shown(value)}.")
    return array.astype(float, copy=False)


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """Return a question that names what was probably meant, or nothing."""
    plain = {each.lower().replace("-", "").replace("_", "").replace(" ", ""): each for each in known}
    asked = text.lower().replace("-", "").replace("_", "").replace(" ", "")
    near = difflib.get_close_matches(asked, plain, n=1)
    return f" Did you mean {plain[near[0]]!r}?" if near else ""


def quoted(names: Iterable[str]) -> str:
    """Write names in quotes, with commas."""
    return ", ".join(map(repr, names))


def shown(value: Any) -> str:
    """Write a value, or its type where its text is long."""
    text = repr(value)
    return text if len(text) <= SHOWN and "\n" not in text else f"a value of type {type(value).__name__}"


EVERYWHERE: dict[str, Rule] = {
    "n_starts": whole(most=10**6),
    "cores": optional(jobs),
    "draws": whole(),
    "chains": whole(most=10**5),
    "symmetry": flag_or_texts,
    "min_barrier": number(0),
    "budget": optional(number(0, open_below=True)),
    "random_seed": seed,
    "progressbar": flag,
    "interactive": flag,
    "overwrite": flag,
    "relabel": flag,
    "ci_prob": optional(number(0, 1, open_below=True)),
    "round_to": optional(whole(least=0, most=15)),
    "var_names": optional(texts),
    "filter_vars": optional(choice("like", "regex")),
    "labeller": optional(labels),
    "coords": optional(by_dim),
    "visuals": optional(instance(Mapping, cure="settings by visual")),
    "aes_by_visuals": optional(instance(Mapping, cure="aesthetics by visual")),
    "target_accept": number(0, 1, open_below=True),
}
