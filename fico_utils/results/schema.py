"""Columns, vocabularies and order of metrics.csv and costs.csv, and `validate`, which names the first wrong row.

Both tables are tidy: one number a row. An empty `value` has a reason, its `status`. All qualities are fractions (0 to
1), times are seconds, sizes are bytes; only display multiplies.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils import registry
from fico_utils.errors import InputError
from fico_utils.evaluation.metrics import BOUNDS, ENTRIES, Metric
from fico_utils.evaluation.tasks import DIRECTIONS, LEVELS

if TYPE_CHECKING:
    import pandas as pd

#: `task` x `direction` x `metric` x `k` say what was measured; `k` is text: a rank (``1``), ``N`` (the whole ranking),
#: a recall level of the curve (``R=0.3``), or empty. `recall_optimistic` and the like are scores under the best and the
#: worst order of tied items; `place` and `map_place` are mean places among the systems of a run, see `observed`.
METRICS_COLUMNS = (
    "profile", "source", "system", "corpus", "split", "task", "direction", "metric", "k",
    "value", "ci_low", "ci_high", "chance", "n_query", "status", "run",
)  # fmt: skip
#: `phase` x `quantity` say what was measured. The scales count images and texts; queries and candidates in the phases
#: index and search, whose systems are ids of `registry.INDEXES`; items and queries in the phase deploy, whose systems
#: are setups, see `is_setup`. `value` is the median over `repeats`, `spread` the interquartile range.
COSTS_COLUMNS = (
    "profile", "source", "system", "corpus", "phase", "scale_img", "scale_txt", "quantity", "unit",
    "value", "spread", "repeats", "threads", "device", "status", "run",
)  # fmt: skip
COLUMNS = {"metrics": METRICS_COLUMNS, "costs": COSTS_COLUMNS}
NUMBERS = {
    "metrics": ("value", "ci_low", "ci_high", "chance", "n_query"),
    "costs": ("scale_img", "scale_txt", "value", "spread", "repeats", "threads"),
}
FOUND = ("value", "ci_low", "ci_high", "chance", "n_query", "unit", "spread", "repeats", "status")
#: What makes a row: no two rows of a table agree in all of these.
KEYS = {table: tuple(c for c in columns if c not in FOUND) for table, columns in COLUMNS.items()}

SOURCES = ("ours", "paper", "chance", "perfect")
#: Why a value is what it is. Printed: undefined n/a, unavailable –, dnf DNF, extrapolated with a mark.
STATUSES = ("ok", "undefined", "unavailable", "extrapolated", "dnf")
#: Statuses under which a row has a number.
WITH_VALUE = ("ok", "extrapolated")
SPLITS = ("train", "val", "test")
#: Names that the column `metric` may hold, in their order.
METRICS = tuple(
    dict.fromkeys(n for e in ENTRIES for n in (e.name, *(f"{e.name}_{bound}" for bound in BOUNDS if e.values)))
)

EXTRACTORS = ("backbone", "regions", "global", "doc2vec", "tokens")
#: Phase -> what it measures besides qualities and `QUANTITIES_ANYWHERE`; units are in `unit_of`. `embedding_bytes` is
#: what the arrays take as written, `paper_bytes` counts one byte a bit (the paper's Table 5), `packed_bytes` eight bits
#: a byte, `feature_bytes` is what must be kept for query-time attention.
QUANTITIES = {
    "features": ("seconds", "seconds_image", "seconds_text"),
    "encode": ("seconds", "seconds_image", "seconds_text"),
    "store": ("embedding_bytes", "paper_bytes", "packed_bytes", "feature_bytes", "index_bytes"),
    "attention": ("seconds", "seconds_per_query"),
    "index": ("seconds", "index_bytes"),
    "search": ("seconds",),
    "gallery": (),
    "deploy": ("seconds", "seconds_per_query", "item_bytes"),
}
PHASES = tuple(QUANTITIES)
#: Qualities of a phase, fractions from 0 to 1. recall_sign and recall_rotation are those of two other ways to binarise
#: than ITQ; true is the share of the wrong first answers that are true of the query; nearest@k is 1-recall@k of the
#: exact search.
QUALITIES = {
    "search": r"recall(_itq|_sign|_rotation)?@\d+",
    "gallery": r"(recall|map|true)_(i2t|t2i)@\d+|map_(i2t|t2i)",
    "deploy": r"(recall|nearest)_(i2t|t2i)@\d+",
}
#: exponent is the power of the size that seconds grow with; its scales are empty.
QUANTITIES_ANYWHERE = ("items_per_second", "peak_bytes", "exponent")


def unit_of(quantity: str) -> str:
    """The unit of a quantity of costs.csv.

    >>> unit_of("seconds_image"), unit_of("packed_bytes"), unit_of("recall@10")
    ('s', 'B', '')
    """
    if quantity == "exponent" or any(re.fullmatch(pattern, quantity) for pattern in QUALITIES.values()):
        return ""
    if quantity == "items_per_second":
        return "items/s"
    return "B" if quantity.endswith("_bytes") else "s"


def k_order(k: str) -> float:
    """Position of `k` in its vocabulary: ranks by size, then N, R, radii, then the levels of the curve; empty first."""
    if k in ("N", "R"):
        return 1e9 + "NR".index(k)
    if k.startswith("radius"):
        return 1e9 + 2 + float(k[6:])
    return 2e9 + float(k[2:]) if k.startswith("R=") else float(k or 0)


def systems_of(table: str, phase: str = "") -> tuple[str, ...]:
    """Ids that the `system` column may hold in a table (for costs: in a phase)."""
    if phase in ("index", "search"):
        return tuple(registry.INDEXES)
    more = {"metrics": ("chance", "perfect"), "gallery": ("perfect",), "features": EXTRACTORS}
    return (*registry.systems(), *more.get(phase or table, ()))


def is_setup(text: str) -> bool:
    """Whether a text names what may be deployed: a system, one on an index, or a screen and its reranker.

    >>> [is_setup(s) for s in ("beit3", "beit3+hnsw_flat", "ucch+beit3@100", "ucch+beit3", "faiss")]
    [True, True, True, False, False]
    """
    known = registry.systems()
    first, _, rest = text.partition("+")
    second, _, depth = rest.partition("@")
    if first not in known or not rest:
        return text in known
    return rest in registry.INDEXES or (second in known and re.fullmatch(r"[1-9]\d*", depth) is not None)


def validate(frame: pd.DataFrame, table: str) -> pd.DataFrame:
    """`frame` itself, if every row of it belongs in `table` (``metrics`` or ``costs``).

    A column that is missing or unknown, or a cell outside its vocabulary or range, is an InputError that names row,
    column and value. Rows are counted from 0, as in the frame.
    """
    missing = [c for c in COLUMNS[table] if c not in frame.columns]
    unknown = [c for c in frame.columns if c not in COLUMNS[table]]
    if missing or unknown:
        what = f"lacks column {missing[0]!r}" if missing else f"has an unknown column {unknown[0]!r}"
        raise InputError(f"{table}.csv {what}; expected exactly {', '.join(COLUMNS[table])}")
    of_table = _metrics_rules if table == "metrics" else _costs_rules
    for column, wrong, expected in itertools.chain(_words(frame, table), of_table(frame), _values(frame, table)):
        if np.any(wrong):
            position = int(np.argmax(wrong))
            row = frame.iloc[position]
            what = " ".join(str(row[c]) for c in ("source", "system", "corpus"))
            raise InputError(
                f"{table}.csv row {position} ({what}), column {column}: got {row[column]!r}; expected {expected}"
            )
    return frame


#: A column, whether it is wrong in each row, and what is expected there.
Rule = tuple[str, Any, str]


def _words(frame: pd.DataFrame, table: str) -> Iterator[Rule]:
    """Vocabularies, and numbers where they belong."""
    corpora = (*registry.known_corpora(), *(() if table == "metrics" else ("synthetic", "")))
    known = {"source": SOURCES, "status": STATUSES, "corpus": corpora}
    if table == "metrics":
        known |= {"split": SPLITS, "task": LEVELS, "direction": (*DIRECTIONS, "both"), "metric": METRICS}
        known |= {"system": systems_of(table)}
    else:
        known |= {"phase": PHASES, "unit": ("s", "B", "items/s", "")}
    for column, words in known.items():
        yield column, ~frame[column].isin(words), f"one of {', '.join(words)}"
    for column in NUMBERS[table]:
        if frame[column].dtype.kind not in "fiu":
            yield column, frame[column].map(lambda v: isinstance(v, str)), "a number"


def _metrics_rules(frame: pd.DataFrame) -> Iterator[Rule]:
    named, expected = (frame[c].where(frame[c].isin(("chance", "perfect")), "") for c in ("system", "source"))
    yield "system", named != expected, "the source's own name where it is chance or perfect"
    metrics = [_metric_of(*row) for row in zip(frame["metric"], frame["k"], strict=True)]
    yield "k", [metric is None for metric in metrics], "a rank, N or R=0.0 ... R=1.0, as text, as its metric wants"
    wrong = [task not in m.entry.levels for task, m in zip(frame["task"], metrics, strict=True)]
    yield "task", wrong, "the task its metric belongs to"
    low, high = np.array([m.entry.limits for m in metrics]).reshape(-1, 2).T
    for column in ("value", "ci_low", "ci_high", "chance"):
        outside = ((frame[column] < low) & ((column != "chance") | (high == 1))) | (frame[column] > high)
        yield column, (high == 1) & outside, "a fraction from 0 to 1"
        yield column, outside, "a rank, 1 or more"


@cache
def _metric_of(name: str, k: str) -> Metric | None:
    """The metric of a row, or None where it takes no such k."""
    try:
        return Metric(name, k)
    except InputError:
        return None


def _costs_rules(frame: pd.DataFrame) -> Iterator[Rule]:
    phase, system, quantity = (list(frame[c]) for c in ("phase", "system", "quantity"))
    wrong = [
        not is_setup(s) if p == "deploy" else s not in systems_of("costs", p)
        for p, s in zip(phase, system, strict=True)
    ]
    yield "system", wrong, "a system of the registry; in the phases index and search an index, in deploy a setup"
    wrong = [
        q not in (*QUANTITIES[p], *QUANTITIES_ANYWHERE) and not re.fullmatch(QUALITIES.get(p, ""), q)
        for p, q in zip(phase, quantity, strict=True)
    ]
    yield "quantity", wrong, f"a quantity of its phase: {QUANTITIES}"
    yield "unit", frame["unit"] != frame["quantity"].map(unit_of), "the unit of its quantity"
    exponent = frame["quantity"] == "exponent"
    for column in ("value", "scale_img", "scale_txt", "spread", "repeats", "threads"):
        yield column, (frame[column] < 0) & ~((column == "value") & exponent), "0 or more"
    yield "value", (frame["unit"] == "") & ~exponent & (frame["value"] > 1), "a fraction from 0 to 1"


def _values(frame: pd.DataFrame, table: str) -> Iterator[Rule]:
    """A value, or a status that says why there is none; and no row twice."""
    has_value, wants_value = frame["value"].notna(), frame["status"].isin(WITH_VALUE)
    yield "value", wants_value & ~has_value, "a number, or a status that says why there is none"
    yield "value", has_value & ~wants_value, "no value, as its status says"
    keys = list(KEYS[table])
    yield keys[-1], frame.duplicated(keys), f"one row for each {', '.join(keys)}"


def complete_rows(frame: pd.DataFrame, table: str, **known: str) -> pd.DataFrame:
    """`frame` with every column of `table`, where one is missing as `known` says or empty; validated and in order."""
    rows = frame.reset_index(drop=True)
    for column in COLUMNS[table]:
        if column not in rows:
            rows[column] = float("nan") if column in NUMBERS[table] else known.get(column, "")
    return sort_rows(validate(rows, table), table)


def sort_rows(frame: pd.DataFrame, table: str) -> pd.DataFrame:
    """`frame` in the table's one order, that of the registry and the vocabularies; index from 0."""
    by = list(KEYS[table])
    if table == "costs":  # reads as the paper's tables do: phase first
        by.insert(2, by.pop(by.index("phase")))
    return order_by(frame, by)[list(COLUMNS[table])]


def order_by(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """`frame` sorted by columns of the tidy tables, each in the order of the registry and the vocabularies."""
    orders = {
        "source": SOURCES,
        "task": LEVELS,
        "system": (*EXTRACTORS, *registry.systems(), *registry.INDEXES, "chance", "perfect"),
        "corpus": (*registry.known_corpora(), "synthetic", ""),
        "phase": PHASES,
        "metric": METRICS,
    }

    def rank(column):
        if column.name == "k":
            return column.map(k_order)
        if column.name == "quantity":  # recall@5 before recall@10
            return column.map(lambda q: f"{q.split('@')[0]}@{int(q.split('@')[1]):09d}" if "@" in q else q)
        known = orders.get(column.name)
        if known is None:
            return column
        places = {value: i for i, value in enumerate(dict.fromkeys((*known, *sorted({*column}))))}  # setups come last
        return column.map(places)

    return frame.sort_values(list(by), key=rank, kind="stable", ignore_index=True)
