"""The numbers in the pictures of scores, on the `none` backend, against the comparison's own."""

from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from support.plot_comparisons import LOG_Z, NAMES, add_line, exists, make_comparison, texts, with_histories

from pymc_kl.comparison.formats import format_estimate
from pymc_kl.plots import loss, plot_contributions, plot_divergence, plot_loss, plot_pareto_k
from pymc_kl.plots import plot_mode_tree as plot_tree
from pymc_kl.plots.parts import axes, bins, linkage

COMPARISON = make_comparison()
Z_95 = 1.959964


def changed(group: str, **values: Any) -> xr.DataTree:
    """Copy the comparison with other values of a group's variables."""
    dt = COMPARISON.copy(deep=True)
    ds = dt[group].to_dataset()
    dt[group] = xr.DataTree(ds.assign({name: (ds[name].dims, np.asarray(value)) for name, value in values.items()}))
    return dt


def note(pc: Any) -> str:
    return pc.viz["note"].item()["string"].replace("\n", " ") if "note" in exists(pc) else ""


def height(bar: dict[str, Any]) -> float:
    return float(bar["y_top"][0] - bar["y_bottom"][0])


# ---- divergences ----


@pytest.mark.parametrize(("between", "within"), [(0.4, 1.1), (-0.3, 1.0), (0.6, -0.2), (-0.1, -0.2), (0.0, 0.5)])
def test_the_bars_of_both_parts_add_up_to_the_total_also_if_one_is_negative(between: float, within: float) -> None:
    columns = {f"{name}_between": [between] * 3 for name in ("forward_kl", "reverse_kl")}
    columns |= {name: [between + within] * 3 for name in ("forward_kl", "reverse_kl")}
    pc = plot_divergence(changed("scores", **columns), backend="none")
    for direction, sign in (("forward", 1), ("reverse", -1)):
        bars = [
            pc.viz[name]["divergence"].sel(approximation="ADVI", direction=direction).item()
            for name in ("between", "within")
        ]
        assert [height(bar) for bar in bars] == pytest.approx([sign * between, sign * within])
        starts = bars[0]["y_bottom"][0], bars[1]["y_bottom"][0]
        assert starts == pytest.approx((0.0, sign * between if between * within > 0 else 0.0))
        tick = pc.viz["total"]["divergence"].sel(approximation="ADVI", direction=direction).item()
        assert tick["y"][0] == pytest.approx(sign * (between + within))


def test_the_interval_of_a_total_is_normal_and_the_number_has_its_error() -> None:
    pc = plot_divergence(COMPARISON, backend="none", ci_prob=0.95, approximations="full-rank ADVI")
    row = COMPARISON["scores"].to_dataset().sel(approximation="full-rank ADVI")
    for direction, sign in (("forward", 1), ("reverse", -1)):
        total, se = (float(row[f"{direction}_kl{end}"]) for end in ("", "_se"))
        line = pc.viz["interval"]["divergence"].sel(direction=direction).item()["y"]
        np.testing.assert_allclose(sign * line[:2], [total - Z_95 * se, total + Z_95 * se], atol=1e-9)
        assert format_estimate(total, se) in pc.viz["value"]["divergence"].sel(direction=direction).item()["string"]


def test_a_long_bar_is_cut_and_keeps_its_number() -> None:
    dt = changed("scores", forward_kl=[900.0, 2.0, 3.0], reverse_kl=[1.0, 2.0, np.inf], forward_kl_se=[1.0] * 3)
    pc = plot_divergence(dt, backend="none")
    assert pc.viz["within"]["divergence"].sel(approximation="ADVI", direction="forward").item()["y_top"][0] == 3.0
    arrows = pc.viz["cut"]["divergence"]
    assert arrows.sel(approximation="ADVI", direction="forward").item()["y"] == 3.0
    assert arrows.sel(approximation="forward mixture", direction="reverse").item()["y"] == -3.0
    assert arrows.sel(approximation="full-rank ADVI", direction="forward").item() is None
    assert any("900.0 ± 1.0" in text for text in texts(pc, "value"))
    assert "∞" in texts(pc, "value")
    assert "longer than 3 nats are cut: ADVI, forward mixture" in note(pc)


