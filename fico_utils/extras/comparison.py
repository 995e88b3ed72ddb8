"""Two or more runs side by side: profiles, seeds or commits, and which differences their intervals do not explain.

The first run is the reference. A difference is marked where the 95 % intervals do not overlap (metrics), or
where two times are further apart than their spreads, at least 15 % each (costs); bytes are exact. Intervals
that just miss each other are rarer under noise than 5 %, so a mark is a careful one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd

from fico_utils import registry
from fico_utils.display import markup
from fico_utils.display.report import STYLE
from fico_utils.errors import InputError
from fico_utils.evaluation import Metric
from fico_utils.extras.claims.numbers import Side, sides
from fico_utils.results import load, schema
from fico_utils.workspace import key_of, read_json, write_text

COLUMNS = ("table", "place", "system", "what", "run", "value", "reference", "difference", "outside")
#: What the page compares; metrics.csv has the curves and the ranks, too.
QUALITIES = (*(("recall", k) for k in ("1", "5", "10", "50", "100", "200")), *(("map", k) for k in ("10", "100", "N")))
#: phase -> quantities of costs.csv.
COSTS = {
    "encode": "seconds",
    "attention": "seconds",
    "store": "embedding_bytes",
    "index": "seconds",
    "search": "seconds",
}
UP, DOWN = "↑", "↓"


@dataclass(frozen=True)
class Compared:
    """A run as it is compared.

    Attributes
    ----------
    label : str, run id, with the folder where two runs have the same.
    root : Path
    profile, commit : str; the commit that wrote the newest manifest, "" where there is none.
    keys : dict, corpus id -> hash of its test split, as `data/corpora.json` says.
    prints : dict, corpus id -> its chance rows as text; they follow from the labels and captions of the test split
        alone.
    metrics, costs : DataFrame
    side : Side, its rows, looked up.
    """

    label: str
    root: Path
    profile: str
    commit: str
    keys: dict[str, str]
    prints: dict[str, dict[str, str]]
    metrics: pd.DataFrame
    costs: pd.DataFrame
    side: Side


def read_runs(roots: Sequence[str | Path]) -> list[Compared]:
    """The runs of two or more results folders.

    Parameters
    ----------
    roots : sequence of path, folders that hold metrics.csv and costs.csv (``results/mini``, ``figures/mini``).

    Raises
    ------
    InputError
        Fewer than two folders, one twice, or one without valid tables.
    """
    places = [Path(root) for root in roots]
    if len(places) < 2:
        raise InputError(f"{len(places)} run was given to compare; expected two or more results folders")
    if len({place.resolve() for place in places}) < len(places):
        raise InputError(f"one folder was given twice in {', '.join(map(str, places))}; expected different runs")
    tables = [(load(place, "metrics"), load(place, "costs")) for place in places]
    ids = [
        next(iter(metrics.loc[metrics["source"] == "ours", "run"]), place.name)
        for (metrics, _), place in zip(tables, places, strict=True)
    ]
    return [
        _run(name if ids.count(name) == 1 else f"{name} ({place})", place, metrics, costs)
        for name, place, (metrics, costs) in zip(ids, places, tables, strict=True)
    ]


def _run(label: str, root: Path, metrics: pd.DataFrame, costs: pd.DataFrame) -> Compared:
    side = sides(metrics, costs)[1]
    keys = root / "data" / "corpora.json"
    chance = metrics[(metrics["source"] == "chance") & (metrics["profile"] != "paper") & (metrics["split"] == "test")]
    prints = {
        name: {f"{r.direction} {r.metric} {r.k}": f"{r.value:.9g} of {r.n_query:.0f}" for r in rows.itertuples()}
        for name, rows in chance.groupby("corpus")
    }
    commits = []
    for path in (root / "runs").glob("*/manifest.json"):
        record = read_json(path)
        commits.append((record["end"] or record["start"], (record["git"] or {}).get("commit") or ""))
    commit = max(commits, default=("", ""))[1][:10]
    return Compared(
        label, root, side.profile, commit, read_json(keys) if keys.is_file() else {}, prints, metrics, costs, side
    )


def same_corpus(a: Compared, b: Compared, corpus: str) -> bool:
    """Whether two runs were scored on the same test split of a corpus: by its hash, or by the chance rows of both."""
    if corpus in a.keys and corpus in b.keys:
        return a.keys[corpus] == b.keys[corpus]
    first, second = a.prints.get(corpus, {}), b.prints.get(corpus, {})
    return all(first[row] == second[row] for row in first.keys() & second.keys())


def check_comparable(runs: Sequence[Compared]) -> None:
    """InputError where two runs are of different profiles, or a corpus of both has two hashes."""
    first = runs[0]
    for other in runs[1:]:
        if first.profile != other.profile:
            raise InputError(
                f"{first.root} is of profile {first.profile} and {other.root} of {other.profile}; expected runs of one "
                f"profile, pass across=True to see them side by side"
            )
        for corpus in sorted({*first.prints, *first.keys}):
            if not same_corpus(first, other, corpus):
                raise InputError(
                    f"{first.root} and {other.root} were scored on different test splits of {corpus} (their hashes "
                    f"differ); expected one corpus, pass across=True to see them side by side"
                )


def compare(runs: Sequence[Compared], across: bool = False) -> pd.DataFrame:
    """One row for each number that a run shares with the first, and whether noise explains the difference.

    Parameters
    ----------
    runs : sequence of Compared, the first is the reference.
    across : bool, also take runs of other profiles or corpora; what was scored on another test split is shown
        and never marked.

    Returns
    -------
    DataFrame, columns `COLUMNS`; `value`, `reference`, `difference` as in the tidy tables (fractions, seconds,
    bytes), `outside` True, False, or None where the corpora differ.
    """
    if not across:
        check_comparable(runs)
    first, rows = runs[0], []
    for other in runs[1:]:
        for table, place, system, what, a, b, comparable in (*_metrics(first, other), *_costs(first, other)):
            outside = (b.low > a.high or b.high < a.low) if comparable else None
            rows.append((table, place, system, what, other.label, b.value, a.value, b.value - a.value, outside))
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.astype({"outside": object})


def _metrics(a: Compared, b: Compared):
    """(table, place, system, what, number of a, of b, comparable) of each quality that both have."""
    for slot, direction in a.side.panels():
        corpus = a.side.corpora[slot]
        if b.side.corpora.get(slot) != corpus:
            continue
        for system in registry.systems():
            for metric, k in QUALITIES:
                pair = [run.side.quality(system, slot, direction, metric, k) for run in (a, b)]
                if None not in pair:
                    what = Metric(metric, k).label
                    place = f"{registry.corpus(corpus).name} {direction}"
                    yield "metrics", place, system, what, *pair, same_corpus(a, b, corpus)


def _costs(a: Compared, b: Compared):
    """The same for costs that both measured at one size; a storage size computed from it counts, too."""
    for phase, quantity in COSTS.items():
        for system in schema.systems_of("costs", phase):
            sizes = {*a.side.sizes(system, phase, quantity)} & {*b.side.sizes(system, phase, quantity)}
            for size in sorted(sizes):
                pair = [run.side.cost(system, phase, quantity, size) for run in (a, b)]
                yield "costs", phase, system, f"{quantity} at {size:.0f}", *pair, True


# ---------------------------------------------------------------------------------------------------- page


def section(runs: Sequence[Compared], frame: pd.DataFrame) -> str:
    """The part of a page that shows a comparison: who is compared, what differs, and everything in full."""
    who = [
        f"<tr><td>{escape(run.label)}</td><td>{escape(run.profile)}</td><td>{escape(run.commit or 'unknown')}</td>"
        f"<td>{escape(', '.join(f'{corpus} {key[:8]}' for corpus, key in sorted(_keys(run).items())))}</td></tr>"
        for run in runs
    ]
    compared, marked = frame["outside"].notna().sum(), frame[frame["outside"] == True]  # noqa: E712 (None is neither)
    said = (
        f"{len(marked)} of {compared} differences lie outside the intervals; {UP} and {DOWN} mark them. "
        f"The first run is the reference."
    )
    if compared < len(frame):
        said += f" {len(frame) - compared} numbers come from another test split: shown, never marked."
    parts = [
        markup.table(("Run", "Profile", "Commit", "Test split"), who, "", set()),
        f"<p>{escape(said)}</p>",
    ]
    if len(marked):
        parts.append("<h3>Outside the intervals</h3>" + _wide(runs, frame, only=marked))
    for table, title in (("metrics", "Every quality"), ("costs", "Every cost")):
        rows = frame[frame["table"] == table]
        if len(rows):
            parts.append(f"<details><summary>{title} that both have</summary>{_wide(runs, rows)}</details>")
    return "<section>\n<h2>Runs compared</h2>\n" + "\n".join(parts) + "\n</section>"


def _keys(run: Compared) -> dict[str, str]:
    """A short name for each test split: its hash, or one of its chance rows."""
    return {corpus: key_of(rows) for corpus, rows in run.prints.items()} | run.keys


def _wide(runs: Sequence[Compared], frame: pd.DataFrame, only: pd.DataFrame | None = None) -> str:
    """A table with one line a number and one column a run; `only`: lines that have a row there."""
    names = ["table", "place", "system", "what"]
    wanted = None if only is None else {*only[names].itertuples(index=False, name=None)}
    lines = []
    for key, rows in frame.groupby(names, sort=False):
        if wanted is not None and key not in wanted:
            continue
        _, place, system, what = key
        found = {row.run: row for row in rows.itertuples()}
        cells = [f'<td class="number">{_printed(key, rows["reference"].iloc[0])}</td>']
        for run in runs[1:]:
            row = found.get(run.label)
            cells.append(f'<td class="number">{_cell(key, row) if row is not None else "–"}</td>')
        name = (registry.INDEXES.get(system) or registry.system(system)).name
        lines.append(f"<tr><td>{escape(place)}</td><td>{escape(name)}</td><td>{escape(what)}</td>{''.join(cells)}</tr>")
    head = ("Where", "System", "What", *(run.label for run in runs))
    return markup.table(head, lines, "", set(range(3, 3 + len(runs))))


def _cell(key: tuple, row) -> str:
    """A value with its change from the reference, in points or as a factor, and the mark of a clear one."""
    text = _printed(key, row.value)
    if key[0] == "metrics":
        text += f' <span class="quiet">({100 * row.difference:+.1f})</span>'
    elif row.reference:
        text += f' <span class="quiet">(×{row.value / row.reference:.2f})</span>'
    return f"<b>{text} {UP if row.difference > 0 else DOWN}</b>" if row.outside is True else text


def _printed(key: tuple, value: float) -> str:
    return f"{100 * value:.1f} %" if key[0] == "metrics" else markup.short(f"{value!r}")


def write_comparison(roots: Sequence[str | Path], out: str | Path | None = None, across: bool = False) -> Path:
    """Path of the page just written; by default ``report/comparison.html`` in the first folder.

    Raises
    ------
    InputError
        Fewer than two runs, tables that do not belong, or (without `across`) other profiles or corpora.
    """
    runs = read_runs(roots)
    body = section(runs, compare(runs, across))
    title = escape(" and ".join(run.label for run in runs))
    path = Path(out) if out else runs[0].root / "report" / "comparison.html"
    write_text(
        path,
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Runs compared: {title}</title>\n<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n</head>\n"
        f"<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n",
    )
    return path
