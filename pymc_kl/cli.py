"""The command line: `pymc-kl demo`, `pymc-kl compare`, `pymc-kl summary`, `pymc-kl report`."""

import argparse
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pymc_kl as pkl  # its names are imported when they are used: `--help` waits for none of them
from pymc_kl._typing import ForwardFamily, ReverseMethod
from pymc_kl.comparison.whole_files import check_folder, check_new, check_writable, recover, written_whole

if TYPE_CHECKING:
    import pymc as pm
    import xarray as xr
    from rich.console import Console

SAVED = "comparison.nc"  # name of the comparison in the folder for the results
REPORT = "report.html"  # name of the report in the same folder
PICTURES = ("coverage", "modes")  # plots whose pictures are in the same folder
RESULTS = (SAVED, REPORT, *(f"{name}.png" for name in PICTURES))
EXAMPLES = """examples:
  pymc-kl demo                                              the 82 galaxies, from nothing to pictures
  pymc-kl compare model.py:model --draws trace.nc --out results
                                                            compare draws you have with PyMC's ADVI
  pymc-kl summary results/comparison.nc                     print the verdict and the tables again
  pymc-kl report results/comparison.nc -o report.html       write the report again

exit codes:
  0  done     1  a fit failed, the rest is there     2  the input can't be used     130  interrupted
"""
INTERRUPTED = 130  # exit code after Ctrl-C, 128 and the number of SIGINT; as shells have it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parsed = _parser().parse_args(arguments)
    from rich.console import Console

    console = Console()
    try:
        return int(parsed.run(parsed, console))
    except KeyboardInterrupt as error:
        said = f"interrupted, and nothing is written. {error}".rstrip()
        Console(stderr=True).print(f"pymc-kl: {said}", style="red", markup=False, soft_wrap=True)
        return INTERRUPTED
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
    run.add_argument("--budget", type=float, help="seconds that the search for modes and their sampling may take")
    run.add_argument(
        "--reverse", nargs="*", choices=get_args(ReverseMethod.__value__), default=["advi", "fullrank_advi"],
        help="reverse-KL fits to make: PyMC's advi and fullrank_advi (default: both), or ours",
    )  # fmt: skip
    run.add_argument(
        "--forward", nargs="*", choices=get_args(ForwardFamily.__value__), default=["meanfield", "fullrank", "mixture"],
        help="families to fit to the draws (default: meanfield fullrank mixture)",
    )  # fmt: skip
    run.add_argument(
        "--fit", action="append", default=[], metavar="NAME=FILE", type=_named_file,
        help="a fit or draws made elsewhere, saved as NetCDF or Zarr, to compare as well; may be repeated",
    )  # fmt: skip
    run.set_defaults(run=_compare)
    for command in (demo, run):
        command.add_argument("--out", type=Path, default=Path("pymc_kl_results"), help="folder for the results")
        command.add_argument("--overwrite", action="store_true", help="replace results that are there")
        command.add_argument("--seed", type=int, default=1, help="random seed (default: 1)")
        command.add_argument("--report", action=argparse.BooleanOptionalAction, default=True, help="write report.html")
        command.add_argument("--quiet", action="store_true", help="show no progress")
    show = commands.add_parser("summary", help="print the verdict and the tables of a saved comparison")
    show.add_argument("comparison", type=Path, help="comparison.nc, as `compare` wrote it")
    show.set_defaults(run=_summary)
    page = commands.add_parser("report", help="write the report of a saved comparison as one HTML page")
    page.add_argument("comparison", type=Path, help="comparison.nc, as `compare` wrote it")
    page.add_argument("-o", "--output", type=Path, help="where to write it (default: beside the comparison)")
    page.add_argument("--var-names", nargs="+", metavar="NAME", help="variables to show; ~NAME excludes")
    page.add_argument("--filter-vars", choices=("like", "regex"), help="how the names are read")
    page.add_argument("--ci-prob", type=float, help="probability of the intervals in pictures")
    page.add_argument("--round-to", type=int, help="decimals (default: two digits of each number's error)")
    page.add_argument("--interactive", action="store_true", help="draw with plotly, which adds 4.7 MB")
    page.add_argument("--overwrite", action="store_true", help="replace a report that is there")
    page.set_defaults(run=_report)
    return parser


def _demo(parsed: argparse.Namespace, console: "Console") -> int:
    _check_out(parsed)
    from pymc_kl.data import galaxies

    console.print("82 galaxy velocities, three normal components: NUTS, ADVI and full-rank ADVI, forward-KL fits.")
    with galaxies.model():
        comparison = pkl.compare(random_seed=parsed.seed, progressbar=not parsed.quiet)
    return _finish(comparison, parsed, console)


