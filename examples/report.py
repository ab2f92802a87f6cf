"""A report of a small model whose draws miss a fifth of the posterior, and the results in ArviZ's own plots.

Ten measurements of two quantities lie near 5 and near -4. Two in three are known to be of the common quantity, but not
which. Six lie near 5, so 5 is the common one at odds of 2⁶ to 2⁴: two modes, of mass 0.8 and 0.2. Four chains and ADVI
agree on the first, and none has seen the other. Run it (half a minute) or paste the cells into a notebook.
"""

# %% Setup.
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pymc as pm
import xarray as xr
from arviz_plots import PlotCollection

import pymc_kl as pkl

SEED = 1
OBSERVED = np.array([3.8, 4.3, 4.8, 5.2, 5.7, 6.2, -4.9, -4.3, -3.7, -3.1])
SHARES = np.array([2, 1]) / 3  # of measurements that are of the common and of the rare quantity


# %% The model.
def build_model() -> pm.Model:
    """Mix two normals of known shares and spread."""
    with pm.Model(coords={"component": ["common", "rare"]}) as model:
        mu = pm.Normal("mu", 0, 10, dims="component")
        pm.NormalMixture("y", SHARES, mu, sigma=1, observed=OBSERVED)
    return model


# %% What a user has: draws and a fit of PyMC. compare() finds the mode that they miss and adds the forward-KL fits.
def compare_fits(model: pm.Model) -> xr.DataTree:
    """Sample, fit and compare."""
    quiet: dict[str, Any] = {"random_seed": SEED, "progressbar": False}
    with model:
        idata = pm.sample(chains=4, nuts_sampler="pymc", **quiet)  # the same with and without nutpie
        advi = pm.fit(20_000, obj_optimizer=pm.adam(learning_rate=1e-3), **quiet)
        return pkl.compare(idata, {"ADVI": advi}, random_seed=SEED)


# %% The report: one HTML page that can be mailed. In a notebook, the last line of a cell shows its first part.
def write_report(comparison: xr.DataTree, folder: Path) -> None:
    """Print the verdict, write the page and say where it is."""
    page = pkl.report(comparison, folder / "report.html", overwrite=True)
    print("\n".join(page.verdict))
    print(f"The whole report: {page.path}")


# %% A comparison is a DataTree of draws, as each approximation in it is, so ArviZ takes both as they are.
def print_summaries(comparison: xr.DataTree) -> None:
    """Print ArviZ's summary of the completed reference and of what ADVI makes of it."""
    print(az.summary(comparison))
    print(az.summary(comparison["approximations/ADVI"], kind="stats"))


# %% ArviZ draws side by side what has draws of one shape, as a completed comparison's reference and fits do.
def side_by_side(comparison: xr.DataTree) -> dict[str, xr.DataTree]:
    """Name the reference and every approximation."""
    return {"reference": comparison, **comparison["approximations"].children}


def draw_forest(comparison: xr.DataTree) -> PlotCollection:
    """Draw the intervals of both quantities, a line a source."""
    forest = az.plot_forest(
        side_by_side(comparison),
        backend="matplotlib",
        figure_kwargs={"figsize": (10, 5), "layout": "constrained"},
    )
    forest.add_legend("model")
    return forest


def draw_densities(comparison: xr.DataTree) -> PlotCollection:
    """Draw the densities of both quantities over each other, without the intervals."""
    clutter = ("credible_interval", "point_estimate", "point_estimate_text")
    densities = az.plot_dist(
        side_by_side(comparison),
        visuals=dict.fromkeys(clutter, False),
        backend="matplotlib",
        figure_kwargs={"figsize": (10, 4), "layout": "constrained"},
    )
    densities.add_legend("model")
    return densities


# %% Run everything.
def main(folder: str | Path = "pymc_kl_demo/report") -> xr.DataTree:
    """Compare, write the report, print the summaries, save ArviZ's pictures; returns the comparison."""
    folder = Path(folder)
    comparison = compare_fits(build_model())
    pkl.save(comparison, folder / "comparison.nc", overwrite=True)
    write_report(comparison, folder)
    print_summaries(comparison)
    draw_forest(comparison).savefig(folder / "forest.png", dpi=200)
    draw_densities(comparison).savefig(folder / "densities.png", dpi=200)
    missed = 100 * float(comparison["audit"]["missed_mass"])
    print(f"The draws and ADVI miss {missed:.0f} % of the posterior, and no R-hat says so. Pictures are in {folder}.")
    return comparison


if __name__ == "__main__":
    main()
