"""The page you read in the morning: what ran, how long, on what, from which inputs, and what came out.

One HTML file that needs no network, no script and nothing beside it, and the same facts as ``summary.json``.
It reads manifests, tables and figures from the results folder and computes nothing.
"""

from __future__ import annotations

import base64
import csv
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from fico_utils.display import markup
from fico_utils.display.ledger import audit_list, claims_table, verdict_counts
from fico_utils.errors import InputError
from fico_utils.results.store import read_csv
from fico_utils.workspace import read_json, write_json, write_text

STYLE = Path(__file__).with_name("report.css")
#: Columns of costs.csv that the page shows; the file has the rest.
COST_COLUMNS = (
    "system",
    "corpus",
    "phase",
    "scale_img",
    "scale_txt",
    "quantity",
    "unit",
    "value",
    "spread",
    "status",
)


def write_report(root: Path, profile: str, steps: Sequence[dict[str, str]]) -> Path:
    """Path of the page just written, ``<root>/report/index.html``; ``summary.json`` lies beside it.

    Parameters
    ----------
    root : Path, ``results/<profile>``.
    profile : str
    steps : list of dict, ``id``, ``notebook``, ``state`` (fresh, stale, missing, failed, ...), ``why``.
    """
    rows = [{**step, "manifest": _manifest(root, step["notebook"])} for step in steps]
    folder = root / "report"
    write_json(folder / "summary.json", summary(root, profile, rows))
    write_text(folder / "index.html", page(root, profile, rows))
    return folder / "index.html"


def _manifest(root: Path, notebook: str) -> dict[str, Any] | None:
    try:
        return read_json(root / "runs" / notebook / "manifest.json")
    except InputError:
        return None


