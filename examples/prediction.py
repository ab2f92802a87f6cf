"""What does a miss cost in prediction? A wave of unknown frequency, and two runs of ADVI from two starts.

Thirty noisy points of a sine. The log density has a hill at the true frequency and lower ones beside it. ADVI from a
start on the hill arrives; from one beside it, it has not after 10,000 steps. Leave-one-out prediction says what that
costs where importance sampling can correct a fit, and of the others that it cannot be told. Run it (half a minute) or
paste the cells into a notebook.
"""

# %% Setup.
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pymc as pm
import xarray as xr
from matplotlib.figure import Figure

import pymc_kl as pkl
from pymc_kl.prediction import elpd_table, predict, predictive_checks

SEED = 1
TIMES = np.linspace(0, 6, 30)
NOISE = 0.5
OBSERVED = np.sin(2 * TIMES) + NOISE * np.random.default_rng(SEED).normal(size=30)
QUIET: dict[str, Any] = {"random_seed": SEED, "progressbar": False}


# %% The model, and ADVI from two starts.
def build_model() -> pm.Model:
    """State a sine of unknown frequency and height."""
    with pm.Model(coords={"time": TIMES.round(2)}) as model:
        frequency = pm.Normal("frequency", 2, 1)
        height = pm.Normal("height", 1, 0.3)
        pm.Normal("y", height * pm.math.sin(frequency * TIMES), NOISE, observed=OBSERVED, dims="time")
    return model


def compare_fits(model: pm.Model) -> xr.DataTree:
    """Fit from two starts and compare both with draws of the whole posterior."""
    fits = {}
    print("Two runs of ADVI; PyMC compiles first.")
    with model:
        for name, start in (("ADVI", 2.0), ("ADVI from 3.4", 3.4)):
            fits[name] = pm.fit(10_000, start={"frequency": start}, obj_optimizer=pm.adam(learning_rate=1e-3), **QUIET)
        return pkl.compare(None, fits, forward="fullrank", random_seed=SEED)


# %% The picture: what each source expects at every time, and what it loses against the reference.
def draw_predictions(comparison: xr.DataTree, prediction: xr.Dataset) -> Figure:
    """Draw the expected waves over the data, and differences of elpd with two standard errors."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    waves, costs = figure.subplots(1, 2, width_ratios=[3, 2])
    waves.plot(TIMES, OBSERVED, "o", color="#777777", label="data")
    fits = {"reference": comparison, **comparison["approximations"].children}
    grid = xr.DataArray(np.linspace(0, 6, 200), dims="grid")
    for name, draws in fits.items():
        posterior = draws["posterior"].to_dataset()
        wave = (posterior["height"] * np.sin(posterior["frequency"] * grid)).mean(("chain", "draw"))
        waves.plot(grid, wave, label=name)
    waves.set(xlabel="time", ylabel="y", title="Expected wave")
    waves.legend(fontsize="small", ncols=2)
    shown = prediction.isel(source=slice(1, None))
    costs.errorbar(shown["diff"], shown["source"], xerr=2 * shown["diff_se"], fmt="o", color="black")
    costs.axvspan(-4, 4, color="#009E73", alpha=0.2, linewidth=0)
    costs.set(xlabel="elpd less the reference's", title="Green: alike")
    return figure


# %% Run everything: the table, the picture, and a sentence on each fit.
def main() -> xr.Dataset:
    """Print the table and the sentences, and save the pictures."""
    folder = Path("pymc_kl_demo/prediction")
    folder.mkdir(parents=True, exist_ok=True)
    model = build_model()
    comparison = compare_fits(model)
    prediction = predict(comparison, model)
    print(elpd_table(prediction))
    draw_predictions(comparison, prediction).savefig(folder / "predictions.png", dpi=120)
    checks = predictive_checks(comparison, model, random_seed=SEED)
    az.plot_ppc_dist(checks, backend="matplotlib").savefig(folder / "checks.png", dpi=120)
    print("\n".join(filter(None, prediction["sentence"].values)))
    return prediction


if __name__ == "__main__":
    main()
