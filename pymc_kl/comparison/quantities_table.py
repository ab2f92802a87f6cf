"""The table of quantities of interest: what each source of draws says of them."""

import numpy as np
import pandas as pd
import xarray as xr

from pymc_kl.comparison.formats import NONE, format_estimate, format_percent
from pymc_kl.comparison.readable import Readable
from pymc_kl.quantities.describe import ANSWERS, NUMBERS

REASONS = {"changes_mean": "mean", "changes_interval": "interval"}  # what an answer is about, by its column


def quantities_table(ds: xr.Dataset, round_to: int | str | None) -> pd.DataFrame:
    """Tabulate quantities to read, a row a source of each, or as numbers where `round_to` is "none"."""
    index = pd.MultiIndex.from_product([ds["quantity"].values, ds["source"].values], names=["quantity", "source"])
    flat = {name: ds[name].transpose("quantity", "source").values.ravel() for name in (*NUMBERS, *ANSWERS, "error")}
    if round_to == "none":
        return Readable(flat, index=index)
    digits = round_to if isinstance(round_to, int) else None
    rows = [{name: values[i] for name, values in flat.items()} for i in range(len(index))]
    table = {
        "mean": [format_estimate(row["mean"], row["mean_se"], digits) for row in rows],
        "sd": [format_estimate(row["sd"], row["sd_se"], digits) for row in rows],
        "90 % interval": [written_interval(row, digits) for row in rows],
        "P(>0) (%)": [
            format_percent(
                row["positive"], row["positive_se"], row["positive_upper"], digits, lower=row["positive_lower"]
            )
            for row in rows
        ],
        "changes": [written_change(row) for row in rows],
    }
    if any(row["error"] for row in rows):
        table["error"] = [row["error"] for row in rows]
    return Readable(table, index=index)


def quantities_of(dt: xr.DataTree) -> xr.Dataset:
    """Return the group of quantities; raise if none were asked for."""
    if "quantities" not in dt.children:
        raise ValueError("this comparison has no quantities. Ask for them: compare(..., quantities=['effect']).")
    return dt["quantities"].to_dataset()


def written_interval(row: dict[str, float], digits: int | None = None) -> str:
    """Write the ends of a 90 % interval, each to two digits of its error."""
    if np.isnan(row["lower"]):
        return NONE
    ends = [format_estimate(row[end], row[f"{end}_se"], digits).partition(" ")[0] for end in ("lower", "upper")]
    return " to ".join(ends)


def written_change(row: dict[str, str]) -> str:
    """Write an answer with what it is about: `yes: mean, interval`."""
    answer = row["changes"]
    about = [name for column, name in REASONS.items() if row[column] == answer]
    return f"{answer}: {', '.join(about)}" if answer not in ("", "no") else answer or NONE
