"""The first section where quantities of interest were asked for: which source of draws changes a conclusion."""

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr

from pymc_kl.comparison.formats import NONE, format_estimate
from pymc_kl.comparison.quantities_table import quantities_table, written_change, written_interval
from pymc_kl.numerics.judgement import CANNOT_TELL
from pymc_kl.quantities.describe import ANSWERS, NUMBERS
from pymc_kl.quantities.judge import MEAN_MOVED
from pymc_kl.reports.cells import Cell, Table, words
from pymc_kl.reports.facts import Facts
from pymc_kl.reports.page import Block, Details, Items, Options, Section, Text
from pymc_kl.reports.phrases import counted, listed

SHOWN_QUANTITIES = 12  # rows of the first table; our choice
NAMED_QUANTITIES = 4  # names of quantities in a sentence; our choice
STYLES = {"yes": "use no", "no": "use yes", CANNOT_TELL: "use cannot-tell"}  # of a cell: a change is what is wrong
SUBJECTS = {"given": "Your draws change", "mode": "{} alone changes"}  # of a sentence, by the kind of source


def quantities_section(dt: xr.DataTree, facts: Facts, options: Options) -> Section:
    """Show which sources change the conclusion on each quantity; all numbers, and each mode by itself, on demand."""
    ds = dt["quantities"].to_dataset()
    shown = most_changed(ds)
    blocks: list[Block] = [Items(list(sentences(ds)))]
    if not facts.masses_known:
        blocks.append(Text("The masses of the modes are not known, and the errors here hold that."))
    if touched := [str(name) for name in ds["quantity"].values[ds["depends_on_copy"].values == 1]]:
        blocks.append(
            Text(
                f"Between the copies of a mode, by label or sign, there differ {_named(touched)}: all sources are told "
                "on draws brought to its first copy."
            )
        )
    main = ds.isel(quantity=shown, source=np.flatnonzero(ds["kind"].values != "mode"))
    rest = ds.sizes["quantity"] - len(shown)
    left = f" {counted(rest, 'more quantity is', 'more quantities are')} left out." if rest else ""
    caption = (
        "Does it change the conclusion that the reference gives? Yes, no or cannot tell, by two standard errors: "
        f"its mean is more than {MEAN_MOVED:g} reference sd off, or 0 lies elsewhere of its 90 % interval. In brackets "
        f"mean and 90 % interval.{left}"
    )
    blocks.append(Table("quantities-table", caption, ["", *map(str, main["source"].values)], _rows(main, options)))
    every = _every_number(ds.isel(quantity=shown), options)
    blocks.append(Details("Every number, and each mode by itself", [every]))
    lead = "The numbers that you asked for, first of all; what follows says why they differ."
    return Section("quantities", "Which conclusions change", lead, blocks)


def sentences(ds: xr.Dataset) -> Iterator[str]:
    """Say of each source but the reference on which quantities it changes the conclusion, or that none does."""
    quantities, open_ones = ds["quantity"].values, []
    found = False
    for name, kind in list(zip(ds["source"].values, ds["kind"].values, strict=True))[1:]:
        answers = ds["changes"].sel(source=name).values
        if len(changed := quantities[answers == "yes"]):
            found = True
            subject = SUBJECTS.get(str(kind), "{} changes").format(name)
            yield f"{subject[:1].upper()}{subject[1:]} the conclusion on {_named(list(map(str, changed)))}."
        elif kind != "mode" and (answers == CANNOT_TELL).any():
            open_ones.append("your draws" if kind == "given" else str(name))
    if open_ones:
        yield f"Whether a conclusion changes with {listed(open_ones)} cannot be told from so many draws."
    elif not found:
        yield "No source changes a conclusion."


def _named(names: Sequence[str]) -> str:
    """Write the first few names in code, and how many more there are."""
    first = [f"`{name}`" for name in names[:NAMED_QUANTITIES]]
    return listed([*first, f"{len(names) - len(first)} more"] if len(names) > len(first) else first)


def most_changed(ds: xr.Dataset) -> list[int]:
    """Choose the quantities to show, in the order in which they were asked for: those that most sources change."""
    kinds = ds["kind"].values != "mode"
    count = ((ds["changes"].transpose("quantity", "source").values == "yes") & kinds).sum(axis=1)
    return sorted(int(i) for i in np.argsort(-count, kind="stable")[:SHOWN_QUANTITIES])


def _rows(ds: xr.Dataset, options: Options) -> list[list[Cell]]:
    rows = []
    for name in ds["quantity"].values:
        cells = [_cell(ds.sel(quantity=name, source=source), options) for source in ds["source"].values]
        rows.append([words(name), *cells])
    return rows


def _cell(at: xr.Dataset, options: Options) -> Cell:
    """Write the answer for one source, and what it says."""
    row = {name: at[name].item() for name in (*NUMBERS, *ANSWERS, "error")}
    if row["error"]:
        return words(f"failed: {row['error']}")
    said = (
        f"{format_estimate(row['mean'], row['mean_se'], options.round_to)}; {written_interval(row, options.round_to)}"
    )
    if not row["changes"]:
        return words(said)
    return Cell(f"{written_change(row)} ({said})", kind=STYLES[row["changes"]])


def _every_number(ds: xr.Dataset, options: Options) -> Table:
    table = quantities_table(ds, options.round_to)
    rows = [
        [words(f"{quantity}, {source}"), *(words(text or NONE) for text in row)]
        for (quantity, source), row in zip(table.index, table.values.tolist(), strict=True)
    ]
    caption = (
        "Mean and standard deviation ± standard error, the central 90 % interval, the probability of a value above 0. "
        "The errors of a mode by itself do not hold that of its mass."
    )
    return Table("quantities-numbers", caption, ["", *map(str, table.columns)], rows)
