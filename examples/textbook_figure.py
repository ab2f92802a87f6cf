"""The usual picture of mode-seeking in two dimensions is drawn, not optimised.

Textbooks show two overlapping normals and a small ellipse on one of them, the optimum of KL(q‖p) it is said.
It isn't: on that posterior KL(q‖p) has one optimum, which covers both. Mode-seeking begins where the modes
are further apart, and this script finds where. Run it (a quarter of a minute) or paste the cells into a notebook.
"""

# %% Setup. Divergences are in nats and by quadrature: sums over a grid that is fine and wide enough.
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import brentq
from scipy.stats import multivariate_normal, norm

from pymc_kl.approximations import FullRank, MeanField
from pymc_kl.fitting import polish
from pymc_kl.model import Target

type Array = np.ndarray[Any, np.dtype[np.float64]]
type Row = dict[str, Any]

LOCS = np.array([[-1.0, -1.0], [1.0, 1.0]])
COVARIANCES = np.array([[[0.5, 0.25], [0.25, 1.0]], [[0.5, -0.25], [-0.25, 1.0]]])
HUGGING = 0.6  # of a component's covariance: the ellipses that textbooks draw
SIDE = np.linspace(-9, 9, 721)
GRID = np.stack(np.meshgrid(SIDE, SIDE), axis=-1).reshape(-1, 2)
CELL = (SIDE[1] - SIDE[0]) ** 2

FORWARD_COLOR, REVERSE_COLOR, DRAWN_COLOR, ONE_MODE_COLOR = "#D55E00", "#0072B2", "#000000", "#009E73"
HALF = np.sqrt(2 * np.log(2))  # Mahalanobis radius of the ellipse that holds half of a normal in the plane


# %% The posterior of the figure, as a PyMC model to optimise on and by hand to check with.
def build_model() -> pm.Model:
    """Build ½ N((-1, -1), [[.5, .25], [.25, 1]]) + ½ N((1, 1), [[.5, -.25], [-.25, 1]])."""
    with pm.Model() as model:
        normals = [pm.MvNormal.dist(loc, cov) for loc, cov in zip(LOCS, COVARIANCES, strict=True)]
        pm.Mixture("x", [0.5, 0.5], normals)
    return model


def log_p(x: Array) -> Array:
    """Log density of the posterior, (n, 2) -> (n,)."""
    parts = [multivariate_normal(loc, cov).logpdf(x) for loc, cov in zip(LOCS, COVARIANCES, strict=True)]
    return np.asarray(np.logaddexp(*parts) - np.log(2))


LOG_P = log_p(GRID)


def normal(loc: Array, covariance: Array) -> FullRank:
    """Make a full-rank normal."""
    return FullRank(loc=loc, scale_tril=np.linalg.cholesky(covariance), kind="reverse")


def divergences(q: FullRank | MeanField) -> Row:
    """Both divergences of q from the posterior, by quadrature, beside its mean and covariance."""
    log_q = q.log_prob(GRID)
    return {
        "mean": q.loc,
        "covariance": q.covariance,
        "forward_kl": float((np.exp(LOG_P) * (LOG_P - log_q)).sum() * CELL),
        "reverse_kl": float((np.exp(log_q) * (log_q - LOG_P)).sum() * CELL),
    }


# %% The optima. The forward one has the moments of p; the reverse one is reached from anywhere.
def drawn_ellipses() -> list[FullRank]:
    """Make what textbooks draw: a shrunk copy of either component."""
    return [normal(loc, HUGGING * cov) for loc, cov in zip(LOCS, COVARIANCES, strict=True)]


def best_forward() -> FullRank:
    """Match the moments of p, which minimises KL(p‖q) over all normals."""
    p = np.exp(LOG_P) * CELL
    mean = p @ GRID
    return normal(mean, ((GRID - mean) * p[:, None]).T @ (GRID - mean))


