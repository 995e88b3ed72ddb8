"""Columns, vocabularies and order of metrics.csv and costs.csv, and `validate`, which names the first wrong row.

Both tables are tidy: one number a row. An empty `value` has a reason, its `status`. All qualities are fractions (0 to
1), times are seconds, sizes are bytes; only display multiplies.

metrics.csv
    `task` x `direction` x `metric` x `k` say what was measured; `k` is text from an ordered vocabulary: a
    rank (``1``), ``N`` (the whole ranking) or a recall level of the curve (``R=0.3``), and empty for the rank
    statistics. `recall_optimistic`, `recall_pessimistic`, `map_optimistic` and `map_pessimistic` are the scores under
    the best and the worst order of tied items (`recall` and `map` are the exact expectation). `place` and `map_place`
    are the mean place of a system among those of the run, 1 for the best, query by query: by the rank of the first
    correct item, and by average precision at k; `ci_low` and `ci_high` are comparison intervals, see `observed`.

costs.csv
    `phase` x `quantity` say what was measured (`QUANTITIES`, `QUALITIES`). The scales count images and texts; queries
    and candidates in the phases index and search; items and queries in the phase deploy. `value` is the median over
    `repeats`, `spread` the interquartile range.

    `embedding_bytes` is what the arrays take as written, `paper_bytes` counts as the paper does (its Table 5: one byte
    a bit), `packed_bytes` eight bits a byte, `feature_bytes` what must be kept for query-time attention (`unavailable`
    where a system keeps none). Rows of index and search are the FAISS experiment (Table 7, Figure 4): `system` is an id
    of `registry.INDEXES`, `corpus` is ``synthetic``. recall_sign@k and recall_rotation@k are those of two other ways to
    binarise, beside ITQ. Rows of gallery are qualities in a gallery of that size, all scenes different; map_t2i is that
    of the whole ranking, true_t2i@1 the share of the wrong first answers that are true of the query. A setup of deploy
    is described in `setups`; nearest_t2i@k is 1-recall@k of the exact search. exponent is the power of the size that
    seconds grow with; its scales are empty.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from fico_utils import registry
from fico_utils.errors import InputError
from fico_utils.evaluation.metrics import BOUNDS, ENTRIES, Metric
from fico_utils.evaluation.tasks import DIRECTIONS, LEVELS

if TYPE_CHECKING:
    import pandas as pd

METRICS_COLUMNS = (
    "profile", "source", "system", "corpus", "split", "task", "direction", "metric", "k",
    "value", "ci_low", "ci_high", "chance", "n_query", "status", "run",
)  # fmt: skip
COSTS_COLUMNS = (
    "profile", "source", "system", "corpus", "phase", "scale_img", "scale_txt", "quantity", "unit",
    "value", "spread", "repeats", "threads", "device", "status", "run",
)  # fmt: skip
COLUMNS = {"metrics": METRICS_COLUMNS, "costs": COSTS_COLUMNS}
NUMBERS = {
    "metrics": ("value", "ci_low", "ci_high", "chance", "n_query"),
    "costs": ("scale_img", "scale_txt", "value", "spread", "repeats", "threads"),
}
#: What makes a row: no two rows of a table agree in all of these.
KEYS = {
    "metrics": ("profile", "source", "system", "corpus", "split", "task", "direction", "metric", "k", "run"),
    "costs": (
        "profile", "source", "system", "corpus", "phase", "scale_img", "scale_txt", "quantity",
        "threads", "device", "run",
    ),
}  # fmt: skip

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
#: Phase -> what it measures besides qualities and `QUANTITIES_ANYWHERE`; units are in `unit_of`.
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
#: Qualities of a phase, fractions from 0 to 1.
QUALITIES = {
    "search": r"recall(_itq|_sign|_rotation)?@\d+",
    "gallery": r"(recall|map|true)_(i2t|t2i)@\d+|map_(i2t|t2i)",
    "deploy": r"(recall|nearest)_(i2t|t2i)@\d+",
}
QUANTITIES_ANYWHERE = ("items_per_second", "peak_bytes", "exponent")
VOCABULARIES = {
    "metrics": {"split": SPLITS, "task": LEVELS, "direction": DIRECTIONS, "metric": METRICS},
    "costs": {"phase": PHASES, "unit": ("s", "B", "items/s", "")},
}


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
    """Position of `k` in its vocabulary: ranks by size, then N, then the levels of the curve; empty first."""
    if k == "N":
        return 1e9
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
    corpora = (*registry.known_corpora(), *(() if table == "metrics" else ("synthetic", "")))
    for column, known in {"source": SOURCES, "status": STATUSES, "corpus": corpora, **VOCABULARIES[table]}.items():
        _first_wrong(frame, table, column, ~frame[column].isin(known), f"one of {', '.join(known)}")
    for column in NUMBERS[table]:
        if frame[column].dtype.kind not in "fiu":
            text = frame[column].map(lambda v: isinstance(v, str))
            _first_wrong(frame, table, column, text, "a number")
    (_validate_metrics if table == "metrics" else _validate_costs)(frame)
    has_value = frame["value"].notna()
    wants_value = frame["status"].isin(WITH_VALUE)
    _first_wrong(frame, table, "value", wants_value & ~has_value, "a number, or a status that says why there is none")
    _first_wrong(frame, table, "value", has_value & ~wants_value, "no value, as its status says")
    repeated = frame.duplicated(list(KEYS[table]))
    _first_wrong(frame, table, KEYS[table][-1], repeated, f"one row for each {', '.join(KEYS[table])}")
    return frame


@cache
def _metric_of(name: str, k: str) -> Metric | None:
    """The metric of a row, or None where it takes no such k."""
    try:
        return Metric(name, k)
    except InputError:
        return None


def _validate_metrics(frame: pd.DataFrame) -> None:
    import pandas as pd

    table, known = "metrics", systems_of("metrics")
    _first_wrong(frame, table, "system", ~frame["system"].isin(known), f"one of {', '.join(known)}")
    named = frame["system"].where(frame["system"].isin(("chance", "perfect")), "")
    expected = frame["source"].where(frame["source"].isin(("chance", "perfect")), "")
    _first_wrong(frame, table, "system", named != expected, "the source's own name where it is chance or perfect")
    metrics = [_metric_of(*row) for row in zip(frame["metric"], frame["k"], strict=True)]
    wrong = [metric is None for metric in metrics]
    _first_wrong(frame, table, "k", wrong, "a rank, N or R=0.0 ... R=1.0, as text, as its metric wants")
    wrong = [task not in m.entry.levels for task, m in zip(frame["task"], metrics, strict=True)]
    _first_wrong(frame, table, "task", wrong, "the task its metric belongs to")
    low, high = (pd.Series([m.entry.limits[end] for m in metrics], frame.index, dtype=float) for end in (0, 1))
    for column in ("value", "ci_low", "ci_high", "chance"):
        outside = ((frame[column] < low) & ((column != "chance") | (high == 1))) | (frame[column] > high)
        _first_wrong(frame, table, column, (high == 1) & outside, "a fraction from 0 to 1")
        _first_wrong(frame, table, column, outside, "a rank, 1 or more")


def _validate_costs(frame: pd.DataFrame) -> None:
    table = "costs"
    pairs = list(zip(frame["phase"], frame["system"], frame["quantity"], frame["unit"], strict=True))
    wrong = [
        not is_setup(system) if phase == "deploy" else system not in systems_of(table, phase)
        for phase, system, _, _ in pairs
    ]
    expected = "a system of the registry, an index in the phases index and search, or a setup in the phase deploy"
    _first_wrong(frame, table, "system", wrong, expected)
    wrong = [
        q not in (*QUANTITIES[p], *QUANTITIES_ANYWHERE) and not re.fullmatch(QUALITIES.get(p, ""), q)
        for p, _, q, _ in pairs
    ]
    _first_wrong(frame, table, "quantity", wrong, f"a quantity of its phase: {QUANTITIES}")
    _first_wrong(frame, table, "unit", [u != unit_of(q) for _, _, q, u in pairs], "the unit of its quantity")
    for column in ("value", "scale_img", "scale_txt", "spread", "repeats", "threads"):
        negative = (frame[column] < 0) & ((column != "value") | (frame["quantity"] != "exponent"))
        _first_wrong(frame, table, column, negative, "0 or more")
    fraction = (frame["unit"] == "") & (frame["quantity"] != "exponent")
    _first_wrong(frame, table, "value", fraction & (frame["value"] > 1), "a fraction from 0 to 1")


def _first_wrong(frame: pd.DataFrame, table: str, column: str, wrong, expected: str) -> None:
    """InputError for the first row where `wrong` (bool, one a row) is true."""
    position = next((i for i, bad in enumerate(wrong) if bad), None)
    if position is not None:
        row = frame.iloc[position]
        what = " ".join(str(row[c]) for c in ("source", "system", "corpus"))
        raise InputError(
            f"{table}.csv row {position} ({what}), column {column}: got {row[column]!r}; expected {expected}"
        )


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
