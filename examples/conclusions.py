"""Which conclusions change? Quantities of interest under the draws at hand, ADVI, the whole posterior and each mode.

The ten measurements of `report.py`: the draws say that the common quantity is above 0 for sure, and the posterior that
it is so at odds of four to one. Run it (half a minute) or paste the cells into a notebook.
"""

# %% Setup.
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from matplotlib.figure import Figure

import pymc_kl as pkl
from pymc_kl.data import measurements

SEED = 1
COLORS = {"yes": "#D55E00", "no": "#009E73", "cannot tell": "#E69F00", "": "#777777"}  # does the conclusion change?


# %% What is asked: a function of the posterior's Dataset, draw by draw, which may return several quantities.
def asked(posterior: xr.Dataset) -> dict[str, xr.DataArray]:
    """Return the common quantity, and by how much it is above the rare one."""
    mu = posterior["mu"]
    common, rare = (mu.isel({mu.dims[-1]: i}, drop=True) for i in (0, 1))
    return {"common": common, "common - rare": common - rare, "apart by": np.abs(common - rare)}


# %% Four chains and ADVI, as they come, compared with the whole posterior.
def compare_fits() -> xr.DataTree:
    """Sample, fit and compare."""
    quiet: dict[str, Any] = {"random_seed": SEED, "progressbar": False}
    with measurements.model():
        idata = pm.sample(chains=4, nuts_sampler="pymc", **quiet)
        advi = pm.fit(20_000, obj_optimizer=pm.adam(learning_rate=1e-3), **quiet)
        return pkl.compare(idata, {"ADVI": advi}, forward="mixture", quantities=asked, random_seed=SEED)


# %% The picture: mean and 90 % interval of each quantity by source, in the colour of the answer.
def draw_intervals(table: xr.Dataset) -> Figure:
    """Draw a panel a quantity and a line a source."""
    names, sources = table["quantity"].values.tolist(), table["source"].values.tolist()
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    figure.suptitle("Orange: another conclusion than the whole posterior's")
    for ax, name in zip(figure.subplots(1, len(names), sharey=True), names, strict=True):
        for y, source in enumerate(reversed(sources)):
            row = table.sel(quantity=name, source=source)
            color = COLORS[str(row["changes"].item())]
            ax.plot([float(row["lower"]), float(row["upper"])], [y, y], color=color, linewidth=3)
            ax.plot(float(row["mean"]), y, "o", color=color)
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set(title=name, yticks=range(len(sources)), yticklabels=sources[::-1], ylim=(-0.5, len(sources) - 0.5))
    return figure


# %% Run everything: the table, the picture, and a sentence.
def main() -> xr.DataTree:
    """Print the table, save the picture and the report, and say who changes what."""
    folder = Path("pymc_kl_demo/conclusions")
    folder.mkdir(parents=True, exist_ok=True)
    comparison = compare_fits()
    print(pkl.summary(comparison, kind="quantities"))
    pkl.report(comparison, folder / "report.html", overwrite=True)
    table = comparison["quantities"].to_dataset()
    draw_intervals(table).savefig(folder / "intervals.png", dpi=120)
    common = table.sel(quantity="common")
    given, whole = (100 * float(common["positive"].sel(source=name)) for name in ("given draws", "reference"))
    changed = [str(name) for name in common["source"].values if common["changes"].sel(source=name) == "yes"]
    print(
        f"The common quantity is above 0 with probability {whole:.0f} %; {given:.0f} % of the draws given are. Another "
        f"conclusion on it than the whole posterior's: {', '.join(changed)}."
    )
    return comparison


if __name__ == "__main__":
    main()
