"""What people write stays text: a list of nasty names and captions through every surface, each read by its own parser.

A surface is drawn twice, with a nasty text and with a plain one: what is read text must have the same elements,
commands and columns, and the text itself, with what cannot be shown as U+FFFD.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import re
import shutil
import warnings
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib import rc_context

from fico_utils import cli, files, registry
from fico_utils.data.corpus import Corpus
from fico_utils.display import teaching
from fico_utils.display.figures import draw_figure
from fico_utils.display.figures.query import Example, Hit
from fico_utils.display.picture import Picture, save_picture
from fico_utils.display.rows import run_in_words
from fico_utils.display.table import Cell, Column, Table
from fico_utils.display.tables import make_table
from fico_utils.errors import InputError
from fico_utils.escaping import cell_text, csv_text, one_line, printable, spreadsheet_cell
from fico_utils.extras import marking
from fico_utils.extras.corpora.folder import write_rows
from fico_utils.extras.corpora.library import folder_corpus
from fico_utils.extras.corpora.reading import clean_caption, read_table
from fico_utils.extras.explore import page as explorer
from fico_utils.extras.explore.panel import rankings_html
from fico_utils.extras.pages import page
from fico_utils.extras.pages.report import COLUMNS, write_report
from fico_utils.extras.pretrained.rows import configured_rows
from fico_utils.extras.readme import results_table
from fico_utils.extras.verbs.slides import describe_source, draw_page
from fico_utils.provenance import PROJECT
from fico_utils.results import store
from tests.display.test_report import manifest
from tests.faults.runs import SVG
from tests.nasty import NASTY

PLAIN = "plain"
#: No file can hold half a character, nor can pandas: readers replace it before it comes to a table or a picture.
WHOLE = {name: text for name, text in NASTY.items() if name != "half a character"}
each = pytest.mark.parametrize("text", WHOLE.values(), ids=WHOLE)
UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


@pytest.fixture(autouse=True)
def _no_glyphs():
    """No font here has all of these letters, and says so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


