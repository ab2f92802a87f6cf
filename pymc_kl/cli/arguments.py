"""What the command line takes."""

import argparse
from importlib.metadata import version
from pathlib import Path
from typing import get_args

from pymc_kl._typing import ForwardFamily, ReverseMethod

EXAMPLES = """examples:
  pymc-kl demo                                              draws that miss a fifth of the posterior (a minute)
  pymc-kl demo --galaxies                                   82 galaxies: modes times orders of labels (a minute)
  pymc-kl compare model.py:model --draws trace.nc --out results
                                                            compare draws you have with PyMC's ADVI
  pymc-kl summary results/comparison.nc                     print the verdict and the tables again
  pymc-kl report results/comparison.nc -o report.html       write the report again
  pymc-kl summary results/comparison.nc --json --fail-on missed untrusted
                                                            the verdict as data, for a pipeline
  pymc-kl compare model.py:model --draws trace.nc --baseline last/comparison.nc --out results
                                                            what changed by more than its errors since then

exit codes:
  0  done     1  a fit failed, the rest is there     2  the input can't be used
  3  the verdict has a problem of --fail-on          4  something changed since --baseline
  130  interrupted; of several codes, 3 comes before 4 and 4 before 1
"""
PROBLEMS = ("missed", "untrusted", "unconverged")  # of a verdict, which --fail-on names

type Commands = "argparse._SubParsersAction[argparse.ArgumentParser]"


def make_parser() -> argparse.ArgumentParser:
    """Make the parser; `command` of what it parses is the command."""
    parser = argparse.ArgumentParser(
        prog="pymc-kl",
        description="Which modes of a posterior do PyMC's ADVI and forward-KL fits cover, and how well?",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pymc-kl {version('pymc_kl')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo, run, show, _ = (add(commands) for add in (_add_demo, _add_compare, _add_summary, _add_report))
    parser.set_defaults(baseline=None)
    _add_results(demo, run)
    _add_baseline(run, show)
    _add_verdict(demo, run, show)
    return parser


def _add_demo(commands: Commands) -> argparse.ArgumentParser:
    """Add `demo`."""
    demo = commands.add_parser("demo", help="draws that miss a fifth of a posterior, though their R-hat is 1.00")
    demo.add_argument("--galaxies", action="store_true", help="82 galaxy velocities instead, with labels that swap")
    demo.set_defaults(command="demo")
    return demo


def _add_compare(commands: Commands) -> argparse.ArgumentParser:
    """Add `compare`."""
    run = commands.add_parser("compare", help="compare approximations of your model's posterior")
    run.add_argument("model", metavar="FILE.py:NAME", help="a pm.Model, or a function that returns one")
    run.add_argument("--draws", type=_local_path, help="posterior draws (NetCDF); sampled with NUTS if not given")
    run.add_argument("--n-starts", type=int, help="draws of the prior to search for modes from, at the most")
    run.add_argument("--backend", choices=("auto", "jax", "numba"), default="auto", help="what evaluates log densities")
    run.add_argument(
        "--symmetry", action=argparse.BooleanOptionalAction, default=True,
        help="count copies of a mode under labels and signs as one (default)",
    )  # fmt: skip
    run.add_argument("--budget", type=float, help="seconds that the search for modes and their sampling may take")
    run.add_argument(
        "--reverse", nargs="*", choices=get_args(ReverseMethod.__value__), default=["advi", "fullrank_advi"],
        help="reverse-KL fits to make: PyMC's advi and fullrank_advi (default: both), or ours",
    )  # fmt: skip
    run.add_argument(
        "--forward", nargs="*", choices=get_args(ForwardFamily.__value__),
        help="families to fit to the draws (default: as compare() has it)",
    )  # fmt: skip
    run.add_argument(
        "--fit", action="append", default=[], metavar="NAME=FILE", type=_named_file,
        help="a fit or draws made elsewhere, saved as NetCDF or Zarr, to compare as well; may be repeated",
    )  # fmt: skip
    run.add_argument(
        "--quantity", action="append", metavar="NAME",
        help="a variable that matters: does a fit change what is concluded of it? May be repeated",
    )  # fmt: skip
    run.set_defaults(command="compare")
    return run


def _add_summary(commands: Commands) -> argparse.ArgumentParser:
    """Add `summary`."""
    show = commands.add_parser("summary", help="print the verdict and the tables of a saved comparison")
    show.add_argument("comparison", type=_local_path, help="comparison.nc, as `compare` wrote it")
    show.set_defaults(command="summary")
    return show


def _add_report(commands: Commands) -> argparse.ArgumentParser:
    """Add `report`."""
    page = commands.add_parser("report", help="write the report of a saved comparison as one HTML page")
    page.add_argument("comparison", type=_local_path, help="comparison.nc, as `compare` wrote it")
    page.add_argument("-o", "--output", type=_local_path, help="where to write it (default: beside the comparison)")
    page.add_argument("--var-names", nargs="+", metavar="NAME", help="variables to show; ~NAME excludes")
    page.add_argument("--filter-vars", choices=("like", "regex"), help="how the names are read")
    page.add_argument("--ci-prob", type=float, help="probability of the intervals in pictures")
    page.add_argument("--round-to", type=int, help="decimals (default: two digits of each number's error)")
    page.add_argument("--interactive", action="store_true", help="draw with plotly, which adds 4.7 MB")
    page.add_argument("--overwrite", action="store_true", help="replace a report that is there")
    page.set_defaults(command="report")
    return page


def _add_results(*commands: argparse.ArgumentParser) -> None:
    """Add what says where results are written, and how they are made."""
    for command in commands:
        command.add_argument("--out", type=_local_path, default=Path("pymc_kl_results"), help="folder for the results")
        command.add_argument("--overwrite", action="store_true", help="replace results that are there")
        command.add_argument("--seed", type=int, default=1, help="random seed (default: 1)")
        command.add_argument("--report", action=argparse.BooleanOptionalAction, default=True, help="write report.html")
        command.add_argument("--quiet", action="store_true", help="show no progress")


def _add_baseline(*commands: argparse.ArgumentParser) -> None:
    """Add an earlier comparison to compare with."""
    for command in commands:
        command.add_argument(
            "--baseline",
            type=_local_path,
            metavar="COMPARISON",
            help="an earlier comparison.nc: say what changed, or exit with 4",
        )


def _add_verdict(*commands: argparse.ArgumentParser) -> None:
    """Add what is made of the verdict."""
    for command in commands:
        command.add_argument(
            "--json", action="store_true", help="print the verdict as JSON, and nothing else, to stdout"
        )
        command.add_argument(
            "--fail-on",
            nargs="+",
            choices=PROBLEMS,
            default=[],
            help="exit with 3 where the verdict has such a problem",
        )


def _local_path(text: str) -> Path:
    """Read a path; an address of the web would become one of a folder."""
    if "://" in text:
        raise argparse.ArgumentTypeError(f"must be a path on this machine; got {text!r}. Fetch that file first.")
    return Path(text)


def _named_file(text: str) -> tuple[str, str]:
    """Read NAME=FILE."""
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise argparse.ArgumentTypeError(f"expected NAME=FILE, such as laplace=laplace.nc; got {text!r}.")
    return name, str(_local_path(file))
