"""Tables 2, 3 and 4: how well systems retrieve. A corpus that stands beside none of the paper's comes behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from fico_utils import registry
from fico_utils.display.catalogue import register_table
from fico_utils.display.places import SLOTS, Place, column_heads, of_test_split, quality_stamp
from fico_utils.display.rows import SHIPPED, as_shipped, papers_rows, row_groups, table_rows
from fico_utils.display.table import INTERVAL, REFERENCE, Cell, Column, Table
from fico_utils.evaluation import Metric

DIRECTION_HEADS = {"i2t": "Image-to-text", "t2i": "Text-to-image"}
REFERENCES = {(REFERENCE, "Chance"): "chance", (REFERENCE, "Perfect retriever"): "perfect"}


@dataclass(frozen=True)
class Layout:
    """What one of these tables shows: its metric at some k, the paper's file with its rows, the paper's corpora."""

    name: str
    title: str
    metric: str
    ks: tuple[str, ...]
    paper_file: str
    slots: tuple[str, ...] = SLOTS


RECALL = Layout(
    "table2", "Instance-level retrieval: recall at k (%).", "recall", ("1", "5", "10"), "table2_instance_recall"
)
FURTHER = Layout(
    "table3", "Coarse-grained systems further down the ranking: recall at k (%).", "recall", ("50", "100", "200"),
    "table3_extended_recall", ("flickr30k",),
)  # fmt: skip
CATEGORY = Layout("table4", "Category-level retrieval: mAP at k (%).", "map", ("10", "100", "N"), "table4_category_map")


@register_table("table2", "Instance-level retrieval", "metrics", corpora=True, layout=RECALL)
@register_table("table3", "Coarse-grained systems further down the ranking", "metrics", corpora=True, layout=FURTHER)
@register_table("table4", "Category-level retrieval", "metrics", corpora=True, layout=CATEGORY)
def quality_table(metrics: pd.DataFrame, layout: Layout, corpora: Sequence[str] | None = None) -> Table:
    """Systems x (corpus, direction, k), with chance and the perfect retriever below.

    Parameters
    ----------
    metrics : DataFrame, metrics.csv.
    layout : Layout, which of the tables.
    corpora : sequence of str, ours to show; default: those that `metrics` holds.
    """
    (mine, found), paper = of_test_split(metrics, corpora), papers_rows(metrics, "metrics")
    found = [place for place in found if not place.paper or place.paper in layout.slots]
    paper = paper[paper["run"].isin((layout.name, "figure3"))]
    mine, paper = (frame[frame["metric"] == layout.metric] for frame in (mine, paper))
    columns = _columns(layout, found)
    shipped = as_shipped(mine)
    rows = table_rows(row_groups(layout.paper_file), mine, paper) | REFERENCES
    rows = {(group, label + SHIPPED * (s in shipped)): s for (group, label), s in rows.items()}
    cells = {}
    for part, frame in (("ours", mine), ("paper", paper)):
        index = ["system", "corpus", "direction", "k"]
        known = {tuple(line[c] for c in index): line for line in frame.to_dict("records")}
        for row, system_id in rows.items():
            for column, (place, direction, k) in columns.items():
                line = known.get((system_id, getattr(place, part), direction, k))
                if line:
                    cells |= _cells(part, row, column, line)
    names = {registry.corpus(place.paper).name: place.name for place in found if place.paper and place.ours}
    caption = f"Table {layout.name[-1]}. {layout.title} {quality_stamp(mine, found)}"
    if any(s in shipped for s in rows.values()):
        caption += f"{SHIPPED} with weights that ship: {', '.join(sorted(set(shipped.values())))}."
    return Table(layout.name, caption, tuple(rows), tuple(columns), cells, "difference", names)


def _columns(layout: Layout, found: Sequence[Place]) -> dict[Column, tuple[Place, str, str]]:
    return {
        Column((head, words, Metric(layout.metric, k).label), "percent", "max", bool(place.paper)): (place, d, k)
        for head, place in zip(column_heads(found), found, strict=True)
        for d, words in DIRECTION_HEADS.items()
        for k in layout.ks
    }


def _cells(part: str, row: tuple[str, str], column: Column, line: dict) -> dict:
    """The cell of a row of metrics.csv; below one of ours that has an interval, half of it."""
    place = " ".join(line[c] for c in ("source", "system", "corpus", "direction", "metric", "k"))
    where = f"metrics.csv: {place} ({line['run']})"
    cells = {(part, row, column.header): Cell(line["value"], line["status"], where=where)}
    half = (line["ci_high"] - line["ci_low"]) / 2
    if part == "ours" and not math.isnan(half):
        cells[INTERVAL, row, column.header] = Cell(half, line["status"], where=f"{where}, half its interval")
    return cells
