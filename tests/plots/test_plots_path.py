"""The picture of a path keeps the contract of the others, and shows what the path holds."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from arviz_plots import PlotCollection
from hypothesis import given, settings
from hypothesis import strategies as st
from support.plot_comparisons import BACKENDS, check_drawn, exists, texts, visual_keys

from pymc_kl.plots import plot_divergence_path
from pymc_kl.plots.parts import style
from pymc_kl.plots.parts.course import best_course

ORDERS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
STATISTICS = ["mean", "sd", "lower", "upper"]
Z_95 = 1.959964


def make_path(k: int = 2, branches: int = 2, *, at: float | None = 0.4) -> xr.DataTree:
    """Lay out a path: the first branch, in mode 1, ends at ½; the last covers all modes and begins at ¼."""
    names = [f"reverse {j + 1}" for j in range(branches - 1)] + ["forward"]
    shape = (len(ORDERS), branches)
    divergence = np.full(shape, np.nan)
    divergence[:3, 0] = [0.4, 0.6, 1.0]
    divergence[1:, -1] = [0.9, 0.8, 0.7, 0.6]
    for j in range(1, branches - 1):
        divergence[:2, j] = [9.0, 9.5]
    if branches == 1:
        divergence[:, 0] = np.linspace(0.5, 0.7, len(ORDERS))
    mass = np.zeros((*shape, k))
    mass[:, 0, 0] = 0.9
    mass[:, -1, :] = 1 / k
    mass[np.isnan(divergence)] = np.nan
    lead = ("order", "branch")
    coords = {"order": ORDERS, "branch": names, "mode": np.arange(1, k + 1)}
    path = xr.Dataset({"divergence": (lead, divergence), "mass": ((*lead, "mode"), mass)}, coords)
    path["divergence_se"] = 0.01 * (1 + path["divergence"])
    lowest = np.where(np.isnan(divergence), np.inf, divergence).argmin(axis=1)
    path["best"] = ("order", np.array(names)[lowest])
    rows = [] if at is None or branches == 1 else [(at, 0.02, 0.25, 0.5, names[0], names[-1])]
    table = pd.DataFrame(rows, columns=["at", "at_se", "lower", "upper", "from_branch", "to_branch"])
    switches = xr.Dataset({name: ("switch", table[name].to_numpy(float if rows == [] else None)) for name in table})
    rng = np.random.default_rng(k)
    centre, width = np.array([3.0, 0.5, 1.0]), np.array([0.5, 1.0, 0.1])
    values = np.zeros((*shape, 3, len(STATISTICS)))
    values[..., 0] = centre * (1 - np.linspace(0, 1, len(ORDERS))[:, None, None])
    values[..., 1] = width * (1 + 0.1 * rng.random((*shape, 3)))
    values[np.isnan(divergence)] = np.nan
    parameters = {
        "mu": ((*lead, "component", "statistic"), values[:, :, :2]),
        "tau": ((*lead, "statistic"), values[:, :, 2]),
    }
    own = coords | {"component": ["a", "b"], "statistic": STATISTICS}
    own.pop("mode")
    reference = {
        "mu": (("component", "statistic"), np.tile([0.0, 1, -1, 1], (2, 1))),
        "tau": ("statistic", [0.0, 2, -1, 1]),
    }
    groups = {
        "path": path,
        "switches": switches,
        "reference": xr.Dataset({"mass": ("mode", np.full(k, 1 / k))}, {"mode": coords["mode"]}),
        "parameters": xr.Dataset(parameters, own),
        "reference_parameters": xr.Dataset(reference, {"component": ["a", "b"], "statistic": STATISTICS}),
    }
    return xr.DataTree.from_dict(groups)


PATH = make_path()
KEYS = visual_keys(plot_divergence_path, "visuals")


@pytest.fixture(autouse=True, scope="module")
def _load_backends() -> None:
    """Draw once with each, since Plotly and Bokeh set filters of warnings when they are first used."""
    for backend in BACKENDS:
        plot_divergence_path(PATH, backend=backend)


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@cache
def shown() -> set[str]:
    return exists(plot_divergence_path(PATH, backend="none"))


def line(pc: PlotCollection, visual: str, **where: Any) -> dict[str, Any]:
    return pc.viz[visual]["value"].sel(where).item()


# ---- the contract ----


@pytest.mark.parametrize("key", KEYS)
def test_a_visual_is_there_unless_switched_off(key: str) -> None:
    hidden = exists(plot_divergence_path(PATH, backend="none", visuals={key: False}))
    assert shown() - hidden == ({key, "figure_title"} if key == "note" else {key})
    assert hidden < shown()


@settings(max_examples=10, deadline=None)
@given(st.sets(st.sampled_from(KEYS)))
def test_switches_do_not_depend_on_each_other(off: set[str]) -> None:
    pc = plot_divergence_path(PATH, backend="none", visuals=dict.fromkeys(off, False))
    assert exists(pc) & set(KEYS) == set(KEYS) - off


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dt", [PATH, make_path(1, 1), make_path(12, 4)], ids=["two modes", "one branch", "many"])
def test_every_backend_draws(dt: xr.DataTree, backend: str, tmp_path: Path) -> None:
    check_drawn(plot_divergence_path(dt, backend=backend), backend, tmp_path)


def test_the_path_is_not_changed() -> None:
    kept = PATH.copy(deep=True)
    plot_divergence_path(PATH, backend="none")
    xr.testing.assert_identical(PATH, kept)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: plot_divergence_path(PATH, visuals={"bar": False}), ValueError, "valid keys are.*reference_band"),
        (lambda: plot_divergence_path(PATH, aes_by_visuals={"bar": []}), ValueError, "valid keys are.*mode_label"),
        (lambda: plot_divergence_path(PATH, backend="gnuplot"), ValueError, "'matplotlib', 'plotly', 'bokeh', 'none'"),
        (lambda: plot_divergence_path(PATH, ci_prob=1.5), ValueError, "ci_prob must be above 0 and below 1"),
        (lambda: plot_divergence_path(PATH, var_names="sigma"), ValueError, r"known variables are \['mu', 'tau'\]"),
        (lambda: plot_divergence_path(PATH, max_variables=-1), ValueError, "max_variables must be at least 0; got -1"),
        (lambda: plot_divergence_path(PATH["path"]), TypeError, r"expected a path.*got DataTree"),
        (lambda: plot_divergence_path({}), TypeError, r"expected a path.*got dict"),
    ],
)
def test_errors_name_what_is_known(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# ---- what is drawn ----


def test_the_best_branch_is_thick_up_to_the_switch_and_the_other_from_there() -> None:
    pc = plot_divergence_path(PATH, backend="none")
    one, two = (line(pc, "best", panel="divergence", branch=name) for name in ("reverse 1", "forward"))
    known = np.isfinite(one["y"])
    np.testing.assert_allclose(one["x"][known], [0, 0.25, 0.4])
    np.testing.assert_allclose(one["y"][known], [0.4, 0.6, 0.6 + 0.6 * 0.4])
    known = np.isfinite(two["y"])
    np.testing.assert_allclose(two["x"][known], [0.4, 0.5, 0.75, 1])
    np.testing.assert_allclose(two["y"][known], [0.84, 0.8, 0.7, 0.6])
    thin = line(pc, "branch", panel="divergence", branch="reverse 1")
    np.testing.assert_allclose(thin["y"][:3], [0.4, 0.6, 1.0])
    (lines,) = pc.viz["switch"].data_vars.values()
    assert lines.sel(panel="mass").item()["x"] == 0.4
    assert pc.aes["color"]["mapping"].sel(branch="forward").item() == style.APPROXIMATIONS[1]


def test_branches_that_go_over_into_each_other_meet_half_way() -> None:
    course = best_course(*(make_path(at=None)[name].to_dataset() for name in ("path", "switches")))
    np.testing.assert_allclose(course.x, [0, 0.25, 0.375, 0.375, 0.5, 0.75, 1])
    np.testing.assert_allclose(course.values(PATH["path"]["divergence"])[2:4], [0.7, 0.7])
    np.testing.assert_array_equal(course.owner, [0, 0, 0, 1, 1, 1, 1])


def test_a_branch_that_ends_at_the_switch_keeps_its_last_value() -> None:
    dt = make_path()
    path = dt["path"].to_dataset()
    path["divergence"][2, 0] = np.nan
    course = best_course(path, dt["switches"].to_dataset())
    np.testing.assert_allclose(course.values(path["divergence"])[2:4], [0.6, 0.84])


def test_orders_without_a_fit_are_passed_over() -> None:
    dt = make_path(at=None)
    path = dt["path"].to_dataset()
    path["divergence"][2], path["best"][2] = np.nan, ""
    course = best_course(path, dt["switches"].to_dataset())
    np.testing.assert_allclose(course.x, [0, 0.25, 0.5, 0.5, 0.75, 1])
    np.testing.assert_allclose(course.values(path["divergence"]), [0.4, 0.6, 0.65, 0.65, 0.7, 0.6])


def test_masses_are_stacked_to_one_with_the_posterior_dashed() -> None:
    pc = plot_divergence_path(PATH, backend="none")
    first, second, rest = (line(pc, "mass", mode=mode, panel="mass") for mode in (1, 2, 0))
    np.testing.assert_allclose(first["y_bottom"], 0)
    np.testing.assert_allclose(first["y_top"], [0.9, 0.9, 0.9, 0.5, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(second["y_bottom"], first["y_top"])
    np.testing.assert_allclose(rest["y_top"], 1)
    assert pc.aes["shade"]["mapping"].sel(mode=0).item() == style.ELSEWHERE
    dashed = line(pc, "reference", panel="mass")
    np.testing.assert_allclose(dashed["y"][:2], 0.5)
    assert texts(pc, "mode_label") == {"mode 1", "mode 2"}


def test_of_many_modes_the_lighter_ones_are_elsewhere() -> None:
    pc = plot_divergence_path(make_path(12), backend="none")
    assert pc.viz["mass"]["value"].sel(panel="mass")["mode"].values.tolist() == [*range(1, 9), 0]
    rest = line(pc, "mass", mode=0, panel="mass")
    np.testing.assert_allclose((rest["y_top"] - rest["y_bottom"])[-1], 4 / 12)


def test_scalars_are_those_that_the_path_moves_most_and_the_note_says_so() -> None:
    pc = plot_divergence_path(PATH, backend="none", max_variables=1)
    assert pc.viz["plot"]["panel"].values.tolist() == ["divergence", "mass", "mu[a]"]
    written = pc.viz["note"].item()["string"].replace("\n", " ")
    assert "At α = 0.400 ± 0.020 the best fit jumps from reverse 1 to forward." in written
    assert "1 of 3 scalars are shown: those that the path moves most." in written
    grey = line(pc, "reference_band", panel="mu[a]")
    np.testing.assert_allclose([grey["y_bottom"][0], grey["y_top"][0]], [-1, 1])
    mean = line(pc, "best", panel="mu[a]", branch="forward")["y"]
    table = PATH["parameters"]["mu"].sel(component="a", branch="forward")
    np.testing.assert_allclose(mean[np.isfinite(mean)][1:], table.sel(statistic="mean")[2:])
    band = line(pc, "spread", panel="mu[a]", branch="forward")
    width = (band["y_top"] - band["y_bottom"])[-3:] / 2
    np.testing.assert_allclose(width, table.sel(statistic="sd")[2:])


def test_no_scalars_leave_two_facets() -> None:
    pc = plot_divergence_path(PATH, backend="none", max_variables=0)
    assert pc.viz["plot"]["panel"].values.tolist() == ["divergence", "mass"]
    assert "spread" not in exists(pc)


def test_intervals_are_normal_and_only_of_the_best() -> None:
    pc = plot_divergence_path(PATH, backend="none", ci_prob=0.95)
    bars = line(pc, "interval", panel="divergence", branch="forward")
    half = Z_95 * float(PATH["path"]["divergence_se"].sel(order=1, branch="forward"))
    here = np.isfinite(bars["y"])
    np.testing.assert_allclose(sorted(bars["y"][here])[:1], [0.6 - half], rtol=1e-6)
    assert set(bars["x"][here]) == {0.5, 0.75, 1.0}


def test_a_branch_far_above_is_named_and_a_path_of_one_branch_has_no_legend() -> None:
    assert "to be in the picture: reverse 2." in plot_divergence_path(make_path(2, 3), backend="none").viz[
        "note"
    ].item()["string"].replace("\n", " ")
    assert "legend" not in exists(plot_divergence_path(make_path(2, 1), backend="none"))
