"""Tables 5 to 7: what it costs to encode, store, attend and search, ours and the paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import pandas as pd

from fico_utils import registry
from fico_utils.display.catalogue import register_table
from fico_utils.display.rows import one_run, papers_rows, row_groups, run_name, table_rows
from fico_utils.display.table import Cell, Column, Table
from fico_utils.results.paper_reference import SYSTEM_IDS, read_paper

MILLION = (1_000_000, 5_000_000)


@register_table("table5", "Encoding time and storage", "costs")
def encoding_table(costs: pd.DataFrame) -> Table:
    """Table 5: encoding time at growing size, and storage for 1M images and 5M captions.

    Embeddings stand as the paper counts them (one byte a bit) and, where we know it, bit-packed.
    """
    mine, paper = one_run(costs, "costs.csv"), papers_rows(costs, "costs")
    encode = Where("encode", "seconds")
    scales = _scales([mine, paper], encode)
    columns = {Column(("Encoding time (s)", _scale(s)), "seconds", "min"): (encode, s) for s in scales}
    for quantity, head in (
        ("paper_bytes", "Embeddings"), ("packed_bytes", "Embeddings, bit-packed"), ("feature_bytes",
        "Features")
    ):  # fmt: skip
        columns[Column((f"Storage at {_scale(MILLION)} (GiB)", head), "gib", "min")] = (
            Where("store", quantity),
            MILLION,
        )
    rows = table_rows(row_groups("table5_encoding_time"), mine, paper)
    title = "Table 5. Encoding time and storage as images/captions grow."
    return _costs("table5", title, mine, paper, rows, columns)


@register_table("table6", "Query-time attention", "costs")
def attention_table(costs: pd.DataFrame) -> Table:
    """Table 6: time of the attention at query time, for the systems that have one."""
    mine, paper = one_run(costs, "costs.csv"), papers_rows(costs, "costs")
    attention = Where("attention", "seconds")
    scales = _scales([mine, paper], attention)
    columns = {Column(("Query-time attention (s)", _scale(s)), "seconds", "min"): (attention, s) for s in scales}
    raw = read_paper("table6_attention_time").drop_duplicates("system")
    mechanisms = {SYSTEM_IDS[name]: mechanism for name, mechanism in zip(raw["system"], raw["mechanism"], strict=True)}
    families = {name: f for name, f in row_groups("table5_encoding_time").items() if SYSTEM_IDS[name] in mechanisms}
    rows = table_rows(families, mine[mine["phase"] == "attention"], paper)
    table = _costs("table6", "Table 6. Query-time attention as images/captions grow.", mine, paper, rows, columns)
    mechanism = Column(("Mechanism", ""), "text")
    for row, system_id in rows.items():
        system = registry.system(system_id)
        if table.has("ours", row):
            table.cells["ours", row, mechanism.header] = Cell(text=system.attention, where=f"registry: {system_id}")
        if system_id in mechanisms:
            text = mechanisms[system_id]
            table.cells["paper", row, mechanism.header] = Cell(text=text, where="table6_attention_time.csv")
    return replace(table, columns=(mechanism, *table.columns))


@register_table("table7", "Search indexes", "costs")
def index_table(costs: pd.DataFrame) -> Table:
    """Table 7: the search indexes, recall and time; row groups are sizes, queries/candidates."""
    mine, paper = one_run(costs, "costs.csv"), papers_rows(costs, "costs")
    paper = paper[paper["run"] == "table7"]
    search = Where("search", "seconds")
    columns = {Column((f"R@{k} (%)",), "percent", "max"): Where("search", f"recall@{k}") for k in (1, 100, 1000)}
    columns[Column(("Index (s)",), "seconds", "min")] = Where("index", "seconds")
    columns[Column(("Search (s)",), "seconds", "min")] = search
    rows, cells = [], {}
    for scale in _scales([mine, paper], search):
        for index in registry.INDEXES.values():
            row = (_scale(scale), index.name)
            found = {
                (part, row, column.header): where.cell(frame, index.id, scale)
                for column, where in columns.items()
                for part, frame in (("ours", mine), ("paper", paper))
            }
            if index.paper_names or any(cell.where for cell in found.values()):  # ours only where we have it
                rows.append(row)
                cells |= found
    title = "Table 7. Search indexes on synthetic vectors, queries/candidates."
    caption = f"{title} {_cost_stamp(mine, 'index', 'search')}"
    return Table("table7", caption, tuple(rows), tuple(columns), cells, "ratio", {}, "Index", best_in_group=True)


class Where(NamedTuple):
    """A phase and a quantity of costs.csv, and the cells they give."""

    phase: str
    quantity: str

    def rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Rows of the phase and quantity."""
        return frame[(frame["phase"] == self.phase) & (frame["quantity"] == self.quantity)]

    def cell(self, frame: pd.DataFrame, system_id: str, scale: tuple[int, int]) -> Cell:
        """The cell of a system at a size; the first of several corpora or thread counts."""
        rows = self.rows(frame)
        rows = rows[(rows["system"] == system_id) & (rows["scale_img"] == scale[0]) & (rows["scale_txt"] == scale[1])]
        if rows.empty:
            return Cell()
        row = rows.iloc[0]
        what = (row["source"], system_id, row["corpus"], self.phase, self.quantity, _scale(scale))
        where = f"costs.csv: {' '.join(filter(None, what))} ({row['run']})"
        return Cell(row["value"], row["status"], row["spread"], where=where)


