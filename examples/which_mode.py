"""Which mode? What tells two modes apart, in the model's own words: parameters, observations, prior and likelihood.

The ten measurements of `report.py`, with a prior that expects the common quantity below the rare one: the data are for
one mode, the prior for the other. Run it (a quarter of a minute) or paste the cells into a notebook.
"""

# %% Setup.
from pathlib import Path

import numpy as np
import pymc as pm
import xarray as xr
from matplotlib.figure import Figure

import pymc_kl as pkl
from pymc_kl.data import measurements
from pymc_kl.prediction import tell_modes_apart

SEED = 1
EXPECTED = np.array([-2.0, 2.0])  # prior means of the common and of the rare quantity
WIDTH = 6.0  # standard deviation of the prior


# %% The model: six measurements lie near 5 and four near -4, and two in three are of the common quantity.
def build_model() -> pm.Model:
    """Mix two normals of known shares, with a prior that expects the common quantity below the rare one."""
    with pm.Model(coords={"component": ["common", "rare"]}) as model:
        mu = pm.Normal("mu", EXPECTED, WIDTH, dims="component")
        pm.NormalMixture("y", np.array([2, 1]) / 3, mu, sigma=1, observed=measurements.observed())
    return model


# %% The picture: which observations speak for which mode.
def draw_observations(apart: xr.DataTree) -> Figure:
    """Draw a bar an observation, over its value."""
    ratio = apart["observations"].to_dataset().sel(mode=2)
    place = [int(name.removeprefix("y[").removesuffix("]")) for name in ratio["observation"].values]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    ax = figure.subplots()
    ax.bar(
        measurements.observed()[place], ratio["log_ratio"], width=0.25, yerr=2 * ratio["log_ratio_se"],
        color=["#0072B2" if value > 0 else "#D55E00" for value in ratio["log_ratio"].values],
    )  # fmt: skip
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set(
        xlabel="measurement", ylabel="nats for mode 1 over mode 2",
        title="Blue speaks for mode 1, orange for mode 2",
    )  # fmt: skip
    return figure


# %% Run everything: the parts, the picture, and the sentence.
def main() -> xr.DataTree:
    """Print what prior and likelihood give, save the picture, and say what tells the modes apart."""
    folder = Path("pymc_kl_demo/which_mode")
    folder.mkdir(parents=True, exist_ok=True)
    model = build_model()
    comparison = pkl.compare(None, {}, model=model, forward=(), random_seed=SEED)
    apart = tell_modes_apart(comparison, model)
    row = apart["modes"].to_dataset().sel(mode=2)
    for name in ("likelihood", "prior", "log_ratio"):
        print(f"{name:>10}: {float(row[name]):+.3f} ± {float(row[f'{name}_se']):.3f} nats for mode 1")
    draw_observations(apart).savefig(folder / "observations.png", dpi=120)
    print(row["sentence"].item())
    return apart


if __name__ == "__main__":
    main()
