"""The loss history of each fit that has one, a facet for each."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from arviz_base.labels import BaseLabeller, Labeller
from arviz_base.validate import validate_ci_prob
from arviz_plots import PlotCollection
from arviz_plots.visuals import line_xy

from pymc_kl._typing import Array
from pymc_kl.arguments import check_arguments
from pymc_kl.comparison.datatree import fit_groups
from pymc_kl.comparison.formats import format_estimate
from pymc_kl.comparison.io import check_comparison
from pymc_kl.plots.parts import style
from pymc_kl.plots.parts.axes import half_width, label_axis, rim, set_limits, wrap_name
from pymc_kl.plots.parts.captions import annotate_text, listed, title_facet, write_each
from pymc_kl.plots.parts.contract import (
    NONE_GIVEN,
    Aesthetics,
    Canvas,
    choose_backend,
    known_approximations,
    open_facets,
    subset,
    validated,
    with_defaults,
)
from pymc_kl.plots.parts.docstring import fill_docstring
from pymc_kl.plots.parts.shapes import at, fill_band

WINDOW = 0.05  # width of the running median, as a part of the steps in the history
END = 0.5  # part of the run, from its end, that sets the axis: high losses at the start would flatten the rest
LOSS_TAIL = 0.03  # part of the losses in that range that may lie above the axis, and part that may lie below
LOSS_PAD = 0.06  # margin of the axis, as a part of its height
LOSS_HEADROOM = 0.22  # room for the numbers above, as a part of the height
LOSS_FACET_INCHES = (3.9, 2.9)  # width and height of a facet
LOSS_TITLE_CHARACTERS = 42  # most characters of a line of a facet's title

AESTHETICS = {
    "loss": ["color", "legendgroup"],
    "median": ["color", "legendgroup"],
    "elbo_interval": ["overlay"],
    "elbo": ["overlay"],
    "elbo_text": ["overlay"],
    "polished": ["overlay"],
    "polished_text": ["overlay"],
}


@fill_docstring
def plot_loss(
    comparison: xr.DataTree,
    *,
    approximations: str | Sequence[str] | None = None,
    ci_prob: float | None = None,
    plot_collection: PlotCollection | None = None, backend: str | None = None, labeller: Labeller | None = None,
    aes_by_visuals: Mapping[Literal[
        "loss", "median", "elbo", "elbo_text", "polished", "polished_text",
    ], Sequence[str]] = NONE_GIVEN,
    visuals: Mapping[Literal[
        "loss", "median", "elbo", "elbo_text", "polished", "polished_text", "elbo_interval",
        "title", "xlabel", "ylabel", "note",
    ], Mapping[str, Any] | bool] = NONE_GIVEN,
    **pc_kwargs: Any,
) -> PlotCollection:  # fmt: skip
    """Plot the loss of each fit against its steps, with its final ELBO.

    The thin line is the loss, an estimate of minus the ELBO from one draw; the thick line is its running median
    over a twentieth of the run. The dashed line is minus the ELBO of the final fit, in nats, with its interval.
    Where the fit has not converged, the dotted line is minus the ELBO of the optimum reached by polishing it.
    The range of the axis is that of the second half of the run.

    Parameters
    ----------
    %(comparison)s
    approximations : str or sequence of str, optional
        Which to show; by default all with a history.
    ci_prob : float, optional
        Probability of the normal interval. Defaults to ``rcParams["stats.ci_prob"]``.
    %(figure)s
    labeller : labeller, optional
        Names the approximations.
    %(aes_by_visuals)s
        Valid keys are those of `visuals` down to "polished_text". By default color tells approximations apart.
    %(visuals)s
        * loss, median, elbo, polished -> passed to :func:`arviz_plots.visuals.line_xy`
        * elbo_text, polished_text -> passed to :func:`arviz_plots.visuals.annotate_xy`
        * elbo_interval -> passed to the backend's `fill_between_y`
        * title -> passed to :func:`arviz_plots.visuals.labelled_title`
        * xlabel, ylabel -> passed to the backend's functions of these names
        * note -> passed to :meth:`arviz_plots.PlotCollection.add_title`; losses outside, fits without a history

    %(pc_kwargs, returns)s
        `viz` holds every visual over the dim `approximation`.

    %(raises)s
        If no approximation has a history; the message lists all approximations.

    %(examples)s

    >>> pc = pkl.plot_loss(comparison, backend="none")
    >>> len(pc.viz["loss"]["loss"].sel(approximation="ADVI").item()["x"])
    2000
    """
    check_arguments(locals())
    dt = check_comparison(comparison)
    prob = validate_ci_prob(ci_prob)
    wanted, aesthetics = validated(plot_loss, visuals, aes_by_visuals)
    backend = choose_backend(backend, plot_collection)
    asked = subset(approximations, known_approximations(dt), "approximations")
    histories = _read_histories(dt, asked)
    scores = dt["scores"].to_dataset().sel(approximation=list(histories))
    if plot_collection is None:
        plot_collection = _open(dt, list(histories), backend, pc_kwargs)
    canvas = Canvas(plot_collection, wanted, with_defaults(aesthetics, AESTHETICS, plot_collection))
    levels = _levels(scores, prob)
    limits = {name: _limits(loss, levels.sel(approximation=name)) for name, loss in histories.items()}
    _draw_histories(canvas, histories, limits)
    _draw_levels(canvas, histories, levels, limits)
    _decorate(canvas, histories, limits, prob, labeller or BaseLabeller())
    canvas.note(_note(histories, asked))
    return plot_collection


def _open(dt: xr.DataTree, names: Sequence[str], backend: str, pc_kwargs: Mapping[str, Any]) -> PlotCollection:
    colors = style.approximation_colors(known_approximations(dt))
    data = xr.Dataset({"loss": ("approximation", np.zeros(len(names)))}, {"approximation": list(names)})
    aesthetics: Aesthetics = {
        "color": (["approximation"], [colors[name] for name in names]),
        "overlay": (["approximation"], [None] * len(names)),
    }
    return open_facets(data, aesthetics, len(names), backend=backend, inches=LOSS_FACET_INCHES, pc_kwargs=pc_kwargs)


def _read_histories(dt: xr.DataTree, asked: Sequence[str]) -> dict[str, xr.DataArray]:
    """Return the losses over their steps of each approximation asked for that has a history."""
    groups = fit_groups(dt)
    fits = {name: groups[name].children.get("fit") for name in asked if name in groups}
    found = {name: fit["loss"] for name, fit in fits.items() if fit is not None and "loss" in fit.data_vars}
    if not found:
        raise ValueError(
            f"no loss history among {list(asked)}; the approximations are {known_approximations(dt)}. "
            "Only reverse fits made by pm.fit keep one."
        )
    return {
        name: loss.assign_coords(step=loss.coords.get("step", np.arange(loss.size))) for name, loss in found.items()
    }


def _levels(scores: xr.Dataset, prob: float) -> xr.Dataset:
    """Return minus each fit's ELBO, its interval, and minus the polished fit's where it has not converged."""
    gap = scores["elbo_gap"].where(scores["converged"] == "no")
    gap = gap.where(np.isfinite(gap))
    return xr.Dataset(
        {
            "elbo": -scores["elbo"],
            "elbo_se": scores["elbo_se"],
            "half": half_width(scores["elbo_se"], prob),
            "polished": -scores["elbo"] - gap,
            "polished_se": np.hypot(scores["elbo_se"], scores["elbo_gap_se"]),
        }
    )


def _limits(loss: xr.DataArray, level: xr.Dataset) -> tuple[float, float]:
    """Return the range of the second half of the run and of the levels."""
    values = loss.values[int(END * loss.size) :]
    values = values[np.isfinite(values)]
    ends = np.quantile(values, (LOSS_TAIL, 1 - LOSS_TAIL)) if values.size else np.array([])
    points = np.append(ends, [float(level["elbo"]), float(level["polished"])])
    points = points[np.isfinite(points)] if np.isfinite(points).any() else np.array([0.0, 1.0])
    low, high = float(points.min()), float(points.max())
    pad = max(high - low, 1e-9) * LOSS_PAD
    return low - pad, high + pad


def running_median(values: Array) -> Array:
    """Return the median of the finite values in a window around each."""
    known = pd.Series(np.where(np.isfinite(values), values, np.nan))
    return known.rolling(max(1, int(WINDOW * len(values))), center=True, min_periods=1).median().to_numpy()


def _draw_histories(canvas: Canvas, histories: Mapping[str, xr.DataArray], limits: Mapping[str, Any]) -> None:
    """Draw the losses and their running medians; NaN where they would cover the numbers."""
    drawn: dict[str, list[xr.DataArray]] = {"loss": [], "median": []}
    for name, loss in histories.items():
        for key, values in (("loss", loss.values), ("median", running_median(loss.values))):
            inside = np.where(values <= limits[name][1], values, np.nan)
            drawn[key].append(
                xr.DataArray([loss["step"].values, inside], {"plot_axis": ["x", "y"]}, ["plot_axis", "point"])
            )
    looks = {"loss": {"width": 0.6, "alpha": 0.35}, "median": {"width": 2.2}}
    for key, look in looks.items():
        numbered = [line.assign_coords(point=np.arange(line.sizes["point"])) for line in drawn[key]]
        lines = xr.concat(numbered, _names(histories), join="outer")
        canvas.draw(key, line_xy, lines, defaults={"color": style.REFERENCE} | look)


def _names(histories: Mapping[str, Any]) -> xr.DataArray:
    names = list(histories)
    return xr.DataArray(names, {"approximation": names}, ["approximation"], name="approximation")


def _draw_levels(
    canvas: Canvas, histories: Mapping[str, xr.DataArray], levels: xr.Dataset, limits: Mapping[str, Any]
) -> None:
    """Draw minus the ELBO and minus the polished fit's as lines, with their numbers."""
    names = _names(histories)
    ends = np.array([[float(loss["step"].min()), float(loss["step"].max())] for loss in histories.values()])
    x = xr.DataArray(ends, {"approximation": names}, ["approximation", "point"])
    band = xr.concat([levels["elbo"] - levels["half"], levels["elbo"] + levels["half"]], "end")
    canvas.draw("elbo_interval", _band, band, x=x, defaults={"color": style.REFERENCE, "alpha": 0.35})
    rows = {"elbo": ("C1", "dashed: −ELBO", 0.7), "polished": ("C2", "dotted: polished", 0.25)}
    for name, (line, label, height) in rows.items():
        level, se = levels[name], levels[f"{name}_se"]
        look = {"color": "B1", "width": 1.3, "linestyle": line}
        canvas.draw(name, line_xy, at(x, level + 0 * x), defaults=look)
        text = write_each(partial(_label, label), level, se)
        y = names.copy(data=[high + height * LOSS_HEADROOM * (high - low) for low, high in limits.values()])
        own = {"color": "B1", "size": canvas.letters(8), "horizontal_align": "right"}
        end = at(x.isel(point=-1), y.where(level.notnull()))
        canvas.draw(f"{name}_text", annotate_text, end, text=text, defaults=own)


