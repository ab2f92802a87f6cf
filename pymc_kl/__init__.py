"""Tell which modes of a posterior an approximation covers, how well, and what it is good for."""

from importlib.metadata import version

from pymc_kl.adapters import as_approximation
from pymc_kl.approximations import Approximation
from pymc_kl.compare import compare
from pymc_kl.divergence import kl_divergence
from pymc_kl.forward import fit_forward
from pymc_kl.modes import find_modes
from pymc_kl.plots import plot_coverage, plot_modes
from pymc_kl.reference import sample_reference
from pymc_kl.tables import coverage, summary
from pymc_kl.target import Target
from pymc_kl.tree import load, save

__version__ = version("pymc_kl")

__all__ = [
    "Approximation",
    "Target",
    "as_approximation",
    "compare",
    "coverage",
    "find_modes",
    "fit_forward",
    "kl_divergence",
    "load",
    "plot_coverage",
    "plot_modes",
    "sample_reference",
    "save",
    "summary",
]
