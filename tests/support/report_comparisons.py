"""Comparisons as complete as `compare` makes them, for the tests of the report."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import wasserstein_distance

from pymc_kl.scores.marginals import STATISTICS
from support.plot_comparisons import NAMES, make_comparison

HOSTILE = "<img src=x onerror=alert(1)>"
QUOTED = """a & "b" 'c' $x_1$"""
LONG = "a_hierarchical_scale_of_the_varying_slopes_of_every_district"  # 60 letters
METHODS = ("bridge", "quadrature", "Laplace")


def complete(dt: xr.DataTree, *, model_name: str = "model", settings: Mapping[str, Any] | None = None) -> xr.DataTree:
    """Fill in what `make_comparison` leaves out of the groups that the report reads."""
    dt = dt.copy(deep=True)
    rng = np.random.default_rng(dt["modes"].sizes["mode"])
    dt["modes"] = xr.DataTree(_modes(dt, rng))
    dt["coverage"] = xr.DataTree(_coverage(dt, rng))
    dt["scores"] = xr.DataTree(_scores(dt, rng))
    dt["evidence"] = xr.DataTree(dt["evidence"].to_dataset().assign(method="bridge sampling"))
    dt["parameters"] = xr.DataTree(_parameters(dt))
    dt["audit"] = _audit(dt)
    usual = {"forward": ["mixture"], "reverse": ["advi"], "reference": "complete", "n_starts": 4096}
    dt.attrs |= {
        "creation_library_version": "0.1.0",
        "creation_time": "2026-01-31T12:00:00+00:00",
        "pymc_version": "6.0.0",
        "arviz_version": "1.3.0",
        "model_name": model_name,
        "random_seed": "1",
        "settings": json.dumps(usual | dict(settings or {})),
        "seconds": json.dumps({"search for modes": 1.25, "scores": 0.5}),
    }
    return dt


def _modes(dt: xr.DataTree, rng: np.random.Generator) -> xr.Dataset:
    ds = dt["modes"].to_dataset()
    k, mode = ds.sizes["mode"], dt["sample_stats"]["mode"].values
    columns = {
        "barrier": np.where(k > 1, rng.uniform(1, 40, k), np.nan),
        "copies": np.ones(k),
        "n_draws": [(mode == number).sum() for number in ds["mode"].values],
        "hits": rng.integers(1, 900, k),
        "ess": rng.uniform(100, 1000, k),
        "rhat": rng.uniform(1, 1.01, k),
        "log_mass": np.log(np.maximum(ds["mass"].values, 1e-6)) + 1.5,
        "log_mass_se": rng.uniform(0.01, 0.05, k),
        "overlap": rng.uniform(0.3, 0.9, k),
        "method": np.array([METHODS[i % 3] for i in range(k)], dtype=object),
        "reason": np.array(["the two halves disagree" if i % 9 == 8 else "" for i in range(k)], dtype=object),
    }
    attrs = {"n_starts": 4096, "n_lost": 3, "unseen": 2e-4, "unseen_se": 2e-4, "symmetries": "[]", "proper": 1}
    return ds.assign({name: ("mode", np.asarray(values)) for name, values in columns.items()}).assign_attrs(
        ds.attrs | attrs | {"partial": 0, "crossings": 12}
    )


def _coverage(dt: xr.DataTree, rng: np.random.Generator) -> xr.Dataset:
    ds, modes = dt["coverage"].to_dataset(), dt["modes"].to_dataset()
    ratio = ds["mass"] / modes["mass"]
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.hypot(ds["mass_se"] / ds["mass"], modes["mass_se"] / modes["mass"])
    shape = ratio.shape
    values = {
        "ratio": ratio.values,
        "ratio_se": (ratio * relative).fillna(0.0).values,
        "forward_kl_within": rng.gamma(1.0, 0.2, shape),
        "forward_kl_within_se": rng.uniform(0.002, 0.05, shape),
        "reverse_kl_within": rng.gamma(1.0, 0.2, shape),
        "reverse_kl_within_se": rng.uniform(0.002, 0.05, shape),
        "hdr_coverage": rng.uniform(0, 1, shape),
        "copies_reached": (ds["mass"] > 0).astype(float).values,
    }
    return ds.assign({name: (("approximation", "mode"), value) for name, value in values.items()})


def _scores(dt: xr.DataTree, rng: np.random.Generator) -> xr.Dataset:
    ds = dt["scores"].to_dataset()
    n = ds.sizes["approximation"]
    kinds, families = np.array(["reverse", "reverse", "forward"]), np.array(["meanfield", "fullrank", "mixture"])
    which = np.arange(n) % 3
    columns = {
        "kind": kinds[which].astype(object),
        "family": families[which].astype(object),
        "converged": np.array(["no", "yes", ""], dtype=object)[which],
        "elbo_gap": np.where(which == 2, np.nan, 0.8),
        "elbo_gap_se": np.where(which == 2, np.nan, 0.1),
        "spill": rng.uniform(0, 0.02, n),
        "spill_se": np.full(n, 0.002),
        "ess_reverse": rng.uniform(0, 1, n),
        "ess_reverse_se": np.full(n, 0.01),
        "khat": rng.uniform(-0.1, 1.1, n),
        "seconds": rng.uniform(1, 60, n),
        "error": np.full(n, "", dtype=object),
        "note": np.array(["Scored on the draws that it was fitted to." if i == 2 else "" for i in range(n)], object),
    }
    return ds.assign({name: ("approximation", values) for name, values in columns.items()})


def _parameters(dt: xr.DataTree) -> xr.Dataset:
    """Statistics of all variables, source by source; draws are all of equal weight."""
    sources = {"reference": dt["posterior"].to_dataset()}
    for name in dt["scores"]["approximation"].values.tolist():
        sources[name] = dt[f"approximations/{name}/posterior"].to_dataset()
    first, columns = sources["reference"], {}
    for name, truth in first.data_vars.items():
        x = [ds[name].values.reshape(-1, *truth.shape[2:]) for ds in sources.values()]
        rows = [_statistics(values, x[0]) for values in x]
        columns[name] = (("source", "statistic", *truth.dims[2:]), np.stack(rows))
    coords = {dim: labels for dim, labels in first.coords.items() if dim not in ("chain", "draw")}
    return xr.Dataset(columns, coords={**coords, "source": list(sources), "statistic": list(STATISTICS)})


def _statistics(x: np.ndarray, truth: np.ndarray) -> np.ndarray:
    n, sd = len(x), x.std(axis=0)
    low, high = np.quantile(x, (0.05, 0.95), axis=0)
    pairs = zip(truth.reshape(len(truth), -1).T, x.reshape(n, -1).T, strict=True)
    distance = [wasserstein_distance(p, q) for p, q in pairs]
    error = sd / np.sqrt(n)
    rows = [x.mean(axis=0), error, sd, error, low, 2 * error, high, 2 * error]
    return np.stack([*rows, np.reshape(distance, sd.shape)])


def _audit(dt: xr.DataTree) -> xr.DataTree:
    modes, label = dt["modes"].to_dataset(), dt["sample_stats"]["mode"].transpose("chain", "draw").values
    k, n_chains = modes.sizes["mode"], len(label)
    ds = xr.Dataset(
        {
            "n_draws": (("chain", "mode"), [np.bincount(chain, minlength=k + 1)[1:] for chain in label]),
            "crossings": ("chain", (np.diff(label) != 0).sum(axis=1)),
            "rhat": ("mode", modes["rhat"].values),
            "ess": ("mode", modes["ess"].values),
            "missed": ("mode", np.zeros(k)),
            "missed_mass": 0.0,
            "missed_mass_se": 0.0,
            "alarm": 0.0,
        },
        coords={"chain": np.arange(n_chains), "mode": modes["mode"].values},
        attrs={"masses_known": 1, "reason": ""},
    )
    right = dt["parameters"].to_dataset().sel(source="reference", drop=True)
    rows = [right.sel(statistic=name, drop=True) for name in ("mean", "mean", "mean_se")]
    means = xr.concat([*rows, 0 * rows[0]], dim="quantity")
    return xr.DataTree.from_dict(
        {"/": ds, "/means": means.assign_coords(quantity=["given", "reference", "reference_se", "off_in_sd"])}
    )


def renamed(dt: xr.DataTree, names: Mapping[str, str]) -> xr.DataTree:
    """Give variables and dims other names in every group."""
    nodes = {
        node.path: node.to_dataset().rename({old: new for old, new in names.items() if old in node.to_dataset()})
        for node in dt.subtree
    }
    return xr.DataTree.from_dict(nodes)


def _blank(da: xr.DataArray) -> str | float:
    return "" if da.dtype == object else np.nan


def failed(dt: xr.DataTree, name: str, error: str) -> xr.DataTree:
    """Let an approximation be one whose fit raised: it has an error and no number."""
    nodes = {node.path: node.to_dataset() for node in dt.subtree if f"/approximations/{name}" not in node.path}
    for path in ("/scores", "/coverage"):
        nodes[path] = nodes[path].map(lambda da: da.where(da["approximation"] != name, _blank(da)))
    nodes["/scores"]["error"].loc[{"approximation": name}] = error
    table = nodes["/parameters"]
    nodes["/parameters"] = table.sel(source=table["source"] != name)
    return xr.DataTree.from_dict(nodes)


def typical(names: Sequence[str] = NAMES) -> xr.DataTree:
    """Three modes and three approximations in three dimensions."""
    return complete(make_comparison(3, names), model_name="three modes")


def one_of_each() -> xr.DataTree:
    """One mode and one approximation in two dimensions."""
    return complete(make_comparison(1, ["ADVI"], d=2), model_name="one mode")


def big() -> xr.DataTree:
    """Forty modes, twelve approximations of which one failed, sixty parameters, and long names for all."""
    names = [f"{LONG}_{i}" for i in range(12)]
    dt = renamed(make_comparison(40, names, d=60), {"mu": LONG, "component": f"{LONG}_dim"})
    return failed(complete(dt, model_name=LONG), names[3], "RuntimeError: the step size is too large")


def hostile() -> xr.DataTree:
    """Names that are markup, entities, quotes or mathematics."""
    dt = renamed(make_comparison(3, [HOSTILE, QUOTED]), {"mu": HOSTILE, "tau": QUOTED})
    return complete(dt, model_name=f"{HOSTILE} {QUOTED}")
