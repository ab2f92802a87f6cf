"""Make the page of a comparison: read the facts, judge them, draw, lay out and write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import xarray as xr
from arviz_base.labels import BaseLabeller, Labeller

from pymc_kl.arguments import check_arguments, file_path, optional
from pymc_kl.comparison.io import check_comparison
from pymc_kl.comparison.ranking import ranked
from pymc_kl.comparison.whole_files import check_new, check_writable, write_text
from pymc_kl.model.damaged import STRANGE, told_in_a_line
from pymc_kl.plots.parts.contract import select_variables
from pymc_kl.reports.answer import lead_of_uses, recommended
from pymc_kl.reports.evidence import coverage_section, modes_section, reference_section
from pymc_kl.reports.facts import Facts, read_facts
from pymc_kl.reports.figures import Painter, plotly_library
from pymc_kl.reports.first_picture import first_picture
from pymc_kl.reports.headline import headlines
from pymc_kl.reports.losses import divergence_section, fits_section, origin_section
from pymc_kl.reports.making import made_section, next_section
from pymc_kl.reports.markup import page_environment, read_text
from pymc_kl.reports.page import Options, Section
from pymc_kl.reports.phrases import listed
from pymc_kl.reports.quantities import quantities_section
from pymc_kl.reports.space import parameters_section, uses_section
from pymc_kl.reports.theme import css_variables
from pymc_kl.reports.trust import Trust, judge_reference
from pymc_kl.reports.uses import judged_uses, of_asked
from pymc_kl.reports.verdict import judge

SIGN = b'<meta name="generator" content="pymc_kl">'  # by which a page of ours is known, as the template writes it
SIGN_OF_EARLIER = b": which modes each approximation covers</title>"  # the same of pages before they bore that sign
HEAD = 20_000  # bytes of a page in which its sign stands; bounds what is read of a file that may be large; our choice
IN_NOTEBOOKS = ("quantities-table", "heat", "divergence-table")  # names of the tables that a notebook shows


@dataclass(frozen=True, repr=False)
class Report:
    """A report that was made: show it in a notebook, print it in a terminal, or save it.

    Attributes
    ----------
    html : str
        The whole page.
    notebook : str
        The verdict, the picture and the two main tables, as a notebook shows them.
    verdict : tuple of str
        Its sentences: on your draws, the answer, then why.
    path : Path or None
        The file that it was written to.

    Examples
    --------
    With the `comparison` in the example of :func:`pymc_kl.compare`:

    >>> made = pkl.report(comparison)
    >>> made.path is None, made.html[:15], len(made.verdict) > len(comparison["scores"]["approximation"])
    (True, '<!DOCTYPE html>', True)
    """

    html: str = field(repr=False)
    notebook: str = field(repr=False)
    verdict: tuple[str, ...]
    path: Path | None = None

    def __str__(self) -> str:
        return "\n".join(self.verdict)

    def __repr__(self) -> str:
        answer = self.verdict[0] if self.verdict else ""
        return f"<Report{f' at {self.path}' if self.path else ''}: {answer}>"

    def _repr_html_(self) -> str:
        return self.notebook

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the page to an HTML file, which is replaced when the new one is whole.

        Raises
        ------
        FileExistsError
            If there is a file, and `overwrite` is not True or it is neither a report nor empty.
        OSError
            If it could not be written, as on a full disk; what was there is unchanged.
        """
        path = writable(path, overwrite)
        write_text(path, self.html)
        return path


def report(
    comparison: xr.DataTree | str | Path,
    path: str | Path | None = None,
    *,
    var_names: str | Sequence[str] | None = None,
    filter_vars: Literal["like", "regex"] | None = None,
    coords: Mapping[str, Any] | None = None,
    ci_prob: float | None = None,
    labeller: Labeller | None = None,
    round_to: int | None = None,
    interactive: bool = False,
    overwrite: bool = False,
) -> Report:
    """Write what a comparison shows as one HTML page that can be mailed, opened offline and printed.

    The page is drawn from the comparison alone, without the model. It begins with a verdict in words, by rules that
    say no more than the errors allow; tables and pictures follow as evidence.

    Parameters
    ----------
    comparison : DataTree or path
        What :func:`compare` returned, or where :func:`save` wrote it.
    path : path, optional
        Where to write it. Without it, the page is only returned.
    var_names : str or sequence of str, optional
        Variables to show in tables and pictures of the parameters; ``~`` excludes. All by default, of which those
        are chosen that tell most.
    filter_vars : {None, "like", "regex"}, optional
        How `var_names` are read.
    coords : mapping, optional
        Coordinates to show.
    ci_prob : float, optional
        Probability of the intervals in pictures. Defaults to ``rcParams["stats.ci_prob"]``.
    labeller : labeller, optional
        Names the parameters.
    round_to : int, optional
        Decimals of all estimates; by default two digits of each one's error.
    interactive : bool
        Draw with plotly, which adds 4.7 MB to the page, instead of SVG.
    overwrite : bool
        Replace a report that is there, or an empty file; no other file is replaced.

    Returns
    -------
    Report
        `html`, `verdict` and `path`; shows itself in a notebook.

    Raises
    ------
    FileExistsError
        If there is a file at `path`, and `overwrite` is not True or it is neither a report nor empty.
    ValueError
        If `comparison` is none, or of a newer version.

    Examples
    --------
    With the `comparison` in the example of :func:`pymc_kl.compare`:

    >>> pkl.report(comparison).verdict[1][:46]
    'Use your draws; as a fit, use forward mixture:'
    """
    check_arguments(locals(), path=optional(file_path))
    dt = ranked(check_comparison(comparison))
    if path is not None:
        check_writable(writable(path, overwrite))
    options = Options(var_names, filter_vars, coords, ci_prob, labeller or BaseLabeller(), round_to)
    select_variables(dt["posterior"].to_dataset(), **options.variables)
    made = _page(dt, Painter(interactive), options)
    return made if path is None else replace(made, path=made.save(path, overwrite=overwrite))


