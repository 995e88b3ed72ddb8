"""Tables 5 to 7: what it costs to encode, store, attend and search, ours and the paper's."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from fico_utils import registry
from fico_utils.display.catalogue import TABLES, register_table
from fico_utils.display.rows import run_name, short_count, split_rows, table_rows
from fico_utils.display.table import Cell, Column, Row, Table
from fico_utils.results.paper_reference import SYSTEM_IDS, read_paper

MILLION = (1_000_000, 5_000_000)
#: What is looked up in costs.csv; the scales are a number of images (queries) and texts (candidates).
KEY = ["system", "phase", "quantity", "scale_img", "scale_txt"]
Frames = Mapping[str, pd.DataFrame]  # ours and the paper's


@register_table("table5", "Table 5. Encoding time and storage as images/captions grow.", "costs")
def encoding_table(costs: pd.DataFrame) -> Table:
    """Table 5: encoding time at growing size, and storage for 1M images and 5M captions.

    Embeddings, where a system has any, stand as the paper counts them (one byte a bit) and, where known, bit-packed.
    """
    frames = split_rows(costs, "costs")
    columns = _time_columns("Encoding time (s)", frames, "encode")
    heads = {"paper": "Embeddings", "packed": "Embeddings, bit-packed", "feature": "Features"}
    for quantity, head in heads.items():
        column = Column((f"Storage at {_scale(MILLION)} (GiB)", head), "gib", "min")
        columns[column] = ("store", f"{quantity}_bytes", *MILLION)
    rows = {row: (system,) for row, system in table_rows("table5_encoding_time", frames["ours"]).items()}
    table = _cost_table("table5", frames, rows, columns)
    none = {place for place, cell in table.cells.items() if place[2][-1] == heads["paper"] and cell.value == 0}
    return replace(table, cells=table.cells | dict.fromkeys(none, Cell(status="undefined")))


@register_table("table6", "Table 6. Query-time attention as images/captions grow.", "costs")
def attention_table(costs: pd.DataFrame) -> Table:
    """Table 6: time of the attention at query time, for the systems that have one."""
    frames = {part: rows[rows["phase"] == "attention"] for part, rows in split_rows(costs, "costs").items()}
    columns = _time_columns("Query-time attention (s)", frames, "attention")
    raw = read_paper("table6_attention_time").drop_duplicates("system")
    mechanisms = {SYSTEM_IDS[name]: words for name, words in zip(raw["system"], raw["mechanism"], strict=True)}
    systems = table_rows("table5_encoding_time", frames["ours"], mechanisms)
    rows = {row: (system,) for row, system in systems.items()}
    table = _cost_table("table6", frames, rows, columns)
    words = Column(("Mechanism", ""), "text")
    texts = {("paper", row): mechanisms[s] for row, s in systems.items() if s in mechanisms}
    measured = {row for (part, row, _), cell in table.cells.items() if part == "ours" and cell.status != "unavailable"}
    texts |= {("ours", row): registry.system(systems[row]).attention for row in measured}
    cells = {(part, row, words.header): Cell(text=text) for (part, row), text in texts.items()}
    return replace(table, columns=[words, *table.columns], cells={**table.cells, **cells})


@register_table("table7", "Table 7. Search indexes on synthetic vectors, queries/candidates.", "costs")
def index_table(costs: pd.DataFrame) -> Table:
    """Table 7: the search indexes, recall and time; row groups are sizes, queries/candidates."""
    frames, indexes = split_rows(costs, "costs"), registry.INDEXES.values()
    frames["paper"] = frames["paper"][frames["paper"]["run"] == "table7"]
    columns = {Column((f"R@{k} (%)",), "percent", "max"): ("search", f"recall@{k}") for k in (1, 100, 1000)}
    for phase in ("index", "search"):
        columns[Column((f"{phase.capitalize()} (s)",), "seconds", "min")] = (phase, "seconds")
    rows = {(_scale(scale), i.name): (i.id, *scale) for scale in _scales("search", frames) for i in indexes}
    table = _cost_table("table7", frames, rows, columns)
    known, in_paper = {row for _, row, _ in table.cells}, {i.name for i in indexes if i.paper_names}
    shown = [row for row in table.rows if row in known or row[1] in in_paper]
    return replace(table, rows=shown, row_name="Index", best_in_group=True)


def _cost_table(name: str, frames: Frames, rows: Mapping[Row, tuple], columns: Mapping[Column, tuple]) -> Table:
    """A table of costs, each looked up by `KEY`; the first of several corpora or thread counts.

    `rows` give an id, `columns` a phase and a quantity, and one of them the scales.
    """
    cells = {}
    for part, frame in frames.items():
        known = frame.drop_duplicates(KEY).set_index(KEY)[["value", "status", "spread"]].to_dict("index")
        for (row, (who, *scale)), (column, what) in itertools.product(rows.items(), columns.items()):
            if line := known.get((who, *what, *scale)):
                cells[part, row, column.header] = Cell(**line)
    caption = f"{TABLES[name].title} {_cost_stamp(frames['ours'], {phase for phase, *_ in columns.values()})}"
    return Table(name, caption, list(rows), list(columns), cells, "ratio")


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


def _time_columns(head: str, frames: Frames, phase: str) -> dict[Column, tuple]:
    """A column of seconds for each size of a phase, and what is looked up there."""
    scales = _scales(phase, frames)
    return {Column((head, _scale(scale)), "seconds", "min"): (phase, "seconds", *scale) for scale in scales}


def _scales(phase: str, frames: Frames) -> list[tuple[int, int]]:
    """Sizes at which any of `frames` has a row of seconds of a phase, ascending."""
    rows = pd.concat(frames.values())
    rows = rows[(rows["phase"] == phase) & (rows["quantity"] == "seconds")]
    pairs = rows[["scale_img", "scale_txt"]].dropna()
    return sorted({(int(a), int(b)) for a, b in pairs.itertuples(index=False)})


def _scale(scale: tuple[int, int]) -> str:
    """A size as the paper writes it.

    >>> _scale((1000, 5000)), _scale((250, 1250))
    ('1K/5K', '250/1250')
    """
    return "/".join(map(short_count, scale))
