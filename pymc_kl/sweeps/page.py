"""The page of a sweep: which fits fail where, in words and tables."""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import xarray as xr

from pymc_kl.arguments import check_arguments, file_path, optional
from pymc_kl.comparison.formats import NONE
from pymc_kl.model.damaged import STRANGE, told_in_a_line
from pymc_kl.reports.build import Report, writable
from pymc_kl.reports.cells import Cell, Table, estimate, format_number, share, words
from pymc_kl.reports.markup import page_environment, read_text
from pymc_kl.reports.page import Section, Text
from pymc_kl.reports.phrases import counted, listed
from pymc_kl.reports.theme import css_variables
from pymc_kl.sweeps.load import NOT_MADE
from pymc_kl.sweeps.table import has_fit, table_of

LOOKS = {"covers": "yes", "reaches all": "cannot-tell", "not told": "cannot-tell"}  # class of a verdict's cell


def sweep_report(swept: xr.DataTree, path: str | Path | None = None, *, overwrite: bool = False) -> Report:
    """Write one HTML page over all cells of a sweep: which fits fail where.

    Parameters
    ----------
    swept : DataTree
        What :func:`sweep` returned or :func:`load_sweep` read.
    path : path, optional
        Where to write it. Without it, the page is only returned.
    overwrite : bool
        Replace a report that is there, or an empty file; no other file is replaced.

    Returns
    -------
    Report
        `html`, `verdict`, a sentence on the cells and one on each fit, and `path`.

    Raises
    ------
    FileExistsError
        If there is a file at `path`, and `overwrite` is not True or it is neither a report nor empty.
    TypeError
        If `swept` is no sweep.

    Examples
    --------
    >>> import tempfile, pymc as pm
    >>> from pymc_kl.sweeps import sweep, sweep_report
    >>> with pm.Model() as model:
    ...     x = pm.Normal("x")
    >>> fits = {"reverse": (), "forward": "fullrank"}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     swept = sweep({"a": model}, store=folder, random_seed=1, progressbar=False, **fits)
    ...     print(sweep_report(swept))
    1 cell, 1 compared.
    forward fullrank covers every mode found in 1 of 1 cell.
    """
    check_arguments(locals(), path=optional(file_path))
    ds = table_of(swept)
    if path is not None:
        writable(path, overwrite)
    made = _page(ds)
    return made if path is None else replace(made, path=made.save(path, overwrite=overwrite))


@told_in_a_line("no page can be made of this sweep", STRANGE)
def _page(ds: xr.Dataset) -> Report:
    said = sentences(ds)
    environment = page_environment()
    tables = [_heat(ds)]
    html = environment.get_template("sweep.html.j2").render(
        version=version("pymc_kl"), answer=said[0], rest=said[1:], sections=_sections(ds, tables),
        variables=css_variables(":root"), style=read_text("report.css"), script=read_text("report.js"),
    )  # fmt: skip
    notebook = environment.get_template("sweep_notebook.html.j2").render(
        sentences=said, tables=tables, variables=css_variables(".pymc-kl"), style=read_text("report.css")
    )
    return Report(html, notebook, tuple(said))


def sentences(ds: xr.Dataset) -> list[str]:
    """Say how many cells are there, and of each fit in how many it misses modes, failed or covers all."""
    errors = [str(error) for error in ds["cell_error"].values]
    n, waiting = len(errors), errors.count(NOT_MADE)
    failed = n - errors.count("") - waiting
    parts = [f"{errors.count('')} compared"]
    parts += [f"{failed} failed"] if failed else []
    parts += [NOT_MADE.replace("not", f"{waiting} not")] if waiting else []
    return [f"{counted(n, 'cell', 'cells')}, {listed(parts)}.", *(_of_fit(ds, str(fit)) for fit in ds["fit"].values)]


def _of_fit(ds: xr.Dataset, fit: str) -> str:
    """Say in how many of the cells that have a fit it covers all modes or misses some, and where that is worst."""
    given = [str(said) for said in ds["verdict"].sel(fit=fit).values if said]
    n = {word: sum(said.startswith(word) for said in given) for word in ("covers", "misses", "reaches", "failed")}
    said = {
        "misses": f"misses modes in {n['misses']}{_worst(ds, fit)}",
        "covers": f"covers every mode found in {n['covers']}",
        "reaches": f"reaches every mode, though mass or shape are off or can't be told, in {n['reaches']}",
        "failed": f"failed in {n['failed']}",
    }
    parts = [text for word, text in said.items() if n[word]]
    parts += [f"can't be told of in {rest}"] if (rest := len(given) - sum(n.values())) else []
    return f"{fit} {listed(parts)} of {counted(len(given), 'cell', 'cells')}."


