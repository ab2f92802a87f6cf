"""Comparisons laid out by hand, and what was drawn of them on the `none` backend, for all tests of pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import xarray as xr
from arviz_plots import PlotCollection
from scipy.special import logsumexp
from scipy.stats import norm

from pymc_kl.comparison.datatree import SCORE_COLUMNS, coverage_dataset, line_dataset, scores_dataset
from pymc_kl.model.datatree import FORMAT
from pymc_kl.reference.datatree import modes_dataset

NAMES = ("ADVI", "full-rank ADVI", "forward mixture")
SCALE, LOG_Z = 0.5, 1.5
BACKENDS = ("matplotlib", "plotly", "bokeh", "none")


def draws(x: np.ndarray) -> xr.Dataset:
    """Make variables of x (chain, draw, d): `mu`, all columns but one, `tau`, and `fixed`, a constant."""
    lead = ("chain", "draw")
    data = {"mu": ((*lead, "component"), x[..., :-1]), "tau": (lead, np.exp(0.3 * x[..., -1]))}
    labels = [f"c{i}" for i in range(x.shape[-1] - 1)]
    coords = {"chain": range(x.shape[0]), "draw": range(x.shape[1]), "component": labels}
    return xr.Dataset(data | {"fixed": (lead, np.full(x.shape[:2], 2.0))}, coords)


def counts(mode: np.ndarray, k: int) -> dict[str, Any]:
    """Masses of draws whose mode is 1..k, 0 for elsewhere."""
    share = np.bincount(mode.ravel(), minlength=k + 1) / mode.size
    se = np.sqrt((share * (1 - share) + 1 / mode.size) / mode.size)
    upper = np.where(share > 0, share + 2 * se, 3 / mode.size)
    return {
        "mass": share[1:],
        "mass_se": se[1:],
        "mass_lower": np.maximum(share - 1.96 * se, 0.0)[1:],
        "mass_upper": upper[1:],
        "elsewhere": share[0],
        "elsewhere_se": se[0],
    }


def log_mixture(x: np.ndarray, weights: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Log density at x (..., d) of normals of standard deviation 0.5."""
    distance = ((x[..., None, :] - centre) ** 2).sum(-1) / (2 * SCALE**2)
    constant = x.shape[-1] * np.log(SCALE * np.sqrt(2 * np.pi))
    with np.errstate(divide="ignore"):
        return logsumexp(np.log(weights) - distance, axis=-1) - constant


def passes(log_density: Callable[[np.ndarray], np.ndarray], centre: np.ndarray) -> np.ndarray:
    """Lowest log density on the straight line between any two peaks (K, K); NaN on the diagonal."""
    steps = np.linspace(0, 1, 9)[:, None, None, None]
    lowest = log_density(steps * centre[:, None] + (1 - steps) * centre).min(axis=0)
    np.fill_diagonal(lowest, np.nan)
    return lowest


def score(p: xr.Dataset, q: xr.Dataset, log_q_at_p: np.ndarray, own: np.ndarray, weights: np.ndarray) -> dict[str, Any]:
    """Estimate both divergences, their parts and their errors from draws."""
    upper, lower = p["log_density"].values - log_q_at_p, (q["log_density"] - q["log_prob"]).values
    v = np.maximum(own, 3 / q.sizes["draw"])
    between = (weights * np.log(weights / v)).sum(), (own * np.log(v / weights)).sum()
    row: dict[str, Any] = {"khat": 0.3, "khat_reference": 0.9, "alarm": float((own == 0).any()), "kind": "reverse"}
    estimates = {"forward_kl": (upper - LOG_Z, between[0]), "reverse_kl": (LOG_Z - lower, between[1])}
    for name, (values, part) in estimates.items():
        se = values.std() / np.sqrt(values.size)
        row |= {name: values.mean(), f"{name}_se": se, f"{name}_between": part, f"{name}_between_se": 0.02}
        row |= {f"{name}_within": values.mean() - part, f"{name}_within_se": se, f"{name}_is_bound": 0.0}
    row["forward_kl_is_bound"] = float((own == 0).any())
    row |= {"eubo": upper.mean(), "elbo": lower.mean(), "converged": "no", "elbo_gap": 0.8, "elbo_gap_se": 0.1}
    return row | {"eubo_se": row["forward_kl_se"], "elbo_se": row["reverse_kl_se"]}


