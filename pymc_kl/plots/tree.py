"""The modes as a tree, joined at the passes between them."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr
from arviz_plots import PlotCollection
from arviz_plots.visuals import remove_axis, scatter_xy

from pymc_kl._typing import Array
from pymc_kl.arguments import check_arguments
from pymc_kl.comparison.formats import format_percent
from pymc_kl.comparison.io import check_comparison
from pymc_kl.plots.parts import style
from pymc_kl.plots.parts.axes import cut_above, label_axis, round_ticks, set_limits, set_ticks
from pymc_kl.plots.parts.captions import annotate_text
from pymc_kl.plots.parts.contract import (
    MIN_WIDTH,
    NONE_GIVEN,
    Aesthetics,
    Canvas,
    choose_backend,
    open_collection,
    subset,
    validated,
    with_defaults,
)
from pymc_kl.plots.parts.docstring import fill_docstring
from pymc_kl.plots.parts.linkage import Tree, link
from pymc_kl.plots.parts.shapes import at, draw_line, draw_lines, polyline, write

MODE_INCHES = 0.75  # width of the column of a mode
MAX_WIDTH = 9.0  # inches: largest width of the figure
NUMBER_INCHES = 0.24  # least width of a mode's column that has room for its number
MASS_INCHES = 0.62  # width of a mass in per cent
DISC_POINTS = (3.0, 15.0)  # diameter of a disc for a mode without mass, and for the largest mass
TREE_HEIGHT = 4.2  # inches: height of the figure
HOOK = 0.22  # distance of the pass to another copy from the stem, in columns
TREE_PAD = (0.16, 0.1)  # margins above, for the numbers, and below, for the root, as parts of the height

AESTHETICS = {
    "stem": ["overlay_mode"],
    "copy_pass": ["overlay_mode"],
    "peak": ["overlay_mode"],
    "unknown_mass": ["overlay_mode"],
    "mode_label": ["overlay_mode"],
}


@fill_docstring
def plot_mode_tree(
    comparison: xr.DataTree,
    *,
    modes: int | Sequence[int] | None = None,
    plot_collection: PlotCollection | None = None, backend: str | None = None,
    aes_by_visuals: Mapping[Literal[
        "stem", "copy_pass", "peak", "unknown_mass", "mode_label",
    ], Sequence[str]] = NONE_GIVEN,
    visuals: Mapping[Literal[
        "stem", "copy_pass", "peak", "unknown_mass", "mode_label", "join", "root", "root_text", "ylabel",
        "remove_axis", "note",
    ], Mapping[str, Any] | bool] = NONE_GIVEN,
    **pc_kwargs: Any,
) -> PlotCollection:  # fmt: skip
    """Plot the peaks of the posterior and how deep the passes between them lie.

    Each mode is a line from its peak down to the highest known pass to another mode, directly or over other modes
    (single linkage). The length of the line is the fall of the log density on the way, in nats. The area of a disc
    is proportional to the mode's mass. A dashed root holds modes that no path joins.

    Parameters
    ----------
    %(comparison)s
    modes : int or sequence of int, optional
        Which to show; all by default. Paths over modes that are not shown count.
    %(figure)s
    %(aes_by_visuals)s
        Valid keys are those of `visuals` down to "mode_label". By default overlay_mode goes through the modes.
    %(visuals)s
        * stem, copy_pass, join, root -> passed to :func:`arviz_plots.visuals.line_xy`; copy_pass is the pass
          from a mode to another copy of it under the symmetries
        * peak, unknown_mass -> passed to :func:`arviz_plots.visuals.scatter_xy`
        * mode_label -> passed to :func:`arviz_plots.visuals.annotate_xy`; number, and mass in per cent
        * root_text -> passed to the backend's `text`
        * ylabel, remove_axis -> passed to the backend's functions of these names
        * note -> passed to :meth:`arviz_plots.PlotCollection.add_title`; what has no number or is cut

    %(pc_kwargs, returns)s
        `viz` holds the visuals of the modes over the dim `mode`.

    %(raises)s
        For a number that is not known, and for a comparison without passes.

    %(examples)s

    >>> pc = pkl.plot_mode_tree(comparison, backend="none")
    >>> pc.viz["peak"]["depth"].sizes
    Frozen({'mode': 2})
    """
    check_arguments(locals())
    dt = check_comparison(comparison)
    wanted, aesthetics = validated(plot_mode_tree, visuals, aes_by_visuals)
    backend, ds = choose_backend(backend, plot_collection), dt["modes"].to_dataset()
    if "pass_log_density" not in ds:
        raise ValueError(
            "the comparison holds no passes between modes, as files of earlier versions; run compare() again."
        )
    shown = subset(modes, ds["mode"].values.tolist(), "modes")
    chosen = [ds["mode"].values.tolist().index(mode) for mode in dict.fromkeys(shown)]
    tree = link(ds["log_density"].values, ds["pass_log_density"].values, chosen)
    columns = [name for name in ("mass", "mass_se", "mass_upper", "mass_lower") if name in ds]
    table = ds[columns].isel(mode=chosen)
    width = float(np.clip(1.2 + MODE_INCHES * len(chosen), MIN_WIDTH, MAX_WIDTH))
    if plot_collection is None:
        plot_collection = _open(table, width, backend, pc_kwargs)
    canvas = Canvas(plot_collection, wanted, with_defaults(aesthetics, AESTHETICS, plot_collection))
    column = (width - 1.0) / len(chosen)
    floor = _floor(tree)
    _draw_branches(canvas, tree, table, floor)
    labelled = _draw_peaks(canvas, tree, table, column, floor, backend)
    _decorate(canvas, tree, floor, len(chosen))
    canvas.note(_note(tree, table, labelled, floor))
    return plot_collection


def _open(table: xr.Dataset, width: float, backend: str, pc_kwargs: Mapping[str, Any]) -> PlotCollection:
    modes = table["mode"].values
    data = xr.Dataset({"depth": ("mode", np.zeros(len(modes)))}, {"mode": modes})
    aesthetics: Aesthetics = {"color": (["mode"], ["B1"] * len(modes)), "overlay_mode": (["mode"], [None] * len(modes))}
    return open_collection(data, aesthetics, backend=backend, size=(width, TREE_HEIGHT), pc_kwargs=pc_kwargs)


def _floor(tree: Tree) -> float:
    """Return the depth below which passes are cut; all peaks lie above it."""
    falls = -np.concatenate([tree.join, tree.copy_pass])
    return min(-cut_above(falls[falls > 0]), float(tree.depth.min()))


def _draw_branches(canvas: Canvas, tree: Tree, table: xr.Dataset, floor: float) -> None:
    """Draw the stems, the passes where they join, and a dashed root under branches that no path joins."""
    modes = {"mode": table["mode"].values}
    bottom = _root(tree, floor)
    x, top = (xr.DataArray(values, modes, ["mode"]) for values in (tree.x, tree.depth))
    foot = xr.DataArray(np.where(np.isnan(tree.foot), top, np.maximum(tree.foot, floor)), modes, ["mode"])
    line = {"color": "B1", "width": 1.4}
    canvas.draw("stem", draw_lines, polyline(at(x, top), at(x, foot)), defaults=line)
    hook = xr.DataArray(np.maximum(tree.copy_pass, floor), modes, ["mode"])
    beside = polyline(at(x, top), at(x + HOOK, top), at(x + HOOK, hook), at(x + 2 * HOOK, hook))
    dotted = {"color": "B2", "width": 1.2, "linestyle": "C2"}
    canvas.draw("copy_pass", draw_lines, beside.where(hook.notnull()), defaults=dotted)
    if len(tree.join):
        ys = np.maximum(tree.join_lines[1], floor)
        canvas.decorate("join", draw_line, x=tree.join_lines[0].tolist(), y=ys.tolist(), defaults=line)
    if len(tree.roots) > 1:
        ends = [(max(depth, floor) if np.isfinite(depth) else depth, position) for position, depth in tree.roots]
        points = [(position, depth) for depth, position in ends]
        xs = [value for position, _ in points for value in (position, position, np.nan)] + [points[0][0], points[-1][0]]
        ys = [value for _, depth in points for value in (depth, bottom, np.nan)] + [bottom, bottom]
        dashed = line | {"linestyle": "C1"}
        canvas.decorate("root", draw_line, x=xs, y=ys, defaults=dashed)
        text = {"color": "B1", "size": canvas.letters(9), "vertical_align": "top"}
        middle = (points[0][0] + points[-1][0]) / 2
        canvas.decorate(
            "root_text", write, x=middle, y=bottom - 0.015 * abs(bottom), text="no path found", defaults=text
        )


def _root(tree: Tree, floor: float) -> float:
    return floor * 1.12 if len(tree.roots) > 1 else floor


def _draw_peaks(canvas: Canvas, tree: Tree, table: xr.Dataset, column: float, floor: float, backend: str) -> Array:
    """Draw discs as large as the masses, and the numbers that fit; return which modes have one."""
    modes = {"mode": table["mode"].values}
    x, depth = (xr.DataArray(values, modes, ["mode"]) for values in (tree.x, tree.depth))
    mass = table["mass"].values
    relative = np.sqrt(np.clip(np.nan_to_num(mass), 0, None) / max(np.nanmax(mass, initial=0.0), 1e-300))
    across = DISC_POINTS[0] + (DISC_POINTS[1] * min(1.0, column / NUMBER_INCHES) - DISC_POINTS[0]) * relative
    size = xr.DataArray([style.marker_size(backend, float(points)) for points in across], modes, ["mode"])
    disc = {"facecolor": style.REFERENCE_LIGHT, "edgecolor": "B1", "width": 1.0}
    known = np.isfinite(mass)
    canvas.draw(
        "peak", _scatter, at(x, depth).where(xr.DataArray(known, modes, ["mode"])), defaults=disc | {"size": size}
    )
    hollow = disc | {"facecolor": "B0", "size": style.marker_size(backend, 6)}
    canvas.draw("unknown_mass", _scatter, at(x, depth).where(xr.DataArray(~known, modes, ["mode"])), defaults=hollow)
    labelled = _labelled(tree.x, mass, column)
    lift = 0.012 * abs(floor) + abs(floor) * across / 72 / (TREE_HEIGHT * 1.2)
    full = column >= MASS_INCHES
    texts = [
        f"{mode}\n{_percent(*row)}" if full else str(mode)
        for mode, row in zip(table["mode"].values, zip(*(table[key].values for key in table), strict=True), strict=True)
    ]
    position = at(x, depth + xr.DataArray(lift, modes, ["mode"])).where(xr.DataArray(labelled, modes, ["mode"]))
    text = {"color": "B1", "size": canvas.letters(9), "vertical_align": "bottom"}
    canvas.draw("mode_label", annotate_text, position, text=x.copy(data=np.array(texts, dtype=object)), defaults=text)
    return labelled


def _percent(mass: float, se: float, upper: float, lower: float = float("nan")) -> str:
    """Write a mass in per cent."""
    return "mass ?" if np.isnan(mass) else f"{format_percent(mass, se, upper, lower=lower)} %"


def _scatter(da: xr.DataArray, target: Any, *, size: Any, **kwargs: Any) -> Any:
    """Scatter points, each of its own size."""
    return scatter_xy(da, target, size=float(size), **kwargs)


def _labelled(x: Array, mass: Array, column: float) -> Array:
    """Return which modes have a number: the heaviest first, if it overlaps none so far."""
    kept = np.zeros(len(x), dtype=bool)
    for k in np.argsort(-np.nan_to_num(mass, nan=-1.0), kind="stable"):
        kept[k] = not (np.abs(x[kept] - x[k]) * column < NUMBER_INCHES).any()
    return kept


def _decorate(canvas: Canvas, tree: Tree, floor: float, k: int) -> None:
    bottom = _root(tree, floor)
    limits = (bottom - TREE_PAD[1] * abs(bottom), TREE_PAD[0] * abs(bottom))
    canvas.collection.facet_map(set_limits, x=(-0.6, k - 0.4 + HOOK), y=limits, store_artist=False)
    ticks = round_ticks(floor, 0.0)
    canvas.collection.facet_map(
        set_ticks, axis="y", ticks=ticks, labels=[f"{tick:g}" for tick in ticks], store_artist=False
    )
    canvas.decorate("remove_axis", remove_axis, defaults={"axis": "x"})
    canvas.decorate("ylabel", label_axis, axis="y", text="log density (nats below the highest peak)")


def _note(tree: Tree, table: xr.Dataset, labelled: Array, floor: float) -> str:
    """Write which modes have no number, which passes are cut, and what dotted lines and hollow discs mean."""
    lines = []
    if len(labelled) == 1:
        lines.append("A single mode joins no other.")
    if not labelled.all():
        lines.append(f"{labelled.sum()} of {len(labelled)} modes have a number: the heaviest for which there is room.")
    passes = np.concatenate([tree.join, tree.copy_pass[np.isfinite(tree.copy_pass)]])
    if (cut := passes < floor).any():
        lines.append(
            f"{cut.sum()} passes lie deeper than {floor:.3g} and are drawn there; the deepest at {passes.min():.3g}."
        )
    if np.isfinite(tree.copy_pass).any():
        lines.append("Dotted: the pass from a mode to another copy of it.")
    if np.isnan(table["mass"].values).any():
        lines.append("Hollow: mass unknown.")
    return "\n".join(lines)
