"""What stands at a path that a comparison is saved to, and whether it may be replaced."""

import os
import re
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import xarray as xr

from pymc_kl.model.files import reader_options

NEEDED = ("posterior", "modes", "scores", "coverage", "evidence")
MARK = "pymc_kl_groups"  # root attribute of a file: how many groups it has, written when all of them are
CHUNK = re.compile(r"\d+(\.\d+)*")  # names of files with numbers in a Zarr array; Zarr's specification, version 2
OF_GROUP = {".zgroup", ".zattrs", ".zmetadata", ".DS_Store"}  # names of files in a Zarr group; same source, and macOS
OF_ARRAY = {".zarray", ".zattrs", ".DS_Store"}  # names of files beside the chunks of a Zarr array; same source
NAMED = 3  # files of others that an error names, at most; our choice


def why_not_replaced(path: Path) -> str:
    """Say why what stands at a path may not be replaced; looks again if it was replaced meanwhile."""
    while (before := identity(path)) is not None:
        with suppress(FileNotFoundError):
            found = _not_ours(path)
            if not found or identity(path) == before:
                return found
    return ""


def identity(path: Path) -> int | None:
    """Return the number of the file or folder at a path; None without one."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return path.stat().st_ino
    return None


def _not_ours(path: Path) -> str:
    """Say why what stands at a path may not be replaced; nothing if it may be."""
    if path.is_dir() != (path.suffix == ".zarr"):
        return "is a folder" if path.is_dir() else "is a file"
    if path.is_dir() and path.is_symlink():
        return f"is a link to the folder {os.path.realpath(path)}"
    if not (any(path.iterdir()) if path.is_dir() else path.stat().st_size):
        return ""
    if path.is_dir() and (others := [file for file in sorted(path.rglob("*")) if not _of_a_store(file)]):
        return f"holds other files, such as {', '.join(str(file.relative_to(path)) for file in others[:NAMED])}"
    try:
        groups, n_groups, attrs = _outline(path)
    except Exception as error:  # noqa: BLE001 whatever its readers say of a file that is not theirs
        return f"cannot be read ({type(error).__name__}: {error})"
    if attrs.get("creation_library") != "pymc_kl" and "pymc_kl_format" not in attrs:
        return f"was written by {attrs.get('creation_library', 'another tool')}"
    if not groups.issuperset(NEEDED):
        return f"holds no comparison but {', '.join(sorted(groups)) or 'nothing'}"
    saved = int(attrs.get(MARK, n_groups))
    return f"holds {n_groups} groups, of which {saved} were saved, and others added since" if n_groups > saved else ""


def _of_a_store(path: Path) -> bool:
    """Tell whether a file or folder is one that Zarr writes."""
    if path.is_symlink():
        return False
    if path.is_dir():
        return (path / ".zgroup").is_file() or (path / ".zarray").is_file()
    if (path.parent / ".zarray").is_file():
        return path.name in OF_ARRAY or bool(CHUNK.fullmatch(path.name))
    return path.name in OF_GROUP


def _outline(path: Path) -> tuple[set[str], int, dict[str, Any]]:
    """Read the names of a file's first groups, the number of all groups, and its attributes."""
    options = reader_options(path)
    with (
        warnings.catch_warnings(),
        xr.open_datatree(path, decode_cf=False, **options) as dt,
    ):
        return set(dt.children), n_groups(dt), {str(name): value for name, value in dt.attrs.items()}


def n_groups(dt: xr.DataTree) -> int:
    """Count the groups below the first."""
    return len(dt.descendants)
