"""Draws of emcee and nutpie, fits of pymc-extras and two functions of one's own, all in one comparison.

The square of a quantity is measured eight times, so data say nothing of its sign: two modes, and the prior alone weighs
them. Run it (half a minute) with `pip install pymc_kl[extras,samplers]`, or paste the cells into a notebook.
"""

# %% Setup.
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import emcee
import numpy as np
import nutpie
import pymc as pm
import pytensor
import xarray as xr
from scipy.stats import multivariate_normal

import pymc_kl as pkl
from pymc_kl.approximations import Functions
from pymc_kl.model import Target
from pymc_kl.reports import verdict_data

type Array = np.ndarray[Any, np.dtype[np.float64]]

SEED = 1
OBSERVED = np.array([1.9, 2.6, 2.1, 2.9, 1.4, 2.3, 2.7, 2.0])
PRIOR = (0.5, 1.0)  # mean and standard deviation


# %% The model.
def build_model() -> pm.Model:
    """Measure the square of x with an unknown spread."""
    with pm.Model() as model:
        x = pm.Normal("x", *PRIOR)
        sigma = pm.HalfNormal("sigma", 1.0)
        pm.Normal("y", x**2, sigma, observed=OBSERVED)
    return model


# %% emcee needs a log density: the target's, on the unconstrained space. Every step that the sampler holds counts.
def run_emcee(target: Target, n_walkers: int = 32) -> emcee.EnsembleSampler:
    """Run walkers from draws of the prior, and forget the burn-in."""
    rng = np.random.default_rng(SEED)
    sampler = emcee.EnsembleSampler(n_walkers, target.d, target.log_density, vectorize=True)
    random_state = np.random.RandomState(SEED).get_state()
    start = emcee.State(target.initial_points(n_walkers, rng), random_state=random_state)
    burnt_in = sampler.run_mcmc(start, 500)
    sampler.reset()
    sampler.run_mcmc(burnt_in, 500)
    return sampler


# %% nutpie returns a DataTree of draws, as pm.sample, pm.sample_smc and ArviZ's converters do.
def run_nutpie(model: pm.Model) -> xr.DataTree:
    """Run four chains of NUTS."""
    print("NUTS of nutpie.")
    compiled = nutpie.compile_pymc_model(model)
    return nutpie.sample(compiled, draws=1000, tune=500, chains=4, cores=1, seed=SEED, progress_bar=False)


# %% pymc-extras returns DataTrees too; the Gaussians of Laplace and of DADVI are read from them exactly.
def compile_quickly() -> AbstractContextManager[Any]:
    """Compile in seconds instead of minutes, to slower functions: all that a small model needs."""
    return pytensor.config.change_flags(mode="FAST_COMPILE")


def fit_with_extras(model: pm.Model) -> dict[str, xr.DataTree]:
    """Fit with every method of pymc-extras, if it is there."""
    if find_spec("pymc_extras") is None:
        return {}
    import pymc_extras as pmx

    print("Laplace, DADVI and Pathfinder of pymc-extras.")
    quiet: dict[str, Any] = {"random_seed": SEED, "progressbar": False}
    with model, compile_quickly():
        return {
            "Laplace": pmx.fit(method="laplace", **quiet),
            "DADVI": pmx.fit(method="dadvi", **quiet),
            "Pathfinder": pmx.fit(method="pathfinder", num_paths=8, parallel=False, **quiet),
        }


# %% Anything else comes in as two functions on the unconstrained space, in the order of target.labels.
def by_hand(target: Target) -> Functions:
    """Set a normal at each root of the mean square, weighed by the prior there, as wide as data tell."""
    root, spread = np.sqrt(OBSERVED.mean()), OBSERVED.std(ddof=1)
    sign = np.array([1.0, -1.0])
    weights = np.exp(-0.5 * ((sign * root - PRIOR[0]) / PRIOR[1]) ** 2)
    weights /= weights.sum()
    n = len(OBSERVED)
    sds = {"x": spread / np.sqrt(n) / (2 * root), "sigma_log__": 1 / np.sqrt(2 * n)}
    scale = np.diag([sds[label] ** 2 for label in target.labels])
    locs = [[{"x": s * root, "sigma_log__": np.log(spread)}[label] for label in target.labels] for s in sign]
    normals = [multivariate_normal(loc, scale) for loc in locs]

    def sample(n: int, rng: np.random.Generator) -> Array:
        x = np.stack([normal.rvs(n, random_state=rng) for normal in normals])
        return x[rng.choice(2, size=n, p=weights), np.arange(n)]

    def log_prob(x: Array) -> Array:
        return np.logaddexp(*(np.log(w) + normal.logpdf(x) for w, normal in zip(weights, normals, strict=True)))

    return Functions(sample=sample, log_prob=log_prob)


# %% One comparison of all. No draws are given as reference: compare() samples both modes by itself.
def compare_all() -> xr.DataTree:
    """Fit, sample and compare."""
    print("Sampling with emcee and nutpie, and fitting with pymc-extras: most of the time is compiling.")
    model = build_model()
    target = Target.from_model(model)
    fits = {"emcee": run_emcee(target), "nutpie": run_nutpie(model), **fit_with_extras(model)}
    fits["by hand"] = by_hand(target)
    return pkl.compare(None, fits, model=target, forward=("mixture",), random_seed=SEED)


# %% Run everything.
def main(folder: str | Path = "pymc_kl_demo/from_other_samplers") -> xr.DataTree:
    """Compare, print the tables, save the comparison and a picture; returns the comparison."""
    folder = Path(folder)
    comparison = compare_all()
    columns = ["kind", "family", "forward_kl", "forward_kl_se", "reverse_kl", "reverse_kl_se"]
    print(pkl.summary(comparison, columns=columns).round(3).to_string())
    print(pkl.coverage(comparison, values=("mass", "verdict")).round(3).to_string())
    notes = pkl.summary(comparison, kind="all")["note"]
    print("\n".join(f"{name}: {note}" for name, note in notes.items() if note))
    pkl.save(comparison, folder / "comparison.nc", overwrite=True)
    pkl.plot_coverage(comparison, backend="matplotlib").savefig(folder / "coverage.png", dpi=120)
    missing = [fit["name"] for fit in verdict_data(comparison)["fits"] if fit["modes_missed"]]
    print(f"A mode is missed by {', '.join(missing)}. The comparison and its picture are in {folder}.")
    return comparison


if __name__ == "__main__":
    main()