def _compare(parsed: argparse.Namespace, console: "Console") -> int:
    if parsed.draws is not None and not parsed.draws.exists():
        raise FileNotFoundError(f"no such file of draws: {parsed.draws}")
    names = [name for name, _ in parsed.fit]
    for name, fit in parsed.fit:
        if names.count(name) > 1:
            raise ValueError(f"the fit {name!r} was given more than once; each needs a name of its own.")
        if not Path(fit).exists():
            raise FileNotFoundError(f"no such file of the fit {name!r}: {fit}")
    file, name = _model_file(parsed.model)
    _check_out(parsed)
    model = _load_model(file, name)
    from pymc_kl.model.datatree import read_tree

    draws = None if parsed.draws is None else read_tree(parsed.draws)
    comparison = pkl.compare(
        draws,
        dict(parsed.fit),
        model=model,
        forward=parsed.forward,
        reverse=parsed.reverse,
        budget=parsed.budget,
        random_seed=parsed.seed,
        progressbar=not parsed.quiet,
    )
    return _finish(comparison, parsed, console)


def _named_file(text: str) -> tuple[str, str]:
    """Read NAME=FILE."""
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise argparse.ArgumentTypeError(f"expected NAME=FILE, such as laplace=laplace.nc; got {text!r}.")
    return name, file


def _summary(parsed: argparse.Namespace, console: "Console") -> int:
    _check_comparison(parsed.comparison)
    return _print(pkl.load(parsed.comparison), console)


def _check_comparison(path: Path) -> None:
    """Raise if there is no such file, before anything is imported to read it."""
    recover(path)
    if not path.exists():
        raise FileNotFoundError(f"no such comparison: {path}")


def _check_out(parsed: argparse.Namespace) -> None:
    """Raise if the results can't be written, before they are made."""
    check_writable(parsed.out)
    if parsed.out.is_file():
        raise NotADirectoryError(
            f"{parsed.out} is a file. A file stands where a folder is needed: choose another path."
        )
    from pymc_kl.comparison.io import check_path
    from pymc_kl.reports.build import writable

    check_path(parsed.out / SAVED, overwrite=True)
    if parsed.report:
        writable(parsed.out / REPORT, overwrite=True)
    check_folder(parsed.out, RESULTS, overwrite=parsed.overwrite)


def _model_file(text: str) -> tuple[Path, str]:
    """Read FILE.py:NAME."""
    file, _, name = text.rpartition(":")
    if not file or not Path(file).is_file():
        raise ValueError(f"the model is given as FILE.py:NAME; got {text!r} and there is no file {file!r}.")
    return Path(file), name


def _load_model(file: Path, name: str) -> "pm.Model":
    """Import a file and take the model NAME from it."""
    import pymc as pm

    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"the model's file must be one of Python, FILE.py; got {str(file)!r}.")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.resolve().parent))
    try:
        spec.loader.exec_module(module)
        found = getattr(module, name, None)
        model = found() if callable(found) and not isinstance(found, pm.Model) else found
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        where = f", line {lines[-1]}," if lines else ""
        raise ValueError(f"{file}{where} failed: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    if not isinstance(model, pm.Model):
        models = [key for key, value in vars(module).items() if isinstance(value, pm.Model)]
        raise ValueError(f"{file} has no pm.Model named {name!r}; it has {models or 'none'}.")
    return model


def _finish(comparison: "xr.DataTree", parsed: argparse.Namespace, console: "Console") -> int:
    """Save first, so that nothing is lost; print, draw and write the report; the folder appears when all is there."""
    code = 1
    with written_whole(parsed.out) as folder:
        pkl.save(comparison, folder / SAVED)
        try:
            failed = _print(comparison, console)
            for name in PICTURES:
                getattr(pkl, f"plot_{name}")(comparison, backend="matplotlib").savefig(folder / f"{name}.png")
            if parsed.report:
                pkl.report(comparison, folder / REPORT)
            code = failed
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 the comparison is kept, whatever drawing raises
            console.print(f"Not all was drawn: {error or 'interrupted'}", soft_wrap=True, markup=False)
        written = [name for name in RESULTS if (folder / name).exists()]
    console.print(f"\nWritten to {parsed.out}: {', '.join(written)}", soft_wrap=True)
    return code


def _print(comparison: "xr.DataTree", console: "Console") -> int:
    """Print the verdict and the tables; returns 1 if a fit failed."""
    from pymc_kl.comparison.io import check_comparison
    from pymc_kl.reports.terminal import render

    for part in render(comparison, console.width):
        console.print(part)
    errors = check_comparison(comparison)["scores"].to_dataset()["error"].values
    return int(any(str(error) for error in errors))


def _report(parsed: argparse.Namespace, console: "Console") -> int:
    _check_comparison(parsed.comparison)
    path = parsed.output or parsed.comparison.with_suffix(".html")
    if path.suffix not in (".html", ".htm"):
        raise ValueError(f"the path of a report must end in .html; got {path.name!r}.")
    if not path.is_dir():  # `report` says what to do of a folder
        check_new(path, overwrite=parsed.overwrite)
    check_writable(path)
    comparison = pkl.load(parsed.comparison)
    pkl.report(
        comparison,
        path,
        var_names=parsed.var_names,
        filter_vars=parsed.filter_vars,
        ci_prob=parsed.ci_prob,
        round_to=parsed.round_to,
        interactive=parsed.interactive,
        overwrite=parsed.overwrite,
    )
    code = _print(comparison, console)
    console.print(f"\nThe full report: {path}", soft_wrap=True)
    return code
