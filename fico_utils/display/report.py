"""The page you read in the morning: what was found, what ran, how long, on what, from which inputs, what came out.

One HTML file that needs nothing beside it, and the same facts as ``summary.json``. It reads manifests, tables and
figures from the results folder and computes nothing; `report.html.j2` says what stands where, and in which words.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from fico_utils import registry
from fico_utils.display.figures import FIGURES
from fico_utils.display.page import render_page, verdict_counts
from fico_utils.display.rows import name_beside, our_scores, run_name
from fico_utils.errors import InputError
from fico_utils.files import file_row, read_json, write_record, write_text
from fico_utils.results.store import read_csv


def write_report(root: Path, profile: str, steps: Sequence[dict[str, str]]) -> Path:
    """Path of the page just written, ``<root>/report/index.html``; ``summary.json`` lies beside it.

    `root` is ``results/<profile>``; `steps` have ``id``, ``notebook``, ``why`` and ``state`` (fresh, stale, missing,
    failed, ...).
    """
    steps = [{**step, "manifest": _read_manifest(root, step["notebook"])} for step in steps]
    records = [step["manifest"] for step in steps if step["manifest"]]
    tables = sorted((root / "tables").glob("*.html"))
    figures = sorted((root / "figures").glob("*.svg"), key=lambda path: (not path.stem.startswith("fig"), path.stem))
    kept = ("status", "key", "start", "seconds", "untracked_seconds", "failure")
    summary = {
        "profile": profile,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "good": bool(steps) and all(step["state"] == "fresh" for step in steps),
        "seconds": round(sum(r["seconds"] for r in records), 3),
        "peak_memory_bytes": max((r["peak_memory_bytes"] or 0 for r in records), default=0),
        "steps": [
            {name: step[name] for name in ("id", "notebook", "state", "why")}
            | {name: (step["manifest"] or {}).get(name) for name in kept}
            for step in steps
        ],
        "git": records[-1]["git"] if records else None,
        "environment": records[-1]["environment"] if records else None,
        "tables": [path.name for path in tables],
        "figures": [path.name for path in figures],
    }
    claims, audit, costs = (_read_frame(root / f"{name}.csv") for name in ("claims", "audit", "costs"))
    machines = [(r["environment"], r["threads"]["native"]) for r in records]
    phases = [{"notebook": r["notebook"], **phase} for r in records for phase in r["phases"]]
    page = render_page(
        "report.html.j2",
        **summary | {"steps": steps, "records": records},
        seeds=sorted({str(r["seed"]) for r in records}),
        measured=_measured_corpora(_read_frame(root / "metrics.csv", ("value", "chance"))),
        machines=[machine for i, machine in enumerate(machines) if machine not in machines[:i]],
        slowest=sorted(phases, key=lambda phase: -phase["seconds"])[:10],
        titles={name: entry.title for name, entry in FIGURES.items()},
        table_parts=[(path.stem, path.read_text(encoding="utf-8")) for path in tables],
        figure_parts=[(path.stem, *_read_picture(path)) for path in figures],
        claims=claims.to_dict("records"),
        counts=verdict_counts(claims).to_dict() if len(claims) else {},
        audit=audit.to_dict("records"),
        costs=costs[costs["source"] == "ours"].to_dict("records") if len(costs) else [],
    )
    path = root / "report" / "index.html"
    write_text(path, page)
    write_record(root / "report" / "summary.json", summary | {"outputs": [file_row(path, root)]})
    return path


def _read_manifest(root: Path, notebook: str) -> dict[str, Any] | None:
    try:
        return read_json(root / "runs" / notebook / "manifest.json")
    except InputError:
        return None


def _read_frame(path: Path, numbers: Sequence[str] = ()) -> pd.DataFrame:
    """A table that a step wrote, as text but for `numbers`; empty where it did not."""
    if not path.is_file():
        return pd.DataFrame()
    return read_csv(path, path.stem, "run notebook 06", "run it again", numbers=numbers)


def _read_picture(path: Path) -> tuple[str, str]:
    """Alternative text (the picture's own description) and data of an SVG file."""
    content = path.read_bytes()
    found = re.search("<dc:description>(.*?)</dc:description>", content.decode(), re.DOTALL)
    alt = html.unescape(found[1]) if found else path.stem
    return " ".join(alt.split()), base64.b64encode(content).decode()


def _measured_corpora(metrics: pd.DataFrame) -> list[dict[str, Any]]:
    """Each corpus that a run measured: names, the run, and the best system's t2i ``recall`` at 1 and ``map`` at N."""
    measured = []
    mine = our_scores(metrics) if len(metrics) else pd.DataFrame({"corpus": []})
    for corpus_id, rows in mine.groupby("corpus"):
        info = registry.corpus(corpus_id)
        corpus = {"info": info, "name": name_beside(info.name, info.beside, info.id), "run": run_name(rows)}
        for metric, k in (("recall", "1"), ("map", "N")):
            scores = rows[(rows["metric"] == metric) & (rows["k"] == k) & (rows["direction"] == "t2i")]
            for best in scores.nlargest(1, "value").to_dict("records"):
                corpus[metric] = best | {"name": registry.system(best["system"]).name}
        measured.append(corpus)
    return sorted(measured, key=lambda corpus: list(registry.known_corpora()).index(corpus["info"].id))
