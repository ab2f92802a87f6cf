"""Files are whole or not there: interrupts, full disks, files of others, files cut short, names."""

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import arviz as az
import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import pymc_kl as pkl
from pymc_kl.approximations import MeanField
from pymc_kl.comparison.io import FORMAT, check_comparison
from pymc_kl.comparison.stored_names import fits_as_name, written_forms
from pymc_kl.comparison.whole_files import OWNER, check_writable, clear_left, interrupts_wait, written_whole
from pymc_kl.model.files import read_tree
from pymc_kl.reports.build import Report

SUFFIXES = (".nc", ".zarr")
GROUPS = 11  # of a small comparison
SMALL = 10_000  # bytes that a file may have on a full disk
PAGE = '<!DOCTYPE html><meta name="generator" content="pymc_kl">old'


def small(value: float, fit: str = "ADVI", n: int = 4000) -> xr.DataTree:
    """Lay out a comparison all of whose numbers are `value`, so that a mixture of two would show."""
    ones = np.full(n, value)
    draws = xr.Dataset({"x": (("chain", "draw"), ones[None])}, {"chain": [0], "draw": range(n)})
    stats = xr.Dataset({"log_prob": (("chain", "draw"), ones[None])})
    of_fits = xr.Dataset({"mass": (("approximation", "mode"), [[value]])}, {"approximation": [fit], "mode": [1]})
    nodes = {
        "posterior": draws,
        "sample_stats": stats,
        "modes": xr.Dataset({"mass": ("mode", [value])}, {"mode": [1]}, {"elsewhere": value}),
        "scores": xr.Dataset({"elbo": ("approximation", [value])}, {"approximation": [fit]}),
        "coverage": of_fits,
        "evidence": xr.Dataset({"log_evidence": value}),
        f"approximations/{fit}/posterior": draws,
        f"approximations/{fit}/sample_stats": stats,
        f"approximations/{fit}/fit": xr.Dataset({"loss": ("step", [value])}),
    }
    dt = xr.DataTree.from_dict(nodes)
    dt.attrs = {"creation_library": "pymc_kl", "creation_library_version": "0.1.0", "pymc_kl_format": FORMAT}
    return dt


def value_of(path: Path) -> float:
    """Load a small comparison, check that it is whole, and return the one value that it has."""
    dt = pkl.load(path)
    nodes = list(dt.subtree)
    assert len(nodes) == GROUPS + 1
    values = {float(v) for node in nodes for array in node.data_vars.values() for v in np.unique(array.values)}
    (value,) = values
    return value


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ---- interrupts ----

# Writes over a file again and again, each time in a child that a fault hits at another moment: at shares of all its
# calls, and before and after each rename.
INTERRUPTED = """
import os, pickle, resource, shutil, signal, sys
from pathlib import Path
import pymc_kl as pkl
good, new, folder, how = Path(sys.argv[1]), pickle.loads(Path(sys.argv[2]).read_bytes()), Path(sys.argv[3]), sys.argv[4]
write = pkl.report if good.suffix == ".html" else pkl.save
write(new, folder / f"warm{good.suffix}")
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell runs in the background

def is_hit(moment, seen, event, called):
    renames = event in ("c_call", "c_return") and called in (os.replace, os.rename)
    seen["calls"] += 1
    seen["renames"] += renames
    return seen.get(moment[0]) == moment[1] and (renames or moment[0] == "calls")

def fail(path):
    if how == "full disk":
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, -1))
    elif how == "read only":
        os.chmod(path.parent, 0o555)
        os.geteuid() or os.seteuid(65534)  # root may write anywhere
    else:
        os.kill(os.getpid(), signal.Signals[how])

def child(path, moment):
    seen = {"calls": 0, "renames": 0}
    def hook(frame, event, called):
        if is_hit(moment, seen, event, called):
            fail(path)
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 0
    try:
        sys.setprofile(hook)
        write(new, path, overwrite=True)
        sys.setprofile(None)
        (folder / "seen").write_text(f"{seen['calls']} {seen['renames']}")
    except KeyboardInterrupt:
        code = 3
    except OSError:
        code = 4
    finally:
        sys.setprofile(None)
        os._exit(code)

def place(name):
    path = folder / name / good.name
    path.parent.mkdir()
    (shutil.copytree if good.is_dir() else shutil.copy)(good, path)
    return path

child(place("whole"), ("never", 0))
calls, renames = map(int, (folder / "seen").read_text().split())
moments = [("calls", round(calls * share / 9)) for share in range(1, 9)]
moments += [("renames", i + 1) for i in range(renames)]
for moment in moments:
    code = child(place(f"{moment[0]}-{moment[1]}"), moment)
    print(*moment, code)
"""


