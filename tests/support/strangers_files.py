"""Files of a comparison changed at random, as a stranger's may be, and what the package says of each.

As a program it tries many and prints those that are not answered as they should be:
`python -m support.strangers_files FILE.nc FILE.zarr FOLDER FIRST LAST STEP`.
"""

import json
import resource
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import xarray as xr

import pymc_kl as pkl
from pymc_kl.model.files import reader_options
from pymc_kl.reports import Figure, Painter, build

LONGEST = 10.0  # seconds of computing that one file may take, on a machine that may have other work
MEMORY = 2**30  # bytes that all may add to the process
HANGS = 60  # seconds of computing of one file after which the process is ended
BURSTS = 4 * MEMORY  # bytes beyond which the process gets none
DRAWN = 5  # one page of so many has its pictures: they take four fifths of its time, and one that fails costs no page
LINE = 1000  # letters that an error may have
RUNS_CODE = ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen")  # audit events
JUNK: tuple[Any, ...] = (
    "", "x", "[[[[", "{}", "null", '{"a": 1}', "<script>alert(1)</script>", "9" * 400, "a\nb\0c", -1, 0, 2**62, np.nan,
    np.inf, -1e308, b"\xff\xfe", [1, 2, 3], [], "é" * 5000, "__import__('os').system('true')", "cos\nsystem\n",
)  # fmt: skip


