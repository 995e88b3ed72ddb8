"""Two or more runs side by side: profiles, seeds or commits, and which differences their intervals do not explain.

The first run is the reference. Intervals that just miss each other are rarer under noise than 5 %, so that a mark is a
careful one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from fico_utils import registry
from fico_utils.errors import InputError
from fico_utils.evaluation import Metric
from fico_utils.extras.claims.numbers import Side, both_sides, row_name
from fico_utils.extras.pages.page import number_text, render_page, write_page
from fico_utils.files import key_of, read_json
from fico_utils.manifests import read_manifest
from fico_utils.results import load, schema

COLUMNS = ("table", "place", "system", "what", "run", "value", "reference", "difference", "outside")
#: What the page compares; metrics.csv has the curves and the ranks, too.
QUALITIES = (*(("recall", k) for k in ("1", "5", "10", "50", "100", "200")), *(("map", k) for k in ("10", "100", "N")))
#: Phase -> quantity of costs.csv.
COSTS = {**dict.fromkeys(("encode", "attention"), "seconds"), "store": "embedding_bytes"}
COSTS |= dict.fromkeys(("index", "search"), "seconds")


@dataclass(frozen=True)
class Compared:
    """A run as it is compared."""

    label: str  # the run id, with the folder where two runs have the same
    root: Path
    commit: str  # that wrote the newest manifest; empty where there is none
    keys: dict[str, str]  # corpus -> hash of its test split, as data/corpora.json says
    chance: dict[str, dict[str, str]]  # corpus -> its chance rows as text, which follow from the test split alone
    side: Side  # its rows, looked up


def read_runs(roots: Sequence[str | Path]) -> list[Compared]:
    """The runs of two or more results folders, such as ``results/mini``, that hold metrics.csv and costs.csv.

    InputError where there are fewer than two, one is given twice, or one has no valid tables.
    """
    places = [Path(root) for root in roots]
    if len(places) < 2:
        raise InputError(f"{len(places)} run was given to compare; expected two or more results folders")
    if len({place.resolve() for place in places}) < len(places):
        raise InputError(f"one folder was given twice in {', '.join(map(str, places))}; expected different runs")
    runs = [_read_run(place) for place in places]
    labels = [run.label for run in runs]
    return [run if labels.count(run.label) == 1 else replace(run, label=f"{run.label} ({run.root})") for run in runs]


def _read_run(root: Path) -> Compared:
    metrics, costs = load(root, "metrics"), load(root, "costs")
    label = next(iter(metrics.loc[metrics["source"] == "ours", "run"]), root.name)
    keys = root / "data" / "corpora.json"
    rows = metrics.query("source == 'chance' and profile != 'paper' and split == 'test'")
    chance = {
        name: {f"{r.direction} {r.metric} {r.k}": f"{r.value:.9g} of {r.n_query:.0f}" for r in part.itertuples()}
        for name, part in rows.groupby("corpus")
    }
    records = [read_manifest(path) for path in (root / "runs").glob("*/manifest.json")]
    commits = [(record["end"] or record["start"], record["git"]["commit"] or "") for record in records]
    commit = max(commits, default=("", ""))[1][:10]
    _, ours = both_sides(metrics, costs)
    known = read_json(keys) if keys.is_file() else {}
    if not isinstance(known, dict) or not all(isinstance(value, str) for value in known.values()):
        raise InputError(f"{keys} is {str(known)[:40]!r}; expected a hash for each corpus: run notebook 04 again")
    return Compared(label, root, commit, known, chance, ours)


def same_corpus(a: Compared, b: Compared, corpus: str) -> bool:
    """Whether two runs were scored on the same test split of a corpus: by its hash, or by the chance rows of both."""
    if corpus in a.keys and corpus in b.keys:
        return a.keys[corpus] == b.keys[corpus]
    first, second = a.chance.get(corpus, {}), b.chance.get(corpus, {})
    return all(first[row] == second[row] for row in first.keys() & second.keys())


def check_comparable(runs: Sequence[Compared]) -> None:
    """InputError where two runs are of different profiles, or a corpus of both has two hashes."""
    first = runs[0]
    for other in runs[1:]:
        if first.side.profile != other.side.profile:
            raise InputError(
                f"{first.root} is of profile {first.side.profile} and {other.root} of {other.side.profile}; expected "
                f"runs of one profile, pass across=True to see them side by side"
            )
        for corpus in sorted({*first.chance, *first.keys}):
            if not same_corpus(first, other, corpus):
                raise InputError(
                    f"{first.root} and {other.root} were scored on different test splits of {corpus} (their hashes "
                    f"differ); expected one corpus, pass across=True to see them side by side"
                )


def compare_runs(runs: Sequence[Compared], across: bool = False) -> pd.DataFrame:
    """One row for each number that a run shares with the first, and whether noise explains the difference.

    `across` also takes runs of other profiles or corpora; what was scored on another test split is shown and never
    marked. Columns are `COLUMNS`: `value`, `reference`, `difference` as in the tidy tables (fractions, seconds,
    bytes); `outside` is True where the 95 % intervals do not overlap (metrics) or two times are further apart than
    their spreads, at least 15 % each, else False, or None where the corpora differ. Bytes are exact.
    """
    if not across:
        check_comparable(runs)
    first, rows = runs[0], []
    for other in runs[1:]:
        for table, place, system, what, a, b, comparable in (*_metrics(first, other), *_costs(first, other)):
            outside = (b.low > a.high or b.high < a.low) if comparable else None
            rows.append((table, place, system, what, other.label, b.value, a.value, b.value - a.value, outside))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"outside": object})


def _metrics(a: Compared, b: Compared) -> Iterator[tuple]:
    """(table, place, system, what, number of a, of b, comparable) of each quality that both have."""
    for slot, direction in a.side.panels():
        corpus = a.side.corpora[slot]
        if b.side.corpora.get(slot) != corpus:
            continue
        same = same_corpus(a, b, corpus)
        for system in registry.systems():
            for metric, k in QUALITIES:
                pair = [run.side.quality(system, slot, direction, metric, k) for run in (a, b)]
                if None not in pair:
                    yield "metrics", a.side.where(slot, direction), system, Metric(metric, k).label, *pair, same


def _costs(a: Compared, b: Compared) -> Iterator[tuple]:
    """The same for costs that both measured at one size; a storage size computed from it counts, too."""
    for phase, quantity in COSTS.items():
        for system in schema.systems_of("costs", phase):
            for size in sorted({*a.side.sizes(system, phase, quantity)} & {*b.side.sizes(system, phase, quantity)}):
                pair = [run.side.cost(system, phase, quantity, size) for run in (a, b)]
                yield "costs", phase, system, f"{quantity} at {size:.0f}", *pair, True


def write_comparison(roots: Sequence[str | Path], across: bool = False) -> Path:
    """Path of ``report/comparison.html`` in the first folder, just written.

    The errors are those of `read_runs` and, without `across`, of `check_comparable`.
    """
    runs = read_runs(roots)
    frame = compare_runs(runs, across)
    marked = frame[frame["outside"].map(lambda outside: outside is True)]
    parts = {"Every quality that both have": "metrics", "Every cost that both have": "costs"}
    path = runs[0].root / "report" / "comparison.html"
    page = render_page(
        "comparison.html.j2",
        title=" and ".join(run.label for run in runs),
        runs=[(run.label, run.side.profile, run.commit or "unknown", _split_names(run)) for run in runs],
        marked=len(marked),
        compared=int(frame["outside"].notna().sum()),
        elsewhere=int(frame["outside"].isna().sum()),
        clear=_lines(runs, frame, marked),
        parts_shown=[(heading, _lines(runs, frame[frame["table"] == table])) for heading, table in parts.items()],
    )
    write_page(path, page, runs[0].root)
    return path


def _split_names(run: Compared) -> str:
    """A short name for each test split: its hash, or one of its chance rows."""
    keys = {corpus: key_of(rows) for corpus, rows in run.chance.items()} | run.keys
    return ", ".join(f"{corpus} {key[:8]}" for corpus, key in sorted(keys.items()))


def _lines(runs: Sequence[Compared], frame: pd.DataFrame, only: pd.DataFrame | None = None) -> list[dict]:
    """One line a number, with a cell for each run; with `only`, the lines that have a row there."""
    columns = ["table", "place", "system", "what"]
    wanted = {*(frame if only is None else only)[columns].itertuples(index=False, name=None)}
    lines = []
    for key, rows in frame.groupby(columns, sort=False):
        if key in wanted:
            table, place, system, what = key
            by_run = {row.run: row for row in rows.itertuples()}
            cells = [{"text": _printed(table, rows["reference"].iloc[0])}]
            cells += [_cell(table, by_run.get(run.label)) for run in runs[1:]]
            lines.append({"place": place, "name": row_name(system), "what": what, "cells": cells})
    return lines


def _cell(table: str, row) -> dict[str, str]:
    """A value with its change from the reference, in points or as a factor, and the mark of a clear one."""
    if row is None:
        return {"text": "–"}
    points, factor = f"({100 * row.difference:+.1f})", f"(×{row.value / row.reference:.2f})" if row.reference else ""
    mark = ("↑" if row.difference > 0 else "↓") if row.outside is True else ""
    return {"text": _printed(table, row.value), "change": points if table == "metrics" else factor, "mark": mark}


def _printed(table: str, value: float) -> str:
    return f"{100 * value:.1f} %" if table == "metrics" else number_text(f"{value!r}")
