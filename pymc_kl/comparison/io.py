"""Write a comparison to a file and read it; refuse what is none, is of a newer format or was cut short."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pymc_kl.arguments import check_arguments, file_path, shown
from pymc_kl.comparison.older_formats import converted
from pymc_kl.comparison.replaceable import CHUNK, MARK, NEEDED, identity, n_groups, why_not_replaced
from pymc_kl.comparison.stored_names import from_file, to_file
from pymc_kl.comparison.whole_files import check_new, interrupts_wait, recover, written_whole
from pymc_kl.model.damaged import told_in_a_line
from pymc_kl.model.datatree import FORMAT
from pymc_kl.model.files import read_tree

SUFFIXES = (".nc", ".zarr")
CONTENT = "pymc_kl_content"  # root attribute of a file, as JSON: how much it holds, and which texts were objects
FIRST_MARKED = 3  # format number, that of the DataTree, from which on a file bears a mark; our choice
BROKEN = "The file is broken or of another kind; make it again with compare() and save()."


def save(comparison: xr.DataTree, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a comparison to NetCDF (`.nc`) or Zarr (`.zarr`).

    It is written beside `path` and moved there when it is whole, so that an interrupt or a full disk costs nothing
    that was there.

    Parameters
    ----------
    comparison : DataTree
    path : path
        Its suffix chooses the format; missing folders are made.
    overwrite : bool
        Replace a comparison that is there, or an empty file or folder. Nothing else is ever replaced: no file of
        another tool, no other result of this package, no comparison that groups were added to, no folder that holds
        anything else, no link to a folder.

    Returns
    -------
    Path
        Where it was written.

    Raises
    ------
    FileExistsError
        If there is something at `path`, and `overwrite` is not True or it is not ours.
    OSError
        If it could not be written, as on a full disk.

    Examples
    --------
    With the `comparison` in the example of :func:`pymc_kl.compare`:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pkl.save(comparison, f"{folder}/comparison.nc")
    ...     pkl.load(path).equals(comparison)
    True
    """
    check_arguments(locals(), path=file_path)
    dt, path = check_comparison(comparison), Path(path).expanduser()
    check_path(path, overwrite=overwrite)
    with written_whole(path) as new:
        _write(dt, new, path.suffix)
    return path


def check_path(path: Path, *, overwrite: bool) -> None:
    """Refuse a path that a comparison can't be saved to."""
    if path.suffix not in SUFFIXES:
        raise ValueError(f"the path must end in .nc (NetCDF) or .zarr (Zarr); got {path.name!r}.")
    recover(path)
    check_new(path, overwrite=overwrite)
    if found := why_not_replaced(path):
        raise FileExistsError(
            f"{path} is there and {found}. Only a comparison by pymc_kl is replaced: save to another path, or remove "
            "what is there."
        )


def _write(dt: xr.DataTree, path: Path, suffix: str) -> None:
    """Write all groups, then the marks that say so."""
    dt = to_file(dt)
    content: dict[str, Any] = {"variables": _n_variables(dt), "objects": _object_texts(dt)}
    with interrupts_wait():
        if suffix == ".zarr":
            dt.to_zarr(path, mode="w", zarr_format=2, consolidated=False)
            content["chunks"] = _n_chunks(path)
            _marks(dt, content).to_zarr(path, mode="a", zarr_format=2, consolidated=False)
        else:
            dt.to_netcdf(path, mode="w", engine="netcdf4")
            _marks(dt, content).to_netcdf(path, mode="a", engine="netcdf4")


def _marks(dt: xr.DataTree, content: Mapping[str, Any]) -> xr.Dataset:
    return xr.Dataset(attrs={**dt.attrs, MARK: n_groups(dt), CONTENT: json.dumps(content)})


def _n_variables(dt: xr.DataTree) -> int:
    return sum(len(node.to_dataset(inherit=False).variables) for node in dt.subtree)


def _n_chunks(path: Path) -> int:
    """Count the files of a Zarr store that hold numbers."""
    return sum(CHUNK.fullmatch(file.name) is not None and file.is_file() for file in path.rglob("*"))


def _object_texts(dt: xr.DataTree) -> list[str]:
    """List arrays of texts as objects: NetCDF gives them back as numpy's texts, and Zarr as another kind of them."""
    nodes = [(node.path.rstrip("/"), node.to_dataset(inherit=False).variables) for node in dt.subtree]
    return [f"{path}/{name}" for path, variables in nodes for name, v in variables.items() if _holds_objects(v)]


def _holds_objects(variable: xr.Variable) -> bool:
    return variable.dtype == object and all(isinstance(text, str) for text in variable.values.ravel())


