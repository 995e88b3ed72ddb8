"""Table 1: the systems, how they encode, what they compute at query time, what they store."""

from __future__ import annotations

import pandas as pd

from fico_utils import registry
from fico_utils.display.catalogue import register_table
from fico_utils.display.table import Cell, Column, Table
from fico_utils.results.paper_reference import SYSTEM_IDS, read_paper

TITLE = "Table 1. Systems: how they encode, what they compute at query time, what they store."
#: Columns of the paper's file and of stored.csv, and how they are headed.
COLUMNS = {
    "approach": Column(("Approach",), "text"), "query_time_attention": Column(("Query-time attention",), "text"),
    "embedding_dims": Column(("Embedding dims",), "text"), "image_features": Column(("Image features",), "text"),
    "text_features": Column(("Text features",), "text"), "dtype": Column(("Data type",), "text"),
}  # fmt: skip
#: Systems that the paper's table puts into one row.
SHARED = {"adv_2048": "ADV", "adv_64": "ADV"}


@register_table("table1", TITLE, "stored")
def system_table(stored: pd.DataFrame) -> Table:
    """Table 1: architecture and data types of the systems, ours beside the paper's.

    `stored` is stored.csv (`fico_utils.results.store`): what each system of a run keeps of an image and of a caption.
    A system that is not in it is unavailable; approach and attention come from the registry.
    """
    lines = read_paper("table1_systems").to_dict("records")
    paper = {SYSTEM_IDS.get(line["system"], line["system"]): line for line in lines}
    kept = {line["system"]: line for line in stored.to_dict("records")}
    cells, rows = {}, []
    for system_id, system in registry.systems().items():
        parts = {"paper": paper.get(SHARED.get(system_id, system_id), {})}
        if system_id in kept:
            ours = {"approach": system.approach, "query_time_attention": system.attention}
            parts["ours"] = kept[system_id] | ours
        if any(parts.values()):
            rows.append((system.family.upper(), system.name))
            cells |= {
                (part, rows[-1], column.header): Cell(text=line[key])
                for part, line in parts.items()
                for key, column in COLUMNS.items()
                if line.get(key)
            }
    return Table("table1", TITLE, rows, list(COLUMNS.values()), cells)
