"""The paper's numbers as rows of metrics.csv and costs.csv (`source` = ``paper``, `profile` = ``paper``).

`run` says where in the paper a number stands: ``table2`` ... ``table7``, ``figure3``, ``figure4a``,
``figure4b``; so points that the paper gives twice (Table 7 and Figure 4) stay two rows that can be compared.
The one derived kind of row is chance: mAP@N of a random ranking is the share of relevant pairs, which is
where the curves of Figure 3 end.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from fico_utils import registry
from fico_utils.errors import InputError
from fico_utils.evaluation import Metric
from fico_utils.results import schema
from fico_utils.results.order import sort_rows

if TYPE_CHECKING:
    import pandas as pd

GIB = 2**30
#: Spellings of the paper -> id.
SYSTEM_IDS = {name: s.id for s in registry.SYSTEMS.values() for name in s.paper_names}
INDEX_IDS = {name: i.id for i in registry.INDEXES.values() for name in i.paper_names}
CORPUS_IDS = {"MS-COCO": "mscoco", "Flickr30K": "flickr30k"}


def read_paper(name: str) -> pd.DataFrame:
    """A CSV file of ``results/paper/`` as it stands, all columns text (``table2_instance_recall``)."""
    import pandas as pd

    with (files("fico_utils.results") / "paper" / f"{name}.csv").open("r", encoding="utf-8") as file:
        return pd.read_csv(file, dtype=str, keep_default_na=False)


def paper_reference(table: str) -> pd.DataFrame:
    """The paper's rows of a table: percent as fractions, GiB as bytes, printed names as ids.

    Parameters
    ----------
    table : str, ``metrics`` (Tables 2, 3, 4, Figure 3) or ``costs`` (Tables 5, 6, 7, Figure 4).

    Notes
    -----
    "<0.01" seconds (Table 7) is 0.005 with spread 0.005, the interval it states. The paper does not say on
    which corpus Tables 5 and 6 were timed: `corpus` is empty. Empty cells of Table 4 are ``undefined`` (a
    reranker has no whole ranking); empty feature sizes of Table 5 are ``unavailable``, as the system keeps
    none.

    Examples
    --------
    >>> rows = paper_reference("metrics").query("run == 'table2' and system == 'scan'")
    >>> float(rows.query("corpus == 'flickr30k' and direction == 'i2t' and k == '1'")["value"].iloc[0])
    0.667
    """
    if table not in schema.COLUMNS:
        raise InputError(f"unknown table {table!r}; expected metrics or costs")
    return _reference(table).copy()


@cache
def _reference(table: str) -> pd.DataFrame:
    rows = (_metrics if table == "metrics" else _costs)()
    for column in schema.COLUMNS[table]:
        if column not in rows:
            rows[column] = float("nan") if column in schema.NUMBERS[table] else ""
    return sort_rows(schema.validate(rows[list(schema.COLUMNS[table])], table), table)


def _number(text: pd.Series, scale: float = 1) -> pd.Series:
    """Text as numbers times `scale`, empty as NaN; rounded so that 97.6 % is 0.976."""
    return (text.replace("", "nan").astype(float) * scale).round(9)


def _metrics() -> pd.DataFrame:
    import pandas as pd

    parts = []
    for name, run in (("table2_instance_recall", "table2"), ("table3_extended_recall", "table3")):
        raw = read_paper(name)
        parts.append(_quality(raw, "recall", raw["k"], _number(raw["recall_percent"], 0.01), run))
    raw = read_paper("table4_category_map")
    parts.append(_quality(raw, "map", raw["k"], _number(raw["map_percent"], 0.01), "table4"))
    raw = read_paper("figure3_precision_recall")
    curve = _quality(raw, "precision", "R=" + raw["recall"], _number(raw["precision"]), "figure3")
    ends = curve[curve["k"] == "R=1.0"].groupby(["corpus", "direction"], as_index=False)["value"].median()
    ends = ends.assign(
        profile="paper", source="chance", system="chance", split="test", task="category", metric="map", k="N",
        status="ok", run="figure3",
    )  # fmt: skip
    return pd.concat([*parts, curve, ends], ignore_index=True)


def _quality(raw: pd.DataFrame, metric: str, k: pd.Series, value: pd.Series, run: str) -> pd.DataFrame:
    """Rows of metrics.csv from a long table of the paper with columns dataset, system, direction."""
    import pandas as pd

    return pd.DataFrame(
        {
            "profile": "paper",
            "source": "paper",
            "system": raw["system"].map(SYSTEM_IDS),
            "corpus": raw["dataset"].map(CORPUS_IDS),
            "split": "test",
            "task": [Metric(metric, at).entry.levels[0] for at in k],
            "direction": raw["direction"],
            "metric": metric,
            "k": k,
            "value": value,
            "status": value.notna().map({True: "ok", False: "undefined"}),
            "run": run,
        }
    )


def _costs() -> pd.DataFrame:
    import pandas as pd

    parts = []
    for name, phase, run in (
        ("table5_encoding_time", "encode", "table5"),
        ("table6_attention_time", "attention", "table6"),
    ):
        raw = read_paper(name)
        scales = _number(raw["images"]), _number(raw["texts"])
        status = raw["status"].str.lower()
        parts.append(
            _cost(raw["system"].map(SYSTEM_IDS), phase, *scales, "seconds", _number(raw["seconds"]), run, status)
        )
    raw = read_paper("table5_storage")
    for column, quantity in (("embedding_gib", "paper_bytes"), ("feature_gib", "feature_bytes")):
        value = _number(raw[column], GIB).round()
        scales = _number(raw["images"]), _number(raw["texts"])
        parts.append(_cost(raw["system"].map(SYSTEM_IDS), "store", *scales, quantity, value, "table5"))
    raw = read_paper("table7_faiss")
    system, scales = raw["index"].map(INDEX_IDS), (_number(raw["queries"]), _number(raw["candidates"]))
    for k in (1, 100, 1000):
        value = _number(raw[f"recall_at_{k}"], 0.01)
        parts.append(_cost(system, "search", *scales, f"recall@{k}", value, "table7"))
    for phase in ("index", "search"):
        text = raw[f"{phase}_seconds"]
        below = text.str.startswith("<")  # a bound b: the middle of 0 to b, give or take half of it
        bound = _number(text.str.lstrip("<"))
        rows = _cost(system, phase, *scales, "seconds", bound.where(~below, bound / 2), "table7")
        parts.append(rows.assign(spread=(bound / 2).where(below)))
    raw = read_paper("figure4a_recall")
    million, five = raw["k"].map(lambda _: 1_000_000.0), raw["k"].map(lambda _: 5_000_000.0)
    parts.append(
        _cost(
            raw["index"].map(INDEX_IDS),
            "search",
            million,
            five,
            "recall@" + raw["k"],
            _number(raw["recall"]),
            "figure4a",
        )
    )
    raw = read_paper("figure4b_search_time")
    scales = (_number(raw["queries_millions"], 1e6).round(), _number(raw["candidates_millions"], 1e6).round())
    parts.append(_cost(raw["index"].map(INDEX_IDS), "search", *scales, "seconds", _number(raw["seconds"]), "figure4b"))
    return pd.concat(parts, ignore_index=True)


def _cost(system, phase, scale_img, scale_txt, quantity, value, run, status=None) -> pd.DataFrame:
    """Rows of costs.csv; series of one length, or scalars."""
    import pandas as pd

    rows = pd.DataFrame(
        {
            "system": system,
            "scale_img": scale_img,
            "scale_txt": scale_txt,
            "quantity": quantity,
            "value": value,
        }
    )
    rows["unit"] = rows["quantity"].map(schema.unit_of)
    rows["corpus"] = "synthetic" if phase in ("index", "search") else ""
    rows["status"] = status if status is not None else value.notna().map({True: "ok", False: "unavailable"})
    return rows.assign(profile="paper", source="paper", phase=phase, run=run)
