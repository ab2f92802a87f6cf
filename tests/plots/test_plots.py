"""The pictures keep arviz-plots' contract: asked on the `none` backend what exists, run on every backend."""

import inspect
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from arviz_base import rcParams
from arviz_base.labels import MapLabeller
from arviz_plots import PlotCollection
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.plot_comparisons import (
    BACKENDS,
    NAMES,
    check_drawn,
    elements,
    everything,
    exists,
    make_comparison,
    texts,
    visual_keys,
    with_histories,
)

from pymc_kl import plots
from pymc_kl.plots import (
    coverage,
    plot_contributions,
    plot_coverage,
    plot_divergence,
    plot_loss,
    plot_mode_tree,
    plot_modes,
    plot_pareto_k,
)
from pymc_kl.plots.parts import captions, scalars, style

PLOTS = {
    "contributions": plot_contributions,
    "coverage": plot_coverage,
    "divergence": plot_divergence,
    "khat": plot_pareto_k,
    "loss": plot_loss,
    "mode_tree": plot_mode_tree,
    "modes": plot_modes,
}
OF_APPROXIMATIONS = {name: function for name, function in PLOTS.items() if name != "mode_tree"}
COMPARISON = make_comparison(reason="the 4 chains never moved between modes")
MANY = make_comparison(60, [f"approximation {i}" for i in range(12)])
FULL = everything()


@pytest.fixture(autouse=True, scope="module")
def _load_backends() -> None:
    """Draw once with each, since Plotly and Bokeh set filters of warnings when they are first used."""
    for backend in BACKENDS:
        plot_modes(COMPARISON, backend=backend, kind="marginal")


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    parameters = dict(rcParams)
    yield
    plt.close("all")
    assert parameters == dict(rcParams), "ArviZ's rcParams were changed"


# ---- the contract, for all plots ----

KINDS = {
    "contributions line": (plot_contributions, {"kind": "line"}, ()),
    "contributions marginal": (plot_contributions, {"kind": "marginal"}, ()),
    "coverage": (plot_coverage, {}, ()),
    "split": (plot_divergence, {"kind": "split"}, (
        "sandwich", "elbo", "eubo", "evidence", "evidence_interval", "evidence_text", "xlabel",
    )),
    "bounds": (plot_divergence, {"kind": "bounds"}, (
        "between", "within", "outline", "total", "zero", "key", "key_text", "ylabel",
    )),
    "khat": (plot_pareto_k, {}, ()),
    "loss": (plot_loss, {}, ()),
    "mode_tree": (plot_mode_tree, {}, ()),
    "modes pair": (plot_modes, {"kind": "pair"}, ("reference_line", "remove_axis", "legend")),
    "modes marginal": (plot_modes, {"kind": "marginal"}, ("other_locations", "missed_text", "xlabel", "ylabel")),
}  # fmt: skip
KEYS = {
    name: [key for key in visual_keys(function, "visuals") if key not in absent]
    for name, (function, _, absent) in KINDS.items()
}
SWITCHES = [(name, key) for name, keys in KEYS.items() for key in keys]


def draw_kind(name: str, **more: Any) -> PlotCollection:
    function, kwargs, _ = KINDS[name]
    return function(FULL, backend="none", **kwargs, **more)


@cache
def shown_by(name: str) -> set[str]:
    return exists(draw_kind(name))


@pytest.mark.parametrize(("name", "key"), SWITCHES)
def test_a_visual_is_there_unless_switched_off(name: str, key: str) -> None:
    hidden = exists(draw_kind(name, visuals={key: False}))
    assert shown_by(name) - hidden == ({key, "figure_title"} if key == "note" else {key})
    assert hidden < shown_by(name)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(list(KINDS)), st.data())
