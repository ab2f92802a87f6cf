"""The modes in the model's own space, with the approximations over them."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import xarray as xr
from arviz_base.labels import BaseLabeller, Labeller
from arviz_plots import PlotCollection

from pymc_kl.arguments import check_arguments, choice, whole
from pymc_kl.comparison.io import check_comparison
from pymc_kl.plots.parts.contract import NONE_GIVEN, Canvas, Selection, choose_backend, validated, with_defaults
from pymc_kl.plots.parts.docstring import fill_docstring
from pymc_kl.plots.parts.marginal import MARGINAL_AESTHETICS, draw_marginal, open_marginal
from pymc_kl.plots.parts.pair import PAIR_AESTHETICS, draw_pair, open_pair
from pymc_kl.plots.parts.view import view_comparison

KINDS = ("auto", "pair", "marginal")


@fill_docstring
def plot_modes(
    comparison: xr.DataTree,
    *,
    var_names: str | Sequence[str] | None = None, filter_vars: Literal["like", "regex"] | None = None,
    coords: Mapping[str, Any] | None = None,
    approximations: str | Sequence[str] | None = None,
    kind: Literal["auto", "pair", "marginal"] = "auto",
    max_variables: int = 4,
    max_draws: int = 2000,
    plot_collection: PlotCollection | None = None, backend: str | None = None, labeller: Labeller | None = None,
    aes_by_visuals: Mapping[Literal[
        "reference", "reference_line", "approximations", "location", "other_locations", "mode_label", "missed_text",
    ], Sequence[str]] = NONE_GIVEN,
    visuals: Mapping[Literal[
        "reference", "reference_line", "approximations", "location", "other_locations", "mode_label",
        "missed_text", "title", "xlabel", "ylabel", "remove_axis", "legend", "note",
    ], Mapping[str, Any] | bool] = NONE_GIVEN,
    **pc_kwargs: Any,
) -> PlotCollection:  # fmt: skip
    """Plot the modes of the posterior in the model's own space, with the approximations over them.

    A pair plot has a facet for each approximation: its draws of two scalars over those of the reference, which are
    coloured by mode. A marginal plot has a facet for each scalar: the approximations' densities over the
    reference's, which is split into one area for each mode, as large as its mass. Densities more than twice as
    high as the reference's are cut. A disc or a tick marks the maximum of a mode; the eight heaviest modes have
    colours and numbers, in a marginal plot above the highest point of their density.

    Parameters
    ----------
    %(comparison)s
    %(var_names)s
    %(approximations)s
    kind : {"auto", "pair", "marginal"}
        "auto" is a pair for several modes in at least two scalars.
    max_variables : int
        How many scalars a marginal plot shows at most: those in which an approximation differs most from the
        reference, by 1-Wasserstein distance over the reference's standard deviation. A pair plot, and a
        marginal plot without approximations, show those in which the modes lie furthest apart, measured by
        the variance between modes over the variance within. The note names the criterion.
    max_draws : int
        How many draws of the reference a facet of a pair plot shows at most; of the approximation, half as many.
        Fewer with many facets, so that the file stays small.
    %(figure)s
    labeller : labeller, optional
        Names the scalars.
    %(aes_by_visuals)s
        Valid keys are those of `visuals` down to "missed_text". By default facecolor, and marker in a pair
        plot, tell modes apart; color, and linestyle in a marginal plot, approximations.
    %(visuals)s
        * reference -> passed to :func:`arviz_plots.visuals.scatter_xy` (pair) or
          :func:`arviz_plots.visuals.fill_between_y` (marginal)
        * reference_line -> passed to :func:`arviz_plots.visuals.line_xy`; marginal only
        * approximations -> passed to :func:`arviz_plots.visuals.scatter_xy` or
          :func:`arviz_plots.visuals.line_xy`
        * location -> passed to :func:`arviz_plots.visuals.scatter_xy` or
          :func:`arviz_plots.visuals.scatter_x`
        * other_locations -> passed to :func:`arviz_plots.visuals.scatter_xy`; modes without a number, pair only
        * mode_label -> passed to :func:`arviz_plots.visuals.annotate_xy`
        * missed_text -> passed to :func:`arviz_plots.visuals.annotate_xy`; pair only
        * title -> passed to :func:`arviz_plots.visuals.labelled_title`
        * xlabel, ylabel -> passed to the backend's functions of these names; pair only
        * remove_axis -> passed to :func:`arviz_plots.visuals.remove_axis`; marginal only
        * legend -> passed to :meth:`arviz_plots.PlotCollection.add_legend`; marginal only
        * note -> passed to :meth:`arviz_plots.PlotCollection.add_title`; which scalars were left out

    %(pc_kwargs, returns)s
        `viz` holds every visual over the dims `approximation`, `mode` or `scalar`.

    %(raises)s
        For a name that the comparison does not know; the message lists the known ones.

    %(examples)s

    >>> pc = pkl.plot_modes(comparison, backend="none")
    >>> pc.viz["location"]["density"].sel(scalar="x").item()["x"].round(1)
    array([ 3., -3.])
    """
    check_arguments(locals(), kind=choice(*KINDS), max_variables=whole(), max_draws=whole())
    dt = check_comparison(comparison)
    wanted, aesthetics = validated(plot_modes, visuals, aes_by_visuals)
    backend, labeller = choose_backend(backend, plot_collection), labeller or BaseLabeller()
    pair = _is_pair(kind, dt["modes"].sizes["mode"])
    view = view_comparison(
        dt,
        Selection(var_names, filter_vars, coords),
        approximations=approximations,
        n=2 if pair else max_variables,
        jointly=pair,
        labeller=labeller,
    )
    if pair and len(view.labels) < 2:
        pair = _is_pair(kind, 1, scalars=view.labels)
    if plot_collection is None:
        plot_collection = (open_pair if pair else open_marginal)(view, backend, pc_kwargs)
    defaults = PAIR_AESTHETICS if pair else MARGINAL_AESTHETICS
    canvas = Canvas(plot_collection, wanted, with_defaults(aesthetics, defaults, plot_collection))
    if pair:
        draw_pair(canvas, view, backend, labeller, max_draws=max_draws)
    else:
        draw_marginal(canvas, view, backend, labeller)
    canvas.note(view.note)
    return plot_collection


def _is_pair(kind: str, n_modes: int, scalars: Sequence[str] = ("", "")) -> bool:
    """Return whether to draw a pair plot; raise if it is asked for and impossible."""
    if kind == "pair" and len(scalars) < 2:
        raise ValueError(f"a pair plot needs two scalars that vary; got {list(scalars)}. Use kind='marginal'.")
    return kind == "pair" or (kind == "auto" and n_modes > 1)
