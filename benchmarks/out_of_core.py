"""How much memory and time do forward fits to draws larger than memory take? 10⁷ draws of 100 dimensions, 8 GB.

The draws lie in a Zarr store that is written a chunk at a time. The same fits to a tenth of the draws, held in memory
as arrays, are made in a process of their own, so that peak memory, as `resource` has it, is that of one of them.

    python -m uv run python benchmarks/out_of_core.py --draws 10000000 --dims 100
"""

import argparse
import multiprocessing
import resource
import shutil
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
import zarr

import pymc_kl as pkl
from pymc_kl.model import Target, as_target

N_CHAINS = 4
CHUNK = 25_000  # draws of a chain that lie together: 20 MB in 100 dimensions
MASS = 0.3  # of the mode at -GAP
GAP = 2.0


def mixture_model(d: int) -> pm.Model:
    """Build two normals in d dimensions, a distance of 2 GAP √d apart."""
    with pm.Model() as model:
        x = pm.Flat("x", shape=d)
        low = -0.5 * ((x + GAP) ** 2).sum() + np.log(MASS)
        pm.Potential("p", pm.math.logaddexp(low, -0.5 * ((x - GAP) ** 2).sum() + np.log(1 - MASS)))
    return model


def chunk_of_draws(n: int, d: int, seed: list[int]) -> Any:
    """Draw (1, n, d)."""
    rng = np.random.default_rng(seed)
    centre = np.where(rng.random((n, 1)) < MASS, -GAP, GAP)
    return (centre + rng.standard_normal((n, d)))[None]


def write(path: Path, n: int, d: int) -> None:
    """Write draws to a Zarr store, a chunk at a time, with the names of dims that xarray reads."""
    group = zarr.open_group(path, mode="w").create_group("posterior")
    n_draws = n // N_CHAINS
    x = group.create_array(
        "x", shape=(N_CHAINS, n_draws, d), chunks=(1, CHUNK, d), dtype="f8", compressors=None,
        dimension_names=("chain", "draw", "x_dim_0"),
    )  # fmt: skip
    for chain in range(N_CHAINS):
        for first in range(0, n_draws, CHUNK):
            length = min(CHUNK, n_draws - first)
            x[chain : chain + 1, first : first + length] = chunk_of_draws(length, d, [chain, first])


def in_memory(n: int, d: int) -> xr.Dataset:
    """Make draws as arrays."""
    x = np.concatenate([chunk_of_draws(n // N_CHAINS, d, [chain, 1]) for chain in range(N_CHAINS)])
    return xr.Dataset({"x": (("chain", "draw", "x_dim_0"), x)})


def measure(draws: Any, target: Target, label: str) -> None:
    """Fit each family; print seconds, how far the fit is from the truth, and the peak of memory so far."""
    d = target.d
    truth = (1 - 2 * MASS) * GAP
    for family in ("meanfield", "fullrank", "mixture"):
        start = time.perf_counter()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            q: Any = pkl.fit_forward(draws, family, model=target, random_seed=1)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        size = f", {q.info.n_components} components, {q.info.n_iterations} passes of EM" if family == "mixture" else ""
        off = np.abs(q.loc - truth).max()
        print(f"{label}: {family} in {seconds:.0f} s, {d} means within {off:.5f}{size}; peak {peak:.2f} GB", flush=True)
        for warning in told if family == "meanfield" else ():
            print(f"  {warning.message}")


def from_store(path: Path, d: int) -> None:
    """Fit to the store."""
    measure(path, as_target(mixture_model(d)), "Zarr store")


def from_memory(n: int, d: int) -> None:
    """Fit to arrays."""
    measure(in_memory(n, d), as_target(mixture_model(d)), "a tenth, in memory")


def main() -> None:
    """Write, and measure each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=10_000_000)
    parser.add_argument("--dims", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=None, help="where the store is written; 8 GB are needed")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=args.folder))
    spawn = multiprocessing.get_context("spawn")
    try:
        start = time.perf_counter()
        write(folder / "draws.zarr", args.draws, args.dims)
        print(f"{args.draws:,} draws of {args.dims} numbers written in {time.perf_counter() - start:.0f} s", flush=True)
        for work in ((from_store, (folder / "draws.zarr", args.dims)), (from_memory, (args.draws // 10, args.dims))):
            process = spawn.Process(target=work[0], args=work[1])
            process.start()
            process.join()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
