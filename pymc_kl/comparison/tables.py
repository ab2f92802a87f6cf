"""DataTree → DataFrame: the tables of a comparison."""

from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from pymc_kl.arguments import check_arguments, choice, choices, optional, texts, whole
from pymc_kl.comparison.datatree import SCORE_COLUMNS, TEXT_COLUMNS
from pymc_kl.comparison.formats import NONE, format_estimate, format_percent
from pymc_kl.comparison.io import check_comparison
from pymc_kl.comparison.quantities_table import quantities_of, quantities_table
from pymc_kl.comparison.ranking import ranked
from pymc_kl.comparison.readable import Readable
from pymc_kl.model.damaged import STRANGE, told_in_a_line
from pymc_kl.numerics.judgement import CANNOT_TELL
from pymc_kl.scores.coverage import TOO_FEW_DRAWS
from pymc_kl.scores.shape import WELL_FITTED

MAIN = ("forward_kl", "reverse_kl", "missed_mass", "khat", "converged", "seconds")
MASSES = (("mass", "elsewhere"), ("mass_se", "elsewhere_se"))


@told_in_a_line("no table can be made of this comparison", STRANGE)
def summary(
    comparison: xr.DataTree | str | Path,
    *,
    kind: Literal["main", "all", "quantities"] = "main",
    columns: Sequence[str] | None = None,
    round_to: int | Literal["auto", "none"] = "auto",
) -> pd.DataFrame:
    """Tabulate the scores, a row an approximation, the recommended one first.

    Parameters
    ----------
    comparison : DataTree or path
        What :func:`compare` returned.
    kind : {"main", "all", "quantities"}
        Six columns to read, each value with its standard error; every score as numbers; or the quantities of interest
        that :func:`compare` was asked for, a row a source of draws: the reference, the draws given, each approximation
        and each mode by itself.
    columns : sequence of str, optional
        Scores to tabulate as numbers, instead of those of `kind`.
    round_to : int or {"auto", "none"}
        Decimals. By default two digits of each standard error in the columns to read, and all that there are
        elsewhere; ``"none"`` gives the columns to read as numbers, too.

    Returns
    -------
    DataFrame
        Printed whole, in lines of at most 100 characters.
        Divergences, ELBO and EUBO in nats on the unconstrained space; `<name>_se` is the standard error. NaN, or a
        dash, means that the score is not defined for that row, and `error` says why a fit, or which of its scores,
        failed. Quantities are in their own units, and `changes` is whether a source changes the conclusion that the
        reference gives, by the mean (more than 0.25 reference sd off) or by where 0 lies of the 90 % interval.

    Raises
    ------
    ValueError
        If quantities are wanted, and :func:`compare` was not asked for any.

    Examples
    --------
    With the `comparison` in the example of :func:`pymc_kl.compare`:

    >>> pkl.summary(comparison).columns.tolist()
    ['forward_kl', 'reverse_kl', 'missed (%)', 'khat', 'converged', 'seconds']
    >>> pkl.summary(comparison, columns=["elbo"]).loc["forward mixture"].round(1).tolist()
    [0.0]
    >>> pkl.summary(comparison, kind="quantities").loc["x", "changes"][["ADVI", "forward mixture"]].tolist()
    ['yes: mean, interval', 'no']
    """
    check_arguments(
        locals(), kind=choice("main", "all", "quantities"), round_to=_decimals,
        columns=optional(choices(*SCORE_COLUMNS, what="score")),
    )  # fmt: skip
    dt = ranked(check_comparison(comparison))
    if kind == "quantities" and columns is None:
        return quantities_table(quantities_of(dt), round_to)
    scores = dt["scores"].to_dataset()
    columns = [columns] if isinstance(columns, str) else columns
    if columns is None and kind == "main" and round_to != "none":
        return _to_read(scores, None if round_to == "auto" else round_to)
    main = [each for name in MAIN for each in (name, f"{name}_se") if each in SCORE_COLUMNS]
    names = list(columns or (main if kind == "main" else SCORE_COLUMNS))
    return _rounded(scores[names].to_dataframe()[names], round_to)


def _to_read(scores: xr.Dataset, round_to: int | None) -> pd.DataFrame:
    """Write the main scores, each with its error."""

    def estimates(name: str) -> list[str]:
        pairs = zip(scores[name].values, scores[f"{name}_se"].values, strict=True)
        return [format_estimate(float(value), float(se), round_to) for value, se in pairs]

    missed = zip(scores["missed_mass"].values, scores["missed_mass_se"].values, strict=True)
    table = {
        "forward_kl": estimates("forward_kl"),
        "reverse_kl": estimates("reverse_kl"),
        "missed (%)": [format_percent(float(v), float(se), round_to=round_to) for v, se in missed],
        "khat": estimates("khat"),
        "converged": [str(answer) or NONE for answer in scores["converged"].values],
        "seconds": scores["seconds"].values.round(1),
    }
    return Readable(table, index=pd.Index(scores["approximation"].values, name="approximation"))


