"""Time report() and weigh its page: a typical comparison, one with many of everything, and with plotly.

The comparisons are those that the tests of the report draw; nothing is fitted.

    python -m uv run python benchmarks/report.py
"""

import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

import pymc_kl as pkl

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support import report_comparisons

REPEATS = 3


def main() -> None:
    """Print a row a case: the fastest of three runs, after one that fills the caches."""
    typical, big = report_comparisons.typical(), report_comparisons.big()
    cases = {
        "one mode, one approximation": (report_comparisons.one_of_each(), False),
        "3 modes, 3 approximations": (typical, False),
        "the same with plotly": (typical, True),
        "40 modes, 12 approximations, 60 parameters": (big, False),
    }
    table = Table(title="report()")
    for heading in ("case", "seconds", "megabytes"):
        table.add_column(heading, justify="left" if heading == "case" else "right")
    for name, (comparison, interactive) in cases.items():
        seconds = []
        for _ in range(1 + REPEATS):
            start = time.perf_counter()
            html = pkl.report(comparison, interactive=interactive).html
            seconds.append(time.perf_counter() - start)
        table.add_row(name, f"{min(seconds[1:]):.1f}", f"{len(html.encode()) / 1e6:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
