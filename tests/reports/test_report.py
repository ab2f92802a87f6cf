"""What the report takes, refuses and says, without a browser."""

import json
import re
import subprocess
import sys
from html import unescape
from io import StringIO
from pathlib import Path
from typing import get_args

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from arviz_base.labels import MapLabeller
from rich.console import Console
from support import report_comparisons
from support.plot_comparisons import make_comparison

import pymc_kl as pkl
from pymc_kl.reports import build, evidence, first_picture, losses, space
from pymc_kl.reports.page import Block
from pymc_kl.reports.terminal import render
from pymc_kl.reports.uses import USES

FIGURES = {
    "coverage-picture", "tree", "divergence", "bounds", "contributions", "marginals", "pair", "loss", "khat",
}  # fmt: skip
TABLES = {
    "chains", "search", "modes-table", "heat", "detail", "divergence-table", "elbo-table", "parts", "parameters-table",
    "uses-table", "fits-table", "weights-table", "starts-table", "made-table",
}  # fmt: skip
COLUMNS = 80


@pytest.fixture(scope="module")
def typical() -> xr.DataTree:
    return report_comparisons.typical()


@pytest.fixture(scope="module")
def html(typical) -> str:
    return pkl.report(typical).html


def figures(html: str) -> set[str]:
    return set(re.findall(r'<figure id="figure-([^"]+)"', html))


def text_of(html: str) -> str:
    """The words of a page without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", html.replace("<wbr>", "")))


# ---- what it is made from ----


def test_another_process_draws_the_same_bytes_from_the_file_alone(typical, tmp_path):
    here = pkl.report(typical, tmp_path / "here.html").path
    saved = pkl.save(typical, tmp_path / "comparison.nc")
    code = "import sys, pymc_kl as pkl; pkl.report(pkl.load(sys.argv[1]), sys.argv[2])"
    subprocess.run([sys.executable, "-c", code, saved, tmp_path / "there.html"], check=True, capture_output=True)
    assert here is not None
    assert (tmp_path / "there.html").read_bytes() == here.read_bytes()


def test_the_comparison_is_not_changed(typical):
    before = typical.copy(deep=True)
    pkl.report(typical, var_names="mu", round_to=1)
    xr.testing.assert_identical(typical, before)
    assert typical.attrs == before.attrs


def test_everything_is_there(html):
    assert figures(html) == FIGURES
    assert set(re.findall(r'<table id="([^"]+)"', html)) == TABLES
    assert "could not be drawn" not in html
    assert "2026-01-31" in html
    assert "three modes" in html


def test_every_kind_of_block_has_its_place_in_the_template():
    template = (Path(build.__file__).parent / "templates" / "parts.html.j2").read_text()
    for kind in get_args(Block.__value__):
        assert f'kind == "{kind.__name__}"' in template, kind


def test_open_figures_are_left_open(typical):
    mine = plt.figure()
    before = plt.get_fignums()
    pkl.report(typical)
    assert plt.get_fignums() == before
    plt.close(mine)


# ---- what it refuses ----


@pytest.mark.parametrize(
    ("comparison", "error", "match"),
    [
        (None, TypeError, "comparison must be the DataTree that compare"),
        (xr.DataTree(), ValueError, "a DataTree, but no comparison: it lacks the groups posterior, modes"),
    ],
)
def test_what_is_no_comparison_is_refused(comparison, error, match):
    with pytest.raises(error, match=match):
        pkl.report(comparison)


def test_a_newer_format_is_refused():
    dt = make_comparison(1, ["ADVI"])
    dt.attrs["pymc_kl_format"] = 99
    with pytest.raises(ValueError, match=r"written in format 99.*Upgrade pymc_kl"):
        pkl.report(dt)


def test_places_that_cannot_be_written(typical, tmp_path):
    with pytest.raises(IsADirectoryError, match=r"is a folder; name a file in it, such as .*report\.html"):
        pkl.report(typical, tmp_path)
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(NotADirectoryError, match="is a file, so no report can be written into it"):
        pkl.report(typical, file / "report.html")
    with pytest.raises(ValueError, match=r"must end in \.html; got 'report\.pdf'"):
        pkl.report(typical, tmp_path / "report.pdf")
    assert {path.name for path in tmp_path.iterdir()} == {"file"}
    assert file.read_text() == "mine"


def test_a_report_that_is_there_is_kept_unless_asked(typical, html, tmp_path):
    path = tmp_path / "new" / "report.html"
    assert pkl.report(typical, path).path == path
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        pkl.report(typical, path)
    assert path.read_text() == "mine"
    with pytest.raises(FileExistsError, match="is no report"):
        pkl.report(typical, path, overwrite=True)
    assert path.read_text() == "mine"
    path.write_text(html.replace("</html>", "an older one</html>"), encoding="utf-8")
    pkl.report(typical, path, overwrite=True)
    assert path.read_text(encoding="utf-8") == html


def test_an_unknown_variable_is_named_with_the_known_ones(typical):
    with pytest.raises(ValueError, match=r"(?s)theta.*known variables are \['mu', 'tau', 'fixed'\]"):
        pkl.report(typical, var_names="theta")
    with pytest.raises(ValueError, match=r"known coordinates are \{'component': \['c0', 'c1'\]\}"):
        pkl.report(typical, coords={"component": ["c7"]})


# ---- what changes it ----


def rows(html: str, table: str) -> list[str]:
    """First cells of a table's rows."""
    found = re.search(rf'<table id="{table}".*?</table>', html, re.DOTALL)
    assert found
    return re.findall(r'<th scope="row"[^>]*>(.*?)</th>', found[0].replace("<wbr>", ""))