@told_in_a_line("no table can be made of this comparison", STRANGE)
def coverage(
    comparison: xr.DataTree | str | Path,
    *,
    values: Sequence[str] | None = None,
    round_to: int | Literal["auto", "none"] = "auto",
) -> pd.DataFrame:
    """Tabulate which modes each approximation covers, a row a mode, the recommended approximation first.

    Parameters
    ----------
    comparison : DataTree or path
        What :func:`compare` returned.
    values : sequence of str, optional
        Variables of the `coverage` group to show as numbers for each approximation, beside the mass of the reference
        and its error; masses are shares that sum to 1. By default each approximation has two columns to read: its
        mass in per cent, with its error or interval, and a verdict.
    round_to : int or {"auto", "none"}
        Decimals; by default two digits of each standard error, and all that there are of `values`; ``"none"`` gives
        the per cents as numbers, without their errors.

    Returns
    -------
    DataFrame
        Printed whole, in lines of at most 100 characters.
        Rows are the modes, then "elsewhere"; columns are pairs (reference or approximation, value). The verdict
        is "covered" where mass and shape both hold, else what does not; a dash where the mode holds less than 1 %.

    Examples
    --------
    With the `comparison` in the example of :func:`pymc_kl.compare`:

    >>> pkl.coverage(comparison)["ADVI", "verdict"].tolist()
    ['too much mass, well fitted', 'not seen', '']
    """
    check_arguments(locals(), values=optional(texts), round_to=_decimals)
    values = [values] if isinstance(values, str) else values
    dt = ranked(check_comparison(comparison))
    modes, ds = dt["modes"].to_dataset(), dt["coverage"].to_dataset()
    known = sorted(str(name) for name, array in ds.data_vars.items() if "mode" in array.dims)
    choices(*known, what="values")("values", values or ())
    rows = pd.Index([*modes["mode"].values.tolist(), "elsewhere"], name="mode")
    table: dict[tuple[str, str], list[Any]] = {}
    if values is None:
        table["reference", "%"] = _percents(modes, modes.attrs, round_to)
        for name in map(str, ds["approximation"].values):
            row = ds.sel(approximation=name)
            table[name, "%"] = _percents(row, row, round_to)
            table[name, "verdict"] = [*two_part_verdicts(row, modes), ""]
        return Readable(table, index=rows)
    table["reference", "mass"] = [*modes["mass"].values, modes.attrs["elsewhere"]]
    table["reference", "mass_se"] = [*modes["mass_se"].values, modes.attrs["elsewhere_se"]]
    for name in ds["approximation"].values:
        row = ds.sel(approximation=name)
        last = {"mass": float(row["elsewhere"]), "mass_se": float(row["elsewhere_se"])}
        for value in values:
            blank = "" if value in TEXT_COLUMNS else np.nan
            table[str(name), value] = [*row[value].values, last.get(value, blank)]
    return _rounded(pd.DataFrame(table, index=rows), round_to)


def _percents(ds: xr.Dataset, last: Any, round_to: int | str | None) -> list[Any]:
    """Write masses of modes, and of elsewhere from `last`, in per cent; as numbers if not rounded."""
    mass, se = (np.append(ds[name].values, float(last[end])) for name, end in MASSES)
    if round_to == "none":
        return list(100 * mass)
    ends = [ds[name].values if name in ds else np.full(len(mass) - 1, np.nan) for name in ("mass_lower", "mass_upper")]
    low, high = (np.append(end, np.nan) for end in ends)
    digits = round_to if isinstance(round_to, int) else None
    shares = zip(mass, se, low, high, strict=True)
    return [format_percent(float(m), float(e), float(b), digits, lower=float(a)) for m, e, a, b in shares]


OF_MASS = {"under": "too little mass", "over": "too much mass", TOO_FEW_DRAWS: "mass not told"}
LEAST_TOLD = 0.01  # mass: a mode whose upper bound is below it gets no verdict; our choice


def two_part_verdicts(row: xr.Dataset, modes: xr.Dataset) -> list[str]:
    """Say of each mode what an approximation has right there, mass and shape: `covered` where both hold.

    `row` is its part of the coverage group.
    """
    shapes = row["shape"].values if "shape" in row else np.full(row.sizes["mode"], "")
    parts = zip(row["verdict"].values, shapes, modes["mass_upper"].values, strict=True)
    return [_two_parts(str(mass), str(shape), float(upper)) for mass, shape, upper in parts]


def _two_parts(mass: str, shape: str, upper: float) -> str:
    if not mass or upper <= LEAST_TOLD:
        return "" if not mass else NONE
    if mass == "missed":
        return "not seen"
    of_shape = "shape not told" if shape in ("", CANNOT_TELL) else shape
    if mass == "covered":
        return "covered" if shape == WELL_FITTED else of_shape
    return f"{OF_MASS[mass]}, {of_shape}"


def _decimals(name: str, value: Any) -> None:
    """Allow numbers of decimals, "auto" and "none"."""
    if value is not None and not isinstance(value, str):
        whole(least=0, most=15)(name, value)
    elif isinstance(value, str):
        choice("auto", "none")(name, value)


def _rounded(table: pd.DataFrame, round_to: int | str | None) -> pd.DataFrame:
    return Readable(table.round(round_to) if isinstance(round_to, Integral) else table)