def polish_from_everywhere(target: Target) -> list[FullRank]:
    """Minimise KL(q‖p) from the drawn ellipses, from the forward optimum and from scattered starts."""
    scattered = [
        normal(np.array([x, y]), scale**2 * np.eye(2))
        for x, y in ((-3.0, -3.0), (3.0, 3.0), (-2.0, 2.0), (2.0, -2.0), (0.0, 0.0))
        for scale in (0.2, 1.0, 3.0)
    ]
    starts = [*drawn_ellipses(), best_forward(), *scattered]
    return [polish(target.log_density_and_grad, q, rng=np.random.default_rng(0)) for q in starts]


def compute_optima() -> dict[str, Any]:
    """Find every normal of the picture and score it by quadrature."""
    target = Target.from_model(build_model())
    polished = polish_from_everywhere(target)
    start = MeanField(loc=np.zeros(2), scale=np.ones(2), kind="reverse")
    fits = {
        "forward": best_forward(),
        "reverse": polished[0],
        "reverse meanfield": polish(target.log_density_and_grad, start, rng=np.random.default_rng(0)),
        **{f"drawn {i}": q for i, q in enumerate(drawn_ellipses(), 1)},
    }
    return {
        "optima": {name: divergences(q) for name, q in fits.items()},
        "polished": [divergences(q) for q in polished],
    }


# %% From a drawn ellipse to the optimum, KL(q‖p) only falls: there is no local optimum to sit in.
def fall(start: FullRank, end: Row, steps: int = 41) -> Array:
    """Reverse KL along the straight line between two normals, in mean and Cholesky factor."""
    last = normal(end["mean"], end["covariance"])
    path = [
        FullRank(
            loc=(1 - t) * start.loc + t * last.loc,
            scale_tril=(1 - t) * start.scale_tril + t * last.scale_tril,
        )
        for t in np.linspace(0, 1, steps)
    ]
    return np.array([divergences(q)["reverse_kl"] for q in path])


