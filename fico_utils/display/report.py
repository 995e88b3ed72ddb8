"""The page you read in the morning: what was found, what ran, how long, on what, from which inputs, what came out.

One HTML file that needs nothing beside it, and the same facts as ``summary.json``. It reads manifests, tables and
figures from the results folder and computes nothing; `report.html.j2` says what stands where.
"""

from __future__ import annotations

import base64
import csv
import html
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from fico_utils import registry
from fico_utils.display.figures import FIGURES
from fico_utils.display.page import render_page, size_text, verdict_counts
from fico_utils.display.rows import join_words, name_beside, one_run, run_name, with_value
from fico_utils.errors import InputError
from fico_utils.files import read_json, write_json, write_text
from fico_utils.results.store import read_csv

#: Columns of costs.csv that the page shows; the file has the rest.
COST_COLUMNS = (
    "system", "corpus", "phase", "scale_img", "scale_txt", "quantity", "unit", "value", "spread", "status",
)  # fmt: skip
#: Verdict -> how one claim and how several have it.
VERDICT_WORDS = {
    "holds": ("holds", "hold"), "holds in part": ("holds in part", "hold in part"),
    "does not hold": ("does not hold", "do not hold"),
    "cannot be tested here": ("cannot be tested here", "cannot be tested here"),
}  # fmt: skip
#: (metric, k) of captions to pictures, and what the best system did.
BEST_WORDS = {
    ("recall", "1"): "put the right picture first for {share:.1f} % of the captions",
    ("map", "N"): "had the highest mAP@N from captions to pictures, {share:.1f} %",
}


def write_report(root: Path, profile: str, steps: Sequence[dict[str, str]]) -> Path:
    """Path of the page just written, ``<root>/report/index.html``; ``summary.json`` lies beside it.

    Parameters
    ----------
    root : Path, ``results/<profile>``.
    profile : str
    steps : list of dict, ``id``, ``notebook``, ``state`` (fresh, stale, missing, failed, ...), ``why``.
    """
    steps = [{**step, "manifest": _manifest(root, step["notebook"])} for step in steps]
    records = [step["manifest"] for step in steps if step["manifest"]]
    fresh = sum(step["state"] == "fresh" for step in steps)
    facts = {
        "profile": profile,
        "good": 0 < fresh == len(steps),
        "seconds": round(sum(r["seconds"] for r in records), 3),
        "git": records[-1]["git"] if records else None,
        "peak": max((r["peak_memory_bytes"] or 0 for r in records), default=0),
    }
    tables = sorted((root / "tables").glob("*.html"))
    figures = sorted((root / "figures").glob("*.svg"), key=lambda path: (not path.stem.startswith("fig"), path.stem))
    files = {"tables": [path.name for path in tables], "figures": [path.name for path in figures]}
    write_json(root / "report" / "summary.json", _summary(facts, steps, records) | files)
    claims, audit = _read_frame(root / "claims.csv"), _read_frame(root / "audit.csv")
    counts = {} if claims is None else verdict_counts(claims)["on ours"]
    page = render_page(
        "report.html.j2",
        **facts,
        steps=steps,
        fresh=fresh,
        seeds=sorted({str(r["seed"]) for r in records}),
        longest=max((r["seconds"] for r in records), default=0) or 1,
        findings=describe_findings(claims, _read_frame(root / "metrics.csv")),
        failures=[step for step in steps if (step["manifest"] or {}).get("failure")],
        slowest=_slowest(records),
        tables=[{"title": _title(path), "html": _inline(path)} for path in tables],
        claims=[] if claims is None else claims.to_dict("records"),
        counts=", ".join(f"{verdict} {n}" for verdict, n in dict(counts).items() if n),
        audit=[] if audit is None else audit.to_dict("records"),
        figures=[_figure(path) for path in figures],
        costs=_our_costs(root),
        cost_columns=COST_COLUMNS,
        machines=_machines(records),
        artefacts=[r for r in records if r["inputs"] or r["outputs"]],
    )
    write_text(root / "report" / "index.html", page)
    return root / "report" / "index.html"


def _manifest(root: Path, notebook: str) -> dict[str, Any] | None:
    try:
        return read_json(root / "runs" / notebook / "manifest.json")
    except InputError:
        return None


def _summary(facts: dict[str, Any], steps: Sequence[dict[str, Any]], records: Sequence[dict]) -> dict[str, Any]:
    """The facts of the page as JSON-able values: steps, total seconds, environment."""
    asked, kept = (
        ("id", "notebook", "state", "why"),
        ("status", "key", "start", "seconds", "untracked_seconds", "failure"),
    )
    return {
        "profile": facts["profile"],
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "good": facts["good"],
        "seconds": facts["seconds"],
        "peak_memory_bytes": facts["peak"],
        "steps": [
            {name: step[name] for name in asked} | {name: (step["manifest"] or {}).get(name) for name in kept}
            for step in steps
        ],
        "git": facts["git"],
        "environment": records[-1]["environment"] if records else None,
    }


