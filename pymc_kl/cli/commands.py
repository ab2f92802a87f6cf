"""The command line: `pymc-kl demo`, `pymc-kl compare`, `pymc-kl summary`, `pymc-kl report`."""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymc_kl as pkl  # its names are imported when they are used: `--help` waits for none of them
from pymc_kl.cli.arguments import make_parser
from pymc_kl.comparison.whole_files import check_folder, check_new, check_writable, recover, written_whole

if TYPE_CHECKING:
    import xarray as xr
    from rich.console import Console

SAVED = "comparison.nc"  # name of the comparison in the folder for the results
REPORT = "report.html"  # name of the report in the same folder
PICTURES = ("coverage", "modes")  # plots whose pictures are in the same folder
RESULTS = (SAVED, REPORT, *(f"{name}.png" for name in PICTURES))
HAS_PROBLEM = 3  # exit code where the verdict has one of them
CHANGED = 4  # exit code where something changed since the baseline
INTERRUPTED = 130  # exit code after Ctrl-C, 128 and the number of SIGINT; as shells have it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parsed = make_parser().parse_args(arguments)
    from rich.console import Console

    from pymc_kl.progress import HINTS

    hints = HINTS.set(False)
    console = Console(stderr=getattr(parsed, "json", False))  # what is printed to be read makes way for data
    try:
        return COMMANDS[parsed.command](parsed, console)
    except KeyboardInterrupt as error:
        said = f"interrupted, and nothing is written. {error}".rstrip()
        Console(stderr=True).print(f"pymc-kl: {said}", style="red", markup=False, soft_wrap=True)
        return INTERRUPTED
    except (OSError, ValueError, TypeError) as error:
        Console(stderr=True).print(f"pymc-kl: {error}", style="red", markup=False, soft_wrap=True)
        return 2
    finally:
        HINTS.reset(hints)


def _demo(parsed: argparse.Namespace, console: "Console") -> int:
    from pymc_kl.arguments import check_arguments

    check_arguments({"random_seed": parsed.seed})
    _check_out(parsed)
    import pymc as pm

    from pymc_kl.data import galaxies, measurements

    example = galaxies if parsed.galaxies else measurements
    quiet = {"random_seed": parsed.seed, "progressbar": False}
    console.print(example.STORY, soft_wrap=True)
    with example.model():
        with _stage(console, "four chains of PyMC's NUTS"):
            idata = pm.sample(chains=4, nuts_sampler="pymc", **quiet)
        with _stage(console, "PyMC's ADVI, 20,000 steps"):
            advi = pm.fit(20_000, obj_optimizer=pm.adam(learning_rate=1e-3), **quiet)
        with _stage(console, "search for modes, sample and weigh them, fit forward-KL families, score all"):
            comparison = pkl.compare(
                idata, {"ADVI": advi}, random_seed=parsed.seed, progressbar=_shows_progress(parsed)
            )
    return _finish(comparison, parsed, console)


@contextmanager
def _stage(console: "Console", text: str) -> Iterator[None]:
    """Say what is done, and how long it took."""
    console.print(f"{text} …", soft_wrap=True)
    start = time.monotonic()
    yield
    console.print(f"  {time.monotonic() - start:.0f} s", style="dim")


def _options(parsed: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return options that a function takes by the names they have here."""
    return {name: getattr(parsed, name) for name in names}


def _shows_progress(parsed: argparse.Namespace) -> bool:
    return not (parsed.quiet or parsed.json)


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
    baseline = _baseline(parsed)
    from pymc_kl.adapters import files
    from pymc_kl.model.from_file import load_model
    from pymc_kl.model.named_draws import check_free

    draws = None if parsed.draws is None else files.read(parsed.draws)
    model = load_model(file, name)
    if baseline is not None:
        check_free(baseline["posterior"].to_dataset(), model, "--baseline")
    comparison = pkl.compare(
        draws,
        dict(parsed.fit),
        model=model,
        quantities=parsed.quantity,
        random_seed=parsed.seed,
        progressbar=_shows_progress(parsed),
        **_options(parsed, "forward", "reverse", "symmetry", "budget", "backend"),
        **({} if parsed.n_starts is None else {"n_starts": parsed.n_starts}),
    )
    return _finish(comparison, parsed, console, baseline)


def _summary(parsed: argparse.Namespace, console: "Console") -> int:
    _check_comparison(parsed.comparison)
    return _tell(pkl.load(parsed.comparison), parsed, console, _baseline(parsed))


def _baseline(parsed: argparse.Namespace) -> "xr.DataTree | None":
    """Read the baseline, before anything long is done."""
    if parsed.baseline is None:
        return None
    _check_comparison(parsed.baseline)
    return pkl.load(parsed.baseline)


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


def _finish(
    comparison: "xr.DataTree", parsed: argparse.Namespace, console: "Console", baseline: "xr.DataTree | None" = None
) -> int:
    """Save first, so that nothing is lost; print, draw and write the report; the folder appears when all is there."""
    code = 1
    with written_whole(parsed.out) as folder:
        pkl.save(comparison, folder / SAVED)
        try:
            failed = _tell(comparison, parsed, console, baseline)
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


def _tell(
    comparison: "xr.DataTree", parsed: argparse.Namespace, console: "Console", baseline: "xr.DataTree | None" = None
) -> int:
    """Print the verdict to be read, or as data; returns the exit code."""
    failed = 0 if parsed.json else _print(comparison, console)
    if not (parsed.json or parsed.fail_on or baseline is not None):
        return failed
    from pymc_kl.reports import changes_since, verdict_data

    data = verdict_data(comparison)
    if baseline is not None:
        data["since_baseline"] = changes_since(comparison, baseline)
        failed = CHANGED if data["since_baseline"]["changed"] else failed
    if parsed.json:
        sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
        failed = failed or int(any(fit["error"] for fit in data["fits"]))
    elif baseline is not None:
        for text in ("", "Since the baseline:", *data["since_baseline"]["sentences"]):
            console.print(text, soft_wrap=True, markup=False)
    return HAS_PROBLEM if set(parsed.fail_on) & set(data["problems"]) else failed


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
    if not path.is_dir():  # `report` says what to do of a folder
        if path.suffix not in (".html", ".htm"):
            raise ValueError(f"the path of a report must end in .html; got {path.name!r}.")
        check_new(path, overwrite=parsed.overwrite)
    check_writable(path)
    comparison = pkl.load(parsed.comparison)
    options = _options(parsed, "var_names", "filter_vars", "ci_prob", "round_to", "interactive", "overwrite")
    pkl.report(comparison, path, **options)
    code = _print(comparison, console)
    console.print(f"\nThe full report: {path}", soft_wrap=True)
    return code


COMMANDS = {"demo": _demo, "compare": _compare, "summary": _summary, "report": _report}
