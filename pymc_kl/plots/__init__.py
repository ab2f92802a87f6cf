"""Pictures of a comparison, one a file, each to arviz-plots' contract: DataTree in, PlotCollection out."""

from pymc_kl.plots.contributions import plot_contributions
from pymc_kl.plots.coverage import plot_coverage
from pymc_kl.plots.divergence import plot_divergence
from pymc_kl.plots.divergence_path import plot_divergence_path
from pymc_kl.plots.loss import plot_loss
from pymc_kl.plots.modes import plot_modes
from pymc_kl.plots.pareto_k import plot_pareto_k
from pymc_kl.plots.tree import plot_mode_tree

__all__ = [
    "plot_contributions",
    "plot_coverage",
    "plot_divergence",
    "plot_divergence_path",
    "plot_loss",
    "plot_mode_tree",
    "plot_modes",
    "plot_pareto_k",
]