class Page(HTMLParser):
    """What a browser sees: elements with the names of their attributes, the texts between, the values of attributes."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements, self.texts, self.values = [], [], []
        assert not UNSHOWN.search(source)
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.values += [value for _, value in attrs]
        self.texts.append("")

    def handle_endtag(self, tag):
        self.elements.append(("/" + tag, ()))
        self.texts.append("")

    def handle_data(self, data):
        self.texts.append(self.texts.pop() + data if self.texts else data)

    def handle_comment(self, data):
        self.elements.append(("comment", ()))

    handle_decl = handle_pi = unknown_decl = handle_comment


def table_of(text: str) -> Table:
    """A table with a text as its caption, a label, a header and a cell; none of them may be left out."""
    columns = [Column((text or "x", "R@1"), "percent", "max"), Column(("words", text or "x"), "text")]
    rows = [("VLP", f"{text}"), ("VLP", "other")]
    cells = {("ours", row, columns[0].header): Cell(0.5 + 0.1 * i, "ok") for i, row in enumerate(rows)}
    cells |= {("ours", row, columns[1].header): Cell(text=text) for row in rows}
    return Table("table2", f"Table 2. {text}.", rows, columns, cells)


@each
def test_html_tables(text):
    nasty, plain = (Page(table_of(t).to_html()) for t in (text, PLAIN))
    assert nasty.elements == plain.elements
    if text:  # without, what stands in a header is no text to count
        assert nasty.texts.count(printable(text)) == plain.texts.count(PLAIN) == 5
    assert printable(f"Table 2. {text}.") in nasty.texts


@each
def test_markdown_tables(text):
    markdown_it = pytest.importorskip("markdown_it")
    parser = markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"])

    def read(given):
        tokens = [t for block in parser.parse(table_of(given).to_markdown()) for t in (block, *(block.children or ()))]
        # a sign that was escaped is a token of its own, which says nothing
        kinds = [t.type for t in tokens if t.type not in ("text", "text_special", "inline")]
        words = ["".join(c.content for c in t.children if c.type != "softbreak") for t in tokens if t.type == "inline"]
        return kinds, words

    (kinds, words), (expected, plain) = read(text), read(PLAIN)
    empty = not one_line(text)
    assert [k for k in kinds if k != "html_inline"] == [k for k in expected if k != "html_inline"]
    assert kinds.count("html_inline") == expected.count("html_inline")  # the <br> of the headers
    assert words[0] == f"Table 2. {one_line(text)}." if not empty else words[0] == "Table 2. ."
    assert words.count(one_line(text)) >= (plain.count(PLAIN) if not empty else 0)


#: What LaTeX prints for a command, and what a table may use besides.
PRINTED = {
    "textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<", "textgreater": ">",
    "textbar": "|", "textdagger": "†", "textdaggerdbl": "‡", **{sign: sign for sign in "#$%&_{}"},
}  # fmt: skip
TOKEN = re.compile(r"\\([A-Za-z]+|.)(?: *\{\})?|([{}$&#~^_%])|([^\\{}$&#~^_%]+)", re.DOTALL)


def read_latex(source: str) -> tuple[list[str], str]:
    """The commands and active signs of some LaTeX, and the text that it prints."""
    structure, printed = [], []
    for command, active, letters in TOKEN.findall(re.sub(r"\{([\[\]])\}", r"\1", source)):
        if command in PRINTED:
            printed.append(PRINTED[command])
        elif letters:
            printed.append(letters)
        else:
            structure.append(command or active)
    return structure, "".join(printed)


@each
def test_latex_tables(text):
    (commands, printed), (expected, plain) = (read_latex(table_of(t).to_latex()) for t in (text, PLAIN))
    assert commands == expected
    signs = str.maketrans({"–": "--", "×": "×"})
    least = plain.count(PLAIN) if one_line(text) else 0
    assert printed.count(one_line(text).translate(signs)) >= least > 3 or not one_line(text)
    assert not UNSHOWN.search(printed)


def cells_of(source: str) -> list[list[str]]:
    rows = list(csv.reader(io.StringIO(source, newline=""), strict=True))
    for cell in (cell for row in rows for cell in row):
        assert not re.match(r"[=+\-@\t\r\n]", cell) or re.fullmatch(r"[+-][\d.]+", cell), cell
    return [[cell_text(cell) for cell in row] for row in rows]


@each
def test_csv_files(text, tmp_path):
    frame = pd.DataFrame({"n": [-1.5, 2.0], text or "x": [text, "-0.5"]})
    assert cells_of(csv_text(frame)) == [["n", text or "x"], ["-1.5", text], ["2.0", "-0.5"]]
    lines = cells_of(table_of(text).to_csv())
    assert {len(line) for line in lines} == {5}
    assert lines[1][4] == (text or "–")
    path = tmp_path / "captions.csv"
    write_rows(path, ("image", "caption"), [("a.jpg", text), ("b.jpg", "c")])
    assert list(read_table(path).frame["caption"]) == [text, "c"]
    columns = ("system", "value")
    path.write_text(csv_text(pd.DataFrame([(text, -1.0)], columns=list(columns))), encoding="utf-8", newline="")
    read = store.read_csv(path, "test", "", "", columns, ("value",))
    assert read.to_numpy().tolist() == [[text, -1.0]]


def test_what_is_written_for_a_spreadsheet_comes_text():
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("'=+-@\t\r\n1.a†"), rng.integers(0, 6))) for _ in range(20_000)]
    assert [cell_text(spreadsheet_cell(text)) for text in texts] == texts
    assert len({spreadsheet_cell(text) for text in texts}) == len({*texts})


def texts_of(svg: bytes) -> list[str]:
    tree = ElementTree.fromstring(svg)
    assert not [e for e in tree.iter() if e.tag.rpartition("}")[2] in ("script", "a", "foreignObject")]
    return ["".join(e.itertext()) for e in tree.iter("{http://www.w3.org/2000/svg}text")]


def texts_of_pdf(pdf: bytes) -> str:
    """The strings that the pages of a PDF show, one behind the other; letters that its fonts hold by code alone."""
    shown = []
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL):
        try:
            content = zlib.decompress(stream)
        except zlib.error:
            continue
        if b" Tf" in content:
            shown += re.findall(rb"\(((?:[^\\()]|\\.)*)\)", content, re.DOTALL)
    return re.sub(rb"\\(.)", rb"\1", b"".join(shown)).replace(b"\0", b"").decode("latin-1")


#: As many as there are colours for curves.
CURVES = ("script", "mathematics", "underscore first", "zero")


def picture_of(name: str, texts: list[str]) -> Picture:
    """The picture of a name, with some texts in it."""
    dot = np.zeros((4, 4, 3), np.uint8)
    found = [Hit(None, text, True, True, 0.5) for text in texts]
    logs = {WHOLE[name]: [{"epoch": 1, "loss": 1.0, "score": 0.5}] for name in CURVES}
    pictures = {
        "sheet": lambda: teaching.sheet([dot] * len(texts), texts, columns=4),
        "words": lambda: teaching.attention(dot, texts[:12], np.ones((12, 4))),
        "curves": lambda: teaching.curves(logs),
        "captions found": lambda: draw_figure("fig1", Example(dot, found[:5], found[5:10])),
    }
    return pictures[name]()


@pytest.mark.parametrize("name", ["sheet", "words", "curves", "captions found"])
def test_captions_and_names_in_pictures(name, tmp_path):
    texts = [text[:200] for text in WHOLE.values()]  # one of a thousand letters makes a page of a metre
    picture = picture_of(name, texts)
    svg, pdf, table = save_picture(picture, tmp_path, name)
    joined = "".join("".join(texts_of(svg.read_bytes())).split())
    shown = {"curves": [WHOLE[name] for name in CURVES], "captions found": [t for t in texts[:10] if len(t) < 60]}
    shown["words"] = texts[:12]
    for text in shown.get(name, texts):
        # a break between lines may be any blank, which is not drawn
        assert "".join(printable(text).replace("\ufffd", "").split()) in joined.replace("\ufffd", "")
    written = "".join(texts_of_pdf(pdf.read_bytes()).split())
    for text in shown.get(name, texts):
        if text.isascii() and text.isprintable() and "fi" not in text:  # a ligature, a glyph of its own
            assert "".join(text.split())[:1000] in written
    image = Page(picture._repr_html_())
    assert image.elements == [("img", ("width", "alt", "src"))]
    assert image.values[1] == picture.alt
    if name == "sheet":
        assert cells_of(table.read_bytes().decode()) == [["caption"], *([text] for text in texts)]


@pytest.mark.parametrize("kind", ["script", "one dollar", "two dollars", "mathematics", "commands", "zero", "empty"])
def test_a_query_in_figure_1(kind):
    text = WHOLE[kind]
    hit = Hit(np.zeros((4, 4, 3), np.uint8), text, True, True, 0.5)
    drawn = texts_of(draw_figure("fig1", Example(text, [hit], [hit], note=text)).render("svg"))
    assert printable(text) in drawn or not text
    assert f"“{printable(text)}”" in drawn


@pytest.fixture
def forget():
    """What a test lets the registry know is forgotten after it."""
    yield
    registry.use_rows({}, "/nowhere")


def named_corpus(text: str, folder) -> registry.CorpusInfo:
    """A folder corpus with a name, as its corpus.yaml says."""
    place = folder / "pictures"
    place.mkdir(parents=True, exist_ok=True)
    (place / "corpus.yaml").write_text(yaml.safe_dump({"name": text}), encoding="utf-8")
    return folder_corpus(place)


def test_half_a_character_of_a_caption_is_refused_where_it_is_read():
    with pytest.raises(InputError, match="here: the caption is"):
        clean_caption(NASTY["half a character"], "here")


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_names_are_one_line_that_can_be_shown(text, tmp_path):
    expected = one_line(text)
    if len(expected) > registry.LONGEST_NAME:
        expected = expected[: registry.LONGEST_NAME - 1] + "…"
    assert named_corpus(text, tmp_path).name == (expected or "pictures")
    assert configured_rows({"mine": {"path": "a/b", "name": text}})["mine"].name == (expected or "mine")
    assert not UNSHOWN.search(expected)
    assert "\n" not in expected


@pytest.fixture(scope="module")
def metrics():
    frame = store.load(PROJECT / "figures" / "mini", "metrics")
    frame = frame[(frame["profile"] == "paper") | (frame["system"].isin(["scan", "chance", "perfect"]))]
    return frame.assign(run=frame["run"].str.partition("+")[0])


def pages_of(text: str, metrics: pd.DataFrame, folder) -> tuple[str, str, str]:
    """The report of a run on a corpus with a name, its files beside; and the README's table."""
    info = named_corpus(text, folder)
    registry.add_corpus(info)
    rows = metrics.assign(corpus=metrics["corpus"].replace("picto_people", info.id))
    make_table("table2", rows).write(folder / "tables")
    files.write_text(folder / "figures/fig3.svg", draw_figure("fig3", rows).render("svg").decode())
    (folder / "metrics.csv").write_text(csv_text(rows, "%.9g"), encoding="utf-8")
    claim = pd.DataFrame(
        [[text] * 4 + ["holds", text]],
        columns=["place", "claim", "rests_on", "evidence", "verdict_paper", "verdict_ours"],
    )
    (folder / "claims.csv").write_text(csv_text(claim), encoding="utf-8", newline="")
    report = write_report(folder, "mini", [{"id": "04", "notebook": "04_evaluation", "state": "stale", "why": text}])
    return report.read_text(encoding="utf-8"), results_table(rows, [info.id]), page.claims_table(claim)


