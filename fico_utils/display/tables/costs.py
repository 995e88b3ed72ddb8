"""Tables 5 to 7: what it costs to encode, store, attend and search, ours and the paper's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from fico_utils import registry
from fico_utils.display.catalogue import register_table
from fico_utils.display.rows import one_run, papers_rows, run_name, short_count, table_rows
from fico_utils.display.table import Cell, Column, Row, Table
from fico_utils.results.paper_reference import SYSTEM_IDS, read_paper

MILLION = (1_000_000, 5_000_000)
#: What is looked up in costs.csv; the scales are a number of images (queries) and texts (candidates).
KEY = ["system", "phase", "quantity", "scale_img", "scale_txt"]
TIMES = "table5_encoding_time"


@register_table("table5", "Table 5. Encoding time and storage", "costs")
def encoding_table(costs: pd.DataFrame) -> Table:
    """Table 5: encoding time at growing size, and storage for 1M images and 5M captions.

    Embeddings stand as the paper counts them (one byte a bit) and, where we know it, bit-packed.
    """
    columns = _time_columns("Encoding time (s)", costs, "encode")
    heads = {"paper": "Embeddings", "packed": "Embeddings, bit-packed", "feature": "Features"}
    for quantity, head in heads.items():
        column = Column((f"Storage at {_scale(MILLION)} (GiB)", head), "gib", "min")
        columns[column] = ("store", f"{quantity}_bytes", *MILLION)
    rows = table_rows(TIMES, one_run(costs, "costs.csv"))
    return _cost_table("table5", "Encoding time and storage as images/captions grow.", costs, rows, columns)


@register_table("table6", "Table 6. Query-time attention", "costs")
def attention_table(costs: pd.DataFrame) -> Table:
    """Table 6: time of the attention at query time, for the systems that have one."""
    columns = _time_columns("Query-time attention (s)", costs, "attention")
    raw = read_paper("table6_attention_time").drop_duplicates("system")
    mechanisms = {SYSTEM_IDS[name]: words for name, words in zip(raw["system"], raw["mechanism"], strict=True)}
    mine = one_run(costs, "costs.csv")
    mine = mine[mine["phase"] == "attention"]
    rows = table_rows(TIMES, mine, mechanisms)
    table = _cost_table("table6", "Query-time attention as images/captions grow.", costs, rows, columns)
    words = Column(("Mechanism", ""), "text")
    texts = {("paper", row): mechanisms[s] for row, s in rows.items() if s in mechanisms}
    measured = {row for (part, row, _), cell in table.cells.items() if part == "ours" and cell.status != "unavailable"}
    texts |= {("ours", row): registry.system(rows[row]).attention for row in measured}
    cells = {(part, row, words.header): Cell(text=text) for (part, row), text in texts.items()}
    return replace(table, columns=[words, *table.columns], cells={**table.cells, **cells})


@register_table("table7", "Table 7. Search indexes", "costs")
def index_table(costs: pd.DataFrame) -> Table:
    """Table 7: the search indexes, recall and time; row groups are sizes, queries/candidates."""
    mine, paper = one_run(costs, "costs.csv"), papers_rows(costs, "costs")
    frames = {"ours": mine, "paper": paper[paper["run"] == "table7"]}
    columns = {Column((f"R@{k} (%)",), "percent", "max"): ("search", f"recall@{k}") for k in (1, 100, 1000)}
    for phase in ("index", "search"):
        columns[Column((f"{phase.capitalize()} (s)",), "seconds", "min")] = (phase, "seconds")
    wanted = {
        ((_scale(scale), index.name), column): (index.id, *what, *scale)
        for scale in _scales("search", *frames.values())
        for index in registry.INDEXES.values()
        for column, what in columns.items()
    }
    cells = _find_cells(frames, wanted)
    found, in_paper = {row for _, row, _ in cells}, {i.name for i in registry.INDEXES.values() if i.paper_names}
    rows = list(dict.fromkeys(row for row, _ in wanted if row in found or row[1] in in_paper))
    title = "Table 7. Search indexes on synthetic vectors, queries/candidates."
    caption = f"{title} {_cost_stamp(mine, {'index', 'search'})}"
    return Table("table7", caption, rows, list(columns), cells, "ratio", row_name="Index", best_in_group=True)


def _cost_table(
    name: str, title: str, costs: pd.DataFrame, rows: Mapping[Row, str], columns: Mapping[Column, tuple]
) -> Table:
    """A table of systems by `columns`, each with its phase, quantity and scales."""
    mine, paper = one_run(costs, "costs.csv"), papers_rows(costs, "costs")
    wanted = {(row, column): (system, *what) for row, system in rows.items() for column, what in columns.items()}
    cells = _find_cells({"ours": mine, "paper": paper}, wanted)
    caption = f"Table {name[-1]}. {title} {_cost_stamp(mine, {phase for phase, *_ in columns.values()})}"
    return Table(name, caption, list(rows), list(columns), cells, "ratio")


def _find_cells(frames: Mapping[str, pd.DataFrame], wanted: Mapping[tuple[Row, Column], tuple]) -> dict[tuple, Cell]:
    """The cells of each part, by the `KEY` that is wanted in them; the first of several corpora or thread counts."""
    cells = {}
    for part, frame in frames.items():
        known = frame.drop_duplicates(KEY).set_index(KEY)[["value", "status", "spread"]].to_dict("index")
        here = {(part, row, column.header): known.get(key) for (row, column), key in wanted.items()}
        cells |= {place: Cell(**line) for place, line in here.items() if line}
    return cells


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


def _time_columns(head: str, costs: pd.DataFrame, phase: str) -> dict[Column, tuple]:
    """A column of seconds for each size of a phase."""
    scales = _scales(phase, one_run(costs, "costs.csv"), papers_rows(costs, "costs"))
    return {Column((head, _scale(scale)), "seconds", "min"): (phase, "seconds", *scale) for scale in scales}


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
