"""Tables 1 to 7 in the paper's shape: ours, the paper's, and how they differ.

Each function takes a tidy table (metrics.csv or costs.csv, as `fico_utils.results.load` returns it) and
returns a `Table`. A system, corpus or size that was not measured is "–" (unavailable); nothing is computed
here that is not in the tidy tables, except the difference. Row groups are those the paper's table has: it
prints ADV 2048-bit among the fine-grained systems in Tables 2 and 4 and among the coarse-grained ones in
Table 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from fico_utils import registry
from fico_utils.display.cost_tables import table5, table6, table7
from fico_utils.display.grid import REFERENCE, Cell, Column, Table, one_run
from fico_utils.display.rows import papers_rows, row_groups, run_name, table_rows
from fico_utils.errors import InputError
from fico_utils.results.paper_reference import SYSTEM_IDS, read_paper

__all__ = ["Table", "table1", "table2", "table3", "table4", "table5", "table6", "table7"]

#: The paper's corpora in the order of its columns.
SLOTS = ("mscoco", "flickr30k")
DIRECTION_NAMES = {"i2t": "Image-to-text", "t2i": "Text-to-image"}


def table1(ours: Mapping[str, Mapping[str, str]] | None = None) -> Table:
    """Table 1: architecture and data types of the systems.

    Parameters
    ----------
    ours : mapping, system id -> its own ``embedding_dims``, ``image_features``, ``text_features``, ``dtype``
        as text; a system that is left out, or a key, is unavailable. Approach and attention come from the
        registry.
    """
    ours = ours or {}
    for system_id in ours:
        registry.system(system_id)
    heads = {
        "approach": "Approach",
        "query_time_attention": "Query-time attention",
        "embedding_dims": "Embedding dims",
        "image_features": "Image features",
        "text_features": "Text features",
        "dtype": "Data type",
    }
    columns = tuple(Column((head,), "text") for head in heads.values())
    rows, cells = [], {}
    for _, line in read_paper("table1_systems").iterrows():
        # ADV is one row in the paper's table and two systems in all others.
        ids = [
            i for name, i in SYSTEM_IDS.items() if name == line["system"] or name.startswith(line["system"] + "2048")
        ]
        ids += ["adv_64"] if "adv_2048" in ids else []
        for system_id in ids:
            system = registry.system(system_id)
            row = (line["family"], system.name)
            rows.append(row)
            mine = {
                "approach": system.approach,
                "query_time_attention": system.attention,
                **ours.get(system_id, {}),
            }
            for key, column in zip(heads, columns, strict=True):
                cells["paper", row, column.header] = Cell(text=line[key], where="table1_systems.csv")
                if system_id in ours and mine.get(key):
                    cells["ours", row, column.header] = Cell(text=str(mine[key]), where=f"registry or run: {system_id}")
    caption = "Table 1. Systems: how they encode, what they compute at query time, what they store."
    return Table("table1", caption, tuple(rows), columns, cells, "", {})


def table2(metrics: pd.DataFrame, corpora: Sequence[str] | None = None) -> Table:
    """Table 2: instance-level retrieval, R@1, 5, 10 on both corpora in both directions.

    Parameters
    ----------
    metrics : DataFrame, metrics.csv.
    corpora : sequence of str, whose numbers stand beside the paper's; default: those that `metrics` holds.
    """
    return _quality(
        "table2", "Instance-level retrieval: recall at k (%).", metrics, corpora, "recall", ("1", "5", "10")
    )


def table3(metrics: pd.DataFrame, corpora: Sequence[str] | None = None) -> Table:
    """Table 3: recall of the coarse-grained systems at 50, 100, 200, on Flickr30K."""
    title = "Coarse-grained systems further down the ranking: recall at k (%)."
    return _quality("table3", title, metrics, corpora, "recall", ("50", "100", "200"), slots=("flickr30k",))


def table4(metrics: pd.DataFrame, corpora: Sequence[str] | None = None) -> Table:
    """Table 4: category-level retrieval, mAP@10, 100, N on both corpora in both directions."""
    return _quality("table4", "Category-level retrieval: mAP at k (%).", metrics, corpora, "map", ("10", "100", "N"))


# --------------------------------------------------------------------------------------------------- quality


def of_test_split(metrics: pd.DataFrame, corpora: Sequence[str] | None) -> tuple[pd.DataFrame, dict[str, str]]:
    """Our rows of the test split, and the paper's corpus -> ours that stands beside it (see `corpora_beside`)."""
    mine = one_run(metrics, "metrics.csv")
    mine = mine[mine["split"] == "test"]
    return mine, corpora_beside(mine, corpora)


