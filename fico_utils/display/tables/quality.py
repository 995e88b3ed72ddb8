"""Tables 2, 3 and 4: how well systems retrieve. A corpus that stands beside none of the paper's comes behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from fico_utils import registry
from fico_utils.display.catalogue import TABLES, register_table
from fico_utils.display.rows import (
    NEAR_CHANCE,
    SHIPPED,
    Place,
    as_shipped,
    of_test_split,
    quality_stamp,
    room_share,
    table_rows,
)
from fico_utils.display.table import INTERVAL, PAPER_ROOM, REFERENCE, ROOM, Cell, Column, Row, Table
from fico_utils.evaluation import Metric

DIRECTION_HEADS = {"i2t": "Image-to-text", "t2i": "Text-to-image"}
CHANCE_ROW = (REFERENCE, "Chance")
REFERENCES = {CHANCE_ROW: "chance", (REFERENCE, "Perfect retriever"): "perfect"}
Cells = dict[tuple[str, Row, tuple[str, ...]], Cell]
KEY = ["system", "corpus", "direction", "k"]


@register_table(
    "table2", "Table 2. Instance-level retrieval: recall at k (%).", "metrics",
    name="table2", metric="recall", ks=("1", "5", "10"), paper_file="table2_instance_recall",
)  # fmt: skip
@register_table(
    "table3", "Table 3. Coarse-grained systems further down the ranking: recall at k (%).", "metrics",
    name="table3", metric="recall", ks=("50", "100", "200"), paper_file="table3_extended_recall", slot="flickr30k",
)  # fmt: skip
@register_table(
    "table4", "Table 4. Category-level retrieval: mAP at k (%).", "metrics",
    name="table4", metric="map", ks=("10", "100", "N"), paper_file="table4_category_map",
)  # fmt: skip
def quality_table(
    metrics: pd.DataFrame, *, name: str, metric: str, ks: Sequence[str], paper_file: str, slot: str = "",
    corpora: Sequence[str] | None = None,
) -> Table:  # fmt: skip
    """Systems x (corpus, direction, k), with chance and the perfect retriever below.

    `metrics` is metrics.csv; `corpora` are ours to show, by default those that `metrics` holds. The paper's rows are
    those of `paper_file`, its corpora all of them or `slot`. Ours and the paper's are subtracted only where both are
    scores on the same corpus. Where a mAP of a column lies within `NEAR_CHANCE` of chance, a further line says which
    share of the room above chance each system fills.
    """
    mine, paper, places = of_test_split(metrics, corpora)
    places = [place for place in places if not place.paper or slot in ("", place.paper)]
    mine = mine[mine["metric"] == metric]
    paper = paper[paper["run"].isin((name, "figure3")) & (paper["metric"] == metric)]
    columns, shipped = _columns(places, [Metric(metric, k) for k in ks]), as_shipped(mine)
    rows = table_rows(paper_file, mine) | REFERENCES
    rows = {(group, label + SHIPPED * (s in shipped)): s for (group, label), s in rows.items()}
    cells = {}
    for part, frame in (("ours", mine), ("paper", paper)):
        known = frame.drop_duplicates(KEY, keep="last").set_index(KEY).to_dict("index")
        for row, system_id in rows.items():
            for column, (place, direction, k) in columns.items():
                if line := known.get((system_id, getattr(place, part), direction, k)):
                    cells[part, row, column.header] = Cell(line["value"], line["status"])
                    half = (line["ci_high"] - line["ci_low"]) / 2
                    if part == "ours" and not math.isnan(half):
                        cells[INTERVAL, row, column.header] = Cell(half, line["status"])
    if metric == "map":
        systems = [row for row in rows if row[0] != REFERENCE]
        for column in columns:
            cells |= _room(cells, systems, column.header)
    names = {registry.corpus(place.paper).name: place.name for place in places if place.paper and place.ours}
    caption = f"{TABLES[name].title} {quality_stamp(mine, places)}"
    if any(s in shipped for s in rows.values()):
        caption += f"{SHIPPED} with weights that ship: {', '.join(sorted(set(shipped.values())))}."
    return Table(name, caption, list(rows), list(columns), cells, "difference", names)


def _room(cells: Cells, systems: Sequence[Row], header: tuple[str, ...]) -> Cells:
    """The share of the room that systems fill, in a column where one of them lies near chance."""
    made = {}
    for part, name in (("ours", ROOM), ("paper", PAPER_ROOM)):
        chance, *values = (cells.get((part, row, header), Cell()).value for row in (CHANCE_ROW, *systems))
        if any(abs(value - chance) < NEAR_CHANCE for value in values):
            shares = {row: room_share(value, chance) for row, value in zip(systems, values, strict=True)}
            made |= {(name, row, header): Cell(x, "ok") for row, x in shares.items() if not math.isnan(x)}
    return made


def _columns(places: Sequence[Place], metrics: Sequence[Metric]) -> dict[Column, tuple[Place, str, str]]:
    """Columns with what they hold; the name of a corpus that two bear is followed by its id."""
    names = [registry.corpus(corpus_id).name for place in places for corpus_id in {*place} - {""}]
    columns = {}
    for place in places:
        head = registry.corpus(place.paper or place.ours).name
        head += f" ({place.ours})" if not place.paper and names.count(head) > 1 else ""
        for direction, words in DIRECTION_HEADS.items():
            for metric in metrics:
                same = place.ours == place.paper
                column = Column((head, words, metric.label), "percent", "max", bool(place.paper), same)
                columns[column] = (place, direction, metric.k_text)
    return columns