@pytest.fixture(scope="module")
def plain_pages(metrics, tmp_path_factory):
    return pages_of(PLAIN, metrics, tmp_path_factory.mktemp("plain") / "mini")


@pytest.mark.parametrize(
    "kinds",
    [["script"], ["end of style"], ["handler"], ["mathematics", "pipes"], ["zero", "escape"], ["Markdown"]],
    ids=" ".join,
)
@pytest.mark.usefixtures("forget")
def test_a_corpus_of_any_name_from_its_yaml_to_the_report(kinds, metrics, plain_pages, tmp_path):
    text, plain = " ".join(NASTY[kind] for kind in kinds), plain_pages
    nasty = pages_of(text, metrics, tmp_path / "mini")
    for one, other in zip((nasty[0], nasty[2]), (plain[0], plain[2]), strict=True):
        assert Page(one).elements == Page(other).elements
        assert any(one_line(text) in one_line(t) for t in Page(one).texts)
    assert "Not on this page" not in nasty[0]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in nasty[1].splitlines()] == [
        len(re.findall(r"(?<!\\)\|", line)) for line in plain[1].splitlines()
    ]
    svg = next(tmp_path.rglob("fig3.svg"))
    assert texts_of(svg.read_bytes())


@each
def test_the_terminal_is_not_rewritten(text, capsys):
    for arguments in (["fetch", f"corpus {text}"], ["evaluate", f"--images={text[:99]}.npy"], ["report", f"x{text}"]):
        assert cli.main(arguments) == 2
    cli.progress_printer(False)(text)
    out, err = capsys.readouterr()
    assert not UNSHOWN.search(out + err)
    assert len(err.splitlines()) == 3


