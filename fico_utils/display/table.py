"""A table as cells: how a number or its absence is printed, which is best, and the four files that it becomes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from fico_utils.display.picture import write_renditions
from fico_utils.escaping import csv_text, html_text, latex_text, markdown_text
from fico_utils.workspace import Run

UNDEFINED, UNAVAILABLE, DNF, EXTRAPOLATED, UNSURE = "n/a", "–", "DNF", "†", "?"
MARKS = (
    f"{UNDEFINED}: undefined for this system; {UNAVAILABLE}: unavailable; {DNF}: did not finish; "
    f"{EXTRAPOLATED}: extrapolated; {UNSURE}: the interval of what was extrapolated is wider than the number; "
    "±: half a 95 % interval over images; % of room: share of the way from chance to a perfect score. "
    "Bold: best of its column, ours and the paper's each."
)
GIB = 2**30
INTERVAL = "± 95 %"  # the part that holds half the width of the interval of ours
ROOM, PAPER_ROOM = "% of room", "paper, % of room"  # the parts of how far scores have come from chance to perfect
EXTRA = (INTERVAL, ROOM, PAPER_ROOM)  # parts that explain a number above them, and are blank elsewhere
REFERENCE = "Reference"  # the row group of chance and the perfect retriever

Row = tuple[str, str]  # its group and its label


@dataclass(frozen=True)
class Cell:
    """One number of a table, or the reason why there is none."""

    value: float = math.nan  # as in the tidy tables: fraction, seconds, bytes
    status: str = "unavailable"  # of the tidy row
    spread: float = math.nan  # of the tidy row; where it reaches down to zero the value is an upper bound
    text: str = ""  # printed as it stands, for cells that are words

    @property
    def is_guess(self) -> bool:
        """Whether it was extrapolated with an interval (`spread` to either side) that is wider than the value."""
        return self.status == "extrapolated" and 2 * self.spread > self.value


@dataclass(frozen=True)
class Column:
    """A column: its header, top level first; what it holds; which end of it is best."""

    header: tuple[str, ...]
    kind: str  # percent, seconds, gib or text
    best: str = ""  # max, min or "" (no best)
    in_paper: bool = True  # the paper has something that corresponds; without, only our lines have a cell there
    compared: bool = True  # ours and the paper's may be subtracted or divided; not where they are of other pictures


def significant(value: float) -> str:
    """`value` with two decimals, or two digits below one.

    >>> significant(93.268), significant(0.0123), significant(0.5)
    ('93.27', '0.012', '0.50')
    """
    return f"{value:.2f}" if value >= 0.995 or value == 0 else two_digits(value)


def two_digits(value: float) -> str:
    """`value`, a time or a ratio of times, with the two digits that a measured time is good for, written out.

    >>> two_digits(2178625.89), two_digits(93.268), two_digits(4.42), two_digits(0.0996)
    ('2200000', '93', '4.4', '0.10')
    """
    exponent = int(f"{value:.1e}".split("e")[1]) if value else 0  # of the rounded value: 0.0996 is 0.10
    return f"{round(value, 1 - exponent):.{max(1 - exponent, 0)}f}"


def printed(cell: Cell, kind: str, part: str) -> str:
    """A cell as it is printed in `part` (ours, paper, one of `EXTRA`, difference, ratio).

    >>> printed(Cell(0.667, "ok"), "percent", "ours"), printed(Cell(status="dnf"), "seconds", "paper")
    ('66.7', 'DNF')
    """
    if cell.text:
        return cell.text
    if cell.status not in ("ok", "extrapolated"):
        return {"undefined": UNDEFINED, "dnf": DNF, "blank": ""}.get(cell.status, UNAVAILABLE)
    if part == "ours" and cell.is_guess:
        return UNSURE
    mark = EXTRAPOLATED if cell.status == "extrapolated" else ""
    if part == INTERVAL:
        return f"±{100 * cell.value:.1f}"
    if part in (ROOM, PAPER_ROOM):
        return f"{round(100 * cell.value) or 0} %"  # never -0
    if part == "difference":
        return f"{round(100 * cell.value, 1) or 0.0:+.1f}{mark}"  # never -0.0
    if part == "ratio":
        return f"{two_digits(cell.value)}×{mark}"
    if kind == "percent":
        return f"{100 * cell.value:.1f}{mark}"
    if part == "paper" and cell.spread >= cell.value:
        return f"<{cell.value + cell.spread:.12g}"
    if kind == "seconds" and part == "paper":  # with the digits that it prints
        return f"{cell.value:.12g}{mark}"
    return (significant(cell.value / GIB) if kind == "gib" else two_digits(cell.value)) + mark


@dataclass(frozen=True)
class Table:
    """A table of the paper: ours, the paper's, and how they differ.

    `cells` are those of the parts ``ours``, ``paper`` and `EXTRA` by (part, row, header); one that is missing is
    unavailable. Headers are unique and name the paper's corpora.
    """

    name: str  # table1 ... table7: the stem of its files
    caption: str  # what it shows, then profile, seed and corpora of our numbers
    rows: Sequence[Row]
    columns: Sequence[Column]
    cells: Mapping[tuple[str, Row, tuple[str, ...]], Cell]
    comparison: str = ""  # difference (ours - paper) or ratio (ours / paper); "" where the cells are words
    names: Mapping[str, str] = field(default_factory=dict)  # the paper's corpus -> ours, whose numbers stand beside it
    row_name: str = "System"  # heading of the labels
    best_in_group: bool = False  # the best is sought in each row group, where groups are not comparable

    def _cell(self, part: str, row: Row, column: Column) -> Cell:
        """The cell of a part, blank where the part has no such column; a comparison is made of the other two."""
        if part != self.comparison or not (column.in_paper and column.compared):
            blank = part in (*EXTRA, self.comparison) or (part != "ours" and not column.in_paper)
            return self.cells.get((part, row, column.header), Cell(status="blank" if blank else "unavailable"))
        ours, paper = self._cell("ours", row, column), self._cell("paper", row, column)
        if math.isnan(ours.value) or math.isnan(paper.value) or (part == "ratio" and paper.value == 0) or ours.is_guess:
            return Cell()
        value = ours.value - paper.value if part == "difference" else ours.value / paper.value
        return Cell(value, "extrapolated" if "extrapolated" in (ours.status, paper.status) else "ok")

    def _is_best(self, part: str, row: Row, column: Column) -> bool:
        """Whether a cell holds the best of at least two numbers of its column (ties share it)."""
        if not column.best or part not in ("ours", "paper") or row[0] == REFERENCE:
            return False
        rivals = [r for r in self.rows if r[0] != REFERENCE and (r[0] == row[0] or not self.best_in_group)]
        numbers = {r: self._cell(part, r, column) for r in rivals}
        known = {r: c.value for r, c in numbers.items() if not (math.isnan(c.value) or c.is_guess)}
        return len(known) > 1 and known.get(row) == (max if column.best == "max" else min)(known.values())

    @cached_property
    def side_by_side(self) -> pd.DataFrame:
        """Every row up to six times, printed: ours, its interval and share of the room, the paper's, how they differ.

        A system always has ours, the rest where it says more than "unavailable". Headers name our corpus beside the
        paper's.
        """
        parts = filter(None, ("ours", INTERVAL, ROOM, "paper", PAPER_ROOM, self.comparison))
        lines = {
            (*row, part): [printed(self._cell(part, row, c), c.kind, part) for c in self.columns]
            for row, part in itertools.product(self.rows, parts)
        }
        kept = {
            line: texts
            for line, texts in lines.items()
            if (line[2] == "ours" and line[0] != REFERENCE) or not {*texts} <= {"", UNAVAILABLE}
        }
        beside = {paper: f"{ours} beside {paper}" for paper, ours in self.names.items() if ours != paper}
        heads = [tuple(beside.get(level, level) for level in c.header) for c in self.columns]
        columns = pd.Index([h for (h,) in heads]) if len(heads[0]) == 1 else pd.MultiIndex.from_tuples(heads)
        index = pd.MultiIndex.from_tuples(kept, names=["Group", self.row_name, "Source"])
        return pd.DataFrame(list(kept.values()), index, columns)

    @cached_property
    def bold(self) -> pd.DataFrame:
        """Shape of `side_by_side`: true where a cell is the best of its column."""
        frame = self.side_by_side
        best = [[self._is_best(part, (group, label), c) for c in self.columns] for group, label, part in frame.index]
        return pd.DataFrame(best, frame.index, frame.columns)

    def _joined_heads(self, sign: str, escape: Callable[[str], str] = str) -> list[str]:
        """The headers of all columns as text, their levels joined."""
        heads = [(h,) if isinstance(h, str) else h for h in self.side_by_side]
        joined = (sign.join(map(escape, filter(None, head))) for head in heads)
        return [*self.side_by_side.index.names, *joined]

    def _style(self, escape: Callable[[str], str]):
        """Styler of `side_by_side`: texts escaped, bold best, fixed ids, so that same input gives same bytes."""
        from pandas.io.formats.style import Styler

        bold = self.bold.map(lambda best: "font-weight: bold" if best else "")
        style = Styler(self.side_by_side, uuid=self.name, cell_ids=False).apply(lambda _: bold, axis=None)
        return style.format(escape).format_index(escape, axis=0).format_index(escape, axis=1)

    def to_csv(self) -> str:
        """`side_by_side` as CSV, one header line, levels joined by a blank."""
        heads = self._joined_heads(" ")
        return csv_text(self.side_by_side.set_axis(heads[3:], axis=1).reset_index())

    def to_markdown(self) -> str:
        """`side_by_side` as a GitHub table below its caption; what repeats in the first two columns is left out."""
        lines = [self._joined_heads("<br>", markdown_text), ["---"] * 3 + ["---:"] * len(self.columns)]
        before = ("", "")
        for (*row, part), texts, best in zip(
            self.side_by_side.index, self.side_by_side.to_numpy(), self.bold.to_numpy(), strict=True
        ):
            first = ["" if row[:depth] == before[:depth] else markdown_text(row[depth - 1]) for depth in (1, 2)]
            cells = zip(map(markdown_text, texts), best, strict=True)
            lines.append([*first, part, *(f"**{text}**" if bold else text for text, bold in cells)])
            before = row
        return "\n".join([f"**{markdown_text(self.caption)}**", "", *map(markdown_line, lines), "", MARKS, ""])

    def to_html(self) -> str:
        """`side_by_side` as an HTML fragment: a captioned table of class ``fico-table`` and its marks."""
        table = (
            self._style(html_text)
            .set_caption(html_text(self.caption))
            .set_table_attributes('class="fico-table"')
            .to_html()
        )
        return f'<div class="fico-table-frame">\n{table}<p class="fico-marks">{MARKS}</p>\n</div>\n'

    _repr_html_ = to_html

    def to_latex(self) -> str:
        """`side_by_side` as a LaTeX table as wide as the text; needs booktabs and graphicx."""
        n = len(self.columns)
        body = self._style(latex_text).to_latex(
            hrules=True, multicol_align="c", multirow_align="naive", sparse_index=True, convert_css=True,
            column_format="lll" + ("r" if self.comparison else "l") * n, clines="skip-last;data",
        )  # fmt: skip
        # A full rule where a group ends, a short one where a system ends.
        group, system = rf"\cline{{1-{3 + n}}}", rf"\cline{{2-{3 + n}}}"
        body = body.replace(f"{group} {system}\n\\bottomrule", r"\bottomrule")
        body = body.replace(f"{group} {system}", r"\midrule").replace(system, rf"\cmidrule{{2-{3 + n}}}")
        # LaTeX counts its own
        caption = latex_text(f"{self.caption} {MARKS}".replace("Table", "The paper's Table", 1))
        return "\n".join([
            r"% needs \usepackage{booktabs,graphicx}", r"\begin{table*}", r"\centering", rf"\caption{{{caption}}}",
            rf"\label{{tab:{self.name}}}", r"\resizebox{\textwidth}{!}{%", body.rstrip() + "}", r"\end{table*}", "",
        ])  # fmt: skip

    def write(self, place: Run | str | Path) -> list[Path]:
        """Paths of the CSV, Markdown, HTML and LaTeX files, written to a folder or a run's ``tables/``."""
        texts = {"csv": self.to_csv(), "md": self.to_markdown(), "html": self.to_html(), "tex": self.to_latex()}
        return write_renditions(place, "tables", self.name, {e: text.encode() for e, text in texts.items()})


def markdown_line(cells: list[str]) -> str:
    """A line of a GitHub table."""
    return "| " + " | ".join(cells) + " |"
