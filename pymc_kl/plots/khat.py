"""Pareto k-hat of each approximation, which says whether importance sampling can correct it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr
from arviz_base.labels import BaseLabeller, Labeller
from arviz_plots import PlotCollection
from arviz_plots.visuals import scatter_xy

from pymc_kl.comparison_io import check_comparison
from pymc_kl.plots.parts import style
from pymc_kl.plots.parts.axes import at, draw_arrow, draw_line, fill_band, label_axis, set_limits, set_ticks, write
from pymc_kl.plots.parts.captions import annotate_text, listed, write_each
from pymc_kl.plots.parts.contract import (
    NONE_GIVEN,
    Aesthetics,
    Canvas,
    choose_backend,
    known_approximations,
    open_collection,
    some_approximations,
    validated,
    with_defaults,
)
from pymc_kl.plots.parts.rows import ROW_INCHES, label_rows, rows_of

KHAT_FAIR, KHAT_GOOD = 0.7, 0.5  # Vehtari et al. 2024: estimates are reliable below 0.7; variance is finite below 0.5
SHOWN = (-0.5, 2.0)  # beyond, a k-hat says no more than that it is good or bad
LANE = 0.17  # of a row that the two marks lie above and below its middle
ALARM = "misses a mode,\nunseen by k-hat"
ALARM_ROOM = 0.95  # on the axis
SIDES = {"khat": LANE, "khat_reference": -LANE}

AESTHETICS = {
    "khat": ["color", "marker", "legendgroup"],
    "khat_reference": ["color", "marker", "legendgroup"],
    "cut": ["color", "arrow", "legendgroup"],
    "value": ["overlay", "overlay_direction", "overlay_edge", "legendgroup"],
    "alarm_text": ["overlay", "legendgroup"],
}

AesVisual = Literal["khat", "khat_reference", "cut", "value", "alarm_text"]
Visual = Literal[
    "khat", "khat_reference", "cut", "value", "alarm_text", "zones", "limits", "zone_text", "ticklabels", "xlabel",
    "note",
]  # fmt: skip


def plot_khat(
    comparison: xr.DataTree,
    *,
    approximations: str | Sequence[str] | None = None,
    plot_collection: PlotCollection | None = None,
    backend: str | None = None,
    labeller: Labeller | None = None,
    aes_by_visuals: Mapping[AesVisual, Sequence[str]] = NONE_GIVEN,
    visuals: Mapping[Visual, Mapping[str, Any] | bool] = NONE_GIVEN,
    **pc_kwargs: Any,
) -> PlotCollection:
    """Plot the Pareto k-hat of each approximation q to the posterior p, a row an approximation.

    A filled mark is k-hat of p/q under draws of q: below 0.7 importance sampling can correct q [1]_, where q
    has draws. A hollow mark is k-hat of q/p under draws of p. No k-hat sees a mode that its draws never
    visit; where the comparison knows of one, the row says so. k-hat is itself an estimate, good to 0.1 or
    0.2, and has no standard error.

    Parameters
    ----------
    comparison : DataTree
        What :func:`pymc_kl.compare` returned.
    approximations : str or sequence of str, optional
        Which to show; all by default.
    plot_collection : PlotCollection, optional
    backend : {"matplotlib", "plotly", "bokeh", "none"}, optional
    labeller : labeller, optional
        Names the approximations.
    aes_by_visuals : mapping of {str : sequence of str or False}, optional
        Valid keys are those of `visuals` down to "alarm_text". By default color and marker tell
        approximations apart.
    visuals : mapping of {str : mapping or bool}, optional
        Valid keys are:

        * khat, khat_reference -> passed to :func:`arviz_plots.visuals.scatter_xy`
        * cut -> passed to :func:`arviz_plots.visuals.scatter_xy`; the arrow at the edge for what lies beyond
        * value -> passed to :func:`arviz_plots.visuals.annotate_xy`; the number of what lies beyond
        * alarm_text -> passed to :func:`arviz_plots.visuals.annotate_xy`
        * zones, limits, zone_text -> passed to the backend's `fill_between_y`, `line` and `text`
        * ticklabels, xlabel -> passed to the backend's `yticks` and `xlabel`
        * note -> passed to :meth:`arviz_plots.PlotCollection.add_title`; who has no density, and what is cut

    **pc_kwargs
        Passed to :meth:`arviz_plots.PlotCollection.wrap`.

    Returns
    -------
    PlotCollection
        `viz` holds every visual over the dims `approximation` and `direction`.

    Raises
    ------
    ValueError
        For a name that the comparison does not know; the message lists the known ones.

    References
    ----------
    .. [1] Vehtari, A., Simpson, D., Gelman, A., Yao, Y., Gabry, J. (2024). Pareto smoothed importance
       sampling. Journal of Machine Learning Research 25(72). https://arxiv.org/abs/1507.02646

    Examples
    --------
    >>> import numpy as np, pymc as pm, pymc_kl as pkl, xarray as xr
    >>> rng = np.random.default_rng(1)
    >>> with pm.Model() as model:
    ...     x = pm.Normal("x")
    ...     reference = xr.Dataset({"x": (("chain", "draw"), rng.normal(size=(4, 500)))})
    ...     comparison = pkl.compare(reference, {}, forward=("meanfield",), random_seed=1, progressbar=False)
    >>> pc = pkl.plot_khat(comparison, backend="none")
    >>> pc.viz["zone_text"]["plot"].item()["string"]
    'poor'
    """
    dt = check_comparison(comparison)
    wanted = validated(visuals, plot_khat, "visuals")
    aesthetics = validated(aes_by_visuals, plot_khat, "aes_by_visuals")
    backend = choose_backend(backend, plot_collection)
    names = some_approximations(dt, approximations)
    scores = dt["scores"].to_dataset().sel(approximation=names)
    if plot_collection is None:
        plot_collection = _open(dt, names, backend, pc_kwargs)
    canvas = Canvas(plot_collection, wanted, with_defaults(aesthetics, AESTHETICS, plot_collection))
    alarm = scores["alarm"] == 1
    _draw_zones(canvas, len(names))
    _draw_marks(canvas, scores, backend)
    _draw_alarm(canvas, alarm)
    end = SHOWN[1] + (ALARM_ROOM if alarm.any() else 0.08)
    canvas.collection.facet_map(set_limits, x=(SHOWN[0] - 0.08, end), y=(-0.6, len(names) + 0.1), store_artist=False)
    ticks = np.arange(SHOWN[0], SHOWN[1] + 0.1, 0.5)
    canvas.collection.facet_map(
        set_ticks, axis="x", ticks=ticks, labels=[f"{tick:g}" for tick in ticks], store_artist=False
    )
    label_rows(canvas, names, labeller or BaseLabeller())
    text = "Pareto k-hat (filled: p/q under q; hollow: q/p under p)"
    canvas.decorate("xlabel", label_axis, axis="x", text=text)
    canvas.note(_note(scores))
    return plot_collection


def _open(dt: xr.DataTree, names: Sequence[str], backend: str, pc_kwargs: Mapping[str, Any]) -> PlotCollection:
    known = known_approximations(dt)
    colors, markers = style.approximation_colors(known), style.approximation_markers(known, backend)
    coords = {"approximation": list(names), "direction": list(SIDES), "edge": ["left", "right"]}
    data = xr.Dataset({"khat": (list(coords), np.zeros((len(names), 2, 2)))}, coords)
    aesthetics: Aesthetics = {
        "color": (["approximation"], [colors[name] for name in names]),
        "marker": (["approximation"], [markers[name] for name in names]),
        "arrow": (["edge"], ["left", "right"]),
        "overlay": (["approximation"], [None] * len(names)),
        "overlay_edge": (["edge"], [None] * 2),
        "overlay_direction": (["direction"], [None] * 2),
    }
    return open_collection(
        data, aesthetics, backend=backend, size=(8.0, 1.5 + ROW_INCHES * len(names)), pc_kwargs=pc_kwargs
    )


def _draw_zones(canvas: Canvas, n: int) -> None:
    """Shade what is fair and what is poor, and name the zones on top."""
    heights = (-0.6, n - 0.4)
    zones = {"good": (SHOWN[0], KHAT_GOOD), "fair": (KHAT_GOOD, KHAT_FAIR), "poor": (KHAT_FAIR, SHOWN[1])}
    canvas.decorate("zones", _zones, zones=list(zones.values())[1:], y=heights, defaults={"color": style.ELSEWHERE})
    canvas.decorate("limits", _limits, y=heights, defaults={"color": "B2", "width": 1.0, "linestyle": "C1"})
    canvas.decorate(
        "zone_text", _zone_text, zones=zones, y=n - 0.15, defaults={"color": "B1", "size": canvas.letters(9)}
    )


def _zones(da: xr.DataArray, target: Any, *, zones: Sequence[tuple[float, float]], y: Any, **kwargs: Any) -> Any:
    alphas = (0.35, 0.7)
    return [fill_band(da, target, x=x, y=y, **({"alpha": a} | kwargs)) for x, a in zip(zones, alphas, strict=True)][-1]


def _limits(da: xr.DataArray, target: Any, *, y: Any, **kwargs: Any) -> Any:
    return [draw_line(da, target, x=(k, k), y=y, **kwargs) for k in (KHAT_GOOD, KHAT_FAIR)][-1]


def _zone_text(da: xr.DataArray, target: Any, *, zones: Mapping[str, Any], y: float, **kwargs: Any) -> Any:
    return [write(da, target, x=sum(ends) / 2, y=y, text=name, **kwargs) for name, ends in zones.items()][-1]


def _draw_marks(canvas: Canvas, scores: xr.Dataset, backend: str) -> None:
    """Draw both marks of each row; an arrow and the number at the edge for what lies beyond it."""
    rows = rows_of(scores["approximation"].values.tolist())
    mark = {"color": style.REFERENCE, "size": style.marker_size(backend, 7)}
    for name, own in (("khat", {}), ("khat_reference", {"facecolor": "B0", "width": 1.4})):
        inside = (scores[name] >= SHOWN[0]) & (scores[name] <= SHOWN[1])
        canvas.draw(name, scatter_xy, at(scores[name].where(inside), rows + SIDES[name]), defaults=mark | own)
    direction = xr.DataArray(list(SIDES), dims="direction", name="direction")
    both = xr.concat([scores[name] for name in SIDES], direction)
    heights = rows + xr.DataArray(list(SIDES.values()), {"direction": list(SIDES)}, ["direction"])
    edge = xr.DataArray(["left", "right"], dims="edge", name="edge")
    beyond = xr.concat([both < SHOWN[0], both > SHOWN[1]], edge)
    x = (xr.DataArray(list(SHOWN), {"edge": edge.values}, ["edge"]) + 0 * heights).where(beyond)
    canvas.draw("cut", draw_arrow, at(x, heights + 0 * x), defaults=mark)
    inwards = xr.DataArray([0.06, -0.06], {"edge": edge.values}, ["edge"])
    align = xr.DataArray(["left", "right"], {"edge": edge.values}, ["edge"])
    text = write_each(_number, both)
    canvas.draw(
        "value", annotate_text, at(x + inwards, heights + 0 * x), text=text, horizontal_align=align,
        defaults={"color": "B1", "size": canvas.letters(8)},
    )  # fmt: skip


def _number(khat: float) -> str:
    return f"{khat:.1f}" if np.isfinite(khat) else ("∞" if khat > 0 else "-∞")


def _draw_alarm(canvas: Canvas, alarm: xr.DataArray) -> None:
    rows = rows_of(alarm["approximation"].values.tolist())
    x = xr.where(alarm, SHOWN[1] + 0.08, np.nan)
    canvas.draw(
        "alarm_text", annotate_text, at(x, rows + 0 * x), text=xr.full_like(x, ALARM, dtype=object),
        defaults={"color": "B1", "size": canvas.letters(8), "horizontal_align": "left"},
    )  # fmt: skip


def _note(scores: xr.Dataset) -> str:
    """Say who has no k-hat, and what is cut."""
    both = [scores[name].values for name in SIDES]
    names, lines = scores["approximation"].values, []
    if (lost := np.isnan(both).all(axis=0)).any():
        lines.append(f"No density, so no k-hat: {listed(names[lost].tolist())}.")
    if (part := np.isnan(both).any(axis=0) & ~lost).any():
        lines.append(f"One k-hat is not defined: {listed(names[part].tolist())}.")
    if np.isneginf(both).any():
        lines.append("-∞ is the k-hat of constant ratios.")
    if any(((khat > SHOWN[1]) | (khat < SHOWN[0])).any() for khat in both):
        lines.append(f"Beyond {SHOWN[0]:g} and {SHOWN[1]:g} an arrow and the number stand for the mark.")
    return "\n".join(lines)
