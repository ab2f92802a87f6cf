"""A Bambi model with a group term, y ~ x + (1|subject): which of its numbers ADVI gets right.

Bambi makes a PyMC model, `model.backend.model`. That is what is compared, whatever its variables are called
(`1|subject_sigma`), and what is sampled: the draws of Bambi's own `fit()` lack the `1|subject_offset`, and their
intercept is that of predictors as they came, where the model's is of centred ones. The data are simulated: ten subjects
with four measurements each. ADVI has the means of both coefficients, and is too sure of the intercept and of how much
subjects differ. Run it (half a minute) or paste the cells into a notebook.
"""

# %% Setup.
from pathlib import Path
from typing import Any

import arviz as az
import bambi as bmb
import numpy as np
import pandas as pd
import pymc as pm
import xarray as xr
from arviz_plots import PlotCollection

import pymc_kl as pkl

SEED = 1
QUIET: dict[str, Any] = {"random_seed": SEED, "progressbar": False}
N_SUBJECTS, N_EACH = 10, 4
SHOWN = ("Intercept", "x", "sigma", "1|subject_sigma")


# %% Data: a slope, and subjects whose levels differ.
def simulate() -> pd.DataFrame:
    """Simulate an outcome, a predictor, and whose measurement it is."""
    rng = np.random.default_rng(SEED)
    subject, x = np.repeat(np.arange(N_SUBJECTS), N_EACH), rng.normal(size=N_SUBJECTS * N_EACH)
    level = rng.normal(0, 0.5, N_SUBJECTS)
    y = 1 + 0.5 * x + level[subject] + rng.normal(0, 1, len(x))
    return pd.DataFrame({"y": y, "x": x, "subject": pd.Categorical(subject)})


# %% The model, as a formula.
def build_model(data: pd.DataFrame) -> pm.Model:
    """Let Bambi make a PyMC model."""
    model = bmb.Model("y ~ x + (1|subject)", data)
    model.build()
    return model.backend.model


# %% Draws and ADVI by PyMC; compare() adds the forward-KL fits.
def compare_fits(model: pm.Model) -> xr.DataTree:
    """Sample, fit and compare."""
    with model:
        idata = pm.sample(1000, chains=4, target_accept=0.95, **QUIET)
        advi = pm.fit(20_000, obj_optimizer=pm.adam(learning_rate=3e-3), **QUIET)
        return pkl.compare(idata, {"ADVI": advi}, forward=("meanfield", "fullrank"), random_seed=SEED)


# %% The table: mean and standard deviation of each parameter, under the posterior and under each fit.
def tabulate(comparison: xr.DataTree) -> pd.DataFrame:
    """Tabulate means and standard deviations, a row a parameter."""
    table = comparison["parameters"].to_dataset()[list(SHOWN)].sel(statistic=["mean", "sd"])
    return table.to_dataarray("parameter").to_series().unstack(["source", "statistic"]).loc[list(SHOWN)]


# %% The picture: intervals of the same parameters.
def draw_intervals(comparison: xr.DataTree) -> PlotCollection:
    """Draw the intervals of each parameter under the posterior and ADVI."""
    sources = {"posterior": comparison, "ADVI": comparison["approximations/ADVI"]}
    forest = az.plot_forest(sources, var_names=list(SHOWN), backend="matplotlib")
    forest.add_legend("model")
    return forest


# %% Run everything.
def main(folder: str | Path = "pymc_kl_demo/bambi_group_term") -> dict[str, Any]:
    """Compare, print the table and the report's words on ADVI, save a picture; returns comparison and table."""
    folder = Path(folder)
    comparison = compare_fits(build_model(simulate()))
    pkl.save(comparison, folder / "comparison.nc", overwrite=True)
    verdict = pkl.report(comparison, folder / "report.html", overwrite=True).verdict
    table = tabulate(comparison)
    print(table.round(2).to_string(), end="\n\n")
    draw_intervals(comparison).savefig(folder / "intervals.png", dpi=120)
    print(next(sentence for sentence in verdict if sentence.startswith("ADVI")))
    return {"comparison": comparison, "table": table}


if __name__ == "__main__":
    main()
