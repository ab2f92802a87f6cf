"""Time compare() on the galaxies beside what PyMC needs for the draws and the two fits that it is given.

Run it twice: the first run fills the compile caches, the second is warm.

    python -m uv run --group bench python benchmarks/compare.py
"""

import json
import time
import warnings
from collections.abc import Callable
from typing import Any

import pymc as pm
from rich.console import Console
from rich.table import Table

import pymc_kl as pkl
from pymc_kl.data import galaxies

STEPS = 30_000


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Call a function; return what it returned and the seconds it took."""
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def main() -> None:
    """Print a row a step, and the ratio that counts."""
    warnings.simplefilter("ignore")
    with galaxies.model():
        draws, sampling = timed(lambda: pm.sample(chains=4, random_seed=1, progressbar=False))
        advi, mean_field = timed(lambda: pm.fit(STEPS, random_seed=1, progressbar=False))
        full, full_rank = timed(lambda: pm.fit(STEPS, method="fullrank_advi", random_seed=1, progressbar=False))
        fits = {"ADVI": advi, "full-rank ADVI": full}
        comparison, comparing = timed(lambda: pkl.compare(draws, fits, random_seed=1, progressbar=False))
    table = Table(title="seconds")
    table.add_column("step")
    table.add_column("seconds", justify="right")
    theirs = {"pm.sample": sampling, "pm.fit advi": mean_field, "pm.fit fullrank_advi": full_rank}
    parts = {f"  {name}": value for name, value in json.loads(comparison.attrs["seconds"]).items()}
    for name, value in {**theirs, "PyMC in all": sum(theirs.values()), "compare": comparing, **parts}.items():
        table.add_row(name, f"{value:.1f}")
    table.add_row("compare / PyMC", f"{comparing / sum(theirs.values()):.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
