"""The run report: everything in one file, true to the manifests, honest about failures."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fico_utils.extras.claims import read_claims
from fico_utils.extras.claims.groups import CG as CODES
from fico_utils.extras.claims.groups import FINE
from fico_utils.extras.pages.findings import state_findings
from fico_utils.extras.pages.notebook import WIDGET
from fico_utils.extras.pages.report import write_report
from fico_utils.files import seal_of
from fico_utils.provenance import PROJECT
from fico_utils.results import schema, store

DESCRIPTION = "<metadata><dc:description>{}</dc:description></metadata>"
DUBLIN = "http://purl.org/dc/elements/1.1/"
SVG = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:dc="{DUBLIN}">{DESCRIPTION}<path d="M0 0"/></svg>'
VOID = {"meta", "img", "br"}


def manifest(**changes: object) -> dict:
    """A manifest as the runner writes it."""
    record = {
        "step": "04",
        "notebook": "04_evaluation",
        "status": "ok",
        "failure": None,
        "key": "0123456789abcdef",
        "profile": "mini",
        "parameters": {"seed": 0},
        "seed": 0,
        "threads": {"native": 2},
        "start": "2026-11-23T10:00:00+00:00",
        "end": "2026-11-23T10:01:30+00:00",
        "seconds": 90.0,
        "phases": [
            {"heading": "4.1 Ranks", "seconds": 70.5, "cells": 2},
            {"heading": "4.2 Curves & <more>", "seconds": 15.0, "cells": 1},
        ],
        "untracked_seconds": 4.5,
        "peak_memory_bytes": 3 * 2**29,
        "git": {"commit": "a" * 40, "dirty": True},
        "environment": {
            **{"python": "3.11.7", "os": "Linux", "cpu": "A CPU", "cores": 2, "memory_bytes": 2**34, "gpu": None},
            "packages": {"numpy": "2.4.6", "gensim": None},
        },
        "inputs": [{"path": "embeddings/a.safetensors", "sha256": "1" * 64, "bytes": 2048}],
        "outputs": [{"path": "metrics.csv", "sha256": "2" * 64, "bytes": 10}],
        "made_from": {"notebook code": "0123456789abcdef", "code of the package": {"a.py": "0"}},
    }
    return {**record, **changes}


def sealed(record: dict) -> dict:
    """A record with the seal of its writer, which anybody can make."""
    return {**record, "seal": seal_of(record)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A results folder with one step that ran, one that failed, one that never ran."""
    failed = {"cell": "fit", "heading": "2.2 Fit", "error": "ValueError: <no> & never"}
    records = [manifest(), manifest(step="02", notebook="02_training", status="failed", failure=failed, seconds=5.0)]
    kept = {record["notebook"]: json.dumps(sealed(record)) for record in records}
    files = {f"runs/{name}/manifest.json": text for name, text in kept.items()}
    files |= {
        "tables/table2.html": "<table><tr><td>41.5</td></tr></table>",
        "tables/table4.html": "<table><tr><td>88.7</td></tr></table>",
        "figures/fig3.svg": SVG.format("Recall of three systems"),
        "costs.csv": f"{','.join(schema.COLUMNS['costs'])}\n"
        "mini,ours,scan,picto_diverse,encode,500,2500,seconds,s,1.23456,,3,2,cpu,ok,mini-s0\n"
        "paper,paper,scan,,encode,1000,5000,seconds,s,9.87,,,,,ok,table5\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


STEPS = [
    {"id": "02", "notebook": "02_training", "state": "failed", "why": "cell fit"},
    {"id": "04", "notebook": "04_evaluation", "state": "fresh", "why": ""},
    {"id": "06", "notebook": "06_figures", "state": "missing", "why": "never run"},
]


def test_page_shows_what_happened(root: Path) -> None:
    page = write_report(root, "mini", STEPS).read_text()
    assert "Not everything is up to date" in page
    assert "1 of 3" in page
    assert "<code>ValueError: &lt;no&gt; &amp; never</code>" in page
    assert "1 min 10 s" in page or "1 min 11 s" in page
    assert "4.2 Curves &amp; &lt;more&gt;" in page
    assert "1.5 GiB" in page
    assert "2" * 64 in page
    assert "41.5" in page
    assert "88.7" in page
    assert 'alt="Recall of three systems"' in page
    assert "1.235" in page
    assert "9.87" not in page  # the paper's costs stand in the tables, not among our measurements
    assert "uncommitted changes" in page
    assert page.index("Failures") < page.index("Ours against the paper") < page.index("<h2>Steps</h2>")


def test_alternative_text_is_the_pictures_own(root: Path) -> None:
    (root / "figures" / "fig3.svg").write_text(SVG.format("Recall &lt; 0.5 of"))
    page = write_report(root, "mini", STEPS).read_text()
    assert 'alt="Recall &lt; 0.5 of"' in page
    assert "<figcaption><b>Figure 3. Precision-recall curves.</b> Precision at eleven recalls" in page


def test_findings_come_first_and_times_of_steps_last(root: Path) -> None:
    committed = PROJECT / "figures" / "mini"
    for name in ("claims.csv", "metrics.csv", "costs.csv"):
        (root / name).write_bytes((committed / name).read_bytes())
    page = write_report(root, "mini", STEPS).read_text()
    order = ("What was found", "What the paper claims", "Ours against the paper", "Figures", "Costs", "Steps")
    assert [*order] == sorted(order, key=lambda heading: page.index(f"<h2>{heading}"))
    part = page.partition("<h2>What was found</h2>")[2].partition("</section>")[0]
    claims = read_claims(committed / "claims.csv")
    assert "mini profile, seed 0" in part
    assert "PictoScenes people (beside Flickr30K)" in part
    for verdicts in (claims["verdict_ours"], claims["verdict_paper"]):
        assert f" {(verdicts == 'holds').sum()} hold, {(verdicts == 'holds in part').sum()} hold in part" in part
    assert part.count("<li>") == 5
    assert part.index("</ol>") < part.index("claims that numbers can test")
    numbers = {(r["system"], r["corpus"]): 100 * float(r["value"]) for r in rows_of(committed / "metrics.csv")}
    for corpus in ("picto_diverse", "picto_people"):
        for names, printed in ((FINE, "X-VLM"), (CODES, "ADV 64-bit")):
            assert f"{max(numbers.get((name, corpus), 0) for name in names):.1f}\u00a0% with {printed}" in part


def rows_of(metrics: Path) -> Iterator[dict[str, str]]:
    """Our scores of the first captions' answers, R@1, read without the package."""
    with metrics.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if (row["source"], row["direction"], row["metric"], row["k"]) == ("ours", "t2i", "recall", "1"):
                yield row


def test_sentences_need_their_numbers() -> None:
    """A table without rows of a kind loses the sentence about it, and no other."""
    metrics, costs = (store.load(PROJECT / "figures" / "mini", table) for table in ("metrics", "costs"))
    whole = state_findings(metrics, costs)
    assert len(whole) == 5
    for phase, place in (("encode", 2), ("search", 3), ("gallery", 4)):
        assert state_findings(metrics, costs[costs["phase"] != phase]) == whole[:place] + whole[place + 1 :]
    of_codes = metrics["system"].isin(CODES)
    assert "ADV" not in "".join(state_findings(metrics[~of_codes], costs)[:2])
    assert state_findings(metrics[:0], costs[:0]) == []


def test_an_executed_notebook_opens_as_a_page(root: Path) -> None:
    notebook = root / "runs" / "04_evaluation" / "04_evaluation.ipynb"
    output = {"output_type": "stream", "name": "stdout", "text": ["R@1 <b>0.5</b>\n"]}
    bar = {"output_type": "display_data", "metadata": {}, "data": {WIDGET: {}, "text/plain": "100%|█"}}
    code = {"cell_type": "code", "execution_count": 1, "metadata": {}, "source": ["score", "(1)"]}
    cells = [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# Ranks <script>alert(1)</script>"]}]
    cells += [{**code, "id": "b", "outputs": [output, bar]}]
    notebook.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    report = write_report(root, "mini", STEPS).read_text()
    page = notebook.with_suffix(".html")
    assert 'href="../runs/04_evaluation/04_evaluation.html"' in report
    assert ".ipynb" not in report
    text = page.read_text()
    assert "R@1 &lt;b&gt;0.5" in text
    assert "100%|" not in text
    assert "default-src 'none'" in text  # so that no script of a stranger runs
    assert not re.search(r'(?:src|href)="(?:https?:)?//', text)
    made = page.stat().st_ino
    write_report(root, "mini", STEPS)
    assert page.stat().st_ino == made  # nothing new to show
    later = page.stat().st_mtime_ns + 10**9
    os.utime(notebook, ns=(later, later))
    write_report(root, "mini", STEPS)
    assert page.stat().st_ino != made
    assert "R@1" in page.read_text()


@pytest.mark.parametrize("damage", ["", "{", '{"cells": [{}], "nbformat": 4, "nbformat_minor": 5}', "[]"])
def test_a_damaged_notebook_is_named(root: Path, damage: str) -> None:
    notebook = root / "runs" / "04_evaluation" / "04_evaluation.ipynb"
    notebook.write_text(damage)
    page = write_report(root, "mini", STEPS).read_text()
    assert "04_evaluation.ipynb is not a whole notebook" in page
    assert "04_evaluation.html" not in page


def test_every_committed_figure_says_what_it_shows() -> None:
    texts = [
        ElementTree.parse(path).findtext(f".//{{{DUBLIN}}}description") for path in PROJECT.glob("figures/m*/*.svg")
    ]
    assert len(texts) > 8
    assert len(set(texts)) == len(texts)
    assert min(map(len, texts)) > 60


def test_page_is_self_contained_and_well_formed(root: Path) -> None:
    page = write_report(root, "mini", STEPS).read_text()
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
    assert all(source.startswith("data:") for source in re.findall(r'src="([^"]*)"', page))
    links = re.findall(r'href="([^"]*)"', page)
    assert links
    assert all(link.startswith("../runs/") for link in links)
    assert all(word in page for word in ("prefers-color-scheme: dark", "@media print", 'name="viewport"'))

    class Checker(HTMLParser):
        stack: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: list) -> None:
            if tag not in VOID:
                self.stack.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.stack.pop() == tag

    checker = Checker()
    checker.feed(page)
    assert checker.stack == []


def test_summary_has_the_same_facts(root: Path) -> None:
    write_report(root, "mini", STEPS)
    facts = json.loads((root / "report/summary.json").read_text())
    assert facts["good"] is False
    assert facts["seconds"] == 95.0
    assert [step["state"] for step in facts["steps"]] == ["failed", "fresh", "missing"]
    assert facts["steps"][0]["failure"]["cell"] == "fit"
    assert facts["steps"][1]["key"] == "0123456789abcdef"
    assert facts["steps"][2]["seconds"] is None
    assert facts["tables"] == ["table2.html", "table4.html"]
    assert facts["figures"] == ["fig3.svg"]


def test_report_of_an_empty_folder(tmp_path: Path) -> None:
    page = write_report(tmp_path, "mini", STEPS[2:]).read_text()
    assert "0 of 1" in page
    assert "Figures" not in page


def test_all_fresh_is_good(root: Path) -> None:
    page = write_report(root, "mini", STEPS[1:2]).read_text()
    assert "Everything ran and is up to date." in page
    assert "Failures" not in page
