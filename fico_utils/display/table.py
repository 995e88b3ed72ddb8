"""A table as cells: how a number or its absence is printed, which is best, and the files it becomes.

`Table` holds every cell of ours, of its interval, of the paper and of the difference under the same row and column
names, so that `frame`, `paper` and `side_by_side` are views of one thing, and `trace` says where each cell came from.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fico_utils.display.table_files import html_text, latex_text, markdown_text
from fico_utils.files import write_text
from fico_utils.workspace import Run

UNDEFINED, UNAVAILABLE, DNF, EXTRAPOLATED = "n/a", "–", "DNF", "†"
MARKS = (
    f"{UNDEFINED}: undefined for this system; {UNAVAILABLE}: unavailable; {DNF}: did not finish; "
    f"{EXTRAPOLATED}: extrapolated; ±: half a 95 % interval over images. "
    "Bold: best of its column, ours and the paper's each."
)
GIB = 2**30
INTERVAL = "± 95 %"  # the part that holds half the width of the interval of ours
REFERENCE = "Reference"  # the row group of chance and the perfect retriever


@dataclass(frozen=True)
class Cell:
    """One number of a table, or the reason why there is none.

    Attributes
    ----------
    value : float, as in the tidy tables (fraction, seconds, bytes); NaN where there is none.
    status : str, of the tidy row; ``unavailable`` where there is no row.
    spread : float, of the tidy row; where it reaches down to zero the value is an upper bound.
    text : str, printed as it stands, for cells that are words.
    where : str, the tidy row it is, or "".
    """

    value: float = math.nan
    status: str = "unavailable"
    spread: float = math.nan
    text: str = ""
    where: str = ""


@dataclass(frozen=True)
class Column:
    """A column: its header, top level first; what it holds; which end of it is best.

    Attributes
    ----------
    header : tuple of str
    kind : str, ``percent``, ``seconds``, ``gib`` or ``text``.
    best : str, ``max``, ``min`` or "" (no best).
    in_paper : bool, the paper has something that corresponds; without, only our lines have a cell there.
    """

    header: tuple[str, ...]
    kind: str
    best: str = ""
    in_paper: bool = True


def significant(value: float) -> str:
    """`value` with two decimals, or two digits below one.

    >>> significant(93.268), significant(0.0123), significant(0.5)
    ('93.27', '0.012', '0.50')
    """
    if value >= 0.995 or value == 0:
        return f"{value:.2f}"
    exponent = int(f"{value:.1e}".split("e")[1])  # of the rounded value: 0.0996 is 0.10
    return f"{value:.{1 - exponent}f}"


def printed(cell: Cell, kind: str, part: str) -> str:
    """A cell as it is printed in `part` (ours, `INTERVAL`, paper, difference, ratio).

    >>> printed(Cell(0.667, "ok"), "percent", "ours"), printed(Cell(status="dnf"), "seconds", "paper")
    ('66.7', 'DNF')
    """
    if cell.text:
        return cell.text
    if cell.status not in ("ok", "extrapolated"):
        return {"undefined": UNDEFINED, "dnf": DNF}.get(cell.status, UNAVAILABLE)
    mark = EXTRAPOLATED if cell.status == "extrapolated" else ""
    if part == INTERVAL:
        return f"±{100 * cell.value:.1f}"
    if part == "difference":
        return f"{round(100 * cell.value, 1) or 0.0:+.1f}{mark}"  # never -0.0
    if part == "ratio":
        return f"{significant(cell.value)}×{mark}"
    if kind == "percent":
        return f"{100 * cell.value:.1f}{mark}"
    if part == "paper" and cell.spread >= cell.value:
        return f"<{cell.value + cell.spread:.12g}"
    if kind == "seconds":  # the paper's with the digits that it prints
        return (f"{cell.value:.12g}" if part == "paper" else significant(cell.value)) + mark
    return significant(cell.value / GIB) + mark


@dataclass(frozen=True)
class Table:
    """A table of the paper: ours, the paper's, and how they differ.

    Attributes
    ----------
    name : str, ``table1`` ... ``table7``: the stem of its files.
    caption : str, what it shows, then profile, seed and corpora of our numbers.
    rows : tuple of (group, label), in order.
    columns : tuple of Column, in order; headers are unique and name the paper's corpora.
    cells : dict, (part, row, header) -> Cell; part is ``ours``, ``paper`` or `INTERVAL`; a missing cell is unavailable.
    comparison : str, ``difference`` (ours - paper) or ``ratio`` (ours / paper); "" where the cells are words.
    names : dict, the paper's corpus name -> that of the corpus whose numbers stand beside it.
    row_name : str, heading of the labels.
    best_in_group : bool, the best is sought in each row group, where groups are not comparable.
    """

    name: str
    caption: str
    rows: tuple[tuple[str, str], ...]
    columns: tuple[Column, ...]
    cells: dict[tuple[str, tuple[str, str], tuple[str, ...]], Cell]
    comparison: str
    names: dict[str, str]
    row_name: str = "System"
    best_in_group: bool = False

    def cell(self, part: str, row: tuple[str, str], column: Column) -> Cell:
        """The cell of a part; that of the comparison is made of the other two."""
        if part != self.comparison:
            return self.cells.get((part, row, column.header), Cell())
        ours, paper = self.cell("ours", row, column), self.cell("paper", row, column)
        if math.isnan(ours.value) or math.isnan(paper.value) or (part == "ratio" and paper.value == 0):
            return Cell()
        value = ours.value - paper.value if part == "difference" else ours.value / paper.value
        status = "extrapolated" if "extrapolated" in (ours.status, paper.status) else "ok"
        return Cell(value, status, where=f"{ours.where} | {paper.where}")

    def text(self, part: str, row: tuple[str, str], column: Column) -> str:
        """A cell of a part as it is printed; blank where the part has no such column."""
        if part in ("paper", self.comparison) and not column.in_paper:
            return ""
        if part == INTERVAL and (part, row, column.header) not in self.cells:
            return ""
        return printed(self.cell(part, row, column), column.kind, part)

    def has(self, part: str, row: tuple[str, str]) -> bool:
        """Whether a row of a part says more than "unavailable"."""
        return any(self.text(part, row, c) not in ("", UNAVAILABLE) for c in self.columns)

    def is_best(self, part: str, row: tuple[str, str], column: Column) -> bool:
        """Whether a cell holds the best of at least two numbers of its column (ties share it)."""
        if not column.best or part not in ("ours", "paper") or row[0] == REFERENCE:
            return False
        known = {r: self.cell(part, r, column).value for r in self.rows if r[0] == row[0] or not self.best_in_group}
        known = {r: v for r, v in known.items() if r[0] != REFERENCE and not math.isnan(v)}
        return len(known) > 1 and known.get(row) == (max if column.best == "max" else min)(known.values())

    # ------------------------------------------------------------------------------------------- as frames

    @property
    def frame(self) -> pd.DataFrame:
        """Ours in the paper's shape, printed."""
        return self._frame([(r, "ours") for r in self.rows], self.names, parts=False)

    @property
    def paper(self) -> pd.DataFrame:
        """The paper's own table, printed, without rows and columns that the paper has not."""
        rows = [(r, "paper") for r in self.rows if self.has("paper", r) and r[0] != REFERENCE]
        frame = self._frame(rows, {}, parts=False)
        return frame.loc[:, ~frame.isin(("", UNAVAILABLE)).all()]

    @property
    def side_by_side(self) -> pd.DataFrame:
        """Every row up to four times, printed: ours, its interval, the paper's, and how they differ."""
        return self._frame(self._stacked(), self._both_names(), parts=True)

    @property
    def trace(self) -> pd.DataFrame:
        """One row a cell: part, row, column, what is printed, value, status, and the tidy row it is."""
        rows = []
        for row, part in self._stacked():
            for column in self.columns:
                cell, text = self.cell(part, row, column), self.text(part, row, column)
                if text:
                    rows.append((part, *row, " ".join(column.header), text, cell.value, cell.status, cell.where))
        return pd.DataFrame(rows, columns=["part", "group", "row", "column", "printed", "value", "status", "where"])

    def _stacked(self) -> list[tuple[tuple[str, str], str]]:
        """(row, part) as in `side_by_side`: a system always has ours, the rest where it says something."""
        parts = filter(None, ("ours", INTERVAL, "paper", self.comparison))
        pairs = itertools.product(self.rows, parts)
        return [(r, p) for r, p in pairs if (p == "ours" and r[0] != REFERENCE) or self.has(p, r)]

    def _both_names(self) -> dict[str, str]:
        return {paper: f"{ours} beside {paper}" for paper, ours in self.names.items() if ours != paper}

    def _headers(self, names: dict[str, str]) -> list[tuple[str, ...]]:
        return [tuple(names.get(level, level) for level in c.header) for c in self.columns]

    def _frame(self, rows: Iterable[tuple[tuple[str, str], str]], names: dict[str, str], parts: bool) -> pd.DataFrame:
        rows = list(rows)
        index = [(*row, part) if parts else row for row, part in rows]
        levels = ["Group", self.row_name, "Source"] if parts else ["Group", self.row_name]
        headers = self._headers(names)
        body = [[self.text(part, row, c) for c in self.columns] for row, part in rows]
        return pd.DataFrame(
            body,
            index=pd.MultiIndex.from_tuples(index, names=levels),
            columns=pd.Index([h for (h,) in headers]) if len(headers[0]) == 1 else pd.MultiIndex.from_tuples(headers),
        )

    # -------------------------------------------------------------------------------------------- as files

    def _bold(self) -> pd.DataFrame:
        """Shape of `side_by_side`: true where a cell is the best of its column."""
        best = [[self.is_best(part, row, c) for c in self.columns] for row, part in self._stacked()]
        frame = self.side_by_side
        return pd.DataFrame(best, index=frame.index, columns=frame.columns)

    def _heads(self) -> list[tuple[str, ...]]:
        return self._headers(self._both_names())

    def to_csv(self) -> str:
        """`side_by_side` as CSV, one header line, levels joined by a blank."""
        frame = self.side_by_side
        frame.columns = [" ".join(filter(None, header)) for header in self._heads()]
        return frame.reset_index().to_csv(index=False, lineterminator="\n")

    def to_markdown(self, measured_only: bool = False) -> str:
        """`side_by_side` as a GitHub table; `measured_only` drops the rows without numbers of ours."""
        keep = [not measured_only or self.has("ours", row) for row, _ in self._stacked()]
        return markdown_text(self.side_by_side[keep], self._bold()[keep], self._heads(), self.caption, MARKS)

    def to_html(self) -> str:
        """`side_by_side` as an HTML fragment: a captioned table of class ``fico-table`` and its marks."""
        return html_text(self.side_by_side, self._bold(), self.name, self.caption, MARKS)

    def to_latex(self) -> str:
        """`side_by_side` as a LaTeX table as wide as the text; needs booktabs and graphicx."""
        words = self.comparison == ""
        caption = self.caption.replace("Table", "The paper's Table", 1)  # LaTeX counts its own
        return latex_text(self.side_by_side, self._bold(), self.name, f"{caption} {MARKS}", words)

    def _repr_html_(self) -> str:
        return self.to_html()

    def write(self, place: Run | str | Path) -> list[Path]:
        """Paths of the CSV, Markdown, HTML and LaTeX files, written to a folder or a run's ``tables/``."""
        folder = place.path("tables") if isinstance(place, Run) else Path(place)
        texts = {"csv": self.to_csv(), "md": self.to_markdown(), "html": self.to_html(), "tex": self.to_latex()}
        for ending, text in texts.items():
            write_text(folder / f"{self.name}.{ending}", text)
        return [folder / f"{self.name}.{ending}" for ending in texts]
