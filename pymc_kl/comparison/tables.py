"""DataTree → DataFrame: the tables of a comparison."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from pymc_kl.comparison.datatree import SCORE_COLUMNS, TEXT_COLUMNS
from pymc_kl.comparison.io import check_comparison

NONE = "–"
EXACT = 5e-7  # standard error below which a number counts as exact: it is that of rounding
SMALLEST = 0.005  # per cent below which a share is written as <0.01
SUMMARY = (
    "kind", "family", "forward_kl", "forward_kl_se", "reverse_kl", "reverse_kl_se", "forward_kl_between",
    "forward_kl_between_se", "forward_kl_within", "forward_kl_within_se", "forward_kl_is_bound",
    "reverse_kl_between", "reverse_kl_between_se", "reverse_kl_within", "reverse_kl_within_se",
    "reverse_kl_is_bound", "elbo", "elbo_se", "elbo_gap", "elbo_gap_se", "converged", "missed_mass",
    "missed_mass_se", "alarm", "khat", "khat_se", "ess_reverse",
    "ess_reverse_se", "spill", "spill_se", "seconds", "error",
)  # fmt: skip


def summary(comparison: xr.DataTree, *, kind: str = "main", round_to: int | None = None) -> pd.DataFrame:
    """Tabulate the scores, a row an approximation.

    Parameters
    ----------
    comparison : DataTree
        What :func:`compare` returned.
    kind : {"main", "all"}
        The columns that most readers want, or every score.
    round_to : int, optional
        Decimals of all numbers; all that there are by default.

    Returns
    -------
    DataFrame
        Divergences, ELBO and EUBO in nats on the unconstrained space; `<name>_se` is the standard error. NaN
        means that the score is not defined for that row, and `error` says why a fit, or which of its scores, failed.
    """
    ds = check_comparison(comparison)["scores"].to_dataset()
    columns = {"main": SUMMARY, "all": SCORE_COLUMNS}
    if kind not in columns:
        raise ValueError(f"kind must be one of {sorted(columns)}; got {kind!r}.")
    return _rounded(ds[list(columns[kind])].to_dataframe()[list(columns[kind])], round_to)


def coverage(
    comparison: xr.DataTree,
    *,
    values: Sequence[str] = ("mass", "mass_se", "verdict"),
    round_to: int | None = None,
) -> pd.DataFrame:
    """Tabulate which modes each approximation covers, a row a mode.

    Parameters
    ----------
    comparison : DataTree
        What :func:`compare` returned.
    values : sequence of str
        Which of the `coverage` group's variables to show for each approximation.
    round_to : int, optional
        Decimals of all numbers; all that there are by default.

    Returns
    -------
    DataFrame
        Rows are the modes, then "elsewhere"; columns are pairs (reference or approximation, value). Masses are
        shares that sum to 1 over the rows.
    """
    dt = check_comparison(comparison)
    modes, ds = dt["modes"].to_dataset(), dt["coverage"].to_dataset()
    if unknown := [name for name in values if name not in ds]:
        raise ValueError(f"unknown values {unknown}; known are {sorted(map(str, ds.data_vars))}.")
    rows = pd.Index([*modes["mode"].values.tolist(), "elsewhere"], name="mode")
    table = {
        ("reference", "mass"): [*modes["mass"].values, modes.attrs["elsewhere"]],
        ("reference", "mass_se"): [*modes["mass_se"].values, modes.attrs["elsewhere_se"]],
    }
    for name in ds["approximation"].values:
        row = ds.sel(approximation=name)
        last = {"mass": float(row["elsewhere"]), "mass_se": float(row["elsewhere_se"])}
        for value in values:
            blank = "" if value in TEXT_COLUMNS else np.nan
            table[(str(name), value)] = [*row[value].values, last.get(value, blank)]
    return _rounded(pd.DataFrame(table, index=rows), round_to)


def _rounded(table: pd.DataFrame, round_to: int | None) -> pd.DataFrame:
    return table if round_to is None else table.round(round_to)


def format_estimate(value: float, se: float) -> str:
    """Write a number rounded to two digits of its standard error, such as `0.605 ± 0.012`."""
    if np.isnan(value):
        return NONE
    if not np.isfinite(value):
        return "∞" if value > 0 else "-∞"
    if not np.isfinite(se):
        return f"{value:.3g} ± {'∞' if se == np.inf else '?'}"
    digits = 3 if se < EXACT else int(np.clip(1 - np.floor(np.log10(se)), 0, 6))
    return f"{round(value, digits) + 0.0:.{digits}f} ± {se:.{digits}f}"


def format_percent(value: float, se: float, upper: float = float("nan"), round_to: int | None = None) -> str:
    """Write a share in per cent, such as `30.0 ± 1.2`; `<0.2` is a bound without draws, `<0.01` a smaller value."""
    if np.isnan(value):
        return NONE
    if value == 0 and upper < 0.5:
        return f"<{np.ceil(1000 * upper) / 10:.1f}"
    if 100 * (value + max(se, 0.0)) < SMALLEST:
        return "<0.01"
    digits = round_to
    if digits is None:
        digits = int(np.clip(1 - np.floor(np.log10(100 * se)), 0, 2)) if se > 0 else 1
    return f"{100 * value:.{digits}f} ± {100 * se:.{digits}f}" if np.isfinite(se) else f"{100 * value:.{digits}f}"