def test_switches_do_not_depend_on_each_other(name: str, data: st.DataObject) -> None:
    off = data.draw(st.sets(st.sampled_from(KEYS[name])))
    pc = draw_kind(name, visuals=dict.fromkeys(off, False))
    assert exists(pc) & set(KEYS[name]) == set(KEYS[name]) - off


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("dt", [FULL, make_comparison(1, ["ADVI"])], ids=["everything", "one mode"])
def test_every_backend_draws(dt: xr.DataTree, name: str, backend: str, tmp_path: Path) -> None:
    function, kwargs, _ = KINDS[name]
    if kwargs.get("kind") == "line" and "line" not in dt.children:
        kwargs = {}
    check_drawn(function(dt, backend=backend, **kwargs), backend, tmp_path)


def test_twelve_facets_of_sixty_modes_fit() -> None:
    pc = plot_modes(MANY, backend="none")
    assert pc.viz["plot"].sizes == {"approximation": 12}
    assert pc.viz["reference"]["draws"].sizes["mode"] == len(style.MODES) + 1


def test_sixty_rows_of_twelve_marks_each_leave_every_mark_its_lane() -> None:
    pc = plot_coverage(MANY, backend="matplotlib", visuals={"missed_text": False})
    figure, axes = pc.get_viz("figure"), pc.get_viz("plot")
    figure.canvas.draw()
    inches_a_row = axes.get_window_extent().height / figure.dpi / np.ptp(axes.get_ylim())
    assert inches_a_row * coverage.LANES / 12 > coverage.MARK_POINTS[0] / 72
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == [f"mode {k}" for k in range(1, 61)]


@pytest.mark.parametrize("function", PLOTS.values(), ids=PLOTS)
def test_a_loaded_comparison_is_drawn_alike(function: Any, tmp_path: Path) -> None:
    COMPARISON.to_netcdf(tmp_path / "comparison.nc")
    with warnings.catch_warnings(), xr.open_datatree(tmp_path / "comparison.nc") as loaded:
        before, after = (elements(function(dt, backend="none")) for dt in (COMPARISON, loaded))
    assert len(before) > 5
    np.testing.assert_equal(after, before)