def test_variables_that_are_shown(typical, html):
    assert rows(html, "parameters-table") == ["mu[c0]", "mu[c1]", "tau"]
    assert sorted(rows(pkl.report(typical, var_names="~mu").html, "parameters-table")) == ["tau"]
    assert rows(pkl.report(typical, var_names="ta", filter_vars="like").html, "parameters-table") == ["tau"]
    chosen = pkl.report(typical, coords={"component": ["c1"]}).html
    assert rows(chosen, "parameters-table") == ["mu[c1]", "tau"]
    assert figures(chosen) == FIGURES
    assert "mu[c0]" not in chosen


def test_uses_are_of_the_variables_asked_for(typical):
    """Sentences on all parameters stay as they are; what is said of the ones asked for says so."""
    every, some = pkl.report(typical), pkl.report(typical, var_names=["tau"])
    head = "(means, standard deviations and intervals: of `tau`):"
    uses = [next(text for text in made.verdict if text.startswith("What ")) for made in (every, some)]
    assert "mu[c" in uses[0] and head not in uses[0]
    assert "mu[c" not in uses[1] and head in uses[1]
    rest = [[text for text in made.verdict if not text.startswith("What ")] for made in (every, some)]
    assert [re.sub(r" Right for means.*", "", text) for text in rest[0]] == [
        re.sub(r" Right for means.*", "", text) for text in rest[1]
    ]
    assert "of <code>tau</code>)" in some.html


def test_uses_are_a_list_that_fits_a_terminal(typical):
    uses = next(text for text in pkl.report(typical).verdict if text.startswith("What "))
    assert uses.count("\n") == len(USES)
    assert max(map(len, uses.splitlines())) <= 100


def numbers_of_scores(html: str, pattern: str) -> list[str]:
    """The texts of the cells that show scores whose name has a pattern."""
    return [text_of(cell) for cell in re.findall(rf'data-source="scores/{pattern}"[^>]*>(.*?)</td>', html)]


def test_decimals(typical, html):
    one = r"-?\d+\.\d ± \d+\.\d"
    cells = numbers_of_scores(pkl.report(typical, round_to=1).html, '[^"]+_kl[^"]*')
    assert len(cells) > 10
    assert all(re.fullmatch(one, cell) for cell in cells)
    assert not all(re.fullmatch(one, cell) for cell in numbers_of_scores(html, '[^"]*'))


def test_a_labeller_names_the_parameters(typical):
    labelled = pkl.report(typical, labeller=MapLabeller(var_name_map={"mu": "location"})).html
    headers = text_of(re.search(r'<table id="modes-table".*?</thead>', labelled, re.DOTALL)[0])
    assert "location[c0]" in headers and "mu[c0]" not in headers
    assert "location[c0]" in text_of(re.search(r'<figure id="figure-pair".*?</figure>', labelled, re.DOTALL)[0])
    assert "location[c0]" in rows(labelled, "parameters-table")


def test_the_probability_of_intervals(typical, html):
    assert "intervals: 89 %" in html
    assert "intervals: 50 %" in pkl.report(typical, ci_prob=0.5).html


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("ci_prob", 7, "ci_prob must be above 0 and below 1; got 7"),
        ("ci_prob", 0, "got 0"),
        ("ci_prob", float("nan"), "got nan"),
        ("ci_prob", "a", "got 'a'"),
        ("round_to", -3, "round_to must be at least 0; got -3"),
        ("round_to", 1.5, "got 1.5"),
    ],
)
def test_options_that_nothing_can_be_shown_with(name, value, match, typical):
    with pytest.raises((TypeError, ValueError), match=match):
        pkl.report(typical, **{name: value})


