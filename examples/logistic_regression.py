"""What mean-field fits do to error bars: a logistic regression with one mode and thirty correlated coefficients.

Nothing is multimodal here, and every fit has the right means. Mean-field ADVI makes intervals of coefficients half as
wide as they should be, which its ELBO cannot say. The forward mean-field fit has each of them right, and makes
predictions, which add up coefficients, nearly twice as uncertain as they are. Only a fit that knows of correlations has
both. The data are simulated. Run it (a minute) or paste the cells into a notebook.
"""

# %% Setup.
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pymc as pm
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import expit

import pymc_kl as pkl
from pymc_kl.renyi import divergence_path

type Array = np.ndarray[Any, np.dtype[np.float64]]

SEED = 1
N_CASES, N_NEW, N_COEFFICIENTS = 500, 200, 30
RHO = 0.8  # correlation of neighbouring covariates
SHOWN = {"ADVI": "o", "forward meanfield": "s", "forward fullrank": "^"}
COLORS = ("#0072B2", "#D55E00", "#009E73")  # as in the other pictures
CLOSE = 0.1  # share by which spreads may be off, in the median, and still pass for right
ALPHAS = (0, 0.2, 0.4, 0.6, 0.8, 1)


# %% Data: covariates that depend on their neighbours, a column of ones first, coefficients of the prior's size.
def simulate_covariates(n: int, rng: np.random.Generator) -> Array:
    """Draw covariates (n, 30), each correlated with the one before it."""
    noise = rng.standard_normal((n, N_COEFFICIENTS - 1))
    x = noise.copy()
    for j in range(1, x.shape[1]):
        x[:, j] = RHO * x[:, j - 1] + np.sqrt(1 - RHO**2) * noise[:, j]
    return np.column_stack([np.ones(n), x])


def simulate() -> tuple[Array, Array, Array]:
    """Simulate covariates, outcomes, and covariates of new cases."""
    rng = np.random.default_rng(SEED)
    x, new = simulate_covariates(N_CASES, rng), simulate_covariates(N_NEW, rng)
    beta = 0.5 * rng.standard_normal(N_COEFFICIENTS)
    return x, (rng.random(N_CASES) < expit(x @ beta)).astype(float), new


# %% The model.
def build_model(x: Array, y: Array) -> pm.Model:
    """Logistic regression with a normal prior."""
    with pm.Model(coords={"coefficient": np.arange(N_COEFFICIENTS)}) as model:
        beta = pm.Normal("beta", 0, 1, dims="coefficient")
        pm.Bernoulli("y", logit_p=x @ beta, observed=y)
    return model


# %% The posterior by NUTS, ADVI by PyMC; compare() adds the forward-KL fits and our own full-rank reverse fit.
def compare_fits(model: pm.Model) -> tuple[xr.DataTree, xr.DataTree]:
    """Sample, fit, compare, and follow the mean-field path between both divergences."""
    with model:
        idata = pm.sample(1000, chains=4, random_seed=SEED)
        advi = pm.fit(30_000, obj_optimizer=pm.adam(learning_rate=3e-3), random_seed=SEED)
        families = ("meanfield", "lowrank", "fullrank")
        comparison = pkl.compare(idata, {"ADVI": advi}, forward=families, reverse=["fullrank"], random_seed=SEED)
        return comparison, divergence_path(idata, "meanfield", alphas=ALPHAS, random_seed=SEED)


# %% How wide each fit is where one coefficient matters, and where a prediction adds up all of them.
def spreads(comparison: xr.DataTree, new: Array) -> dict[str, tuple[Array, Array]]:
    """Standard deviations of the coefficients (30,) and of the linear predictor of new cases (200,), by fit."""
    sources = {"posterior": comparison, **comparison["approximations"].children}
    found = {}
    for name, source in sources.items():
        beta = source["posterior"]["beta"].transpose("chain", "draw", "coefficient").values.reshape(-1, N_COEFFICIENTS)
        found[str(name)] = (beta.std(axis=0), (beta @ new.T).std(axis=0))
    return found