@pytest.mark.parametrize("function", PLOTS.values(), ids=PLOTS)
def test_the_comparison_is_not_changed(function: Any) -> None:
    copy = COMPARISON.copy(deep=True)
    function(COMPARISON, backend="none")
    xr.testing.assert_identical(COMPARISON, copy)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot_coverage(COMPARISON, approximations="SVGD"), r"'SVGD'.*known are \['ADVI', 'full-"),
        (lambda: plot_coverage(COMPARISON, approximations=[]), "no approximations asked for; known are"),
        (lambda: plot_coverage(COMPARISON, modes=[1, 7]), r"unknown modes \[7\]; known are \[1, 2, 0\]"),
        (lambda: plot_coverage(COMPARISON, ci_prob=1.5), "ci_prob must be above 0 and below 1"),
        (lambda: plot_coverage(COMPARISON, backend="gnuplot"), "'matplotlib', 'plotly', 'bokeh', 'none'"),
        (lambda: plot_coverage(COMPARISON, colour="red"), "this plot takes no colour. Did you mean 'color'"),
        (lambda: plot_coverage(COMPARISON, figure_kwargs=5), "figure_kwargs must be a Mapping; got 5"),
        (lambda: plot_coverage(COMPARISON, plot_collection=5), "plot_collection must be a PlotCollection; got 5"),
        (lambda: plot_coverage(COMPARISON, visuals={"bar": False}), "valid keys are.*reference_interval"),
        (lambda: plot_coverage(COMPARISON, aes_by_visuals={"bar": []}), "valid keys are.*missed_text"),
        (lambda: plot_modes(COMPARISON, visuals={"scatter": False}), "valid keys are.*mode_label"),
        (lambda: plot_modes(COMPARISON, approximations="SVGD"), r"known are \['ADVI'"),
        (lambda: plot_modes(COMPARISON, var_names="sigma"), r"known variables are \['mu', 'tau', 'f"),
        (lambda: plot_modes(COMPARISON, var_names="z", filter_vars="like"), "known are|known variables are"),
        (lambda: plot_modes(COMPARISON, coords={"component": "c9"}), r"known coordinates are .*'c0', 'c1'"),
        (lambda: plot_modes(COMPARISON, coords={"group": 1}), r"known coordinates are .*\['c0', 'c1'\]"),
        (lambda: plot_modes(COMPARISON, var_names="(", filter_vars="regex"), "regular expression, which '\\(' is not"),
        (lambda: plot_modes(COMPARISON, kind="violin"), "'auto', 'pair', 'marginal'; got 'violin'"),
        (lambda: plot_modes(COMPARISON, kind="pair", var_names="tau"), r"two scalars.*\['tau'\]"),
        (lambda: plot_modes(COMPARISON, var_names="fixed"), "constant"),
        (lambda: plot_modes(COMPARISON, max_variables=0), "max_variables must be at least 1"),
        (lambda: plot_modes(COMPARISON, max_draws=0), "max_draws must be at least 1"),
    ],
)
def test_errors_name_what_is_known(call: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call()


@pytest.mark.parametrize("function", PLOTS.values(), ids=PLOTS)
def test_only_a_comparison_is_drawn(function: Any) -> None:
    with pytest.raises(TypeError, match="comparison must be the DataTree"):
        function(COMPARISON["posterior"].to_dataset())


@pytest.mark.parametrize("function", [getattr(plots, name) for name in plots.__all__])
def test_the_docstring_describes_every_argument(function: Any) -> None:
    parameters = function.__doc__.partition("Parameters\n----------\n")[2].partition("\nReturns\n")[0]
    heads = [line.partition(" : ")[0] for line in parameters.splitlines() if line and not line.startswith(" ")]
    described = [name.lstrip("*") for head in heads for name in head.split(", ")]
    assert described == list(inspect.signature(function).parameters)


# ---- colours ----


@pytest.mark.parametrize("function", OF_APPROXIMATIONS.values(), ids=OF_APPROXIMATIONS)
def test_an_approximation_keeps_its_colour_in_any_company(function: Any) -> None:
    colors = style.approximation_colors(NAMES)
    key = "approximation_color" if function is plot_contributions else "color"
    dt = with_histories(COMPARISON)
    for subset in (NAMES, NAMES[2:], NAMES[::-1]):
        mapping = function(dt, backend="none", approximations=subset).aes[key]["mapping"]
        assert {name: mapping.sel(approximation=name).item() for name in subset} == {
            name: colors[name] for name in subset
        }


@pytest.mark.parametrize("backend", BACKENDS)
def test_twelve_approximations_look_different(backend: str) -> None:
    names = [str(i) for i in range(12)]
    colors, lines = style.approximation_colors(names), style.approximation_linestyles(names)
    looks = zip(colors.values(), lines.values(), strict=True)
    assert len(set(style.approximation_markers(names, backend).values())) == 12
    assert len(set(looks)) == 12


# ---- masses ----


def test_marks_and_bars_lie_where_the_masses_are() -> None:
    pc = plot_coverage(COMPARISON, backend="none", ci_prob=0.95)
    modes, table = COMPARISON["modes"].to_dataset(), COMPARISON["coverage"].to_dataset()
    for k in (1, 2):
        bar = pc.viz["reference"]["mass"].sel(mode=k).item()
        mass, lower, upper = (float(modes[name].sel(mode=k)) for name in ("mass", "mass_lower", "mass_upper"))
        np.testing.assert_allclose(bar["x"], [0, mass])
        band = pc.viz["reference_interval"]["mass"].sel(mode=k).item()["x"]
        np.testing.assert_allclose(band, [lower, upper], rtol=1e-4)
    marks = [pc.viz[name]["mass"].sel(approximation="ADVI").item() for name in ("missed", "mark")]
    hollow, filled = (mark["x"] for mark in marks)
    np.testing.assert_allclose(np.fmax(hollow, filled), table["mass"].sel(approximation="ADVI"))
    np.testing.assert_equal(np.isnan(hollow), [True, False])


def test_a_missed_mode_has_a_hollow_mark_and_the_word() -> None:
    pc = plot_coverage(COMPARISON, backend="none", approximations="ADVI")
    mark, missed = (pc.viz[name]["mass"].item() for name in ("mark", "missed"))
    assert mark["facecolor"] == mark["edgecolor"] == missed["edgecolor"]
    assert missed["facecolor"] == "B0"
    word = pc.viz["missed_text"]["mass"].sel(approximation="ADVI")
    assert word.sel(mode=1).item() is None
    assert word.sel(mode=2).item()["string"] == "missed"


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1), st.floats(0, 0.5), st.floats(0.05, 1))
@example(0.0, 0.0, np.nextafter(1.0, 0.0))
@example(0.0, 0.0, 1.0)
def test_intervals_hold_the_mass_and_stay_in_0_1(mass: float, se: float, prob: float) -> None:
    masses, errors = np.array([mass]), np.array([se])
    ends = np.array([max(0.0, mass - se)]), np.array([min(1.0, mass + 2 * se)])
    for known in (ends, np.full((2, 1), np.nan)):
        lower, upper = coverage._interval(masses, errors, known, prob)
        assert 0 <= lower <= mass <= upper <= 1


