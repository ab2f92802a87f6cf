"""Pictures of a comparison, one a file, each to arviz-plots' contract: DataTree in, PlotCollection out."""

from pymc_kl.plots.coverage import plot_coverage
from pymc_kl.plots.modes import plot_modes

__all__ = ["plot_coverage", "plot_modes"]
