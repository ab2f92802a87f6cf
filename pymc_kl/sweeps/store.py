"""The folder of a sweep: a file a cell, written whole; failures with their errors; the settings of all cells."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymc_kl.comparison.whole_files import clear_left, recover, write_text
from pymc_kl.sweeps.cells import Cell

ATTRIBUTE = "pymc_kl_cell"  # attribute of a comparison: what the table says of its cell, as JSON
MANIFEST = "sweep.json"  # name of the file with settings and cells
LETTERS = 60  # letters of a cell's name in that of its file, before a hash; our choice
FORMAT_OF_SWEEP = 1  # of the folder; raised when a reader of the last one would misread
MOST_KILLED = 3  # times that a cell may end its process before it counts as failed; our choice


@dataclass(frozen=True)
class Store:
    """Where the files of each cell are; nothing is kept in memory."""

    folder: Path

    def comparison(self, name: str) -> Path:
        """Return the path of a cell's comparison."""
        return self.folder / f"{_stem(name)}.nc"

    def failure(self, name: str) -> Path:
        """Return the path of what a failed cell said."""
        return self.folder / f"{_stem(name)}.failed.json"

    def starts(self, name: str) -> Path:
        """Return the path of a file with a byte for each start of a cell that has not ended."""
        return self.folder / f"{_stem(name)}.started"

    def is_made(self, name: str) -> bool:
        """Whether a cell's comparison is there."""
        recover(self.comparison(name))
        return self.comparison(name).exists()

    def has_failed(self, name: str) -> bool:
        """Whether a cell failed and was not made since."""
        return self.failure(name).exists() and not self.is_made(name)

    def n_starts(self, name: str) -> int:
        """Count the starts of a cell that have not ended."""
        return self.starts(name).stat().st_size if self.starts(name).exists() else 0

    def start(self, name: str) -> None:
        """Count a start."""
        with self.starts(name).open("a") as file:
            file.write(".")

    def clear(self, name: str) -> None:
        """Forget the starts of a cell."""
        self.starts(name).unlink(missing_ok=True)

    def fail(self, name: str, facts: Mapping[str, Any]) -> None:
        """Keep what a cell failed of."""
        write_text(self.failure(name), json.dumps(facts, indent=1))
        self.clear(name)

    def read_failure(self, name: str) -> dict[str, Any]:
        """Read what a cell failed of."""
        return dict(json.loads(self.failure(name).read_text("utf-8")))

    def manifest(self) -> dict[str, Any]:
        """Read settings and cells; empty for a new folder.

        Raises
        ------
        ValueError
            If the folder is no sweep, or one of a newer version.
        """
        path = self.folder / MANIFEST
        if not path.exists():
            if self.folder.is_file() or (self.folder.is_dir() and any(self.folder.iterdir())):
                raise ValueError(f"{self.folder} is there and is no sweep: it lacks {MANIFEST}. Name a new folder.")
            return {}
        try:
            found = dict(json.loads(path.read_text("utf-8")))
            version = int(found["pymc_kl_sweep"])
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path} is damaged, or no sweep's. Name a new folder.") from error
        if version > FORMAT_OF_SWEEP:
            raise ValueError(f"{path} was written in format {version}; this version reads up to {FORMAT_OF_SWEEP}.")
        return found

    def open(self, cells: Sequence[Cell], entropy: int, settings: Mapping[str, Any]) -> None:
        """Write down settings and cells, beside those of earlier runs; remove what killed runs left."""
        clear_left(self.folder)
        known = self.manifest().get("cells", {})
        facts = {
            "pymc_kl_sweep": FORMAT_OF_SWEEP,
            "entropy": entropy,
            "settings": dict(settings),
            "cells": known | {cell.name: dict(cell.parameters) for cell in cells},
        }
        write_text(self.folder / MANIFEST, json.dumps(facts, indent=1))


def _stem(name: str) -> str:
    """Return a file's name that every file system takes and that differs for every cell."""
    readable = re.sub(r"[^A-Za-z0-9=.,-]+", "_", name).strip("._")[:LETTERS]
    return f"{readable}-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:12]}"
