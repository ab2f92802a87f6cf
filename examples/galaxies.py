"""What ADVI covers of a real posterior with many modes: three normals for the velocities of 82 galaxies.

Any swap of the components leaves the posterior as it is, so every mode has 3! = 6 copies, and NUTS leaves
none of them. The comparison says which modes each fit covers and whether the reference itself can be trusted.
Run it (a minute once PyMC has compiled) or paste the cells into a notebook.
"""

# %% Setup.
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from arviz_base.labels import MapLabeller
from matplotlib.figure import Figure
from scipy.stats import norm

import pymc_kl as pkl
from pymc_kl.data.galaxies import velocities
from pymc_kl.reports import verdict_data

type Array = np.ndarray[Any, np.dtype[np.float64]]

SEED = 1
SHOWN = ("ADVI", "full-rank ADVI", "full-rank ADVI (polished)", "forward mixture")
COLORS = ("#0072B2", "#009E73", "#CC79A7", "#000000")  # as in the other pictures
STYLES = ("-", "--", "-.", ":")
LIKELY = 4.0  # nats below the heaviest mode by Laplace's approximation: a mode that is shown in any case


# %% The model, without an ordering of the components.
def build_model() -> pm.Model:
    """Mix three normals; velocities are in 1000 km/s."""
    with pm.Model(coords={"component": [1, 2, 3]}) as model:
        w = pm.Dirichlet("w", np.ones(3), dims="component")
        mu = pm.Normal("mu", 20, 10, dims="component")
        sigma = pm.HalfNormal("sigma", 5, dims="component")
        pm.NormalMixture("velocity", w, mu, sigma=sigma, observed=velocities())
    return model


# %% What a user has: draws of NUTS, and two fits of PyMC. compare() adds the forward-KL fits.
def compare_fits(model: pm.Model) -> xr.DataTree:
    """Sample, fit and compare."""
    with model:
        draws = pm.sample(chains=4, random_seed=SEED)
        advi = pm.fit(30_000, random_seed=SEED)
        full_rank = pm.fit(30_000, method="fullrank_advi", random_seed=SEED)
        return pkl.compare(draws, {"ADVI": advi, "full-rank ADVI": full_rank}, random_seed=SEED)


# %% The tables, without the modes that hold nothing.
def shown_fits(comparison: xr.DataTree) -> list[str]:
    """Choose the approximations to show; a fit that had converged has no polished row."""
    return [name for name in SHOWN if name in comparison["scores"]["approximation"].values]


def shown_modes(comparison: xr.DataTree) -> list[int]:
    """Choose the modes that may matter: heavy by Laplace's approximation, or with 5 % of a shown fit."""
    modes = comparison["modes"].to_dataset()
    likely = modes["log_mass_laplace"] > modes["log_mass_laplace"].max() - LIKELY
    mass = comparison["coverage"]["mass"].sel(approximation=shown_fits(comparison)).max("approximation")
    return modes["mode"].values[(likely | (mass > 0.05)).values].tolist()


def print_tables(comparison: xr.DataTree) -> None:
    """Print the scores, the masses of the modes, and what to think of the reference."""
    scores = ["elbo", "elbo_se", "reverse_kl", "reverse_kl_se", "elbo_gap", "converged", "khat"]
    print(pkl.summary(comparison, columns=[*scores, "spill"]).round(2).to_string(na_rep="-"))
    table = pkl.coverage(comparison, values=("mass", "verdict"))
    print(table.loc[shown_modes(comparison), ["reference", *shown_fits(comparison)]].round(3).to_string())
    if reason := comparison["modes"].attrs["reason"]:
        print(f"Take the masses of the reference with care: {reason}.")
    evidence = comparison["evidence"]
    if reason := evidence.attrs["reason"]:
        print(f"log Z is not known: {reason}. So the divergences are not; the ELBOs still compare.")
    else:
        print(f"log Z = {evidence['log_evidence'].item():.2f} ± {evidence['log_evidence_se'].item():.2f} nats")


# %% The pictures. What swaps of components can't hide is what a fit says of the next galaxy.
def predictive_density(posterior: xr.Dataset, grid: Array) -> Array:
    """Average the mixture's density over every fourth draw, (n,) at `grid` (n,)."""
    w, mu, sigma = (
        posterior[name].stack(sample=("chain", "draw")).transpose("sample", "component").values[::4]
        for name in ("w", "mu", "sigma")
    )
    return np.asarray(np.einsum("sk,skn->n", w, norm.pdf(grid, mu[..., None], sigma[..., None])) / len(w))


def draw_predictive(comparison: xr.DataTree) -> Figure:
    """Draw the data and the density of the next velocity under the reference and under each fit."""
    grid = np.linspace(5, 40, 701)
    figure = Figure(figsize=(8, 4), layout="constrained")
    figure.suptitle("ADVI predicts no cluster of galaxies near 9,700 km/s; NUTS and the forward mixture do")
    ax = figure.subplots()
    ax.hist(velocities(), bins=np.arange(5, 41), density=True, color="#D9D9D9", label="82 galaxies")
    reference = predictive_density(comparison["posterior"].to_dataset(), grid)
    ax.plot(grid, reference, color="#777777", linewidth=4, alpha=0.7, label="reference (NUTS)")
    for name, color, style in zip(SHOWN, COLORS, STYLES, strict=True):
        if name in shown_fits(comparison):
            posterior = comparison[f"approximations/{name}/posterior"].to_dataset()
            ax.plot(grid, predictive_density(posterior, grid), style, color=color, linewidth=1.8, label=name)
    ax.set(xlabel="velocity (1000 km/s)", ylabel="density (per 1000 km/s)", xlim=(5, 40), ylim=(0, None))
    ax.legend(frameon=False)
    return figure


def save_pictures(comparison: xr.DataTree, folder: Path) -> None:
    """Save what the fits predict, which modes they cover, and where they lie in the means of the components."""
    draw_predictive(comparison).savefig(folder / "predictive.png", dpi=200)
    names, modes = shown_fits(comparison), shown_modes(comparison)
    coverage = pkl.plot_coverage(comparison, approximations=names, modes=modes, backend="matplotlib")
    coverage.savefig(folder / "coverage.png", dpi=200)
    locations = pkl.plot_modes(
        comparison,
        approximations=names,
        var_names="mu",
        labeller=MapLabeller(var_name_map={"mu": "mu (1000 km/s)"}),
        visuals={"missed_text": False},
        backend="matplotlib",
        col_wrap=2,
    )
    locations.savefig(folder / "modes.png", dpi=200)


# %% Run everything.
def main(folder: str | Path = "pymc_kl_demo/galaxies") -> xr.DataTree:
    """Compare, print the tables, save the comparison and the pictures; returns the comparison."""
    folder = Path(folder)
    print("Sampling with NUTS and fitting with ADVI; PyMC compiles first.")
    comparison = compare_fits(build_model())
    pkl.save(comparison, folder / "comparison.nc", overwrite=True)
    print_tables(comparison)
    save_pictures(comparison, folder)
    print(verdict_data(comparison)["answer"])
    print(f"The comparison and its pictures are in {folder}.")
    return comparison


if __name__ == "__main__":
    main()
