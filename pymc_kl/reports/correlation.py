"""Find the correlation of two parameters that an approximation surely misses, within a mode without copies."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from arviz_base.labels import BaseLabeller

from pymc_kl._typing import Array
from pymc_kl.comparison.datatree import fit_groups
from pymc_kl.model.table_names import OF_DRAWS, free_name
from pymc_kl.numerics.estimate import Estimate
from pymc_kl.plots.parts.scalars import Scalars, varies

STRONG = 0.5  # size of a correlation, surely above which its lack is told; our choice
SMALL_PART = 0.5  # part of it that a fit may have, surely below which it misses it; our choice
MOST_CORRELATED = 300  # parameters among which it is looked for; bounds time
ENOUGH_DRAWS = 100  # draws from which the error of a correlation can be told; our choice


@dataclass(frozen=True)
class MissedCorrelation:
    """The strongest correlation that a fit misses: of which two scalars, and what the posterior and the fit have."""

    of: tuple[str, str]
    posterior: Estimate
    fit: Estimate


def missed_correlation(dt: xr.DataTree, fit: str) -> MissedCorrelation | None:
    """Return what a fit misses in the heaviest mode, among the free variables; None where nothing surely is."""
    first = dt["modes"].to_dataset().isel(mode=0)
    group = fit_groups(dt).get(fit, xr.DataTree())
    if "copies" not in first or float(first["copies"]) != 1 or "posterior" not in group.children:
        return None
    reference, draws = dt["posterior"].to_dataset(), group["posterior"].to_dataset()
    known = json.loads(dt.attrs.get("free_variables", "null"))
    free = list(reference.data_vars) if known is None else [free_name(name, OF_DRAWS) for name in known]
    reference = reference[[name for name in free if name in reference]]
    scalars = Scalars(reference.isel(chain=0, draw=0, drop=True))
    stats = [tree.children.get("sample_stats", xr.DataTree()).to_dataset() for tree in (dt, group)]
    if not 2 <= scalars.n <= MOST_CORRELATED or not all("mode" in ds for ds in stats):
        return None
    number = int(first["mode"])
    p, q = (_inside(scalars, ds, s["mode"], number) for ds, s in zip((reference, draws), stats, strict=True))
    n_p, n_q = min(len(p), float(first["ess"]) if "ess" in first else len(p)), len(q)
    if not min(n_p, n_q) >= ENOUGH_DRAWS:
        return None
    columns = np.intersect1d(varies(p), varies(q)).tolist()
    return _strongest(scalars, columns, _correlations(p[:, columns], n_p), _correlations(q[:, columns], n_q))


def _inside(scalars: Scalars, ds: xr.Dataset, mode: xr.DataArray, number: int) -> Array:
    """Return the draws in a mode (n, D), those that are finite."""
    x = scalars.matrix(ds, ["chain", "draw"])
    return x[(mode.transpose("chain", "draw").values.ravel() == number) & np.isfinite(x).all(axis=1)]


def _correlations(x: Array, n: float) -> tuple[Array, Array]:
    """Return the correlations of the columns of x, and their standard errors as for n draws of a normal."""
    r = np.atleast_2d(np.corrcoef(x, rowvar=False))
    return r, (1 - r**2) / np.sqrt(n)


def _strongest(
    scalars: Scalars, columns: Sequence[int], posterior: tuple[Array, Array], fit: tuple[Array, Array]
) -> MissedCorrelation | None:
    (p, p_se), (q, q_se) = posterior, fit
    strong = np.abs(p) - 2 * p_se > STRONG
    lost = np.sign(p) * q + 2 * q_se < SMALL_PART * (np.abs(p) - 2 * p_se)
    size = np.where(np.triu(strong & lost, 1), np.abs(p), 0.0)
    if not size.any():
        return None
    i, j = map(int, np.unravel_index(int(size.argmax()), size.shape))
    one, other = scalars.labels([columns[i], columns[j]], BaseLabeller())
    return MissedCorrelation(
        (one, other), Estimate(float(p[i, j]), float(p_se[i, j])), Estimate(float(q[i, j]), float(q_se[i, j]))
    )