def _label(label: str, value: float, se: float) -> str:
    return f"{label} {format_estimate(value, se)}"


def _band(da: xr.DataArray, target: Any, *, x: xr.DataArray, **kwargs: Any) -> Any:
    return fill_band(da, target, x=x.values, y=da.values, **kwargs)


def _decorate(
    canvas: Canvas, histories: Mapping[str, Any], limits: Mapping[str, Any], prob: float, labeller: Any
) -> None:
    names, collection = _names(histories), canvas.collection
    ends = [(low, high + LOSS_HEADROOM * (high - low)) for low, high in limits.values()]
    y = xr.DataArray(ends, {"approximation": names}, ["approximation", "end"])
    collection.facet_map(set_limits, y=y, store_artist=False)
    titles = [labeller.sel_to_str({"approximation": name}, {"approximation": i}) for i, name in enumerate(names.values)]
    text = [wrap_name(title, LOSS_TITLE_CHARACTERS, 2) for title in titles]
    canvas.decorate("title", title_facet, text=names.copy(data=text), defaults={"size": canvas.letters(10)})
    lowest, first = rim(collection)
    canvas.decorate("xlabel", label_axis, axis="x", text="step (thick: running median)", here=lowest)
    canvas.decorate("ylabel", label_axis, axis="y", text=f"loss (nats, {100 * prob:.3g} %)", here=first)


def _note(histories: Mapping[str, Any], asked: Sequence[str]) -> str:
    """Write what the axes show, which losses are not finite, and which fits have no history."""
    lines = ["The axes show the second half of each run; earlier losses may lie above."]
    broken = {name: int((~np.isfinite(loss)).sum()) for name, loss in histories.items()}
    if lost := [f"{name} ({n})" for name, n in broken.items() if n]:
        lines.append(f"Losses that are not finite: {listed(lost)}.")
    if none := [name for name in asked if name not in histories]:
        lines.append(f"No loss history: {listed(none)}.")
    return "\n".join(lines)
