"""Run the cells of a sweep that are not made yet, in as many processes as joblib has."""

import hashlib
import inspect
import json
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import joblib
import numpy as np
import xarray as xr

from pymc_kl._typing import RandomSeed
from pymc_kl.arguments import check_arguments, did_you_mean, file_path, flag, quoted, renamed
from pymc_kl.comparison.compare import compare
from pymc_kl.comparison.inputs import EARLIER, RULES, as_names, check_names, of_today
from pymc_kl.comparison.io import save
from pymc_kl.comparison.whole_files import check_writable
from pymc_kl.interrupts import interrupted
from pymc_kl.model.context import names_of_posterior
from pymc_kl.model.datatree import plain
from pymc_kl.model.target import Target
from pymc_kl.modes.symmetry.names import check_symmetry
from pymc_kl.progress import Report, stages
from pymc_kl.quantities.asked import check_known
from pymc_kl.sweeps.cells import SEED, Cell, Source, cells_of
from pymc_kl.sweeps.load import read_cells
from pymc_kl.sweeps.rows import cell_facts
from pymc_kl.sweeps.store import ATTRIBUTE, MANIFEST, MOST_KILLED, Store

OF_EACH_CELL = ("idata", "approximations", "model", "starts")  # arguments of `compare` that one model alone can have
LOOKED_AT = 1.0  # seconds between two looks at what is done, for the progress bar; our choice
OPTIONS = tuple(
    name for name in inspect.signature(compare).parameters if name not in (*OF_EACH_CELL, SEED, "progressbar")
)
LOCK = threading.Lock()  # PyTensor compiles in one thread of a process at a time


@renamed(n_jobs="cores", **EARLIER)
def sweep(
    cells: Mapping[str, Source] | Callable[..., Any],
    grid: Mapping[str, Sequence[Any]] | None = None,
    *,
    store: str | Path,
    cores: int | None = None,
    retry_failed: bool = False,
    random_seed: RandomSeed = None,
    progressbar: bool = True,
    **settings: Any,
) -> xr.DataTree:
    """Compare many models with their fits, a cell a model, and keep every comparison on disk.

    A cell is written when it is whole; a run that was cut short goes on with the cells that are missing, and a cell
    that failed keeps its error. Cells run by joblib: within `joblib.parallel_config(backend="dask")` on the workers of
    a Dask cluster, which must see the folder `store`.

    Parameters
    ----------
    cells : mapping of str to model, or function
        Models by name; or a function that is called with each point of `grid`, in the process where the cell runs, and
        with the cell's seed if it has a parameter `random_seed`. In place of a model, a dict of arguments of
        :func:`compare` with `model` among them gives draws and fits as well; so may a function without parameters.
    grid : mapping of str to sequence, optional
        Values of each parameter of the function, as texts, numbers, booleans or None; every combination is a cell,
        named `n=10, sd=0.5`.
    store : path
        A folder: a NetCDF file a cell, which :func:`pymc_kl.load` reads, and `sweep.json`. A cell that is there is
        never made again, whatever its model is now: name a new folder where models or data change.
    cores : int, optional
        Processes; -1 for one a core. Without it what an enclosing `joblib.parallel_config` says, else 1.
    retry_failed : bool
        Run cells that failed again.
    random_seed : int, Generator, SeedSequence or None
        What all seeds come from; that of a cell depends on its name alone, and is in the table, so that
        ``compare(**cell, random_seed=seed, **settings)`` repeats it. A store keeps its seed: None takes that.
    progressbar : bool
    **settings
        What :func:`compare` takes, for all cells: `forward`, `reverse`, `draws`, `budget` and so on.

    Returns
    -------
    DataTree
        As :func:`load_sweep` reads it, of these cells: `cells/<name>`, each a comparison that is read from its file
        where it is looked at and not kept in memory, and `table`.

    Raises
    ------
    TypeError, ValueError
        If cells, grid or settings can't be used, or the store was made with other settings or another seed.
    KeyboardInterrupt
        At Ctrl-C; cells that were finished are in the store.

    Examples
    --------
    >>> import tempfile, pymc as pm
    >>> from pymc_kl.sweeps import sweep, sweep_table
    >>> def model(sd):
    ...     with pm.Model() as model:
    ...         pm.NormalMixture("x", w=[0.3, 0.7], mu=[-3, 3], sigma=sd)
    ...     return model
    >>> fits = {"reverse": "meanfield", "forward": "meanfield"}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     swept = sweep(model, {"sd": [0.5, 3.0]}, store=folder, random_seed=1, progressbar=False, **fits)
    ...     sweep_table(swept)["verdict"].xs("reverse meanfield", level="fit").tolist()
    ['misses 1 of 2 modes', 'covers']
    """
    check_arguments(locals(), store=file_path, retry_failed=flag)
    _check_settings(settings)
    where = Store(Path(store).expanduser().absolute())
    known = where.manifest()
    entropy = int(np.random.default_rng(random_seed).integers(2**63))
    entropy = int(known["entropy"]) if known and random_seed is None else entropy
    stored = plain({name: told_alike(value) for name, value in settings.items()})
    if known and (others := _others(of_today(known["settings"]), stored)):
        raise ValueError(f"{where.folder} was made with other settings ({others}). Name a new folder.")
    if known and known["entropy"] != entropy:
        raise ValueError(f"{where.folder} was made with another seed. Leave out random_seed, or name a new folder.")
    todo = cells_of(cells, grid, entropy)
    for cell in todo:
        _check_cell(cell, settings)
    check_writable(where.folder / MANIFEST)
    where.open(todo, entropy, stored)
    for cell in todo:
        where.clear(cell.name)
        if retry_failed:
            where.failure(cell.name).unlink(missing_ok=True)
    missing = _missing(todo, where)
    with stages(progressbar) as stage, stage("cells") as report, _told(report, todo, where):
        try:
            _run_all(missing, where, settings, cores)
        except KeyboardInterrupt:
            done = sum(where.is_made(cell.name) for cell in todo)
            raise interrupted(f"{done} of {len(todo)} cells are in {where.folder}; run it again to go on.") from None
    return read_cells(where, {cell.name: dict(cell.parameters) for cell in todo})


