"""Sweeps: cells that are written once and whole, repeat alone, keep their errors, and outlive killed processes."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from support.sweep_cells import FITS, broken_at, interrupted_at, killed_at, normal, two_modes, with_draws

import pymc_kl as pkl
from pymc_kl.sweeps import load_sweep, sweep, sweep_report, sweep_table
from pymc_kl.sweeps.on_disk import LEAST_ON_DISK
from pymc_kl.sweeps.run import told_alike

QUIET = {"progressbar": False, **FITS}
HOSTILE = "<img src=x onerror=alert(1)>/../é " + 80 * "a"


def files(folder: Path) -> dict[str, int]:
    """Which file is at each path of a cell's comparison: its number and the time when it was written."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("*.nc")}


def numbers(dt: xr.DataTree) -> xr.Dataset:
    return dt["scores"].to_dataset().drop_vars("seconds")


@pytest.fixture(scope="module")
def gaps(tmp_path_factory):
    """Two cells: one of two modes far apart, one with a single mode."""
    folder = tmp_path_factory.mktemp("gaps")
    return sweep(two_modes, {"gap": [1.0, 8.0]}, store=folder, random_seed=1, **QUIET), folder


def test_a_sweep_is_read_again_and_again(gaps):
    """In a process of its own, which a file that is closed under its reader would end."""
    _, folder = gaps
    code = (
        "import gc, sys; from pymc_kl.sweeps import load_sweep, sweep_table; kept = load_sweep(sys.argv[1])\n"
        "for _ in range(6): sweep_table(load_sweep(sys.argv[1])); gc.collect()\n"
        "draws = kept['cells/gap=8.0/posterior'].to_dataset()\n"
        "print(all(bool(v.notnull().all()) for v in draws.data_vars.values()))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"]


def test_larger_arrays_stay_on_disk_and_are_those_of_the_file(gaps):
    swept, folder = gaps
    path = next(folder.glob("gap=8*.nc"))
    whole = pkl.load(path)["posterior"].to_dataset()
    found = swept["cells/gap=8.0/posterior"].to_dataset()
    assert found["x"].size >= LEAST_ON_DISK
    assert not found["x"].variable._in_memory
    xr.testing.assert_identical(found.compute().drop_attrs(), whole.drop_attrs())
    part = {"draw": slice(3, 50, 7)}
    np.testing.assert_array_equal(found["x"].isel(part), whole["x"].isel(part))


def test_which_fits_fail_where(gaps):
    swept, _ = gaps
    table = swept["table"].to_dataset()
    assert table["modes"].values.tolist() == [1, 2]
    reverse = table.sel(fit="reverse meanfield")
    assert reverse["missed"].values.tolist() == [0, 1]
    assert sweep_table(swept).loc[("gap=8.0", "reverse meanfield"), "verdict"] == "misses 1 of 2 modes"
    missed, se = (reverse[name].sel(cell="gap=8.0").item() for name in ("missed_mass", "missed_mass_se"))
    assert abs(missed - 0.3) < 5 * se + 1e-4  # the saddle's side tails hold 3e-5
    assert swept["parameters"]["gap"].values.tolist() == [1.0, 8.0]
    assert (abs(table["log_evidence"]) < 5 * table["log_evidence_se"] + 1e-6).all()


def test_each_cell_is_a_comparison_that_stays_on_disk(gaps):
    swept, folder = gaps
    cell = swept["cells/gap=8.0"]
    assert not any(cell["posterior"].to_dataset().variables[name]._in_memory for name in ("x",))
    assert pkl.summary(cell).equals(pkl.summary(pkl.load(next(folder.glob("gap=8.0*.nc")))))
    assert not cell["posterior"].to_dataset().variables["x"]._in_memory
    assert "misses mode 2" in str(pkl.report(cell))


