"""Tables 1 to 7 in the paper's shape: ours, the paper's, and how they differ.

Each function takes a tidy table (metrics.csv or costs.csv, as `fico_utils.results.load` returns it) and
returns a `Table`. A system, corpus or size that was not measured is "–" (unavailable); nothing is computed
here that is not in the tidy tables, except the difference. Row groups are those the paper's table has: it
prints ADV 2048-bit among the fine-grained systems in Tables 2 and 4 and among the coarse-grained ones in
Table 5. A corpus of ours that stands beside none of the paper's has columns of its own behind them, where the
lines of the paper and of the difference are blank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from fico_utils import registry
from fico_utils.display.cost_tables import table5, table6, table7
from fico_utils.display.grid import INTERVAL, REFERENCE, Cell, Column, Table
from fico_utils.display.rows import SHIPPED, as_shipped, one_run, papers_rows, row_groups, run_name, table_rows
from fico_utils.errors import InputError
from fico_utils.evaluation import Metric
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
    """Table 2: instance-level retrieval, R@1, 5, 10 on each corpus in both directions.

    Parameters
    ----------
    metrics : DataFrame, metrics.csv.
    corpora : sequence of str, ours to show; default: those that `metrics` holds.
    """
    return _quality(
        "table2", "Instance-level retrieval: recall at k (%).", metrics, corpora, "recall", ("1", "5", "10")
    )


def table3(metrics: pd.DataFrame, corpora: Sequence[str] | None = None) -> Table:
    """Table 3: recall of the coarse-grained systems at 50, 100, 200, on Flickr30K and what stands beside nothing."""
    title = "Coarse-grained systems further down the ranking: recall at k (%)."
    return _quality("table3", title, metrics, corpora, "recall", ("50", "100", "200"), slots=("flickr30k",))


def table4(metrics: pd.DataFrame, corpora: Sequence[str] | None = None) -> Table:
    """Table 4: category-level retrieval, mAP@10, 100, N on each corpus in both directions."""
    return _quality("table4", "Category-level retrieval: mAP at k (%).", metrics, corpora, "map", ("10", "100", "N"))


# --------------------------------------------------------------------------------------------------- quality


class Place(NamedTuple):
    """A place in the tables and figures: the paper's corpus there, and ours; "" where there is none.

    >>> Place("mscoco", "picto_diverse").name, Place("", "openclipart").name
    ('PictoScenes diverse', 'Openclipart')
    """

    paper: str
    ours: str

    @property
    def name(self) -> str:
        """Printed name of our corpus, or of the paper's where it stands alone."""
        return registry.corpus(self.ours or self.paper).name


def of_test_split(metrics: pd.DataFrame, corpora: Sequence[str] | None) -> tuple[pd.DataFrame, tuple[Place, ...]]:
    """Our rows of the test split, and the places of the paper's corpora and ours (see `places`)."""
    mine = one_run(metrics, "metrics.csv")
    mine = mine[mine["split"] == "test"]
    return mine, places(mine, corpora)


