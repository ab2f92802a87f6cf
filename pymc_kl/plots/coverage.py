"""Mass per mode: which modes each approximation covers."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr
from arviz_base.labels import BaseLabeller, Labeller
from arviz_base.validate import validate_ci_prob
from arviz_plots import PlotCollection
from arviz_plots.visuals import annotate_xy, fill_between_y, line_x, scatter_x, set_xlim, set_ylim
from scipy.stats import norm

from pymc_kl.arguments import check_arguments
from pymc_kl.comparison.io import check_comparison
from pymc_kl.modes.masses import NORMAL_95
from pymc_kl.modes.numbering import ELSEWHERE_NUMBER
from pymc_kl.plots.parts import style
from pymc_kl.plots.parts.axes import label_axis, set_ticks
from pymc_kl.plots.parts.contract import (
    NONE_GIVEN,
    Aesthetics,
    Canvas,
    choose_backend,
    known_approximations,
    open_collection,
    subset,
    validated,
    with_defaults,
)
from pymc_kl.plots.parts.docstring import fill_docstring
from pymc_kl.plots.parts.legend import legend_height
from pymc_kl.scores.marginals import reference_label

ROW = 0.8  # height of the reference's bar, as a part of the distance between two rows
LANES = 0.7  # height of all marks of a row, as a part of the distance between two rows
LANE_INCHES = (0.07, 0.17)  # height of one approximation's lane, with many marks and with few
MARK_POINTS = (4.5, 7.0)  # width of a mark, with many and with few
CROWDED = (20, 200)  # numbers of marks between which their size shrinks

AESTHETICS = {
    "reference": ["overlay_mode"],
    "reference_interval": ["overlay_mode"],
    "interval": ["color", "width", "legendgroup"],
    "mark": ["color", "marker", "legendgroup"],
    "missed": ["color", "marker", "legendgroup"],
    "missed_text": ["overlay", "overlay_mode", "legendgroup"],
}


class ModeLabeller(BaseLabeller):
    """Name modes; 0 is elsewhere."""

    def dim_coord_to_str(self, dim: Any, coord_val: Any, coord_idx: Any) -> str:
        """Name one value of a dim."""
        if dim != "mode":
            return str(super().dim_coord_to_str(dim, coord_val, coord_idx))
        return "elsewhere" if coord_val == ELSEWHERE_NUMBER else f"mode {coord_val}"


@fill_docstring
def plot_coverage(
    comparison: xr.DataTree,
    *,
    approximations: str | Sequence[str] | None = None,
    modes: int | Sequence[int] | None = None,
    ci_prob: float | None = None,
    plot_collection: PlotCollection | None = None, backend: str | None = None, labeller: Labeller | None = None,
    aes_by_visuals: Mapping[Literal[
        "reference", "reference_interval", "interval", "mark", "missed", "missed_text",
    ], Sequence[str]] = NONE_GIVEN,
    visuals: Mapping[Literal[
        "reference", "reference_interval", "interval", "mark", "missed", "missed_text",
        "ticklabels", "xlabel", "legend", "note",
    ], Mapping[str, Any] | bool] = NONE_GIVEN,
    **pc_kwargs: Any,
) -> PlotCollection:  # fmt: skip
    """Plot the mass of each mode under the reference and under each approximation.

    Each mode is a row. The reference is a grey bar, its interval a darker band; an approximation is a mark with
    its interval. Where an approximation misses a mode, its mark is hollow and labelled "missed".

    Parameters
    ----------
    %(comparison)s
    %(approximations)s
    modes : int or sequence of int, optional
        Which to show, 0 for elsewhere; all by default, elsewhere only if anything has mass there.
    ci_prob : float, optional
        Probability of the intervals. Defaults to ``rcParams["stats.ci_prob"]``. They are normal, clipped to
        [0, 1]; without a draw in the mode they reach up to the exact bound.
    %(figure)s
    labeller : labeller, optional
        Names the dims `mode` and `approximation`.
    %(aes_by_visuals)s
        Valid keys are those of `visuals` down to "missed_text". By default color, marker and width tell
        approximations apart, and overlay goes through the modes.
    %(visuals)s
        * reference, reference_interval -> passed to :func:`arviz_plots.visuals.fill_between_y`
        * interval -> passed to :func:`arviz_plots.visuals.line_x`
        * mark, missed -> passed to :func:`arviz_plots.visuals.scatter_x`
        * missed_text -> passed to :func:`arviz_plots.visuals.annotate_xy`
        * ticklabels, xlabel -> passed to the backend's `yticks` and `xlabel`
        * legend -> passed to :meth:`arviz_plots.PlotCollection.add_legend`
        * note -> passed to :meth:`arviz_plots.PlotCollection.add_title`; why the reference cannot be trusted,
          and which approximations have no masses

    %(pc_kwargs, returns)s
        `viz` holds every visual over the dims `approximation` or `mode`.

    %(raises)s
        For a name or number that the comparison does not know; the message lists the known ones.

    %(examples)s

    >>> pc = pkl.plot_coverage(comparison, backend="none")
    >>> pc.viz["missed_text"]["mass"].sel(approximation="ADVI", mode=2).item()["string"]
    'missed'
    """
    check_arguments(locals())
    dt = check_comparison(comparison)
    prob = validate_ci_prob(ci_prob)
    wanted, aesthetics = validated(plot_coverage, visuals, aes_by_visuals)
    backend = choose_backend(backend, plot_collection)
    table = _read_masses(dt, approximations, modes, prob)
    if plot_collection is None:
        plot_collection = _open(dt, table, backend, pc_kwargs)
    canvas = Canvas(plot_collection, wanted, with_defaults(aesthetics, AESTHETICS, plot_collection))
    _draw_reference(canvas, table)
    _draw_approximations(canvas, table, backend)
    _decorate(canvas, table, prob, labeller or ModeLabeller())
    canvas.note(_note(dt, table))
    return plot_collection


def _read_masses(dt: xr.DataTree, approximations: Any, modes: Any, prob: float) -> xr.Dataset:
    """Lay out masses and intervals over (approximation, mode), the reference first, elsewhere last."""
    reference, coverage = dt["modes"].to_dataset(), dt["coverage"].to_dataset()
    names = subset(approximations, known_approximations(dt), "approximations")
    numbers = [*(int(k) for k in reference["mode"].values), ELSEWHERE_NUMBER]
    rows = [reference.assign({name: reference.attrs[name] for name in ("elsewhere", "elsewhere_se")})]
    rows += [coverage.sel(approximation=name) for name in names]
    blank = xr.DataArray(np.full(reference.sizes["mode"], np.nan))
    mass, se, lower, upper = (
        np.array([[*row.get(name, blank).values, float(row[last]) if last else np.nan] for row in rows], dtype=float)
        for name, last in (
            ("mass", "elsewhere"), ("mass_se", "elsewhere_se"), ("mass_lower", ""), ("mass_upper", ""),
        )
    )  # fmt: skip
    missed = np.zeros(mass.shape, dtype=bool)
    for words, row in zip(missed[1:], rows[1:], strict=True):
        words[:-1] = row["verdict"].values == "missed"
    lower, upper = _interval(mass, se, (lower, upper), prob)
    dims = ("approximation", "mode")
    columns = {"mass": mass, "lower": lower, "upper": upper, "missed": missed}
    table = xr.Dataset(
        {name: (dims, values) for name, values in columns.items()},
        coords={"approximation": [reference_label(names), *names], "mode": numbers},
    )
    if modes is None and not (table["mass"].sel(mode=ELSEWHERE_NUMBER) > 0).any():
        numbers = numbers[:-1]
    return table.sel(mode=subset(modes, numbers if modes is None else table["mode"].values.tolist(), "modes"))


def _interval(mass: Any, se: Any, ends: tuple[Any, Any], prob: float) -> tuple[Any, Any]:
    """Return the ends of the masses' intervals, in [0, 1], at `prob` instead of the 95 % that `ends` are of."""
    half = norm.isf((1 - prob) / 2) * se if prob < 1 else np.where(np.isnan(se), np.nan, 1.0)
    scale = norm.isf((1 - prob) / 2) / NORMAL_95 if prob < 1 else np.inf
    with np.errstate(invalid="ignore"):
        lower, upper = (
            np.where(np.isnan(end), mass + side * half, np.where(end == mass, mass, mass + scale * (end - mass)))
            for end, side in zip(ends, (-1, 1), strict=True)
        )
    bound = np.where(ends[1] < 1, ends[1] * np.log1p(-min(prob, 1 - 1e-12)) / np.log(0.05), ends[1])
    upper = np.where((mass == 0) & np.isfinite(bound), bound, upper)
    return np.clip(lower, 0, 1), np.clip(upper, 0, 1)


