"""What changed since a baseline: masses, modes and fits whose truth is known, and other seeds, which change nothing."""

import json

import numpy as np
import pymc as pm
import pytest
import xarray as xr

import pymc_kl as pkl
from pymc_kl.approximations import MeanField
from pymc_kl.cli import main
from pymc_kl.reports import changes_since
from pymc_kl.reports.matched_modes import matched

RIGHT = MeanField(loc=np.array([3.0]), scale=np.array([1.0]))
SHIFTED = MeanField(loc=np.array([2.6]), scale=np.array([1.0]))
UNCHANGED = ["Nothing changed by more than three joint standard errors."]


def made(left=0.3, at=-3.0, q=RIGHT, seed=1, **kwargs) -> xr.DataTree:
    """Compare q with left N(at, 0.6) + (1 - left) N(3, 1)."""
    with pm.Model() as model:
        pm.NormalMixture("x", w=np.array([left, 1 - left]), mu=np.array([at, 3.0]), sigma=np.array([0.6, 1.0]))
    return pkl.compare(
        None, {"q": q}, model=model, forward=("meanfield",), random_seed=seed, progressbar=False, **kwargs
    )


@pytest.fixture(scope="module")
def baseline():
    return made()


def kinds(found: dict) -> set[tuple[str, str]]:
    return {(change["what"], change["about"]) for change in found["changes"]}


@pytest.mark.parametrize("seed", [2, 3, 4, 5, 6])
def test_another_seed_changes_nothing(baseline, seed):
    found = changes_since(made(seed=seed), baseline)
    assert found["sentences"] == UNCHANGED
    assert not found["changed"]


def test_a_mass_that_moved(baseline):
    found = changes_since(made(left=0.4), baseline)
    assert {("mass moved", "mode 1"), ("mass moved", "mode 2")} <= kinds(found)
    assert not {what for what, _ in kinds(found)} & {"mode lost", "mode new", "evidence moved"}  # both integrate to 1
    moved = next(change for change in found["changes"] if change["about"] == "mode 2")
    assert abs(moved["before"] - 0.3) < 5 * moved["before_se"] + 1e-4
    assert abs(moved["now"] - 0.4) < 5 * moved["now_se"] + 1e-4
    assert found["changed"]
    assert json.loads(json.dumps(found)) == found


def test_modes_that_are_lost_and_new(baseline):
    elsewhere = made(at=-9.0)
    found = changes_since(elsewhere, baseline)
    assert {("mode lost", "mode 2"), ("mode new", "mode 2")} <= kinds(found)
    assert ("mass moved", "mode 1") not in kinds(found)
    assert any("Mode 2 of the baseline, which held 30.0" in text for text in found["sentences"])


def test_a_fit_that_is_worse_or_better(baseline):
    """Within its mode KL(N(2.6, 1)‖N(3, 1)) is 0.08, and what the other mode adds is the same."""
    worse = made(q=SHIFTED)
    found = changes_since(worse, baseline)
    assert ("fit worse", "q") in kinds(found)
    assert not {about for _, about in kinds(found)} - {"q"}  # the other fit, the modes and log Z are as they were
    reverse = next(c for c in found["changes"] if "reverse KL" in c["text"])
    assert abs(reverse["now"] - reverse["before"] - 0.08) < 5 * np.hypot(reverse["now_se"], reverse["before_se"])
    back = changes_since(baseline, worse)
    assert ("fit better", "q") in kinds(back)
    assert not back["changed"]
    assert back["sentences"][-1] == "Nothing else changed by more than three joint standard errors."


def test_a_fit_that_failed_and_one_left_out(baseline):
    failed = baseline.copy(deep=True)
    row = failed["scores"].to_dataset()["approximation"] == "q"
    for group in ("scores", "coverage"):
        ds = failed[group].to_dataset()
        texts = {
            name: ds[name].where(~row, "")
            for name in ds
            if ds[name].dtype == object and "approximation" in ds[name].dims
        }
        failed[group].dataset = ds.assign(texts)
    failed["scores"].dataset = (
        failed["scores"]
        .to_dataset()
        .assign(error=("approximation", np.where(row, "ValueError: no", "").astype(object)))
    )
    assert ("fit failed", "q") in kinds(changes_since(failed, baseline))
    rest = [name for name in baseline["scores"]["approximation"].values if name != "q"]
    less = baseline.copy(deep=True)
    for group in ("scores", "coverage"):
        less[group].dataset = less[group].to_dataset().sel(approximation=rest)
    found = changes_since(less, baseline)
    assert kinds(found) == {("fit left out", "q")}
    assert not found["changed"]


