"""Tables 2, 3 and 4: how well systems retrieve. A corpus that stands beside none of the paper's comes behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from fico_utils import registry
from fico_utils.display.catalogue import register_table
from fico_utils.display.rows import SHIPPED, Place, as_shipped, of_test_split, quality_stamp, table_rows
from fico_utils.display.table import INTERVAL, REFERENCE, Cell, Column, Table
from fico_utils.evaluation import Metric

DIRECTION_HEADS = {"i2t": "Image-to-text", "t2i": "Text-to-image"}
REFERENCES = {(REFERENCE, "Chance"): "chance", (REFERENCE, "Perfect retriever"): "perfect"}
KEY = ["system", "corpus", "direction", "k"]


class Layout(NamedTuple):
    """What one of these tables shows: its metric at some k, the paper's file of its rows, its corpus if one."""

    number: int
    title: str
    metric: str
    ks: tuple[str, ...]
    paper_file: str
    slot: str = ""


RECALL = Layout(
    2, "Instance-level retrieval: recall at k (%).", "recall", ("1", "5", "10"), "table2_instance_recall"
)  # fmt: skip
FURTHER = Layout(
    3, "Coarse-grained systems further down the ranking: recall at k (%).", "recall", ("50", "100", "200"),
    "table3_extended_recall", "flickr30k",
)  # fmt: skip
CATEGORY = Layout(4, "Category-level retrieval: mAP at k (%).", "map", ("10", "100", "N"), "table4_category_map")


@register_table("table2", "Table 2. Instance-level retrieval", "metrics", layout=RECALL)
@register_table("table3", "Table 3. Coarse-grained systems further down the ranking", "metrics", layout=FURTHER)
@register_table("table4", "Table 4. Category-level retrieval", "metrics", layout=CATEGORY)
def quality_table(metrics: pd.DataFrame, layout: Layout, corpora: Sequence[str] | None = None) -> Table:
    """Systems x (corpus, direction, k), with chance and the perfect retriever below.

    `metrics` is metrics.csv; `corpora` are ours to show, by default those that `metrics` holds.
    """
    mine, paper, places = of_test_split(metrics, corpora)
    name = f"table{layout.number}"
    places = [place for place in places if not place.paper or layout.slot in ("", place.paper)]
    mine = mine[mine["metric"] == layout.metric]
    paper = paper[paper["run"].isin((name, "figure3")) & (paper["metric"] == layout.metric)]
    columns, shipped = _columns(layout, places), as_shipped(mine)
    rows = table_rows(layout.paper_file, mine) | REFERENCES
    rows = {(group, label + SHIPPED * (s in shipped)): s for (group, label), s in rows.items()}
    cells = {}
    for part, frame in (("ours", mine), ("paper", paper)):
        known = frame.set_index(KEY).to_dict("index")
        for row, system_id in rows.items():
            for column, (place, direction, k) in columns.items():
                if line := known.get((system_id, getattr(place, part), direction, k)):
                    cells[part, row, column.header] = Cell(line["value"], line["status"])
                    half = (line["ci_high"] - line["ci_low"]) / 2
                    if part == "ours" and not math.isnan(half):
                        cells[INTERVAL, row, column.header] = Cell(half, line["status"])
    names = {registry.corpus(place.paper).name: place.name for place in places if place.paper and place.ours}
    caption = f"Table {layout.number}. {layout.title} {quality_stamp(mine, places)}"
    if any(s in shipped for s in rows.values()):
        caption += f"{SHIPPED} with weights that ship: {', '.join(sorted(set(shipped.values())))}."
    return Table(name, caption, list(rows), list(columns), cells, "difference", names)


def _columns(layout: Layout, places: Sequence[Place]) -> dict[Column, tuple[Place, str, str]]:
    """Columns with what they hold; the name of a corpus that two bear is followed by its id."""
    names = [registry.corpus(corpus_id).name for place in places for corpus_id in {*place} - {""}]
    columns = {}
    for place in places:
        head = registry.corpus(place.paper or place.ours).name
        head += f" ({place.ours})" if not place.paper and names.count(head) > 1 else ""
        for direction, words in DIRECTION_HEADS.items():
            for k in layout.ks:
                header = (head, words, Metric(layout.metric, k).label)
                columns[Column(header, "percent", "max", bool(place.paper))] = (place, direction, k)
    return columns
