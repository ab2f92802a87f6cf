"""How fast are two processes, what does the sweep itself cost, and what a killed worker: measured on small cells.

64 cells, each a mixture of two normals with other numbers, in one process, by joblib in two and by Dask in two. The
overhead is the time of the sweep in one process less the time that its cells took in `compare`, in per cent of that.
Then one of two Dask workers is killed in a sweep of some cells, and a rerun must make nothing. Last, four cells with
the fits that `compare` makes by default, PyMC's ADVI among them, whose overhead is that of a usual sweep.

    python -m uv run python benchmarks/sweep.py --cells 64
"""

import argparse
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pymc as pm
import xarray as xr

from pymc_kl.sweeps import sweep

FITS = {"reverse": "meanfield", "forward": ("meanfield", "fullrank"), "draws": 1000, "n_starts": 512}
QUIET = {"random_seed": 1, "progressbar": False}


def cell(gap: float, mass: float, sd: float) -> pm.Model:
    """Build (1 - mass) N(0, 1) + mass N(gap, sd)."""
    with pm.Model() as model:
        pm.NormalMixture("x", w=np.array([1 - mass, mass]), mu=np.array([0.0, gap]), sigma=np.array([1.0, sd]))
    return model


def grid(n: int) -> dict[str, pm.Model]:
    """Return the first n of 64 cells."""
    points = product([2.0, 4.0, 6.0, 8.0], [0.1, 0.2, 0.3, 0.4], [0.5, 0.8, 1.0, 1.5])
    return {f"gap={g}, mass={m}, sd={s}": cell(g, m, s) for (g, m, s), _ in zip(points, range(n), strict=False)}


def timed(
    n: int, folder: Path, n_jobs: int | None = None, settings: Mapping[str, Any] = FITS
) -> tuple[float, xr.DataTree]:
    """Sweep; return the seconds that it took."""
    shutil.rmtree(folder, ignore_errors=True)
    cells = grid(n)
    start = time.perf_counter()
    swept = sweep(cells, store=folder, cores=n_jobs, **QUIET, **settings)
    return time.perf_counter() - start, swept


def on_dask(n: int, folder: Path, accident: Callable[..., None] | None = None) -> tuple[float, xr.DataTree]:
    """Sweep on two workers; an accident may happen to them meanwhile."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
        joblib.parallel_config("dask"),
    ):
        thread = threading.Thread(
            target=accident or nullcontext, args=(client, folder) if accident else (), daemon=True
        )
        thread.start()
        return timed(n, folder)


def kill_one(client: object, folder: Path) -> None:
    """Kill a worker when a quarter of a sweep's files are there and a cell has begun."""
    while len(list(folder.glob("*.nc"))) < 4 or not list(folder.glob("*.started")):
        time.sleep(0.02)
    (pid, *_) = client.run(os.getpid).values()  # type: ignore[attr-defined]
    os.kill(pid, signal.SIGKILL)


def main() -> None:
    """Run all four, and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=64)
    parser.add_argument("--few", type=int, default=16, help="cells of the sweep in which a worker is killed")
    args = parser.parse_args()
    print(f"pymc_kl {version('pymc_kl')}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {args.cells} cells")
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "sweep"
        timed(1, store)  # imports and the first compilation, which no cell should pay for
        one, swept = timed(args.cells, store)
        tell_overhead("one process", one, swept)
        for name, run in (
            ("joblib with two", lambda: timed(args.cells, store, 2)),
            ("Dask with two", lambda: on_dask(args.cells, store)),
        ):
            seconds, _ = run()
            print(
                f"{name:17} {seconds:7.1f} s, speed-up {one / seconds:.2f}, load {os.getloadavg()[0]:.1f}", flush=True
            )
        whole, _ = on_dask(args.few, store)
        killed, swept = on_dask(args.few, store, kill_one)
        made = int((swept["table"]["cell_error"] == "").sum())
        print(
            f"a killed worker   {killed:7.1f} s in place of {whole:.1f} s for {args.few} cells, {made} made", flush=True
        )
        start = time.perf_counter()
        sweep(grid(args.few), store=store, **QUIET, **FITS)
        print(
            f"a rerun           {time.perf_counter() - start:7.1f} s, which reads the cells and makes none", flush=True
        )
        usual, swept = timed(4, store, settings={})
        tell_overhead("usual cells", usual, swept)


def tell_overhead(name: str, seconds: float, swept: xr.DataTree) -> None:
    """Print what a sweep takes beside its cells."""
    own, n = float(swept["table"]["seconds"].sum()), swept["table"].sizes["cell"]
    overhead = f"{(seconds - own) / n:.2f} s a cell, {100 * (seconds / own - 1):.1f} %"
    print(f"{name:17} {seconds:7.1f} s, of which compare {own:.1f} s: overhead {overhead}", flush=True)


if __name__ == "__main__":
    main()
