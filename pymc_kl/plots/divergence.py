"""Both divergences of each approximation, in the same unit."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import xarray as xr
from arviz_base.labels import BaseLabeller, Labeller
from arviz_base.validate import validate_ci_prob
from arviz_plots import PlotCollection

from pymc_kl.arguments import check_arguments, choice
from pymc_kl.comparison.io import check_comparison
from pymc_kl.plots.parts.bounds import BOUNDS_AESTHETICS, draw_bounds, open_bounds
from pymc_kl.plots.parts.contract import (
    NONE_GIVEN,
    Canvas,
    choose_backend,
    some_approximations,
    validated,
    with_defaults,
)
from pymc_kl.plots.parts.docstring import fill_docstring
from pymc_kl.plots.parts.split import SPLIT_AESTHETICS, draw_split, open_split

KINDS = {
    "split": (open_split, draw_split, SPLIT_AESTHETICS),
    "bounds": (open_bounds, draw_bounds, BOUNDS_AESTHETICS),
}


@fill_docstring
def plot_divergence(
    comparison: xr.DataTree,
    *,
    approximations: str | Sequence[str] | None = None,
    kind: Literal["split", "bounds"] = "split",
    ci_prob: float | None = None,
    plot_collection: PlotCollection | None = None, backend: str | None = None, labeller: Labeller | None = None,
    aes_by_visuals: Mapping[Literal[
        "between", "within", "outline", "total", "interval", "cut", "value", "sandwich", "elbo", "eubo",
    ], Sequence[str]] = NONE_GIVEN,
    visuals: Mapping[Literal[
        "between", "within", "outline", "total", "interval", "cut", "value", "sandwich", "elbo", "eubo", "zero",
        "key", "key_text", "evidence", "evidence_interval", "evidence_text", "ticklabels", "xlabel", "ylabel", "note",
    ], Mapping[str, Any] | bool] = NONE_GIVEN,
    **pc_kwargs: Any,
) -> PlotCollection:  # fmt: skip
    """Plot how far each approximation is from the posterior, in both directions.

    "split" stacks the divergence between modes (full) and within them (pale): the forward KL upwards, the
    reverse KL downwards, in nats. Estimates are not clamped, so a part may be negative; it then lies on the other
    side of zero, and a tick marks the total. "bounds" shows ELBO ≤ log Z ≤ EUBO: log Z minus the ELBO is the
    reverse KL, the EUBO minus log Z the forward KL, and their sum is known without log Z. Values far larger
    than the others are cut, with an arrow and the number.

    Parameters
    ----------
    %(comparison)s
    %(approximations)s
    kind : {"split", "bounds"}
    ci_prob : float, optional
        Probability of the normal intervals. Defaults to ``rcParams["stats.ci_prob"]``. None is drawn where
        the standard error is infinite.
    %(figure)s
    labeller : labeller, optional
        Names the approximations.
    %(aes_by_visuals)s
        Valid keys are those of `visuals` down to "eubo". By default color, and marker in "bounds", tell
        approximations apart, and overlay_direction goes through the directions.
    %(visuals)s
        * between, within -> passed to :func:`arviz_plots.visuals.fill_between_y`; split only
        * outline -> passed to :func:`arviz_plots.visuals.line_xy`; of both parts, split only
        * total -> passed to :func:`arviz_plots.visuals.line_xy`; split only
        * interval -> passed to :func:`arviz_plots.visuals.line_xy`
        * cut -> passed to :func:`arviz_plots.visuals.scatter_xy`; the arrow at what is cut
        * value -> passed to :func:`arviz_plots.visuals.annotate_xy`; each total with its standard error, and
          what lies between modes if that is a lower bound (split), or what is cut (bounds)
        * sandwich -> passed to :func:`arviz_plots.visuals.line_xy`; bounds only
        * elbo, eubo -> passed to :func:`arviz_plots.visuals.scatter_xy`; bounds only
        * zero -> passed to :func:`arviz_plots.visuals.line_xy`; split only
        * key, key_text -> passed to :func:`arviz_plots.visuals.fill_between_y` and to
          :func:`arviz_plots.visuals.annotate_xy`; split only
        * evidence, evidence_interval, evidence_text -> log Z, passed to :func:`arviz_plots.visuals.line_xy`,
          :func:`arviz_plots.visuals.fill_between_y` and :func:`arviz_plots.visuals.annotate_xy`; bounds only
        * ticklabels, xlabel, ylabel -> passed to the backend's functions
        * note -> passed to :meth:`arviz_plots.PlotCollection.add_title`; what is cut, unknown or a bound

    %(pc_kwargs, returns)s
        `viz` holds every visual over the dims `approximation` and `direction`.

    %(raises)s
        For a name or kind that is not known; the message lists the known ones.

    %(examples)s

    >>> pc = pkl.plot_divergence(comparison, backend="none")
    >>> pc.viz["value"]["divergence"].dims
    ('direction', 'approximation')
    """
    check_arguments(locals(), kind=choice(*KINDS))
    dt = check_comparison(comparison)
    prob = validate_ci_prob(ci_prob)
    wanted, aesthetics = validated(plot_divergence, visuals, aes_by_visuals)
    backend = choose_backend(backend, plot_collection)
    open_figure, draw, defaults = KINDS[kind]
    names = some_approximations(dt, approximations)
    if plot_collection is None:
        plot_collection = open_figure(dt, names, backend, pc_kwargs)
    canvas = Canvas(plot_collection, wanted, with_defaults(aesthetics, defaults, plot_collection))
    canvas.note(draw(canvas, dt, names, prob=prob, backend=backend, labeller=labeller or BaseLabeller()))
    return plot_collection
