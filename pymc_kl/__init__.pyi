from .adapters import as_approximation, to_pymc
from .compare import compare
from .correct import correct
from .divergence import kl_divergence
from .forward import fit_forward
from .initvals import initvals
from .jump import sample_jump
from .plots import (
    plot_contributions,
    plot_coverage,
    plot_divergence,
    plot_divergence_path,
    plot_khat,
    plot_loss,
    plot_mode_tree,
    plot_modes,
)
from .reports import report
from .reverse import fit_reverse
from .sampled import sample_reference
from .search import find_modes
from .tables import coverage, summary
from .tree import load, save

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
    "plot_khat",
    "plot_loss",
    "plot_mode_tree",
    "plot_modes",
    "report",
    "sample_jump",
    "sample_reference",
    "save",
    "summary",
    "to_pymc",
]

__version__: str
