"""Time compare() beside what PyMC needs for the draws and the two fits that it is given, on models by name.

Each model is compared twice: the first time compiles, the second is warm. Sampling is with 4 chains of 1,000 draws (500
of the hierarchical models) and two fits of 30,000 steps; one of hierarchical_wide, whose full-rank fit takes minutes.

    python -m uv run --group bench python benchmarks/compare.py galaxies hierarchical
"""

import argparse
import json
import resource
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pymc as pm
from rich.console import Console
from rich.table import Table

import pymc_kl as pkl
from pymc_kl.data import galaxies

STEPS = 30_000


def regression() -> pm.Model:
    """One mode, d = 7."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5))
    y = 1 + x @ np.array([0.0, 0.3, 0.6, 0.9, 1.2]) + rng.normal(size=200)
    with pm.Model() as model:
        mean = pm.Normal("a", 0, 5) + x @ pm.Normal("b", 0, 2, shape=5)
        pm.Normal("y", mean, pm.HalfNormal("s", 2), observed=y)
    return model


def hierarchical(groups: int = 100) -> pm.Model:
    """A hundred non-centred groups, d = 102, with a Deterministic of each."""
    rng = np.random.default_rng(0)
    y = rng.normal(rng.normal(2, 1.5, groups)[:, None], 1, (groups, 5))
    with pm.Model() as model:
        mu, tau, z = pm.Normal("mu", 0, 5), pm.HalfNormal("tau", 3), pm.Normal("z", shape=groups)
        theta = pm.Deterministic("theta", mu + tau * z)
        pm.Normal("y", theta[:, None], 1, observed=y)
    return model


def hierarchical_wide() -> pm.Model:
    """The same with a thousand groups, d = 1,002."""
    return hierarchical(1000)


def item_response() -> pm.Model:
    """Abilities and discriminations with a free sign, d = 36."""
    rng = np.random.default_rng(2)
    ability, difficulty, slope = rng.normal(size=25), rng.normal(size=10), rng.uniform(0.5, 2, 10)
    y = rng.random((25, 10)) < 1 / (1 + np.exp(-slope * (ability[:, None] - difficulty)))
    with pm.Model() as model:
        person, item = pm.Normal("person", shape=25), pm.Normal("item", shape=10)
        pm.Bernoulli("y", logit_p=item * (person[:, None] - pm.Normal("level")), observed=y.astype(int))
    return model


def radial_velocity() -> pm.Model:
    """One planet seen 12 times: its period has aliases."""
    rng = np.random.default_rng(8)
    t = np.sort(rng.uniform(0, 30, 12))
    y = 2 * np.cos(2 * np.pi * t / 5.3 + 0.4) + 0.7 * rng.normal(size=12)
    with pm.Model() as model:
        log_period, s = pm.Normal("log_period", np.log(6), 0.5), pm.HalfNormal("s", 1)
        cosine, sine = pm.Normal("cosine", 0, 2), pm.Normal("sine", 0, 2)
        phase = 2 * np.pi * t / pm.math.exp(log_period)
        pm.Normal("y", cosine * pm.math.cos(phase) + sine * pm.math.sin(phase), s, observed=y)
    return model


def regressions() -> pm.Model:
    """A mixture of two regressions, whose labels can be exchanged."""
    rng = np.random.default_rng(9)
    x, second = rng.uniform(-2, 2, 120), rng.random(120) < 0.4
    y = np.where(second, 1 - x, 2 * x) + 0.5 * rng.normal(size=120)
    with pm.Model(coords={"line": range(2)}) as model:
        a, b = pm.Normal("a", 0, 3, dims="line"), pm.Normal("b", 0, 3, dims="line")
        w = pm.Dirichlet("w", np.ones(2), dims="line")
        pm.NormalMixture("y", w, a + b * x[:, None], pm.HalfNormal("s", 1), observed=y)
    return model


def gaussian_process() -> pm.Model:
    """A marginal Gaussian process of 40 points."""
    rng = np.random.default_rng(7)
    x = np.linspace(0, 5, 40)[:, None]
    y = np.sin(2 * x[:, 0]) + 0.3 * rng.normal(size=40)
    with pm.Model() as model:
        length, scale = pm.InverseGamma("length", 3, 2), pm.HalfNormal("scale", 2)
        process = pm.gp.Marginal(cov_func=scale**2 * pm.gp.cov.ExpQuad(1, length))
        process.marginal_likelihood("y", x, y, sigma=pm.HalfNormal("s", 1))
    return model


MODELS: dict[str, tuple[Callable[[], pm.Model], int]] = {
    "galaxies": (galaxies.model, 1000),
    "regression": (regression, 1000),
    "hierarchical": (hierarchical, 500),
    "hierarchical_wide": (hierarchical_wide, 500),
    "item_response": (item_response, 1000),
    "radial_velocity": (radial_velocity, 1000),
    "regressions": (regressions, 1000),
    "gaussian_process": (gaussian_process, 1000),
}


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Call a function; return what it returned and the seconds it took."""
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def run(name: str) -> Table:
    """Make a table of one model: a row a step, and the ratios that count."""
    build, draws = MODELS[name]
    with build():
        idata, sampling = timed(lambda: pm.sample(draws, chains=4, random_seed=1, progressbar=False))
        advi, mean_field = timed(lambda: pm.fit(STEPS, random_seed=1, progressbar=False))
        fits, theirs = {"ADVI": advi}, {"pm.sample": sampling, "pm.fit advi": mean_field}
        if name != "hierarchical_wide":
            fits["full-rank ADVI"], theirs["pm.fit fullrank_advi"] = timed(
                lambda: pm.fit(STEPS, method="fullrank_advi", random_seed=1, progressbar=False)
            )
        (_, cold), (warm, comparing) = (
            timed(lambda: pkl.compare(idata, fits, random_seed=1, progressbar=False)) for _ in range(2)
        )
    own = sum(theirs.values())
    parts = {f"  {stage}": value for stage, value in json.loads(warm.attrs["seconds"]).items()}
    table = Table("step", title=name)
    table.add_column("seconds", justify="right")
    for step, value in {**theirs, "PyMC in all": own, "compare, again": comparing, **parts}.items():
        table.add_row(step, f"{value:.1f}")
    table.add_row("first compare / PyMC", f"{cold / own:.2f}")
    table.add_row("compare again / PyMC", f"{comparing / own:.2f}")
    table.add_row("memory at the most, GB", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f}")
    return table


def main() -> None:
    """Print a table a model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["galaxies"], help=", ".join(MODELS))
    warnings.simplefilter("ignore")
    for name in parser.parse_args().models:
        Console().print(run(name))


if __name__ == "__main__":
    main()
