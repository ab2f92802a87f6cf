"""Write the gallery when the documentation is built: a page a plot, with its picture and the code that draws it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

import pymc_kl as pkl
from pymc_kl.renyi import divergence_path

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import report as measurements

FOLDER = "gallery"  # in the folder of the sources; not committed
PATH = "path = pymc_kl.renyi.divergence_path(comparison, model=model, alphas=(0, 0.5, 1), random_seed=1)"


@dataclass(frozen=True)
class Plot:
    """A plot, the question that it answers, and what to see in its picture."""

    draw: Callable
    question: str
    see: str

    @property
    def name(self) -> str:
        """Its public name."""
        return self.draw.__name__

    def page(self) -> str:
        """Write its page."""
        code = f"pkl.{self.name}(comparison)"
        if self.draw is pkl.plot_divergence_path:
            code = f"{PATH}\npkl.{self.name}(path)"
        return (
            f"# {self.question}\n\n![{self.see}]({self.name}.svg)\n\n{self.see}\n\n```python\n{code}\n```\n\n"
            f"All arguments: {{func}}`pymc_kl.{self.name}`.\n"
        )


PLOTS = (
    Plot(pkl.plot_coverage, "Which modes does each fit cover?", "ADVI misses mode 2, which holds a fifth."),
    Plot(pkl.plot_modes, "Where are the modes, and the fits?", "A single Gaussian in both modes fills the gap, too."),
    Plot(pkl.plot_divergence, "How far off is each fit?", "ADVI's reverse KL is small, its forward KL is not."),
    Plot(pkl.plot_contributions, "Where does it come from?", "Forward KL of ADVI comes from the mode that it misses."),
    Plot(pkl.plot_pareto_k, "Can importance sampling correct it?", "Below 0.7 it can, where the fit misses no mode."),
    Plot(pkl.plot_loss, "Had the optimiser arrived?", "The loss of ADVI is flat, at its final ELBO."),
    Plot(pkl.plot_mode_tree, "How separate are the modes?", "The density falls by 89 nats on the way between them."),
    Plot(pkl.plot_divergence_path, "What lies between both divergences?", "From reverse to forward KL, fits widen."),
)


def write_gallery(sources: Path) -> None:
    """Draw all pictures, and write their pages and the list of them, unless they are there."""
    folder = sources / FOLDER
    if not (folder / "index.md").exists():
        folder.mkdir(exist_ok=True)
        mpl.use("agg")
        model = measurements.build_model()
        comparison = measurements.compare_fits(model)
        path = divergence_path(comparison, model=model, alphas=(0, 0.5, 1), random_seed=1, progressbar=False)
        for plot in PLOTS:
            drawn = plot.draw(path if plot.draw is pkl.plot_divergence_path else comparison, backend="matplotlib")
            drawn.savefig(folder / f"{plot.name}.svg", bbox_inches="tight")
            (folder / f"{plot.name}.md").write_text(plot.page(), encoding="utf-8")
        (folder / "index.md").write_text(_index(), encoding="utf-8")


def _index() -> str:
    pictures = "\n".join(f"[![{plot.question}]({plot.name}.svg)]({plot.name}.md)\n" for plot in PLOTS)
    names = "\n".join(plot.name for plot in PLOTS)
    about = "Each picture is of the comparison in `examples/report.py`, and leads to the code that draws it."
    return f"# Gallery\n\n{about}\n\n```{{toctree}}\n:maxdepth: 1\n\n{names}\n```\n\n{pictures}"
