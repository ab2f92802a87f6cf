"""Define the parts of a page: sections of tables, pictures, sentences and code, which the template lays out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from arviz_base.labels import BaseLabeller, Labeller

from pymc_kl.reports.cells import Table
from pymc_kl.reports.figures import Figure


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    items: Sequence[str]


@dataclass(frozen=True)
class Code:
    """Code to copy and run, with a sentence above it.

    Examples
    --------
    >>> from pymc_kl.reports import Code
    >>> Code("pkl.plot_pareto_k(comparison)", "k-hat of each fit.").caption
    'k-hat of each fit.'
    """

    code: str
    caption: str = ""


@dataclass(frozen=True)
class Details:
    """Blocks under a title that are shown on demand, and in print."""

    title: str
    blocks: Sequence["Block"]


type Block = Text | Items | Code | Details | Table | Figure


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes
    ----------
    name : str
        Its anchor.
    title : str
    lead : str
        One sentence on how to read it.
    blocks : sequence of Block

    Examples
    --------
    >>> from pymc_kl.reports import Code, Section
    >>> Section("khat", "k-hat", "Below 0.7 is good.", [Code("pkl.plot_pareto_k(comparison)")]).title
    'k-hat'
    """

    name: str
    title: str
    lead: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Options:
    """Options of :func:`pymc_kl.report` on what to show: variables as in ArviZ, probability of intervals, decimals."""

    var_names: str | Sequence[str] | None = None
    filter_vars: Literal["like", "regex"] | None = None
    coords: Mapping[str, Any] | None = None
    ci_prob: float | None = None
    labeller: Labeller = field(default_factory=BaseLabeller)
    round_to: int | None = None

    @property
    def variables(self) -> dict[str, Any]:
        """Return the arguments that choose variables."""
        return {"var_names": self.var_names, "filter_vars": self.filter_vars, "coords": self.coords}
