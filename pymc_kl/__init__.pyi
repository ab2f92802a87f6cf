from .adapters import as_approximation, to_pymc
from .cli.versions import show_versions
from .comparison.compare import compare
from .comparison.io import load, save
from .comparison.tables import coverage, summary
from .divergence.kl import kl_divergence
from .fitting.forward import fit_forward
from .fitting.reverse import fit_reverse
from .modes.search import find_modes
from .plots import (
    plot_contributions,
    plot_coverage,
    plot_divergence,
    plot_divergence_path,
    plot_loss,
    plot_mode_tree,
    plot_modes,
    plot_pareto_k,
)
from .reference.sample import sample_reference
from .reports import report
from .sampling.initvals import initvals
from .sampling.jump import sample_jump
from .sampling.resample import correct

__all__ = [
    "as_approximation",
    "compare",
    "correct",
    "coverage",
    "find_modes",
    "fit_forward",
    "fit_reverse",
    "initvals",
    "kl_divergence",
    "load",
    "plot_contributions",
    "plot_coverage",
    "plot_divergence",
    "plot_divergence_path",
    "plot_loss",
    "plot_mode_tree",
    "plot_modes",
    "plot_pareto_k",
    "report",
    "sample_jump",
    "sample_reference",
    "save",
    "show_versions",
    "summary",
    "to_pymc",
]

__version__: str
