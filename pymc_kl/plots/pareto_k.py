"""Pareto k-hat of each approximation, which says whether importance sampling can correct it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr
from arviz_base.labels import BaseLabeller, Labeller
from arviz_plots import PlotCollection
from arviz_plots.visuals import scatter_xy

from pymc_kl.arguments import check_arguments
from pymc_kl.comparison.io import check_comparison
from pymc_kl.numerics.khat import KHAT_FINITE_VARIANCE, KHAT_RELIABLE
from pymc_kl.plots.parts import style
from pymc_kl.plots.parts.axes import label_axis, set_limits, set_ticks
from pymc_kl.plots.parts.captions import annotate_text, listed, write_each
from pymc_kl.plots.parts.contract import (
    NONE_GIVEN,
    Aesthetics,
    Canvas,
    choose_backend,
    open_collection,
    some_approximations,
    validated,
    with_defaults,
)
from pymc_kl.plots.parts.docstring import fill_docstring
from pymc_kl.plots.parts.rows import ROW_INCHES, label_rows, row_aesthetics, rows_of
from pymc_kl.plots.parts.shapes import at, draw_arrow, draw_line, fill_band, write

SHOWN_KHAT = (-0.5, 2.0)  # smallest and largest k-hat that is drawn to scale
LANE = 0.17  # distance of each mark from the middle of its row, in rows
ALARM = "misses a mode,\nunseen by k-hat"
ALARM_ROOM = 0.95  # width of that text, in units of k-hat
SIDES = {"khat": LANE, "khat_reference": -LANE}

AESTHETICS = {
    "khat": ["color", "marker", "legendgroup"],
    "khat_reference": ["color", "marker", "legendgroup"],
    "cut": ["color", "arrow", "legendgroup"],
    "value": ["overlay", "overlay_direction", "overlay_edge", "legendgroup"],
    "alarm_text": ["overlay", "legendgroup"],
}


@fill_docstring
def plot_pareto_k(
    comparison: xr.DataTree,
    *,
    approximations: str | Sequence[str] | None = None,
    plot_collection: PlotCollection | None = None, backend: str | None = None, labeller: Labeller | None = None,
    aes_by_visuals: Mapping[Literal[
        "khat", "khat_reference", "cut", "value", "alarm_text",
    ], Sequence[str]] = NONE_GIVEN,
    visuals: Mapping[Literal[
        "khat", "khat_reference", "cut", "value", "alarm_text", "zones", "limits", "zone_text", "ticklabels", "xlabel",
        "note",
    ], Mapping[str, Any] | bool] = NONE_GIVEN,
    **pc_kwargs: Any,
) -> PlotCollection:  # fmt: skip
    """Plot the Pareto k-hat of each approximation q to the posterior p.

    A filled mark is k-hat of p/q under draws of q: below 0.7, importance sampling can correct q [1]_ in the modes
    where q has draws. A hollow mark is k-hat of q/p under draws of p. k-hat cannot detect a mode without draws;
    where the comparison found one, the row is labelled. k-hat is an estimate, good to 0.1 or 0.2, without a
    standard error.

    Parameters
    ----------
    %(comparison)s
    %(approximations)s
    %(figure)s
    labeller : labeller, optional
        Names the approximations.
    %(aes_by_visuals)s
        Valid keys are those of `visuals` down to "alarm_text". By default color and marker tell
        approximations apart.
    %(visuals)s
        * khat, khat_reference -> passed to :func:`arviz_plots.visuals.scatter_xy`
        * cut -> passed to :func:`arviz_plots.visuals.scatter_xy`; the arrow at the edge for what lies beyond
        * value -> passed to :func:`arviz_plots.visuals.annotate_xy`; the number of what lies beyond
        * alarm_text -> passed to :func:`arviz_plots.visuals.annotate_xy`
        * zones, limits, zone_text -> passed to the backend's `fill_between_y`, `line` and `text`
        * ticklabels, xlabel -> passed to the backend's `yticks` and `xlabel`
        * note -> passed to :meth:`arviz_plots.PlotCollection.add_title`; who has no density, and what is cut

    %(pc_kwargs, returns)s
        `viz` holds every visual over the dims `approximation` and `direction`.

    %(raises)s
        For a name that the comparison does not know; the message lists the known ones.

    References
    ----------
    .. [1] Vehtari, A., Simpson, D., Gelman, A., Yao, Y., Gabry, J. (2024). Pareto smoothed importance
       sampling. Journal of Machine Learning Research 25(72). https://arxiv.org/abs/1507.02646

    %(examples)s

    >>> pc = pkl.plot_pareto_k(comparison, backend="none")
    >>> pc.viz["alarm_text"]["khat"].sel(approximation="ADVI").item()["string"].splitlines()
    ['misses a mode,', 'unseen by k-hat']
    """
    check_arguments(locals())
    dt = check_comparison(comparison)
    wanted, aesthetics = validated(plot_pareto_k, visuals, aes_by_visuals)
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
    end = SHOWN_KHAT[1] + (ALARM_ROOM if alarm.any() else 0.08)
    canvas.collection.facet_map(
        set_limits, x=(SHOWN_KHAT[0] - 0.08, end), y=(-0.6, len(names) + 0.1), store_artist=False
    )
    ticks = np.arange(SHOWN_KHAT[0], SHOWN_KHAT[1] + 0.1, 0.5)
    canvas.collection.facet_map(
        set_ticks, axis="x", ticks=ticks, labels=[f"{tick:g}" for tick in ticks], store_artist=False
    )
    label_rows(canvas, names, labeller or BaseLabeller())
    text = "Pareto k-hat (filled: p/q under q; hollow: q/p under p)"
    canvas.decorate("xlabel", label_axis, axis="x", text=text)
    canvas.note(_note(scores))
    return plot_collection


def _open(dt: xr.DataTree, names: Sequence[str], backend: str, pc_kwargs: Mapping[str, Any]) -> PlotCollection:
    coords = {"approximation": list(names), "direction": list(SIDES), "edge": ["left", "right"]}
    data = xr.Dataset({"khat": (list(coords), np.zeros((len(names), 2, 2)))}, coords)
    aesthetics: Aesthetics = {
        **row_aesthetics(dt, names, backend),
        "arrow": (["edge"], ["left", "right"]),
        "overlay_edge": (["edge"], [None] * 2),
        "overlay_direction": (["direction"], [None] * 2),
    }
    return open_collection(
        data, aesthetics, backend=backend, size=(8.0, 1.5 + ROW_INCHES * len(names)), pc_kwargs=pc_kwargs
    )


def _draw_zones(canvas: Canvas, n: int) -> None:
    """Shade the zones of fair and of poor k-hats, and name all zones on top."""
    heights = (-0.6, n - 0.4)
    zones = {
        "good": (SHOWN_KHAT[0], KHAT_FINITE_VARIANCE),
        "fair": (KHAT_FINITE_VARIANCE, KHAT_RELIABLE),
        "poor": (KHAT_RELIABLE, SHOWN_KHAT[1]),
    }
    canvas.decorate("zones", _zones, zones=list(zones.values())[1:], y=heights, defaults={"color": style.ELSEWHERE})
    canvas.decorate("limits", _limits, y=heights, defaults={"color": "B2", "width": 1.0, "linestyle": "C1"})
    canvas.decorate(
        "zone_text", _zone_text, zones=zones, y=n - 0.15, defaults={"color": "B1", "size": canvas.letters(9)}
    )


def _zones(da: xr.DataArray, target: Any, *, zones: Sequence[tuple[float, float]], y: Any, **kwargs: Any) -> Any:
    alphas = (0.35, 0.7)
    return [fill_band(da, target, x=x, y=y, **({"alpha": a} | kwargs)) for x, a in zip(zones, alphas, strict=True)][-1]


def _limits(da: xr.DataArray, target: Any, *, y: Any, **kwargs: Any) -> Any:
    return [draw_line(da, target, x=(k, k), y=y, **kwargs) for k in (KHAT_FINITE_VARIANCE, KHAT_RELIABLE)][-1]


def _zone_text(da: xr.DataArray, target: Any, *, zones: Mapping[str, Any], y: float, **kwargs: Any) -> Any:
    return [write(da, target, x=sum(ends) / 2, y=y, text=name, **kwargs) for name, ends in zones.items()][-1]


def _draw_marks(canvas: Canvas, scores: xr.Dataset, backend: str) -> None:
    """Draw both marks of each row; for a value beyond the axis, an arrow and the number at the end of the axis."""
    rows = rows_of(scores["approximation"].values.tolist())
    mark = {"color": style.REFERENCE, "size": style.marker_size(backend, 7)}
    for name, own in (("khat", {}), ("khat_reference", {"facecolor": "B0", "width": 1.4})):
        inside = (scores[name] >= SHOWN_KHAT[0]) & (scores[name] <= SHOWN_KHAT[1])
        canvas.draw(name, scatter_xy, at(scores[name].where(inside), rows + SIDES[name]), defaults=mark | own)
    direction = xr.DataArray(list(SIDES), dims="direction", name="direction")
    both = xr.concat([scores[name] for name in SIDES], direction)
    heights = rows + xr.DataArray(list(SIDES.values()), {"direction": list(SIDES)}, ["direction"])
    edge = xr.DataArray(["left", "right"], dims="edge", name="edge")
    beyond = xr.concat([both < SHOWN_KHAT[0], both > SHOWN_KHAT[1]], edge)
    x = (xr.DataArray(list(SHOWN_KHAT), {"edge": edge.values}, ["edge"]) + 0 * heights).where(beyond)
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
    x = xr.where(alarm, SHOWN_KHAT[1] + 0.08, np.nan)
    canvas.draw(
        "alarm_text", annotate_text, at(x, rows + 0 * x), text=xr.full_like(x, ALARM, dtype=object),
        defaults={"color": "B1", "size": canvas.letters(8), "horizontal_align": "left"},
    )  # fmt: skip


def _note(scores: xr.Dataset) -> str:
    """Write which approximations have no k-hat, and what is cut."""
    both = [scores[name].values for name in SIDES]
    names, lines = scores["approximation"].values, []
    if (lost := np.isnan(both).all(axis=0)).any():
        lines.append(f"No density, so no k-hat: {listed(names[lost].tolist())}.")
    if (part := np.isnan(both).any(axis=0) & ~lost).any():
        lines.append(f"One k-hat is not defined: {listed(names[part].tolist())}.")
    if np.isneginf(both).any():
        lines.append("-∞ is the k-hat of constant ratios.")
    if any(((khat > SHOWN_KHAT[1]) | (khat < SHOWN_KHAT[0])).any() for khat in both):
        lines.append(f"Beyond {SHOWN_KHAT[0]:g} and {SHOWN_KHAT[1]:g} an arrow and the number stand for the mark.")
    return "\n".join(lines)
