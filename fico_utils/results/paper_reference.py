"""The paper's numbers as rows of metrics.csv and costs.csv (`source` = ``paper``, `profile` = ``paper``).

`run` says where in the paper a number stands: ``table2`` ... ``table7``, ``figure3``, ``figure4a``, ``figure4b``; so
points that the paper gives twice (Table 7 and Figure 4) stay two rows that can be compared. The one derived kind of row
is chance: mAP@N of a random ranking is the share of relevant pairs, which is where the curves of Figure 3 end.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from fico_utils import registry
from fico_utils.evaluation import Metric
from fico_utils.results import schema

if TYPE_CHECKING:
    import pandas as pd

GIB = 2**30
#: Spellings of the paper -> id.
SYSTEM_IDS = {name: s.id for s in registry.SYSTEMS.values() for name in s.paper_names}
INDEX_IDS = {name: i.id for i in registry.INDEXES.values() for name in i.paper_names}
#: Columns of scales -> what a search counts.
SCALES = {"images": "queries", "texts": "candidates"}
CORPUS_IDS = {"MS-COCO": "mscoco", "Flickr30K": "flickr30k"}


def read_paper(name: str) -> pd.DataFrame:
    """A CSV file of ``results/paper/`` as it stands, all columns text (``table2_instance_recall``)."""
    import pandas as pd

    with (files("fico_utils.results") / "paper" / f"{name}.csv").open("r", encoding="utf-8") as file:
        return pd.read_csv(file, dtype=str, keep_default_na=False)


def paper_reference(table: str) -> pd.DataFrame:
    """The paper's rows of a table: percent as fractions, GiB as bytes, printed names as ids.

    `table` is ``metrics`` (Tables 2, 3, 4, Figure 3) or ``costs`` (Tables 5, 6, 7, Figure 4). "<0.01" seconds (Table 7)
    is 0.005 with spread 0.005, the interval it states. The paper does not say on which corpus Tables 5 and 6 were
    timed: `corpus` is empty. Empty cells of Table 4 are ``undefined`` (a reranker has no whole ranking); empty feature
    sizes of Table 5 are ``unavailable``, as the system keeps none.

    >>> rows = paper_reference("metrics").query("run == 'table2' and system == 'scan'")
    >>> float(rows.query("corpus == 'flickr30k' and direction == 'i2t' and k == '1'")["value"].iloc[0])
    0.667
    """
    return _reference(table).copy()


@cache
def _reference(table: str) -> pd.DataFrame:
    import pandas as pd

    rows = pd.concat(_metrics() if table == "metrics" else _costs(), ignore_index=True)
    return schema.complete_rows(rows, table, profile="paper")


def _number(text: pd.Series, scale: float = 1) -> pd.Series:
    """Text as numbers times `scale`, empty as NaN; rounded so that 97.6 % is 0.976."""
    return (text.replace("", "nan").astype(float) * scale).round(9)


def _metrics() -> Iterator[pd.DataFrame]:
    """Rows of metrics.csv, a table or figure of the paper each, and of chance."""
    for name, metric, column, scale in (
        ("table2_instance_recall", "recall", "recall_percent", 0.01),
        ("table3_extended_recall", "recall", "recall_percent", 0.01),
        ("table4_category_map", "map", "map_percent", 0.01),
        ("figure3_precision_recall", "precision", "precision", 1),
    ):
        raw = read_paper(name)
        rows = raw[["direction"]].assign(
            source="paper", system=raw["system"].map(SYSTEM_IDS), corpus=raw["dataset"].map(CORPUS_IDS), split="test",
            metric=metric, k="R=" + raw["recall"] if metric == "precision" else raw["k"],
            value=_number(raw[column], scale), run=name.split("_")[0],
        )  # fmt: skip
        rows["task"] = [Metric(metric, at).entry.levels[0] for at in rows["k"]]
        yield rows.assign(status=rows["value"].notna().map({True: "ok", False: "undefined"}))
    ends = rows[rows["k"] == "R=1.0"].groupby(["corpus", "direction"], as_index=False)["value"].median()
    yield ends.assign(
        source="chance", system="chance", split="test", task="category", metric="map", k="N", status="ok", run="figure3"
    )


def _costs() -> Iterator[pd.DataFrame]:
    """Rows of costs.csv: the tables and figures that time systems, store what they keep, and search with indexes."""
    for name, phase in (("table5_encoding_time", "encode"), ("table6_attention_time", "attention")):
        raw = read_paper(name)
        rows = _cost(raw, phase, "seconds", _number(raw["seconds"]), name)
        yield rows.assign(status=raw["status"].str.lower())
    raw = read_paper("table5_storage")
    for column, quantity in (("embedding_gib", "paper_bytes"), ("feature_gib", "feature_bytes")):
        yield _cost(raw, "store", quantity, _number(raw[column], GIB).round(), "table5")
    raw = read_paper("table7_faiss").rename(columns={of: side for side, of in SCALES.items()})
    for k in (1, 100, 1000):
        yield _cost(raw, "search", f"recall@{k}", _number(raw[f"recall_at_{k}"], 0.01), "table7")
    for phase in ("index", "search"):
        text = raw[f"{phase}_seconds"]
        below = text.str.startswith("<")  # a bound b: the middle of 0 to b, give or take half of it
        bound = _number(text.str.lstrip("<"))
        rows = _cost(raw, phase, "seconds", bound.where(~below, bound / 2), "table7")
        yield rows.assign(spread=(bound / 2).where(below))
    raw = read_paper("figure4a_recall").assign(images="1000000", texts="5000000")
    yield _cost(raw, "search", "recall@" + raw["k"], _number(raw["recall"]), "figure4a")
    raw = read_paper("figure4b_search_time")
    millions = {side: _number(raw[f"{of}_millions"], 1e6).round() for side, of in SCALES.items()}
    yield _cost(raw.assign(**millions), "search", "seconds", _number(raw["seconds"]), "figure4b")


def _cost(raw: pd.DataFrame, phase: str, quantity: str | pd.Series, value: pd.Series, place: str) -> pd.DataFrame:
    """Rows of costs.csv, one for each row of a table of the paper with columns images, texts, and system or index."""
    searched = "index" in raw
    rows = raw[[]].assign(
        source="paper", system=raw["index"].map(INDEX_IDS) if searched else raw["system"].map(SYSTEM_IDS),
        corpus="synthetic" if searched else "", phase=phase, scale_img=_number(raw["images"]),
        scale_txt=_number(raw["texts"]), quantity=quantity, value=value, run=place.split("_")[0],
        status=value.notna().map({True: "ok", False: "unavailable"}),
    )  # fmt: skip
    return rows.assign(unit=rows["quantity"].map(schema.unit_of))
