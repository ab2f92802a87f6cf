"""Fit reverse KL with pm.fit and with fit_reverse(), and measure both ELBOs on the same fresh draws.

pm.fit runs its defaults for 30,000 steps; fit_reverse() has one start (Laplace's approximation at the best mode), or
32, and the search for modes is timed apart, since a comparison makes it once for all fits. Every fit runs twice, the
first time to compile: the second is shown.

Then both from nothing, each in a process of its own, whose compile cache is empty ("cold") or full ("warm"): seconds
from a model to the fit, compiling and, of fit_reverse(), the search and 32 starts included.

    python -m uv run python benchmarks/reverse.py            # some eight minutes
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pymc as pm
from rich.console import Console
from rich.table import Table

import pymc_kl as pkl
from pymc_kl.approximations import Approximation
from pymc_kl.data import galaxies

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from problems import eight_schools, logistic_regression  # the zoo

from pymc_kl.model import Target

STEPS, DRAWS = 30_000, 20_000
METHODS = {"meanfield": "advi", "fullrank": "fullrank_advi"}
MODELS: dict[str, Callable[[], pm.Model]] = {
    "eight schools": lambda: eight_schools(centred=False).model(),
    "logistic, d = 30": lambda: logistic_regression().model(),
    "galaxies": galaxies.model,
}


def timed[T](function: Callable[[], T]) -> tuple[T, float]:
    """Call a function twice; return what it returned the second time, and the seconds of that."""
    function()
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def measure(table: Table, name: str, model: pm.Model) -> None:
    """Add the rows of one model."""
    target = Target.from_model(model)
    modes, searching = timed(lambda: pkl.find_modes(model=target, random_seed=1, progressbar=False))
    table.add_row(name, "", "find_modes", "", f"{searching:.1f}")
    for family, method in METHODS.items():
        fits: dict[str, Callable[[], Approximation]] = {
            f"pm.fit({method!r})": lambda method=method: pkl.as_approximation(
                pm.fit(STEPS, method=method, model=model, random_seed=1, progressbar=False), model=target
            )
        }
        for n in (1, 32):
            fits[f"fit_reverse, {n} start{'s' if n > 1 else ''}"] = lambda family=family, n=n: pkl.fit_reverse(
                family, model=target, modes=modes, n_starts=n, random_seed=1, progressbar=False
            )
        for label, fit in fits.items():
            q, seconds = timed(fit)
            x = q.sample(DRAWS, random_seed=2)
            log_ratio = target.log_density(x) - q.log_prob(x)
            elbo = f"{log_ratio.mean():.2f} ± {log_ratio.std() / np.sqrt(DRAWS):.2f}"
            table.add_row("", family, label, elbo, f"{seconds:.2f}")


def from_nothing(name: str, what: str, family: str) -> None:
    """Fit in this process, and print the seconds as JSON."""
    model = MODELS[name]()
    start = time.perf_counter()
    if what == "pm.fit":
        pm.fit(STEPS, method=METHODS[family], model=model, random_seed=1, progressbar=False)
    else:
        pkl.fit_reverse(family, model=model, random_seed=1, progressbar=False)
    print(json.dumps(time.perf_counter() - start))


def in_fresh_process(name: str, what: str, family: str, folder: str) -> float:
    """Run `from_nothing` in a process whose compile directory is `folder`."""
    flags = ",".join(filter(None, [os.environ.get("PYTENSOR_FLAGS", ""), f"base_compiledir={folder}"]))
    command = [sys.executable, __file__, "--from-nothing", name, what, family]
    out = subprocess.run(
        command, env=os.environ | {"PYTENSOR_FLAGS": flags}, capture_output=True, text=True, check=True
    )
    return float(json.loads(out.stdout.strip().splitlines()[-1]))


def measure_from_nothing(table: Table, name: str) -> None:
    """Add the rows of one model."""
    for family in METHODS:
        for what in ("pm.fit", "fit_reverse"):
            with tempfile.TemporaryDirectory() as folder:
                seconds = [in_fresh_process(name, what, family, folder) for _ in range(2)]
            table.add_row(name, family, what, *(f"{s:.1f}" for s in seconds))


def main() -> None:
    """Print a row a fit, of both tables."""
    warnings.simplefilter("ignore")
    console = Console()
    table = Table(title="reverse KL: ELBO (nats) and seconds, warm")
    for heading in ("model", "family", "fit", "ELBO", "seconds"):
        table.add_column(heading, justify="right" if heading in ("ELBO", "seconds") else "left")
    for name, model in MODELS.items():
        measure(table, name, model())
    console.print(table)
    table = Table(title="from nothing, in a new process: seconds")
    for heading in ("model", "family", "fit", "cold", "warm"):
        table.add_column(heading, justify="right" if heading in ("cold", "warm") else "left")
    for name in MODELS:
        measure_from_nothing(table, name)
    console.print(table)


if __name__ == "__main__":
    np.seterr(all="ignore")
    if sys.argv[1:2] == ["--from-nothing"]:
        from_nothing(*sys.argv[2:])
    else:
        main()
