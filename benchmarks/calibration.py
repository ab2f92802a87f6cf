"""Does every printed ± cover? Replicate whole comparisons on posteriors of the zoo, against exact truth.

For each posterior and seed, two normals (the best by reverse KL and one with 0.7 times its spread), 200 exact draws
each there twice, four chains that seldom change modes, both of these from the heaviest mode alone, and a full-rank fit
by forward KL are compared with the posterior: with 2,000 exact draws given for even seeds, and none for odd ones. Each
number with an error is set beside its truth. A row of the table is good where 90 to 99 % of the 95 % intervals hold the
truth, the mean of z is within 0.3 of 0 and its sd between 0.8 and 1.25.

A replication is a file that is written whole, so that a run that was cut short goes on where it stopped.

    python -m uv run python benchmarks/calibration.py --seeds 40 --jobs 2 --out calibration --write docs/calibration.md
"""

import argparse
import os
import sys
import warnings
from datetime import date
from functools import cache
from importlib.metadata import version
from pathlib import Path

import joblib
import pandas as pd
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.calibration import OPEN, Posterior, rates, replicate, table

POSTERIORS = (
    "two_modes",
    "two_normals",
    "switch_6",
    "switch_2",
    "quickstart",
    "textbook_figure",
    "two_normals_10d",
    "two_bananas",
    "two_students",
    "many_wells_6",
    "labels",
    "dial_a_mass",
    "standard_normal_1",
    "standard_normal_10",
    "equicorrelated_10",
    "mean_field_gaussian",
    "gaussian_condition",
    "banana",
    "skew_normal",
    "student_t_location",
    "eight_schools_noncentred",
)
LEAST = 0.9  # share of intervals that hold the truth, below which a number of one posterior is listed
MARKS = ("<!-- tables of benchmarks/calibration.py -->", "<!-- end of the tables -->")


@cache
def posterior(name: str) -> Posterior:
    """A posterior and its truths, once in each process."""
    return Posterior(name)


def replicate_into(folder: Path, name: str, seeds: range) -> None:
    """Replicate one posterior for those seeds that have no file yet."""
    for seed in seeds:
        path = folder / f"{name}-{seed}.csv"
        if path.exists():
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            rows = replicate(posterior(name), seed)
        beside = path.with_suffix(".part")
        rows.to_csv(beside, index=False)
        os.replace(beside, path)


def main() -> None:
    """Run what is missing, and print both tables, and the rows by posterior that are not good."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("posteriors", nargs="*", metavar="posterior", help=f"default: {' '.join(POSTERIORS)}")
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("calibration"))
    parser.add_argument("--write", type=Path, help="page whose text between the two marks is replaced by the tables")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    names = args.posteriors or POSTERIORS
    joblib.Parallel(n_jobs=args.jobs, batch_size=1)(
        joblib.delayed(replicate_into)(args.out, name, range(args.seeds)) for name in names
    )
    files = sorted(p for p in args.out.glob("*.csv") if p.stem.rpartition("-")[0] in names)
    rows = pd.concat([pd.read_csv(path, keep_default_na=True) for path in files])
    console = Console(width=120)
    console.print(f"pymc_kl {version('pymc_kl')}, {len(files)} replications")
    for title, found in (
        ("Numbers", table(rows)),
        ("Answers that are false", rates(rows)),
        ("Answers that are left open", rates(rows, OPEN)),
        ("Numbers whose intervals do not cover, by posterior", _not_good(table(rows, ["posterior", "quantity"]))),
    ):
        console.print(f"\n[bold]{title}[/bold]\n{found.round(3).to_string()}")
    if args.write:
        args.write.write_text(_between_marks(args.write.read_text("utf-8"), _page(rows, len(files))), "utf-8")


def _page(rows: pd.DataFrame, n: int) -> str:
    """Write both tables, and of each posterior the numbers that do not cover, as a page has them."""
    seeds = rows.groupby("posterior")["seed"].nunique()
    head = (
        f"{n} replications of {len(seeds)} posteriors, {seeds.min()} seeds or more each, on "
        f"{date.today():%Y-%m-%d} with version {version('pymc_kl')}."
    )
    answers = pd.concat([rates(rows), rates(rows, OPEN)])
    off = _not_good(table(rows, ["posterior", "quantity"]))
    return "\n\n".join((head, *(_markdown(found.reset_index()) for found in (table(rows), answers, off))))


def _markdown(found: pd.DataFrame) -> str:
    texts = [[_cell(value) for value in row] for row in found.itertuples(index=False)]
    lines = [list(found.columns), ["---"] * found.shape[1], *texts]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    return str(value) if not isinstance(value, float) else "–" if pd.isna(value) else f"{value:.3f}"


def _between_marks(page: str, text: str) -> str:
    before, rest = page.split(MARKS[0])
    return f"{before}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{rest.split(MARKS[1])[1]}"


def _not_good(found: pd.DataFrame) -> pd.DataFrame:
    off = (found["mean z"].abs() > 0.3) | (found["sd z"] < 0.8) | (found["sd z"] > 1.25)
    return found[(found["covers"] < LEAST) | off]


if __name__ == "__main__":
    main()