def draw_textbook_figure(optima: dict[str, Row], falls: list[Array]) -> Figure:
    """Draw the ellipses over the posterior, and what the drawn ones gain on the way to the optimum."""
    figure = Figure(figsize=(10, 4.9), layout="constrained")
    figure.suptitle("The small ellipse of the textbooks is drawn: the optimum of KL(q‖p) covers both modes")
    plane, slope = figure.subplots(1, 2)
    density = np.exp(LOG_P).reshape(SIDE.size, SIDE.size)
    plane.contourf(SIDE, SIDE, density, levels=np.linspace(0.01, density.max(), 9), cmap="Greys", alpha=0.55)
    styles = {
        "forward": (FORWARD_COLOR, "--", "optimum of KL(p‖q)"),
        "reverse": (REVERSE_COLOR, "-", "optimum of KL(q‖p)"),
        "drawn 1": (DRAWN_COLOR, ":", "as drawn, lower left"),
        "drawn 2": (DRAWN_COLOR, "-.", "as drawn, upper right"),
    }
    for name, (color, line, label) in styles.items():
        row = optima[name]
        text = f"{label}\nKL(p‖q) = {row['forward_kl']:.3f}, KL(q‖p) = {row['reverse_kl']:.3f}"
        plane.plot(*_ellipse(row), color=color, linestyle=line, linewidth=2, label=text)
        plane.plot(*row["mean"], "o", color=color, markersize=4)
    plane.set(xlim=(-3.4, 3.4), ylim=(-3.4, 3.4), aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
    plane.set_title("p (grey); each ellipse holds half of its normal", fontsize=10)
    for number, values in enumerate(falls, 1):
        color, line, _ = styles[f"drawn {number}"]
        slope.plot(np.linspace(0, 1, values.size), values, line, color=color, linewidth=2)
    slope.axhline(optima["reverse"]["reverse_kl"], color=REVERSE_COLOR, linewidth=1.5)
    slope.set(xlabel="way from a drawn ellipse to the optimum", ylabel="KL(q‖p) (nats)")
    slope.set(xlim=(0, 1), ylim=(0, 1.5))
    slope.set_title("nothing holds q on one mode: KL(q‖p) falls all the way", fontsize=10)
    slope.legend(*plane.get_legend_handles_labels(), frameon=False, loc="upper right", fontsize=9)
    return figure


def _ellipse(row: Row) -> Array:
    """Outline, (2, n), the half of a normal that is nearest to its mean."""
    angle = np.linspace(0, 2 * np.pi, 200)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    return row["mean"][:, None] + HALF * np.linalg.cholesky(row["covariance"]) @ circle


# %% The switch. Two equal normals s standard deviations apart: where does one mode become the best reverse q?
LINE = np.linspace(-30, 30, 24_001)


def apart(s: float, x: Array) -> tuple[Array, Array]:
    """Log density of ½ N(-s/2, 1) + ½ N(s/2, 1) and its gradient, x of shape (n, 1)."""
    left, right = norm.logpdf(x[:, 0], -s / 2), norm.logpdf(x[:, 0], s / 2)
    return np.logaddexp(left, right) - np.log(2), -x + 0.5 * s * np.tanh(0.5 * s * x)


def reverse_optimum(s: float, loc: float, scale: float) -> Row:
    """Polish a normal from a start and take its KL(q‖p) by quadrature; `loc` 0 is the broad optimum."""
    start = MeanField(loc=np.array([loc]), scale=np.array([scale]), kind="reverse")
    q = polish(lambda x: apart(s, x), start, rng=np.random.default_rng(0))
    log_q = q.log_prob(LINE[:, None])
    terms = np.exp(log_q) * (log_q - apart(s, LINE[:, None])[0])
    return {
        "loc": abs(float(q.loc[0])),
        "scale": float(q.scale[0]),
        "kl": float(terms.sum() * (LINE[1] - LINE[0])),
    }


def broad(s: float) -> Row:
    """Find the optimum that covers both modes: by symmetry it stays in the middle."""
    return reverse_optimum(s, 0.0, s / 2)


def one_mode(s: float) -> Row:
    """Find the optimum in the right mode; where there is none, polishing slides to the middle."""
    return reverse_optimum(s, s / 2, 1.0)


def sweep(separations: Array) -> dict[str, Any]:
    """Follow both optima over s, and find where their divergences cross."""
    both, single = [broad(s) for s in separations], [one_mode(s) for s in separations]
    crossing = brentq(lambda s: broad(s)["kl"] - one_mode(s)["kl"], 5.2, 6.0, xtol=1e-6)
    return {
        "separation": separations,
        "broad_kl": np.array([row["kl"] for row in both]),
        "one_mode_kl": np.array([row["kl"] if row["loc"] > 0.1 else np.nan for row in single]),
        "crossing": float(crossing),
        "crossing_kl": (broad(crossing)["kl"], one_mode(crossing)["kl"]),
    }


def draw_switch(curves: dict[str, Any]) -> Figure:
    """Draw both branches of KL(q‖p), and the optima before, at and after the switch."""
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    figure.suptitle(
        f"Reverse KL seeks one mode only where modes are over {curves['crossing']:.2f} standard deviations apart"
    )
    left, right = figure.subfigures(1, 2, width_ratios=(1.5, 1))
    ax = left.subplots()
    s = curves["separation"]
    ax.plot(s, curves["broad_kl"], color=REVERSE_COLOR, linewidth=2, label="optimum that covers both modes")
    ax.plot(s, curves["one_mode_kl"], "--", color=ONE_MODE_COLOR, linewidth=2, label="optimum in one mode")
    ax.axhline(np.log(2), color="#777777", linestyle=":", linewidth=1)
    ax.text(2.05, np.log(2) + 0.015, "log 2: one of two modes, its shape exact", fontsize=9, color="#555555")
    crossing, value = curves["crossing"], curves["crossing_kl"][0]
    ax.plot(crossing, value, "o", color="black", markersize=6, zorder=3)
    ax.annotate(
        f"s = {crossing:.4f}\nboth {value:.5f} nats", (crossing, value), (5.75, 0.42), fontsize=9,
        arrowprops={"arrowstyle": "-", "linewidth": 0.8},
    )  # fmt: skip
    ax.axvspan(*TEXTBOOK_SEPARATION, color="#F0E442", alpha=0.25, linewidth=0)
    ax.text(np.mean(TEXTBOOK_SEPARATION), 1.2, "the picture\nof the textbooks", ha="center", va="top", fontsize=9)
    ax.set(xlabel="distance s of the two modes (standard deviations)", ylabel="KL(q‖p) (nats)")
    ax.set(xlim=(2, 8), ylim=(0, 1.3))
    ax.legend(frameon=False, loc="lower right")
    _draw_optima(right.subplots(3, 1, sharex=True), (4.0, crossing, 7.0))
    return figure


# The components of the textbook figure are 2 √2 apart, and along that line their sds are 1 and 1/√2.
TEXTBOOK_SEPARATION = (2 * np.sqrt(2), 4.0)


def _draw_optima(axes: Any, separations: tuple[float, ...]) -> None:
    """Draw p and its reverse optima at some distances."""
    for ax, s in zip(axes, separations, strict=True):
        _draw_optimum(ax, s)
    axes[0].set_title("p (grey) and its optima", fontsize=10)
    axes[1].set_ylabel("density")
    axes[-1].set_xlabel("x")


def _draw_optimum(ax: Axes, s: float) -> None:
    ax.fill_between(LINE, np.exp(apart(s, LINE[:, None])[0]), color="#777777", alpha=0.3, linewidth=0)
    both, single = broad(s), one_mode(s)
    ax.plot(LINE, norm.pdf(LINE, both["loc"], both["scale"]), color=REVERSE_COLOR)
    if single["loc"] > 0.1:
        ax.plot(LINE, norm.pdf(LINE, single["loc"], single["scale"]), "--", color=ONE_MODE_COLOR)
    ax.set(xlim=(-8, 8), ylim=(0, 0.42))
    ax.text(0.02, 0.93, f"s = {s:.2f}", transform=ax.transAxes, va="top")


# %% Run everything.
def main(folder: str | Path = "pymc_kl_demo/textbook_figure") -> dict[str, Any]:
    """Compute every number, print it, save the pictures; returns the numbers."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    print("Computing optima of both divergences by quadrature.")
    result = compute_optima()
    optima = result["optima"]
    for name, row in optima.items():
        print(f"{name}: mean {row['mean'].round(5)}, covariance {row['covariance'].round(5).tolist()}")
        print(f"    KL(p‖q) {row['forward_kl']:.6f}, KL(q‖p) {row['reverse_kl']:.6f} nats")
    ends = [row["reverse_kl"] for row in result["polished"]]
    print(f"{len(ends)} starts end between {min(ends):.6f} and {max(ends):.6f} nats: one optimum")
    falls = [fall(q, optima["reverse"]) for q in drawn_ellipses()]
    curves = sweep(np.linspace(2, 8, 121))
    print(f"the reverse optima cross at s = {curves['crossing']:.4f}, both {curves['crossing_kl'][0]:.5f} nats")
    draw_textbook_figure(optima, falls).savefig(folder / "textbook_figure.png", dpi=200)
    draw_switch(curves).savefig(folder / "switch.png", dpi=200)
    print(
        f"Of the optima of KL(q‖p) the one over both normals is lower up to s = {curves['crossing']:.2f}, one in a "
        f"single normal beyond. Pictures are in {folder}."
    )
    return {**result, "falls": falls, "switch": curves}


if __name__ == "__main__":
    main()
