"""The page you read in the morning: what was found, how many claims hold, tables, figures; then what ran, how long.

One HTML file that needs nothing beside it, and the same facts as ``summary.json``. It reads manifests, tables and
figures from the results folder and computes nothing; `report.html.j2` says what stands where, and in which words. What
cannot be read is named on the page, which goes on with the rest: a run may have been damaged, or come from a stranger.
"""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd

from fico_utils import registry
from fico_utils.display.figures import FIGURES
from fico_utils.display.rows import name_beside, our_scores, run_name
from fico_utils.errors import InputError
from fico_utils.escaping import one_line
from fico_utils.extras.pages.findings import state_findings
from fico_utils.extras.pages.notebook import show_notebook
from fico_utils.extras.pages.page import render_page, verdict_counts
from fico_utils.files import file_difference, file_row, read_record, write_record, write_text
from fico_utils.manifests import read_manifest
from fico_utils.results import schema
from fico_utils.results.store import load, read_csv

#: Columns that the page shows of a table.
COLUMNS = {
    "claims": ("place", "claim", "rests_on", "evidence", "verdict_paper", "verdict_ours"),
    "audit": ("where", "observation", "arithmetic", "reading"),
}
#: What a table's HTML consists of, as `Table.to_html` writes it, and the only rules of its style.
TAGS = {"div", "style", "table", "caption", "thead", "tbody", "tr", "th", "td", "p", "br"}
ATTRIBUTES = {"class", "id", "type", "scope", "colspan", "rowspan"}
BOLD = re.compile(r"\s*([\w\s#,]*\{\s*font-weight: bold;\s*\}\s*)*")
DESCRIPTION = ".//{http://purl.org/dc/elements/1.1/}description"
AGAIN = "run the step that wrote it again"
#: Titles of figures that no function draws from tables: notebook 08 draws this one.
TITLES = {"deploy": "Ways to search one gallery"}


def write_report(root: Path, profile: str, steps: Sequence[dict[str, str]]) -> Path:
    """Path of the page just written, ``<root>/report/index.html``; ``summary.json`` lies beside it.

    `root` is ``results/<profile>``; `steps` have ``id``, ``notebook``, ``why`` and ``state`` (fresh, stale, missing,
    failed, ...). A sentence on each file that cannot be read is on the page, in the summary and on stderr.
    """
    problems: list[str] = []
    manifests = [root / "runs" / step["notebook"] / "manifest.json" for step in steps]
    read = _read_files(read_manifest, manifests, problems)
    steps = [{**step, "manifest": read.get(path)} for step, path in zip(steps, manifests, strict=True)]
    notebooks = [path.with_name(f"{path.parent.name}.ipynb") for path in manifests]
    _remove_changed_pages(root, notebooks)
    shown = _read_files(lambda path: "" if _has_page(path) else show_notebook(path), notebooks, problems)
    pages = {path: path.with_suffix(".html") for path in shown}
    records = list(read.values())
    parts = read_parts(root, problems)
    for problem in problems:
        print(problem, file=sys.stderr)
    kept = ("status", "key", "start", "seconds", "untracked_seconds", "failure")
    summary = {
        "profile": profile,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "good": bool(steps) and all(step["state"] == "fresh" for step in steps) and not problems,
        "problems": problems,
        "seconds": round(sum(r["seconds"] for r in records), 3),
        "peak_memory_bytes": max((r["peak_memory_bytes"] or 0 for r in records), default=0),
        "steps": [
            {name: step[name] for name in ("id", "notebook", "state", "why")}
            | {name: (step["manifest"] or {}).get(name) for name in kept}
            for step in steps
        ],
        "git": records[-1]["git"] if records else None,
        "environment": records[-1]["environment"] if records else None,
        "tables": [f"{name}.html" for name in parts["tables"]],
        "figures": [f"{name}.svg" for name in parts["figures"]],
    }
    machines = [(r["environment"], r["threads"]["native"]) for r in records]
    phases = [{"notebook": r["notebook"], **phase} for r in records for phase in r["phases"]]
    page = render_page(
        "report.html.j2",
        **summary | {"steps": steps, "records": records},
        seeds=sorted({str(r.get("seed")) for r in records}),
        pages={path.stem for path in pages},
        machines=[machine for i, machine in enumerate(machines) if machine not in machines[:i]],
        slowest=sorted(phases, key=lambda phase: -phase["seconds"])[:10],
        table_parts=parts.pop("tables"),
        figure_parts=parts.pop("figures"),
        **parts,
    )
    for notebook, text in shown.items():
        if text:
            write_text(pages[notebook], text)
    path = root / "report" / "index.html"
    write_text(path, page)
    outputs = [file_row(written, root) for written in (path, *pages.values())]
    write_record(root / "report" / "summary.json", summary | {"outputs": outputs})
    return path


def _remove_changed_pages(root: Path, notebooks: Iterable[Path]) -> None:
    """Remove pages of notebooks that are not as the last report names them, so that they are made again."""
    try:
        rows = read_record(root / "report" / "summary.json")["outputs"]
        whole = {root / row["path"] for row in rows if not file_difference(row, root)}
    except (InputError, OSError, KeyError, TypeError, AttributeError):  # no report yet, or not one of ours
        whole = set()
    for page in (path.with_suffix(".html") for path in notebooks):
        if page not in whole:
            page.unlink(missing_ok=True)


