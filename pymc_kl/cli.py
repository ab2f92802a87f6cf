"""The command line: `pymc-kl demo`, `pymc-kl compare`, `pymc-kl summary`."""

import argparse
import importlib.util
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import ascii_uppercase

import numpy as np
import pymc as pm
import xarray as xr
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pymc_kl import galaxies, plots, tables, tree
from pymc_kl.compare import compare

EXAMPLES = """examples:
  pymc-kl demo                                              the 82 galaxies, from nothing to pictures
  pymc-kl compare model.py:model --draws trace.nc --out results
                                                            compare draws you have with PyMC's ADVI
  pymc-kl summary results/comparison.nc                     print the tables again

exit codes:
  0  done     1  a fit failed, the rest is there     2  the input can't be used
"""


MATTERS = 0.01  # upper bound of a mass below which a mode isn't counted
MARKS = {"covered": "✓", "under": "↓", "over": "↑", "missed": "✗"}
TITLES = {"forward_kl": "KL(p‖q)", "reverse_kl": "KL(q‖p)", "eubo": "EUBO", "elbo": "ELBO"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parsed = _parser().parse_args(arguments)
    console = Console()
    try:
        return int(parsed.run(parsed, console))
    except (OSError, ValueError, TypeError) as error:
        Console(stderr=True).print(f"pymc-kl: {error}", style="red", markup=False, soft_wrap=True)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pymc-kl",
        description="Which modes of a posterior do PyMC's ADVI and forward-KL fits cover, and how well?",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="compare ADVI with forward-KL fits on the 82 galaxy velocities")
    demo.set_defaults(run=_demo)
    run = commands.add_parser("compare", help="compare approximations of your model's posterior")
    run.add_argument("model", metavar="FILE.py:NAME", help="a pm.Model, or a function that returns one")
    run.add_argument("--draws", type=Path, help="posterior draws (NetCDF); sampled with NUTS if not given")
    run.add_argument(
        "--reverse", nargs="*", choices=("advi", "fullrank_advi"), default=["advi", "fullrank_advi"],
        help="what to fit with pm.fit (default: both)",
    )  # fmt: skip
    run.set_defaults(run=_compare)
    for command in (demo, run):
        command.add_argument("--out", type=Path, default=Path("pymc_kl_demo"), help="folder for the results")
        command.add_argument("--seed", type=int, default=1, help="random seed (default: 1)")
        command.add_argument("--quiet", action="store_true", help="show no progress")
    show = commands.add_parser("summary", help="print the tables of a saved comparison")
    show.add_argument("comparison", type=Path, help="comparison.nc, as `compare` wrote it")
    show.set_defaults(run=_summary)
    return parser


def _demo(parsed: argparse.Namespace, console: Console) -> int:
    console.print("82 galaxy velocities, three normal components: NUTS, ADVI and full-rank ADVI, forward-KL fits.")
    with galaxies.model():
        comparison = compare(random_seed=parsed.seed, progressbar=not parsed.quiet)
    return _finish(comparison, parsed.out, console)


def _compare(parsed: argparse.Namespace, console: Console) -> int:
    model = _load_model(parsed.model)
    draws = None
    if parsed.draws is not None:
        if not parsed.draws.exists():
            raise FileNotFoundError(f"no such file of draws: {parsed.draws}")
        with warnings.catch_warnings(), xr.open_datatree(parsed.draws) as file:
            draws = file.load()
    comparison = compare(
        draws, {}, model=model, reverse=parsed.reverse, random_seed=parsed.seed, progressbar=not parsed.quiet
    )
    return _finish(comparison, parsed.out, console)


def _summary(parsed: argparse.Namespace, console: Console) -> int:
    return _print(tree.load(parsed.comparison), console)


