"""The site: built without a warning from what a run left, complete, and nothing in it comes from the network."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from filelock import FileLock

from fico_utils.batch.pipeline import STEPS
from fico_utils.display.tables import make_table
from fico_utils.extras.claims import DEPENDS, VERDICTS, read_claims
from fico_utils.extras.pages.report import write_report
from fico_utils.provenance import PROJECT
from fico_utils.results import store
from tests.browser import CHROMIUM, chromium_page
from tests.display.test_report import manifest, sealed

COMMITTED = PROJECT / "figures" / "mini"
LESSONS = [step.notebook for step in STEPS if not step.aside]
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
needs_sphinx = pytest.mark.skipif(
    importlib.util.find_spec("myst_nb") is None, reason="the extra `site` is not installed; make test does that"
)


def executed_notebook(name: str) -> dict:
    """A small executed notebook with every kind of output that ours have."""
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["R@1 ", "0.5\n"]},
        {"output_type": "display_data", "metadata": {}, "data": {"image/png": DOT, "text/plain": "a figure"}},
        {"output_type": "display_data", "metadata": {}, "data": {"text/html": "<table><tr><td>41.5</td></tr></table>"}},
        {
            "output_type": "display_data",
            "metadata": {},
            "data": {"application/vnd.jupyter.widget-view+json": {"model_id": "m"}, "text/plain": "a bar: 100%|█"},
        },
    ]
    code = {"cell_type": "code", "execution_count": 1, "metadata": {"tags": []}, "outputs": []}
    cells = [
        {"cell_type": "markdown", "id": "title", "metadata": {}, "source": [f"# {name}\n", "\n", "## 1.1 A section"]},
        {**code, "id": "injected", "metadata": {"tags": ["injected-parameters"]}, "source": "out_dir = '/somewhere'"},
        {**code, "id": "work", "source": ["import numpy as np\n", "np.ones(2)"], "outputs": outputs},
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}


def build(root: Path) -> subprocess.CompletedProcess:
    """The finished command, and what it said."""
    command = [sys.executable, "docs/build.py", "--out", str(root)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site of a run, which one of the processes that test builds for all."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    root = shared / "site_of_a_run" / "mini"
    with FileLock(shared / "site_of_a_run.lock"):
        if not (root / "site").is_dir():
            leave_results(root)
            done = build(root)
            assert done.returncode == 0, done.stderr
            assert done.stderr == ""  # not one warning
            assert done.stdout.splitlines()[-1] == str(root / "site" / "index.html")
    return root / "site"


@pytest.fixture(scope="module")
def root(site: Path) -> Path:
    """The results folder that the site was built from."""
    return site.parent


def leave_results(root: Path) -> None:
    """Put into a folder what a run leaves."""
    for name in LESSONS:
        folder = root / "runs" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.ipynb").write_text(json.dumps(executed_notebook(name)), encoding="utf-8")
        (folder / "log.txt").write_text("what it printed\n", encoding="utf-8")
        record = sealed(manifest(step=name[:2], notebook=name))
        (folder / "manifest.json").write_text(json.dumps(record), encoding="utf-8")
    for name in ("claims", "metrics", "costs", "stored"):
        shutil.copy(COMMITTED / f"{name}.csv", root)
    (root / "figures").mkdir()
    for name in ("fig1", "fig3", "gallery"):
        shutil.copy(COMMITTED / f"{name}.svg", root / "figures")
    make_table("table2", store.load(root, "metrics")).write(root / "tables")
    write_report(root, "mini", [{"id": n[:2], "notebook": n, "state": "fresh", "why": ""} for n in LESSONS])
    (root / "report").mkdir(exist_ok=True)
    (root / "report" / "explorer.html").write_text("<!doctype html><title>Explorer</title>", encoding="utf-8")


class Links(HTMLParser):
    """What a page names, what it loads, and the places in it that may be named."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.named: list[str] = []
        self.loaded: list[str] = []
        self.places: set[str] = set()
        self.silent: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.places |= {values.get("id", ""), values.get("name", "")}
        if tag == "a" and "href" in values:
            self.named.append(values["href"])
        elif tag == "link" and "href" in values:
            self.loaded.append(values["href"])
        if "src" in values:
            self.loaded.append(values["src"])
            if tag == "img" and not values.get("alt") and values["src"].endswith(".svg"):
                self.silent.append(values["src"])


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    """Every page of the site, read."""
    return {path: Links(path) for path in sorted(site.rglob("*.html"))}


