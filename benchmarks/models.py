"""Which models can be compared? Try those of the kinds that public examples have, and write what came of each.

python -m uv run python benchmarks/models.py --write docs/models.md
"""

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.public_models import BUDGET, Outcome, builders, outcome

MARKS = ("<!-- table of benchmarks/models.py -->", "<!-- end of the table -->")


def main() -> None:
    """Try every model, or those that are named, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="models to try (default: all)")
    parser.add_argument("--write", type=Path, help="page whose text between the two marks is replaced by the table")
    args = parser.parse_args()
    logging.getLogger("pymc").setLevel(logging.ERROR)
    console, found = Console(), {}
    for name, build in builders().items():
        if not args.names or name in args.names:
            found[name] = outcome(build)
            console.print(f"{name}: {found[name]}", markup=False, soft_wrap=True)
    if args.write:
        before, rest = args.write.read_text("utf-8").split(MARKS[0])
        after = rest.split(MARKS[1])[1]
        args.write.write_text(f"{before}{MARKS[0]}\n\n{page(found)}\n\n{MARKS[1]}{after}", "utf-8")


def page(found: Mapping[str, Outcome]) -> str:
    """Write the counts and the table as a page has them."""
    counts = Counter(each.kind for each in found.values())
    head = (
        f"{len(found)} models on {date.today():%Y-%m-%d} with version {version('pymc_kl')}, each with a budget of "
        f"{BUDGET:g} s for search and sampling: {', '.join(f'{n} {kind}' for kind, n in sorted(counts.items()))}."
    )
    rows = [f"| {name} | {each.kind} | {each.said} | {each.seconds:.0f} |" for name, each in found.items()]
    return "\n".join((head, "", "| model | outcome | what was said | seconds |", "| --- | --- | --- | --- |", *rows))


if __name__ == "__main__":
    main()
