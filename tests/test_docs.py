"""Pages of the documentation: what they show is what is printed, and what they link to is there."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAPER = ROOT / "paper" / "paper.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)")
DRAWN = "gallery/"  # written when the documentation is built


def examples(page: Path) -> str:
    """Blocks of a page that show what is printed, one below the other."""
    return "\n".join(block for block in BLOCK.findall(page.read_text(encoding="utf-8")) if ">>> " in block)


@pytest.mark.filterwarnings("ignore")  # of other samplers, which are none of ours
@pytest.mark.parametrize("page", [page for page in PAGES if examples(page)], ids=lambda page: page.stem)
def test_a_page_prints_what_it_shows(page: Path) -> None:
    test = doctest.DocTestParser().get_doctest(examples(page), {}, page.name, str(page), 0)
    told: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=told.append)
    assert result.attempted > 0 and not result.failed, "".join(told)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_to_files_hold(page: Path) -> None:
    linked = {link for link in LINK.findall(page.read_text(encoding="utf-8")) if not link.startswith(DRAWN)}
    assert not [link for link in linked if not (page.parent / link).exists()]


def test_the_paper_shows_what_the_readme_shows_and_cites_what_is_listed() -> None:
    """The README's verdict is held to what the example prints."""
    paper, readme = (page.read_text(encoding="utf-8") for page in (PAPER, ROOT / "README.md"))
    shown = re.search(r"^```text\n(.*?)^```", paper, re.DOTALL | re.MULTILINE)[1].splitlines()
    assert len(shown) > 3
    assert not set(shown) - set(readme.splitlines())
    listed = re.findall(r"^@\w+{(\w+),", PAPER.with_suffix(".bib").read_text(encoding="utf-8"), re.MULTILINE)
    cited = set(re.findall(r"@(\w+)", re.sub(r"^---.*?^---", "", paper, count=1, flags=re.DOTALL | re.MULTILINE)))
    assert cited == set(listed)
    assert len(listed) == len(set(listed))


def test_the_paper_has_the_authors_and_title_of_the_citation() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (PAPER, ROOT / "CITATION.cff")]
    paper, citation = (re.findall(r"^(?:title|  - name): (.*)$", text, re.MULTILINE) for text in texts)
    assert sorted(paper) == sorted(citation)
    assert len(paper) > 1
