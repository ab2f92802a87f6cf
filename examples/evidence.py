"""Which of three models do the data favour? Log evidence with its error, and posterior probabilities of the models.

Twelve measurements, two of which are far off: a normal error, Student's t error, and the t error with a needlessly wide
prior on the mean, whose price is seen too. Run it (half a minute) or paste the cells into a notebook.
"""

# %% Setup.
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pymc as pm
import xarray as xr
from matplotlib.figure import Figure

import pymc_kl as pkl
from pymc_kl.comparison import compare_models

QUIET: dict[str, Any] = {"random_seed": 1, "progressbar": False}
Y = np.array([4.9, 5.3, 5.1, 4.7, 5.0, 5.2, 4.8, 5.1, 4.9, 5.0, 8.9, 1.6])
MODELS = {"normal": (np.inf, 10.0), "Student t": (3.0, 10.0), "Student t, wide prior": (3.0, 1000.0)}


# %% The models: degrees of freedom of the error, and the sd of the prior of the mean.
def build_model(nu: float, prior_sd: float) -> pm.Model:
    """Build a location and scale with normal or Student t errors."""
    with pm.Model() as model:
        mu = pm.Normal("mu", 0.0, prior_sd)
        sigma = pm.HalfNormal("sigma", 2.0)
        if np.isinf(nu):
            pm.Normal("y", mu, sigma, observed=Y)
        else:
            pm.StudentT("y", nu=nu, mu=mu, sigma=sigma, observed=Y)
    return model


# %% One comparison a model; no fit is made, since the reference alone has the evidence.
def compare_all() -> dict[str, xr.DataTree]:
    """Sample each model and weigh its posterior."""
    made = {}
    for name, (nu, prior_sd) in MODELS.items():
        with build_model(nu, prior_sd):
            idata = pm.sample(chains=2, **QUIET)
            made[name] = pkl.compare(idata, reverse=(), forward=(), random_seed=1)
    return made


# %% The picture: how far each model is behind the best.
def draw_behind(table: pd.DataFrame) -> Figure:
    """Draw nats behind the most probable model, with two standard errors."""
    figure = Figure(figsize=(6, 2.2), layout="constrained")
    ax = figure.subplots()
    ax.errorbar(table["behind"], table.index, xerr=2 * table["behind_se"], fmt="o", color="#0072B2")
    ax.set(xlabel="nats of log evidence behind the best")
    ax.margins(y=0.3)
    return figure


# %% Run everything: the table, the picture and a sentence.
def main() -> pd.DataFrame:
    """Print the table, and say what the data favour; returns the numbers."""
    folder = Path("pymc_kl_demo/evidence")
    folder.mkdir(parents=True, exist_ok=True)
    made = compare_all()
    print(compare_models(made))
    numbers = compare_models(made, round_to="none")
    draw_behind(numbers).savefig(folder / "behind.png", dpi=200)
    best, wide = numbers.index[0], numbers.loc["Student t, wide prior"]
    at_mean = np.log(100) - 5**2 / (2 * 10**2)  # nats by which the wide prior has less density at a mean of 5
    print(
        f"Of these three the data favour {best}; a prior of the mean a hundred times as wide costs "
        f"{wide['behind']:.2f} ± {wide['behind_se']:.2f} nats: its density at 5 is {at_mean:.2f} nats lower."
    )
    return numbers


if __name__ == "__main__":
    main()
