"""Order the fits of a comparison for a reader: the one to recommend first."""

import numpy as np
import xarray as xr

from pymc_kl.model.damaged import STRANGE, told_in_a_line


@told_in_a_line("this comparison can't be read", STRANGE)
def ranked(dt: xr.DataTree) -> xr.DataTree:
    """Return a comparison with its fits from the recommended one down, in all its tables.

    Fits without scores come last. The others go by the mass of the modes that they miss, in whole per cents, then by
    forward KL, up to relabelling where the posterior has symmetries, then by k-hat; NaN comes last.
    """
    order = recommended_first(dt["scores"].to_dataset())
    new = dt.copy()
    for group in ("scores", "coverage"):
        new[group] = xr.DataTree(dt[group].to_dataset().sel(approximation=order), children=dt[group].children)
    if "parameters" in dt.children and "source" in dt["parameters"].to_dataset().coords:
        table = dt["parameters"].to_dataset()
        first, *names = table["source"].values.tolist()
        new["parameters"] = xr.DataTree(table.sel(source=[first, *(name for name in order if name in names)]))
    if "quantities" in dt.children:
        ds = dt["quantities"].to_dataset()
        sources = list(zip(ds["source"].values.tolist(), ds["kind"].values.tolist(), strict=True))
        fits = [name for name in order if (name, "approximation") in sources]
        first = [name for name, kind in sources if kind in ("reference", "given")]
        alone = [name for name, kind in sources if kind == "mode"]
        new["quantities"] = xr.DataTree(ds.sel(source=[*first, *fits, *alone]))
    return new


def recommended_first(scores: xr.Dataset) -> list[str]:
    """Return the names of the fits in that order."""
    names = scores["approximation"].values.tolist()
    return sorted(names, key=lambda name: _key(scores.sel(approximation=name)))


def _key(row: xr.Dataset) -> tuple[float, ...]:
    missed, forward, relabelled, khat = (
        float(row[name]) if name in row else np.nan
        for name in ("missed_mass", "forward_kl", "forward_kl_relabelled", "khat")
    )
    divergence = forward if np.isnan(relabelled) else relabelled
    return tuple(np.inf if np.isnan(value) else value for value in (np.round(missed, 2), divergence, khat))
