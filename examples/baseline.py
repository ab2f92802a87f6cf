"""What changed since last night? Two runs of one model side by side, after someone touched its prior and its fit.

Of y = theta² + noise the data know theta up to its sign, so that the prior decides between two modes. The baseline has
the prior N(0.1, 1) and 20,000 steps of ADVI, the run after it N(0.2, 1) and 300 steps. Run it (half a minute) or paste
the cells into a notebook.
"""

# %% Setup.
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from matplotlib.figure import Figure

import pymc_kl as pkl
from pymc_kl.reports import changes_since

Y = np.array([3.1, 4.4, 4.9, 3.6])
QUIET: dict[str, Any] = {"random_seed": 1, "progressbar": False}


# %% One night: the model, ADVI, and a comparison.
def one_night(prior_mean: float, steps: int) -> xr.DataTree:
    """Fit and compare."""
    print(f"The night with the prior N({prior_mean:g}, 1) and {steps:,} steps of ADVI.")
    with pm.Model():
        theta = pm.Normal("theta", prior_mean, 1.0)
        pm.Normal("y", theta**2, 1.0, observed=Y)
        advi = pm.fit(steps, start={"theta": 2.0}, obj_optimizer=pm.adam(learning_rate=3e-3), **QUIET)
        return pkl.compare(None, {"ADVI": advi}, forward="mixture", random_seed=1)


# %% The picture: masses of the modes, before and now.
def draw_masses(before: xr.DataTree, now: xr.DataTree) -> Figure:
    """Draw both runs' masses with three standard errors."""
    figure = Figure(figsize=(5, 3), layout="constrained")
    ax = figure.subplots()
    for shift, (label, dt) in zip((-0.1, 0.1), {"baseline": before, "now": now}.items(), strict=True):
        modes = dt["modes"].to_dataset()
        ax.errorbar(modes["mode"] + shift, modes["mass"], yerr=3 * modes["mass_se"], fmt="o", label=label)
    ax.set(xlabel="mode", ylabel="mass", xticks=modes["mode"].values, ylim=(0, 1))
    ax.legend()
    return figure


# %% Run everything: the sentences, and whether a pipeline should stop.
def main() -> dict[str, Any]:
    """Compare two nights, print what changed, and return it."""
    folder = Path("pymc_kl_demo/baseline")
    before, now = one_night(0.1, 20_000), one_night(0.2, 300)
    pkl.save(before, folder / "before.nc", overwrite=True)
    pkl.save(now, folder / "now.nc", overwrite=True)
    draw_masses(before, now).savefig(folder / "masses.png", dpi=120)
    found = changes_since(now, before)
    print("\n".join(found["sentences"]))
    code = 4 if found["changed"] else 0
    print(f"`pymc-kl summary now.nc --baseline before.nc` says the same, and its exit code is {code}.")
    return found


if __name__ == "__main__":
    main()
