"""Forward against reverse KL on a posterior with two modes, in one dimension, computed and not drawn.

Four figures of the textbooks, each from quadrature, then the same story from draws with `pkl.compare`. Run
it as a script (half a minute once PyMC has compiled) or paste the cells into a notebook.
"""

# %% Setup. Everything is in nats, on a grid so wide and fine that its sums are integrals to six digits.
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import minimize, minimize_scalar
from scipy.special import logsumexp
from scipy.stats import norm

import pymc_kl as pkl

type Array = np.ndarray[Any, np.dtype[np.float64]]
type Normal = tuple[float, float]  # mean and standard deviation

WEIGHTS, LOCS, SCALES = np.array([0.3, 0.7]), np.array([-3.0, 3.0]), np.array([0.6, 1.0])
X = np.linspace(-40, 40, 80_001)
STEP = X[1] - X[0]
SHOWN = (X > -9) & (X < 11)
N_DRAWS = 2000  # of each approximation that `compare` scores

P_COLOR, FORWARD_COLOR, REVERSE_COLOR, LOCAL_COLOR = "#777777", "#D55E00", "#0072B2", "#009E73"
COLORS = {"forward": FORWARD_COLOR, "reverse": REVERSE_COLOR, "local reverse": LOCAL_COLOR}
STYLES = {"forward": "--", "reverse": "-", "local reverse": "-."}


# %% The posterior p, and the saddle where the regions of its two modes meet.
def log_p(x: Array | float) -> Array:
    """Log density of 0.3 N(-3, 0.6) + 0.7 N(3, 1), the second argument a standard deviation."""
    terms = norm.logpdf(np.asarray(x)[..., None], LOCS, SCALES)
    return np.asarray(logsumexp(terms, b=WEIGHTS, axis=-1))


LOG_P = log_p(X)
SADDLE = float(minimize_scalar(log_p, bounds=(-2.5, 2.5), method="bounded", options={"xatol": 1e-10}).x)
LEFT = SADDLE > X
LEFT_MASS = float(WEIGHTS @ norm.cdf(SADDLE, LOCS, SCALES))


def log_q(normal: Normal) -> Array:
    """Log density of a normal on the grid."""
    return np.asarray(norm.logpdf(X, *normal))


def integrand(log_from: Array, log_to: Array) -> Array:
    """Integrand of KL(from‖to) on the grid, nats a unit of x."""
    return np.asarray(np.exp(log_from) * (log_from - log_to))


def integral(values: Array, where: Array | slice = slice(None)) -> float:
    """Integrate over the grid, or over a part of it."""
    return float(values[where].sum() * STEP)


def between(w: float, v: float) -> float:
    """Divergence from (w, 1 - w) to (v, 1 - v): the part of a KL that is due to the masses of two modes."""
    return float(w * np.log(w / v) + (1 - w) * np.log((1 - w) / (1 - v)))


# %% 1. The divergence is not symmetric: it weighs log(p/q) by the distribution that comes first.
def asymmetry() -> dict[str, float]:
    """Divergence of a narrow normal from a wide one, and the other way round."""
    narrow, wide = pm.Normal.dist(0, 2), pm.Normal.dist(0, 3)
    return {
        "narrow from wide": float(pkl.kl_divergence(narrow, wide)),
        "wide from narrow": float(pkl.kl_divergence(wide, narrow)),
    }


def draw_asymmetry(values: dict[str, float]) -> Figure:
    """Draw both normals and both integrands."""
    narrow, wide = log_q((0, 2)), log_q((0, 3))
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    figure.suptitle("KL(p‖q) looks where p has mass, KL(q‖p) where q has: a q too wide costs less under the first")
    densities, integrands = figure.subplots(1, 2)
    pairs = (
        ("p = N(0, 2)", narrow, "KL(p‖q)", integrand(narrow, wide), values["narrow from wide"], "forward"),
        ("q = N(0, 3)", wide, "KL(q‖p)", integrand(wide, narrow), values["wide from narrow"], "reverse"),
    )
    for name, log_density, title, curve, value, key in pairs:
        densities.plot(X, np.exp(log_density), STYLES[key], color=COLORS[key], label=name)
        integrands.plot(X, curve, STYLES[key], color=COLORS[key], label=f"{title} = {value:.6f} nats")
        integrands.fill_between(X, curve, color=COLORS[key], alpha=0.15, linewidth=0)
    integrands.axhline(0, color="black", linewidth=0.8)
    integrands.set_ylim(-0.062, 0.115)
    for ax, label in ((densities, "density"), (integrands, "integrand (nats per unit of x)")):
        ax.set(xlabel="x", ylabel=label, xlim=(-11, 11))
        ax.legend(frameon=False, loc="upper center" if ax is integrands else "upper right")
    densities.set_ylim(0, 0.24)
    return figure


