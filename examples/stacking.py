"""Masses or stacking? Two groups of data, a model of one location, and a posterior that takes one group's side.

Of 45 observations 23 lie near 4 and 22 near -4, and the model knows one location with Cauchy errors: its posterior has
a mode at each group, and the one observation more puts 97 % into one. Stacking (Yao, Vehtari and Gelman 2022)
weighs the modes by how they predict left-out data, which is about by half. Run it (a quarter of a minute) or paste
the cells into a notebook.
"""

# %% Setup.
from pathlib import Path

import numpy as np
import pymc as pm
import xarray as xr
from matplotlib.figure import Figure
from scipy.stats import cauchy, norm

import pymc_kl as pkl
from pymc_kl.prediction import stack

Y = np.concatenate([side + norm.ppf((np.arange(n) + 0.5) / n) for n, side in ((23, 4.0), (22, -4.0))])
GRID = np.linspace(-10, 10, 401)


# %% The model, its modes with their masses, and their stacking weights.
def stack_modes() -> tuple[xr.DataTree, xr.Dataset]:
    """Sample both modes and stack them."""
    with pm.Model():
        loc = pm.Normal("loc", 0.0, 10.0)
        pm.Cauchy("y", loc, 1.0, observed=Y)
        reference = pkl.sample_reference(random_seed=1)
        return reference, stack(reference, by="mode", random_seed=1)


# %% The picture: what the posterior predicts, what the stack predicts, and the data.
def draw_predictions(reference: xr.DataTree, stacked: xr.Dataset) -> Figure:
    """Draw both predictive densities, each mode by its location."""
    places = reference["modes"]["loc"].values
    density = cauchy.pdf(GRID[:, None], places)
    figure = Figure(figsize=(6, 3), layout="constrained")
    ax = figure.subplots()
    ax.hist(Y, 40, range=(-10, 10), density=True, color="#cccccc", label="data")
    for name, color in (("mass", "#0072B2"), ("weight", "#D55E00")):
        label = {"mass": "modes by their mass", "weight": "modes stacked"}[name]
        ax.plot(GRID, density @ stacked[name].values, color=color, label=label)
    ax.set(xlabel="y", ylabel="predictive density")
    ax.legend()
    return figure


# %% Run everything: the table, the picture and the sentences.
def main() -> xr.Dataset:
    """Print weights beside masses, and what their difference means."""
    folder = Path("pymc_kl_demo/stacking")
    folder.mkdir(parents=True, exist_ok=True)
    reference, stacked = stack_modes()
    print(stacked[["mass", "mass_se", "weight", "weight_lower", "weight_upper", "elpd"]].to_dataframe().round(3))
    draw_predictions(reference, stacked).savefig(folder / "predictions.png", dpi=120)
    print("\n".join(filter(None, stacked["sentence"].values)))
    print(f"The stack predicts better by {stacked.attrs['gain']:.0f} nats of log score than the modes by their masses.")
    return stacked


if __name__ == "__main__":
    main()
