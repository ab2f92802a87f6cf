"""Settings of the documentation; built by `python -m uv run --group docs sphinx-build -W -b html docs docs/_build`."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from gallery_pages import write_gallery

project = "pymc_kl"
author = "The pymc_kl developers"
version = release = version_of("pymc_kl")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax", "numpydoc"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
autosummary_generate = True
numpydoc_show_class_members = False
autodoc_typehints = "none"
html_theme = "pydata_sphinx_theme"
html_title = "pymc_kl"
html_theme_options = {"show_prev_next": False, "secondary_sidebar_items": ["page-toc"]}
templates_path: list[str] = []


def setup(app) -> None:
    """Write the gallery before sources are read."""
    app.connect("builder-inited", lambda app: write_gallery(Path(app.srcdir)))