def test_a_lower_bound_is_written_as_one() -> None:
    dt = changed("scores", forward_kl_is_bound=[1.0, 0.0, 0.0], forward_kl_between=[2.0] * 3)
    written = plot_divergence(dt, backend="none").viz["value"]["divergence"].sel(direction="forward")
    assert "between ≥\n2.000 ± 0.020" in written.sel(approximation="ADVI").item()["string"]
    assert "≥" not in written.sel(approximation="full-rank ADVI").item()["string"]


def test_without_log_z_there_are_no_bars_and_the_note_says_what_compares() -> None:
    dt = changed("scores", forward_kl=[np.nan] * 3, reverse_kl=[np.nan] * 3)
    dt["evidence"] = xr.DataTree(xr.Dataset({"log_evidence": np.nan}))
    pc = plot_divergence(dt, backend="none")
    drawn = [element for element in pc.viz["within"]["divergence"].values.ravel() if element is not None]
    assert not drawn
    assert "kind='bounds' compares" in note(pc)
    bounds = plot_divergence(dt, backend="none", kind="bounds")
    assert "evidence" not in exists(bounds)
    assert "Log Z is unknown" in note(bounds)


def test_an_approximation_without_density_is_named() -> None:
    columns = {name: [1.0, np.nan, 2.0] for name in ("forward_kl", "reverse_kl", "elbo", "eubo")}
    dt = changed("scores", **columns)
    assert "No divergence is defined in at least one direction: full-rank ADVI." in note(
        plot_divergence(dt, backend="none")
    )
    assert "No density, so no bounds: full-rank ADVI." in note(plot_divergence(dt, backend="none", kind="bounds"))


def test_bounds_lie_where_they_are_around_log_z() -> None:
    dt = changed("scores", elbo=[0.9, 1.2, 1.3], eubo=[800.0, 1.7, 2.0], elbo_se=[0.1] * 3, eubo_se=[0.1] * 3)
    pc = plot_divergence(dt, backend="none", kind="bounds", ci_prob=0.95)
    assert pc.viz["elbo"]["bound"].sel(approximation="ADVI").item()["x"] == 0.9
    assert pc.viz["eubo"]["bound"].sel(approximation="full-rank ADVI").item()["x"] == 1.7
    assert pc.viz["eubo"]["bound"].sel(approximation="ADVI").item() is None
    span = pc.viz["interval"]["bound"].sel(approximation="ADVI", direction="elbo").item()["x"]
    np.testing.assert_allclose(span[:2], [0.9 - Z_95 * 0.1, 0.9 + Z_95 * 0.1], rtol=1e-6)
    assert texts(pc, "value") == {"800.00 ± 0.10"}
    band = pc.viz["evidence_interval"]["plot"].item()["x"]
    np.testing.assert_allclose(band, [LOG_Z - Z_95 * 0.02, LOG_Z + Z_95 * 0.02], rtol=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12))
def test_what_is_kept_is_within_reach_of_the_median(sizes: list[float]) -> None:
    known = np.abs(sizes)
    limit = axes.cut_above(np.array(sizes))
    assert (known <= limit).sum() >= len(known) / 2
    assert limit in known or limit == 1.0
    assert limit <= axes.BARELY * axes.CUT * np.median(known) or np.median(known) == 0


@settings(max_examples=100, deadline=None)
@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4))
def test_ticks_are_few_and_inside(low: float, span: float) -> None:
    ticks = axes.round_ticks(low, low + span)
    assert 2 <= len(ticks) <= 8
    assert low - 1e-6 * span <= ticks[0] and ticks[-1] <= low + span + 1e-6 * span


