"""Pages of the documentation: what they show is what is printed, and what they link to is there."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
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