def _check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse what `compare` does not take, or takes for one model alone."""
    for name in settings:
        if name in OF_EACH_CELL:
            raise TypeError(
                f"{name} is of one cell alone: write {{'cell': {{'model': model, {name!r}: ...}}}} as cells."
            )
        _check_known(name, OPTIONS, "setting")
    check_arguments(settings, **RULES)
    check_names((), *(as_names(settings.get(name) or ()) for name in ("forward", "reverse")))


def _check_known(name: str, known: Sequence[str], what: str) -> None:
    if name not in known:
        raise TypeError(f"unknown {what} {name!r}; known are {quoted(known)}.{did_you_mean(name, known)}")


def _check_cell(cell: Cell, settings: Mapping[str, Any]) -> None:
    """Refuse what `compare` would refuse of arguments that are there already."""
    if cell.is_built:
        arguments = cell.arguments()
        for name in arguments:
            _check_known(name, (*OF_EACH_CELL, *OPTIONS, *EARLIER), f"argument in the cell {cell.name!r},")
        check_arguments(of_today(arguments), **RULES)
        wanted = of_today({**settings, **arguments})
        model = arguments["model"]
        check_symmetry(wanted.get("symmetry", True), model)
        check_known(wanted.get("quantities"), names_of_posterior(model.model if isinstance(model, Target) else model))


def told_alike(value: Any) -> Any:
    """Name functions by what they do, so that settings of two runs compare equal if they are."""
    if isinstance(value, Mapping):
        return {name: told_alike(part) for name, part in value.items()}
    if isinstance(value, FunctionType):
        return f"{value.__qualname__} {hashlib.sha256(_of_code(value.__code__).encode()).hexdigest()[:12]}"
    return getattr(value, "__qualname__", "a function") if callable(value) else value


def _of_code(code: CodeType) -> str:
    """Write what a function does, but not where it stands; values from outside of it are not part of that."""
    constants = [_of_code(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts]
    return repr((code.co_code, code.co_names, code.co_varnames, constants))


def _others(known: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """List settings that differ, as they were; empty where all are alike."""
    names = sorted(name for name in known.keys() | now.keys() if known.get(name) != now.get(name))
    return ", ".join(f"{name}={known[name]!r}" if name in known else f"no {name}" for name in names)


def _missing(cells: Sequence[Cell], store: Store) -> list[Cell]:
    return [cell for cell in cells if not (store.is_made(cell.name) or store.has_failed(cell.name))]


def _run_all(missing: Sequence[Cell], store: Store, settings: Mapping[str, Any], n_jobs: int | None) -> None:
    """Run cells until none is missing; one that ran when a process was killed, which may end all, runs again alone."""
    while missing:
        before, error = [store.n_starts(cell.name) for cell in missing], None
        batch = [cell for cell, n in zip(missing, before, strict=True) if n][:1] or missing
        try:
            joblib.Parallel(n_jobs=n_jobs, batch_size=1)(
                joblib.delayed(run_cell)(cell, store, settings) for cell in batch
            )
        except Exception as caught:  # noqa: BLE001 a cell keeps its own errors, so a process or the cluster failed
            error = caught
        left = _missing(missing, store)
        if left == missing and [store.n_starts(cell.name) for cell in missing] == before:
            raise error or OSError(
                f"the processes that made the cells do not see {store.folder}. Name a shared folder."
            )
        missing = left


def run_cell(cell: Cell, store: Store, settings: Mapping[str, Any]) -> None:
    """Make one comparison and write it, or what it failed of; not again if another process did."""
    with LOCK, joblib.parallel_config("sequential"):  # a cell that waits for other tasks of its cluster waits for ever
        if store.is_made(cell.name) or store.has_failed(cell.name):
            return
        facts = {"name": cell.name, "parameters": dict(cell.parameters), "seed": cell.seed}
        if (n := store.n_starts(cell.name)) >= MOST_KILLED:
            return store.fail(cell.name, facts | {"error": f"its process ended {n} times before it did", "trace": ""})
        store.start(cell.name)
        begun = time.perf_counter()
        try:
            with warnings.catch_warnings(record=True) as given:
                warnings.simplefilter("always", UserWarning)  # kept, also where warnings are errors
                arguments = {**settings, **cell.arguments()}
                comparison = compare(**arguments, random_seed=cell.seed, progressbar=False)
            facts |= cell_facts(comparison) | {"seconds": time.perf_counter() - begun}
            facts["warnings"] = list(dict.fromkeys(str(warning.message) for warning in given))
            if "interrupted" in comparison.attrs:
                raise KeyboardInterrupt
            comparison.attrs[ATTRIBUTE] = json.dumps(plain(facts))
            save(comparison, store.comparison(cell.name), overwrite=True)
        except Exception as error:  # noqa: BLE001 whatever one cell fails of, the others must be made
            told = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
            return store.fail(cell.name, facts | {"seconds": time.perf_counter() - begun} | told)
        store.failure(cell.name).unlink(missing_ok=True)
        store.clear(cell.name)


@contextmanager
def _told(report: Report, cells: Sequence[Cell], store: Store) -> Iterator[None]:
    """Tell now and then how many cells are done, by the files that are there: any backend of joblib may make them."""
    done = threading.Event()

    def tell() -> None:
        made = sum(store.comparison(cell.name).exists() for cell in cells)
        failed = sum(store.failure(cell.name).exists() for cell in cells)
        report(f"{made} of {len(cells)} made{f', {failed} failed' if failed else ''}")

    def look() -> None:
        while not done.wait(LOOKED_AT):
            tell()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        tell()