@needs_sphinx
def test_no_link_is_broken(site: Path, pages: dict[Path, Links]) -> None:
    broken = []
    for path, links in pages.items():
        for link in (*links.named, *links.loaded) if "_static" not in path.parts else ():  # templates of the theme
            file, place = urldefrag(link)
            if "://" in link or link.startswith(("data:", "mailto:")):
                continue
            target = (path.parent / unquote(file).partition("?")[0]).resolve() if file else path
            target = target / "index.html" if target.is_dir() else target
            known = not place or target not in pages or unquote(place) in pages[target].places
            if not target.is_file() or not known or not target.is_relative_to(site.resolve()):
                broken.append((path.name, link))
    assert broken == []
    assert len(pages) > 30


@needs_sphinx
def test_nothing_is_loaded_from_the_network(site: Path, pages: dict[Path, Links]) -> None:
    loaded = {link for links in pages.values() for link in links.loaded}
    assert len(loaded) > 10
    assert [link for link in loaded if "//" in link and not link.startswith("data:")] == []
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert "url(http" not in styles.replace('"', "").replace("'", "")
    assert not re.search(r"@import\s+(url\()?[\"']?(https?:)?//", styles)


@needs_sphinx
def test_the_site_holds_what_the_run_found(root: Path, site: Path, pages: dict[Path, Links]) -> None:
    text = {path.relative_to(site).as_posix(): path.read_text(encoding="utf-8") for path in pages}
    for name in LESSONS:
        assert "R@1 0.5" in text[f"notebooks/{name}.html"]
    assert "/somewhere" not in text[f"notebooks/{LESSONS[0]}.html"]  # no cell of a batch
    assert "100%|" not in text[f"notebooks/{LESSONS[0]}.html"]  # no bar that has no kernel
    exercises = {f"notebooks/exercises/{path.stem}.html" for path in PROJECT.glob("notebooks/exercises/*.ipynb")}
    assert exercises <= text.keys()
    claims = read_claims(root / "claims.csv")
    assert text["results/claims.html"].count("<td><details><summary>") == len(claims)
    assert (
        f"Of {len(claims)} claims of the paper, on our numbers, {(claims['verdict_ours'] == 'holds').sum()} hold"
        in (" ".join(text["index.html"].split()))
    )
    assert "80.4\u00a0% with X-VLM" in text["index.html"]
    assert "Table 2. Instance-level retrieval" in text["results/tables.html"]
    assert 'alt="Four panels of precision against recall' in text["results/figures.html"]
    assert [links.silent for links in pages.values() if links.silent] == []
    assert "caption_image" in text["reference/index.html"]  # an argument of evaluate, from its docstring
    assert "fico_utils.models.scan" in text["reference/models.html"]
    assert "Define the computation performed" not in text["reference/models.html"]  # PyTorch's, of each forward
    assert [link for links in pages.values() for link in links.named if link.startswith("mailto:")] == []  # map@10
    for shown, page in (("TEACHING.md", "TEACHING"), (LESSONS[1], LESSONS[1])):
        assert re.search(rf'<a [^>]*href="{page}.html"[^>]*>(<span[^>]*>)?{shown}<', text["notebooks/README.html"])
    assert "Williams-Lekuona" in text["cite.html"]
    assert "../notebooks/00_start_here.html" in text["report/index.html"]
    assert "explorer.html" in text["index.html"]


