"""Every picture of a comparison on one page, each with the code that draws it.

The comparisons are those of the other examples; they are saved beside the page and read again the next time. Run it
as a script, since it imports the others (a minute, half of one the second time).
"""

# %% Setup. The page is laid out by the templates of the report.
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import galaxies
import pymc as pm
import report
import two_modes
import xarray as xr
from arviz_plots import PlotCollection

import pymc_kl as pkl
from pymc_kl.renyi import divergence_path
from pymc_kl.reports import Code, Figure, Painter, Section, css_variables, page_environment


@dataclass(frozen=True)
class Example:
    """A comparison of one of the other examples.

    Attributes
    ----------
    file : str
        The example that makes it.
    about : str
        What is compared.
    compare : callable
        Makes it.
    """

    file: str
    about: str
    compare: Callable[[], xr.DataTree]


@dataclass(frozen=True)
class Picture:
    """One call of a plot: what it shows of which example, and what to see in it."""

    title: str
    example: str
    plot: Callable[..., PlotCollection]
    see: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def code(self) -> str:
        """The call, to be copied."""
        arguments = "".join(f", {name}={json.dumps(value)}" for name, value in self.arguments.items())
        return f'comparison = pkl.load("{self.example}.nc")\npkl.{self.plot.__name__}(comparison{arguments})'

    def draw(self, comparison: xr.DataTree) -> Figure:
        """Draw it as SVG."""
        name = self.title.lower().replace(" ", "-")
        return Painter().draw(name, self.see, self.plot, comparison, **self.arguments)


@dataclass(frozen=True)
class PathPicture(Picture):
    """A picture of the path between both divergences: made from draws of a comparison, and from the model."""

    model: Callable[[], pm.Model] = pm.Model
    model_code: str = ""

    @property
    def code(self) -> str:
        """The whole way to it, to be copied."""
        lines = (
            "import pymc as pm",
            "from pymc_kl.renyi import divergence_path",
            f'comparison = pkl.load("{self.example}.nc")',
            "with pm.Model():",
            f"    {self.model_code}",
            "    path = divergence_path(comparison, random_seed=1, progressbar=False)",
            f"pkl.{self.plot.__name__}(path)",
        )
        return "\n".join(lines)

    def draw(self, comparison: xr.DataTree) -> Figure:
        """Follow the path and draw it as SVG."""
        path = divergence_path(comparison, model=self.model(), random_seed=1, progressbar=False)
        return Painter().draw(self.title.lower().replace(" ", "-"), self.see, self.plot, path)


def two_normals() -> pm.Model:
    """The model of the textbooks' picture."""
    with pm.Model() as model:
        pm.NormalMixture("x", two_modes.WEIGHTS, two_modes.LOCS, sigma=two_modes.SCALES)
    return model


# %% What is compared.
EXAMPLES = {
    "measurements": Example(
        "report.py",
        "Ten measurements of two quantities: four chains and ADVI agree on one mode of two.",
        lambda: report.compare_fits(report.build_model()),
    ),
    "two_modes": Example(
        "two_modes.py",
        "0.3 N(-3, 0.6²) + 0.7 N(3, 1), from exact draws: the picture of the textbooks.",
        two_modes.compare_from_draws,
    ),
    "galaxies": Example(
        "galaxies.py",
        "Three normals for the velocities of 82 galaxies: modes with 3! copies, and ADVI before it has converged.",
        lambda: galaxies.compare_fits(galaxies.build_model()),
    ),
}

