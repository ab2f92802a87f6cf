"""The command line, run as a user runs it."""

import json
import re
import shutil
import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
import xarray as xr

import pymc_kl
from pymc_kl import load
from pymc_kl._typing import ForwardFamily, ReverseMethod
from pymc_kl.approximations import FAMILIES
from pymc_kl.approximations.choice import AUTO
from pymc_kl.cli import main
from pymc_kl.comparison.make_fits import REVERSE
from pymc_kl.progress import stages

MODEL = """
import pymc as pm

with pm.Model() as model:
    pm.NormalMixture("x", w=[0.3, 0.7], mu=[-3, 3], sigma=[0.6, 1])

number = 3

def build():
    return model
"""


@pytest.fixture
def folder(tmp_path, exact_draws, monkeypatch):
    (tmp_path / "two.py").write_text(MODEL)
    exact_draws("two_modes", 4000, 1).to_netcdf(tmp_path / "draws.nc", group="posterior")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def test_an_interrupt_is_told_in_a_line(folder, capsys):
    (folder / "two.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    assert main(["compare", "two.py:model", "--out", "out"]) == 130
    assert capsys.readouterr().err == "pymc-kl: interrupted, and nothing is written.\n"
    assert not (folder / "out").exists()


def test_quantities_by_name(folder, capsys):
    quick = ["--draws", "draws.nc", "--reverse", "--forward", "--quiet"]
    assert main(["compare", "two.py:model", *quick, "--out", "out", "--quantity", "y"]) == 2
    assert "unknown variable 'y' in quantities; known are 'x'" in " ".join(capsys.readouterr().err.split())
    assert not (folder / "out").exists()
    assert main(["compare", "two.py:model", *quick, "--out", "out", "--quantity", "x"]) == 0
    assert "Quantities of interest" in capsys.readouterr().out
    assert load(folder / "out" / "comparison.nc")["quantities"]["quantity"].values.tolist() == ["x"]
    assert main(["summary", "out/comparison.nc", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["quantities"]["x"]["mode 1"] == "yes"


def test_what_to_call_next_is_told_where_stages_are_shown(capsys):
    for shown in (True, False):
        with stages(shown) as stage:
            stage.hint("Next: report")
        assert ("Next: report" in capsys.readouterr().out) is shown


def test_compare_then_summary(folder, capsys):
    code = main(["compare", "two.py:model", "--draws", "draws.nc", "--reverse", "--out", "out", "--quiet"])
    first = capsys.readouterr().out
    assert "Next:" not in first
    assert code == 0
    assert main(["compare", "two.py:model", "--draws", "draws.nc", "--out", "out"]) == 2
    assert "out exists; pass overwrite=True (on the command line, --overwrite)" in capsys.readouterr().err
    assert {path.name for path in (folder / "out").iterdir()} == {
        "comparison.nc",
        "coverage.png",
        "modes.png",
        "report.html",
    }
    assert "Written to out" in first
    assert "covers both modes found" in first
    assert main(["summary", "out/comparison.nc"]) == 0
    again = capsys.readouterr().out
    assert again.strip() in first
    comparison = load(folder / "out" / "comparison.nc")
    value = float(comparison["scores"]["forward_kl"].sel(approximation="forward fullrank"))
    assert f"{value:.2f}" in again
    assert np.isfinite(value)
    page = (folder / "out" / "report.html").read_text()
    assert main(["report", "out/comparison.nc", "-o", "again.html", "--round-to", "3"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("The full report: again.html")
    assert (folder / "again.html").read_text() != page
    assert main(["report", "out/comparison.nc", "-o", "again.html", "--overwrite"]) == 0
    assert (folder / "again.html").read_text() == page
    assert main(["report", "out/comparison.nc", "-o", "again.html"]) == 2
    assert "again.html exists; pass overwrite=True" in capsys.readouterr().err


def test_eighty_columns_are_enough(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert (
        main(["compare", "two.py:model", "--draws", "draws.nc", "--reverse", "--out", "c", "--quiet", "--no-report"])
        == 0
    )
    out = capsys.readouterr().out
    assert not (folder / "c" / "report.html").exists()
    assert max(map(len, out.splitlines())) <= 80
    assert out.index("Verdict") < out.index("Mass of each mode") < out.index("Divergences in nats")


@pytest.mark.usefixtures("folder")
def test_the_verdict_as_data_and_as_an_exit_code(capsys):
    """The draws given are of one of two modes."""
    x = np.random.default_rng(1).normal(3, 1, (4, 1000))
    xr.Dataset({"x": (("chain", "draw"), x)}).to_netcdf("half.nc", group="posterior")
    options = ["--reverse", "--forward", "mixture", "--n-starts", "64", "--no-symmetry", "--backend", "jax", "--quiet"]
    run = ["compare", "two.py:model", "--draws", "half.nc", "--out", "j", "--no-report", *options]
    assert main([*run, "--json", "--fail-on", "untrusted", "unconverged"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["problems"] == ["missed"] and told["draws"]["modes_missed"] == [2]
    assert told["recommended"] == "forward mixture" and told["answer"].startswith("Use forward mixture")
    settings = json.loads(load("j/comparison.nc").attrs["settings"])
    assert (settings["n_starts"], settings["symmetry"], settings["backend"]) == (64, False, "jax")
    again = ["summary", "j/comparison.nc", "--json"]
    assert main(again) == 0
    assert json.loads(capsys.readouterr().out) == told
    assert main([*again, "--fail-on", "missed"]) == 3
    assert main(["summary", "j/comparison.nc", "--fail-on", "missed"]) == 3
    assert "Your draws miss mode 2" in capsys.readouterr().out


def test_the_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"pymc-kl {pymc_kl.__version__}\n"


@pytest.mark.slow
def test_the_demo_says_what_it_does_and_how_long_it_takes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--no-report", "--quiet", "--out", "d"]) == 0
    out = capsys.readouterr().out
    assert (
        out.index("Ten measurements") < out.index("NUTS …") < out.index("ADVI, 20,000 steps …") < out.index("Verdict")
    )
    assert len(re.findall(r"^  \d+ s$", out, re.MULTILINE)) == 3
    assert "Your draws miss mode 2, which holds 20.0" in out


@pytest.mark.usefixtures("folder")
def test_a_function_may_build_the_model():
    assert main(["compare", "two.py:build", "--draws", "draws.nc", "--reverse", "--out", "b", "--quiet"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "two.py:number", "--draws", "draws.nc"], "no pm.Model named 'number'; it has ['model']"),
        (["compare", "draws.nc:model"], "the model's file must be one of Python, FILE.py; got 'draws.nc'"),
        (["compare", "nowhere.py:model"], "there is no file 'nowhere.py'"),
        (["compare", "two.py:model", "--draws", "none.nc"], "no such file of draws: none.nc"),
        (["summary", "none.nc"], "no such comparison: none.nc"),
        (["summary", "draws.nc"], "a DataTree, but no comparison"),
        (["demo", "--out", "mine"], "comparison.nc is there and was written by"),
        (["demo", "--out", "page"], "report.html is there and is no report"),
        (["demo", "--out", "."], "holds other files, such as draws.nc; name a new folder"),
    ],
)
def test_bad_input_exits_with_two(arguments, message, folder, capsys):
    for name in ("mine", "page"):
        (folder / name).mkdir()
    shutil.copy("draws.nc", "mine/comparison.nc")
    (folder / "page" / "report.html").write_text("mine")
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--help"], ""),
        (["--version"], ""),
        (["summary", "c.nc", "--fail-on", "everything"], "invalid choice: 'everything'"),
        (["compare", "--help"], ""),
        (["compare", "m.py:m", "--forward", "mixtures"], "invalid choice: 'mixtures'"),
        (["summary", "none.nc"], "no such comparison: none.nc"),
        (["report", "none.nc"], "no such comparison: none.nc"),
        (["report", "c.nc", "-o", "old.html"], "old.html exists"),
        (["report", "c.nc", "-o", "page.txt"], "must end in .html; got 'page.txt'"),
        (["report", "c.nc", "-o", "c.nc/new.html"], "A file stands where a folder is needed"),
        (["compare", "none.py:model"], "there is no file 'none.py'"),
        (["compare", "two.py:model", "--draws", "none.nc"], "no such file of draws: none.nc"),
        (["compare", "two.py:model", "--fit", "laplace=none.nc"], "no such file of the fit 'laplace': none.nc"),
        (["compare", "two.py:model", "--out", "c.nc/out"], "A file stands where a folder is needed"),
        (["demo", "--out", "c.nc"], "A file stands where a folder is needed"),
    ],
)
def test_help_and_mistakes_wait_for_no_import(arguments, message, tmp_path):
    for name in ("two.py", "c.nc", "old.html"):
        (tmp_path / name).touch()
    code = f"""
import sys
from pymc_kl.cli import main
try:
    code = main({arguments!r})
except SystemExit as stop:
    code = stop.code
assert code == {2 if message else 0}, code
print(*{{"pymc", "pytensor", "matplotlib", "arviz", "xarray", "scipy", "jax"}} & set(sys.modules), file=sys.stderr)
"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert run.stderr.splitlines()[-1] == ""
    assert message in run.stderr


def test_the_choices_are_those_there_are():
    assert set(get_args(ForwardFamily.__value__)) == {AUTO, *FAMILIES}
    assert set(get_args(ReverseMethod.__value__)) == set(REVERSE)


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "pymc-kl compare model.py:model --draws trace.nc --out results" in out
    assert "exit codes" in out