# ---- k-hat ----


def test_marks_of_khat_lie_at_their_values_or_at_the_edge_with_their_number() -> None:
    dt = changed("scores", khat=[-np.inf, 0.62, np.nan], khat_reference=[7.73, 0.4, np.nan], alarm=[1.0, 0.0, 0.0])
    pc = plot_pareto_k(dt, backend="none")
    assert pc.viz["khat"]["khat"].sel(approximation="full-rank ADVI").item()["x"] == 0.62
    assert pc.viz["khat_reference"]["khat"].sel(approximation="full-rank ADVI").item()["facecolor"] == "B0"
    assert pc.viz["khat"]["khat"].sel(approximation="ADVI").item() is None
    numbers = pc.viz["value"]["khat"].sel(approximation="ADVI")
    assert numbers.sel(direction="khat", edge="left").item()["string"] == "-∞"
    assert numbers.sel(direction="khat_reference", edge="right").item()["string"] == "7.7"
    assert numbers.sel(direction="khat", edge="right").item() is None
    assert "No density, so no k-hat: forward mixture. -∞ is the k-hat of constant ratios." in note(pc)
    alarm = pc.viz["alarm_text"]["khat"]
    assert "misses a mode" in alarm.sel(approximation="ADVI").item()["string"]
    assert alarm.sel(approximation="full-rank ADVI").item() is None


# ---- losses ----


def test_losses_and_levels_lie_where_they_are() -> None:
    dt = with_histories(COMPARISON)
    scores = dt["scores"].to_dataset()
    scores["converged"][1], scores["elbo"][0] = "yes", -1.7
    dt["scores"] = xr.DataTree(scores)
    pc = plot_loss(dt, backend="none")
    history = dt["approximations/ADVI/fit"].to_dataset()["loss"]
    drawn = pc.viz["loss"]["loss"].sel(approximation="ADVI").item()
    inside = np.isfinite(drawn["y"])
    np.testing.assert_array_equal(drawn["y"][inside], history.values[inside])
    assert (history.values[~inside] > drawn["y"][inside].max()).all()
    assert not inside[:10].any(), "the first spikes are not shown"
    assert inside[250:].mean() > 0.9
    row = scores.sel(approximation="ADVI")
    elbo, gap = float(row["elbo"]), float(row["elbo_gap"])
    np.testing.assert_allclose(pc.viz["elbo"]["loss"].sel(approximation="ADVI").item()["y"], -elbo)
    np.testing.assert_allclose(pc.viz["polished"]["loss"].sel(approximation="ADVI").item()["y"], -(elbo + gap))
    assert pc.viz["polished"]["loss"].sel(approximation="full-rank ADVI").item() is None
    assert f"polished {format_estimate(-elbo - gap, np.hypot(0.1, float(row['elbo_se'])))}" in " ".join(
        texts(pc, "polished_text")
    )


def test_only_fits_with_a_history_are_shown_and_the_others_named() -> None:
    pc = plot_loss(COMPARISON, backend="none")
    assert pc.viz["plot"]["approximation"].values.tolist() == ["ADVI"]
    assert "No loss history: full-rank ADVI, forward mixture." in note(pc)
    with pytest.raises(ValueError, match=r"are \['ADVI', 'full-rank ADVI', 'forward mixture'\].*Only reverse fits"):
        plot_loss(COMPARISON, approximations="forward mixture", backend="none")


def test_losses_that_are_not_finite_are_counted() -> None:
    dt = COMPARISON.copy(deep=True)
    dt["approximations/ADVI/fit"]["loss"][[100, 200, 201]] = [np.nan, np.inf, -np.inf]
    assert "not finite: ADVI (3)" in note(plot_loss(dt, backend="none"))


def test_the_running_median_is_that_of_a_window(rng: np.random.Generator) -> None:
    values = rng.normal(size=201)
    values[50] = np.nan
    smooth = loss.running_median(values)
    assert smooth[100] == pytest.approx(np.median(values[95:105]))
    assert np.isfinite(smooth).all()