def load(path: str | Path) -> xr.DataTree:
    """Read a comparison that was saved to NetCDF or Zarr, into memory.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If the file can't be read, holds no comparison or one of a newer version, or was not written to its end.
    """
    check_arguments(locals(), path=file_path)
    path = Path(path).expanduser()
    recover(path)
    if not path.exists():
        raise FileNotFoundError(f"no such comparison: {path}")
    with told_in_a_line(f"{path} can't be read as a comparison", BROKEN):
        dt = _read_unchanged(path)
        if MARK not in dt.attrs and _number(dt, "pymc_kl_format") >= FIRST_MARKED:
            raise ValueError(
                f"{path} was not written to its end, and what it lacks is lost. Make it again with compare()."
            )
        comparison = check_comparison(dt)
        _check_chunks(path, dt)
        return comparison


def _number(dt: xr.DataTree, name: str) -> int:
    """Read a whole number from the attributes, 0 without it."""
    value = np.asarray(dt.attrs.get(name, 0))
    if value.ndim or value.dtype.kind not in "iuf" or not value == np.trunc(value):
        raise ValueError(f"the attribute {name} of a comparison is a whole number; got {shown(value.tolist())}.")
    return int(value)


def _content(dt: xr.DataTree) -> dict[str, Any]:
    """Read from the attributes how much a file holds; files of earlier versions do not say."""
    try:
        content = json.loads(dt.attrs.get(CONTENT, "{}"))
    except (TypeError, ValueError):
        content = None
    known = content if isinstance(content, dict) else {"variables": ""}
    if not all(isinstance(known.get(name, 0), int) for name in ("variables", "chunks")):
        raise ValueError(f"the attribute {CONTENT} of this comparison is damaged. Make it again with compare().")
    return known


def _check_chunks(path: Path, dt: xr.DataTree) -> None:
    """Raise if a Zarr store has lost files of numbers, which its readers take for missing values."""
    expected = _content(dt).get("chunks", 0) if path.is_dir() else 0
    if (found := _n_chunks(path) if expected else 0) < expected:
        raise ValueError(f"{path} holds {found} files of numbers of the {expected} that were saved. Make it again.")


def _read_unchanged(path: Path) -> xr.DataTree:
    """Read a file; once more if it was replaced meanwhile, since parts of two stores make none."""
    while True:
        before = identity(path)
        dt = read_tree(path)
        if identity(path) == before:
            return dt


def check_comparison(dt: Any, name: str = "comparison") -> xr.DataTree:
    """Return a comparison, converted if it is of an older format; raise if it is none, partial, or of a newer one.

    The path of one that was saved stands for it.
    """
    if isinstance(dt, str | os.PathLike):
        file_path(name, dt)
        return load(dt if isinstance(dt, str) else Path(dt))
    if not isinstance(dt, xr.DataTree):
        raise TypeError(f"{name} must be the DataTree that compare() returns; got {shown(dt)}.")
    if missing := [name for name in NEEDED if name not in dt.children]:
        raise ValueError(
            f"{name} is a DataTree, but no comparison: it lacks the groups {', '.join(missing)}. Make one with "
            "compare()."
        )
    made = _number(dt, "pymc_kl_format")
    if made > FORMAT:
        raise ValueError(
            f"this comparison was written in format {made} by pymc_kl "
            f"{dt.attrs.get('creation_library_version', '?')}; this version reads up to {FORMAT}. Upgrade pymc_kl."
        )
    dt = dt if made == FORMAT else converted(dt, made)
    return _from_file(dt) if MARK in dt.attrs else dt


def _from_file(dt: xr.DataTree) -> xr.DataTree:
    """Take the marks of a file off and give names back; raise if groups or variables are missing."""
    content = _content(dt)
    for what, expected, found in (
        ("groups", _number(dt, MARK), n_groups(dt)), ("variables", content.get("variables", 0), _n_variables(dt)),
    ):  # fmt: skip
        if found < expected:
            raise ValueError(f"this comparison holds {found} {what} of the {expected} that were saved. Make it again.")
    dt = from_file(_with_objects(dt, content.get("objects", ())))
    dt.attrs = {name: value for name, value in dt.attrs.items() if name not in (MARK, CONTENT)}
    return dt


def _with_objects(dt: xr.DataTree, paths: Iterable[str]) -> xr.DataTree:
    """Return a copy in which some arrays of texts are arrays of objects again."""
    dt = dt.copy()
    nodes = {node.path: node for node in dt.subtree}
    for path in paths:
        node, _, name = path.rpartition("/")
        group = nodes.get(node or "/")
        if group is None or name not in group.variables:
            raise ValueError(f"this comparison lacks {path}, which was saved. Make it again with compare().")
        ds = group.to_dataset(inherit=False)
        group.dataset = ds.assign({name: ds.variables[name].astype(object)})
    return dt
