"""How do I fit a gigabyte of draws that I can't load? A forward mixture to all draws of a Zarr store.

Seven million draws of two normals in twenty dimensions, 1.1 GB, are written a chunk at a time. `fit_forward` looks at
20,000 of them for the modes and for how many components they call for, and then fits to all, a part at a time. Run it
(a minute on two free cores, and a gigabyte of disk until it ends) or paste the cells into a notebook.
"""

# %% Setup.
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
import zarr
from matplotlib.figure import Figure
from scipy.stats import norm

import pymc_kl as pkl

D, N_CHAINS, N_CHUNKS, CHUNK = 20, 4, 35, 50_000
MASS = 0.3  # of the mode at -2; the other is at 2


# %% The model: two normals, a distance of 4 sqrt(20) apart.
def two_normals() -> pm.Model:
    """Build 0.3 N(-2, I) + 0.7 N(2, I)."""
    with pm.Model() as model:
        x = pm.Flat("x", shape=D)
        logs = [np.log(m) - 0.5 * ((x - loc) ** 2).sum() for m, loc in ((MASS, -2.0), (1 - MASS, 2.0))]
        pm.Potential("p", pm.math.logaddexp(*logs))
    return model


# %% Draws on disk, as a sampler with a Zarr backend leaves them.
def write_draws(path: Path) -> None:
    """Write exact draws, 8 MB at a time."""
    rng = np.random.default_rng(1)
    posterior = zarr.open_group(path, mode="w").create_group("posterior")
    shape, dims = (N_CHAINS, N_CHUNKS * CHUNK, D), ("chain", "draw", "x_dim_0")
    x = posterior.create_array(
        "x", shape=shape, chunks=(1, CHUNK, D), dtype="f8", dimension_names=dims, compressors=None
    )
    for chain in range(N_CHAINS):
        for first in range(0, shape[1], CHUNK):
            centre = np.where(rng.random((CHUNK, 1)) < MASS, -2.0, 2.0)
            x[chain, first : first + CHUNK] = centre + rng.standard_normal((CHUNK, D))


# %% What is loaded is said; DataTrees that are open (lazy, or in Dask's chunks) are taken in the same way as paths.
def fit(path: Path, model: pm.Model) -> dict[str, Any]:
    """Fit to all draws; keep what was said."""
    with (
        xr.open_datatree(path, engine="zarr", consolidated=False) as draws,
        warnings.catch_warnings(record=True) as said,
    ):
        warnings.simplefilter("always")
        mixture: Any = pkl.fit_forward(draws, "mixture", model=model, random_seed=1)
    return {"fit": mixture, "said": [str(each.message) for each in said]}


# %% The picture: the first coordinate.
def draw_marginal(q: Any) -> Figure:
    """Draw the density of x[0] and that of the fit."""
    figure = Figure(figsize=(5, 3), layout="constrained")
    ax, x = figure.subplots(), np.linspace(-6, 6, 400)
    ax.plot(x, MASS * norm.pdf(x, -2) + (1 - MASS) * norm.pdf(x, 2), label="posterior")
    parts = zip(q.weights, q.locs[:, 0], q.scale_trils[:, 0, 0], strict=True)
    ax.plot(x, sum(w * norm.pdf(x, loc, abs(sd)) for w, loc, sd in parts), "--", label="fit to all draws")
    ax.set(xlabel="x[0]", ylabel="density")
    ax.legend()
    return figure


# %% Run everything.
def main() -> dict[str, Any]:
    """Write, fit, and clean up."""
    folder = Path("pymc_kl_demo/large_draws")
    store = folder / "draws.zarr"
    try:
        write_draws(store)
        found = fit(store, two_normals())
    finally:
        shutil.rmtree(store, ignore_errors=True)
    q = found["fit"]
    folder.mkdir(parents=True, exist_ok=True)
    draw_marginal(q).savefig(folder / "marginal.png", dpi=120)
    print("\n".join(found["said"]))
    print(
        f"Weights {np.sort(q.weights).round(4).tolist()} of the components, after {q.info.n_iterations} passes of EM."
    )
    return found


if __name__ == "__main__":
    main()