# ---- contributions ----

LOC, SCALE = 1.0, 1.5


def area(pc: Any, visual: str, name: str) -> float:
    line = pc.viz[visual]["density"].sel(approximation=name).item()
    return float(np.trapezoid(line["y"], line["x"]))


def test_areas_under_the_integrands_are_the_divergences_of_two_normals() -> None:
    pc = plot_contributions(add_line(COMPARISON, LOC, SCALE), backend="none")
    q = (LOC, SCALE)
    forward = np.log(q[1]) + (1 + LOC**2) / (2 * q[1] ** 2) - 0.5
    reverse = -np.log(q[1]) + (q[1] ** 2 + LOC**2) / 2 - 0.5
    assert area(pc, "forward", "full-rank ADVI") == pytest.approx(forward, abs=1e-3)
    assert area(pc, "reverse", "full-rank ADVI") == pytest.approx(reverse, abs=1e-3)
    assert area(pc, "approximations", "full-rank ADVI") == pytest.approx(1.0, abs=1e-3)
    grey = pc.viz["reference"]["density"].sel(approximation="ADVI").item()
    assert np.trapezoid(grey["y_top"], grey["x"]) == pytest.approx(1.0, abs=1e-3)
    assert area(pc, "forward", "ADVI") == pytest.approx(0.0, abs=1e-9)
    assert "No density: forward mixture." in note(pc)
    assert f"forward KL {forward:.3g}\nreverse KL {reverse:.3g}" in texts(pc, "value")
    assert texts(pc, "xlabel") == {"x_log__"}


def test_a_density_that_vanishes_leaves_finite_integrands_where_it_can() -> None:
    dt = add_line(COMPARISON, LOC, SCALE)
    ds = dt["line"].to_dataset()
    ds["log_density"][:50] = -np.inf
    ds["log_prob"][1, :100] = -np.inf
    dt["line"] = xr.DataTree(ds)
    pc = plot_contributions(dt, backend="none", approximations="full-rank ADVI")
    y = {name: pc.viz[name]["density"].item()["y"] for name in ("forward", "reverse")}
    assert (y["forward"][:50] == 0).all()
    assert np.isnan(y["forward"][50:100]).all()
    assert (y["reverse"][:100] == 0).all()


def test_q_beyond_the_grid_is_said() -> None:
    dt = add_line(COMPARISON, 14.0, SCALE)
    assert "beyond the grid" in note(plot_contributions(dt, backend="none", approximations="full-rank ADVI"))