@each
def test_the_page_of_a_comparison(text):
    def read(given):
        line = {"place": given, "name": given, "what": given, "cells": [{"text": given}]}
        values = {"title": given, "runs": [(given,) * 4], "marked": 1, "compared": 1, "elsewhere": 0, "clear": [line]}
        return Page(page.render_page("comparison.html.j2", **values, parts_shown=[(given, [line])]))

    nasty, plain = read(text), read(PLAIN)
    assert nasty.elements == plain.elements
    assert nasty.texts.count(printable(text)) >= plain.texts.count(PLAIN)


@each
def test_the_rankings_and_the_page_of_the_explorer(text):
    def read(given):
        captions = [given if given.strip() else "x"] * 2  # no corpus has a caption without words
        dots = np.zeros((2, 4, 4, 3), np.uint8)
        shown = Corpus("mine", ["a", "b"], captions, np.arange(2), ["test"] * 2, images=dots)
        rankings = Page(rankings_html({given: np.array([0.5, 0.25])}, shown, [0]))
        assert rankings.values.count(printable(captions[0])) == 4  # what stands for a picture, and its title
        assert any(t.startswith(printable(given)) and "the right picture has rank 1" in t for t in rankings.texts)
        data = explorer.pack_data({}, {"corpus": given, "captions": captions, "absent": given})
        return rankings, Page(explorer.TEMPLATE.read_text(encoding="utf-8").replace("@DATA@", data))

    for nasty, plain in zip(read(text), read(PLAIN), strict=True):
        assert nasty.elements == plain.elements


