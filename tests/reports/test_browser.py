"""The HTML report as a browser shows it: numbers, pictures, keys, colours, widths and print, without a network."""

import csv
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright
from support import report_comparisons

import pymc_kl as pkl
from pymc_kl.comparison.tables import two_part_verdicts
from pymc_kl.reports.facts import read_facts
from pymc_kl.reports.uses import USES

pytestmark = pytest.mark.browser

SYNTHETIC: dict[str, Callable[[], xr.DataTree]] = {
    "typical": report_comparisons.typical,
    "one of each": report_comparisons.one_of_each,
    "big": report_comparisons.big,
    "hostile": report_comparisons.hostile,
}
CASES = ["real", *SYNTHETIC]
SMALL = ["real", "one of each", "hostile"]
WIDTHS = (360, 1600)  # pixels
A4 = 688  # pixels between the margins
MOST_BYTES = {"big": 5_000_000}
USUAL_BYTES = 2_000_000
LEAST_NUMBERS = {"real": 60, "typical": 100, "one of each": 25, "big": 2000, "hostile": 80}
TEXT_CONTRAST, LARGE_CONTRAST = 4.5, 7.0  # WCAG 2.2, 1.4.3 and 1.4.6
SCHEMES = ("light", "dark")
IN_PER_CENT = ("mass", "elsewhere", "spill", "hdr_coverage")
NUMBER = r"[−-]?(?:[\d,]+(?:\.\d+)?(?:e[+-]?\d+)?|∞)"
PATTERN = re.compile(
    rf"(?P<less>[<>≥] ?)?(?P<value>{NUMBER})(?: ± (?P<se>{NUMBER}|\?))?(?: \((?P<low>{NUMBER})–(?P<high>{NUMBER})\))?"
    rf"(?: \((?P<sd>{NUMBER})\))?(?: (?P<word>[a-z, ]+))?"
)


