"""Write a comparison to a file and read it; refuse what is none, is of a newer format or was cut short."""

import re
import warnings
from pathlib import Path
from typing import Any

import xarray as xr

from pymc_kl.comparison.stored_names import from_file, to_file
from pymc_kl.comparison.whole_files import interrupts_wait, recover, written_whole
from pymc_kl.model.datatree import FORMAT, read_tree, reader_options

SUFFIXES = (".nc", ".zarr")
NEEDED = ("posterior", "modes", "scores", "coverage", "evidence")
NEEDED_OF_FITS = ("posterior", "sample_stats", "fit")
MARK = "pymc_kl_groups"  # root attribute of a file: how many groups it has, written when all of them are
FIRST_MARKED = 3  # format
STORE_FILE = re.compile(r"\.z(group|attrs|array|metadata)|zarr\.json|\d+(\.\d+)*|\.DS_Store")
NAMED = 3  # files of others that an error names


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
        Replace a comparison that is there. Files of other tools and folders with other files are never replaced.

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
    """
    path = Path(path)
    dt = check_comparison(comparison)
    check_place(path, overwrite=overwrite)
    with written_whole(path) as new:
        _write(dt, new, path.suffix)
    return path


def check_place(path: Path, *, overwrite: bool) -> None:
    """Refuse a path that a comparison can't be saved to."""
    if path.suffix not in SUFFIXES:
        raise ValueError(f"the path must end in .nc (NetCDF) or .zarr (Zarr); got {path.name!r}.")
    recover(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; pass overwrite=True to replace it.")
    if path.exists() and (found := _not_ours(path)):
        raise FileExistsError(
            f"{path} is there and {found}. Only a comparison by pymc_kl is replaced: save to another path, or remove "
            "what is there."
        )


def _not_ours(path: Path) -> str:
    """Say what stands at a path if it may not be replaced."""
    if path.is_dir() != (path.suffix == ".zarr"):
        return "is a folder" if path.is_dir() else "is a file"
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    if not any(file.stat().st_size for file in files):
        return ""
    if path.is_dir() and (others := [file for file in files if not STORE_FILE.fullmatch(file.name)]):
        named = ", ".join(str(file.relative_to(path)) for file in others[:NAMED])
        return f"holds other files, such as {named}"
    try:
        attrs = _root_attrs(path)
    except Exception as error:  # noqa: BLE001 whatever its readers say of a file that is not theirs
        return f"cannot be read ({type(error).__name__}: {error})"
    if attrs.get("creation_library") == "pymc_kl" or "pymc_kl_format" in attrs:
        return ""
    return f"was written by {attrs.get('creation_library', 'another tool')}"


def _root_attrs(path: Path) -> dict[str, Any]:
    with warnings.catch_warnings(), xr.open_dataset(path, decode_cf=False, **reader_options(path)) as ds:
        return ds.attrs


def _write(dt: xr.DataTree, path: Path, suffix: str) -> None:
    """Write all groups, then the mark that says so."""
    dt = to_file(dt)
    marked = xr.Dataset(attrs={**dt.attrs, MARK: _n_groups(dt)})
    with interrupts_wait():
        if suffix == ".zarr":
            dt.to_zarr(path, mode="w", zarr_format=2, consolidated=False)
            marked.to_zarr(path, mode="a", zarr_format=2, consolidated=False)
        else:
            dt.to_netcdf(path, mode="w", engine="netcdf4")
            marked.to_netcdf(path, mode="a", engine="netcdf4")


def _n_groups(dt: xr.DataTree) -> int:
    return len(dt.descendants)


def load(path: str | Path) -> xr.DataTree:
    """Read a comparison that was saved to NetCDF or Zarr, into memory.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If the file can't be read, holds no comparison or one of a newer version, or was not written to its end.
    """
    path = Path(path)
    recover(path)
    if not path.exists():
        raise FileNotFoundError(f"no such comparison: {path}")
    try:
        dt = _read_unchanged(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path} can't be read as a comparison: {error}. The file is broken or of another kind; make it again "
            "with compare() and save()."
        ) from error
    if MARK not in dt.attrs and int(dt.attrs.get("pymc_kl_format", 0)) >= FIRST_MARKED:
        raise ValueError(f"{path} was not written to its end, and what it lacks is lost. Make it again with compare().")
    return check_comparison(dt)


def _read_unchanged(path: Path) -> xr.DataTree:
    """Read a file; once more if it was replaced meanwhile, since parts of two stores make none."""
    while True:
        before = path.stat().st_ino
        dt = read_tree(path)
        if path.stat().st_ino == before:
            return dt


def check_comparison(dt: Any) -> xr.DataTree:
    """Return a comparison, converted if it is of an older format; raise if it is none, partial, or of a newer one."""
    if not isinstance(dt, xr.DataTree):
        raise TypeError(f"expected a comparison, the DataTree that compare() returns; got {type(dt).__name__}.")
    if missing := [name for name in NEEDED if name not in dt.children]:
        raise ValueError(
            f"this DataTree is no comparison: it lacks the groups {', '.join(missing)}. Make one with compare()."
        )
    made = int(dt.attrs.get("pymc_kl_format", 0))
    if made > FORMAT:
        raise ValueError(
            f"this comparison was written in format {made} by pymc_kl "
            f"{dt.attrs.get('creation_library_version', '?')}; this version reads up to {FORMAT}. Upgrade pymc_kl."
        )
    dt = dt if made == FORMAT else _converted(dt, made)
    return _from_file(dt) if MARK in dt.attrs else dt


def _from_file(dt: xr.DataTree) -> xr.DataTree:
    """Take the mark of a file off and give names back; raise if groups are missing."""
    expected, found = int(dt.attrs[MARK]), _n_groups(dt)
    if found < expected:
        raise ValueError(f"this comparison holds {found} groups of the {expected} that were saved. Make it again.")
    dt = from_file(dt.copy())
    del dt.attrs[MARK]
    return dt


def _converted(dt: xr.DataTree, made: int) -> xr.DataTree:
    """Bring a comparison of an older format to this one.

    Format 2 bears no mark, so its groups are looked at. Format 1 says nothing of passes, parameters and densities on
    a line; its log q at the reference was at other draws than `posterior` has, and is left out.
    """
    if made < 1:
        raise ValueError("this DataTree does not say which version of pymc_kl wrote it. Make one with compare().")
    if missing := _missing_groups(dt):
        raise ValueError(
            f"this comparison was not written to its end: it lacks {', '.join(missing)}. Make it again with compare()."
        )
    names = dt["coverage"].to_dataset()["approximation"].values if made < 2 else ()
    left_out = {f"/approximations/{name}/reference" for name in names}
    nodes = {node.path: node.to_dataset() for node in dt.subtree if node.path not in left_out}
    new = xr.DataTree.from_dict(nodes, name=dt.name)
    new.attrs |= {"pymc_kl_format": FORMAT, "converted_from": made}
    return new


def _missing_groups(dt: xr.DataTree) -> list[str]:
    """Find the groups of the reference, and of each fit that has masses, that an older comparison lacks."""
    mass = dt["coverage"].to_dataset()["mass"]
    scored = mass["approximation"].values[mass.notnull().any("mode").values]
    paths = ["/sample_stats"]
    paths += [f"/approximations/{name}/{group}" for name in scored for group in NEEDED_OF_FITS]
    there = {node.path for node in dt.subtree}
    return [path for path in paths if path not in there]