def test_names_in_a_manifest_do_not_rewrite_the_terminal(tmp_path, capsys):
    place = tmp_path / "mini" / "runs" / "04_evaluation" / "manifest.json"
    failure = {"cell": NASTY["escape"], "heading": "", "error": NASTY["direction"]}
    files.write_record(place, manifest(status="failed", failure=failure))
    assert cli.main(["status", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "failed" in out
    assert not UNSHOWN.search(out)


def test_names_of_files_do_not_rewrite_the_terminal(tmp_path, monkeypatch, capsys):
    """What `clean` leaves, and systems that `compare` calls by their files; one has a name that is no UTF-8."""
    texts = [text for text in WHOLE.values() if text.strip() and not set("/\0") & set(text) and len(text) < 100]
    names = [*texts, os.fsdecode(b"\xff")]
    (tmp_path / "mini/runs").mkdir(parents=True)
    (tmp_path / "mini/runs/.04_evaluation.lock").write_text("")
    rows = "".join(f"instance,i2t,recall,1,{n},{n},1.0\n" for n in range(3))
    for name in names:
        (tmp_path / "mini" / name).write_text("mine")
        (tmp_path / f"{name}.csv").write_text(f"task,direction,metric,k,query,image,value\n{rows}")
    screen = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)  # as strict as terminals are
    monkeypatch.setattr("sys.stdout", screen)
    for call in (["clean", "--out", tmp_path], ["compare", *(tmp_path / f"{name}.csv" for name in names[-9:])]):
        assert cli.main([*map(str, call)]) == 0
    printed = screen.buffer.getvalue().decode()
    assert not UNSHOWN.search(printed + capsys.readouterr().err)
    for name in names:
        assert one_line(name) in printed


def test_marks(tmp_path, monkeypatch, capsys):
    """Of one student for each text, who wrote it, whom a check tells it, and whose code stopped with it."""
    ours = PROJECT / "notebooks/exercises/01_feature_extraction.ipynb"
    for number, text in enumerate(WHOLE.values()):
        notebook = nbformat.read(ours, as_version=4)
        for cell in notebook.cells:
            cell.source = text if "answer" in cell.metadata.get("tags", []) else cell.source
        (tmp_path / f"s{number:02}").mkdir()
        nbformat.write(notebook, tmp_path / f"s{number:02}" / ours.name)

    def run_cells(notebook, *_):
        text = next(cell.source for cell in notebook.cells if "answer" in cell.metadata.get("tags", []))
        checks = [cell for cell in notebook.cells if "check" in cell.metadata.get("tags", [])]
        checks[0].outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"1.1 not yet: {text}")]
        checks[1].outputs = [nbformat.v4.new_output("error", ename=text, evalue=text)]

    monkeypatch.setattr(marking, "_run_cells", run_cells)
    call = ["exercises", "--mark", *map(str, sorted(tmp_path.iterdir()))]
    assert cli.main([*call, "--to", str(tmp_path / "marks.csv")]) == 0
    assert cli.main(call) == 0
    assert not UNSHOWN.search("".join(capsys.readouterr()))
    rows = cells_of((tmp_path / "marks.csv").read_bytes().decode())
    assert {len(row) for row in rows} == {4}
    hints = {(row[0], row[1]): row[3] for row in rows[1:]}
    for number, text in enumerate(WHOLE.values()):
        assert hints[f"s{number:02}", "1.2"] == one_line(f"your code stopped with {text}: {text}")
        last = f"1.1 not yet: {text}".splitlines()[-1].removeprefix("1.1 ").removeprefix("not yet: ")
        assert hints[f"s{number:02}", "1.1"] == one_line(last)


@pytest.mark.usefixtures("forget")
def test_slides(tmp_path):
    """Runs and corpora below a figure, as the table beside it names them."""
    texts = [text for text in WHOLE.values() if text.strip()]
    for number, text in enumerate(texts):
        registry.add_corpus(replace(named_corpus(text, tmp_path), id=f"c{number}"))
    table = pd.DataFrame({"source": "ours", "run": texts, "corpus": [f"c{n}" for n in range(len(texts))], "value": 1.0})
    (tmp_path / "fig9.csv").write_text(csv_text(table), encoding="utf-8", newline="")
    (tmp_path / "fig9.svg").write_text(SVG)
    slide = draw_page(tmp_path / "fig9.svg", "a", "b", describe_source(tmp_path / "fig9.csv", "mini"))
    with io.BytesIO() as svg, io.BytesIO() as pdf, rc_context({"svg.fonttype": "none"}):
        slide.savefig(svg, format="svg")
        slide.savefig(pdf, format="pdf")
        assert pdf.getvalue().rstrip().endswith(b"%%EOF")
        drawn = "".join("".join(texts_of(svg.getvalue())).split())
    for number, text in enumerate(texts):
        for words in (run_in_words(text), registry.corpus(f"c{number}").name):
            assert "".join(printable(words).split()) in drawn, words