def test_an_interval_without_a_draw_reaches_the_exact_bound() -> None:
    upper = coverage._interval(np.zeros(2), np.full(2, 1e-3), (np.zeros(2), np.array([3 / 500, 1.0])), 0.95)[1]
    np.testing.assert_allclose(upper, [3 / 500, 1.0])


def test_elsewhere_has_a_row_only_if_there_is_mass() -> None:
    ticks = [
        plot_coverage(dt, backend="none").viz["ticklabels"]["plot"].item()["labels"]
        for dt in (COMPARISON, make_comparison(elsewhere=0.05))
    ]
    assert ticks == [["mode 1", "mode 2"], ["mode 1", "mode 2", "elsewhere"]]


def test_modes_are_chosen_and_named() -> None:
    labeller = MapLabeller(coord_map={"mode": {2: "the left one"}})
    pc = plot_coverage(COMPARISON, backend="none", modes=2, labeller=labeller)
    assert pc.viz["ticklabels"]["plot"].item()["labels"] == ["the left one"]
    assert pc.viz["reference"]["mass"].sizes == {"mode": 1}


def test_the_note_says_why_the_reference_is_not_trusted() -> None:
    note = plot_coverage(COMPARISON, backend="none").viz["note"].item()["string"]
    assert "the 4 chains never moved between modes" in note.replace("\n", " ")
    assert "note" not in exists(plot_coverage(make_comparison(), backend="none"))


def test_an_approximation_without_masses_is_named_in_the_note() -> None:
    dt = make_comparison()
    dt["coverage"]["mass"].loc["ADVI"] = np.nan
    assert plot_coverage(dt, backend="none").viz["note"].item()["string"] == "No masses: ADVI."


def test_masses_are_drawn_into_a_given_collection_and_into_facets() -> None:
    first = plot_coverage(COMPARISON, backend="none")
    n = len(elements(first))
    assert plot_coverage(COMPARISON, plot_collection=first) is first
    assert len(elements(first)) == 2 * n
    facets = plot_coverage(COMPARISON, backend="none", cols=["approximation"])
    assert facets.viz["reference"]["mass"].sizes == {"approximation": 4, "mode": 2}


def test_a_comparison_without_approximations_shows_the_reference() -> None:
    dt = make_comparison(names=())
    assert {"reference", "reference_interval"} <= exists(plot_coverage(dt, backend="none"))
    assert "reference" in exists(plot_modes(dt, backend="none", kind="pair"))
    assert "reference_line" in exists(plot_modes(dt, backend="none", kind="marginal"))


def test_an_approximation_may_be_called_reference() -> None:
    pc = plot_coverage(make_comparison(names=("reference",)), backend="none")
    assert pc.data["approximation"].values.tolist() == ["reference draws", "reference"]


# ---- the model's own space ----


