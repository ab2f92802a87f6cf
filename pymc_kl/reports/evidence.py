"""Sections one to three: whether the reference can be trusted, the modes, and which fit covers which of them."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from pymc_kl.comparison.formats import NONE
from pymc_kl.comparison.tables import two_part_verdicts
from pymc_kl.model.table_names import LOCATION, OF_MODES, free_coords, free_name
from pymc_kl.plots import plot_mode_tree
from pymc_kl.plots.parts.contract import SAMPLE_DIMS, select_variables
from pymc_kl.plots.parts.scalars import Scalars, separating, spread, varies
from pymc_kl.plots.parts.view import SCALAR_CHOICE_DRAWS, locations_of
from pymc_kl.reports.agreement import SHOWN_MODES, draws_tables
from pymc_kl.reports.cells import Cell, Table, estimate, format_number, number, placed, share, words
from pymc_kl.reports.facts import Facts
from pymc_kl.reports.figures import Painter
from pymc_kl.reports.page import Block, Details, Items, Options, Section, Text
from pymc_kl.reports.phrases import counted, percent
from pymc_kl.reports.small_modes import mass_together, with_small_folded
from pymc_kl.reports.trust import Trust
from pymc_kl.scores.coverage import TOO_FEW_DRAWS

TELLING = 4  # most scalars in the table of modes, those that tell the modes apart best
MOST_SCALARS = 200  # most scalars of a mode's location that are listed
HEAT_FULL = 1.5  # log ratio of masses at which a cell has its full colour: a factor of 4.5
BLIND_SPOT = (
    "No search sees a mode that no chain, start or fit reached. What is said here holds for the modes that were found: "
    "masses are shares among them, and a mode that was found alone has mass 1 ± 0 whatever was missed."
)


def reference_section(dt: xr.DataTree, facts: Facts, trust: Trust, options: Options) -> Section:
    """Show where the chains were, how each mode was found and weighed, and what may still be missing."""
    blocks: list[Block] = [Items(trust.reasons)]
    blocks += [*draws_tables(dt, facts, options), _search_table(dt, facts), Text(f"{_unseen(dt, facts)} {BLIND_SPOT}")]
    if "planted" in dt.children:
        blocks.append(Text(_planted(dt["planted"].to_dataset())))
    lead = (
        f"Trust it: {trust.answer}. The table shows how each mode was found and weighed; a mode whose mass rests on "
        "little overlap or few draws is the first to doubt."
    )
    return Section("reference", "Can the reference be trusted?", lead, blocks)


def _search_table(dt: xr.DataTree, facts: Facts) -> Table:
    ds = dt["modes"].to_dataset()
    rows, folded = with_small_folded(facts, lambda k: _search_row(ds, k))
    headers = ["", "found from", "starts that ended there", "weighed by", "overlap", "draws"]
    return Table("search", "How each mode was found and how its mass was estimated.", headers, rows, folded)


def _search_row(ds: xr.Dataset, k: int) -> list[Cell]:
    at, row = {"mode": k}, ds.sel(mode=k)
    reason = str(row["reason"].item()) if "reason" in row else ""
    method = str(row["method"].item()) if "method" in row else NONE
    return [
        words(f"mode {k}"),
        words(str(row["found_by"].item()).replace("+", ", ") if "found_by" in row else NONE),
        number(ds, "modes", "hits", at, 0),
        words(method if not reason else f"{method}: {reason}"),
        number(ds, "modes", "overlap", at),
        number(ds, "modes", "n_draws", at, 0),
    ]


def _unseen(dt: xr.DataTree, facts: Facts) -> str:
    attrs = dt["modes"].attrs
    n, lost = int(attrs.get("n_starts", 0)), int(attrs.get("n_lost", 0))
    if not n:
        return ""
    text = f"{counted(n, 'start was', 'starts were')} climbed; {lost:,} reached no proper maximum."
    if np.isfinite(facts.unseen.value):
        text += (
            f" The chance that one more draw of the prior climbs to a mode that is not listed is estimated at "
            f"{percent(facts.unseen, 3 * facts.unseen.se)} (Good and Turing, and climbs that reached no maximum where "
            "a mode could matter): it knows only what such starts can reach."
        )
    return text


def _planted(planted: xr.Dataset) -> str:
    """Write how often the search found modes that were planted, or why none were."""
    cut_short = " The tries were interrupted." if planted.attrs["partial"] else ""
    said = "Modes planted into the density test the search. " if "share" in planted else ""
    return f"{said}{planted.attrs['summary']}{cut_short}"


def modes_section(dt: xr.DataTree, facts: Facts, painter: Painter, options: Options) -> Section:
    """Show the modes: mass, copies, log density, barrier and location."""
    blocks: list[Block] = [*_mode_tables(dt, facts, options)]
    if dt["modes"].sizes["mode"] > 1:
        caption = (
            "Peaks and the passes between them: the further a branch falls before it joins another, the more separate "
            "the mode, and the less likely a chain is to leave it."
        )
        blocks.append(painter.draw("tree", caption, plot_mode_tree, dt))
    lead = "A row a mode, copies together; the parameters that tell the modes apart come first."
    return Section("modes", "The modes", lead, blocks)


def _mode_tables(dt: xr.DataTree, facts: Facts, options: Options) -> Iterator[Block]:
    ds = dt["modes"].to_dataset()
    labels, sources, locations, order = _locations(dt, options)
    top = float(ds["log_density"].max())
    telling, rest = order[:TELLING], order[TELLING:MOST_SCALARS]

    def row(k: int) -> list[Cell]:
        at, i = {"mode": k}, ds["mode"].values.tolist().index(k)
        return [
            words(f"mode {k}"),
            share(ds, "modes", "mass", at, options.round_to),
            number(ds, "modes", "copies", at, 0),
            Cell(format_number(float(ds["log_density"].sel(mode=k)) - top), kind="number"),
            number(ds, "modes", "barrier", at),
            *(_location_cell(locations[i, j], sources[j], k) for j in telling),
        ]

    blank = [Cell(NONE, kind="number")] * (3 + len(telling))
    rows, folded = with_small_folded(facts, row, [mass_together(ds, facts.small, options.round_to), *blank])
    headers = ["", "mass (%)", "copies", "log density (nats)", "barrier (nats)", *(labels[j] for j in telling)]
    caption = (
        "Mass is that of all copies; log density is relative to the highest peak; the barrier is how far the log "
        "density falls on the best path found to another mode or copy."
    )
    yield Table("modes-table", caption, headers, rows, folded)
    if len(rest):
        numbers = ds["mode"].values[:SHOWN_MODES]
        wide = [
            [words(labels[j]), *(_location_cell(locations[i, j], sources[j], k) for i, k in enumerate(numbers))]
            for j in rest
        ]
        left = len(order) - TELLING - len(rest)
        caption = "Location of the modes in the model's own space." + (
            f" {left} more are left out." if left > 0 else ""
        )
        table = Table("locations", caption, ["", *(f"mode {k}" for k in numbers)], wide)
        yield Details(f"Where the modes are in the other {len(rest)} parameters", [table])


def _location_cell(value: float, source: tuple[str, dict[str, Any]], mode: int) -> Cell:
    name, at = source
    return placed(format_number(value, 3), "modes", name, {"mode": mode, **at})


def _locations(
    dt: xr.DataTree, options: Options
) -> tuple[list[str], list[tuple[str, dict[str, Any]]], np.ndarray, list[int]]:
    """Return labels, sources and locations (K, D) of the scalars, and their order by how well they tell modes apart."""
    posterior = select_variables(dt["posterior"].to_dataset(), **options.variables)
    scalars = Scalars(posterior.isel(dict.fromkeys(SAMPLE_DIMS, 0), drop=True))
    locations = scalars.matrix(
        locations_of(dt["modes"].to_dataset(), list(map(str, posterior.data_vars)), options.coords or {}), ["draw"]
    )
    x = spread(scalars.matrix(posterior, SAMPLE_DIMS), SCALAR_CHOICE_DRAWS)
    mode = spread(dt["sample_stats"].to_dataset()["mode"].values.ravel()[:, None], SCALAR_CHOICE_DRAWS)[:, 0].astype(
        int
    )
    usable = varies(x)
    order = [int(usable[j]) for j in separating(x[:, usable], mode, locations[:, usable], len(usable), jointly=False)]
    sources = [(free_name(name, OF_MODES, LOCATION), free_coords(at, OF_MODES)) for name, at in scalars.sources()]
    return scalars.labels(range(scalars.n), options.labeller), sources, locations, order


def coverage_section(dt: xr.DataTree, facts: Facts, options: Options) -> Section:
    """Show how much mass each approximation has in each mode, and how well it fits there."""
    lead = (
        "Each cell is the mass that the approximation has in the mode, and whether mass and shape fit there; blue "
        "cells have too much mass, red ones too little."
    )
    return Section("coverage", "Coverage", lead, [_heat_table(dt, facts, options), _detail_table(dt, facts, options)])


def _heat_table(dt: xr.DataTree, facts: Facts, options: Options) -> Table:
    modes, coverage = dt["modes"].to_dataset(), dt["coverage"].to_dataset()
    names = [str(name) for name in coverage["approximation"].values]
    verdicts = {name: dict(zip(modes["mode"].values, _verdicts(dt, name), strict=True)) for name in names}

    def row(k: int) -> list[Cell]:
        cells = [_heat_cell(coverage, {"approximation": name, "mode": k}, verdicts[name][k], options) for name in names]
        return [words(f"mode {k}"), share(modes, "modes", "mass", {"mode": k}, options.round_to), *cells]

    sums = [modes, *(coverage.sel(approximation=name) for name in names)]
    rows, folded = with_small_folded(facts, row, [mass_together(ds, facts.small, options.round_to) for ds in sums])
    rest = xr.Dataset({name: modes.attrs[name] for name in ("elsewhere", "elsewhere_se")})
    last = [Cell(share(rest, "", "elsewhere", {}, options.round_to).text, kind="number")]
    last += [share(coverage, "coverage", "elsewhere", {"approximation": name}, options.round_to) for name in names]
    caption = "Mass in each mode, in per cent ± one standard error."
    headers = ["", "reference", *names]
    return Table("heat", caption, headers, rows, folded, [[words("elsewhere"), *last]])


def _verdicts(dt: xr.DataTree, name: str) -> list[str]:
    return two_part_verdicts(dt["coverage"].to_dataset().sel(approximation=name), dt["modes"].to_dataset())


def _heat_cell(coverage: xr.Dataset, at: Mapping[str, Any], said: str, options: Options) -> Cell:
    cell = share(coverage, "coverage", "mass", at, options.round_to)
    row = coverage.sel(at)
    word = str(row["verdict"].item())
    ratio = float(row["ratio"])
    log_ratio = np.log(ratio) if ratio > 0 else -np.inf if ratio == 0 else np.nan
    plain = np.isnan(log_ratio) or word in ("covered", TOO_FEW_DRAWS) or said == NONE
    strength = 0.0 if plain else float(np.clip(abs(log_ratio) / HEAT_FULL, 0.15, 1))
    side = "over" if log_ratio > 0 else "under"
    style = f"--heat:{strength:.2f}" if strength else ""
    text = cell.text if said == NONE else f"{cell.text} {said}".strip()
    return Cell(text, cell.source, cell.at, f"number heat {side} {word}", style=style)


def _detail_table(dt: xr.DataTree, facts: Facts, options: Options) -> Details:
    coverage = dt["coverage"].to_dataset()
    rows = []
    for fit in facts.fits:
        verdicts = _verdicts(dt, fit.name)
        rows += [
            _detail_row(coverage, fit.name, cover.mode.number, said, options)
            for cover, said in zip(fit.coverage, verdicts, strict=True)
            if fit.scored and cover.mode.matters
        ]
    headers = [
        "", "mass / reference", "in 90 % region (%)", "copies reached", "forward KL within (nats)",
        "reverse KL within (nats)", "verdict",
    ]  # fmt: skip
    caption = (
        "Ratio of masses; share of the mode's draws inside the approximation's 90 % region; copies that hold a "
        "hundredth of its draws there; divergence within the mode."
    )
    caption += " Modes below 1 % are left out." if len(facts.that_matter) < len(facts.modes) else ""
    return Details("Ratios, regions and divergences of each mode", [Table("detail", caption, headers, rows)])


def _detail_row(coverage: xr.Dataset, name: str, k: int, said: str, options: Options) -> list[Cell]:
    at = {"approximation": name, "mode": k}
    return [
        words(f"{name}, mode {k}"),
        estimate(coverage, "coverage", "ratio", at, options.round_to),
        number(coverage, "coverage", "hdr_coverage", at, 0, unit=100),
        number(coverage, "coverage", "copies_reached", at, 0),
        estimate(coverage, "coverage", "forward_kl_within", at, options.round_to),
        estimate(coverage, "coverage", "reverse_kl_within", at, options.round_to),
        words(said),
    ]