def tabulate(comparison: xr.DataTree, new: Array) -> pd.DataFrame:
    """Tabulate spreads over those of the posterior, both divergences, and what a fit is good for."""
    found = spreads(comparison, new)
    table = pkl.summary(comparison, columns=["reverse_kl", "reverse_kl_se", "forward_kl", "forward_kl_se", "khat"])
    ratios = {
        name: [own / truth for own, truth in zip(found[name], found["posterior"], strict=True)] for name in table.index
    }
    for j, what in enumerate(("coefficient", "predictor")):
        table.insert(2 * j, f"sd of {what}", [np.median(ratios[name][j]) for name in table.index])
        table.insert(2 * j + 1, "off by", [np.median(abs(ratios[name][j] - 1)) for name in table.index], True)
    table["good for"] = [good_for(*row) for row in table.iloc[:, [1, 3]].to_numpy()]
    return table


def good_for(coefficient: float, predictor: float) -> str:
    """Say what a fit may be used for, by how far its spreads are off."""
    uses = {"intervals": coefficient, "predictions": predictor, "means": 0.0}
    fine = [use for use, off in uses.items() if off < CLOSE]
    return ", ".join(fine)


# %% The pictures.
def draw_spreads(comparison: xr.DataTree, new: Array) -> Figure:
    """Draw each fit's standard deviations against the posterior's: what is right lies on the diagonal."""
    found = spreads(comparison, new)
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    figure.suptitle("Mean-field fits have the spread of coefficients or, on the whole, that of predictions; not both")
    titles = ("coefficients", "linear predictor of new cases")
    for j, (ax, title) in enumerate(zip(figure.subplots(1, 2), titles, strict=True)):
        draw_against(ax, {name: (found["posterior"][j], found[name][j]) for name in SHOWN})
        ax.set(title=title, xlabel="posterior sd", ylabel="sd of the fit")
    ax.legend(frameon=False)
    return figure


def draw_against(ax: Axes, pairs: dict[str, tuple[Array, Array]]) -> None:
    """Draw pairs of standard deviations, and the diagonal."""
    for (name, (truth, own)), color in zip(pairs.items(), COLORS, strict=True):
        ax.plot(truth, own, SHOWN[name], color=color, markersize=4, alpha=0.7, label=name)
    ends = [0, max(truth.max() for truth, _ in pairs.values()) * 1.05]
    ax.plot(ends, ends, color="#777777", linewidth=1)
    ax.set(xlim=ends, ylim=(0, None))


# %% Run everything.
def main(folder: str | Path = "pymc_kl_demo/logistic_regression") -> dict[str, Any]:
    """Compare, print the tables, save the pictures; returns the comparison, the path and the table."""
    folder = Path(folder)
    x, y, new = simulate()
    comparison, path = compare_fits(build_model(x, y))
    pkl.save(comparison, folder / "comparison.nc", overwrite=True)
    table = tabulate(comparison, new)
    print("\n".join(pkl.report(comparison, folder / "report.html", overwrite=True).verdict), end="\n\n")
    print(table.round(2).to_string(na_rep="-"))
    n = comparison["posterior"]["beta"].sizes["chain"] * comparison["posterior"]["beta"].sizes["draw"]
    print("\nSpreads are medians over the posterior's, 1 is right; divergences in nats; high k-hat is hard to correct.")
    print(f"Of {n} draws on either side, the ratio of two sds has a standard error of {1 / np.sqrt(n):.2f}.")
    draw_spreads(comparison, new).savefig(folder / "spreads.png", dpi=200)
    pkl.plot_divergence_path(path, backend="matplotlib").savefig(folder / "path.png", dpi=200)
    narrow, wide = table.loc["ADVI"].iloc[0], table.loc["forward meanfield"].iloc[2]
    print(f"Coefficients of ADVI have {narrow:.2f} of their spread, predictions of forward mean-field {wide:.2f}.")
    print(f"The comparison, its report and the pictures are in {folder}.")
    return {"comparison": comparison, "path": path, "table": table}


if __name__ == "__main__":
    main()