def test_the_kind_follows_the_modes() -> None:
    assert plot_modes(COMPARISON, backend="none").viz["plot"].dims == ("approximation",)
    assert plot_modes(COMPARISON, backend="none", var_names="tau").viz["plot"].dims == ("scalar",)
    assert plot_modes(make_comparison(1), backend="none").viz["plot"].dims == ("scalar",)


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({}, ["mu[c0]", "mu[c1]", "tau"]),
        ({"var_names": "mu"}, ["mu[c0]", "mu[c1]"]),
        ({"var_names": "~mu"}, ["tau"]),
        ({"var_names": "t", "filter_vars": "like"}, ["tau"]),
        ({"coords": {"component": "c1"}}, ["mu", "tau"]),
        ({"coords": {"component": ["c0"]}, "var_names": ["mu"]}, ["mu[c0]"]),
        ({"labeller": MapLabeller(var_name_map={"mu": "m"}), "var_names": "mu"}, ["m[c0]", "m[c1]"]),
    ],
)
def test_scalars_are_chosen_as_in_arviz(kwargs: dict[str, Any], expected: list[str]) -> None:
    pc = plot_modes(COMPARISON, backend="none", kind="marginal", **kwargs)
    assert sorted(pc.viz["plot"]["scalar"].values) == expected
    assert sorted(texts(pc, "title")) == expected


def test_the_note_says_what_was_left_out() -> None:
    pc = plot_modes(COMPARISON, backend="none", kind="marginal", max_variables=2)
    assert pc.viz["plot"].sizes == {"scalar": 2}
    assert pc.viz["note"].item()["string"].startswith("2 of 3 scalars are shown: where the approximations")
    alone = plot_modes(make_comparison(names=()), backend="none", kind="marginal", max_variables=2)
    assert alone.viz["note"].item()["string"].startswith("2 of 3 scalars are shown: where the modes lie furthest")
    one = plot_modes(make_comparison(1), backend="none", max_variables=1)
    assert "differ most" in one.viz["note"].item()["string"]


def test_a_mode_without_draws_is_marked_and_named() -> None:
    dt = make_comparison(3, unvisited=True)
    for kind in ("pair", "marginal"):
        pc = plot_modes(dt, backend="none", kind=kind)
        assert "3" in ",".join(texts(pc, "mode_label"))
        assert "no draws in mode 3" in pc.viz["note"].item()["string"]
        by_mode = pc.viz["reference"].to_dataset()
        assert 3 not in by_mode["mode"] or not by_mode.sel(mode=3).to_array().any()


def test_a_number_stands_above_the_density_of_its_mode_where_the_maximum_does_not_lie() -> None:
    dt = make_comparison(1)
    dt["modes"] = xr.DataTree(dt["modes"].to_dataset().assign(tau=dt["modes"]["tau"] + 30))
    pc = plot_modes(dt, backend="none", kind="marginal", var_names="tau")
    draws = dt["posterior"]["tau"].values
    assert abs(pc.viz["mode_label"]["density"].item()["x"] - np.median(draws)) < draws.std()
    assert pc.viz["location"]["density"].item()["x"] == dt["modes"]["tau"].item()


def test_facets_say_which_modes_are_missed() -> None:
    pc = plot_modes(COMPARISON, backend="none", kind="pair")
    words = pc.viz["missed_text"]["draws"]
    assert words.sel(approximation="ADVI", mode=2).item()["string"] == "missed"
    assert words.sel(approximation="full-rank ADVI", mode=2).item() is None
    assert pc.viz["title"]["plot"].sel(approximation="ADVI").item()["string"] == "ADVI"


def test_draws_are_thinned_alike_every_time() -> None:
    asked: dict[str, Any] = {"backend": "none", "approximations": "approximation 0"}
    first, second = (plot_modes(MANY, **asked) for _ in range(2))
    np.testing.assert_equal(elements(first), elements(second))
    by_mode = first.viz["reference"]["draws"].values.ravel()
    assert sum(len(element["x"]) for element in by_mode) <= 2000