def summary(root: Path, profile: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The facts of the page as JSON-able values: steps, total seconds, environment, artefacts."""
    records = [row["manifest"] for row in rows if row["manifest"]]
    return {
        "profile": profile,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "good": bool(rows) and all(row["state"] == "fresh" for row in rows),
        "seconds": round(sum(r["seconds"] for r in records), 3),
        "peak_memory_bytes": max((r["peak_memory_bytes"] or 0 for r in records), default=0),
        "steps": [
            {
                **{name: row[name] for name in ("id", "notebook", "state", "why")},
                **{
                    name: (row["manifest"] or {}).get(name)
                    for name in ("status", "key", "start", "seconds", "untracked_seconds", "failure")
                },
            }
            for row in rows
        ],
        "git": records[-1]["git"] if records else None,
        "environment": records[-1]["environment"] if records else None,
        "tables": [path.name for path in _tables(root)],
        "figures": [path.name for path in _figures(root)],
    }


def page(root: Path, profile: str, rows: Sequence[dict[str, Any]]) -> str:
    """The report as one HTML document."""
    records = [row["manifest"] for row in rows if row["manifest"]]
    sections = [
        _head(profile, rows, records),
        _failures(rows),
        _section("Steps", _steps(rows)),
        _section("Slowest parts", _slowest(records)),
        _section("Ours against the paper's", *map(_inline_table, _tables(root))),
        _section("What the paper claims", _claims(root)),
        _section("Where the paper's numbers do not fit each other", _audit(root)),
        _section("Figures", _gallery(root)),
        _section("Costs", _costs(root)),
        _section("Environment", *_environment(records)),
        _section("Artefacts", *map(_artefacts, records)),
    ]
    body = "\n".join(filter(None, sections))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Run report, {escape(profile)} profile</title>\n"
        f"<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


# ------------------------------------------------------------------------------------------------ sections


def _section(title: str, *parts: str) -> str:
    kept = [part for part in parts if part]
    return f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(kept) + "\n</section>" if kept else ""


def _head(profile: str, rows: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]) -> str:
    fresh = sum(row["state"] == "fresh" for row in rows)
    good = 0 < fresh == len(rows)
    facts = [
        (f"{fresh} of {len(rows)}", "steps fresh"),
        (markup.duration(sum(r["seconds"] for r in records)), "in notebooks"),
        (
            markup.size(max((r["peak_memory_bytes"] or 0 for r in records), default=0)),
            "peak memory of a step",
        ),
    ]
    if records:
        git = records[-1]["git"]
        facts.append(((git["commit"] or "no git")[:10], "uncommitted changes" if git["dirty"] else "commit"))
    items = "".join(f"<li><b>{escape(value)}</b>{escape(name)}</li>" for value, name in facts)
    verdict = "Everything ran and is up to date." if good else "Not everything is up to date; see below."
    seeds = sorted({str(r["seed"]) for r in records})
    return (
        f"<header>\n<h1>Run report · {escape(profile)} profile</h1>\n"
        f'<p class="{"good" if good else "bad"}">{verdict}</p>\n'
        f'<p class="quiet">Seed {escape(", ".join(seeds) or "unset")}. Numbers marked {escape(profile)} come '
        f"from this profile and say nothing about another one.</p>\n"
        f'<ul class="facts">{items}</ul>\n</header>'
    )


def _failures(rows: Sequence[dict[str, Any]]) -> str:
    boxes = []
    for row in rows:
        failed = (row["manifest"] or {}).get("failure")
        if failed:
            place = f"cell <code>{escape(failed['cell'] or 'unknown')}</code>"
            place += f" under “{escape(failed['heading'])}”" if failed["heading"] else ""
            boxes.append(
                f'<div class="problem"><b>{escape(row["notebook"])}</b> failed in {place}:<br>'
                f"<code>{escape(failed['error'])}</code><br>{_links(row['notebook'])}</div>"
            )
    return _section("Failures", *boxes)


def _links(notebook: str) -> str:
    stem = f"../runs/{escape(notebook)}"
    executed = f'<a href="{stem}/{escape(notebook)}.ipynb">executed notebook</a>'
    return f'{executed}, <a href="{stem}/log.txt">log</a>'


def _steps(rows: Sequence[dict[str, Any]]) -> str:
    longest = max((row["manifest"]["seconds"] for row in rows if row["manifest"]), default=0) or 1
    lines = []
    for row in rows:
        record = row["manifest"]
        tone = "good" if row["state"] == "fresh" else "bad"
        cells = [
            f"<td>{escape(row['notebook'])}</td>",
            f'<td><span class="{tone}">{escape(row["state"])}</span>',
        ]
        cells.append(f'<div class="quiet">{escape(row["why"])}</div></td>' if row["why"] else "</td>")
        if record:
            width = 6 * record["seconds"] / longest
            cells += [
                f'<td class="number">{markup.duration(record["seconds"])}</td>',
                f'<td><span class="bar" style="width:{width:.2f}rem"></span></td>',
                f'<td class="number">{markup.duration(record["untracked_seconds"])}</td>',
                f'<td class="number">{markup.size(record["peak_memory_bytes"])}</td>',
                f"<td>{escape(record['start'].replace('T', ' ').removesuffix('+00:00'))}</td>",
                f"<td>{_links(row['notebook'])}</td>",
            ]
        else:
            cells.append('<td colspan="6" class="quiet">no record</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    head = ("Step", "State", "Time", "", "Untracked", "Peak memory", "Started (UTC)", "Files")
    return markup.table(head, lines, "Untracked: starting the kernel and saving, in no cell.", {2, 4, 5})


def _slowest(records: Sequence[dict[str, Any]], n: int = 10) -> str:
    parts = [
        (phase["seconds"], record["notebook"], phase["heading"]) for record in records for phase in record["phases"]
    ]
    parts = sorted(parts, key=lambda part: -part[0])[:n]
    total = sum(record["seconds"] for record in records) or 1
    lines = [
        f'<tr><td class="number">{markup.duration(seconds)}</td>'
        f'<td class="number">{100 * seconds / total:.0f} %</td>'
        f"<td>{escape(notebook)}</td><td>{escape(heading)}</td></tr>"
        for seconds, notebook, heading in parts
    ]
    return markup.table(("Time", "Share", "Step", "Section"), lines, "", {0, 1}) if lines else ""


def _tables(root: Path) -> list[Path]:
    return sorted((root / "tables").glob("*.html"))


def _figures(root: Path) -> list[Path]:
    """The paper's figures by number, then the others by name."""
    return sorted((root / "figures").glob("*.svg"), key=lambda path: (not path.stem.startswith("fig"), path.stem))


def _name(path: Path) -> str:
    """``Table 2`` of ``table2.html``, ``Chance corrected`` of ``chance_corrected.svg``."""
    stem = re.sub(r"^(table|fig)(\d+)$", r"\1 \2", path.stem)
    return escape(re.sub(r"^fig ", "figure ", stem).replace("_", " ").capitalize())


def _inline_table(path: Path) -> str:
    """The content of a table's HTML file, without the document around it."""
    text = path.read_text(encoding="utf-8")
    body = re.search(r"<body[^>]*>(.*)</body>", text, re.DOTALL | re.IGNORECASE)
    return f'<h3>{_name(path)}</h3>\n<div class="scroll">{body.group(1) if body else text}</div>'


def _gallery(root: Path) -> str:
    figures = []
    for path in _figures(root):
        text = path.read_text(encoding="utf-8")
        said = [re.search(rf"<{tag}[^>]*>(.*?)</{tag}>", text, re.DOTALL) for tag in ("desc", "dc:title", "title")]
        alt = next((" ".join(match.group(1).split()) for match in said if match), path.stem)
        data = base64.b64encode(path.read_bytes()).decode()
        figures.append(
            f'<figure><img alt="{escape(alt, quote=True)}" src="data:image/svg+xml;base64,{data}">'
            f"<figcaption>{_name(path)}</figcaption></figure>"
        )
    return f'<div class="gallery">{"".join(figures)}</div>' if figures else ""


def _audit(root: Path) -> str:
    path = root / "audit.csv"
    return audit_list(read_csv(path, "audit", "run notebook 06", "run it again")) if path.is_file() else ""


def _claims(root: Path) -> str:
    path = root / "claims.csv"
    if not path.is_file():
        return ""
    claims = read_csv(path, "claims", "run notebook 06", "run notebook 06 again")
    counts = verdict_counts(claims)
    said = ", ".join(f"{verdict} {n}" for verdict, n in counts["on ours"].items() if n)
    title = f"{len(claims)} claims; on our numbers: {said}"
    return f'<details class="printed"><summary>{escape(title)}</summary>{claims_table(claims)}</details>'


def _costs(root: Path) -> str:
    path = root / "costs.csv"
    if not path.is_file():
        return ""
    with open(path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("source") == "ours"]
    columns = [name for name in COST_COLUMNS if rows and name in rows[0]]
    lines = [
        "<tr>"
        + "".join(f"<td{_right(name)}>{escape(markup.short(row[name] or ''))}</td>" for name in columns)
        + "</tr>"
        for row in rows
    ]
    if not lines:
        return ""
    table = markup.table(columns, lines, "Median of the repeats; spread is the interquartile range.", set())
    title = f"{len(lines)} measurements of our own (costs.csv has all columns)"
    return f"<details><summary>{title}</summary>{table}</details>"


def _right(column: str) -> str:
    return ' class="number"' if column in ("scale_img", "scale_txt", "value", "spread") else ""


def _environment(records: Sequence[dict[str, Any]]) -> Iterable[str]:
    """One table per machine that took part; usually one."""
    seen: list[dict[str, Any]] = []
    for record in records:
        machine = record["environment"]
        if machine in seen:
            continue
        seen.append(machine)
        facts = {
            "Python": machine["python"],
            "System": machine["os"],
            "Processor": f"{machine['cpu']}, {machine['cores']} cores",
            "Memory": markup.size(machine["memory_bytes"]),
            "GPU": machine["gpu"] or "none",
            "Threads": record["threads"]["native"],
            **{name: number or "missing" for name, number in machine["packages"].items()},
        }
        lines = [f"<tr><td>{escape(n)}</td><td>{escape(str(v))}</td></tr>" for n, v in facts.items()]
        yield markup.table(("What", "Which"), lines, "", set())


def _artefacts(record: dict[str, Any]) -> str:
    lines = [
        f"<tr><td>{kind}</td><td><code>{escape(row['path'])}</code></td>"
        f'<td class="number">{markup.size(row["bytes"])}</td><td><code>{row["sha256"]}</code></td></tr>'
        for kind in ("inputs", "outputs")
        for row in record[kind]
    ]
    if not lines:
        return ""
    table = markup.table(("", "File", "Size", "SHA-256"), lines, "", {2})
    title = f"{record['notebook']}: {len(record['inputs'])} in, {len(record['outputs'])} out, key {record['key']}"
    return f"<details><summary>{escape(title)}</summary>{table}</details>"
