"""Tables of the draws given: where each chain was, and R-hat and ESS of the parameters in which chains agree least."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from pymc_kl.comparison.formats import NONE
from pymc_kl.model.table_names import OF_MEANS, free_coords, free_name
from pymc_kl.plots.parts.contract import select_variables
from pymc_kl.plots.parts.scalars import Scalars
from pymc_kl.reports.cells import Cell, Table, number, words
from pymc_kl.reports.facts import Facts
from pymc_kl.reports.page import Options
from pymc_kl.reports.phrases import counted

SHOWN_MODES = 8  # most modes with a column of their own
MOST_PARAMETERS = 8  # most parameters with a row, those of the highest R-hat
AGREEMENT = {"rhat": "R-hat", "rhat_relabelled": "relabelled", "ess_bulk": "bulk ESS", "ess_tail": "tail ESS"}


def draws_tables(dt: xr.DataTree, facts: Facts, options: Options) -> Iterator[Table]:
    """Make the tables; nothing where no draws were given, and no R-hat in files from before it was kept."""
    if "audit" in dt.children:
        yield _chains_table(dt, facts)
        if "convergence" in dt["audit"].children and (table := _chosen(dt, options)).data_vars:
            yield _agreement_table(table, options)


def _chains_table(dt: xr.DataTree, facts: Facts) -> Table:
    audit = dt["audit"].to_dataset()
    shown = [k for k in audit["mode"].values if k not in facts.small][:SHOWN_MODES]
    with_copies = facts.n_copies > len(facts.modes) and "copy" in audit
    rows = []
    for chain in audit["chain"].values:
        cells = [number(audit, "audit", "n_draws", {"chain": chain, "mode": k}, 0) for k in shown]
        if with_copies:
            cells.append(number(audit, "audit", "copy", {"chain": chain}, 0))
        rows.append([words(f"chain {chain}"), *cells, number(audit, "audit", "crossings", {"chain": chain}, 0)])
    for label, variable, digits in (("R-hat of the mode", "rhat", 3), ("ESS of the mode", "ess", 0)):
        cells = [number(audit, "audit", variable, {"mode": k}, digits) for k in shown]
        rows.append([words(label), *cells, *[Cell(NONE, kind="number")] * (1 + with_copies)])
    n_left = audit.sizes["mode"] - len(shown)
    left = f" {counted(n_left, 'mode is', 'modes are')} left out." if n_left else ""
    copies = " The copy is that which most of a chain is in; 0 is none." if with_copies else ""
    caption = f"Your draws: how many each chain has in each mode, and how often it moved between modes.{copies}{left}"
    return Table("chains", caption, ["", *(f"mode {k}" for k in shown), *["copy"] * with_copies, "moves"], rows)


def _chosen(dt: xr.DataTree, options: Options) -> xr.Dataset:
    """Return R-hat and ESS of the free variables among those asked for, of which there may be none."""
    convergence = dt["audit"].children["convergence"].to_dataset(inherit=False)
    asked = select_variables(dt["posterior"].to_dataset(), **options.variables)
    names = [free_name(str(name), OF_MEANS) for name in asked.data_vars]
    table = convergence[[name for name in names if name in convergence]]
    coords = {dim: at for dim, at in free_coords(options.coords or {}, OF_MEANS).items() if dim in table.dims}
    return select_variables(table, None, None, coords) if coords else table


def _agreement_table(table: xr.Dataset, options: Options) -> Table:
    scalars = Scalars(table.isel(quantity=0, drop=True))
    labels, sources = scalars.labels(range(scalars.n), options.labeller), scalars.sources()
    rhat = scalars.matrix(table.sel(quantity=["rhat"]), ["quantity"])[0]
    order = np.argsort(-np.nan_to_num(rhat, nan=-np.inf), kind="stable")[:MOST_PARAMETERS]
    rows = []
    for j in map(int, order):
        variable, at = sources[j]
        cells = [
            number(table, "audit/convergence", variable, {"quantity": each, **at}, 2 if "rhat" in each else 0)
            for each in AGREEMENT
        ]
        rows.append([words(labels[j]), *cells])
    rest = len(labels) - len(rows)
    left = f" {counted(rest, 'more parameter is', 'more parameters are')} left out." if rest else ""
    caption = (
        "Your draws: R-hat and effective sample size of the parameters in which chains agree least; relabelled is "
        f"R-hat of draws brought to one copy of their mode.{left}"
    )
    return Table("agreement", caption, ["", *AGREEMENT.values()], rows)