def test_evidence_that_is_not_known_any_more(baseline):
    unknown = baseline.copy(deep=True)
    unknown["evidence"].dataset = unknown["evidence"].to_dataset().assign(log_evidence=np.nan)
    unknown["evidence"].attrs["reason"] = "the two halves disagree"
    found = changes_since(unknown, baseline)
    assert kinds(found) == {("evidence moved", "")}
    assert found["changes"][0]["now"] is None
    assert found["sentences"][0].endswith("is not known: the two halves disagree.")


def test_data_that_differ_are_told():
    def of(y):
        with pm.Model() as model:
            mu = pm.Normal("mu", 0, 1)
            pm.Normal("y", mu, 1, observed=y)
        draws = np.random.default_rng(1).normal(y.sum() / 4, 0.5, (4, 500))
        idata = xr.DataTree.from_dict({
            "posterior": xr.Dataset({"mu": (("chain", "draw"), draws)}), "observed_data": xr.Dataset({"y": ("i", y)}),
        })  # fmt: skip
        return pkl.compare(idata, model=model, reverse=(), forward="fullrank", random_seed=1, progressbar=False)

    y = np.array([0.1, 1.2, 0.7])
    found = changes_since(of(y + 0.2), of(y))
    assert found["sentences"][0] == "The observed data are not those of the baseline."
    assert {what for what, _ in kinds(found)} == {"data differ", "evidence moved"}  # the mode is the same


@pytest.mark.parametrize("name", ["labels", "two_normals_10d"])
def test_modes_are_found_again_whatever_their_copies(name, zoo):
    _, target = zoo(name)
    one, other = (
        pkl.compare(model=target, reverse=(), forward="fullrank", random_seed=seed, progressbar=False)
        for seed in (1, 2)
    )
    k = one["modes"].sizes["mode"]
    assert matched(one, other) == {number: number for number in range(1, k + 1)}
    assert not changes_since(one, other)["changed"]


def test_another_model_is_refused(baseline, zoo):
    _, target = zoo("two_normals_10d")
    other = pkl.compare(model=target, reverse=(), forward="fullrank", random_seed=1, progressbar=False)
    with pytest.raises(ValueError, match="comparisons of other models"):
        changes_since(other, baseline)


def test_the_command_line_has_an_exit_code(baseline, tmp_path, capsys):
    before, same, moved = (tmp_path / f"{name}.nc" for name in ("before", "same", "moved"))
    for dt, path in ((baseline, before), (made(seed=2), same), (made(left=0.4), moved)):
        pkl.save(dt, path)
    assert main(["summary", str(same), "--baseline", str(before)]) == 0
    assert UNCHANGED[0] in " ".join(capsys.readouterr().out.split())
    assert main(["summary", str(moved), "--baseline", str(before)]) == 4
    assert "The mass of mode 2 moved from 30.0" in " ".join(capsys.readouterr().out.split())
    assert main(["summary", str(moved), "--baseline", str(before), "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["since_baseline"]["changed"] is True
    assert main(["summary", str(moved)]) == 0
    assert main(["summary", str(moved), "--baseline", str(tmp_path / "nowhere.nc")]) == 2
    assert "no such comparison" in capsys.readouterr().err


def test_compare_reads_the_baseline_before_it_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.py").write_text("import pymc as pm\nwith pm.Model() as model:\n    pm.Normal('x')\n")
    run = ["compare", "one.py:model", "--reverse", "--forward", "fullrank", "--quiet"]
    assert main([*run, "--baseline", "nowhere.nc"]) == 2
    assert not (tmp_path / "pymc_kl_results").exists()
    assert main(run) == 0
    capsys.readouterr()
    again = [*run, "--overwrite", "--seed", "2", "--baseline", "pymc_kl_results/comparison.nc"]
    assert main(again) == 0
    assert UNCHANGED[0] in " ".join(capsys.readouterr().out.split())