# ---- what it makes of odd comparisons ----


@pytest.mark.parametrize(
    ("module", "function", "name"),
    [
        (first_picture, "plot_coverage", "coverage-picture"),
        (evidence, "plot_mode_tree", "tree"),
        (losses, "plot_divergence", "divergence"),
        (losses, "plot_contributions", "contributions"),
        (losses, "plot_loss", "loss"),
        (losses, "plot_pareto_k", "khat"),
        (space, "plot_modes", "marginals"),
    ],
)
def test_a_picture_that_fails_is_a_sentence(module, function, name, typical, html, monkeypatch):
    def fails(*_args, **_kwargs):
        plt.figure()
        raise RuntimeError("no <ink>")

    before = plt.get_fignums()
    monkeypatch.setattr(module, function, fails)
    broken = pkl.report(typical).html
    assert f"The picture “{name}” could not be drawn: RuntimeError: no &lt;ink&gt;" in broken
    lost = FIGURES - figures(broken)
    assert name in lost and len(lost) <= 2
    assert re.findall(r'<table id="([^"]+)"', broken) == re.findall(r'<table id="([^"]+)"', html)
    assert plt.get_fignums() == before


def test_an_older_format_says_what_it_lacks():
    dt = report_comparisons.typical()
    for group in ("parameters", "audit"):
        del dt[group]
    old = dt["modes"].to_dataset().drop_vars(["pass_log_density", "reason", "method"])
    dt["modes"] = xr.DataTree(old)
    dt.attrs["pymc_kl_format"] = 1
    made = pkl.report(dt)
    assert "written by an older version and holds no table of parameters" in made.html
    assert "from format 1 of an older version" in made.html
    assert {"coverage-picture", "divergence", "marginals", "pair"} <= figures(made.html)
    assert len(made.verdict) >= 3


def with_small_modes() -> xr.DataTree:
    """Five modes, of which the last three hold .9 % together, under the posterior and under each fit."""
    mass = np.array([0.6, 0.391, 0.004, 0.003, 0.002])
    dt = report_comparisons.complete(make_comparison(5, ["ADVI", "forward mixture"]))
    columns = {"mass": mass, "mass_se": mass / 50, "mass_lower": 0.9 * mass, "mass_upper": 1.1 * mass}
    for group in ("modes", "coverage"):
        ds = dt[group].to_dataset()
        values = {name: (("mode",), value) for name, value in columns.items()}
        like = ds["mass"]
        ds = ds.assign({name: xr.DataArray(v, dims=d).broadcast_like(like) for name, (d, v) in values.items()})
        dt[group] = xr.DataTree(ds)
    return dt


def test_small_modes_share_a_row_that_opens():
    html = pkl.report(with_small_modes()).html
    for name in ("heat", "modes-table", "search"):
        table = re.search(rf'<table id="{name}".*?</table>', html, re.DOTALL)[0]
        assert "other modes (3, together 0.90 %" in text_of(re.search(r"<summary>(.*?)</summary>", table)[1])
        told, folded = table.split('<tbody class="folded">')
        assert "mode 2</th>" in told and "mode 3</th>" not in told
        assert [f"mode {k}</th>" in folded for k in (2, 3, 4, 5)] == [False, True, True, True]
    together = text_of(re.search(r"</details></th>(.*?)</tr>", html[html.index('id="heat"') :], re.DOTALL)[1])
    assert together.count("0.90 ±") == 3  # the reference and two fits
    detail = re.search(r'<table id="detail".*?</table>', html, re.DOTALL)[0]
    assert "mode 2</th>" in detail and "mode 3</th>" not in detail


def test_your_draws_are_in_the_first_picture(typical, html):
    """Their shares are marks beside those of the fits; the mode that they miss is said to be missed by one more."""

    def words(page: str) -> str:
        return text_of(re.search(r'<figure id="figure-coverage-picture".*?</figure>', page, re.DOTALL)[0])

    assert "your draws" in words(html)
    dt = typical.copy(deep=True)
    dt["audit"] = xr.DataTree(
        dt["audit"].to_dataset().assign(missed=("mode", [0, 1, 0])), children=dt["audit"].children
    )
    assert words(pkl.report(dt).html).count("missed") == words(html).count("missed") + 1
    del dt["audit"]
    assert "your draws" not in words(pkl.report(dt).html)


def test_one_mode_is_pictured_by_densities():
    html = pkl.report(report_comparisons.complete(make_comparison(1, ["ADVI"]))).html
    assert "density-picture" in figures(html) and "coverage-picture" not in figures(html)