@pytest.mark.parametrize("n", [10, 301])
def test_a_pair_shows_as_many_draws_as_asked_for(n: int) -> None:
    pc = plot_modes(COMPARISON, backend="none", approximations="ADVI", kind="pair", max_draws=n)
    assert sum(len(element["x"]) for element in pc.viz["reference"]["draws"].values.ravel()) == n
    assert len(pc.viz["approximations"]["draws"].item()["x"]) == -(-n // 2)


def test_a_marginal_plot_shows_the_scalar_that_differs_most_though_the_modes_lie_apart_in_another() -> None:
    dt = COMPARISON.copy(deep=True)
    for name in NAMES:
        dt[f"approximations/{name}/posterior"]["tau"] += 100.0
    pc = plot_modes(dt, backend="none", kind="marginal", max_variables=1)
    assert pc.viz["plot"]["scalar"].values.tolist() == ["tau"]


def test_areas_hold_the_masses_and_their_sum_is_the_line() -> None:
    pc = plot_modes(COMPARISON, backend="none", kind="marginal")
    masses = COMPARISON["modes"]["mass"].values
    area = pc.viz["reference"]["density"].sel(scalar="mu[c0]")
    for k, mass in enumerate(masses, start=1):
        element = area.sel(mode=k).item()
        assert np.trapezoid(element["y_top"], element["x"]) == pytest.approx(mass, rel=0.02)
    line = pc.viz["reference_line"]["density"].sel(scalar="mu[c0]").item()
    known = np.isfinite(line["x"])
    assert np.trapezoid(line["y"][known], line["x"][known]) == pytest.approx(1.0, abs=0.02)


def test_a_variable_may_bear_the_name_of_a_column() -> None:
    renamed = {name: COMPARISON[name] for name in ("scores", "coverage", "evidence", "sample_stats")}
    dt = xr.DataTree.from_dict({name: node.to_dataset() for name, node in renamed.items()})
    dt.attrs = COMPARISON.attrs
    dt["posterior"] = xr.DataTree(COMPARISON["posterior"].to_dataset().rename(tau="mass"))
    dt["modes"] = xr.DataTree(COMPARISON["modes"].to_dataset().rename(tau="mass_location"))
    pc = plot_modes(dt, backend="none", kind="marginal", var_names="mass")
    place = pc.viz["location"]["density"].item()["x"]
    np.testing.assert_allclose(place, COMPARISON["modes"]["tau"])


# ---- choosing scalars ----


def test_the_scalar_that_separates_best_comes_first(rng: np.random.Generator) -> None:
    mode = rng.integers(1, 4, 600)
    x = rng.normal(size=(600, 4))
    x[:, 1] += 30 * (mode == 1)
    x[:, 2] += 20 * (mode == 2)
    x[:, 3] += 25 * (mode == 1)
    locations = np.full((3, 4), np.nan)
    assert scalars.separating(x, mode, locations, 1, jointly=False) == [1]
    assert scalars.separating(x, mode, locations, 2, jointly=False) == [1, 3]
    assert scalars.separating(x, mode, locations, 2, jointly=True) == [1, 2]


def test_a_mode_that_no_chain_visited_separates_by_its_location(rng: np.random.Generator) -> None:
    x, mode = rng.normal(size=(300, 3)), np.ones(300, dtype=int)
    locations = np.array([[0.0, 0.0, 0.0], [0.1, 9.0, 0.1]])
    assert scalars.separating(x, mode, locations, 1, jointly=False) == [1]


def test_the_scalar_that_differs_most_comes_first(rng: np.random.Generator) -> None:
    x = rng.normal(size=(2000, 3)) * [1.0, 10.0, 1.0]
    other = rng.normal(size=(500, 3)) * [1.0, 10.0, 0.5] + [0.0, 2.0, 0.0]
    assert scalars.differing(x, [other], 2) == [2, 1]
    assert scalars.differing(x, [], 2) == [0, 1]


def test_numbers_that_would_overlap_are_joined() -> None:
    assert captions.group_line(np.array([0.5, 0.1, 0.51, np.nan])) == [[1], [0, 2]]
    assert captions.group_points(np.array([[0.5, 0.5], [0.1, 0.1], [0.51, 0.5]])) == [[0, 2], [1]]
    assert captions.join_numbers([0, 3]) == "1,4"
    assert [captions.name_missed([0, 3], lost) for lost in ((), (3,), (0, 3))] == ["", "4 missed", "missed"]
