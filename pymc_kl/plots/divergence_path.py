"""The path from the reverse to the forward KL: what the best Gaussian covers, and how wide it is."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr
from arviz_base.labels import BaseLabeller, Labeller
from arviz_base.validate import validate_ci_prob
from arviz_plots import PlotCollection
from arviz_plots.plot_collection import backend_from_object
from arviz_plots.visuals import line_xy

from pymc_kl._typing import Array
from pymc_kl.arguments import check_arguments, whole
from pymc_kl.plots.parts import style
from pymc_kl.plots.parts.axes import half_width, label_axis, rim, set_limits, set_ticks, wrap_name
from pymc_kl.plots.parts.captions import annotate_text, title_facet
from pymc_kl.plots.parts.contract import (
    NONE_GIVEN,
    WIDE_COLUMNS,
    Aesthetics,
    Canvas,
    Selection,
    choose_backend,
    open_collection,
    validated,
    with_defaults,
)
from pymc_kl.plots.parts.docstring import fill_docstring
from pymc_kl.plots.parts.path_view import BRANCH_HEADROOM, PANELS, PathView, read_path
from pymc_kl.plots.parts.shapes import at, draw_lines, polyline

PATH_FACET_INCHES = (4.0, 2.9)  # width and height of a facet
PATH_TITLE_CHARACTERS = 48  # most characters of a line of a facet's title
PATH_PAD = 0.08  # margin above and below the curves, as a part of their height
EDGE = 0.15  # part of the width, at each end, where no number is written
WRITTEN = 0.07  # mass above which a mode's number is written in its area
DIVERGENCE, MASS = PANELS
TICKS = np.linspace(0, 1, 6)

AESTHETICS = {
    "mass": ["shade"],
    "mode_label": ["overlay"],
    "spread": ["color", "legendgroup"],
    "branch": ["color", "legendgroup"],
    "best": ["color", "legendgroup"],
    "interval": ["color", "legendgroup"],
}


@fill_docstring
def plot_divergence_path(
    path: xr.DataTree,
    *,
    var_names: str | Sequence[str] | None = None, filter_vars: Literal["like", "regex"] | None = None,
    coords: Mapping[str, Any] | None = None,
    max_variables: int = 2,
    ci_prob: float | None = None,
    plot_collection: PlotCollection | None = None, backend: str | None = None, labeller: Labeller | None = None,
    aes_by_visuals: Mapping[Literal[
        "mass", "mode_label", "spread", "branch", "best", "interval",
    ], Sequence[str]] = NONE_GIVEN,
    visuals: Mapping[Literal[
        "mass", "mode_label", "spread", "branch", "best", "interval", "reference", "reference_band", "switch", "title",
        "xlabel", "ylabel", "ticklabels", "legend", "note",
    ], Mapping[str, Any] | bool] = NONE_GIVEN,
    **pc_kwargs: Any,
) -> PlotCollection:  # fmt: skip
    """Plot how the best Gaussian changes from the reverse KL (α = 0) to the forward KL (α = 1).

    The first facet shows its divergence D_α/α; the second its mass in each mode, stacked, with the masses of the
    posterior dashed; the others the mean and sd of single variables, over those of the posterior in grey. A branch
    is a minimum followed along the path: thick where it is the lowest, thin elsewhere. A vertical line marks a
    switch, where the best fit jumps from one branch to another.

    Parameters
    ----------
    path : DataTree
        What :func:`pymc_kl.renyi.divergence_path` returned.
    %(var_names)s
    max_variables : int
        The most scalars that are shown: those whose mean or sd the path moves most, in sds of the posterior.
    ci_prob : float, optional
        Probability of the normal intervals of the divergence. Defaults to ``rcParams["stats.ci_prob"]``.
    %(figure)s
    labeller : labeller, optional
        Names the scalars and the branches.
    %(aes_by_visuals)s
        Valid keys are those of `visuals` down to "interval". By default color tells branches apart, shade modes.
    %(visuals)s
        * mass, spread -> passed to the backend's `fill_between_y`; of the best fit
        * mode_label -> passed to :func:`arviz_plots.visuals.annotate_xy`
        * branch, best, interval, reference -> passed to :func:`arviz_plots.visuals.line_xy`
        * reference_band -> passed to the backend's `fill_between_y`
        * switch -> passed to the backend's `vline`
        * title -> passed to :func:`arviz_plots.visuals.labelled_title`
        * xlabel, ylabel, ticklabels -> passed to the backend's `xlabel`, `ylabel` and `xticks`
        * legend -> passed to :meth:`arviz_plots.PlotCollection.add_legend`; with several branches only
        * note -> passed to :meth:`arviz_plots.PlotCollection.add_title`; the switches, and what was left out

    %(pc_kwargs, returns)s
        `viz` holds every visual over the dims `panel`, `branch` and `mode`.

    %(raises)s
        For a variable that the path does not know; the message lists the known ones.

    Examples
    --------
    With the `model` and `draws` in the example of :func:`pymc_kl.compare`:

    >>> from pymc_kl.plots import plot_divergence_path
    >>> from pymc_kl.renyi import divergence_path
    >>> path = divergence_path(draws, model=model, alphas=(0, 0.5, 1), random_seed=1, progressbar=False)
    >>> pc = plot_divergence_path(path, backend="none")
    >>> pc.viz["plot"]["panel"].values.tolist()
    ['divergence', 'mass', 'x']
    """
    check_arguments(locals(), max_variables=whole(least=0))
    prob = validate_ci_prob(ci_prob)
    wanted, aesthetics = validated(plot_divergence_path, visuals, aes_by_visuals)
    backend, labeller = choose_backend(backend, plot_collection), labeller or BaseLabeller()
    view = read_path(path, Selection(var_names, filter_vars, coords), max_variables, labeller)
    if plot_collection is None:
        plot_collection = _open(view, backend, pc_kwargs)
    canvas = Canvas(plot_collection, wanted, with_defaults(aesthetics, AESTHETICS, plot_collection))
    _draw_masses(canvas, view)
    _draw_reference(canvas, view)
    _draw_curves(canvas, view, prob)
    _decorate(canvas, view, prob, labeller)
    canvas.note(view.note)
    return plot_collection


def _open(view: PathView, backend: str, pc_kwargs: Mapping[str, Any]) -> PlotCollection:
    branches, modes = view.path["branch"].values.tolist(), view.mass["mode"].values.tolist()
    coords = {"panel": [DIVERGENCE, MASS, *view.labels], "branch": branches, "mode": modes}
    data = xr.Dataset({"value": (list(coords), np.zeros([len(labels) for labels in coords.values()]))}, coords)
    colors = style.approximation_colors(branches)
    aesthetics: Aesthetics = {
        "color": (["branch"], [colors[name] for name in branches]),
        "shade": (["mode"], style.mode_colors(modes)),
        "overlay": (["mode"], [None] * len(modes)),
    }
    n = len(coords["panel"])
    kwargs: dict[str, Any] = {"cols": ["panel"], "col_wrap": 3 if n in (3, 5) else WIDE_COLUMNS} | dict(pc_kwargs)
    columns = min(n, kwargs["col_wrap"] or n)
    size = (PATH_FACET_INCHES[0] * columns, PATH_FACET_INCHES[1] * -(-n // columns) + 0.5)
    return open_collection(data, aesthetics, backend=backend, size=size, pc_kwargs=kwargs)


def _draw_masses(canvas: Canvas, view: PathView) -> None:
    """Stack the best fit's masses of the modes, and number the modes."""
    mass = view.course.values(view.mass)
    tops = np.cumsum(mass, axis=1)
    x = np.broadcast_to(view.course.x[:, None], tops.shape)
    dims: dict[str, Any] = {"kwarg": ["x", "y_bottom", "y_top"], "mode": view.mass["mode"].values}
    areas = xr.DataArray(np.stack([x, tops - mass, tops]), dims, ["kwarg", "point", "mode"])
    canvas.draw("mass", _fill_shade, areas.expand_dims(panel=[MASS]), defaults={"alpha": 1.0})
    widest = mass >= 0.5 * mass.max(axis=0)
    middle = [int(np.flatnonzero(row)[row.sum() // 2]) for row in widest.T]
    modes = {"mode": dims["mode"]}
    y = xr.DataArray([(tops - mass / 2)[i, k] for k, i in enumerate(middle)], modes, ["mode"])
    written = y.where((mass.max(axis=0) > WRITTEN) & (y["mode"] > 0))
    inside = np.clip(
        view.course.x[middle], *(view.path["order"].values[[0, -1]] @ [[1 - EDGE, EDGE], [EDGE, 1 - EDGE]])
    )
    text = xr.DataArray([f"mode {k}" for k in dims["mode"]], modes, ["mode"])
    look = {"color": "B1", "size": canvas.letters(9)}
    spot = at(written.copy(data=inside), written).expand_dims(panel=[MASS])
    canvas.draw("mode_label", annotate_text, spot, text=text, defaults=look)


def _fill_shade(da: xr.DataArray, target: Any, *, shade: str, **kwargs: Any) -> Any:
    return _fill_parts(da, target, **({"color": shade} | kwargs))


def _fill_parts(da: xr.DataArray, target: Any, **kwargs: Any) -> Any:
    """Fill between two lines, part by part where there are gaps."""
    x, bottom, top = (da.sel(kwarg=name).values for name in ("x", "y_bottom", "y_top"))
    known = np.flatnonzero(np.isfinite(x + bottom + top))
    fill, made = backend_from_object(target).fill_between_y, None
    for part in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1):
        if len(part):
            made = fill(x[part], bottom[part], top[part], target, **kwargs)
    return made


def _draw_reference(canvas: Canvas, view: PathView) -> None:
    """Draw the masses of the posterior's modes, and mean and sd of each scalar."""
    ends = view.path["order"].values[[0, -1]]
    heights = [np.cumsum(view.reference_mass)[:-1], *view.truth[:, None]]
    rows = [_levels(ends, y[(y > 0) & (y < 1)] if i == 0 else y) for i, y in enumerate(heights)]
    panels = xr.DataArray([MASS, *view.labels], dims="panel", name="panel")
    lines = xr.concat(rows, panels, join="outer")
    canvas.draw("reference", line_xy, lines, defaults={"color": "B1", "width": 1.4, "linestyle": "C1"})
    x = np.broadcast_to(ends, (len(view.labels), 2))
    low, high = (np.repeat((view.truth + sign * view.truth_sd)[:, None], 2, axis=1) for sign in (-1, 1))
    coords = {"kwarg": ["x", "y_bottom", "y_top"], "panel": view.labels}
    band = xr.DataArray(np.stack([x, low, high]), coords, ["kwarg", "panel", "point"])
    canvas.draw("reference_band", _fill_parts, band, defaults={"color": style.REFERENCE_LIGHT, "alpha": 0.7})


def _levels(ends: Array, heights: Array) -> xr.DataArray:
    """Join horizontal lines into one with gaps, (plot_axis, point)."""
    x = np.tile(np.append(ends, np.nan), len(heights))
    y = np.column_stack([heights, heights, np.full(len(heights), np.nan)]).ravel()
    return xr.DataArray([x, y], {"plot_axis": ["x", "y"], "point": np.arange(len(x))}, ["plot_axis", "point"])


def _draw_curves(canvas: Canvas, view: PathView, prob: float) -> None:
    """Draw every branch thin, the best one thick over it, and a band of one sd about each scalar's mean."""
    mean, sd = view.course.values(view.mean), view.course.values(view.sd)
    if view.labels:
        band = _best_of_each(view, {"x": None, "y_bottom": mean - sd, "y_top": mean + sd}, "kwarg")
        canvas.draw("spread", _fill_parts, band.assign_coords(panel=view.labels), defaults={"alpha": 0.25})
    divergence = view.path["divergence"]
    highest = BRANCH_HEADROOM * view.course.values(divergence).max()
    panels = xr.DataArray([DIVERGENCE, *view.labels], dims="panel", name="panel")
    rows = [divergence.where(divergence < highest), *(view.mean.isel(scalar=j) for j in range(len(view.labels)))]
    every = xr.concat([row.reset_coords(drop=True) for row in rows], panels, coords="minimal", compat="override")
    every = every.transpose("order", "branch", "panel")
    thin = at(every["order"], every).rename(order="point").drop_vars("point")
    canvas.draw("branch", line_xy, thin, defaults={"width": 1.0, "alpha": 0.8})
    thick = _best_of_each(view, {"x": None, "y": view.course.values(every)}, "plot_axis")
    canvas.draw("best", line_xy, thick.assign_coords(panel=panels.values), defaults={"width": 2.6})
    half = half_width(view.path["divergence_se"], prob)
    bars = polyline(*(at(xr.zeros_like(half) + half["order"], divergence + sign * half) for sign in (-1, 1)))
    bars = bars.where(view.path["branch"] == view.path["best"])
    canvas.draw("interval", draw_lines, bars.expand_dims(panel=[DIVERGENCE]), defaults={"width": 1.4})


def _best_of_each(view: PathView, parts: Mapping[str, Any], dim: str) -> xr.DataArray:
    """Lay out quantities (m, P) at the course's points, (part, branch, panel, point); NaN where a branch isn't best."""
    shape = next(part.shape for part in parts.values() if part is not None)
    x = np.broadcast_to(view.course.x[:, None], shape)
    rows = [
        [view.course.of_branch(x if part is None else part, b).T for b in range(view.path.sizes["branch"])]
        for part in parts.values()
    ]
    coords = {dim: list(parts), "branch": view.path["branch"].values}
    return xr.DataArray(np.array(rows), coords, [dim, "branch", "panel", "point"])


def _limits(view: PathView) -> xr.DataArray:
    """Return the ends of each panel, (panel, end), from the best fit and the posterior."""
    divergence = view.course.values(view.path["divergence"])
    rows = [(min(float(divergence.min()), 0.0), max(float(divergence.max()), 1e-3)), (0.0, 1.0)]
    mean, sd = view.course.values(view.mean), view.course.values(view.sd)
    low = np.fmin((mean - sd).min(axis=0), view.truth - view.truth_sd)
    high = np.fmax((mean + sd).max(axis=0), view.truth + view.truth_sd)
    rows += list(zip(low.tolist(), high.tolist(), strict=True))
    pads = [0.0 if i == 1 else PATH_PAD * max(top - bottom, 1e-9) for i, (bottom, top) in enumerate(rows)]
    ends = [(bottom - pad, top + pad) for (bottom, top), pad in zip(rows, pads, strict=True)]
    return xr.DataArray(ends, {"panel": [DIVERGENCE, MASS, *view.labels]}, ["panel", "end"])


def _decorate(canvas: Canvas, view: PathView, prob: float, labeller: Any) -> None:
    collection, panels = canvas.collection, [DIVERGENCE, MASS, *view.labels]
    limits = _limits(view)
    first, last = view.path["order"].values[[0, -1]]
    margin = 0.03 * (last - first) or 0.1
    collection.facet_map(set_limits, x=(first - margin, last + margin), y=limits, store_artist=False)
    canvas.decorate("ticklabels", set_ticks, axis="x", ticks=TICKS, labels=[f"{tick:g}" for tick in TICKS])
    if len(orders := view.switches["at"].values):
        look = {"color": "B2", "width": 1.2, "linestyle": "C2"}
        canvas.decorate("switch", _vlines, orders=orders.tolist(), defaults=look)
    titles = ["divergence from the posterior", "mass in each mode (dashed: posterior)"]
    titles += [f"{label}: mean ± sd (grey: posterior)" for label in view.labels]
    text = xr.DataArray([wrap_name(title, PATH_TITLE_CHARACTERS, 2) for title in titles], {"panel": panels}, ["panel"])
    canvas.decorate("title", title_facet, text=text, defaults={"size": canvas.letters(10)})
    lowest, _ = rim(collection)
    canvas.decorate("xlabel", label_axis, axis="x", text="α (0: reverse KL, 1: forward KL)", here=lowest)
    here = xr.DataArray([panel == DIVERGENCE for panel in panels], {"panel": panels}, ["panel"])
    canvas.decorate("ylabel", label_axis, axis="y", text=f"Dα/α (nats, {100 * prob:.3g} %)", here=here)
    if view.path.sizes["branch"] > 1:
        canvas.legend("branch", labeller=labeller)


def _vlines(_da: xr.DataArray, target: Any, *, orders: Sequence[float], **kwargs: Any) -> Any:
    return [backend_from_object(target).vline(order, target, **kwargs) for order in orders][-1]
