"""Did ADVI by minibatches get a regression on 200,000 rows right? A comparison by a tenth of them, with its error.

Two predictors go together (correlation 0.8), so that a mean field has standard deviations of 0.6 of the posterior's at
best; and minibatches leave its means where the last ones pulled them. `subsampled` takes 20,000 rows, corrects what
they say by expansions on all, and measures on all rows how far its log density is off. Run it (a minute) or paste the
cells into a notebook.
"""

# %% Setup.
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
from matplotlib.figure import Figure
from scipy.stats import norm

import pymc_kl as pkl
from pymc_kl.model import subsampled

N, CORRELATION, NOISE = 200_000, 0.8, 2.0


# %% Data, and the model of a batch of them: `total_size` says of how many.
def data() -> tuple[Any, Any]:
    """Draw predictors (N, 2) and what they explain (N,)."""
    rng = np.random.default_rng(1)
    x = rng.multivariate_normal(np.zeros(2), [[1, CORRELATION], [CORRELATION, 1]], N)
    return x, x @ [1.0, -0.5] + NOISE * rng.standard_normal(N)


def regression(x: Any, y: Any) -> pm.Model:
    """Build y = x beta + noise, on batches of 500 rows."""
    with pm.Model() as model:
        rows, seen = pm.Minibatch(x, y, batch_size=500)
        beta = pm.Normal("beta", 0, 1, shape=2)
        noise = pm.HalfNormal("noise", 5)
        pm.Normal("y", rows @ beta, noise, observed=seen, total_size=N)
    return model


# %% The picture: a coefficient.
def draw_coefficient(comparison: Any) -> Figure:
    """Draw the normals that have the mean and the standard deviation of each source."""
    figure = Figure(figsize=(5, 3), layout="constrained")
    ax, beta = figure.subplots(), comparison["parameters"]["beta"].isel(beta_dim_0=0)
    x = float(beta.sel(source="reference", statistic="mean")) + np.linspace(-0.06, 0.06, 400)
    for source in beta["source"].values:
        ax.plot(x, norm.pdf(x, *(float(beta.sel(source=source, statistic=s)) for s in ("mean", "sd"))), label=source)
    ax.set(xlabel="beta[0]", ylabel="density")
    ax.legend()
    return figure


# %% Run everything.
def main() -> dict[str, Any]:
    """Fit by minibatches, estimate the density, and compare by it."""
    x, y = data()
    model = regression(x, y)
    with model:
        advi = pm.fit(10_000, obj_optimizer=pm.adam(learning_rate=0.002), random_seed=1, progressbar=False)
    density = subsampled(model, n_rows=20_000, random_seed=1)
    comparison = pkl.compare(
        None, {"ADVI": advi}, model=density.target, forward=("meanfield", "fullrank"), random_seed=1, progressbar=False
    )
    folder = Path("pymc_kl_demo/large_data")
    folder.mkdir(parents=True, exist_ok=True)
    draw_coefficient(comparison).savefig(folder / "coefficient.png", dpi=120)
    print(density.told)
    print(pkl.report(comparison))
    return {"density": density, "comparison": comparison, "x": x, "y": y}


if __name__ == "__main__":
    main()
