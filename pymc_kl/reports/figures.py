"""Draw plots as SVG or plotly within the page: text as text, unique ids, colours that follow the theme.

A plot that fails is replaced by a sentence, so that the rest of the page is kept.
"""

import html
import io
import re
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from arviz_plots import PlotCollection

from pymc_kl.reports.theme import INK, PAPER, themed

DRAWING = threading.RLock()  # ArviZ draws by pyplot, whose figures and settings all threads share
SETTINGS: dict[Any, Any] = {  # names may hold a dollar
    "svg.fonttype": "none", "svg.hashsalt": "pymc_kl", "figure.max_open_warning": 0, "text.parse_math": False,
}  # fmt: skip
PIXELS_PER_POINT = 4 / 3  # CSS Values 4, absolute lengths
PLOTLY_TOP = 40  # pixels above the axes, added to the height of a figure
PLOTLY_BOTTOM = 60  # pixels below the axes, added to the height of a figure


@dataclass(frozen=True)
class Figure:
    """One picture of a page.

    Attributes
    ----------
    name : str
        Its id.
    markup : str
        SVG, or plotly's HTML; empty if it could not be drawn.
    caption : str
    failed : str
        The error with which the plot failed, empty if it did not.

    Examples
    --------
    >>> from pymc_kl.reports import Figure
    >>> Figure("khat", "<svg></svg>", "k-hat of each fit.").failed
    ''
    """

    name: str
    markup: str
    caption: str
    failed: str = ""


@dataclass(frozen=True)
class Painter:
    """Draws plots for a page.

    Attributes
    ----------
    interactive : bool
        Draw with plotly instead of as SVG.

    Examples
    --------
    With the `comparison` in the example of :func:`pymc_kl.compare`:

    >>> from pymc_kl.reports import Painter
    >>> Painter().draw("khat", "k-hat of each fit.", pkl.plot_pareto_k, comparison).markup[:4]
    '<svg'
    """

    interactive: bool = False

    def draw(self, name: str, caption: str, plot: Callable[..., PlotCollection], *args: Any, **kwargs: Any) -> Figure:
        """Draw one picture; the plot is called with `args`, `kwargs` and `backend`.

        Parameters
        ----------
        name : str
            Its id and accessible label.
        caption : str
        plot : callable
            A plot of this package or of ArviZ, which returns a `PlotCollection`.

        Returns
        -------
        Figure
            Where the plot raises, `failed` says what.
        """
        with DRAWING:
            return self._drawn(name, caption, plot, *args, **kwargs)

    def _drawn(self, name: str, caption: str, plot: Callable[..., PlotCollection], *args: Any, **kwargs: Any) -> Figure:
        backend = "plotly" if self.interactive else "matplotlib"
        before = set(plt.get_fignums())
        try:
            with warnings.catch_warnings(), mpl.rc_context(SETTINGS):
                warnings.simplefilter("ignore")
                collection = plot(*args, backend=backend, **kwargs)
                markup = self._plotly(collection, name) if self.interactive else _svg(collection, name, caption)
        except Exception as error:  # noqa: BLE001 a picture that fails must not lose the page
            return Figure(name, "", caption, f"{type(error).__name__}: {error}")
        finally:
            for opened in set(plt.get_fignums()) - before:
                plt.close(opened)
        return Figure(name, markup, caption)

    def _plotly(self, collection: PlotCollection, name: str) -> str:
        figure = collection.get_viz("figure")
        figure.update_layout(template="plotly_white", paper_bgcolor=PAPER, plot_bgcolor=PAPER, font={"color": INK})
        margin = {"t": figure.layout.margin.t or PLOTLY_TOP, "b": PLOTLY_BOTTOM}
        figure.update_layout(margin=margin, height=figure.layout.height + sum(margin.values()))
        options = {"full_html": False, "include_plotlyjs": False, "div_id": f"plotly-{name}"}
        return str(figure.to_html(**options, config={"displaylogo": False, "responsive": True}))


def plotly_library() -> str:
    """Return plotly's script, which a page needs once."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _svg(collection: PlotCollection, name: str, caption: str) -> str:
    buffer = io.StringIO()
    collection.get_viz("figure").savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return _inline(buffer.getvalue(), name, caption)


def _inline(svg: str, name: str, caption: str) -> str:
    """Turn an SVG file of matplotlib into an element of the page."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    parts = re.split(r"(<[^>]*>)", body)
    parts[1::2] = _inline_tags("\0".join(parts[1::2]), name).split("\0")  # not the texts between, which hold names
    body = "".join(parts)
    width = float(re.search(r'width="([\d.]+)pt"', body)[1]) * PIXELS_PER_POINT  # type: ignore[index]
    head = f'<svg role="img" aria-label="{html.escape(caption)}" style="width:{width:.0f}px" '
    box = re.search(r'viewBox="([^"]*)"', body)[1]  # type: ignore[index]
    body = f'{head}viewBox="{box}" xmlns="http://www.w3.org/2000/svg">{body[body.index(">") + 1 :]}'
    return re.sub(r"\s*\n\s*", "\n", body)


def _inline_tags(tags: str, name: str) -> str:
    """Make tags those of the page: ids and colours of its own, its letters, and no more decimals than can be seen."""
    tags = re.sub(r'\bid="', f'id="{name}-', tags)
    tags = re.sub(r'href="#', f'href="#{name}-', tags).replace("xlink:href", "href")
    tags = re.sub(r"url\(#", f"url(#{name}-", tags)
    tags = re.sub(r"font-family: [^;\"]*", "font-family: inherit", tags)
    tags = re.sub(r"font: (\d+(?:\.\d+)?px) [^;\"]*", r"font-size: \1; font-family: inherit", tags)
    return themed(re.sub(r"(\d+\.\d\d)\d+", r"\1", tags))
