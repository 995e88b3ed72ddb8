"""The one order of the tidy tables: that of the registry and of the vocabularies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fico_utils import registry
from fico_utils.results import schema

if TYPE_CHECKING:
    import pandas as pd


def sort_rows(frame: pd.DataFrame, table: str) -> pd.DataFrame:
    """`frame` in the table's one order, that of the registry and the vocabularies; index from 0."""
    by = list(schema.KEYS[table])
    if table == "costs":  # reads as the paper's tables do: phase first
        by.insert(2, by.pop(by.index("phase")))
    return order_by(frame, by)[list(schema.COLUMNS[table])]


def order_by(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """`frame` sorted by columns of the tidy tables, each in the order of the registry and the vocabularies."""
    orders = {
        "source": schema.SOURCES,
        "task": schema.TASKS,
        "system": (*schema.EXTRACTORS, *registry.systems(), *registry.INDEXES, "chance", "perfect"),
        "corpus": (*registry.known_corpora(), "synthetic", ""),
        "phase": schema.PHASES,
        "metric": tuple(schema.METRICS),
    }

    def rank(column):
        if column.name == "k":
            return column.map(schema.k_order)
        if column.name == "quantity":  # recall@5 before recall@10
            return column.map(lambda q: f"{q.split('@')[0]}@{int(q.split('@')[1]):09d}" if "@" in q else q)
        known = orders.get(column.name)
        if known is None:
            return column
        places = {value: i for i, value in enumerate(dict.fromkeys((*known, *sorted({*column}))))}  # setups come last
        return column.map(places)

    return frame.sort_values(list(by), key=rank, kind="stable", ignore_index=True)
