"""Contributions to both divergences: along the line, or in bins of one scalar."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import xarray as xr
from arviz_base.labels import BaseLabeller, Labeller
from arviz_plots import PlotCollection

from pymc_kl.arguments import check_arguments, choice
from pymc_kl.comparison.io import check_comparison
from pymc_kl.plots.parts.bins import read_bins
from pymc_kl.plots.parts.contract import NONE_GIVEN, Canvas, Selection, choose_backend, validated, with_defaults
from pymc_kl.plots.parts.curves import CURVE_AESTHETICS, draw_curves, open_curves
from pymc_kl.plots.parts.docstring import fill_docstring
from pymc_kl.plots.parts.line import read_line

KINDS = ("auto", "line", "marginal")


@fill_docstring
def plot_contributions(
    comparison: xr.DataTree,
    *,
    var_names: str | Sequence[str] | None = None, filter_vars: Literal["like", "regex"] | None = None,
    coords: Mapping[str, Any] | None = None,
    approximations: str | Sequence[str] | None = None,
    kind: Literal["auto", "line", "marginal"] = "auto",
    plot_collection: PlotCollection | None = None, backend: str | None = None, labeller: Labeller | None = None,
    aes_by_visuals: Mapping[Literal["reference", "approximations", "forward", "reverse"], Sequence[str]] = NONE_GIVEN,
    visuals: Mapping[Literal[
        "reference", "approximations", "forward", "reverse", "zero", "value", "title", "xlabel", "ylabel", "legend",
        "note",
    ], Mapping[str, Any] | bool] = NONE_GIVEN,
    **pc_kwargs: Any,
) -> PlotCollection:  # fmt: skip
    """Plot the contributions to the forward and the reverse KL, a facet for each approximation.

    In a model of one dimension, "line" draws the two densities and the integrands p·log(p/q) and q·log(q/p), whose
    integrals are the divergences. In more dimensions, "marginal" splits both over bins of one scalar: the forward
    KL is the mean of log p - log q over draws of p, so each bin contributes the sum over its draws, divided by
    the number of all draws, in nats; the reverse KL likewise over draws of q. The bins and what lies outside the
    axis, which the note states, add up to the divergence.

    Parameters
    ----------
    %(comparison)s
    var_names, filter_vars, coords : optional
        Variables and coordinates to choose the scalar from, as in :func:`plot_modes`; for a marginal plot. By
        default the scalar is that in which an approximation differs most from the reference.
    approximations : str or sequence of str, optional
        Which to show; all by default. Those without a density are left out.
    kind : {"auto", "line", "marginal"}
        "auto" is "line" where the comparison holds one, else "marginal".
    %(figure)s
    labeller : labeller, optional
        Names approximations and scalars.
    %(aes_by_visuals)s
        Valid keys are those of `visuals` down to "reverse". By default color tells approximations apart.
    %(visuals)s
        * reference -> passed to :func:`arviz_plots.visuals.fill_between_y`; p, not to scale in a marginal plot
        * approximations -> passed to :func:`arviz_plots.visuals.line_xy`; q, on the scale of p
        * forward, reverse, zero -> passed to :func:`arviz_plots.visuals.line_xy`
        * value -> passed to the backend's `text`; both divergences in nats
        * title -> passed to :func:`arviz_plots.visuals.labelled_title`
        * xlabel, ylabel -> passed to the backend's functions of these names
        * legend -> passed to :meth:`arviz_plots.PlotCollection.add_legend`
        * note -> passed to :meth:`arviz_plots.PlotCollection.add_title`; what was left out or lies outside

    %(pc_kwargs, returns)s
        `viz` holds every visual over the dim `approximation`.

    %(raises)s
        For an unknown name; for kind "line" if the comparison holds none; if no approximation has a density; for
        kind "marginal" if log Z is unknown, since then neither divergence can be split.

    %(examples)s

    >>> pc = pkl.plot_contributions(comparison, approximations="ADVI", kind="marginal", backend="none")
    >>> pc.viz["xlabel"]["plot"].item()["string"]
    'x'
    """
    check_arguments(locals(), kind=choice(*KINDS))
    dt = check_comparison(comparison)
    wanted, aesthetics = validated(plot_contributions, visuals, aes_by_visuals)
    backend, labeller = choose_backend(backend, plot_collection), labeller or BaseLabeller()
    chosen = not (var_names is None and coords is None)
    if chosen and kind == "line":
        raise ValueError("var_names and coords are of kind 'marginal': a line goes through all variables at once.")
    if kind == "line" or (kind == "auto" and not chosen and "line" in dt.children):
        curves = read_line(dt, approximations)
    else:
        selection = Selection(var_names, filter_vars, coords)
        curves = read_bins(dt, selection, approximations=approximations, labeller=labeller)
    if plot_collection is None:
        plot_collection = open_curves(curves, backend, pc_kwargs)
    canvas = Canvas(plot_collection, wanted, with_defaults(aesthetics, CURVE_AESTHETICS, plot_collection))
    draw_curves(canvas, curves, labeller)
    canvas.note(curves.note)
    return plot_collection