# %% 2. The best normal under each divergence. KL(p‖q) has one optimum: the mean and the variance of p.
def best_forward() -> Normal:
    """Match the moments of p, which minimises KL(p‖q) over all normals."""
    mean = WEIGHTS @ LOCS
    return float(mean), float(np.sqrt(WEIGHTS @ (SCALES**2 + (LOCS - mean) ** 2)))


def best_reverse(start: Normal) -> Normal:
    """Minimise KL(q‖p) over normals, downhill from a start."""
    result = minimize(
        lambda theta: integral(integrand(log_q((theta[0], np.exp(theta[1]))), LOG_P)),
        (start[0], np.log(start[1])),
        method="Nelder-Mead",
        options={"xatol": 1e-8, "fatol": 1e-13},
    )
    return float(result.x[0]), float(np.exp(result.x[1]))


def optima() -> dict[str, Normal]:
    """KL(q‖p) has an optimum at each mode; where an optimiser ends depends on where it starts."""
    return {
        "forward": best_forward(),
        "reverse": best_reverse((2.0, 1.0)),
        "local reverse": best_reverse((-2.0, 1.0)),
    }


def divergences(normal: Normal) -> dict[str, float]:
    """Both divergences of one normal and how the masses of the two modes share in them, nats."""
    p = pm.NormalMixture.dist(WEIGHTS, LOCS, sigma=SCALES)
    q = pm.Normal.dist(*normal)
    w, v = LEFT_MASS, float(norm.cdf(SADDLE, *normal))
    return {
        "mean": normal[0],
        "sd": normal[1],
        "left_mass": v,
        "forward_kl": float(pkl.kl_divergence(p, q)),
        "reverse_kl": float(pkl.kl_divergence(q, p)),
        "forward_kl_between": between(w, v),
        "reverse_kl_between": between(v, w),
    }


def draw_optima(table: dict[str, dict[str, float]]) -> Figure:
    """Draw the three optima over p."""
    figure = Figure(figsize=(9.5, 3.8), layout="constrained")
    figure.suptitle("Forward KL spreads over both modes, reverse KL settles in one: in which, the start decides")
    ax = figure.subplots()
    ax.fill_between(X, np.exp(LOG_P), color=P_COLOR, alpha=0.3, linewidth=0, label="posterior p")
    names = {"forward": "forward", "reverse": "reverse", "local reverse": "reverse, local"}
    for key, row in table.items():
        label = f"{names[key]}: N({row['mean']:.2f}, {row['sd']:.2f})\n".replace("-", "−")
        label += f"KL(p‖q) = {row['forward_kl']:.3f}, KL(q‖p) = {row['reverse_kl']:.3f}"
        curve = np.exp(log_q((row["mean"], row["sd"])))
        ax.plot(X, curve, STYLES[key], color=COLORS[key], linewidth=2, label=label)
    ax.set(xlabel="x", ylabel="density", xlim=(-9, 11), ylim=(0, None))
    ax.legend(
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
        title="divergences in nats",
        alignment="left",
    )
    return figure


