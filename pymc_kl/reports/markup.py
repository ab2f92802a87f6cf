"""Load the templates of the page, its style and its script."""

import re
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pymc_kl.plots.parts.axes import PARTS

CODE = re.compile(r"`([^`]+)`")
WITHIN_NUMBER = re.compile(r"(?<=\d) (?=%|±|nats\b)|(?<=%) (?=±)|(?<=±) ")  # spaces at which no line of a sentence ends
NUMBER_PARTS = re.compile(r" (?=[(a-z])")  # spaces before a bracket or a word
UNBROKEN = 18  # letters of a name after which a line may break


def page_environment() -> Environment:
    """Load the templates of the report, to lay out a page of one's own with them.

    `parts.html.j2` has a macro `block` that writes any of :class:`Code`, :class:`Figure` and the other blocks of a
    section; `report.css` and `report.js` can be included.

    Returns
    -------
    jinja2.Environment
        Escapes what is inserted, and raises where a name is undefined.

    Examples
    --------
    >>> from pymc_kl.reports import Code
    >>> page = page_environment().from_string('{% from "parts.html.j2" import block %}{{ block(code) }}')
    >>> print(page.render(code=Code("pkl.plot_pareto_k(comparison)")).strip()[:70])
    <pre tabindex="0" aria-label="code"><code>pkl.plot_pareto_k(comparison
    """
    environment = Environment(
        loader=PackageLoader("pymc_kl.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = breakable
    environment.filters["unbroken"] = unbroken
    environment.filters["with_code"] = with_code
    return environment


def read_text(name: str) -> str:
    """Read a file that lies beside the templates."""
    return files("pymc_kl.reports").joinpath("templates", name).read_text(encoding="utf-8")


def with_code(text: str) -> Markup:
    """Set what stands in backticks, names of variables, as code, and keep numbers, units and errors in one line."""
    parts = CODE.split(text)
    words = (
        Markup("<code>{}</code>").format(p) if i % 2 else WITHIN_NUMBER.sub("\N{NO-BREAK SPACE}", p)
        for i, p in enumerate(parts)
    )
    return Markup("").join(words)


def unbroken(text: str) -> Markup:
    """Keep a number and its error in one line; what follows, in brackets or words, may stand in the next.

    In a table of many columns the error may stand in the next line, too.
    """
    return Markup(" ").join(_in_one_line(part, *part.partition(" ±")) for part in NUMBER_PARTS.split(text))


def _in_one_line(part: str, value: str, sign: str, error: str) -> Markup:
    if not sign:
        return Markup('<span class="unbroken">{}</span>').format(part)
    return Markup('<span class="unbroken">{} <span>±{}</span></span>').format(value, error)


def breakable(text: str) -> Markup:
    """Allow line breaks between the parts of a name, and after every 18 letters of a part."""
    parts = PARTS.findall(text)
    return Markup("<wbr>").join(part[i : i + UNBROKEN] for part in parts for i in range(0, len(part), UNBROKEN))