@told_in_a_line("no page can be made of this comparison", STRANGE)
def _page(dt: xr.DataTree, painter: Painter, options: Options) -> Report:
    """Draw and write the page and its short form for notebooks."""
    facts = read_facts(dt, options.variables)
    trust, sentences = judge_reference(facts), judge(facts)
    best = recommended(facts) if any(said.rule == "uses" for said in sentences) else None
    n_lead = next((i for i, said in enumerate(sentences, 1) if said.rule in ("answer", "untrusted")), 1)
    shared = {
        "verdict": sentences,
        "coverage": first_picture(dt, facts, painter, options),
        "style": read_text("report.css"),
    }
    sections = _sections(dt, facts, trust, painter, options)
    environment = page_environment()
    html = environment.get_template("report.html.j2").render(
        title=_title(dt),
        date=str(dt.attrs.get("creation_time", ""))[:10],
        version=version("pymc_kl"),
        source=f"a comparison by pymc_kl {dt.attrs.get('creation_library_version', '?')}",
        headlines=headlines(facts, trust),
        lead=sentences[:n_lead],
        first_of_fits=next((said.text for said in sentences if said.rule == "first"), ""),
        uses=judged_uses(facts, best) if best else {},
        of_asked=of_asked(facts),
        lead_of_uses=lead_of_uses(facts, best.name) if best else "",
        best=best,
        rest=[said for said in sentences[n_lead:] if said.rule not in ("first", "uses")],
        sections=sections,
        variables=css_variables(":root"),
        script=read_text("report.js"),
        plotly=plotly_library() if painter.interactive else "",
        **shared,
    )
    main_tables = [
        block for section in sections for block in section.blocks if getattr(block, "name", "") in IN_NOTEBOOKS
    ]
    notebook = environment.get_template("notebook.html.j2").render(
        tables=main_tables, variables=css_variables(".pymc-kl"), **shared
    )
    return Report(html, notebook, tuple(sentence.text for sentence in sentences))


def _title(dt: xr.DataTree) -> str:
    """Return the model's name, or the names of its variables where it has none."""
    name = str(dt.attrs.get("model_name", "model"))
    return name if name != "model" else f"Posterior of {listed(list(dt['posterior'].data_vars))}"


def _sections(dt: xr.DataTree, facts: Facts, trust: Trust, painter: Painter, options: Options) -> list[Section]:
    asked = [quantities_section(dt, facts, options)] if "quantities" in dt.children else []
    return [
        *asked,
        next_section(facts, trust),
        reference_section(dt, facts, trust, options),
        modes_section(dt, facts, painter, options),
        *(_of_fits(dt, facts, painter, options) if facts.fits else [parameters_section(dt, painter, options)]),
        made_section(dt),
    ]


def _of_fits(dt: xr.DataTree, facts: Facts, painter: Painter, options: Options) -> list[Section]:
    return [
        coverage_section(dt, facts, options),
        divergence_section(dt, facts, painter, options),
        origin_section(dt, facts, painter, options),
        parameters_section(dt, painter, options),
        uses_section(facts),
        fits_section(dt, facts, painter, options),
    ]


def writable(path: str | Path, overwrite: bool) -> Path:
    """Return the path to write to; raise if it cannot be written."""
    path = Path(path).expanduser()
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file in it, such as {path / 'report.html'}.")
    if path.suffix not in (".html", ".htm"):
        raise ValueError(f"the path of a report must end in .html; got {path.name!r}.")
    check_new(path, overwrite=overwrite)
    if path.exists() and not _is_a_report(path):
        raise FileExistsError(
            f"{path} is there and is no report. Only a report by pymc_kl is replaced: name another file, or remove "
            "what is there."
        )
    if (file := next((parent for parent in path.parents if parent.exists()), path.parent)).is_file():
        raise NotADirectoryError(f"{file} is a file, so no report can be written into it; name a folder.")
    return path


def _is_a_report(path: Path) -> bool:
    """Tell whether a file is a page of this package, of an earlier version too, or is empty."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    return not head or any(sign in head for sign in (SIGN, SIGN_OF_EARLIER))
