"""Files that a stranger changed: read, or refused in one line; nothing hangs, grows or runs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from support import strangers_files
from support.strangers_files import MEMORY, answers, changed_file, why_bad

import pymc_kl as pkl
from pymc_kl.approximations import MeanField
from pymc_kl.model.damaged import told_in_a_line

N_FILES = 500


@pytest.fixture(scope="module")
def comparison(zoo):
    q = MeanField(loc=np.array([3.0]), scale=np.array([1.0]), kind="reverse")
    return pkl.compare(
        None, {"q": q}, model=zoo("two_modes")[1], forward="meanfield", draws=100, random_seed=1, progressbar=False
    )


@pytest.fixture(scope="module")
def originals(comparison, tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    return {suffix: pkl.save(comparison, folder / f"whole{suffix}") for suffix in (".nc", ".zarr")}


@pytest.mark.parametrize("seed", range(12))
def test_a_changed_file_is_read_or_refused_in_a_line(originals, seed, tmp_path):
    path, _ = changed_file(originals, tmp_path, seed)
    bad = {name: why for name, raised, seconds in answers(path, report=False) if (why := why_bad(raised, seconds))}
    assert not bad


def test_files_that_are_not_changed_are_read(originals):
    for path in originals.values():
        assert [(name, raised) for name, raised, _ in answers(path)] == [
            (name, None) for name in ("load", "summary", "coverage", "report")
        ]


@pytest.mark.parametrize(
    ("group", "attrs"),
    [
        ("/", {"settings": "[[[["}),
        ("/", {"free_variables": 3}),
        ("modes", {"n_starts": [1, 2]}),
        ("modes", {"symmetries": "null"}),
        ("modes", {"unseen": "<script>alert(1)</script>"}),
        ("evidence", {"reason": b"\xff"}),
    ],
)
def test_a_page_of_damaged_attributes_is_made_or_refused_in_a_line(comparison, group, attrs):
    changed = comparison.copy(deep=True)
    changed[group].attrs |= attrs
    said = ""
    try:
        assert "<script>alert" not in pkl.report(changed).html
    except ValueError as error:
        said = str(error)
    assert not said or re.fullmatch("no page can be made of this comparison: .*", said)


@pytest.mark.parametrize("group", ["scores", "coverage", "modes"])
def test_tables_and_pages_without_their_numbers_are_refused_in_a_line(comparison, group):
    changed = comparison.copy(deep=True)
    changed[group] = xr.DataTree(xr.Dataset(attrs=changed[group].attrs))
    with pytest.raises(ValueError, match=r"comparison.*: .*Is it as compare"):
        pkl.report(changed)


class TestToldInALine:
    def test_what_others_raise_is_told(self):
        with (
            pytest.raises(ValueError, match=r"^it fails: KeyError: 'x y'\. Do this\.$"),
            told_in_a_line("it fails", "Do this."),
        ):
            raise KeyError("x\ny".replace("\n", " "))

    def test_what_a_library_raises_within_this_package_is_told(self):
        with pytest.raises(ValueError, match=r"^it fails: "), told_in_a_line("it fails", ""):
            np.zeros(2).reshape(3)

    def test_own_errors_warnings_and_interrupts_pass(self, comparison):
        with pytest.raises(ValueError, match=r"^unknown values"):
            pkl.coverage(comparison, values=["nothing"])
        for passes in (UserWarning, KeyboardInterrupt, SystemExit):
            with pytest.raises(passes), told_in_a_line("it fails", ""):
                raise passes


@pytest.mark.slow
def test_many_changed_files(originals, tmp_path):
    """In processes of their own: a library that crashes ends one, and what it runs is seen."""
    files, n_processes = [str(originals[suffix]) for suffix in (".nc", ".zarr")], os.cpu_count() or 1
    command = [sys.executable, "-m", strangers_files.__name__, *files, str(tmp_path)]
    root = Path(strangers_files.__file__).parents[1]
    started = [
        subprocess.Popen([*command, str(first), str(N_FILES), str(n_processes)], cwd=root, stdout=subprocess.PIPE)
        for first in range(n_processes)
    ]
    printed = [process.communicate()[0].splitlines() for process in started]
    left = [path.name for path in tmp_path.iterdir()]  # by whose seed one was ended
    assert [process.returncode for process in started] == [0] * n_processes, left
    bad = [json.loads(line) for lines in printed for line in lines[:-1]]
    ends = [json.loads(lines[-1]) for lines in printed]
    assert not bad
    read, refused = (sum(end[kind] for end in ends) for kind in ("read", "refused"))
    assert read + refused == N_FILES
    assert min(read, refused) > N_FILES / 10
    assert not any(end["ran"] for end in ends)
    assert max(end["kilobytes"] for end in ends) * 1024 < MEMORY