@dataclass
class Opened:
    """A page that was opened, and what it said and asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The Chromium that is installed; none is downloaded."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.fail("these tests need a browser: apt-get install chromium", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def comparisons(zoo, exact_draws) -> Callable[[str], xr.DataTree]:
    @cache
    def made(case: str) -> xr.DataTree:
        if case != "real":
            return SYNTHETIC[case]()
        _, target = zoo("two_modes")
        with target.model:
            advi = pm.fit(2000, random_seed=1, progressbar=False)
        draws = exact_draws("two_modes", 4000, 1)
        return pkl.compare(draws, {"ADVI": advi}, model=target, random_seed=3, progressbar=False)

    return made


@pytest.fixture(scope="module")
def written(comparisons, tmp_path_factory) -> Callable[[str], Path]:
    """The report of a case, written once."""
    folder = tmp_path_factory.mktemp("reports")

    @cache
    def path(case: str) -> Path:
        made = pkl.report(comparisons(case), folder / f"{case}.html").path
        assert made is not None
        return made

    return path


@pytest.fixture
def show(browser, written) -> Iterator[Callable[..., Opened]]:
    """Open the report of a case offline, and record all that it says and asks for."""
    contexts = []

    def opened(case: str | Path, *, width: int = 1000, scheme: str = "light", **options: Any) -> Opened:
        path = written(case) if isinstance(case, str) else case
        context = browser.new_context(
            offline=True, viewport={"width": width, "height": 900}, color_scheme=scheme, **options
        )
        contexts.append(context)
        shown = Opened(context.new_page())
        page = shown.page
        page.on("console", lambda m: shown.said.append(f"{m.type}: {m.text}") if m.type in ("error", "warning") else 0)
        page.on("pageerror", lambda error: shown.said.append(f"page error: {error}"))
        page.on("dialog", lambda dialog: (shown.said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: shown.asked.append(request.url))
        page.goto(path.as_uri(), wait_until="load")
        assert shown.asked.pop(0) == path.as_uri()
        return shown

    yield opened
    for context in contexts:
        context.close()


def unfold(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")


# ---- what is in it ----


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_asked_for_and_nothing_goes_wrong(case, show):
    shown = show(case)
    unfold(shown.page)
    shown.page.mouse.wheel(0, 20_000)
    assert shown.asked == []
    assert shown.said == []


@pytest.mark.parametrize("case", CASES)
def test_every_picture_is_drawn_with_text_as_text(case, show):
    page = show(case).page
    unfold(page)
    assert page.locator("p.failed").all_text_contents() == []
    assert page.locator("figure").count() >= 6
    for figure in page.locator("figure").all():
        box = figure.locator("svg").bounding_box()
        assert box and box["width"] > 100 and box["height"] > 50
        assert figure.locator("svg text").count() >= 3
        assert figure.locator("svg").get_attribute("aria-label")
        assert figure.locator("figcaption").inner_text().endswith(".")


@pytest.mark.parametrize("case", CASES)
def test_tables_have_a_row_for_each(case, show, comparisons):
    page, dt = show(case).page, comparisons(case)
    n, k = dt["scores"].sizes["approximation"], dt["modes"].sizes["mode"]
    small = len(read_facts(dt).small)
    together = int(small > 0)
    rows = {
        "heat": k + 1 + together,
        "modes-table": k + together,
        "search": k + together,
        "divergence-table": n,
        "elbo-table": n,
        "fits-table": n,
        "weights-table": n,
        "detail": len(read_facts(dt).that_matter) * int((dt["coverage"]["verdict"] != "").any("mode").sum()),
    }
    for name, count in rows.items():
        assert page.locator(f"#{name} tbody tr").count() == count, name
    assert page.locator("#heat thead th").count() == n + 1
    assert page.locator("#uses-table thead th").count() == n + 1
    assert page.locator(".verdict li").count() >= n


@pytest.mark.parametrize("case", CASES)
def test_every_number_is_that_of_the_comparison(case, show, comparisons):
    cells = show(case).page.evaluate(
        "[...document.querySelectorAll('[data-source]')].map(c => [c.dataset.source, c.dataset.at, c.textContent])"
    )
    dt, seen = comparisons(case), set()
    for source, at, text in cells:
        check_cell(dt, source, json.loads(at), text)
        seen.add((source, at))
    assert len(seen) >= LEAST_NUMBERS[case]


def check_cell(dt: xr.DataTree, source: str, at: dict[str, Any], text: str) -> None:
    """Compare a cell's text with what the comparison holds, to half a unit of the last digit shown."""
    group, _, variable = source.rpartition("/")
    value, se, upper = (look_up(dt, group, name, at) for name in (variable, f"{variable}_se", f"{variable}_upper"))
    if group == "parameters":
        value, se = (look_up(dt, group, variable, at | {"statistic": name}) for name in ("mean", "mean_se"))
    unit = 100 if variable in IN_PER_CENT else 1
    where = f"{source} at {at}: {text!r}"
    if text.split(" ")[0] == "–":
        assert np.isnan(value), where
        return
    match = PATTERN.fullmatch(text)
    assert match, where
    if match["word"]:
        part = dt[group].to_dataset().sel(approximation=at["approximation"])
        said = dict(zip(part["mode"].values, two_part_verdicts(part, dt["modes"].to_dataset()), strict=True))
        assert match["word"] == said[at["mode"]], where
    if match["less"] == ">":
        assert unit * look_up(dt, group, f"{variable}_lower", at) == pytest.approx(parse(match["value"]), abs=0.1), (
            where
        )
        return
    if match["less"]:
        bound = parse(match["value"])
        assert (value == 0 and 0 <= bound - unit * upper <= 0.1) or 0 <= unit * (value + se) < bound, where
        return
    assert_shown(unit * value, match["value"], where)
    if match["low"]:
        assert parse(match["low"]) <= unit * value <= parse(match["high"]), where
    if match["se"] not in (None, "?"):
        assert_shown(unit * se, match["se"], where)
    if match["sd"]:
        assert_shown(look_up(dt, group, variable, at | {"statistic": "sd"}), match["sd"], where)


