"""The page you read in the morning: what was found, what ran, how long, on what, from which inputs, what came out.

One HTML file that needs no network, no script and nothing beside it, and the same facts as ``summary.json``. It reads
manifests, tables and figures from the results folder and computes nothing; `report.html.j2` says what stands where.
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

from fico_utils.display.figures import FIGURES
from fico_utils.display.findings import describe_findings
from fico_utils.display.ledger import MARKS, verdict_counts
from fico_utils.display.page import render_page, size_text
from fico_utils.errors import InputError
from fico_utils.files import read_json, write_json, write_text
from fico_utils.results.store import read_csv

#: Columns of costs.csv that the page shows; the file has the rest.
COST_COLUMNS = (
    "system", "corpus", "phase", "scale_img", "scale_txt", "quantity", "unit", "value", "spread", "status",
)  # fmt: skip


def write_report(root: Path, profile: str, steps: Sequence[dict[str, str]]) -> Path:
    """Path of the page just written, ``<root>/report/index.html``; ``summary.json`` lies beside it.

    Parameters
    ----------
    root : Path, ``results/<profile>``.
    profile : str
    steps : list of dict, ``id``, ``notebook``, ``state`` (fresh, stale, missing, failed, ...), ``why``.
    """
    steps = [{**step, "manifest": _manifest(root, step["notebook"])} for step in steps]
    folder = root / "report"
    write_json(folder / "summary.json", _summary(root, profile, steps))
    write_text(folder / "index.html", render_page("report.html.j2", **_content(root, profile, steps)))
    return folder / "index.html"


def _manifest(root: Path, notebook: str) -> dict[str, Any] | None:
    try:
        return read_json(root / "runs" / notebook / "manifest.json")
    except InputError:
        return None


def _summary(root: Path, profile: str, steps: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The facts of the page as JSON-able values: steps, total seconds, environment, artefacts."""
    facts = _facts(steps)
    records = [step["manifest"] for step in steps if step["manifest"]]
    kept = ("status", "key", "start", "seconds", "untracked_seconds", "failure")
    return {
        "profile": profile,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "good": facts["good"],
        "seconds": facts["seconds"],
        "peak_memory_bytes": facts["peak"],
        "steps": [
            {
                **{name: step[name] for name in ("id", "notebook", "state", "why")},
                **{name: (step["manifest"] or {}).get(name) for name in kept},
            }
            for step in steps
        ],
        "git": facts["git"],
        "environment": records[-1]["environment"] if records else None,
        "tables": [path.name for path in _table_files(root)],
        "figures": [path.name for path in _figure_files(root)],
    }


def _facts(steps: Sequence[dict[str, Any]]) -> dict[str, Any]:
    records = [step["manifest"] for step in steps if step["manifest"]]
    fresh = sum(step["state"] == "fresh" for step in steps)
    return {
        "fresh": fresh,
        "good": 0 < fresh == len(steps),
        "seconds": round(sum(r["seconds"] for r in records), 3),
        "peak": max((r["peak_memory_bytes"] or 0 for r in records), default=0),
        "git": records[-1]["git"] if records else None,
        "seeds": sorted({str(r["seed"]) for r in records}),
        "longest": max((r["seconds"] for r in records), default=0) or 1,
    }


def _content(root: Path, profile: str, steps: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the template prints."""
    records = [step["manifest"] for step in steps if step["manifest"]]
    claims = _frame(root / "claims.csv", "claims")
    audit = _frame(root / "audit.csv", "audit")
    counts = {} if claims is None else verdict_counts(claims)["on ours"]
    return {
        **_facts(steps),
        "profile": profile,
        "steps": steps,
        "findings": describe_findings(claims, _frame(root / "metrics.csv", "metrics")),
        "failures": [step for step in steps if (step["manifest"] or {}).get("failure")],
        "slowest": _slowest(records),
        "tables": [{"title": _title(path), "html": _inline(path)} for path in _table_files(root)],
        "claims": [] if claims is None else claims.to_dict("records"),
        "counts": ", ".join(f"{verdict} {n}" for verdict, n in dict(counts).items() if n),
        "marks": MARKS,
        "audit": [] if audit is None else audit.to_dict("records"),
        "figures": [_figure(path) for path in _figure_files(root)],
        "costs": _costs(root),
        "cost_columns": COST_COLUMNS,
        "machines": _machines(records),
        "artefacts": [r for r in records if r["inputs"] or r["outputs"]],
    }


def _frame(path: Path, what: str):
    """A table of text that a step wrote; None where it did not."""
    return read_csv(path, what, "run notebook 06", "run it again") if path.is_file() else None


def _slowest(records: Sequence[dict[str, Any]], n: int = 10) -> list[dict[str, Any]]:
    total = sum(record["seconds"] for record in records) or 1
    parts = [
        {"seconds": p["seconds"], "share": p["seconds"] / total, "notebook": r["notebook"], "heading": p["heading"]}
        for r in records
        for p in r["phases"]
    ]
    return sorted(parts, key=lambda part: -part["seconds"])[:n]


def _table_files(root: Path) -> list[Path]:
    return sorted((root / "tables").glob("*.html"))


def _figure_files(root: Path) -> list[Path]:
    """The paper's figures by number, then the others by name."""
    return sorted((root / "figures").glob("*.svg"), key=lambda path: (not path.stem.startswith("fig"), path.stem))


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


def _costs(root: Path) -> list[dict[str, str]]:
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
