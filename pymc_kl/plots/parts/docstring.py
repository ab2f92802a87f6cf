"""The paragraphs that the docstrings of the plots share, each written once."""

import inspect
import re
from collections.abc import Callable
from typing import Any

PARAGRAPHS = {
    "comparison": """\
comparison : DataTree
    What :func:`pymc_kl.compare` returned.""",
    "approximations": """\
approximations : str or sequence of str, optional
    Which to show; all by default.""",
    "var_names": """\
var_names : str or sequence of str, optional
    Variables to choose scalars from; ``~`` excludes. All by default.
filter_vars : {None, "like", "regex"}, optional
    How `var_names` are read.
coords : mapping, optional
    Coordinates to choose scalars from.""",
    "figure": """\
plot_collection : PlotCollection, optional
    What to draw into; a new one by default.
backend : {"matplotlib", "plotly", "bokeh", "none"}, optional
    Defaults to that of `plot_collection`, else to ``rcParams["plot.backend"]``.""",
    "aes_by_visuals": """\
aes_by_visuals : mapping of {str : sequence of str or False}, optional""",
    "visuals": """\
visuals : mapping of {str : mapping or bool}, optional
    False leaves a visual out. Valid keys are:
""",
    "pc_kwargs, returns": """\
**pc_kwargs
    Passed to :meth:`arviz_plots.PlotCollection.wrap`.

Returns
-------
PlotCollection""",
    "raises": """\
Raises
------
ValueError""",
    "examples": """\
Examples
--------
With the `comparison` in the example of :func:`pymc_kl.compare`:""",
}


def fill_docstring[F: Callable[..., Any]](function: F) -> F:
    """Replace each ``%(name)s`` of a docstring by the paragraph of that name, as matplotlib does."""
    if function.__doc__ is not None:  # python -OO leaves docstrings out
        doc = inspect.cleandoc(function.__doc__)
        function.__doc__ = re.sub(r"%\(([\w, ]+)\)s", lambda found: PARAGRAPHS[found[1]], doc)
    return function