def test_one_cell_alone_repeats_exactly(gaps):
    swept, _ = gaps
    seed = int(swept["table"]["seed"].sel(cell="gap=8.0"))
    alone = pkl.compare(model=two_modes(8.0), random_seed=seed, **QUIET)
    xr.testing.assert_identical(numbers(alone), numbers(swept["cells/gap=8.0"]).load())
    other = int(swept["table"]["seed"].sel(cell="gap=1.0"))
    assert other != seed


def test_a_rerun_makes_the_missing_cells_alone(gaps, tmp_path):
    swept, _ = gaps
    sweep(two_modes, {"gap": [8.0]}, store=tmp_path, random_seed=1, **QUIET)
    before = files(tmp_path)
    assert len(before) == 1
    again = sweep(two_modes, {"gap": [8.0, 1.0]}, store=tmp_path, **QUIET)
    after = files(tmp_path)
    assert before.items() <= after.items()
    assert len(after) == 2
    for cell in ("gap=1.0", "gap=8.0"):  # whichever other cells there are, and in whatever order
        xr.testing.assert_identical(
            numbers(again[f"cells/{cell}"]).load(), numbers(swept[f"cells/{cell}"]).load()
        )  # fmt: skip
    assert load_sweep(tmp_path)["table"]["cell"].values.tolist() == ["gap=8.0", "gap=1.0"]


def test_draws_are_made_in_the_cell_with_its_seed(tmp_path):
    swept = sweep(with_draws, {"sd": [1.0]}, store=tmp_path, random_seed=1, **QUIET)
    seed = int(swept["table"]["seed"][0])
    cell = swept["cells/sd=1.0"]
    assert int(cell["audit"].to_dataset()["n_draws"].sum()) == 400
    assert cell["scores"]["approximation"].values.tolist()[-1] == "forward fullrank"  # the cell's own, not the sweep's
    alone = pkl.compare(**{**QUIET, **with_draws(1.0, seed)}, random_seed=seed)
    xr.testing.assert_identical(numbers(alone), numbers(cell).load())


def test_a_failed_cell_keeps_its_error_until_it_is_run_again(tmp_path):
    (tmp_path / "broken").touch()
    grid, store = {"sd": [1.0, 2.0], "folder": [str(tmp_path)]}, tmp_path / "store"
    swept = sweep(broken_at, grid, store=store, random_seed=1, **QUIET)
    assert len(swept["cells"].children) == 1
    errors = swept["table"]["cell_error"].values.tolist()
    assert errors == ["", "ValueError: no <b>data</b> for this cell"]
    assert errors[1] in sweep_table(swept)["verdict"].tolist()
    (trace,) = [json.loads(path.read_text())["trace"] for path in store.glob("*.failed.json")]
    assert "broken_at" in trace
    page = sweep_report(swept)
    assert page.verdict[0] == "2 cells, 1 compared and 1 failed."
    assert "no &lt;b&gt;data" in page.html and "<b>data" not in page.html
    (tmp_path / "broken").unlink()
    before = files(store)
    assert sweep(broken_at, grid, store=store, **QUIET)["table"]["cell_error"].values.tolist() == errors
    mended = sweep(broken_at, grid, store=store, retry_failed=True, **QUIET)
    assert mended["table"]["cell_error"].values.tolist() == ["", ""]
    assert before.items() <= files(store).items()
    assert not [*store.glob("*.failed.json"), *store.glob("*.started")]


def test_an_interrupt_leaves_finished_cells_and_no_half_ones(tmp_path):
    (tmp_path / "interrupt").touch()
    grid, store = {"sd": [1.0, 2.0, 3.0], "folder": [str(tmp_path)]}, tmp_path / "store"
    with pytest.raises(KeyboardInterrupt, match="1 of 3 cells"):
        sweep(interrupted_at, grid, store=store, random_seed=1, **QUIET)
    assert len(files(store)) == 1
    (tmp_path / "interrupt").unlink()
    before = files(store)
    swept = sweep(interrupted_at, grid, store=store, **QUIET)
    assert before.items() <= files(store).items()
    assert len(swept["cells"].children) == 3