def corpora_beside(metrics: pd.DataFrame, corpora: Sequence[str] | None = None) -> dict[str, str]:
    """The paper's corpus -> the corpus of `metrics` that stands beside it.

    Raises
    ------
    InputError
        Two corpora of `metrics` want the same columns, and `corpora` does not say which.
    """
    known = metrics.loc[metrics["source"] == "ours", "corpus"].unique() if corpora is None else corpora
    beside: dict[str, str] = {}
    for corpus_id in known:
        slot = registry.corpus(corpus_id).beside or corpus_id
        if slot not in SLOTS:
            continue
        if slot in beside:
            raise InputError(
                f"both {beside[slot]} and {corpus_id} would stand beside {registry.corpus(slot).name}; "
                f"say which with corpora=[...]"
            )
        beside[slot] = corpus_id
    return {slot: beside[slot] for slot in SLOTS if slot in beside}


def _quality(
    name: str,
    title: str,
    metrics: pd.DataFrame,
    corpora: Sequence[str] | None,
    metric: str,
    ks: Sequence[str],
    slots: Sequence[str] = SLOTS,
) -> Table:
    """Tables 2, 3, 4: systems x (corpus, direction, k), with chance and the perfect retriever below."""
    (mine, beside), paper = of_test_split(metrics, corpora), papers_rows(metrics, "metrics")
    beside = {s: c for s, c in beside.items() if s in slots}
    paper = paper[paper["run"].isin((name, "figure3"))]
    source = {
        "table2": "table2_instance_recall",
        "table3": "table3_extended_recall",
        "table4": "table4_category_map",
    }
    letter = "R" if metric == "recall" else "mAP"
    columns = {
        Column((registry.corpus(s).name, DIRECTION_NAMES[d], f"{letter}@{k}"), "percent", "max"): (s, d, k)
        for s in slots
        for d in DIRECTION_NAMES
        for k in ks
    }
    mine, paper = (f[f["metric"] == metric] for f in (mine, paper))
    lines = {p: {tuple(r[:4]): r for r in _plain(f)} for p, f in (("ours", mine), ("paper", paper))}
    rows = table_rows(row_groups(source[name]), mine, paper)
    rows |= {(REFERENCE, label): source for source, label in (("chance", "Chance"), ("perfect", "Perfect retriever"))}
    cells = {}
    for row, system_id in rows.items():
        for column, (slot, direction, k) in columns.items():
            for part, corpus_id in (("ours", beside.get(slot)), ("paper", slot)):
                line = lines[part].get((system_id, corpus_id, direction, k))
                if line:
                    where = f"metrics.csv: {line[6]} {system_id} {corpus_id} {direction} {metric} {k} ({line[7]})"
                    cells[part, row, column.header] = Cell(line[4], line[5], where=where)
    names = {registry.corpus(s).name: registry.corpus(c).name for s, c in beside.items()}
    caption = f"Table {name[-1]}. {title} {stamp(mine, beside)}"
    return Table(name, caption, tuple(rows), tuple(columns), cells, "difference", names)


def _plain(frame: pd.DataFrame) -> list[tuple]:
    columns = ["system", "corpus", "direction", "k", "value", "status", "source", "run"]
    return list(frame[columns].itertuples(index=False, name=None))


def stamp(mine: pd.DataFrame, beside: Mapping[str, str]) -> str:
    """Where our numbers come from, in words: profile, seed, corpora, and whether they are photographs."""
    if mine.empty or not beside:
        return "Nothing of ours was measured."
    where = [
        registry.corpus(c).name + (f" (beside {registry.corpus(s).name})" if c != s else "") for s, c in beside.items()
    ]
    text = f"Ours: {run_name(mine)}, test split of {' and '.join(where)}."
    if any(registry.corpus(c).kind == "drawn" for c in beside.values()):
        text += " PictoScenes are drawn scenes: these are not results on photographs."
    return text