# %% What is drawn, in the order in which one would ask.
PICTURES = (
    Picture(
        "Coverage", "measurements", pkl.plot_coverage,
        "Which modes does each approximation hold? Grey bars are the reference. ADVI has nothing in mode 2, which "
        "holds a fifth of the posterior.",
    ),
    Picture(
        "Modes as a pair", "measurements", pkl.plot_modes,
        "Where do they lie? The reference's draws are coloured by mode, with an approximation over them in each "
        "facet: the forward Gaussians reach both modes by filling the void between them.",
        {"kind": "pair", "max_draws": 400, "col_wrap": 4},
    ),
    Picture(
        "Modes as marginals", "galaxies", pkl.plot_modes,
        "The same, a variable at a time: for models with more than two of them.",
        {"kind": "marginal", "var_names": "mu"},
    ),
    Picture(
        "Tree of the modes", "galaxies", pkl.plot_mode_tree,
        "How separate are the modes? The further a branch falls before it joins another, the rarer a chain crosses.",
    ),
    Picture(
        "Divergences split", "two_modes", pkl.plot_divergence,
        "How far off, and where is it lost? Forward KL upwards, reverse KL downwards; full colour is lost between "
        "modes, pale within them. What ADVI minimises is small, and what it does not minimise is not.",
    ),
    Picture(
        "Divergences as bounds", "galaxies", pkl.plot_divergence,
        "ELBO ≤ log Z ≤ EUBO: the distances from log Z are the two divergences. An ELBO alone does not tell them.",
        {"kind": "bounds"},
    ),
    Picture(
        "Contributions along a line", "two_modes", pkl.plot_contributions,
        "Where does each divergence come from? The integrands under both densities, in a model of one dimension.",
    ),
    Picture(
        "Contributions in bins", "measurements", pkl.plot_contributions,
        "The same in more dimensions, in bins of the variable in which the approximations differ most.",
        {"kind": "marginal"},
    ),
    Picture(
        "k-hat", "galaxies", pkl.plot_pareto_k,
        "Can importance sampling correct it? Filled marks below 0.7 say so, where the approximation has mass.",
    ),
    Picture(
        "Losses", "galaxies", pkl.plot_loss,
        "Had the optimiser arrived? The dotted line is what polishing the same fit still reaches.",
    ),
    PathPicture(
        "Path between both divergences", "two_modes", pkl.plot_divergence_path,
        "What lies between? The best Gaussian for each order of Rényi's divergence hugs a mode up to a point, where it "
        "jumps to one that covers both.",
        model=two_normals, model_code='pm.NormalMixture("x", [0.3, 0.7], [-3, 3], sigma=[0.6, 1])',
    ),
)  # fmt: skip


# %% Compare, or read what was compared before; and write the report of each example.
def read_comparisons(folder: Path) -> dict[str, xr.DataTree]:
    """Make the comparison of each example and its report, unless they are there."""
    comparisons = {}
    for name, example in EXAMPLES.items():
        path = folder / f"{name}.nc"
        if not path.exists():
            print(f"The comparison of {example.file}:")
            pkl.save(example.compare(), path)
        comparisons[name] = pkl.load(path)
        print(f"Writing the report of {name}.")
        pkl.report(comparisons[name], path.with_suffix(".html"), overwrite=True)
    return comparisons


# %% Lay out the page.
PAGE = """{% from "parts.html.j2" import block %}
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>pymc_kl: a gallery</title>
<style>{{ variables|safe }}{% include "report.css" %}</style>
</head>
<body>
<header>
<h1>What a comparison looks like</h1>
<p class="made">Every picture of pymc_kl, drawn from its examples; each example has its report.</p>
</header>
<nav aria-label="Pictures"><ol>
{% for s in sections %}<li><a href="#{{ s.name }}">{{ s.title }}</a></li>{% endfor %}
</ol></nav>
<main>
<dl>
{% for name, example in examples.items() %}
<dt>{{ name }}: <a href="{{ name }}.html">its report</a></dt>
<dd>{{ example.about }} Made by <code>examples/{{ example.file }}</code>.</dd>
{% endfor %}
</dl>
{% for s in sections %}
<section id="{{ s.name }}" aria-labelledby="{{ s.name }}-title">
<h2 id="{{ s.name }}-title">{{ s.title }}</h2>
{% for b in s.blocks %}{{ block(b) }}{% endfor %}
</section>
{% endfor %}
</main>
<script>{% include "report.js" %}</script>
</body>
</html>
"""


def lay_out(figures: Mapping[str, Figure]) -> str:
    """Put each picture over its code."""
    sections = [
        Section(figures[p.title].name, p.title, "", [figures[p.title], Code(p.code)]) for p in PICTURES
    ]  # fmt: skip
    page = page_environment().from_string(PAGE)
    return page.render(sections=sections, examples=EXAMPLES, variables=css_variables(":root"))


# %% Run everything.
def main(folder: str | Path = "pymc_kl_demo/gallery") -> dict[str, Figure]:
    """Compare, draw, write the page and a report an example; returns the pictures by their titles."""
    folder = Path(folder)
    comparisons = read_comparisons(folder)
    print(f"Drawing {len(PICTURES)} pictures.")
    figures = {picture.title: picture.draw(comparisons[picture.example]) for picture in PICTURES}
    (folder / "index.html").write_text(lay_out(figures), encoding="utf-8")
    print(f"The gallery shows {len(figures)} pictures of {len(comparisons)} comparisons: {folder / 'index.html'}")
    return figures


if __name__ == "__main__":
    main()