def test_an_interrupt_within_a_comparison_leaves_no_partial_one(tmp_path):
    """`compare` returns what it has at a Ctrl-C; a sweep must not take that for a finished cell."""

    def source():
        model = normal(1.0)
        return {"model": model, "approximations": {"late": (lambda n, rng: _late(n, rng), _log_prob)}}

    def _late(n, rng):
        os.kill(os.getpid(), 2)
        time.sleep(0.05)
        return rng.normal(size=(n, 1))

    def _log_prob(x):
        return -0.5 * (x[:, 0] ** 2) - 0.5 * np.log(2 * np.pi)

    with pytest.raises(KeyboardInterrupt, match="0 of 1 cells"):
        sweep({"a": source}, store=tmp_path, random_seed=1, **QUIET)
    assert not files(tmp_path)


@pytest.mark.parametrize("backend", [pytest.param("loky", marks=pytest.mark.slow), "threading"])
def test_two_processes_make_the_same_numbers(gaps, tmp_path, backend):
    import joblib

    swept, _ = gaps
    with joblib.parallel_config(backend, n_jobs=2):
        two = sweep(two_modes, {"gap": [1.0, 8.0]}, store=tmp_path, random_seed=1, **QUIET)
    for cell in ("gap=1.0", "gap=8.0"):
        xr.testing.assert_allclose(
            numbers(two[f"cells/{cell}"]).load(), numbers(swept[f"cells/{cell}"]).load(), rtol=1e-9
        )  # fmt: skip


@pytest.mark.slow
def test_models_and_local_functions_go_to_other_processes(tmp_path):
    scale = 3.0
    swept = sweep({"model": normal(2.0), "local": lambda: normal(scale)}, store=tmp_path, cores=2, **QUIET)
    assert swept["table"]["cell_error"].values.tolist() == ["", ""]


@pytest.mark.slow
def test_a_killed_process_costs_its_cell_alone(tmp_path):
    grid = {"sd": [1.0, 2.0, 3.0], "folder": [str(tmp_path)], "times": [1]}
    swept = sweep(killed_at, grid, store=tmp_path / "store", cores=2, random_seed=1, **QUIET)
    assert (tmp_path / "killed").stat().st_size == 1
    assert len(swept["cells"].children) == 3


@pytest.mark.slow
def test_a_cell_that_kills_every_process_fails_and_the_others_are_made(tmp_path):
    grid = {"sd": [1.0, 2.0, 3.0], "folder": [str(tmp_path)], "times": [100]}
    swept = sweep(killed_at, grid, store=tmp_path / "store", cores=2, random_seed=1, **QUIET)
    assert [bool(error) for error in swept["table"]["cell_error"].values] == [False, True, False]
    assert "ended 3 times" in str(swept["table"]["cell_error"].values[1])


def test_names_may_hold_anything(tmp_path):
    models = {HOSTILE: normal(1.0), "A": normal(2.0), "a": normal(3.0)}
    swept = sweep(models, store=tmp_path, random_seed=1, **QUIET)
    assert swept["table"]["cell"].values.tolist() == list(models)
    assert len(swept["cells"].children) == len({path.name.lower() for path in tmp_path.glob("*.nc")}) == 3
    html = sweep_report(swept).html
    assert "<img" not in html and "&lt;img" in html
    assert "<img" not in sweep_report(swept).notebook
    assert {path.parent for path in tmp_path.rglob("*.nc")} == {tmp_path}


def test_functions_are_the_same_by_what_they_do():
    def large(limit):
        return told_alike({"p": lambda p: p["x"] > 0} if limit == 0 else {"p": lambda p: p["x"] > 1})

    assert large(0) == large(0)
    assert large(0) != large(1)