def _costs(
    name: str,
    title: str,
    mine: pd.DataFrame,
    paper: pd.DataFrame,
    rows: Mapping[tuple[str, str], str],
    columns: Mapping[Column, tuple[Where, tuple[int, int]]],
) -> Table:
    cells = {
        (part, row, column.header): where.cell(frame, system_id, scale)
        for part, frame in (("ours", mine), ("paper", paper))
        for row, system_id in rows.items()
        for column, (where, scale) in columns.items()
    }
    phases = {where.phase for where, _ in columns.values()}
    return Table(name, f"{title} {_cost_stamp(mine, *phases)}", tuple(rows), tuple(columns), cells, "ratio", {})


def _cost_stamp(mine: pd.DataFrame, *phases: str) -> str:
    """Where our times come from: profile, seed, machine, corpus, and that the paper's machine was another."""
    used = mine[mine["phase"].isin(phases)]
    if used.empty:
        return "Nothing of ours was measured."
    devices = " and ".join(sorted(set(used["device"]) - {""})) or "an unnamed device"
    threads = sorted({int(t) for t in used["threads"].dropna()})
    text = f"Ours: {run_name(used)}, {devices}" + (f", {' or '.join(map(str, threads))} threads" if threads else "")
    corpora = [c for c in used.loc[used["phase"] != "store", "corpus"].unique() if c in registry.known_corpora()]
    if corpora:
        text += f", on {registry.corpus(corpora[0]).name}"
        if not registry.corpus(corpora[0]).photographs:
            what = "drawn scenes" if registry.corpus(corpora[0]).drawn else "no photographs"
            text += f" ({what}: these are not results on photographs)"
    return text + ". The paper's times are from another machine: read the pattern, not the ratio."


def _scales(frames: Sequence[pd.DataFrame], where: Where) -> list[tuple[int, int]]:
    """Sizes at which any of `frames` has a row, ascending."""
    pairs = pd.concat([where.rows(f)[["scale_img", "scale_txt"]] for f in frames])
    return sorted({(int(a), int(b)) for a, b in pairs.dropna().itertuples(index=False)})


def _scale(scale: tuple[int, int]) -> str:
    """A size as the paper writes it.

    >>> _scale((1000, 5000)), _scale((250, 1250)), _scale((1_000_000, 5_000_000))
    ('1K/5K', '250/1250', '1M/5M')
    """
    return "/".join(_short(n) for n in scale)


def _short(n: int) -> str:
    for size, letter in ((1_000_000, "M"), (1000, "K")):
        if n >= size and n % (size // 10) == 0:
            return f"{n / size:g}{letter}"
    return str(n)
