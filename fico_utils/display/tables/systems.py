"""Table 1: the systems, how they encode, what they compute at query time, what they store."""

from __future__ import annotations

import pandas as pd

from fico_utils import registry
from fico_utils.display.catalogue import register_table
from fico_utils.display.rows import GROUPS
from fico_utils.display.table import Cell, Column, Table
from fico_utils.results.paper_reference import SYSTEM_IDS, read_paper

#: Columns of the paper's file and of stored.csv, and how they are headed.
HEADS = {
    "approach": "Approach", "query_time_attention": "Query-time attention", "embedding_dims": "Embedding dims",
    "image_features": "Image features", "text_features": "Text features", "dtype": "Data type",
}  # fmt: skip
#: Systems that the paper's table puts into one row.
SHARED = {"adv_2048": "ADV", "adv_64": "ADV"}


@register_table("table1", "The systems", "stored")
def system_table(stored: pd.DataFrame) -> Table:
    """Table 1: architecture and data types of the systems, ours beside the paper's.

    `stored` is stored.csv (`fico_utils.results.store`): what each system of a run keeps of an image and of a caption.
    A system that is not in it is unavailable; approach and attention come from the registry.
    """
    raw = read_paper("table1_systems").to_dict("records")
    paper = {SYSTEM_IDS.get(line["system"], line["system"]): line for line in raw}
    kept = {line["system"]: line for line in stored.to_dict("records")}
    groups = {family: group for group, family in GROUPS.items()}
    columns = tuple(Column((head,), "text") for head in HEADS.values())
    rows, cells = [], {}
    for system_id, system in registry.systems().items():
        theirs, ours = paper.get(SHARED.get(system_id, system_id)), kept.get(system_id)
        if not theirs and not ours:
            continue
        row = (groups[system.family], system.name)
        rows.append(row)
        parts = {"paper": theirs}
        if ours:
            parts["ours"] = ours | {"approach": system.approach, "query_time_attention": system.attention}
        for part, line in parts.items():
            where = "table1_systems.csv" if part == "paper" else f"registry and stored.csv: {system_id}"
            for key, column in zip(HEADS, columns, strict=True):
                if line and line[key]:
                    cells[part, row, column.header] = Cell(text=line[key], where=where)
    caption = "Table 1. Systems: how they encode, what they compute at query time, what they store."
    return Table("table1", caption, tuple(rows), columns, cells, "", {})