def test_a_store_keeps_its_seed_and_settings(gaps):
    _, folder = gaps
    with pytest.raises(ValueError, match="another seed"):
        sweep(two_modes, {"gap": [1.0]}, store=folder, random_seed=2, **QUIET)
    with pytest.raises(ValueError, match=r"other settings \(draws=400\)"):
        sweep(two_modes, {"gap": [1.0]}, store=folder, **{**QUIET, "draws": 500})
    with pytest.raises(ValueError, match=r"other settings \(no quantities\)"):
        sweep(two_modes, {"gap": [1.0]}, store=folder, **QUIET, quantities="x")
    same = sweep(two_modes, {"gap": [1.0]}, store=folder, **QUIET)
    assert same["table"].sizes["cell"] == 1


def test_a_folder_of_others_is_not_written_to(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ValueError, match="no sweep"):
        sweep({"a": normal(1.0)}, store=tmp_path, **QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(FileNotFoundError):
        load_sweep(tmp_path / "nowhere")


def test_a_page_is_written_once(gaps, tmp_path):
    swept, _ = gaps
    made = sweep_report(swept, tmp_path / "sweep.html")
    assert made.path is not None and made.path.read_text() == made.html
    assert "reverse meanfield misses modes in 1 (at most 30.0" in str(made)
    with pytest.raises(FileExistsError):
        sweep_report(swept, tmp_path / "sweep.html")
    sweep_report(swept, tmp_path / "sweep.html", overwrite=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: sweep(normal(1.0), store=s), "dict of models by name"),
        (lambda s: sweep({}, store=s), "must have names"),
        (lambda s: sweep({"..": normal(1.0)}, store=s), "must have names"),
        (lambda s: sweep({"a": normal(1.0)}, {"sd": [1]}, store=s), "grid is for a function"),
        (lambda s: sweep(normal, store=s), "grid must be a dict"),
        (lambda s: sweep(normal, {"sd": 1.0}, store=s), r"grid\['sd'\] must be a sequence"),
        (lambda s: sweep(normal, {"sd": "12"}, store=s), r"grid\['sd'\] must be a sequence"),
        (lambda s: sweep(normal, {"sd": [object()]}, store=s), "look the value up"),
        (lambda s: sweep(normal, {"ds": [1.0]}, store=s), "grid does not fit"),
        (lambda s: sweep(normal, {"cell": [1.0]}, store=s), "another name"),
        (lambda s: sweep(normal, {"sd": [1.0, 1.0]}, store=s), "came more than once"),
        (lambda s: sweep(normal, {"sd": [1.0]}, store=s, forwrd="mixture"), "Did you mean 'forward'"),
        (lambda s: sweep(normal, {"sd": [1.0]}, store=s, forward="mean-field"), "Did you mean 'meanfield'"),
        (lambda s: sweep(normal, {"sd": [1.0]}, store=s, forward=["mixture", "mixture"]), "more than once"),
        (lambda s: sweep(normal, {"sd": [1.0]}, store=s, model=normal(1.0)), "is of one cell alone"),
        (lambda s: sweep({"a": 5}, store=s), "the cell 'a' must be a model"),
        (lambda s: sweep({"a": {"idata": None}}, store=s), "the cell 'a' must be a model"),
        (lambda s: sweep({"a": {"model": normal(1.0), "drws": 5}}, store=s), "Did you mean 'draws'"),
        (lambda s: sweep({"a": {"model": normal(1.0), "draws": 5}}, store=s), "draws must be at least 100"),
        (lambda s: sweep(normal, {"sd": [1.0]}, store=s, cores=0), "cores"),
        (lambda s: sweep(normal, {"sd": [1.0]}, store=None), "store must be the path"),
        (lambda s: sweep_table(xr.DataTree()), "swept must be what sweep"),
        (lambda s: sweep_report(None), "swept must be what sweep"),
    ],
)  # fmt: skip
def test_mistakes_are_told_before_anything_is_written(call, message, tmp_path):
    with pytest.raises((TypeError, ValueError), match=message):
        call(tmp_path / "store")
    assert not (tmp_path / "store").exists()
