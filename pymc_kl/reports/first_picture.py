"""Draw the first picture of the page, the mass of each mode, or the densities where there is but one.

It is narrow, with its legend below, so that it fits a phone.
"""

from typing import Any

import numpy as np
import xarray as xr

from pymc_kl.plots import plot_coverage, plot_modes
from pymc_kl.plots.parts.legend import LEGEND_ROW
from pymc_kl.reports.facts import LEAST_COUNTED_MASS, Facts
from pymc_kl.reports.figures import Figure, Painter
from pymc_kl.reports.given import Audit
from pymc_kl.reports.page import Options

MOST_MARKS = 60  # marks, one a mode and approximation, that the picture has room for
FEWEST_PICTURED = 4  # modes in the picture, however many approximations there are
MOST_PICTURED = 16  # modes in the picture, however few approximations there are
WIDTH = 5.6  # inches: width of the picture, whose letters can still be read where it is shrunk to that of a phone
LEGEND_COLUMNS = 2  # columns of the legend
FIRST_ROW_INCHES = (0.45, 0.16)  # height of a mode's row at the least, and what each approximation asks for
FACET_INCHES = 1.9  # height of the densities
MOST_DENSITIES = 2  # parameters whose densities are drawn
GIVEN = "your draws"
MARGIN_INCHES = 0.8  # height of the axis and its label


def first_picture(dt: xr.DataTree, facts: Facts, painter: Painter, options: Options) -> Figure:
    """Draw the modes that may hold a hundredth of the posterior or of an approximation."""
    worth = _pictured(facts)
    if len(worth) == 1:
        return _densities(dt, facts, painter, options)
    caption = "Mass of each mode: the reference as a grey bar with its interval, each approximation as a mark"
    caption += ", and the shares of your draws." if facts.audit is not None else "."
    most = int(np.clip(MOST_MARKS // max(len(facts.fits), 1), FEWEST_PICTURED, MOST_PICTURED))
    shown = worth if len(worth) <= most else worth[:most]
    if len(shown) < len(worth):
        caption += f" Only modes 1 to {shown[-1]} of {len(facts.modes)} are pictured; the table of coverage has all."
    elif not {mode.number for mode in facts.modes} <= set(shown):
        caption += " Modes below 1 % everywhere are left out."
    if 0 in shown:
        caption += " Elsewhere is in no mode found; draws that spill may lie in the region of a mode."
    n_marks = len(facts.fits) + (facts.audit is not None)
    form = _narrow(painter, len(shown) * max(FIRST_ROW_INCHES[0], FIRST_ROW_INCHES[1] * n_marks), n_marks)
    dt = dt if facts.audit is None else _with_given(dt, facts, facts.audit)
    return painter.draw("coverage-picture", caption, plot_coverage, dt, modes=shown, ci_prob=options.ci_prob, **form)


def _with_given(dt: xr.DataTree, facts: Facts, audit: Audit) -> xr.DataTree:
    """Add the shares of the user's draws in the modes as the last row of the coverage, without errors."""
    names = [*(fit.name for fit in facts.fits), GIVEN]
    scores, coverage = (dt[group].to_dataset().reindex(approximation=names) for group in ("scores", "coverage"))
    count = dt["audit"].to_dataset()["n_draws"].sum("chain")
    missed = [mode.matters and mode.number in audit.missed for mode in facts.modes]
    own = {"mass": count / max(float(count.sum()), 1.0), "verdict": count.copy(data=np.where(missed, "missed", ""))}
    here = coverage["approximation"] == GIVEN
    coverage = coverage.assign({name: xr.where(here, row, coverage[name]) for name, row in own.items()})
    new = dt.copy()
    new["scores"], new["coverage"] = xr.DataTree(scores), xr.DataTree(coverage)
    return new


def _densities(dt: xr.DataTree, facts: Facts, painter: Painter, options: Options) -> Figure:
    """Draw the densities of the parameters that differ most: masses say nothing where one mode has them all."""
    caption = (
        "The posterior, a grey line shaded by mode, and each approximation in the parameters that differ most; ticks "
        "on the axis are maxima of modes, and a spike, where there is one, is cut off."
    )
    if not facts.fits:
        caption = "The posterior in the parameters that vary."
    form = _narrow(painter, FACET_INCHES, len(facts.fits))
    return painter.draw(
        "density-picture", caption, plot_modes, dt, kind="marginal", max_variables=MOST_DENSITIES,
        labeller=options.labeller, **options.variables, **form,
    )  # fmt: skip


def _pictured(facts: Facts) -> list[int]:
    """Return the modes that may hold a hundredth of the posterior or of an approximation, and elsewhere if one does."""
    held = {c.mode.number for fit in facts.fits for c in fit.coverage if c.mass.value > LEAST_COUNTED_MASS}
    shown = [mode.number for mode in facts.modes if mode.matters or mode.number in held] or [facts.modes[0].number]
    return shown + [0] * any(fit.elsewhere.value > LEAST_COUNTED_MASS for fit in facts.fits)


def _narrow(painter: Painter, inches: float, n_fits: int) -> dict[str, Any]:
    """Return the arguments that make a plot narrow, with so many inches for its axes and the legend below."""
    if painter.interactive:
        return {}
    legend = LEGEND_ROW * (2 + (n_fits + LEGEND_COLUMNS) // LEGEND_COLUMNS)
    size = {"figsize": (WIDTH, MARGIN_INCHES + inches + legend), "figsize_units": "inches"}
    below = {"loc": "outside lower center", "ncols": LEGEND_COLUMNS, "frameon": False}
    return {"figure_kwargs": size, "visuals": {"legend": below, "note": False}}
