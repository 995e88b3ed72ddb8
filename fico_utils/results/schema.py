"""Columns and vocabularies of metrics.csv and costs.csv, and `validate`, which names the first wrong row.

Both tables are tidy: one number a row, with everything needed to know what it is. An empty `value` has a
reason, its `status`. All qualities are fractions (0 to 1), times are seconds, sizes are bytes; only display
multiplies.

metrics.csv
    `task` x `direction` x `metric` x `k` say what was measured; `k` is text from an ordered vocabulary: a
    rank (``1``), ``N`` (the whole ranking) or a recall level of the curve (``R=0.3``), and empty for the rank
    statistics.

costs.csv
    ========== =================== ======================= =================================================
    phase      system              scale_img, scale_txt    quantity (unit)
    ========== =================== ======================= =================================================
    features   extractor, system   images, texts           seconds (s)
    encode     system              images, texts           seconds, seconds_image, seconds_text (s)
    store      system              images, texts           {embedding,paper,packed,feature}_bytes (B)
    attention  system              images, texts           seconds, seconds_per_query (s)
    index      search index        queries, candidates     seconds (s)
    search     search index        queries, candidates     seconds (s), recall@k ("")
    ========== =================== ======================= =================================================

    `embedding_bytes` is what the arrays take as written, `paper_bytes` counts as the paper does (its Table 5:
    one byte a bit), `packed_bytes` eight bits a byte, `feature_bytes` what must be kept for query-time
    attention (`unavailable` where a system keeps none). Rows of index and search stand for the FAISS
    experiment (Table 7, Figure 4): `system` is an id of `registry.INDEXES`, `corpus` is ``synthetic``, and
    the scales are queries and candidates, which the paper writes 100K/500K; index may hold index_bytes (B).
    Any phase may also hold items_per_second (items/s), peak_bytes (B), and exponent (the power of the size
    that seconds grow with; scales empty). `value` is the median over `repeats`, `spread` the interquartile
    range.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fico_utils import registry
from fico_utils.errors import InputError

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
TASKS = ("instance", "category")
DIRECTIONS = ("i2t", "t2i")
METRICS = {"recall": "instance", "median_rank": "instance", "mean_rank": "instance", "map": "category",
           "precision": "category"}  # fmt: skip
FRACTIONS = ("recall", "map", "precision")
CURVE_LEVELS = tuple(f"R={level / 10:.1f}" for level in range(11))

PHASES = ("features", "encode", "store", "attention", "index", "search")
EXTRACTORS = ("backbone", "regions", "global", "doc2vec", "tokens")
QUANTITIES = {
    "features": ("seconds", "seconds_image", "seconds_text"),
    "encode": ("seconds", "seconds_image", "seconds_text"),
    "store": ("embedding_bytes", "paper_bytes", "packed_bytes", "feature_bytes"),
    "attention": ("seconds", "seconds_per_query"),
    "index": ("seconds", "index_bytes"),
    "search": ("seconds",),  # and recall@k
}
QUANTITIES_ANYWHERE = ("items_per_second", "peak_bytes", "exponent")
UNITS = ("s", "B", "items/s", "")


def unit_of(quantity: str) -> str:
    """The unit of a quantity of costs.csv.

    >>> unit_of("seconds_image"), unit_of("packed_bytes"), unit_of("recall@10")
    ('s', 'B', '')
    """
    if quantity.startswith("recall@") or quantity == "exponent":
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
    if table == "metrics":
        return (*registry.SYSTEMS, "chance", "perfect")
    if phase in ("index", "search"):
        return tuple(registry.INDEXES)
    return (*registry.SYSTEMS, *EXTRACTORS) if phase == "features" else tuple(registry.SYSTEMS)


def corpora_of(table: str) -> tuple[str, ...]:
    """Ids that the `corpus` column may hold; costs also know ``synthetic`` and empty (not stated, or any)."""
    return tuple(registry.CORPORA) if table == "metrics" else (*registry.CORPORA, "synthetic", "")


def _vocabularies(table: str) -> dict[str, tuple[str, ...]]:
    shared = {"source": SOURCES, "status": STATUSES, "corpus": corpora_of(table)}
    if table == "metrics":
        return {**shared, "split": SPLITS, "task": TASKS, "direction": DIRECTIONS, "metric": tuple(METRICS)}
    return {**shared, "phase": PHASES, "unit": UNITS}


def validate(frame: pd.DataFrame, table: str) -> pd.DataFrame:
    """`frame` itself, if every row of it belongs in `table`.

    Parameters
    ----------
    frame : DataFrame, columns in any order.
    table : str, ``metrics`` or ``costs``.

    Raises
    ------
    InputError
        A column is missing or unknown, or a cell is outside its vocabulary or range; names row, column and
        value. Rows are counted from 0, as in the frame.
    """
    if table not in COLUMNS:
        raise InputError(f"unknown table {table!r}; expected metrics or costs")
    missing = [c for c in COLUMNS[table] if c not in frame.columns]
    unknown = [c for c in frame.columns if c not in COLUMNS[table]]
    if missing or unknown:
        what = f"lacks column {missing[0]!r}" if missing else f"has an unknown column {unknown[0]!r}"
        raise InputError(f"{table}.csv {what}; expected exactly {', '.join(COLUMNS[table])}")
    for column, known in _vocabularies(table).items():
        _first_wrong(frame, table, column, ~frame[column].isin(known), f"one of {', '.join(known)}")
    for column in NUMBERS[table]:
        if frame[column].dtype.kind not in "fiu":
            text = frame[column].map(lambda v: isinstance(v, str))
            _first_wrong(frame, table, column, text, "a number")
    if table == "metrics":
        _validate_metrics(frame)
    else:
        _validate_costs(frame)
    has_value = frame["value"].notna()
    wants_value = frame["status"].isin(WITH_VALUE)
    _first_wrong(frame, table, "value", wants_value & ~has_value, "a number, or a status that says why there is none")
    _first_wrong(frame, table, "value", has_value & ~wants_value, "no value, as its status says")
    repeated = frame.duplicated(list(KEYS[table]))
    _first_wrong(frame, table, KEYS[table][-1], repeated, f"one row for each {', '.join(KEYS[table])}")
    return frame


def _validate_metrics(frame: pd.DataFrame) -> None:
    table = "metrics"
    known = systems_of(table)
    _first_wrong(frame, table, "system", ~frame["system"].isin(known), f"one of {', '.join(known)}")
    named = frame["system"].where(frame["system"].isin(("chance", "perfect")), "")
    expected = frame["source"].where(frame["source"].isin(("chance", "perfect")), "")
    _first_wrong(frame, table, "system", named != expected, "the source's own name where it is chance or perfect")
    task = frame["metric"].map(METRICS)
    _first_wrong(frame, table, "task", frame["task"] != task, "the task its metric belongs to")
    pattern = {"recall": r"\d+", "map": r"\d+|N", "precision": r"R=(0\.\d|1\.0)"}
    wrong = [re.fullmatch(pattern.get(m, ""), k) is None for m, k in zip(frame["metric"], frame["k"], strict=True)]
    _first_wrong(frame, table, "k", wrong, "a rank, N or R=0.0 ... R=1.0, as text, as its metric wants")
    fraction = frame["metric"].isin(FRACTIONS)
    for column in ("value", "ci_low", "ci_high", "chance"):
        low, high = frame[column] < 0, frame[column] > 1
        _first_wrong(frame, table, column, fraction & (low | high), "a fraction from 0 to 1")
        if column != "chance":
            _first_wrong(frame, table, column, ~fraction & (frame[column] < 1), "a rank, 1 or more")


def _validate_costs(frame: pd.DataFrame) -> None:
    table = "costs"
    pairs = list(zip(frame["phase"], frame["system"], frame["quantity"], frame["unit"], strict=True))
    wrong = [system not in systems_of(table, phase) for phase, system, _, _ in pairs]
    _first_wrong(frame, table, "system", wrong, "a system of the registry, or an index in the phases index and search")
    wrong = [
        q not in (*QUANTITIES[p], *QUANTITIES_ANYWHERE) and not (p == "search" and re.fullmatch(r"recall@\d+", q))
        for p, _, q, _ in pairs
    ]
    _first_wrong(frame, table, "quantity", wrong, f"a quantity of its phase: {QUANTITIES}")
    _first_wrong(frame, table, "unit", [u != unit_of(q) for _, _, q, u in pairs], "the unit of its quantity")
    for column in ("value", "scale_img", "scale_txt", "spread", "repeats", "threads"):
        negative = (frame[column] < 0) & ((column != "value") | (frame["quantity"] != "exponent"))
        _first_wrong(frame, table, column, negative, "0 or more")
    recall = frame["quantity"].str.startswith("recall@")
    _first_wrong(frame, table, "value", recall & (frame["value"] > 1), "a fraction from 0 to 1")


def _first_wrong(frame: pd.DataFrame, table: str, column: str, wrong, expected: str) -> None:
    """InputError for the first row where `wrong` (bool, one a row) is true."""
    for position, bad in enumerate(wrong):
        if bad:
            row = frame.iloc[position]
            what = " ".join(str(row[c]) for c in ("source", "system", "corpus") if c in frame)
            given = row[column]
            raise InputError(
                f"{table}.csv row {position} ({what}), column {column}: got {given!r}; expected {expected}"
            )