def _read_frame(path: Path) -> pd.DataFrame | None:
    """A table of text that a step wrote; None where it did not."""
    return read_csv(path, path.stem, "run notebook 06", "run it again") if path.is_file() else None


def _slowest(records: Sequence[dict[str, Any]], n: int = 10) -> list[dict[str, Any]]:
    total = sum(record["seconds"] for record in records) or 1
    parts = [
        {"seconds": p["seconds"], "share": p["seconds"] / total, "notebook": r["notebook"], "heading": p["heading"]}
        for r in records
        for p in r["phases"]
    ]
    return sorted(parts, key=lambda part: -part["seconds"])[:n]


def _title(path: Path) -> str:
    """``Table 2`` of ``table2.html``; of a figure, its number and what it shows."""
    number = re.sub(r"^(table|fig)(\d+)$", r"\1 \2", path.stem).replace("fig ", "figure ").replace("_", " ")
    name, entry = number.capitalize(), FIGURES.get(path.stem)
    if entry is None:  # the caption of a table says what it shows
        return name
    return f"{name}. {entry.title}" if name[-1].isdigit() else entry.title


def _inline(path: Path) -> str:
    """The content of a table's HTML file, without the document around it."""
    text = path.read_text(encoding="utf-8")
    body = re.search(r"<body[^>]*>(.*)</body>", text, re.DOTALL | re.IGNORECASE)
    return body.group(1) if body else text


def _figure(path: Path) -> dict[str, str]:
    """Title, alternative text (the picture's own description) and data of an SVG file."""
    text = path.read_text(encoding="utf-8")
    found = [re.search(rf"<{tag}[^>]*>(.*?)</{tag}>", text, re.DOTALL) for tag in ("dc:description", "desc", "title")]
    alt = next((" ".join(html.unescape(match.group(1)).split()) for match in found if match), path.stem)
    return {"title": _title(path), "alt": alt, "data": base64.b64encode(path.read_bytes()).decode()}


def _our_costs(root: Path) -> list[dict[str, str]]:
    path = root / "costs.csv"
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row.get("source") == "ours"]


def _machines(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is printed of each machine that took part; usually one."""
    machines: list[dict[str, Any]] = []
    for record in records:
        machine = record["environment"]
        facts = {
            "Python": machine["python"],
            "System": machine["os"],
            "Processor": f"{machine['cpu']}, {machine['cores']} cores",
            "Memory": size_text(machine["memory_bytes"]),
            "GPU": machine["gpu"] or "none",
            "Threads": record["threads"]["native"],
            **{name: number or "missing" for name, number in machine["packages"].items()},
        }
        if facts not in machines:
            machines.append(facts)
    return machines


def describe_findings(claims: pd.DataFrame | None, metrics: pd.DataFrame | None) -> list[str]:
    """What a run found, in sentences; `claims` and `metrics` are the files as text, or None where one is missing."""
    sentences, about, corpora = [], "", []
    if metrics is not None:
        mine = with_value(one_run(metrics, "metrics.csv"))
        mine = mine[(mine["source"] == "ours") & (mine["split"] == "test")]
        mine = mine.assign(value=mine["value"].astype(float))
        corpora = [registry.corpus(c) for c in registry.known_corpora() if c in {*mine["corpus"]}]
    if corpora:
        about = f" ({run_name(mine)})"
        words = join_words([name_beside(c.name, c.beside, c.id) for c in corpora])
        drawn = not any(c.photographs for c in corpora)
        sentences.append(f"This run{about} measured {words}.")
        sentences[0] += " The systems are small and the pictures are no photographs." if drawn else ""
    if claims is not None and len(claims):
        papers, ours = (
            join_words([f"{n} {VERDICT_WORDS[verdict][n > 1]}" for verdict, n in counts.items() if n])
            for _, counts in verdict_counts(claims).items()
        )
        sentences.append(
            f"We turned what the paper says into {len(claims)} claims that numbers can test. "
            f"On the numbers of this run{about}, {ours}. On the paper's own numbers, {papers}."
        )
    return sentences + [_best_of(mine[mine["corpus"] == c.id], c.name) for c in corpora]


def _best_of(mine: pd.DataFrame, corpus_name: str) -> str:
    """The best system of a corpus at the two levels."""
    parts = []
    for (metric, k), words in BEST_WORDS.items():
        rows = mine[(mine["metric"] == metric) & (mine["k"] == k) & (mine["direction"] == "t2i")]
        if len(rows):
            best = rows.loc[rows["value"].idxmax()]
            chance = f" (guessing reaches {100 * float(best['chance']):.1f} %)" if best["chance"] else ""
            parts.append(f"{registry.system(best['system']).name} {words.format(share=100 * best['value'])}{chance}")
    return f"On {corpus_name}, {join_words(parts)}." if parts else ""
