"""Where are the sensors? A network that hears few of its own distances, so that its places have eight solutions.

Four sensors are at unknown places and two at known ones. The distance of a pair is heard with probability
exp(-d²/2R²), R = 0.3, and measured to 0.02; that a pair is not heard says that it is rather far apart. Sensors that
hear only two others can be mirrored: the posterior of the eight coordinates has eight modes, and no chain of NUTS
leaves the one where it starts. The problem is that of Ihler, Fisher, Moses and Willsky (2005); places, distances and
prior are those that Tak, Meng and van Dyk (2018) published with their repelling-attracting Metropolis algorithm. Run
it (a minute) or paste the cells into a notebook.
"""

# %% Setup.
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import pymc_kl as pkl
from pymc_kl.reports import verdict_data

type Array = np.ndarray[Any, np.dtype[np.float64]]

SEED = 1
REACH, NOISE, PRIOR_SD = 0.3, 0.02, 10.0
KNOWN = np.array([[0.5, 0.3], [0.3, 0.7]])  # sensors 5 and 6
TRUTH = np.array([[0.5748, 0.9069], [0.0991, 0.3651], [0.2578, 0.1350], [0.8546, 0.0392]])  # sensors 1 to 4
HEARD = {
    (1, 4): 0.9266, (1, 5): 0.6103, (1, 6): 0.3631, (2, 3): 0.2970, (2, 4): 0.8524, (3, 5): 0.2995, (3, 6): 0.5656,
}  # fmt: skip
PAIRS = [(i, j) for i in range(1, 5) for j in range(i + 1, 7)]
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # as in the other pictures, one a sensor
FITS = ("ADVI", "full-rank ADVI", "forward fullrank", "forward mixture")


# %% The model: what is heard, and what is not.
def build_model() -> pm.Model:
    """Place four sensors in the plane."""
    with pm.Model(coords={"sensor": [1, 2, 3, 4], "axis": ["x", "y"]}) as model:
        place = pm.Normal("place", 0, PRIOR_SD, dims=("sensor", "axis"))
        every = pt.concatenate([place, KNOWN])
        first, second = (np.array(ends) - 1 for ends in zip(*PAIRS, strict=True))
        squared = ((every[first] - every[second]) ** 2).sum(axis=1)
        heard = np.array([pair in HEARD for pair in PAIRS])
        pm.Normal("distance", pt.sqrt(squared[heard]), NOISE, observed=[HEARD[p] for p in PAIRS if p in HEARD])
        fade = squared / (2 * REACH**2)
        pm.Potential("hearing", -fade[heard].sum())
        pm.Potential("silence", pt.log(-pt.expm1(-fade[~heard])).sum())
    return model


# %% What a user has: chains of NUTS. compare() finds what they miss, and fits ADVI and forward KL.
def compare_fits(model: pm.Model) -> xr.DataTree:
    """Sample and compare."""
    with model:
        idata = pm.sample(chains=4, random_seed=SEED)
        return pkl.compare(idata, reverse=["advi", "fullrank_advi"], forward=("fullrank", "mixture"), random_seed=SEED)


# %% The table: what each fit holds of each mode, and how many chains were there.
def chains_in(comparison: xr.DataTree) -> xr.DataArray:
    """Count the chains of NUTS that were in each mode."""
    return (comparison["audit"]["n_draws"] > 0).sum("chain")


def print_tables(comparison: xr.DataTree, folder: Path) -> None:
    """Print the verdict, and the masses of the modes in per cent, each with its standard error."""
    print("\n".join(pkl.report(comparison, folder / "report.html", overwrite=True).verdict), end="\n\n")
    coverage = comparison["coverage"].to_dataset()
    sources = {"posterior": comparison["modes"].to_dataset()} | {n: coverage.sel(approximation=n) for n in FITS}
    table = pd.DataFrame({"chains of NUTS": chains_in(comparison).values}, comparison["modes"]["mode"].values)
    for name, source in sources.items():
        pairs = zip(100 * source["mass"].values, 100 * source["mass_se"].values, strict=True)
        table[name] = [f"{mass:.1f} ± {se:.1f}" for mass, se in pairs]
    print(table.to_string())


# %% The pictures: where the sensors are, mode by mode.
def draw_modes(comparison: xr.DataTree) -> Figure:
    """Draw the posterior's draws of each mode, a facet a mode."""
    modes = comparison["modes"].to_dataset()
    k = modes.sizes["mode"]
    figure = Figure(figsize=(12, 2.5 * -(-k // 4) + 0.5), layout="constrained")
    figure.suptitle("Places of four sensors (colours) that agree with what is heard; crosses are the true places")
    chains = chains_in(comparison)
    axes = figure.subplots(-(-k // 4), 4, sharex=True, sharey=True, squeeze=False).ravel()
    for ax, mode in zip(axes, modes["mode"].values, strict=False):
        draw_places(ax, places_in(comparison, int(mode)))
        mass, se = (100 * float(modes[name].sel(mode=mode)) for name in ("mass", "mass_se"))
        n = int(chains.sel(mode=mode))
        ax.set_title(f"mode {mode}: {mass:.1f} ± {se:.1f} %, {n or 'no'} chain{'' if n == 1 else 's'}", size=10)
    axes[0].legend(frameon=False, fontsize=8, markerscale=4)
    for ax in axes[k:]:
        ax.remove()
    return figure


def places_in(comparison: xr.DataTree, mode: int) -> Array:
    """Draws of the reference (n, 4, 2) in a mode."""
    place = comparison["posterior"]["place"].transpose("chain", "draw", "sensor", "axis").values
    return np.asarray(place[comparison["sample_stats"]["mode"].transpose("chain", "draw").values == mode])


def draw_places(ax: Axes, place: Array) -> None:
    """Draw places (n, 4, 2), the known sensors and the truth."""
    for sensor, color in enumerate(COLORS):
        ax.plot(*place[:, sensor].T, ".", color=color, markersize=2, alpha=0.5, label=f"sensor {sensor + 1}")
        ax.plot(*TRUTH[sensor], "x", color="black", markersize=7)
    ax.plot(*KNOWN.T, "ks", markersize=5)
    ax.set_aspect("equal")


# %% Run everything.
def main(folder: str | Path = "pymc_kl_demo/sensors") -> xr.DataTree:
    """Compare, print the tables, save the comparison, its report and the pictures; returns the comparison."""
    folder = Path(folder)
    comparison = compare_fits(build_model())
    pkl.save(comparison, folder / "comparison.nc", overwrite=True)
    print("Drawing the pictures of the report.")
    print_tables(comparison, folder)
    draw_modes(comparison).savefig(folder / "places.png", dpi=150)
    pkl.plot_coverage(comparison, approximations=FITS, backend="matplotlib").savefig(folder / "coverage.png", dpi=200)
    print(verdict_data(comparison)["answer"])
    print(f"The comparison, its report and the pictures are in {folder}.")
    return comparison


if __name__ == "__main__":
    main()