def _open(dt: xr.DataTree, table: xr.Dataset, backend: str, pc_kwargs: Mapping[str, Any]) -> PlotCollection:
    known = known_approximations(dt)
    colors, markers = style.approximation_colors(known), style.approximation_markers(known, backend)
    names = table["approximation"].values.tolist()[1:]
    n_names, n_modes = len(names), table.sizes["mode"]
    lane = _shrink(table, LANE_INCHES)
    aesthetics: Aesthetics = {
        "color": (["approximation"], [style.REFERENCE_LIGHT, *(colors[name] for name in names)]),
        "marker": (["approximation"], ["none", *(markers[name] for name in names)]),
        "width": (["approximation"], [9.0, *[1.5] * n_names]),
        "overlay": (["approximation"], [None] * (1 + n_names)),
        "overlay_mode": (["mode"], [None] * n_modes),
    }
    rows = n_modes * max(0.32, n_names * lane / LANES)
    size = (8.0, max(1.1 + rows, legend_height(names)))
    return open_collection(table[["mass"]], aesthetics, backend=backend, size=size, pc_kwargs=pc_kwargs)


def _shrink(table: xr.Dataset, sizes: tuple[float, float]) -> float:
    """Interpolate between the sizes for many marks and for few."""
    n = max(1, (table.sizes["approximation"] - 1) * table.sizes["mode"])
    return float(np.interp(np.log(n), np.log(CROWDED), sizes[::-1]))


