"""An approximation put to work: posterior draws by weights or by jumps, and chains that start in every mode.

Ten measurements of two quantities lie near 5 and near -5. Two in three are known to be of the first, but not which. Six
lie near 5, so the first is 5 at odds of 2⁶ to 2⁴: two modes, of mass 0.8 and 0.2. Where chains of PyMC end is chance;
with this seed all four agree on the smaller mode. A forward-KL mixture covers both, and leads to the posterior in three
ways. Run it (half a minute) or paste the cells into a notebook.
"""

# %% Setup.
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pymc as pm
import xarray as xr
from matplotlib.figure import Figure
from scipy.stats import norm

import pymc_kl as pkl

SEED = 8
OBSERVED = np.concatenate([5 + norm.ppf((np.arange(6) + 0.5) / 6), -5 + norm.ppf((np.arange(4) + 0.5) / 4)])
SHARES = np.array([2, 1]) / 3  # of measurements that are of the first and of the second quantity
TRUTH = 0.8  # mass of the mode where the first quantity is 5: 2⁶ / (2⁶ + 2⁴)
QUIET: dict[str, Any] = {"random_seed": SEED, "progressbar": False}


# %% The model.
def build_model() -> pm.Model:
    """Mix two normals of known shares and spread."""
    with pm.Model(coords={"quantity": ["first", "second"]}) as model:
        mu = pm.Normal("mu", 0, 10, dims="quantity")
        pm.NormalMixture("y", SHARES, mu, sigma=1, observed=OBSERVED)
    return model


# %% The mass of a mode as draws have it. A chain that never crosses is worth one draw, however long it is.
def mass_of_first(dt: xr.DataTree) -> tuple[float, float, float]:
    """Share of draws with the first quantity near 5, its standard error, and R-hat of that share."""
    inside = (dt["posterior"]["mu"].sel(quantity="first") > 0).astype(float)
    if float(inside.var("draw").max()) == 0:
        seen = inside.mean("draw").values
        alike = bool(np.ptp(seen) == 0)
        return float(seen.mean()), np.nan if alike else float(seen.std() / np.sqrt(len(seen))), 1.0 if alike else np.inf
    se = float(inside.std()) / np.sqrt(float(az.ess(inside, method="mean")))
    return float(inside.mean()), se, float(az.rhat(inside))


# %% Weights turn draws of an approximation into draws of the posterior, or say why they can't.
def corrected(advi: Any, mixture: Any, modes: Any) -> xr.DataTree:
    """Correct both fits: the one that misses a mode is refused."""
    try:
        pkl.correct(advi, modes=modes, random_seed=SEED)
    except ValueError as refusal:
        print(f"correct(ADVI) refuses: {refusal}\n")
    return pkl.correct(mixture, modes=modes, random_seed=SEED)


# %% Chains of PyMC that start in every mode, by mass, with a metric that fits one.
def started(mixture: Any, modes: Any) -> xr.DataTree:
    """Sample as ever, but from where the mixture says."""
    starts = pkl.initvals(mixture, chains=5, modes=modes, random_seed=SEED)
    for chain, start in enumerate(starts["initvals"]):
        print(f"chain {chain} starts at mu = {start['mu'].round(2)}")
    print()
    return pm.sample(**starts, **QUIET)


# %% The picture: what each says of the mass, and how sure it is.
def draw_masses(masses: dict[str, tuple[float, float, float]]) -> Figure:
    """Draw each mass with two standard errors, where it has one, beside the truth."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    ax = figure.subplots()
    ax.axvline(TRUTH, color="#009E73", label="truth")
    for row, (mass, se, _) in enumerate(masses.values()):
        ax.errorbar(mass, row, xerr=2 * np.nan_to_num(se), fmt="o", color="black", capsize=3)
    ax.set_yticks(range(len(masses)), list(masses))
    ax.invert_yaxis()
    ax.set(xlabel="mass of the mode at (5, -5), with two standard errors", xlim=(-0.05, 1.05))
    ax.legend(frameon=False)
    return figure


# %% Run everything.
def main(folder: str | Path = "pymc_kl_demo/correct_and_jump") -> dict[str, xr.DataTree]:
    """Sample, fit, correct, jump and start; say and draw what each says of the first mode's mass; returns the draws."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with build_model():
        modes = pkl.find_modes(random_seed=SEED)
        plain = pm.sample(chains=4, **QUIET)
        advi = pm.fit(20_000, obj_optimizer=pm.adam(learning_rate=1e-3), **QUIET)
        mixture = pkl.fit_forward(pkl.sample_reference(plain, random_seed=SEED), "mixture", random_seed=SEED)
        draws = {
            "pm.sample": plain,
            "correct(mixture)": corrected(advi, mixture, modes),
            "sample_jump(mixture)": pkl.sample_jump(mixture, modes=modes, random_seed=SEED),
            "pm.sample(**initvals(mixture))": started(mixture, modes),
        }
    print(f"{'mass of the mode at (5, -5)':<32}{'mass':>8}{'standard error':>16}{'R-hat':>8}")
    print(f"{'truth':<32}{TRUTH:>8.3f}")
    masses = {name: mass_of_first(dt) for name, dt in draws.items()}
    for name, row in masses.items():
        print("{:<32}{:>8.3f}{:>16.3f}{:>8.2f}".format(name, *row))
    jumps = draws["sample_jump(mixture)"]["sample_stats"]["jump_acceptance_rate"]
    print(f"\n{100 * float(jumps.mean()):.0f} % of the jumps were accepted.\n")
    print(az.summary(draws["sample_jump(mixture)"]))
    draw_masses(masses).savefig(folder / "masses.png", dpi=120)
    alone, weighed, jumped = (masses[name][0] for name in ("pm.sample", "correct(mixture)", "sample_jump(mixture)"))
    print(
        f"\nChains of PyMC alone give the mode a mass of {alone:.2f}; of {TRUTH} that it has, weights find "
        f"{weighed:.3f} and jumps {jumped:.3f}. The picture is in {folder}."
    )
    return draws


if __name__ == "__main__":
    main()