def site_values(given: list[str], sources: Path) -> dict:
    """What the templates of the site show of a run in which people chose all names; its figures are in a folder."""
    claims = pd.DataFrame([[text] * 4 + ["holds", text] for text in given], columns=COLUMNS["claims"])
    audit = pd.DataFrame([[text] * 4 for text in given], columns=COLUMNS["audit"])
    figures = {
        f"{n}": {"title": text, "sentence": text, "alt": one_line(text), "file": "0.svg"}
        for n, text in enumerate(given)
    }
    files.write_text(sources / "figures/0.svg", SVG)
    return {
        "figures": {**figures, "fig1": figures["0"]},
        "tables": {f"table{n} {text}": table_of(text).to_html() for n, text in enumerate(given)},
        "claims": claims.to_dict("records"),
        "claims_html": page.claims_table(claims),
        "audit_html": page.audit_list(audit),
        "found": {"run": " ".join(given), "corpora": [*map(one_line, given)], "sentences": given},
        "verdicts": "", "lessons": [], "exercises": [], "extra": [], "teaching": False, "public": [], "modules": [],
    }  # fmt: skip


#: What makes something else than a paragraph of a line of Markdown, or of MyST's, that begins so.
LINES = ("- one", "+ two", "3. three", "4) four", "> five", "% six", "(seven)=", "+++ eight", ":::{note} nine", "=ten")


def letters_of(text: str) -> str:
    """The letters and digits of a text, as Sphinx exchanges quotation marks and dashes for others."""
    return "".join(filter(str.isalnum, text))


def test_the_site(tmp_path):
    """All of its pages about a run, and an executed notebook that prints and shows such names."""
    pytest.importorskip("myst_nb")
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    spec = importlib.util.spec_from_file_location("build_site", PROJECT / "docs/build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    texts = [text for text in WHOLE.values() if one_line(text)] + ["```\n```{include} /etc/passwd\n```", *LINES]
    for name, given in (("nasty", texts), ("plain", [PLAIN] * len(texts))):
        cited = {"paper": (citation := build.read_citation())["preferred-citation"], "companion": citation}
        build.write_pages(site_values(given, tmp_path / name) | cited, tmp_path / name)
        cell = nbformat.v4.new_code_cell("1", execution_count=1)
        for text in given:
            cell.outputs += [nbformat.v4.new_output("stream", name="stdout", text=f"{printable(text)}\n")]
            shown = {
                "text/markdown": f"{build.markdown_line(text)}\n\n{table_of(text).to_markdown()}",
                "text/plain": text,
            }
            cell.outputs.append(nbformat.v4.new_output("display_data", shown))
        cells = [nbformat.v4.new_markdown_cell("# Title"), cell]
        about = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=about), tmp_path / name / "lesson.ipynb")
    (tmp_path / "index.md").write_text("# All\n")
    shutil.copy(PROJECT / "docs/conf.py", tmp_path)
    shutil.copytree(PROJECT / "docs/_static", tmp_path / "_static")
    (tmp_path / "extra").mkdir()
    shutil.copy(page.HERE / "tables.css", tmp_path / "_static")
    warned, out = io.StringIO(), tmp_path / "out"
    quiet = {"suppress_warnings": "toc,myst.xref_missing", "exclude_patterns": ["*/reference", "*/cite.md", "out"]}
    with patch_docutils(), docutils_namespace():
        Sphinx(
            tmp_path, tmp_path, out, tmp_path / "read", "html", confoverrides=quiet, status=None, warning=warned
        ).build()
    assert warned.getvalue() == ""
    for name in ("index", "results/tables", "results/figures", "results/claims", "lesson"):
        nasty, plain = (Page((out / kind / f"{name}.html").read_text("utf-8")) for kind in ("nasty", "plain"))
        # without anchors of headings, which have a second one where a title has other signs than letters
        elements, expected = ([e for e in p.elements if e[0].strip("/") != "span"] for p in (nasty, plain))
        assert elements == expected
        shown = letters_of("".join(nasty.texts))
        assert [text for text in texts if letters_of(printable(text)) not in shown] == []