def look_up(dt: xr.DataTree, group: str, variable: str, at: dict[str, Any]) -> float:
    ds = dt[group].to_dataset()
    if variable not in ds:
        return float("nan")
    where = {dim: label for dim, label in at.items() if dim in ds[variable].dims}
    return float(ds[variable].sel(where)) if len(where) == ds[variable].ndim else float("nan")


def parse(text: str) -> float:
    return float(text.replace("−", "-").replace(",", "").replace("∞", "inf"))


def assert_shown(value: float, text: str, where: str) -> None:
    if "∞" in text:
        assert value == parse(text), where
        return
    decimals = len(text.partition(".")[2].partition("e")[0])
    digits = 10.0**-decimals if "e" not in text else 10.0 ** (float(text.partition("e")[2]) - decimals)
    if "e" not in text and "." not in text:
        digits = max(digits, 10.0 ** (len(text.lstrip("-−")) - 3))  # three significant ones where the error is unknown
    assert parse(text) == pytest.approx(value, abs=0.5000001 * digits), where


def test_a_wrong_number_would_be_found():
    dt = report_comparisons.one_of_each()
    at = {"mode": 1, "approximation": "ADVI"}
    right = float(dt["scores"]["forward_kl_between"][0])
    check_cell(dt, "scores/forward_kl_between", at, f"{right:.3f} ± 0.020")
    for wrong in (f"{right + 0.001:.3f} ± 0.020", f"{right:.3f} ± 0.021", "–", "∞", "<0.01", "off"):
        with pytest.raises(AssertionError):
            check_cell(dt, "scores/forward_kl_between", at, wrong)
    with pytest.raises(AssertionError):
        check_cell(dt, "coverage/mass", at, "100.00 ± 0.20 missed")


def test_hostile_names_are_text(show):
    shown = show("hostile")
    page = shown.page
    unfold(page)
    assert page.locator("img, script[src], iframe, object, link").count() == 0
    assert shown.said == [] and shown.asked == []
    assert page.locator("h1").inner_text() == f"{report_comparisons.HOSTILE} {report_comparisons.QUOTED}"
    for name in (report_comparisons.HOSTILE, report_comparisons.QUOTED):
        for table in ("heat", "uses-table", "parameters-table"):
            assert name in page.locator(f"#{table} thead th").all_inner_texts()
        assert any(name == text.strip() for text in page.locator("svg text").all_text_contents())
        assert any(name in text for text in page.locator("#parameters-table tbody th").all_text_contents())
        assert name in page.locator(".verdict strong").all_inner_texts()