def _load_model(place: str) -> pm.Model:
    """Import FILE.py and take the model NAME from it."""
    file, _, name = place.rpartition(":")
    if not file or not Path(file).is_file():
        raise ValueError(f"the model is given as FILE.py:NAME; got {place!r} and there is no file {file!r}.")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(Path(file).resolve().parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    found = getattr(module, name, None)
    model = found() if callable(found) and not isinstance(found, pm.Model) else found
    if not isinstance(model, pm.Model):
        models = [key for key, value in vars(module).items() if isinstance(value, pm.Model)]
        raise ValueError(f"{file} has no pm.Model named {name!r}; it has {models or 'none'}.")
    return model


def _finish(comparison: xr.DataTree, out: Path, console: Console) -> int:
    """Save first, so that nothing is lost; then print and draw."""
    path = tree.save(comparison, out / "comparison.nc", overwrite=True)
    code = _print(comparison, console)
    for name, draw in (("coverage", plots.plot_coverage), ("modes", plots.plot_modes)):
        draw(comparison, backend="matplotlib").savefig(out / f"{name}.png")
    console.print(f"\nWritten to {out}: {path.name}, coverage.png, modes.png", soft_wrap=True)
    return code


def _print(comparison: xr.DataTree, console: Console) -> int:
    scores = tree.check_comparison(comparison)["scores"].to_dataset()
    for table in _coverage_tables(comparison, console.width):
        console.print(table)
    names = [str(name) for name in scores["approximation"].values]
    legend = "  ".join(f"{mark} {word}" for word, mark in MARKS.items())
    console.print(
        legend,
        *(f"[{_letter(i)}] {name}{_reach(comparison, name)}" for i, name in enumerate(names)),
        sep="\n",
        markup=False,
    )
    reason = comparison["modes"].attrs["reason"]
    if reason:
        console.print(f"The masses of the reference can't be trusted: {reason}. Their errors say so.", style="bold")
    for line in _notes(comparison):
        console.print(line, markup=False)
    console.print(_divergence_table(scores))
    if comparison["evidence"].attrs["reason"]:
        console.print(
            f"log Z is not known: {comparison['evidence'].attrs['reason']}. ELBO and EUBO enclose it; the "
            "divergences are known up to that one constant, which does not change how approximations differ."
        )
    failed = 0
    for name in scores["approximation"].values:
        row = scores.sel(approximation=name)
        if str(row["error"].item()):
            failed = 1
            console.print(f"{name} failed: {row['error'].item()}", style="red", markup=False)
        if float(row["converged"]) == 0:
            gap = tables.format_estimate(float(row["elbo_gap"]), float(row["elbo_gap_se"]))
            console.print(f"{name} has not converged: its ELBO can still gain {gap} nats where it stands.")
        if str(row["note"].item()):
            console.print(f"{name}: {row['note'].item()}", markup=False)
    return failed


def _notes(comparison: xr.DataTree) -> Iterator[str]:
    """Say what symmetry made of the modes, and what the draws given missed."""
    modes = comparison["modes"]
    if symmetries := json.loads(modes.attrs.get("symmetries", "[]")):
        most = float(modes["copies"].max())
        yield f"Up to {most:.0f} copies of a mode count as one: {', '.join(symmetries)}."
    if "audit" not in comparison.children:
        return
    audit = comparison["audit"].to_dataset()
    gone = audit["missed"].values.astype(bool)
    if gone.any():
        share = tables.format_share(float(audit["missed_mass"]), float(audit["missed_mass_se"]), 1.0)
        yield f"The draws given missed {gone.sum()} of {gone.size} modes, which hold {share} % of the mass."
    elif not audit.attrs["mixes"]:
        yield f"The draws given reached every mode, but {audit.attrs['reason']}; their shares are no masses."


def _coverage_tables(comparison: xr.DataTree, width: int) -> Iterator[Table]:
    """Lay out a row a mode and a column an approximation, in as many tables as the width asks for."""
    modes, coverage = comparison["modes"].to_dataset(), comparison["coverage"].to_dataset()
    names = [str(name) for name in coverage["approximation"].values]
    per_table = max((width - 22) // 12, 1)
    for first in range(0, max(len(names), 1), per_table):
        shown = names[first : first + per_table]
        title = "Mass of each mode in %, and how it is covered" if first == 0 else None
        table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1))
        for heading in ("mode", "reference", *(f"[{_letter(names.index(name))}]" for name in shown)):
            table.add_column(Text(heading), justify="right", no_wrap=True)
        for k, mode in enumerate(modes["mode"].values):
            cells = [_share(modes, k)]
            for name in shown:
                row = coverage.sel(approximation=name)
                cells.append(f"{_share(row, k)} {MARKS.get(str(row['verdict'].values[k]), ' ')}")
            table.add_row(str(mode), *cells)
        rest = [tables.format_share(modes.attrs["elsewhere"], modes.attrs["elsewhere_se"], 1.0)]
        for name in shown:
            row = coverage.sel(approximation=name)
            rest.append(f"{tables.format_share(float(row['elsewhere']), float(row['elsewhere_se']), 1.0)}  ")
        table.add_row("rest", *rest)
        yield table


def _reach(comparison: xr.DataTree, name: str) -> str:
    """Say how many of the modes that matter an approximation reaches and, where it is known, what they hold."""
    modes = comparison["modes"].to_dataset()
    verdict = comparison["coverage"].to_dataset()["verdict"].sel(approximation=name).values
    matters = modes["mass_upper"].values > MATTERS
    if not verdict[matters].all():
        return ""
    reached = matters & (verdict != "missed")
    text = f": reaches {reached.sum()} of {matters.sum()} modes found"
    if not modes.attrs["mixes"] or reached.sum() == matters.sum():
        return text
    mass, se = modes["mass"].values, modes["mass_se"].values
    side = reached if mass[reached].sum() < 0.5 else ~reached  # a share and the rest have the same error
    share = tables.format_share(float(mass[reached].sum()), float(np.linalg.norm(se[side])), 1.0)
    return f"{text}, {share} % of the posterior"


def _share(ds: xr.Dataset, k: int) -> str:
    return tables.format_share(*(float(ds[name].values[k]) for name in ("mass", "mass_se", "mass_upper")))


def _letter(i: int) -> str:
    """Name a column: A to Z, then AA and on."""
    return ascii_uppercase[i] if i < 26 else _letter(i // 26 - 1) + ascii_uppercase[i % 26]


def _divergence_table(scores: xr.Dataset) -> Table:
    pairs = ("forward_kl", "reverse_kl") if np.isfinite(scores["reverse_kl"]).any() else ("eubo", "elbo")
    table = Table(title="Divergences in nats (p: posterior, q: approximation)", box=SIMPLE_HEAD, padding=(0, 1))
    for title in ("q", *(TITLES[score] for score in pairs), "k-hat", "spill"):
        table.add_column(title, justify="left" if title == "q" else "right", no_wrap=True)
    for i, name in enumerate(scores["approximation"].values):
        row = scores.sel(approximation=name)
        cells = [tables.format_estimate(float(row[score]), float(row[f"{score}_se"])) for score in pairs]
        spill = tables.format_estimate(float(row["spill"]), float(row["spill_se"]))
        khat = float(row["khat"])
        table.add_row(Text(f"[{_letter(i)}]"), *cells, "-" if np.isnan(khat) else f"{khat:.2f}", spill)
    return table
