"""The modes in the model's own space, and where the approximations lie."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import xarray as xr
from arviz_base.labels import BaseLabeller, Labeller
from arviz_plots import PlotCollection

from pymc_kl.comparison_io import check_comparison
from pymc_kl.plots.parts.contract import NONE_GIVEN, Canvas, choose_backend, validated, with_defaults
from pymc_kl.plots.parts.marginal import MARGINAL_AESTHETICS, draw_marginal, open_marginal
from pymc_kl.plots.parts.pair import PAIR_AESTHETICS, draw_pair, open_pair
from pymc_kl.plots.parts.view import view_comparison

KINDS = ("auto", "pair", "marginal")

AesVisual = Literal[
    "reference",
    "reference_line",
    "approximations",
    "location",
    "other_locations",
    "mode_label",
    "missed_text",
]
Visual = Literal[
    "reference", "reference_line", "approximations", "location", "other_locations", "mode_label",
    "missed_text", "title", "xlabel", "ylabel", "remove_axis", "legend", "note",
]  # fmt: skip


def plot_modes(
    comparison: xr.DataTree,
    *,
    var_names: str | Sequence[str] | None = None,
    filter_vars: Literal["like", "regex"] | None = None,
    coords: Mapping[str, Any] | None = None,
    approximations: str | Sequence[str] | None = None,
    kind: Literal["auto", "pair", "marginal"] = "auto",
    max_variables: int = 4,
    max_draws: int = 2000,
    plot_collection: PlotCollection | None = None,
    backend: str | None = None,
    labeller: Labeller | None = None,
    aes_by_visuals: Mapping[AesVisual, Sequence[str]] = NONE_GIVEN,
    visuals: Mapping[Visual, Mapping[str, Any] | bool] = NONE_GIVEN,
    **pc_kwargs: Any,
) -> PlotCollection:
    """Plot the modes of the posterior in the model's own space, with the approximations over them.

    A pair plot shows the reference's draws in two scalars, coloured by mode, a facet an approximation with
    its draws on top. A marginal plot shows the densities of single scalars, the reference's as one area a
    mode, as large as the mode's mass; a density that is more than twice as high is cut. A disc or a tick
    marks where a mode has its peak, and the heaviest eight have colours and numbers.

    Parameters
    ----------
    comparison : DataTree
        What :func:`pymc_kl.compare` returned.
    var_names : str or sequence of str, optional
        Variables to choose scalars from; ``~`` excludes. All by default.
    filter_vars : {None, "like", "regex"}, optional
        How `var_names` are read.
    coords : mapping, optional
        Coordinates to choose scalars from.
    approximations : str or sequence of str, optional
        Which to show; all by default.
    kind : {"auto", "pair", "marginal"}
        "auto" is a pair for several modes in at least two scalars.
    max_variables : int
        The most scalars that a marginal plot shows: those in which an approximation differs most from the
        reference, by 1-Wasserstein distance over the reference's standard deviation. A pair plot, and a
        marginal one without approximations, shows those in which the modes lie furthest apart, measured by
        the variance between modes over that within. The note says so.
    max_draws : int
        The most draws of the reference that a facet of a pair plot shows, and twice the most of the
        approximation; fewer where there are so many facets that the picture would be too large.
    plot_collection : PlotCollection, optional
    backend : {"matplotlib", "plotly", "bokeh", "none"}, optional
    labeller : labeller, optional
        Names the scalars.
    aes_by_visuals : mapping of {str : sequence of str or False}, optional
        Valid keys are those of `visuals` down to "missed_text". By default facecolor, and marker in a pair
        plot, tell modes apart; color, and linestyle in a marginal plot, approximations.
    visuals : mapping of {str : mapping or bool}, optional
        Valid keys are:

        * reference -> passed to :func:`arviz_plots.visuals.scatter_xy` (pair) or
          :func:`arviz_plots.visuals.fill_between_y` (marginal)
        * reference_line -> passed to :func:`arviz_plots.visuals.line_xy`; marginal only
        * approximations -> passed to :func:`arviz_plots.visuals.scatter_xy` or
          :func:`arviz_plots.visuals.line_xy`
        * location -> passed to :func:`arviz_plots.visuals.scatter_xy` or
          :func:`arviz_plots.visuals.scatter_x`
        * other_locations -> passed to :func:`arviz_plots.visuals.scatter_xy`; of the modes that have no
          number, pair only
        * mode_label -> passed to :func:`arviz_plots.visuals.annotate_xy`
        * missed_text -> passed to :func:`arviz_plots.visuals.annotate_xy`; pair only
        * title -> passed to :func:`arviz_plots.visuals.labelled_title`
        * xlabel, ylabel -> passed to the backend's functions of these names; pair only
        * remove_axis -> passed to :func:`arviz_plots.visuals.remove_axis`; marginal only
        * legend -> passed to :meth:`arviz_plots.PlotCollection.add_legend`; marginal only
        * note -> passed to :meth:`arviz_plots.PlotCollection.add_title`; which scalars were left out

    **pc_kwargs
        Passed to :meth:`arviz_plots.PlotCollection.wrap`.

    Returns
    -------
    PlotCollection
        `viz` holds every visual over the dims `approximation`, `mode` or `scalar`.

    Raises
    ------
    ValueError
        For a name that the comparison does not know; the message lists the known ones.

    Examples
    --------
    >>> import numpy as np, pymc as pm, pymc_kl as pkl, xarray as xr
    >>> rng = np.random.default_rng(1)
    >>> with pm.Model() as model:
    ...     x = pm.NormalMixture("x", w=[0.3, 0.7], mu=[-3, 3], sigma=[0.6, 1])
    ...     right = rng.random((4, 500)) < 0.7
    ...     exact = np.where(right, rng.normal(3, 1, (4, 500)), rng.normal(-3, 0.6, (4, 500)))
    ...     reference = xr.Dataset({"x": (("chain", "draw"), exact)})
    ...     one_sided = xr.Dataset({"x": (("chain", "draw"), rng.normal(3, 1, (1, 1000)))})
    ...     comparison = pkl.compare(
    ...         reference, {"one-sided": one_sided}, forward=(), random_seed=1, progressbar=False
    ...     )
    >>> pc = pkl.plot_modes(comparison, backend="none")
    >>> pc.viz["location"]["density"].sel(scalar="x").item()["x"].round(1)
    array([ 3., -3.])
    """
    dt = check_comparison(comparison)
    wanted = validated(visuals, plot_modes, "visuals")
    aesthetics = validated(aes_by_visuals, plot_modes, "aes_by_visuals")
    backend, labeller = choose_backend(backend, plot_collection), labeller or BaseLabeller()
    if max_variables < 1:
        raise ValueError(f"max_variables must be at least 1; got {max_variables}.")
    if max_draws < 1:
        raise ValueError(f"max_draws must be at least 1; got {max_draws}.")
    pair = _is_pair(kind, dt["modes"].sizes["mode"])
    view = view_comparison(
        dt,
        var_names=var_names,
        filter_vars=filter_vars,
        coords=coords,
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
    """Settle the kind of picture."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}.")
    if kind == "pair" and len(scalars) < 2:
        raise ValueError(f"a pair plot needs two scalars that vary; got {list(scalars)}. Use kind='marginal'.")
    return kind == "pair" or (kind == "auto" and n_modes > 1)