def places(metrics: pd.DataFrame, corpora: Sequence[str] | None = None) -> tuple[Place, ...]:
    """The paper's corpora with ours beside them, then those of ours that stand beside nothing, as registered.

    Raises
    ------
    InputError
        Two corpora of `metrics` want the same columns, and `corpora` does not say which.
    """
    known = metrics.loc[metrics["source"] == "ours", "corpus"].unique() if corpora is None else corpora
    beside: dict[str, str] = {}
    apart: set[str] = set()
    for corpus_id in known:
        slot = registry.corpus(corpus_id).beside or corpus_id
        if slot not in SLOTS:
            apart.add(corpus_id)
            continue
        if slot in beside:
            raise InputError(
                f"both {beside[slot]} and {corpus_id} would stand beside {registry.corpus(slot).name}; "
                f"say which with corpora=[...]"
            )
        beside[slot] = corpus_id
    return (
        *(Place(slot, beside.get(slot, "")) for slot in SLOTS),
        *(Place("", corpus_id) for corpus_id in registry.CORPORA if corpus_id in apart),
    )


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
    (mine, found), paper = of_test_split(metrics, corpora), papers_rows(metrics, "metrics")
    found = [place for place in found if not place.paper or place.paper in slots]
    paper = paper[paper["run"].isin((name, "figure3"))]
    source = {
        "table2": "table2_instance_recall",
        "table3": "table3_extended_recall",
        "table4": "table4_category_map",
    }
    columns = {
        Column((head, DIRECTION_NAMES[d], Metric(metric, k).label), "percent", "max", bool(place.paper)): (place, d, k)
        for head, place in zip(_heads(found), found, strict=True)
        for d in DIRECTION_NAMES
        for k in ks
    }
    mine, paper = (f[f["metric"] == metric] for f in (mine, paper))
    lines = {p: {tuple(r[:4]): r for r in _plain(f)} for p, f in (("ours", mine), ("paper", paper))}
    rows = table_rows(row_groups(source[name]), mine, paper)
    rows |= {(REFERENCE, label): source for source, label in (("chance", "Chance"), ("perfect", "Perfect retriever"))}
    shipped = as_shipped(mine)
    rows = {(group, label + SHIPPED * (s in shipped)): s for (group, label), s in rows.items()}
    cells = {}
    for row, system_id in rows.items():
        for column, (place, direction, k) in columns.items():
            for part, corpus_id in (("ours", place.ours), ("paper", place.paper)):
                line = lines[part].get((system_id, corpus_id, direction, k))
                if line:
                    where = f"metrics.csv: {line[6]} {system_id} {corpus_id} {direction} {metric} {k} ({line[7]})"
                    cells[part, row, column.header] = Cell(line[4], line[5], where=where)
                    half = (line[9] - line[8]) / 2
                    if part == "ours" and not math.isnan(half):
                        cells[INTERVAL, row, column.header] = Cell(half, line[5], where=f"{where}, half its interval")
    names = {registry.corpus(place.paper).name: place.name for place in found if place.paper and place.ours}
    caption = f"Table {name[-1]}. {title} {stamp(mine, found)}"
    if any(s in shipped for s in rows.values()):
        caption += f"{SHIPPED} with weights that ship: {', '.join(sorted(set(shipped.values())))}."
    return Table(name, caption, tuple(rows), tuple(columns), cells, "difference", names)


def _plain(frame: pd.DataFrame) -> list[tuple]:
    columns = ["system", "corpus", "direction", "k", "value", "status", "source", "run", "ci_low", "ci_high"]
    return list(frame[columns].itertuples(index=False, name=None))


def _heads(found: Sequence[Place]) -> list[str]:
    """What stands over the columns of each place; the name of a corpus that two bear is followed by its id."""
    names = [registry.corpus(corpus_id).name for place in found for corpus_id in {*place} - {""}]
    return [
        registry.corpus(p.paper).name if p.paper else p.name + (f" ({p.ours})" if names.count(p.name) > 1 else "")
        for p in found
    ]


def stamp(mine: pd.DataFrame, found: Sequence[Place]) -> str:
    """Where our numbers come from, in words: profile, seed, corpora, and whether they are photographs."""
    ours = [place for place in found if place.ours]
    if mine.empty or not ours:
        return "Nothing of ours was measured."
    where = [_where(place) for place in ours]
    listed = " and ".join(filter(None, (", ".join(where[:-1]), where[-1])))
    text = f"Ours: {run_name(mine)}, test split of {listed}."
    infos = [registry.corpus(place.ours) for place in ours]
    drawn = ["PictoScenes are drawn scenes"] if any(info.kind == "drawn" for info in infos) else []
    drawn += [f"{info.name} holds no photographs" for info in infos if not info.photographs and info.kind != "drawn"]
    return text + (f" {' and '.join(drawn)}: these are not results on photographs." if drawn else "")


def _where(place: Place) -> str:
    if not place.paper:
        return f"{place.name} (not in the paper)"
    return place.name + (f" (beside {registry.corpus(place.paper).name})" if place.paper != place.ours else "")
