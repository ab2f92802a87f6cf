"""Sections six and seven: the parameters, and what each approximation can be used for."""

import numpy as np
import xarray as xr

from pymc_kl._typing import Array
from pymc_kl.model.table_names import OF_PARAMETERS
from pymc_kl.numerics.khat import KHAT_RELIABLE
from pymc_kl.plots import plot_modes
from pymc_kl.plots.parts.contract import select_variables
from pymc_kl.plots.parts.scalars import Scalars
from pymc_kl.reports.cells import Cell, Table, placed, rounded, words
from pymc_kl.reports.facts import Facts
from pymc_kl.reports.figures import Painter
from pymc_kl.reports.page import Block, Options, Section, Text
from pymc_kl.reports.parameters import parameter_rows
from pymc_kl.reports.phrases import counted
from pymc_kl.reports.uses import MEAN_LIMIT, SD_LIMIT, SPILLS, TAIL_LIMIT, USES, judged_uses, of_asked

SHOWN_PARAMETERS = 6  # rows of the table of parameters
POINTS = 6000  # most points in all facets of the pair plot together; bounds the size of the page
MOST_FACETS = 12  # facets among which the points are divided


def parameters_section(dt: xr.DataTree, painter: Painter, options: Options) -> Section:
    """Show the parameters that differ most, as densities and numbers, and the pair that separates the modes best."""
    fits = bool(dt["scores"].sizes["approximation"])
    most = "the parameters in which the approximations differ most from the reference" if fits else "parameters"
    caption = f"Densities of {most} ({'' if fits else 'the reference in '}grey, an area a mode)."
    blocks: list[Block] = [
        painter.draw(
            "marginals", caption, plot_modes, dt, kind="marginal", labeller=options.labeller, **options.variables
        )
    ]
    if dt["modes"].sizes["mode"] > 1 and not _one_scalar(dt, options):
        n = max(1, min(dt["scores"].sizes["approximation"], MOST_FACETS))
        caption = "The two parameters that separate the modes best: the reference by mode, each approximation over it."
        blocks.append(
            painter.draw(
                "pair", caption, plot_modes, dt, kind="pair", labeller=options.labeller,
                max_draws=max(POINTS * 2 // (3 * n), 100), **options.variables,
            )
        )  # fmt: skip
    if "parameters" in dt.children:
        blocks.append(_numbers_table(dt, options))
    else:
        blocks.append(Text("This comparison was written by an older version and holds no table of parameters."))
    wrong = "; where a line leaves it, that approximation is wrong there" if fits else ""
    lead = f"Grey is the posterior as the reference has it{wrong}."
    return Section("parameters", "Parameters", lead, blocks)


def _one_scalar(dt: xr.DataTree, options: Options) -> bool:
    chosen = select_variables(dt["posterior"].to_dataset(), **options.variables)
    n = sum(da.size for da in chosen.isel(chain=0, draw=0).data_vars.values())
    return int(n) < 2


def _numbers_table(dt: xr.DataTree, options: Options) -> Table:
    """Show mean and sd of the parameters that differ most, under the reference and each approximation."""
    table = select_variables(dt["parameters"].to_dataset(), **options.variables, taken=OF_PARAMETERS)
    names = [str(name) for name in table["source"].values]
    _, rows = parameter_rows(table, *names)
    scalars = Scalars(table.isel(source=0, statistic=0, drop=True))
    labels, sources = scalars.labels(range(scalars.n), options.labeller), scalars.sources()
    order, distance = _most_different(rows)
    lines = []
    for j in order[:SHOWN_PARAMETERS]:
        variable, at = sources[j]
        cells = [
            placed(_moments(row, j, options.round_to), "parameters", variable, {"source": name, **at})
            for name, row in zip(names, rows, strict=True)
        ]
        worst = f"{distance[j]:.2f}" if np.isfinite(distance[j]) else "–"
        lines.append([words(labels[j]), *cells, *[Cell(worst, kind="number")] * bool(rows[1:])])
    rest = len(labels) - len(lines)
    left = f" {counted(rest, 'more parameter is', 'more parameters are')} left out." if rest else ""
    last = "; last the largest 1-Wasserstein distance of an approximation from the reference, in its sd"
    caption = (
        "Mean ± its standard error, and standard deviation in brackets, on draws brought to one copy of their mode"
        f"{last * bool(rows[1:])}.{left}"
    )
    return Table("parameters-table", caption, ["", *names, *["furthest (sd)"] * bool(rows[1:])], lines)


def _most_different(rows: list[dict[str, Array]]) -> tuple[list[int], Array]:
    """Order the scalars by their largest 1-Wasserstein distance; return the order and the distances (D,), in sd."""
    sd = rows[0]["sd"]
    with np.errstate(invalid="ignore", divide="ignore"):
        each = np.array([row["wasserstein"] / sd for row in rows[1:]]).reshape(-1, len(sd))
    each = np.where(np.isfinite(each), each, -np.inf)
    distance = each.max(axis=0, initial=-np.inf)
    order = np.argsort(-distance, kind="stable")
    return [int(j) for j in order if sd[j] > 0 or len(sd) == 1], np.where(np.isfinite(distance), distance, np.nan)


def _moments(row: dict[str, Array], j: int, round_to: int | None) -> str:
    mean, se, sd = (float(row[name][j]) for name in ("mean", "mean_se", "sd"))
    if np.isnan(mean):
        return "–"
    digits = int(np.clip(1 - np.floor(np.log10(se)), 0, 6)) if se > 0 and np.isfinite(se) else 3
    return f"{rounded(mean, se, round_to)} ({sd:.{round_to if round_to is not None else min(digits, 4)}f})"


def uses_section(facts: Facts) -> Section:
    """Show what each approximation can be used for, with the number that decides it."""
    rows = []
    judged = [judged_uses(facts, fit) if fit.scored else {} for fit in facts.fits]
    for label in USES:
        uses = [of_fit.get(label) for of_fit in judged]
        cells = [
            words("–") if use is None else Cell(f"{use.answer}: {use.why}", kind=f"use {use.answer.replace(' ', '-')}")
            for use in uses
        ]
        rows.append([words(label), *cells])
    caption = (
        "Yes, no or cannot tell, and the number that says so, in the parameter that is furthest off. Limits: means "
        f"within {MEAN_LIMIT:g} sd, standard deviations within {100 * np.expm1(SD_LIMIT):.0f} %, ends of 90 % "
        f"intervals within {TAIL_LIMIT:g} sd, {100 * SPILLS:.0f} % of draws where the posterior has almost none, k-hat "
        f"below {KHAT_RELIABLE:g}. It is yes where number and two standard errors are within the limit, no where it "
        "is beyond by as much. All on draws brought to one copy of their mode."
    )
    blocks: list[Block] = [Table("uses-table", caption, ["use for", *(fit.name for fit in facts.fits)], rows)]
    if not facts.masses_known:
        blocks.insert(
            0,
            Text("The masses of the modes are not known, so what is said of means, spreads and tails is as uncertain."),
        )
    lead = f"Find your purpose on the left; the cell says whether the approximation serves it and why{of_asked(facts)}."
    return Section("uses", "What each can be used for", lead, blocks)