def test_without_log_z_no_picture_is_empty_or_fails(typical):
    dt = typical.copy()
    dt["evidence"] = xr.DataTree(
        dt["evidence"].to_dataset().map(lambda da: da * np.nan if da.dtype.kind == "f" else da)
    )
    html = pkl.report(dt).html
    assert figures(html) == FIGURES - {"divergence", "contributions"}
    assert "could not be drawn" not in html
    assert "Without log Z neither divergence can be told value by value." in html


def test_without_approximations():
    dt = report_comparisons.complete(make_comparison(2, ()))
    made = pkl.report(dt)
    assert "None was compared" in made.html
    assert rows(made.html, "modes-table") == ["mode 1", "mode 2"]
    assert not re.search(r'id="(coverage|divergences|uses)"', made.html) and "could not be drawn" not in made.html
    assert {"tree", "marginals", "pair"} <= figures(made.html)
    assert "unhashable" not in made.html and "IndexError" not in made.html


def test_numbers_that_are_all_unknown():
    dt = report_comparisons.typical()
    for group in ("scores", "coverage", "evidence", "parameters", "modes"):
        ds = dt[group].to_dataset()
        unknown = {name: ds[name] * np.nan for name in ds.data_vars if ds[name].dtype.kind == "f"}
        dt[group] = xr.DataTree(ds.assign({name: da.assign_attrs(ds[name].attrs) for name, da in unknown.items()}))
    dt["modes"].attrs |= {"elsewhere": np.nan, "elsewhere_se": np.nan}
    html = pkl.report(dt).html
    assert rows(html, "heat") == ["mode 1", "mode 2", "mode 3", "elsewhere"]
    assert not re.search(r">[^<]*\bnan\b[^<]*<", html, re.IGNORECASE)


def test_the_settings_give_the_call_back():
    dt = report_comparisons.complete(make_comparison(2), settings={"n_starts": 16, "forward": ["mixture"]})
    code = re.search(r"with model:.*?\)\n", pkl.report(dt).html.replace("&#39;", "'"), re.DOTALL)
    assert code
    compile(f"{code[0]}", "report", "exec")
    assert "n_starts=16" in code[0] and "'full-rank ADVI': full_rank_advi" in code[0]


# ---- elsewhere than in a page ----


def test_the_notebook_view_holds_the_verdict_and_tables(typical):
    view = pkl.report(typical)._repr_html_()
    words = unescape(text_of(view))
    for sentence in pkl.report(typical).verdict:
        assert all(" ".join(line.replace("`", "").split()) in words for line in sentence.splitlines())
    assert re.findall(r'<table id="([^"]+)"', view) == ["heat", "divergence-table"]
    assert "<script" not in view and "<button" not in view
    assert "<svg" in view


@pytest.mark.parametrize(
    "made",
    [report_comparisons.typical, report_comparisons.big, report_comparisons.hostile],
    ids=["typical", "big", "hostile"],
)
def test_the_terminal_has_eighty_columns(made):
    dt = made()
    console = Console(width=COLUMNS, record=True, file=StringIO(), color_system=None)
    for part in render(dt, console.width):
        console.print(part)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= COLUMNS
    assert text.startswith("Verdict")
    assert "…" not in text
    words = re.sub(r"\s+", "", text)
    for name in dt["scores"]["approximation"].values:
        assert re.sub(r"\s+", "", str(name)) in words
    assert text.index("Mass of each mode") < text.index("Divergences in nats")


def test_paths_may_be_strings(typical, tmp_path):
    made = pkl.report(typical, str(tmp_path / "report.htm"))
    assert made.path == Path(tmp_path / "report.htm")
    assert made.path.read_text(encoding="utf-8") == made.html
    assert json.loads(json.dumps(made.verdict)) == list(made.verdict)


def test_without_fits_the_page_is_of_draws_and_reference_alone(zoo, exact_draws):
    draws, target = exact_draws("two_modes", 4000, 1), zoo("two_modes")[1]
    dt = pkl.compare(draws, {}, model=target, forward=(), reverse=(), random_seed=1, progressbar=False)
    page = pkl.report(dt).html
    assert "could not be drawn" not in page and "furthest" not in page
    assert rows(page, "agreement") == ["x"]
    rhat = re.search(r'data-source="audit/convergence/x"[^>]*>(.*?)</td>', page)[1]
    assert float(text_of(rhat)) == pytest.approx(float(dt["audit/convergence"]["x"].sel(quantity="rhat")), abs=0.005)
    links = set(re.findall(r'href="#([^"]+)"', page))
    assert links and not {"coverage", "divergences", "uses", "fits"} & links
    assert all(f'id="{name}"' in page for name in links)