def _worst(ds: xr.Dataset, fit: str) -> str:
    """Name the cell where a fit misses the most mass, if that is known."""
    missed = ds["missed_mass"].sel(fit=fit).values
    if not np.isfinite(missed).any():
        return ""
    worst = int(np.nanargmax(missed))
    mass, se = (100 * float(ds[name].sel(fit=fit)[worst]) for name in ("missed_mass", "missed_mass_se"))
    return f" (at most {mass:.1f} % ± {se:.1f} % of the posterior, in {ds['cell'].values[worst]})"


def _sections(ds: xr.Dataset, tables: list[Table]) -> list[Section]:
    lead = "A row a cell, a column a fit; modes of less than 1 % of the posterior do not count."
    sections = [
        Section("where", "Which fits fail where", lead, tables),
        Section(
            "divergences", "Divergences", "In nats, on the unconstrained space.",
            [_numbers(ds, "forward_kl", "Forward KL, KL(p‖q)"), _numbers(ds, "reverse_kl", "Reverse KL, KL(q‖p)")],
        ),
        Section("cells", "Cells", "The seed repeats a cell by itself.", [_cells(ds)]),
    ]  # fmt: skip
    if (said := ds["warnings"].values.astype(bool)).any():
        blocks = [Text(f"{ds['cell'].values[i]}: {ds['warnings'].values[i]}") for i in np.flatnonzero(said)]
        sections.append(Section("warnings", "Warnings", "What was warned of while a cell was made.", blocks))
    return sections


def _heat(ds: xr.Dataset) -> Table:
    """Show verdict and missed mass of each fit in each cell, or why the cell failed."""
    fits = [str(fit) for fit in ds["fit"].values]
    rows = [[words(cell), *(_verdict(ds.sel(cell=cell), str(cell), fit) for fit in fits)] for cell in ds["cell"].values]
    caption = "The verdict on each fit, and the mass of the modes that it misses in per cent ± one standard error."
    return Table("heat", caption, ["", *fits], rows)


def _verdict(cell: xr.Dataset, name: str, fit: str) -> Cell:
    if error := str(cell["cell_error"].item()):
        return Cell(NOT_MADE if error == NOT_MADE else "cell failed", kind="use no")
    if not has_fit(cell, fit):
        return words(NONE)
    said = str(cell["verdict"].sel(fit=fit).item())
    missed = share(cell, "table", "missed_mass", {"cell": name, "fit": fit})
    text = f"{said} ({missed.text} %)" if said.startswith("misses") else said
    return Cell(text, missed.source, missed.at, f"use {LOOKS.get(said, 'no')}")


def _numbers(ds: xr.Dataset, name: str, caption: str) -> Table:
    fits = [str(fit) for fit in ds["fit"].values]
    rows = [
        [words(cell), *(estimate(ds, "table", name, {"cell": str(cell), "fit": fit}) for fit in fits)]
        for cell in ds["cell"].values
    ]
    return Table(name.replace("_", "-"), f"{caption}, nats ± one standard error.", ["", *fits], rows)


def _cells(ds: xr.Dataset) -> Table:
    rows = [
        [
            words(cell),
            Cell(format_number(float(ds["modes"].sel(cell=cell)), 0), kind="number"),
            estimate(ds, "table", "log_evidence", {"cell": str(cell)}),
            Cell(format_number(float(ds["seconds"].sel(cell=cell)), 1), kind="number"),
            Cell(NONE if int(ds["seed"].sel(cell=cell)) < 0 else str(int(ds["seed"].sel(cell=cell))), kind="number"),
            words(ds["cell_error"].sel(cell=cell).item()),
        ]
        for cell in ds["cell"].values
    ]
    headers = ["", "modes", "log Z (nats)", "seconds", "seed", "why it failed"]
    return Table("cells-table", "Modes found, log evidence, time and seed of each cell.", headers, rows)