@pytest.mark.parametrize("case", CASES)
def test_headings_tables_and_language(case, show):
    page = show(case).page
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(h => +h.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.title()
    for table in page.locator("table").all():
        assert table.locator("caption").text_content().strip()
        assert table.locator("th:not([scope])").count() == 0
        assert table.locator("tbody tr").count() == table.locator("tbody th[scope=row]").count()
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("case", CASES)
def test_the_file_is_small_enough_to_mail(case, written):
    assert written(case).stat().st_size < MOST_BYTES.get(case, USUAL_BYTES)


# ---- how it looks ----

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("case", CASES)
def test_the_page_does_not_scroll_sideways(case, width, show):
    page = show(case, width=width).page
    assert page.evaluate(OVERFLOW) <= 0
    unfold(page)
    assert page.evaluate(OVERFLOW) <= 0


@pytest.mark.parametrize("case", ["real", "typical", "one of each"])
def test_nothing_is_cut_off(case, show):
    """A wide screen shows every table and picture whole; on a phone the first picture is, and names of rows stay."""
    cut = "[...document.querySelectorAll('.wide')].filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.ariaLabel)"
    page = show(case, width=1200).page
    unfold(page)
    assert page.evaluate(cut) == []
    page = show(case, width=380).page
    first = page.locator(".fold svg").bounding_box()
    assert first and first["x"] >= 0 and first["x"] + first["width"] <= 380
    left = "e => { e.closest('.wide').scrollLeft = 200; return e.getBoundingClientRect().left; }"
    assert 0 <= page.locator("#heat tbody th").first.evaluate(left) < 40


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("case", ["typical", "one of each", "big"])
def test_colours_follow_the_scheme(case, scheme, show):
    page = show(case, scheme=scheme).page
    unfold(page)
    paper, ink = page.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
    assert (luminance(paper) < luminance(ink)) == (scheme == "dark")
    assert contrast(paper, ink) >= LARGE_CONTRAST
    fills = page.evaluate("[...new Set([...document.querySelectorAll('svg text')].map(t => getComputedStyle(t).fill))]")
    assert fills
    for fill in fills:
        assert contrast(paper, fill) >= TEXT_CONTRAST, fill


def luminance(colour: str) -> float:
    channels = np.array([float(part) for part in re.findall(r"[\d.]+", colour)[:3]]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two colours, by WCAG 2."""
    dark, light = sorted([luminance(first), luminance(second)])
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("case", ["real", "typical", "one of each", "hostile"])
def test_axe_finds_nothing_serious(case, scheme, show):
    page = show(case, scheme=scheme).page
    unfold(page)
    found = Axe().run(page).response["violations"]
    serious = [
        (violation["id"], node["target"], node["failureSummary"])
        for violation in found
        for node in violation["nodes"]
        if violation["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_a_phone_shows_the_answer_shortened_and_opens_it(show):
    """Wide screens and paper show all of it."""
    page = show("real", width=380).page
    more, uses = page.locator("#verdict .more").first, page.locator("#verdict .uses li")
    assert not more.is_visible()
    assert uses.count() == len(USES) and all(part.is_visible() for part in uses.all())
    page.emulate_media(media="print")
    assert more.is_visible()
    page.emulate_media(media="screen")
    page.locator(".open-more").click()
    assert more.is_visible() and not page.locator(".open-more").is_visible()
    assert show("real", width=1200).page.locator("#verdict .more").first.is_visible()


@pytest.mark.parametrize("case", ["real", "typical", "big"])
def test_nothing_is_wider_than_paper(case, show):
    shown = show(case, width=A4)
    page = shown.page
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.evaluate(OVERFLOW) <= 0
    wide = page.evaluate(
        "[...document.querySelectorAll('table, svg, pre')]"
        ".filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)"
        ".map(e => e.id || e.getAttribute('aria-label') || e.textContent.slice(0, 60))"
    )
    assert wide == []
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0


def test_it_prints_on_several_pages_of_a4(show, tmp_path):
    page = show("typical").page
    pdf = page.pdf(path=tmp_path / "report.pdf", format="A4", prefer_css_page_size=True)
    assert pdf.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 3


# ---- what one can do with it ----

FOCUSABLE = "a[href], button, summary, [tabindex='0']"
FOCUSED = """(() => {
    const e = document.activeElement, s = getComputedStyle(e);
    const all = [...document.querySelectorAll("%s")];
    return [all.indexOf(e), s.outlineStyle, parseFloat(s.outlineWidth)];
})()"""


@pytest.mark.parametrize("case", ["one of each", "typical"])
def test_the_keyboard_reaches_everything(case, show):
    page = show(case, width=360).page
    unfold(page)
    n = page.locator(FOCUSABLE).count()
    assert n > 20
    scrolling = page.evaluate(
        "[...document.querySelectorAll('*')].filter(e => e.scrollWidth > e.clientWidth + 1 && "
        "['auto', 'scroll'].includes(getComputedStyle(e).overflowX)).map(e => e.tabIndex)"
    )
    assert scrolling and set(scrolling) == {0}
    reached = []
    for _ in range(n):
        page.keyboard.press("Tab")
        index, style, width = page.evaluate(FOCUSED % FOCUSABLE)
        assert style != "none" and width > 0
        reached.append(index)
    assert reached == list(range(n))


def test_enter_opens_what_is_folded(show):
    page = show("typical").page
    for part in page.locator("details").all():
        part.locator("summary").focus()
        page.keyboard.press("Enter")
        assert part.evaluate("e => e.open")
        assert part.locator("table, dl, ul").first.is_visible()


def test_links_lead_to_sections(show):
    page = show("one of each").page
    anchors = page.evaluate("[...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.hash.slice(1))")
    assert len(anchors) == 12
    assert all(page.locator(f"section[id='{anchor}']").count() == 1 for anchor in anchors)


CATCH_FALLBACK = """
    navigator.clipboard.writeText = () => Promise.reject(new Error("no permission"));
    document.execCommand = () => { window.copied = document.activeElement.value; return true; };
"""


SHOWN = (
    "name => [...document.querySelectorAll(`table[id='${name}'] tr`)].map(r => [...r.cells].map(c => c.textContent))"
)


@pytest.mark.parametrize("case", ["real", "big"])
def test_every_table_can_be_copied(case, show):
    shown = show(case)
    page = shown.page
    page.evaluate(CATCH_FALLBACK)
    unfold(page)
    buttons = page.locator("button.copy-table").all()
    assert len(buttons) == page.locator("table").count()
    for button in buttons:
        page.evaluate("window.copied = null")
        button.click()
        page.locator(f"[data-table='{button.get_attribute('data-table')}']", has_text="Copied").wait_for()
        text = page.evaluate("window.copied")
        assert list(csv.reader(io.StringIO(text))) == page.evaluate(SHOWN, button.get_attribute("data-table"))
    assert shown.said == []


@pytest.mark.parametrize("way", ["clipboard", "fallback"])
@pytest.mark.parametrize("case", ["typical", "hostile"])
def test_a_table_is_copied_as_csv(case, way, show):
    permissions = ["clipboard-read", "clipboard-write"] if way == "clipboard" else []
    page = show(case, permissions=permissions).page
    if way == "fallback":
        page.evaluate(CATCH_FALLBACK)
    button = page.locator("button[data-table=heat]")
    button.focus()
    page.keyboard.press("Enter")
    page.locator("button[data-table=heat]", has_text="Copied").wait_for()
    text = page.evaluate("window.copied" if way == "fallback" else "navigator.clipboard.readText()")
    table = list(csv.reader(io.StringIO(text)))
    assert table == page.evaluate(SHOWN, "heat")
    assert table[0][1] == "reference" and table[-1][0] == "elsewhere"
    assert button.evaluate("e => e === document.activeElement")


def test_a_copied_table_holds_no_formula(show):
    texts = ["=HYPERLINK(0)", "+x", "@SUM(A1)", "-2+3", "-0.31 ± 0.02", "+4", "-5 %", "ADVI"]
    copied = show("typical").page.evaluate("texts => texts.map(harmless)", texts)
    assert copied == [f"'{text}" for text in texts[:4]] + texts[4:]


def test_code_is_copied(show):
    page = show("typical", permissions=["clipboard-read", "clipboard-write"]).page
    button = page.locator("button.copy-code").first
    button.click()
    page.locator("button.copy-code", has_text="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("pre").first.inner_text()


@pytest.mark.parametrize("case", ["real", "hostile"])
def test_interactive_pictures_need_no_network(case, show, comparisons, tmp_path):
    made = pkl.report(comparisons(case), tmp_path / "interactive.html", interactive=True)
    shown = show(made.path)
    page = shown.page
    page.locator(".main-svg").first.wait_for()
    charts = page.evaluate(
        "[...document.querySelectorAll('figure')].map(f => f.querySelectorAll('.js-plotly-plot').length)"
    )
    assert len(charts) >= 6 and set(charts) == {1}
    assert page.locator("figure .plot-container").count() == len(charts)
    assert shown.asked == [] and shown.said == []
    assert page.locator("img, iframe").count() == 0
    assert page.evaluate(OVERFLOW) <= 0
