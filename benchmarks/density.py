"""Time our log density beside a loop over a compiled function and beside jax.vmap: compiling, then 10⁵ evaluations.

Every measurement is a process of its own; "cold" starts from an empty compile directory, "warm" is a second process.

    python -m uv run --group bench python benchmarks/density.py            # all, some ten minutes
    python -m uv run --group bench python benchmarks/density.py galaxies   # one model
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import pymc as pm
from rich.console import Console
from rich.table import Table

N = 100_000
MEASURED = {"mix1d": N, "schools": N, "galaxies": N, "logreg": 20_000}  # evaluations timed, then scaled to N


def mix1d() -> pm.Model:
    """0.3 N(-3, 0.6) + 0.7 N(3, 1); d = 1."""
    with pm.Model() as model:
        pm.NormalMixture("x", w=[0.3, 0.7], mu=[-3.0, 3.0], sigma=[0.6, 1.0])
    return model


def schools() -> pm.Model:
    """Eight schools, centred; d = 10."""
    y, sigma = np.array([28.0, 8, -3, 7, -1, 1, 18, 12]), np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
    with pm.Model() as model:
        mu, tau = pm.Normal("mu", 0, 5), pm.HalfCauchy("tau", 5)
        theta = pm.Normal("theta", mu, tau, shape=8)
        pm.Normal("y", theta, sigma, observed=y)
    return model


def galaxies() -> pm.Model:
    """Three normal components, 82 velocities; d = 8."""
    from pymc_kl.data.galaxies import model

    return model()


def logreg() -> pm.Model:
    """Logistic regression with 1,000 rows; d = 100."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 100))
    with pm.Model() as model:
        beta = pm.Normal("beta", 0, 1, shape=100)
        pm.Bernoulli("y", logit_p=x @ beta, observed=rng.integers(0, 2, 1000))
    return model


MODELS: dict[str, Callable[[], pm.Model]] = {f.__name__: f for f in (mix1d, schools, galaxies, logreg)}


def ours(model: pm.Model, gradient: bool) -> Callable[[np.ndarray], object]:
    """pymc_kl's default."""
    from pymc_kl.model import Target

    target = Target.from_model(model, gradient=gradient)
    return target.log_density_and_grad if gradient else target.log_density


def ours_numba(model: pm.Model, gradient: bool) -> Callable[[np.ndarray], object]:
    """pymc_kl without JAX."""
    from pymc_kl.model import Target

    target = Target.from_model(model, backend="numba", gradient=gradient)
    return target.log_density_and_grad if gradient else target.log_density


def scalar_loop(model: pm.Model, gradient: bool) -> Callable[[np.ndarray], object]:
    """A loop over PyMC's compiled function of one raveled point."""
    import pytensor.tensor as pt
    from pymc.pytensorf import compile as compile_pymc
    from pymc.pytensorf import join_nonshared_inputs

    [logp], x = join_nonshared_inputs(model.initial_point(0), [model.logp()], model.value_vars)
    outputs = [logp, pt.grad(logp, x)] if gradient else [logp]
    function = compile_pymc([x], outputs, trust_input=True)
    return lambda points: [function(row) for row in points]


def jax_vmap(model: pm.Model, gradient: bool) -> Callable[[np.ndarray], object]:
    """jax.vmap over PyMC's jaxified log density, 2,000 rows a call."""
    import jax
    from pymc.pytensorf import join_nonshared_inputs
    from pymc.sampling.jax import get_jaxified_graph

    [logp], x = join_nonshared_inputs(model.initial_point(0), [model.logp()], model.value_vars)
    graph = get_jaxified_graph([x], [logp])

    def scalar(row: object) -> object:
        return graph(row)[0]

    function = jax.jit(jax.vmap(jax.value_and_grad(scalar) if gradient else scalar))
    return lambda points: [jax.block_until_ready(function(points[i : i + 2000])) for i in range(0, len(points), 2000)]


ROUTES: dict[str, Callable[[pm.Model, bool], Callable[[np.ndarray], object]]] = {
    "pymc_kl": ours, "pymc_kl, numba": ours_numba, "scalar loop": scalar_loop, "jax.vmap": jax_vmap,
}  # fmt: skip


def measure(name: str, route: str, gradient: bool) -> dict[str, float]:
    """Build, compile and evaluate in this process; seconds, the import of the route's libraries included."""
    model = MODELS[name]()
    d = int(sum(np.size(v) for v in model.initial_point(0).values()))
    x = 0.3 * np.random.default_rng(1).normal(size=(MEASURED[name], d))
    start = time.perf_counter()
    function = ROUTES[route](model, gradient)
    function(x[:2000])
    compiled = time.perf_counter() - start
    start = time.perf_counter()
    function(x)
    running = (time.perf_counter() - start) * N / len(x)
    return {"compile": compiled, "run": running, "total": compiled + running}


def in_fresh_process(name: str, route: str, gradient: bool, folder: str) -> dict[str, float]:
    """Run `measure` in a process whose compile directory is `folder`."""
    flags = ",".join(filter(None, [os.environ.get("PYTENSOR_FLAGS", ""), f"base_compiledir={folder}"]))
    command = [sys.executable, __file__, "--measure", name, route, str(int(gradient))]
    out = subprocess.run(
        command, env=os.environ | {"PYTENSOR_FLAGS": flags}, capture_output=True, text=True, check=True
    )
    return json.loads(out.stdout.strip().splitlines()[-1])


def main(names: list[str]) -> None:
    """Print a table a model: seconds to compile, for 10⁵ evaluations, and in all."""
    console = Console(width=110)
    for name in names:
        table = Table(title=f"{name}: seconds to compile (first call included), for {N:,} evaluations, in all")
        for heading in ("route", "gradient", "cold compile", "cold total", "warm compile", "run", "warm total"):
            table.add_column(heading, justify="right")
        for gradient in (True, False):
            for route in ROUTES:
                with tempfile.TemporaryDirectory() as folder:
                    cold, warm = (in_fresh_process(name, route, gradient, folder) for _ in range(2))
                figures = cold["compile"], cold["total"], warm["compile"], warm["run"], warm["total"]
                table.add_row(route, "yes" if gradient else "no", *(f"{value:.1f}" for value in figures))
        console.print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2], sys.argv[3], bool(int(sys.argv[4])))))
    else:
        main(sys.argv[1:] or list(MODELS))