FAULTS = ("SIGKILL", "SIGINT", *(pytest.param(how, marks=pytest.mark.slow) for how in ("full disk", "read only")))


@pytest.mark.parametrize(("signals", "done"), [(1, ["whole"]), (2, [])])  # a second one ends at once
def test_an_interrupt_waits_for_the_end_of_what_is_written(signals, done):
    ended = []

    def write():
        with interrupts_wait():
            for _ in range(signals):
                signal.raise_signal(signal.SIGINT)
            ended.append("whole")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            write()
        assert ended == done
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def pickled(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pickled") / "new.pickle"
    path.write_bytes(pickle.dumps(small(2.0)))
    return path


def faults(good: Path, new: Path, folder: Path, how: str) -> Iterator[tuple[str, Path, int]]:
    """Write over copies of a file, each with a fault at another moment; yield the moment, the path, the exit code."""
    folder = Path(tempfile.mkdtemp()) if how == "read only" else folder  # others can't look into pytest's folders
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    code = [sys.executable, "-W", "ignore", "-c", INTERRUPTED, good, new, folder, how]
    made = subprocess.run(code, capture_output=True, text=True, timeout=600)
    assert made.returncode == 0, made.stderr
    lines = made.stdout.splitlines()
    assert len(lines) >= 10
    for line in lines:
        kind, number, exit_code = line.split()
        path = folder / f"{kind}-{number}" / good.name
        path.parent.chmod(0o755)
        yield kind, path, int(exit_code)
    if how == "read only":
        shutil.rmtree(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.parametrize("how", FAULTS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_save_that_a_fault_hits_leaves_the_old_or_the_new_whole(suffix, how, pickled, tmp_path):
    good = pkl.save(small(1.0), tmp_path / f"good{suffix}")
    renames = []
    for kind, path, exit_code in faults(good, pickled, tmp_path / "interrupted", how):
        value = value_of(path)
        assert exit_code in {"SIGKILL": [-signal.SIGKILL], "SIGINT": [0, 3]}.get(how, [0, 4])
        assert value == 2.0 or exit_code != 0
        renames += [value] if kind == "renames" else []
        if how == "SIGINT":
            assert names_in(path.parent) == {path.name}
        assert pkl.save(small(3.0), path, overwrite=True) == path
        assert value_of(path) == 3.0
        assert not [*path.parent.glob(f".*/{OWNER}")]  # what a process left that was killed is cleared
    if not how.startswith("SIG"):
        return
    assert len(renames) == {".nc": 4, ".zarr": 6}[suffix]  # before and after each, that of the owner's lock first
    assert (renames[0], renames[-1]) == (1.0, 2.0)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.parametrize("how", FAULTS)
def test_a_report_that_a_fault_hits_leaves_the_old_or_the_new_whole(how, zoo, tmp_path):
    new = tmp_path / "new.pickle"
    q = MeanField(loc=np.array([3.0]), scale=np.array([1.0]))
    comparison = pkl.compare(
        None, {"q": q}, model=zoo("two_modes")[1], forward=(), draws=100, random_seed=1, progressbar=False
    )
    new.write_bytes(pickle.dumps(comparison))
    page = pkl.report(comparison).html
    good = Report(PAGE, "", ()).save(tmp_path / "good.html")
    for _, path, exit_code in faults(good, new, tmp_path / "interrupted", how):
        found = path.read_text()
        assert found in (PAGE, page)
        assert found == page or exit_code != 0
        assert Report(PAGE, "", ()).save(path, overwrite=True).read_text() == PAGE
        assert not [*path.parent.glob(f".*/{OWNER}")]


@pytest.mark.skipif(sys.platform == "win32", reason="locks a file")
def test_what_a_living_process_writes_is_not_cleared(tmp_path):
    with written_whole(tmp_path / "c.nc") as new:
        new.write_text("half")
        clear_left(tmp_path)
        pkl.save(small(1.0), tmp_path / "c.nc")
        assert new.read_text() == "half"
    assert names_in(tmp_path) == {"c.nc"}


def test_a_folder_between_its_two_renames_is_found_again(tmp_path):
    """A swap that a kill cut short leaves an empty place, and the old and the new folder in one beside it."""
    path = pkl.save(small(1.0), tmp_path / "c.zarr")
    new = pkl.save(small(2.0), tmp_path / "new.zarr")
    with suppress(ZeroDivisionError), written_whole(path) as written:
        beside = written.parent
        raise ZeroDivisionError
    assert names_in(tmp_path) == {"c.zarr", "new.zarr"}
    beside.mkdir()
    path.rename(beside / "old0")
    new.rename(beside / "new")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        pkl.save(small(3.0), path)
    assert value_of(path) == 2.0
    assert names_in(tmp_path) == {"c.zarr"}


def test_two_that_write_at_once_are_both_whole(pickled, tmp_path):
    code = (
        "import pickle, sys, pymc_kl as pkl\nfrom pathlib import Path\n"
        "new = pickle.loads(Path(sys.argv[1]).read_bytes())\n"
        "for suffix in ('.nc', '.zarr') * 2: pkl.save(new, sys.argv[2] + suffix, overwrite=True)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, pickled, tmp_path / "c"]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[1] for process in both] == ["", ""]
    assert [value_of(tmp_path / f"c{suffix}") for suffix in SUFFIXES] == [2.0, 2.0]
    assert names_in(tmp_path) == {"c.nc", "c.zarr"}


# ---- full disks ----


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow beyond SMALL bytes, as a full disk does."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_costs_no_file(suffix, rng, tmp_path):
    path = pkl.save(small(1.0), tmp_path / f"c{suffix}")
    other = tmp_path / f"other{suffix}"
    noise = small(2.0)
    noise["posterior"] = noise["posterior"] + rng.normal(size=(1, 4000))
    for place in (path, other):
        with full_disk(), pytest.raises(OSError, match=rf"{place.name} could not be written.*disk may be full"):
            pkl.save(noise, place, overwrite=True)
    assert value_of(path) == 1.0
    assert names_in(tmp_path) == {path.name}


def test_a_full_disk_costs_no_report(tmp_path):
    path = Report(PAGE, "", ()).save(tmp_path / "report.html")
    with full_disk(), pytest.raises(OSError, match=r"report\.html could not be written.*disk may be full"):
        Report("new" * SMALL, "", ()).save(path, overwrite=True)
    assert path.read_text() == PAGE
    assert names_in(tmp_path) == {"report.html"}


def test_a_file_that_is_replaced_keeps_its_permissions_and_its_links(tmp_path):
    path = pkl.save(small(1.0), tmp_path / "c.nc")
    path.chmod(0o640)
    link = tmp_path / "link.nc"
    link.symlink_to(path)
    pkl.save(small(2.0), link, overwrite=True)
    assert link.is_symlink()
    assert value_of(path) == 2.0
    assert path.stat().st_mode & 0o777 == 0o640


# ---- what is there and is not ours ----


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    folder = tmp_path / "folder.zarr"
    (folder / "photos").mkdir(parents=True)
    (folder / "photos" / "cat.jpg").write_text("meow")
    with pytest.raises(FileExistsError, match=r"folder\.zarr is there.*photos.cat\.jpg.*another path"):
        pkl.save(small(1.0), folder, overwrite=True)
    assert (folder / "photos" / "cat.jpg").read_text() == "meow"


def test_our_own_folder_with_another_file_in_it_is_left_alone(tmp_path):
    path = pkl.save(small(1.0), tmp_path / "c.zarr")
    (path / "scores" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"scores.notes\.txt"):
        pkl.save(small(2.0), path, overwrite=True)
    (path / "scores" / "notes.txt").unlink()
    assert value_of(path) == 1.0
    pkl.save(small(2.0), path, overwrite=True)
    assert value_of(path) == 2.0


def not_ours(suffix: str, path: Path) -> str:
    """Put something of another at `path`; return what an error should say of it."""
    ds = xr.Dataset({"x": 1.0}, attrs={"creation_library": "ArviZ"})
    if suffix == ".nc":
        ds.to_netcdf(path)
    else:
        ds.to_zarr(path, zarr_format=2, consolidated=False)
    return "ArviZ"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_of_another_tool_is_left_alone(suffix, tmp_path):
    path = tmp_path / f"draws{suffix}"
    said = not_ours(suffix, path)
    with pytest.raises(FileExistsError, match=rf"draws{suffix} is there.*{said}.*another path"):
        pkl.save(small(1.0), path, overwrite=True)
    assert float(read_tree(path)["x"]) == 1.0


def test_what_is_no_store_at_all_is_left_alone(tmp_path):
    text, folder, file = tmp_path / "text.nc", tmp_path / "folder.nc", tmp_path / "file.zarr"
    text.write_text("mine")
    folder.mkdir()
    file.write_text("mine")
    for path, match in ((text, "cannot be read"), (folder, "is a folder"), (file, "is a file")):
        with pytest.raises(FileExistsError, match=match):
            pkl.save(small(1.0), path, overwrite=True)
    assert (text.read_text(), list(folder.iterdir()), file.read_text()) == ("mine", [], "mine")


def test_an_empty_place_may_be_filled(tmp_path):
    (tmp_path / "c.nc").touch()
    (tmp_path / "c.zarr").mkdir()
    for suffix in SUFFIXES:
        assert value_of(pkl.save(small(1.0), tmp_path / f"c{suffix}", overwrite=True)) == 1.0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_another_result_of_ours_is_left_alone(suffix, tmp_path):
    """What `sample_reference` returns says that it is ours too, and can be saved as any DataTree."""
    path = tmp_path / f"reference{suffix}"
    reference = small(1.0)
    for name in ("scores", "coverage", "approximations"):
        del reference[name]
    if suffix == ".nc":
        reference.to_netcdf(path)
    else:
        reference.to_zarr(path, zarr_format=2, consolidated=False)
    with pytest.raises(FileExistsError, match=r"holds no comparison but evidence, modes, posterior, sample_stats"):
        pkl.save(small(2.0), path, overwrite=True)
    assert float(read_tree(path)["evidence"]["log_evidence"]) == 1.0


@pytest.mark.parametrize("other", ["empty.txt", "1", "folder/", "scores/folder/", "scores/1", "scores/mass/notes"])
@pytest.mark.parametrize("is_ours", [True, False])
def test_folders_with_empty_files_and_folders_are_left_alone(is_ours, other, tmp_path):
    path = tmp_path / "c.zarr"
    if is_ours:
        pkl.save(small(1.0), path)
    added = path / other
    added.parent.mkdir(parents=True, exist_ok=True)
    added.mkdir() if other.endswith("/") else added.touch()
    with pytest.raises(FileExistsError, match=r"c\.zarr is there and holds other files"):
        pkl.save(small(2.0), path, overwrite=True)
    assert added.exists()


def test_links_to_folders_are_left_alone(tmp_path):
    path = pkl.save(small(1.0), tmp_path / "c.zarr")
    link, inside = tmp_path / "link.zarr", path / "scores" / "0"
    link.symlink_to(path)
    with pytest.raises(FileExistsError, match=r"link\.zarr is there and is a link to the folder .*c\.zarr"):
        pkl.save(small(2.0), link, overwrite=True)
    inside.symlink_to(tmp_path)
    with pytest.raises(FileExistsError, match=r"scores.0"):
        pkl.save(small(2.0), path, overwrite=True)
    inside.unlink()
    assert value_of(link) == 1.0


@pytest.mark.parametrize(
    ("text", "is_replaced"),
    [
        ("", True),
        (PAGE, True),
        ("<title>x: which modes each approximation covers</title>", True),
        ("mine", False),
        ("<!DOCTYPE html><title>mine</title>", False),
    ],
)
def test_only_a_report_is_replaced_by_one(text, is_replaced, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(text)
    if is_replaced:
        assert Report("new", "", ()).save(path, overwrite=True).read_text() == "new"
        return
    with pytest.raises(FileExistsError, match=r"is no report.*name another file"):
        Report("new", "", ()).save(path, overwrite=True)
    assert path.read_text() == text


# ---- paths that can't be written to ----


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "You may not write to the folder .*change its permis"),
        (OSError(errno.EROFS, "Read-only file system"), "You may not write to the folder"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory"), "A file stands where a folder is needed"),
        (OSError(errno.ENOSPC, "No space left on device"), "The disk may be full .*make room"),
        (RuntimeError("NetCDF: HDF error"), "The disk may be full .*make room"),
    ],
)
def test_an_error_is_told_as_what_it_is(error, cure, tmp_path):
    with (
        pytest.raises(OSError, match=rf"c\.nc could not be written: .*{cure}") as told,
        written_whole(tmp_path / "c.nc"),
    ):
        raise error
    assert ("disk" in str(told.value)) == ("disk" in cure)


def test_a_path_is_tried_before_the_work(tmp_path):
    path = tmp_path / "new" / "folder" / "c.nc"
    check_writable(path)
    assert names_in(path.parent) == set()
    (tmp_path / "file").touch()
    for below in ("c.nc", "folder/c.nc"):
        with pytest.raises(OSError, match=r"could not be written.*A file stands where a folder is needed"):
            check_writable(tmp_path / "file" / below)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_one_may_not_write_to_is_said_so(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="You may not write to the folder"):
        check_writable(tmp_path / "c.nc")


def test_what_is_no_comparison_makes_no_folders(tmp_path):
    with pytest.raises(ValueError, match="no comparison"):
        pkl.save(xr.DataTree(), tmp_path / "new" / "c.nc")
    assert names_in(tmp_path) == set()


# ---- files that were not written to their end ----


def without_mark(path: Path, mark: str = "pymc_kl_groups") -> None:
    """Take from a file what is written last."""
    if path.suffix == ".nc":
        with netCDF4.Dataset(path, "a") as file:
            file.delncattr(mark)
    else:
        attrs = json.loads((path / ".zattrs").read_text())
        del attrs[mark]
        (path / ".zattrs").write_text(json.dumps(attrs))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_without_its_mark_is_refused(suffix, tmp_path):
    path = pkl.save(small(1.0), tmp_path / f"c{suffix}")
    assert "pymc_kl_groups" not in pkl.load(path).attrs
    without_mark(path)
    with pytest.raises(ValueError, match=rf"c{suffix} was not written to its end"):
        pkl.load(path)
    pkl.save(small(2.0), path, overwrite=True)
    assert value_of(path) == 2.0


def test_a_file_that_lost_a_group_is_refused(tmp_path):
    path = pkl.save(small(1.0), tmp_path / "c.zarr")
    shutil.rmtree(path / "approximations" / "ADVI" / "fit")
    with pytest.raises(ValueError, match=r"holds 10 groups of the 11"):
        pkl.load(path)


@pytest.mark.parametrize(
    ("lost", "match"),
    [
        ("posterior/x", "holds 16 variables of the 17"),
        ("posterior/x/0.0", "holds 14 files of numbers of the 15"),
    ],
)
def test_a_store_that_lost_an_array_is_refused(lost, match, tmp_path):
    path = pkl.save(small(1.0), tmp_path / "c.zarr")
    file = path / lost
    shutil.rmtree(file) if file.is_dir() else file.unlink()
    with pytest.raises(ValueError, match=match):
        pkl.load(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_groups_that_were_added_to_a_comparison_are_not_lost(suffix, tmp_path):
    path = pkl.save(small(1.0), tmp_path / f"c{suffix}")
    mine = xr.Dataset({"mine": 1.0})
    options = {"zarr_format": 2, "consolidated": False} if suffix == ".zarr" else {}
    (mine.to_zarr if suffix == ".zarr" else mine.to_netcdf)(path, mode="a", group="my_analysis", **options)
    with pytest.raises(FileExistsError, match=r"and others added since\. Only a comparison by pymc_kl is replaced"):
        pkl.save(small(2.0), path, overwrite=True)
    assert float(pkl.load(path)["my_analysis"]["mine"]) == 1.0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_whose_mark_counts_groups_alone_is_read(suffix, tmp_path):
    path = pkl.save(small(1.0), tmp_path / f"c{suffix}")
    without_mark(path, "pymc_kl_content")
    assert value_of(path) == 1.0
    assert not any(name.startswith("pymc_kl_") and name != "pymc_kl_format" for name in pkl.load(path).attrs)


@pytest.mark.parametrize("lost", ["/approximations/ADVI/fit", "/approximations/ADVI", "/sample_stats"])
def test_an_older_file_that_lacks_groups_is_refused(lost, tmp_path):
    dt = small(1.0)
    dt.attrs["pymc_kl_format"] = 2
    dt.to_netcdf(tmp_path / "old.nc")
    assert pkl.load(tmp_path / "old.nc").attrs["converted_from"] == 2
    assert value_of(tmp_path / "old.nc") == 1.0
    nodes = {node.path: node.to_dataset() for node in dt.subtree if not node.path.startswith(lost)}
    partial = xr.DataTree.from_dict(nodes)
    partial.to_netcdf(tmp_path / "partial.nc")
    with pytest.raises(ValueError, match=rf"not written to its end: it lacks .*{lost}"):
        pkl.load(tmp_path / "partial.nc")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_file_cut_short_says_so(share, tmp_path):
    path = pkl.save(small(1.0), tmp_path / "c.nc")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match=r"c\.nc can't be read"):
        pkl.load(path)


def test_a_file_opened_by_another_reader_is_taken_too(tmp_path):
    path = pkl.save(small(1.0), tmp_path / "c.nc")
    with warnings.catch_warnings(), xr.open_datatree(path) as dt:
        opened = dt.load()
    assert "pymc_kl_groups" in opened.attrs
    again = pkl.load(pkl.save(opened, tmp_path / "again.nc"))
    xr.testing.assert_identical(again, pkl.load(path))
    del opened["approximations"]
    with pytest.raises(ValueError, match="holds 6 groups of the 11"):
        pkl.save(opened, tmp_path / "again.nc", overwrite=True)


# ---- names that files can't hold ----

NAMES = (
    "=1+1", "@SUM(A1)", "<img src=x onerror=alert(1)>", "new\nline", "\x1b[31mred", "trailing ", " leading", "a b",
    "..\\..\\x", "CON", "100%", "%s{}{{7*7}}", "_%3D1%2B1", "ünïcode 𝒳", "\u00e9", "e\u0301", "nul\0byte", "nul\0",
    "\ud800", "x" * 300, "x" * 299 + "y", "ü" * 200, "_nc4_non_coord_x", "no\u00a0break", ".zattrs", ".", "..",
)  # fmt: skip
LABELS = ("a/b", *(name for name in NAMES if name != "nul\0"))  # numpy's texts can't end in a NUL


def with_names(where: str) -> xr.DataTree:
    """Lay out a comparison with odd names in one of the places where a model or a user may put some."""
    dt = small(1.0, n=2)
    of_fits = dt["approximations/ADVI"]
    words = [name.replace("\ud800", "\0") for name in NAMES]  # xarray takes surrogates in numpy's own texts only
    datasets = {
        "variable": xr.Dataset({name: float(i) for i, name in enumerate(NAMES)}),
        "dim": xr.Dataset({f"v{i}": (name, np.ones(2)) for i, name in enumerate(("a/b", *NAMES))}),
        "coordinate": xr.Dataset(coords={name: [float(i), 2.0] for i, name in enumerate(NAMES)}),
        "other coordinate": xr.Dataset({"v": 1.0}, {name: float(i) for i, name in enumerate(NAMES)}),
        "label": xr.Dataset({"v": ("of", np.ones(len(LABELS)))}, {"of": list(LABELS)}),
        "text": xr.Dataset({"error": ("of", np.array(NAMES)), "other": ("of", np.array(words, dtype=object))}),
        "attribute": xr.Dataset(attrs={"text": "nul\0 \ud800 =1", "texts": ["nul\0", "b"]}),
    }
    if where == "fit":
        dt["approximations"] = xr.DataTree(children={name: of_fits.copy() for name in NAMES})
    else:
        dt["constant_data"] = xr.DataTree(datasets[where])
    return dt


def kinds_of(dt: xr.DataTree) -> dict[tuple[str, str], str]:
    """Return the kind of every array: objects, numpy's texts, numbers."""
    return {(node.path, str(name)): v.dtype.kind for node in dt.subtree for name, v in node.variables.items()}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_texts_are_given_back_as_they_were(suffix, tmp_path):
    dt = small(1.0, n=2)
    texts = {"objects": ["a", "bb"], "blank": ["", ""], "texts": np.array(["a", "bb"])}
    arrays = {name: np.asarray(words, None if name == "texts" else object) for name, words in texts.items()}
    dt["scores"] = dt["scores"].to_dataset().assign({name: ("of", words) for name, words in arrays.items()})
    loaded = pkl.load(pkl.save(dt, tmp_path / f"c{suffix}"))
    assert kinds_of(loaded) == kinds_of(dt)
    assert [loaded["scores"][name].dtype.kind for name in texts] == ["O", "O", "U"]
    xr.testing.assert_identical(loaded, dt)


@pytest.mark.parametrize(
    "where", ["fit", "variable", "dim", "coordinate", "other coordinate", "label", "text", "attribute"]
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_name_is_given_back(suffix, where, tmp_path):
    dt = with_names(where)
    before = dt.copy(deep=True)
    path = pkl.save(dt, tmp_path / f"c{suffix}")
    loaded = pkl.load(path)
    xr.testing.assert_identical(loaded, dt)
    xr.testing.assert_identical(dt, before)
    assert kinds_of(loaded) == kinds_of(dt)
    again = pkl.save(loaded, tmp_path / f"again{suffix}")
    xr.testing.assert_identical(pkl.load(again), dt)
    assert names_in(tmp_path) == {path.name, again.name}


@pytest.mark.parametrize("name", ["1|subject_sigma", "forward mixture", "ünïcode 𝒳", "a::b", "100%", "_%3D1"])
def test_a_name_that_needs_no_other_form_is_written_as_it_is(name, tmp_path):
    for suffix in SUFFIXES:
        written = read_tree(pkl.save(small(1.0, name), tmp_path / f"c{suffix}"))
        assert list(written["approximations"].children) == [name]
        assert "pymc_kl_names" not in written.attrs


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_others_can_open_a_file_with_odd_names(suffix, tmp_path):
    path = pkl.save(small(1.0, "=1+1\n"), tmp_path / f"c{suffix}")
    with warnings.catch_warnings():
        dt = az.from_netcdf(path) if suffix == ".nc" else read_tree(path)
        dt.load().close()
    (written,) = dt["approximations"].children
    assert written == "_%3D1%2B1%0A"
    assert float(dt["posterior"]["x"].mean()) == 1.0
    assert list(check_comparison(dt)["approximations"].children) == ["=1+1\n"]
    xr.testing.assert_identical(pkl.load(pkl.save(dt, tmp_path / "again.nc")), pkl.load(path))


@given(st.sets(st.text(max_size=300).filter(bool) | st.text("aé\u0301=_%3D~ \n", min_size=1), max_size=8))
def test_forms_fit_and_are_told_apart(names):
    forms = written_forms(names, fits_as_name)
    written = {forms.get(name, name) for name in names}
    assert len(written) == len(names)
    assert all(fits_as_name(name) for name in written)
    assert not any(fits_as_name(name) for name in forms)


def test_many_long_names_have_room(tmp_path):
    dt = small(1.0)
    variables = {f"{i}{'x' * 2000}": float(i) for i in range(50)}
    dt["constant_data"] = xr.DataTree(xr.Dataset(variables))
    xr.testing.assert_identical(pkl.load(pkl.save(dt, tmp_path / "c.nc")), dt)


@pytest.mark.parametrize("key", ["filters", "compressor"])
@pytest.mark.parametrize("read", [pkl.load, read_tree])
def test_a_store_whose_codec_runs_code_is_not_read(read, key, tmp_path):
    path = pkl.save(small(1.0), tmp_path / "c.zarr")
    file = next(path.rglob(".zarray"))
    about = json.loads(file.read_text())
    codec = {"id": "pickle", "protocol": 5}
    file.write_text(json.dumps(about | {key: [codec] if key == "filters" else codec}))
    with pytest.raises(ValueError, match="names the codec pickle"):
        read(path)


def test_a_store_whose_metadata_are_no_table_is_told_as_broken(tmp_path):
    path = pkl.save(small(1.0), tmp_path / "c.zarr")
    next(path.rglob(".zarray")).write_text("[1]")
    with pytest.raises(ValueError, match="can't be read as a comparison"):
        pkl.load(path)