@needs_sphinx
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("name", ["index", "results/claims", f"notebooks/{LESSONS[0]}", "reference/index"])
def test_a_page_opens_in_a_browser_without_an_error(site: Path, tmp_path: Path, name: str) -> None:
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--enable-logging=stderr"]
    command = [CHROMIUM, *options, f"--user-data-dir={tmp_path}", f"file://{site}/{name}.html"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "[PST]" not in line]  # the theme's notes
    assert said == []
    assert ("61 of 61 claims" in done.stdout) == (name == "results/claims")  # what the filter wrote
    choices = re.findall(r"<option[^>]*>([^<]*)</option>", done.stdout)
    assert {text.partition(" ")[2] for text in choices if text != "any"} <= {*VERDICTS, *DEPENDS.values()}
    assert len(choices) > 4 or name != "results/claims"


#: Of each table: colours of its text and of what lies behind it, and its narrowest cell beside its longest word.
TABLES = """[...document.querySelectorAll('.cell_output table, .claims table')].map(table => {
  let behind = table;
  while (behind && /, 0\\)$|transparent/.test(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
  const light = text => text.match(/[\\d.]+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 3;
  const cells = [...table.querySelectorAll('td')];
  return {text: light(getComputedStyle(cells[0]).color), behind: light(getComputedStyle(behind).backgroundColor),
    broken: cells.filter(cell => getComputedStyle(cell).overflowWrap === 'anywhere').length};
})"""


@needs_sphinx
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("name", ["results/claims", f"notebooks/{LESSONS[0]}"])
def test_tables_are_legible_in_the_dark_and_break_no_words(site: Path, tmp_path: Path, name: str) -> None:
    with chromium_page(tmp_path) as page:
        page.show_as(400, scheme="dark")
        page.open(f"file://{site}/{name}.html")
        tables = page.run(TABLES)
        assert tables
        assert [table for table in tables if table["text"] - table["behind"] < 120 or table["broken"]] == []
        assert page.run("document.documentElement.scrollWidth") <= 400
        assert page.errors == []


@needs_sphinx
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_figures_keep_their_size_on_a_telephone_and_tables_take_what_room_there_is(site: Path, tmp_path: Path) -> None:
    with chromium_page(tmp_path) as page:
        for name in ("index", "results/figures"):
            page.show_as(400)
            page.open(f"file://{site}/{name}.html")
            widths = page.run("[...document.querySelectorAll('figure img')].map(img => img.clientWidth)")
            assert widths
            assert min(widths) >= 500  # pixels, of which a part is seen at a time
            assert page.run("document.documentElement.scrollWidth") <= 400
        page.show_as(1280)
        page.open(f"file://{site}/results/tables.html")
        assert page.run("document.querySelector('.scroll').clientWidth") > 900


def test_a_site_before_a_run_says_what_to_run(tmp_path: Path) -> None:
    done = build(tmp_path / "mini")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "first run: python -m fico_utils run with this profile and --out" in done.stderr
    assert list(tmp_path.iterdir()) == []


@needs_sphinx
def test_a_warning_leaves_the_old_site(root: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("build_site", PROJECT / "docs" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def gather(root: Path, profile: str, executed: list[Path], sources: Path) -> None:
        sources.mkdir()
        (sources / "conf.py").write_text("", encoding="utf-8")
        (sources / "index.rst").write_text("A page\n======\n\n:doc:`nowhere`\n", encoding="utf-8")

    monkeypatch.setattr(module, "gather_sources", gather)
    before = (site / "index.html").read_bytes()
    with pytest.raises(module.InputError, match="Sphinx warns"):
        module.build_site(root, "mini")
    assert (site / "index.html").read_bytes() == before
    assert [path.name for path in root.iterdir() if path.name.startswith(".site-")] == []