# %% 3. Where each divergence comes from: log(p/q) counts where the first argument has its mass.
def draw_integrands(fits: dict[str, Normal]) -> Figure:
    """Draw p log(p/q) and q log(q/p) for each optimum, and how much comes from either side of the saddle."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    figure.suptitle("A missed mode is where p log(p/q) is large and q log(q/p) is nothing: only the forward KL sees it")
    axes = figure.subplots(3, len(fits), sharex=True, height_ratios=(2, 3, 3))
    for column, (key, normal) in enumerate(fits.items()):
        log_density = log_q(normal)
        axes[0, column].set_title(f"q: {key} optimum")
        _draw_densities(axes[0, column], log_density, COLORS[key])
        _draw_integrand(axes[1, column], integrand(LOG_P, log_density), "KL(p‖q)", COLORS[key])
        _draw_integrand(axes[2, column], integrand(log_density, LOG_P), "KL(q‖p)", COLORS[key])
        axes[2, column].set_xlabel("x")
    labels = ("density", "p log(p/q)\n(nats per unit of x)", "q log(q/p)\n(nats per unit of x)")
    for ax, label in zip(axes[:, 0], labels, strict=True):
        ax.set_ylabel(label)
    figure.align_ylabels()
    return figure


def _draw_densities(ax: Axes, log_density: Array, color: str) -> None:
    """Draw p as an area and q as a line."""
    ax.fill_between(X[SHOWN], np.exp(LOG_P[SHOWN]), color=P_COLOR, alpha=0.3, linewidth=0, label="p")
    ax.plot(X[SHOWN], np.exp(log_density[SHOWN]), color=color, label="q")
    ax.axvline(SADDLE, color="black", linewidth=0.8, linestyle=":")
    ax.set(xlim=(-9, 11), ylim=(0, 0.7))
    ax.legend(frameon=False, loc="upper right")


def _draw_integrand(ax: Axes, values: Array, name: str, color: str) -> None:
    """Fill one integrand; the texts above it are its integrals, left and right of the saddle and in all."""
    ax.fill_between(X[SHOWN], values[SHOWN], color=color, alpha=0.5, linewidth=0)
    ax.plot(X[SHOWN], values[SHOWN], color=color, linewidth=1)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.axvline(SADDLE, color="black", linewidth=0.8, linestyle=":")
    low, high = float(values[SHOWN].min()), float(values[SHOWN].max())
    ax.set(xlim=(-9, 11), ylim=(low - 0.08 * (high - low), high + 0.35 * (high - low)))
    left, right = _shown(integral(values, LEFT)), _shown(integral(values, ~LEFT))
    place = ax.get_xaxis_transform()
    ax.text(SADDLE - 0.3, 0.95, f"left {left}", transform=place, ha="right", va="top", fontsize=9)
    total = f"right {right}\n{name} = {_shown(integral(values))}"
    ax.text(SADDLE + 0.3, 0.95, total, transform=place, ha="left", va="top", fontsize=9)


def _shown(value: float) -> str:
    """Write a number with three decimals, a true minus and no negative zero."""
    return f"{round(value, 3) + 0.0:.3f}".replace("-", "−")


# %% 4. Let q forget the left mode. By the chain rule, q = p with other masses has nothing but a between term.
def forget_left_mode(masses: Array) -> dict[str, Array]:
    """Both divergences of p with the mass of its left mode changed, by quadrature."""
    w = LEFT_MASS
    curves = [LOG_P + np.where(LEFT, np.log(v / w), np.log((1 - v) / (1 - w))) for v in masses]
    return {
        "left_mass": masses,
        "forward_kl": np.array([integral(integrand(LOG_P, curve)) for curve in curves]),
        "reverse_kl": np.array([integral(integrand(curve, LOG_P)) for curve in curves]),
    }


def draw_missed_mode(curves: dict[str, Array], table: dict[str, dict[str, float]]) -> Figure:
    """Draw what each divergence says as q forgets a mode, and where the optima stand on the curves."""
    figure = Figure(figsize=(8, 4.4), layout="constrained")
    figure.suptitle("As q forgets a mode, the forward divergence grows without bound; the reverse does not notice")
    ax = figure.subplots()
    ax.axvspan(1e-12, 3 / N_DRAWS, color="#F0E442", alpha=0.25, linewidth=0)
    ax.text(
        3 / N_DRAWS / 1.3, 7.6, f"{N_DRAWS} draws of q\nmay hold none of it",
        ha="right", va="center", fontsize=9,
    )  # fmt: skip
    for key, name in (("forward", "KL(p‖q)"), ("reverse", "KL(q‖p)")):
        y = curves[f"{key}_kl"]
        label = f"between term of {name}"
        ax.plot(curves["left_mass"], y, STYLES[key], color=COLORS[key], linewidth=2, label=label)
        for fit, marker in (("forward", "o"), ("reverse", "s")):
            row = table[fit]
            ax.plot(
                row["left_mass"], row[f"{key}_kl_between"], marker, color=COLORS[key], markersize=8,
                markerfacecolor="white", markeredgewidth=1.8,
            )  # fmt: skip
    ax.plot([], [], "ko", markerfacecolor="white", markersize=8, label="the best forward normal")
    ax.plot([], [], "ks", markerfacecolor="white", markersize=8, label="the best reverse normal")
    limit = -np.log(WEIGHTS[1])
    ax.text(1.5e-12, limit + 0.12, f"limit log(1/0.7) = {limit:.4f} nats", color=REVERSE_COLOR, fontsize=9)
    ax.axvline(WEIGHTS[0], color=P_COLOR, linestyle=":", linewidth=1)
    ax.text(WEIGHTS[0] / 1.25, 4.2, "mass\nunder p", ha="right", fontsize=9, color="#555555")
    ax.set(xscale="log", xlim=(1e-12, 1), ylim=(-0.35, 8.5))
    ax.set(xlabel="mass that q gives to the left mode", ylabel="divergence (nats)")
    ax.legend(frameon=False, loc="upper right", bbox_to_anchor=(0.63, 0.86), fontsize=9)
    return figure


# %% 5. The same from draws. NUTS would not mix here, so the reference is exact: independent draws.
def compare_from_draws(n: int = 5000, seed: int = 1) -> xr.DataTree:
    """Fit ADVI and the forward families and compare them with exact draws of p.

    PyMC's default optimiser has not arrived after 10,000 steps; Adam with small steps has.
    """
    rng = np.random.default_rng(seed)
    right = rng.random((4, n)) < WEIGHTS[1]
    x = np.where(right, rng.normal(LOCS[1], SCALES[1], (4, n)), rng.normal(LOCS[0], SCALES[0], (4, n)))
    draws = xr.Dataset({"x": (("chain", "draw"), x)})
    with pm.Model():
        pm.NormalMixture("x", WEIGHTS, LOCS, sigma=SCALES)
        advi = pm.fit(20_000, obj_optimizer=pm.adam(learning_rate=1e-3), random_seed=seed, progressbar=False)
        return pkl.compare(draws, {"ADVI": advi}, draws=N_DRAWS, random_seed=seed)


# %% Run everything.
def main(folder: str | Path = "pymc_kl_demo/two_modes") -> dict[str, Any]:
    """Compute every number, print the tables, save the pictures; returns the numbers and the comparison."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    print("Computing optima of both divergences by quadrature, and drawing them.")
    both_ways = asymmetry()
    fits = optima()
    table = {key: divergences(normal) for key, normal in fits.items()}
    curves = forget_left_mode(np.geomspace(1e-12, 0.99, 200))
    figures = {
        "asymmetry": draw_asymmetry(both_ways),
        "optima": draw_optima(table),
        "integrands": draw_integrands(fits),
        "missed_mode": draw_missed_mode(curves, table),
    }
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=200)
    print("KL(N(0, 2)‖N(0, 3)) = {:.6f}, the other way round {:.6f}".format(*both_ways.values()))
    for key, row in table.items():
        print(f"{key}: " + ", ".join(f"{name} {value:.6g}" for name, value in row.items()))
    comparison = compare_from_draws()
    print(pkl.summary(comparison).to_string())
    print(pkl.coverage(comparison).to_string())
    pkl.plot_coverage(comparison, backend="matplotlib").savefig(folder / "coverage.png", dpi=200)
    pkl.plot_modes(comparison, backend="matplotlib").savefig(folder / "modes.png", dpi=200)
    print(
        f"The normal of least KL(p‖q) has {100 * table['forward']['left_mass']:.0f} % of its mass on the left, where p "
        f"has {100 * WEIGHTS[0]:.0f} %, that of least KL(q‖p) {100 * table['reverse']['left_mass']:.2f} %. "
        f"Pictures are in {folder}."
    )
    return {
        "asymmetry": both_ways, "saddle": SADDLE, "optima": table, "forgetting": curves,
        "comparison": comparison,
    }  # fmt: skip


if __name__ == "__main__":
    main()