def flip_bytes(path: Path, rng: np.random.Generator) -> None:
    """Change, cut or insert bytes of the file, or of one file of the store."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    file = files[rng.integers(len(files))]
    data = bytearray(file.read_bytes())
    how = rng.integers(4)
    if how == 0:
        data = data[: rng.integers(len(data) + 1)]
    elif how == 1:
        at = rng.integers(len(data) + 1)
        data[at:at] = rng.bytes(int(rng.integers(1, 64)))
    else:
        for _ in range(int(rng.integers(1, 40))):
            if data:
                data[rng.integers(min(len(data), 4096) if how == 2 else len(data))] = rng.integers(256)
    file.write_bytes(bytes(data))


def change_groups(dt: xr.DataTree, rng: np.random.Generator) -> xr.DataTree:
    """Leave out, rename or swap groups or variables."""
    nodes = {node.path: node.to_dataset(inherit=False) for node in dt.subtree}
    paths = [path for path in nodes if path != "/"]
    one, two = (paths[i] for i in rng.integers(len(paths), size=2))
    how = rng.integers(5)
    if how == 0:
        nodes = {path: ds for path, ds in nodes.items() if not path.startswith(one)}
    elif how == 1:
        nodes[one + "x"] = nodes.pop(one)
    elif how == 2:
        nodes[one], nodes[two] = nodes[two], nodes[one]
    elif names := list(nodes[one].variables):
        name = names[rng.integers(len(names))]
        nodes[one] = nodes[one].drop_vars(name) if how == 3 else nodes[one].rename({name: f"{name}_"})
    return xr.DataTree.from_dict(nodes)


def change_attrs(dt: xr.DataTree, rng: np.random.Generator) -> xr.DataTree:
    """Replace, leave out or add attributes of a group."""
    nodes = list(dt.subtree)
    holders = [node for node in nodes if node.attrs]
    holder = holders[rng.integers(len(holders))] if rng.random() < 0.9 else nodes[rng.integers(len(nodes))]
    name = list(holder.attrs)[rng.integers(len(holder.attrs))] if holder.attrs else "new"
    if rng.random() < 0.2:
        holder.attrs = {key: value for key, value in holder.attrs.items() if key != name}
    else:
        holder.attrs = holder.attrs | {name: JUNK[rng.integers(len(JUNK))]}
    return dt


CHANGES: tuple[Callable[[xr.Variable, np.random.Generator], Any], ...] = (
    lambda v, _: (v.dims, v.values.astype(str)),
    lambda v, _: (v.dims, np.zeros(v.shape, dtype=int)),
    lambda v, _: (v.dims, np.full(v.shape, np.nan)),
    lambda v, _: (v.dims, np.full(v.shape, np.inf)),
    lambda v, _: (v.dims, np.full(v.shape, -1e308)),
    lambda v, _: (v.dims, np.full(v.shape, "<script>alert(1)</script>")),
    lambda v, _: (v.dims, np.zeros(v.shape, dtype="int8")),
    lambda v, _: (v.dims, np.ones(v.shape, dtype=bool)),
    lambda v, _: ([f"{dim}_" for dim in v.dims], v.values),
    lambda v, _: ([*v.dims, "more"], np.repeat(np.asarray(v.values)[..., None], 2, -1)),
    lambda v, _: ((), 1.0),
    lambda v, rng: (v.dims, rng.permutation(np.asarray(v.values).ravel()).reshape(v.shape)),
    lambda v, rng: (v.dims, rng.standard_normal(v.shape) * 10.0 ** rng.integers(-300, 300)),
)


def change_values(dt: xr.DataTree, rng: np.random.Generator) -> xr.DataTree:
    """Change type, shape or values of some variables."""
    nodes = [node for node in dt.subtree if node.variables]
    for _ in range(int(rng.integers(1, 4))):
        node = nodes[rng.integers(len(nodes))]
        ds = node.to_dataset(inherit=False)
        names = list(ds.variables)
        if names:
            name = names[rng.integers(len(names))]
            change = CHANGES[rng.integers(len(CHANGES))]
            ds = ds.drop_vars(name).assign({name: change(ds.variables[name], rng)})
            node.dataset = ds
    return dt


KINDS = {"bytes": None, "groups": change_groups, "attrs": change_attrs, "values": change_values}


@cache
def original_tree(path: Path) -> xr.DataTree:
    """Read a file as it is written."""
    with warnings.catch_warnings(), xr.open_datatree(path, decode_cf=False, **reader_options(path)) as dt:
        return xr.DataTree.from_dict({n.path: n.to_dataset(inherit=False).load().drop_encoding() for n in dt.subtree})


def changed_file(originals: dict[str, Path], folder: Path, seed: int) -> tuple[Path, str]:
    """Write a changed copy of one of the files (by suffix); return it with how it was changed."""
    rng = np.random.default_rng(seed)
    suffix, kind = (".nc", ".zarr")[seed % 2], list(KINDS)[seed // 2 % len(KINDS)]
    path, change = folder / f"{seed}{suffix}", KINDS[kind]
    if change is None:
        (shutil.copytree if suffix == ".zarr" else shutil.copy)(originals[suffix], path)
        flip_bytes(path, rng)
        return path, kind
    tree = original_tree(originals[suffix])
    while True:  # what can't be written is no file
        try:
            with warnings.catch_warnings(action="ignore"):
                write(change(tree.copy(deep=True), rng), path)
        except Exception:  # noqa: BLE001 whatever a writer refuses
            continue
        return path, kind


def write(dt: xr.DataTree, path: Path) -> None:
    """Write a tree as `save` does, but for its checks."""
    if path.suffix == ".zarr":
        dt.to_zarr(path, mode="w", zarr_format=2, consolidated=False)
    else:
        dt.to_netcdf(path, mode="w", engine="netcdf4")


class Undrawn(Painter):
    """Leave pictures out of a page."""

    def draw(self, name: str, caption: str, *_: Any, **__: Any) -> Figure:
        return Figure(name, "", caption, "not drawn")


def page_without_pictures(comparison: xr.DataTree | None) -> str:
    with patch.object(build, "Painter", Undrawn):
        return pkl.report(comparison).html


def answers(path: Path, *, report: bool = True, pictures: bool = True) -> Iterator[tuple[str, Exception | None, float]]:
    """Load a file, and make of it what can be made: what was tried, what it raised, and how long that computed."""
    comparison = None
    works: dict[str, Callable[[], Any]] = {
        "load": lambda: pkl.load(path),
        "summary": lambda: repr(pkl.summary(comparison)),
        "coverage": lambda: repr(pkl.coverage(comparison)),
    }
    if report:
        works["report"] = lambda: pkl.report(comparison).html if pictures else page_without_pictures(comparison)
    for name, work in works.items():
        start, raised = time.process_time(), None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = work()
            comparison = made if name == "load" else comparison
        except Exception as error:  # noqa: BLE001 that is what is looked for
            raised = error
        yield name, raised, time.process_time() - start
        if comparison is None:
            return


def why_bad(raised: Exception | None, seconds: float) -> str:
    """Say what is wrong with an answer; empty if it is a result in time, or an error of the package in one line."""
    if seconds > LONGEST:
        return f"took {seconds:.1f} s"
    if raised is None:
        return ""
    where = traceback.extract_tb(raised.__traceback__)[-1]
    said = str(raised)
    own = "pymc_kl" in Path(where.filename).parts and type(raised) in (ValueError, TypeError)
    own = own and (where.line or "").startswith("raise ")
    if own and "\n" not in said and len(said) < LINE:
        return ""
    return f"{type(raised).__name__} at {Path(where.filename).name}:{where.lineno}: {said[:200]!r}"


def say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def limit() -> None:
    """End the process where a file hangs it, and bound its memory."""
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + HANGS, resource.RLIM_INFINITY))
    if resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY and Path("/proc/self/statm").exists():
        in_use = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (in_use + BURSTS, resource.RLIM_INFINITY))


def main(nc: str, zarr: str, folder: str, first: str, last: str, step: str = "1") -> None:
    """Try every `step`-th of many files; print a line of JSON for each bad answer, and one at the end."""
    ran: list[str] = []
    sys.addaudithook(lambda event, _: ran.append(event) if event in RUNS_CODE else None)
    originals = {".nc": Path(nc), ".zarr": Path(zarr)}
    list(answers(Path(nc)))
    ran.clear()
    before, counts = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, {"refused": 0, "read": 0}
    for seed in range(int(first), int(last), int(step)):
        limit()
        path, kind = changed_file(originals, Path(folder), seed)
        for name, raised, seconds in answers(path, pictures=seed // 8 % DRAWN == 0):
            if name == "load":
                counts["read" if raised is None else "refused"] += 1
            if bad := why_bad(raised, seconds):
                say({"seed": seed, "kind": kind, "work": name, "bad": bad})
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    say({**counts, "ran": ran, "kilobytes": grown})


if __name__ == "__main__":
    main(*sys.argv[1:])
