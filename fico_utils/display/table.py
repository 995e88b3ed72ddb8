"""A table as cells: how a number or its absence is printed, which is best, and the four files that it becomes."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

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
LATEX = {"–": "--", "†": r"\textdagger{}", "‡": r"\textdaggerdbl{}", "×": r"$\times$", "±": r"$\pm$"}


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
    if kind == "seconds" and part == "paper":  # with the digits that it prints
        return f"{cell.value:.12g}{mark}"
    return significant(cell.value / GIB if kind == "gib" else cell.value) + mark


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

    @property
    def frame(self) -> pd.DataFrame:
        """Ours in the paper's shape, printed."""
        return self._frame([("ours", r) for r in self.rows], self._headers(self.names)).droplevel("Source")

    @property
    def paper(self) -> pd.DataFrame:
        """The paper's own table, printed, without rows and columns that the paper has not."""
        rows = [("paper", r) for r in self.rows if self.has("paper", r) and r[0] != REFERENCE]
        frame = self._frame(rows, self._headers({})).droplevel("Source")
        return frame.loc[:, ~frame.isin(("", UNAVAILABLE)).all()]

    @property
    def side_by_side(self) -> pd.DataFrame:
        """Every row up to four times, printed: ours, its interval, the paper's, and how they differ."""
        return self._frame(self._lines(), self._heads())

    @property
    def trace(self) -> pd.DataFrame:
        """One row a cell: part, row, column, what is printed, value, status, and the tidy row it is."""
        rows = []
        for (part, row), column in itertools.product(self._lines(), self.columns):
            cell, text = self.cell(part, row, column), self.text(part, row, column)
            if text:
                rows.append((part, *row, " ".join(column.header), text, cell.value, cell.status, cell.where))
        return pd.DataFrame(rows, columns=["part", "group", "row", "column", "printed", "value", "status", "where"])

    def _lines(self) -> list[tuple[str, tuple[str, str]]]:
        """(part, row) as in `side_by_side`: a system always has ours, the rest where it says something."""
        parts = filter(None, ("ours", INTERVAL, "paper", self.comparison))
        pairs = itertools.product(self.rows, parts)
        return [(p, r) for r, p in pairs if (p == "ours" and r[0] != REFERENCE) or self.has(p, r)]

    def _headers(self, names: dict[str, str]) -> list[tuple[str, ...]]:
        return [tuple(names.get(level, level) for level in c.header) for c in self.columns]

    def _heads(self) -> list[tuple[str, ...]]:
        """Headers that name our corpus beside the paper's."""
        return self._headers({paper: f"{ours} beside {paper}" for paper, ours in self.names.items() if ours != paper})

    def _frame(self, lines: list[tuple[str, tuple[str, str]]], headers: list[tuple[str, ...]]) -> pd.DataFrame:
        body = [[self.text(part, row, c) for c in self.columns] for part, row in lines]
        index = pd.MultiIndex.from_tuples([(*row, p) for p, row in lines], names=["Group", self.row_name, "Source"])
        columns = pd.Index([h for (h,) in headers]) if len(headers[0]) == 1 else pd.MultiIndex.from_tuples(headers)
        return pd.DataFrame(body, index=index, columns=columns)

    def _bold(self) -> pd.DataFrame:
        """Shape of `side_by_side`: true where a cell is the best of its column."""
        best = [[self.is_best(part, row, c) for c in self.columns] for part, row in self._lines()]
        frame = self.side_by_side
        return pd.DataFrame(best, index=frame.index, columns=frame.columns)

    def _style(self):
        """Styler of `side_by_side`: bold best, fixed ids, so that same input gives same bytes."""
        from pandas.io.formats.style import Styler

        bold = self._bold().map(lambda best: "font-weight: bold" if best else "")
        return Styler(self.side_by_side, uuid=self.name, cell_ids=False).apply(lambda _: bold, axis=None)

    def to_csv(self) -> str:
        """`side_by_side` as CSV, one header line, levels joined by a blank."""
        frame = self.side_by_side
        frame.columns = [" ".join(filter(None, header)) for header in self._heads()]
        return frame.reset_index().to_csv(index=False, lineterminator="\n")

    def to_markdown(self, measured_only: bool = False) -> str:
        """`side_by_side` as a GitHub table below its caption; what repeats in the first two columns is left out.

        `measured_only` drops the rows without numbers of ours.
        """
        head = ["Group", self.row_name, "Source", *("<br>".join(filter(None, h)) for h in self._heads())]
        lines = [head, ["---"] * 3 + ["---:"] * len(self.columns)]
        before = ("", "")
        for part, row in self._lines():
            if not measured_only or self.has("ours", row):
                texts = [f"**{self.text(part, row, c)}**" if self.is_best(part, row, c) else self.text(part, row, c)
                         for c in self.columns]  # fmt: skip
                group, label = "" if row[0] == before[0] else row[0], "" if row == before else row[1]
                lines.append([group, label, part, *texts])
                before = row
        return "\n".join([f"**{self.caption}**", "", *map(markdown_line, lines), "", MARKS, ""])

    def to_html(self) -> str:
        """`side_by_side` as an HTML fragment: a captioned table of class ``fico-table`` and its marks."""
        table = self._style().set_caption(self.caption).set_table_attributes('class="fico-table"').to_html()
        return f'<div class="fico-table-frame">\n{table}<p class="fico-marks">{MARKS}</p>\n</div>\n'

    _repr_html_ = to_html

    def to_latex(self) -> str:
        """`side_by_side` as a LaTeX table as wide as the text; needs booktabs and graphicx."""
        n = len(self.columns)
        style = self._style().format(escape="latex")
        body = style.format_index(escape="latex", axis=0).format_index(escape="latex", axis=1).to_latex(
            hrules=True, multicol_align="c", multirow_align="naive", sparse_index=True, convert_css=True,
            column_format="lll" + ("r" if self.comparison else "l") * n, clines="skip-last;data",
        )  # fmt: skip
        # A full rule where a group ends, a short one where a system ends.
        group, system = rf"\cline{{1-{3 + n}}}", rf"\cline{{2-{3 + n}}}"
        body = body.replace(f"{group} {system}\n\\bottomrule", r"\bottomrule")
        body = body.replace(f"{group} {system}", r"\midrule").replace(system, rf"\cmidrule{{2-{3 + n}}}")
        caption = self.caption.replace("Table", "The paper's Table", 1)  # LaTeX counts its own
        caption = re.sub(r"([%&_#$])", r"\\\1", f"{caption} {MARKS}")
        text = "\n".join([
            r"% needs \usepackage{booktabs,graphicx}", r"\begin{table*}", r"\centering", rf"\caption{{{caption}}}",
            rf"\label{{tab:{self.name}}}", r"\resizebox{\textwidth}{!}{%", body.rstrip() + "}", r"\end{table*}", "",
        ])  # fmt: skip
        for sign, command in LATEX.items():
            text = text.replace(sign, command)
        return text

    def write(self, place: Run | str | Path) -> list[Path]:
        """Paths of the CSV, Markdown, HTML and LaTeX files, written to a folder or a run's ``tables/``."""
        folder = place.path("tables") if isinstance(place, Run) else Path(place)
        texts = {"csv": self.to_csv(), "md": self.to_markdown(), "html": self.to_html(), "tex": self.to_latex()}
        for ending, text in texts.items():
            write_text(folder / f"{self.name}.{ending}", text)
        return [folder / f"{self.name}.{ending}" for ending in texts]


def markdown_line(cells: list[str]) -> str:
    """A line of a GitHub table."""
    return "| " + " | ".join(cells) + " |"
