"""Tables 5 to 7: what it costs to encode, store, attend and search, ours and the paper's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from fico_utils import registry
from fico_utils.display.catalogue import register_table
from fico_utils.display.rows import one_run, papers_rows, run_name, short_count, table_rows
from fico_utils.display.table import Cell, Column, Table
from fico_utils.results.paper_reference import SYSTEM_IDS, read_paper

MILLION = (1_000_000, 5_000_000)
#: Phase and quantity of costs.csv, and a number of images (queries) and texts (candidates).
Where = tuple[str, str, tuple[int, int]]


@register_table("table5", "Encoding time and storage", "costs")
def encoding_table(costs: pd.DataFrame) -> Table:
    """Table 5: encoding time at growing size, and storage for 1M images and 5M captions.

    Embeddings stand as the paper counts them (one byte a bit) and, where we know it, bit-packed.
    """
    columns = _time_columns("Encoding time (s)", costs, "encode")
    heads = {"paper": "Embeddings", "packed": "Embeddings, bit-packed", "feature": "Features"}
    for quantity, head in heads.items():
        column = Column((f"Storage at {_scale(MILLION)} (GiB)", head), "gib", "min")
        columns[column] = ("store", f"{quantity}_bytes", MILLION)
    rows = table_rows("table5_encoding_time", one_run(costs, "costs.csv"))
    return _cost_table("table5", "Encoding time and storage as images/captions grow.", costs, rows, columns)


@register_table("table6", "Query-time attention", "costs")
def attention_table(costs: pd.DataFrame) -> Table:
    """Table 6: time of the attention at query time, for the systems that have one."""
    columns = _time_columns("Query-time attention (s)", costs, "attention")
    raw = read_paper("table6_attention_time").drop_duplicates("system")
    mechanisms = {SYSTEM_IDS[name]: words for name, words in zip(raw["system"], raw["mechanism"], strict=True)}
    mine = one_run(costs, "costs.csv")
    rows = table_rows("table5_encoding_time", mine[mine["phase"] == "attention"], mechanisms)
    table = _cost_table("table6", "Query-time attention as images/captions grow.", costs, rows, columns)
    column = Column(("Mechanism", ""), "text")
    for row, system_id in rows.items():
        if table.has("ours", row):
            ours = Cell(text=registry.system(system_id).attention, where=f"registry: {system_id}")
            table.cells["ours", row, column.header] = ours
        if system_id in mechanisms:
            paper = Cell(text=mechanisms[system_id], where="table6_attention_time.csv")
            table.cells["paper", row, column.header] = paper
    return replace(table, columns=(column, *table.columns))


@register_table("table7", "Search indexes", "costs")
def index_table(costs: pd.DataFrame) -> Table:
    """Table 7: the search indexes, recall and time; row groups are sizes, queries/candidates."""
    mine, paper = one_run(costs, "costs.csv"), papers_rows(costs, "costs")
    paper = paper[paper["run"] == "table7"]
    columns = {Column((f"R@{k} (%)",), "percent", "max"): ("search", f"recall@{k}") for k in (1, 100, 1000)}
    for phase in ("index", "search"):
        columns[Column((f"{phase.capitalize()} (s)",), "seconds", "min")] = (phase, "seconds")
    rows, cells = [], {}
    for scale in _scales("search", mine, paper):
        for index in registry.INDEXES.values():
            row = (_scale(scale), index.name)
            here = {
                (part, row, column.header): _cell(frame, index.id, *where, scale)
                for column, where in columns.items()
                for part, frame in (("ours", mine), ("paper", paper))
            }
            if index.paper_names or any(cell.where for cell in here.values()):  # ours only where we have it
                rows.append(row)
                cells |= here
    title = "Table 7. Search indexes on synthetic vectors, queries/candidates."
    caption = f"{title} {_cost_stamp(mine, {'index', 'search'})}"
    return Table("table7", caption, tuple(rows), tuple(columns), cells, "ratio", {}, "Index", best_in_group=True)


def _cost_table(
    name: str, title: str, costs: pd.DataFrame, rows: Mapping[tuple[str, str], str], columns: Mapping[Column, Where]
) -> Table:
    mine, paper = one_run(costs, "costs.csv"), papers_rows(costs, "costs")
    cells = {
        (part, row, column.header): _cell(frame, system_id, *where)
        for part, frame in (("ours", mine), ("paper", paper))
        for row, system_id in rows.items()
        for column, where in columns.items()
    }
    caption = f"Table {name[-1]}. {title} {_cost_stamp(mine, {phase for phase, *_ in columns.values()})}"
    return Table(name, caption, tuple(rows), tuple(columns), cells, "ratio", {})


def _cell(frame: pd.DataFrame, system_id: str, phase: str, quantity: str, scale: tuple[int, int]) -> Cell:
    """The cell of a system at a size; the first of several corpora or thread counts."""
    rows = frame[(frame["system"] == system_id) & (frame["phase"] == phase) & (frame["quantity"] == quantity)]
    rows = rows[(rows["scale_img"] == scale[0]) & (rows["scale_txt"] == scale[1])]
    if rows.empty:
        return Cell()
    row = rows.iloc[0]
    what = (row["source"], system_id, row["corpus"], phase, quantity, _scale(scale))
    where = f"costs.csv: {' '.join(filter(None, what))} ({row['run']})"
    return Cell(row["value"], row["status"], row["spread"], where=where)


def _cost_stamp(mine: pd.DataFrame, phases: set[str]) -> str:
    """Where our times come from: profile, seed, machine, corpus, and that the paper's machine was another."""
    used = mine[mine["phase"].isin(phases)]
    if used.empty:
        return "Nothing of ours was measured."
    devices = " and ".join(sorted(set(used["device"]) - {""})) or "an unnamed device"
    threads = sorted({int(t) for t in used["threads"].dropna()})
    text = f"Ours: {run_name(used)}, {devices}" + (f", {' or '.join(map(str, threads))} threads" if threads else "")
    corpora = [c for c in used.loc[used["phase"] != "store", "corpus"].unique() if c in registry.known_corpora()]
    if corpora:
        info = registry.corpus(corpora[0])
        text += f", on {info.name}"
        if not info.photographs:
            what = "drawn scenes" if info.drawn else "no photographs"
            text += f" ({what}: these are not results on photographs)"
    return text + ". The paper's times are from another machine: read the pattern, not the ratio."


def _time_columns(head: str, costs: pd.DataFrame, phase: str) -> dict[Column, Where]:
    """A column of seconds for each size of a phase."""
    scales = _scales(phase, one_run(costs, "costs.csv"), papers_rows(costs, "costs"))
    return {Column((head, _scale(scale)), "seconds", "min"): (phase, "seconds", scale) for scale in scales}


def _scales(phase: str, *frames: pd.DataFrame) -> list[tuple[int, int]]:
    """Sizes at which any of `frames` has a row of seconds of a phase, ascending."""
    rows = pd.concat(frames)
    rows = rows[(rows["phase"] == phase) & (rows["quantity"] == "seconds")]
    pairs = rows[["scale_img", "scale_txt"]].dropna()
    return sorted({(int(a), int(b)) for a, b in pairs.itertuples(index=False)})


def _scale(scale: tuple[int, int]) -> str:
    """A size as the paper writes it.

    >>> _scale((1000, 5000)), _scale((250, 1250))
    ('1K/5K', '250/1250')
    """
    return "/".join(map(short_count, scale))