@pytest.mark.parametrize("scalar", ["c0", "c1"])
def test_contributions_of_the_bins_add_up_to_the_divergences(scalar: str) -> None:
    pc = plot_contributions(COMPARISON, backend="none", var_names="mu", coords={"component": scalar})
    x = COMPARISON["posterior"].to_dataset()["mu"].sel(component=scalar)
    log_p = COMPARISON["sample_stats"].to_dataset()["log_density"] - LOG_Z
    for name in NAMES:
        group = COMPARISON[f"approximations/{name}"]
        own, stats = group["posterior"].to_dataset()["mu"].sel(component=scalar), group["sample_stats"].to_dataset()
        ratios = {
            "forward": (x, log_p - group["reference"].to_dataset()["log_prob"]),
            "reverse": (own, stats["log_prob"] - stats["log_density"] + LOG_Z),
        }
        for direction, (place, ratio) in ratios.items():
            line = pc.viz[direction]["density"].sel(approximation=name).item()
            inside = (place >= line["x"].min()) & (place <= line["x"].max())
            assert line["y"][::2].sum() == pytest.approx(float((ratio * inside).mean()), abs=1e-9)
            middle = line["x"].min() + np.ptp(line["x"]) / 2
            left = float((ratio * (inside & (place < middle))).mean())
            assert line["y"][: len(line["y"]) // 2 : 2].sum() == pytest.approx(left, abs=1e-9)


def test_draws_outside_are_counted() -> None:
    edges, x = np.linspace(0, 1, 5), np.array([-0.1, 0.0, 0.1, 1.0, 1.1, np.nan])
    np.testing.assert_array_equal(bins._bin(x, edges), [4, 0, 0, 3, 4, 4])
    chosen = {"var_names": "mu", "coords": {"component": "c0"}, "approximations": "ADVI"}
    dt = COMPARISON.copy(deep=True)
    dt["posterior"]["mu"][0, :2] = 1e6
    pc = plot_contributions(dt, backend="none", **chosen)
    ends = pc.viz["forward"]["density"].item()["x"][[0, -1]]
    x = dt["posterior"].to_dataset()["mu"].sel(component="c0")
    n = int(((x < ends[0]) | (x > ends[1])).sum())
    assert n >= 2
    assert f"Draws of the reference that lie outside: {n};" in note(pc)


def _misalign(dt: xr.DataTree) -> None:
    dt["approximations/ADVI/reference"] = xr.DataTree(xr.Dataset({"log_prob": ("draw", np.zeros(7))}))


def _forget_log_z(dt: xr.DataTree) -> None:
    dt["evidence"] = xr.DataTree(xr.Dataset({"log_evidence": np.nan}))


def _forget_densities(dt: xr.DataTree) -> None:
    for name in NAMES:
        dt[f"approximations/{name}/sample_stats"] = xr.DataTree(xr.Dataset())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_misalign, r"got \{'draw': 7\}.*Run compare\(\) again"),
        (_forget_log_z, r"log Z is unknown.*kind='bounds'"),
        (_forget_densities, r"none of \['ADVI'.*has a density"),
    ],
)
def test_what_cannot_be_split_is_refused_with_the_cure(change: Any, message: str) -> None:
    dt = COMPARISON.copy(deep=True)
    change(dt)
    with pytest.raises(ValueError, match=message):
        plot_contributions(dt, backend="none")


def test_a_line_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one dimension.*kind='marginal'"):
        plot_contributions(COMPARISON, backend="none", kind="line")
    with pytest.raises(ValueError, match="'auto', 'line', 'marginal'; got 'area'"):
        plot_contributions(COMPARISON, backend="none", kind="area")


# ---- the tree ----

PEAKS = np.array([0.0, -1.0, -3.0, -2.0])
PASSES = np.full((4, 4), np.nan)
for _i, _j, _pass in ((0, 1, -4.0), (1, 2, -5.0), (0, 2, -9.0)):
    PASSES[_i, _j] = PASSES[_j, _i] = _pass
PASSES[0, 0] = -2.5


def test_the_tree_joins_modes_at_the_highest_pass_on_any_route() -> None:
    tree = linkage.link(PEAKS + 100, PASSES + 100, range(4))
    np.testing.assert_allclose(tree.depth, PEAKS)
    np.testing.assert_allclose(tree.foot, [-4, -4, -5, np.nan])
    np.testing.assert_allclose(sorted(tree.join), [-5, -4])
    np.testing.assert_allclose(tree.copy_pass, [-2.5, np.nan, np.nan, np.nan])
    assert sorted(tree.x) == [0, 1, 2, 3]
    assert sorted(depth for _, depth in tree.roots) == [-5, -2]