def _positions(table: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the height of each mode's row (mode) and of each approximation's lane in it (approximation, mode)."""
    n_modes, n_names = table.sizes["mode"], table.sizes["approximation"] - 1
    rows = xr.DataArray(np.arange(n_modes)[::-1].astype(float), {"mode": table["mode"]}, "mode")
    lanes = LANES * (0.5 - (np.arange(n_names) + 0.5) / max(n_names, 1))
    names = table["approximation"][1:]
    return rows, xr.DataArray(lanes, {"approximation": names}, "approximation") + rows


def _draw_reference(canvas: Canvas, table: xr.Dataset) -> None:
    reference = table.isel(approximation=0, drop=True)
    rows, _ = _positions(table)
    bars: dict[str, tuple[xr.DataArray, xr.DataArray, dict[str, Any]]] = {
        "reference": (xr.zeros_like(reference["mass"]), reference["mass"], {"color": style.REFERENCE_LIGHT}),
        "reference_interval": (
            reference["lower"], reference["upper"], {"color": style.REFERENCE, "alpha": 0.5},
        ),
    }  # fmt: skip
    for name, (low, high, defaults) in bars.items():
        corners = [xr.concat([low, high], "point"), *(xr.full_like(rows, s * ROW / 2) for s in (-1, 1))]
        kwarg = xr.DataArray(["x", "y_bottom", "y_top"], dims="kwarg", name="kwarg")
        data = xr.concat(xr.broadcast(*corners), kwarg).transpose("mode", "kwarg", "point")
        if "approximation" in canvas.collection.facet_dims:
            data = data.expand_dims(approximation=table["approximation"])
        canvas.draw(name, fill_between_y, data.copy(), defaults=defaults, y=rows)


def _draw_approximations(canvas: Canvas, table: xr.Dataset, backend: str) -> None:
    drawn = table.isel(approximation=slice(1, None))
    _, y = _positions(table)
    ends = xr.concat([drawn["lower"], drawn["upper"], drawn["mass"] * np.nan], "bound")
    canvas.draw("interval", _segments, ends, defaults={"color": style.REFERENCE, "width": 1.5}, y=y)
    marks = {"size": style.marker_size(backend, _shrink(table, MARK_POINTS)), "color": style.REFERENCE}
    canvas.draw("mark", scatter_x, drawn["mass"].where(~drawn["missed"]), defaults=marks, y=y)
    hollow = marks | {"facecolor": "B0", "width": 1.2}
    canvas.draw("missed", scatter_x, drawn["mass"].where(drawn["missed"]), defaults=hollow, y=y)
    x = (drawn["upper"].fillna(drawn["mass"]) + 0.015 * _limit(table)).where(drawn["missed"])
    text = {
        "text": "missed", "color": "B1", "horizontal_align": "left",
        "size": 1.4 * _shrink(table, MARK_POINTS),
    }  # fmt: skip
    canvas.draw("missed_text", annotate_xy, x, defaults=text, y=y)


def _segments(da: xr.DataArray, target: Any, y: xr.DataArray, **kwargs: Any) -> Any:
    """Draw a horizontal line for each mode, all as one visual with gaps."""
    x, heights = (each.transpose(..., "bound").values.ravel() for each in xr.broadcast(da, y))
    return line_x(x, target, y=heights, **kwargs)


def _limit(table: xr.Dataset) -> float:
    """Return the upper end of the axis: 1, or less where all masses are small."""
    top = float(np.nanmax(table["upper"].fillna(0)))
    return 1.0 if top > 0.5 else 1.1 * top


def _decorate(canvas: Canvas, table: xr.Dataset, prob: float, labeller: Any) -> None:
    limit, rows = _limit(table), _positions(table)[0]
    canvas.collection.facet_map(set_xlim, limits=(-0.02 * limit, 1.02 * limit), store_artist=False)
    canvas.collection.facet_map(set_ylim, limits=(-0.6, len(rows) - 0.4), store_artist=False)
    modes = rows["mode"].values.tolist()
    labels = [labeller.sel_to_str({"mode": k}, {"mode": i}) for i, k in enumerate(modes)]
    canvas.decorate("ticklabels", set_ticks, axis="y", ticks=rows.values, labels=labels)
    text = f"mass (intervals: {100 * prob:.3g} %)"
    canvas.decorate("xlabel", label_axis, axis="x", defaults={"text": text})
    canvas.legend("approximation", labeller=labeller)


def _note(dt: xr.DataTree, table: xr.Dataset) -> str:
    """Write why the reference cannot be trusted, and which approximations have no masses."""
    attrs, lines = dt["modes"].attrs, []
    if not int(attrs.get("masses_known", 1)):
        lines.append(f"Take the masses of the reference with care: {attrs['reason']}.")
    empty = table["mass"].isnull().all("mode")
    if empty.any():
        lines.append(f"No masses: {', '.join(table['approximation'].values[empty])}.")
    return "\n".join(lines)