def _has_page(path: Path) -> bool:
    """Whether the page beside an executed notebook is there, and no older."""
    page = path.with_suffix(".html")
    return page.is_file() and page.stat().st_mtime_ns >= path.stat().st_mtime_ns


def read_parts(root: Path, problems: list[str]) -> dict[str, Any]:
    """What a run left to show; a sentence on each file that cannot be read is added to `problems`.

    ``tables``: name -> HTML; ``figures``: name -> title, sentence, alternative text, SVG; ``claims``, ``audit`` and
    ``costs``: rows; ``counts``: whose numbers -> verdict -> claims; ``found``: see `_describe_findings`.
    """
    tables = _read_files(_read_table, sorted((root / "tables").glob("*.html")), problems)
    figures = sorted((root / "figures").glob("*.svg"), key=lambda path: (not path.stem.startswith("fig"), path.stem))
    frames = _read_files(_read_frame, [root / f"{name}.csv" for name in COLUMNS], problems)
    claims, audit = (frames.get(root / f"{name}.csv", pd.DataFrame()) for name in COLUMNS)
    tidy = _read_files(lambda path: load(path, path.stem), [root / f"{name}.csv" for name in schema.COLUMNS], problems)
    metrics, costs = (tidy.get(root / f"{t}.csv", pd.DataFrame(columns=c)) for t, c in schema.COLUMNS.items())
    measured = [root] if len(metrics) + len(costs) else []
    return {
        "tables": {path.stem: table for path, table in tables.items()},
        "figures": {path.stem: figure for path, figure in _read_files(_read_picture, figures, problems).items()},
        "claims": claims.to_dict("records"),
        "counts": verdict_counts(claims).to_dict() if len(claims) else {},
        "audit": audit.to_dict("records"),
        "costs": costs[costs["source"] == "ours"].astype(object).where(costs.notna(), "").to_dict("records"),
        "found": _read_files(lambda _: _describe_findings(metrics, costs), measured, problems).get(root, {}),
    }


def _read_files(read: Callable[[Path], Any], paths: Iterable[Path], problems: list[str]) -> dict[Path, Any]:
    """What `read` gives of each file that is there; why it cannot of others is added to `problems`."""
    found = {}
    for path in paths:
        try:
            if path.exists():
                found[path] = read(path)
        except (InputError, OSError) as error:
            problems.append(one_line(str(error)))
    return found


def _read_frame(path: Path) -> pd.DataFrame:
    """A table that a step wrote, as text."""
    frame = read_csv(path, path.stem, AGAIN, AGAIN)
    if missing := [column for column in COLUMNS[path.stem] if column not in frame]:
        raise InputError(f"{path} lacks the columns {', '.join(missing)}; {AGAIN}")
    return frame


def _parse(path: Path, kind: str) -> ElementTree.Element:
    """The root of a file of XML; InputError where it is cut or something else."""
    try:
        # &nbsp; is HTML's, not XML's
        return ElementTree.fromstring(path.read_bytes().replace(b"&nbsp;", b"&#160;"))
    except (ValueError, LookupError, RecursionError, ElementTree.ParseError) as error:
        raise InputError(f"{path} is not a whole {kind} ({error}); {AGAIN}") from error


def _read_table(path: Path) -> str:
    """A table's HTML, written anew from what was read, so that nothing but a table comes into the page."""
    tree = _parse(path, "table")
    known = all(element.tag in TAGS and {*element.attrib} <= ATTRIBUTES for element in tree.iter())
    if not known or not all(len(e) == 0 and BOLD.fullmatch(e.text or "") for e in tree.iter("style")):
        raise InputError(f"{path} holds more than a table of ours; {AGAIN}")
    return ElementTree.tostring(tree, "unicode", method="html")


def _read_picture(path: Path) -> dict[str, str]:
    """Title, a sentence, alternative text (the picture's own description) and data (base64) of an SVG file."""
    tree = _parse(path, "SVG picture")
    if tree.tag != "{http://www.w3.org/2000/svg}svg":
        raise InputError(f"{path} is not an SVG picture; {AGAIN}")
    known = FIGURES.get(path.stem)
    return {
        "title": known.title if known else TITLES.get(path.stem, path.stem),
        "sentence": known.sentence if known else "",
        "alt": one_line(tree.findtext(DESCRIPTION) or path.stem),
        "data": base64.b64encode(path.read_bytes()).decode(),
    }


def _describe_findings(metrics: pd.DataFrame, costs: pd.DataFrame) -> dict[str, Any]:
    """What was measured, and what was found: the run, names of corpora, whether any holds photographs, sentences."""
    scores = our_scores(metrics)
    infos = [info for info in registry.known_corpora().values() if info.id in set(scores["corpus"])]
    return {
        "run": run_name(scores) if len(scores) else "",
        "corpora": [name_beside(info.name, info.beside, info.id) for info in infos],
        "photographs": any(info.photographs for info in infos),
        "sentences": state_findings(metrics, costs),
    }
