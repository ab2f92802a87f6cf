"""Lay out a comparison for a terminal: the verdict, the coverage of each mode, the divergences."""

from collections.abc import Iterator, Sequence
from string import ascii_uppercase

import numpy as np
import xarray as xr
from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pymc_kl.comparison.formats import format_estimate, format_percent
from pymc_kl.comparison.quantities_table import quantities_table
from pymc_kl.comparison.ranking import ranked
from pymc_kl.reports.facts import Facts, FitFacts, ModeCoverage, read_facts
from pymc_kl.reports.phrases import counted
from pymc_kl.reports.quantities import most_changed, sentences
from pymc_kl.reports.shape import MISFITS
from pymc_kl.reports.verdict import judge
from pymc_kl.scores.coverage import TOO_FEW_DRAWS
from pymc_kl.scores.shape import WELL_FITTED

MARKS = {"covered": "✓", "under": "↓", "over": "↑", "missed": "✗", TOO_FEW_DRAWS: "?"}  # of the mass in a mode
SHAPE_IS_OFF = "~"  # where the mass is right
MEANING = "✓ covered  ~ shape off  ↓ too little mass  ↑ too much  ✗ not seen  ? cannot tell"
MODE_COLUMNS = 22  # characters of the first two columns, mode and reference
FIT_COLUMN = 15  # characters of the column of an approximation


def render(comparison: xr.DataTree, width: int) -> Iterator[RenderableType]:
    """Lay out a comparison `width` characters wide."""
    facts = read_facts(comparison)
    yield Text("Verdict", style="bold")
    for sentence in judge(facts):
        first, *rows = sentence.text.splitlines()
        text = Text(first, style="red" if sentence.rule in ("untrusted", "failed") else "")
        text.highlight_words([sentence.about] if sentence.about else [], "bold")
        yield Padding(text, (0, 0, 0, 2))
        if rows:
            yield Padding(_list_of_uses(rows), (0, 0, 0, 4))
    yield Text("")
    if "quantities" in comparison.children:
        yield from _quantities(ranked(comparison)["quantities"].to_dataset())
    yield Text("\n".join(f"[{_letter(i)}] {fit.name}" for i, fit in enumerate(facts.fits)))
    yield from _coverage_tables(facts, width)
    yield Text(MEANING)
    if facts.small:
        yield Text(f"{counted(len(facts.small), 'mode', 'modes')} below 1 % everywhere left out.")
    yield _divergence_table(facts)
    for fit in facts.fits:
        if fit.note:
            yield Text(f"{fit.name}: {fit.note}")


def _list_of_uses(rows: Sequence[str]) -> Table:
    """Lay out lines of an answer and what it is of, as the verdict has them; long ones wrap in their column."""
    table = Table.grid(padding=(0, 2))
    for row in rows:
        answer, _, why = row.strip().partition("  ")
        table.add_row(Text(answer, no_wrap=True), Text(why.strip(), overflow="fold"))
    return table


def _quantities(ds: xr.Dataset) -> Iterator[RenderableType]:
    """Say which sources change a conclusion, and print the numbers but those of modes by themselves."""
    yield Text("Quantities of interest", style="bold")
    for sentence in sentences(ds):
        yield Padding(Text(sentence.replace("`", "")), (0, 0, 0, 2))
    shown = ds.isel(quantity=most_changed(ds), source=np.flatnonzero(ds["kind"].values != "mode"))
    yield Text(f"\n{quantities_table(shown, None)!r}\n", no_wrap=True)


def _coverage_tables(facts: Facts, width: int) -> Iterator[Table]:
    """Make tables with a row for each mode and a column for each approximation, as many as the width asks for."""
    per_table = max((width - MODE_COLUMNS) // FIT_COLUMN, 1)
    for first in range(0, max(len(facts.fits), 1), per_table):
        shown = list(enumerate(facts.fits))[first : first + per_table]
        title = "Mass of each mode in % ± one standard error, and how it is covered" if first == 0 else None
        table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1))
        for heading in ("mode", "reference", *(f"[{_letter(i)}]" for i, _ in shown)):
            table.add_column(Text(heading), justify="right", no_wrap=True)
        for row, mode in enumerate(facts.modes):
            if mode.number in facts.small:
                continue
            cells = [_mass(fit, row) for _, fit in shown]
            table.add_row(str(mode.number), _short(format_percent(*mode.mass, mode.upper, lower=mode.lower)), *cells)
        rest = [f"{_short(format_percent(*fit.elsewhere))}  " for _, fit in shown]
        table.add_row("rest", "", *rest)
        yield table


def _mass(fit: FitFacts, row: int) -> str:
    cover = fit.coverage[row]
    return f"{_short(format_percent(*cover.mass, cover.upper, lower=cover.lower))} {_mark(cover)}"


def _mark(cover: ModeCoverage) -> str:
    """Return the mark of a mode's mass, or of its shape where the mass is right."""
    if cover.verdict != "covered" or cover.shape == WELL_FITTED:
        return MARKS.get(cover.verdict, " ")
    return SHAPE_IS_OFF if cover.shape in MISFITS else MARKS[TOO_FEW_DRAWS]


def _short(text: str) -> str:
    return text.replace(" ± ", "±")


def _letter(i: int) -> str:
    """Name a column: A to Z, then AA, AB and so on."""
    return ascii_uppercase[i] if i < 26 else _letter(i // 26 - 1) + ascii_uppercase[i % 26]


def _divergence_table(facts: Facts) -> Table:
    pairs = {"forward_kl": "KL(p‖q)", "reverse_kl": "KL(q‖p)"}
    if not any(np.isfinite(fit.scores["reverse_kl"].value) for fit in facts.fits):
        pairs = {"eubo": "EUBO", "elbo": "ELBO"}
    title = "Divergences in nats (p: posterior, q: approximation)"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for heading in ("q", *pairs.values(), "k-hat", "spill (%)"):
        table.add_column(heading, justify="left" if heading == "q" else "right", no_wrap=True)
    for i, fit in enumerate(facts.fits):
        cells = [format_estimate(*fit.scores[score]) for score in pairs]
        khat, spill = format_estimate(fit.khat, fit.khat_se), format_percent(*fit.scores["spill"])
        table.add_row(Text(f"[{_letter(i)}]"), *cells, khat, spill)
    return table