def test_paths_through_modes_that_are_not_shown_count() -> None:
    tree = linkage.link(PEAKS, PASSES, [0, 2])
    np.testing.assert_allclose(tree.foot, [-5, -5])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_branches_do_not_cross_and_joins_lie_below_what_they_join(k: int, seed: int, unknown: float) -> None:
    rng = np.random.default_rng(seed)
    peaks = rng.normal(size=k)
    passes = np.minimum(peaks[:, None], peaks) - rng.exponential(2, (k, k))
    passes = np.where(rng.random((k, k)) < unknown, np.nan, passes)
    passes = np.fmin(passes, passes.T)
    tree = linkage.link(peaks, passes, range(k))
    assert len(tree.join) + len(tree.roots) == k
    assert np.isnan(tree.foot[0]) == (len(tree.join) == 0) or k > 1
    assert (np.nan_to_num(tree.foot, nan=-np.inf) <= tree.depth + 1e-12).all()
    for i in range(k):
        known = np.delete(passes[i], i)
        if np.isfinite(known).any():
            assert tree.foot[i] >= np.nanmax(known) - peaks.max() - 1e-9
    xs, ys = tree.join_lines.reshape(2, -1, 3)[..., :2]
    for left, right, height in zip(*xs[ys[:, 0] == ys[:, 1]].T, ys[ys[:, 0] == ys[:, 1], 0], strict=True):
        between = (tree.x > min(left, right)) & (tree.x < max(left, right))
        assert (np.nan_to_num(tree.foot[between], nan=-np.inf) >= height - 1e-9).all()


def test_stems_numbers_and_areas_are_those_of_the_modes() -> None:
    dt = make_comparison(4)
    modes = dt["modes"].to_dataset()
    top = float(modes["log_density"].max())
    pc = plot_tree(dt, backend="none")
    sizes = []
    for mode in modes["mode"].values:
        stem = pc.viz["stem"]["depth"].sel(mode=mode).item()["y"]
        row = modes.sel(mode=mode)
        known = row["pass_log_density"].values
        np.testing.assert_allclose(stem[:2], [row["log_density"] - top, np.nanmax(known) - top])
        assert pc.viz["mode_label"]["depth"].sel(mode=mode).item()["string"].startswith(f"{mode}\n")
        sizes.append(pc.viz["peak"]["depth"].sel(mode=mode).item()["size"])
    assert sizes == sorted(sizes, reverse=True)


def test_modes_without_a_path_hang_from_a_dashed_root() -> None:
    dt = make_comparison(3)
    assert "root" not in exists(plot_tree(dt, backend="none"))
    modes = dt["modes"].to_dataset()
    modes["pass_log_density"][2, :] = np.nan
    modes["pass_log_density"][:, 2] = np.nan
    dt["modes"] = xr.DataTree(modes)
    pc = plot_tree(dt, backend="none")
    assert texts(pc, "root_text") == {"no path found"}
    assert pc.viz["root"]["plot"].item()["linestyle"] == "C1"


def test_a_deep_pass_is_cut_and_said() -> None:
    dt = make_comparison(4)
    modes = dt["modes"].to_dataset()
    modes["pass_log_density"][3, :3] = modes["pass_log_density"][:3, 3] = -900.0
    dt["modes"] = xr.DataTree(modes)
    pc = plot_tree(dt, backend="none")
    assert "1 passes lie deeper" in note(pc)
    assert min(np.nanmin(stem["y"]) for stem in pc.viz["stem"]["depth"].values.ravel()) > -200


def test_of_a_hundred_modes_the_heaviest_have_numbers() -> None:
    pc = plot_tree(make_comparison(100), backend="none")
    written = texts(pc, "mode_label")
    assert "1" in written
    assert 10 < len(written) < 100
    assert f"{len(written)} of 100 modes have a number" in note(pc)


def test_a_tree_needs_passes_and_known_modes() -> None:
    dt = COMPARISON.copy(deep=True)
    dt["modes"] = xr.DataTree(dt["modes"].to_dataset().drop_vars("pass_log_density"))
    with pytest.raises(ValueError, match=r"run compare\(\) again"):
        plot_tree(dt, backend="none")
    with pytest.raises(ValueError, match=r"unknown modes \[7\]; known are \[1, 2\]"):
        plot_tree(COMPARISON, backend="none", modes=7)
    assert plot_tree(COMPARISON, backend="none", modes=2).viz["peak"]["depth"].sizes == {"mode": 1}