def make_comparison(
    k: int = 2,
    names: Sequence[str] = NAMES,
    *,
    d: int = 3,
    elsewhere: float = 0.0,
    unvisited: bool = False,
    reason: str = "",
) -> xr.DataTree:
    """Lay out a comparison of k Gaussian modes; every third approximation misses all modes but the first."""
    rng = np.random.default_rng(k)
    weights = np.sort(rng.dirichlet(np.full(k, 3.0)))[::-1]
    centre = rng.normal(0, 4, (k, d))
    centre[:, -1] = 0

    def log_density(x: np.ndarray) -> np.ndarray:
        return log_mixture(x, weights, centre) + LOG_Z

    def sample(weights: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        mode = rng.choice(k, shape, p=weights)
        return centre[mode] + SCALE * rng.normal(size=(*shape, d)), mode + 1

    def groups(x: np.ndarray, mode: np.ndarray, **columns: np.ndarray) -> dict[str, xr.Dataset]:
        stats = {"mode": mode, "log_density": log_density(x)} | columns
        lead = ("chain", "draw")
        return {"posterior": draws(x), "sample_stats": xr.Dataset({key: (lead, stats[key]) for key in stats})}

    given = np.append(weights[:-1] / weights[:-1].sum(), 0.0) if unvisited else weights
    x, mode = sample(given, (4, 300))
    mode = np.where(rng.random(mode.shape) < elsewhere, 0, mode)
    reference = counts(mode, k)
    attrs = {name: float(reference.pop(name)) for name in ("elsewhere", "elsewhere_se")}
    attrs |= {"masses_known": int(not reason), "reason": reason}
    nodes, rows, scores = groups(x, mode), {}, {}
    for i, name in enumerate(names):
        own = [np.eye(k)[0], weights, rng.dirichlet(np.ones(k))][i % 3]
        q, q_mode = sample(own, (1, 500))
        words = np.where(counts(q_mode, k)["mass"] < 0.1 * reference["mass"], "missed", "covered")
        rows[name] = counts(q_mode, k) | {"verdict": words.tolist()}
        parts = groups(q, q_mode, log_prob=log_mixture(q, own, centre))
        at_p = log_mixture(x, own, centre)
        scores[name] = score(nodes["sample_stats"], parts["sample_stats"], at_p, own, weights)
        parts["reference"] = xr.Dataset({"log_prob": (("chain", "draw"), at_p)})
        step = np.arange(0, 2000, 4)
        noisy = LOG_Z + 50 * np.exp(-step / 50) + rng.normal(size=len(step))
        parts["fit"] = xr.Dataset({"loss": ("step", noisy)} if i % 3 == 0 else {}, {"step": step})
        if i % 3 == 1:
            parts["fit"] = parts["fit"].merge(settled(k))
        nodes |= {f"approximations/{name}/{key}": ds for key, ds in parts.items()}
    reference["found_by"] = np.array(["chains"] * k, dtype=object)
    reference["log_density"] = log_density(centre)
    peaks = modes_dataset(draws(centre[None]), reference, attrs)
    peaks["pass_log_density"] = (("mode", "other_mode"), passes(log_density, centre))
    nodes["modes"] = peaks
    nodes["scores"] = scores_dataset(scores or {name: {} for name in names}, SCORE_COLUMNS)
    nodes["coverage"] = coverage_dataset(rows, k)
    nodes["evidence"] = xr.Dataset({"log_evidence": LOG_Z, "log_evidence_se": 0.02})
    dt = xr.DataTree.from_dict(nodes)
    dt.attrs = {"pymc_kl_format": FORMAT}
    return dt


def settled(k: int) -> xr.Dataset:
    """32 starts in an optimum a mode, the last of them left on the way and in no mode."""
    number = np.arange(1, k + 1)
    columns = {
        "optimum_starts": np.where(number == 1, 32 - (k - 1), 1),
        "optimum_elbo": LOG_Z - 0.7 * number,
        "optimum_elbo_se": 0.003 * number,
        "optimum_mode": np.where(number < max(k, 2), number, 0),
        "optimum_converged": (number < max(k, 2)).astype(float),
    }
    return xr.Dataset({name: ("optimum", values) for name, values in columns.items()}, {"optimum": number})


def with_histories(dt: xr.DataTree) -> xr.DataTree:
    """Give every approximation the loss history of the first."""
    dt = dt.copy(deep=True)
    fit = dt[f"approximations/{dt['scores']['approximation'].values[0]}/fit"].to_dataset()
    for group in dt["approximations"].children.values():
        group["fit"] = xr.DataTree(fit.copy())
    return dt


def add_line(dt: xr.DataTree, loc: float = 1.0, scale: float = 1.5) -> xr.DataTree:
    """Add a line on which p is the standard normal, times 7, and each q a normal; a third one has no density."""
    dt, names = dt.copy(deep=True), dt["scores"]["approximation"].values.tolist()
    x = np.linspace(-12, 14, 4001)
    log_q = [norm(loc * i, scale**i).logpdf(x) for i in range(len(names))]
    log_q[2:] = [np.full(len(x), np.nan)] * len(log_q[2:])
    ds = line_dataset("x_log__", x, norm.logpdf(x) + np.log(7), dict(zip(names, log_q, strict=True)))
    dt["line"] = xr.DataTree(ds)
    return dt


def everything() -> xr.DataTree:
    """Make a comparison in which every visual of every plot has something to show."""
    dt = add_line(make_comparison(10, [*NAMES, "SVGD"], reason="the 4 chains never moved between modes"))
    scores, modes = dt["scores"].to_dataset(), dt["modes"].to_dataset()
    scores["khat"][0], scores["khat_reference"][1], scores["khat"][3] = -np.inf, 7.0, np.nan
    dt["scores"] = xr.DataTree(scores)
    modes["mass"][9] = np.nan
    modes["pass_log_density"][8, :] = np.nan
    modes["pass_log_density"][:, 8] = np.nan
    modes["pass_log_density"][0, 0] = float(modes["log_density"][0]) - 2.0
    dt["modes"] = xr.DataTree(modes)
    return dt


def visual_keys(function: Any, argument: str) -> tuple[str, ...]:
    """Read the legal keys from the annotation, the way that arviz-plots does."""
    return get_args(get_args(get_type_hints(function)[argument])[0])


def exists(pc: PlotCollection) -> set[str]:
    return {*pc.viz.children, *pc.viz.data_vars}


def elements(pc: PlotCollection) -> list[dict[str, Any]]:
    """Everything that was drawn on the `none` backend."""
    return [element for facet in np.ravel(pc.viz["plot"].values) for element in facet]


def texts(pc: PlotCollection, visual: str) -> set[str]:
    data = next(iter(pc.viz[visual].data_vars.values()))
    return {element["string"] for element in data.values.ravel() if element is not None}


def check_drawn(pc: PlotCollection, backend: str, folder: Path) -> None:
    """Check that a plot is on its backend, and by Matplotlib not an empty page."""
    assert isinstance(pc, PlotCollection)
    assert pc.backend == backend
    if backend == "matplotlib":
        pc.savefig(folder / "plot.png")
        assert (folder / "plot.png").stat().st_size > 5000
