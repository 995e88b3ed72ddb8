"""What people write is text everywhere: in HTML, Markdown, LaTeX, spreadsheets, and on a terminal.

One function a syntax. Each takes any text and gives what reads as that text there, and adds no element and no command.
What cannot be shown (control characters, overrides of the writing direction, half characters) becomes U+FFFD first.
"""

from __future__ import annotations

import csv
import html
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

#: Half a surrogate pair, which JSON can write and no file can hold.
HALF_LETTER = re.compile("[\ud800-\udfff]")
#: Control characters but tab and line feed, line separators, direction overrides and isolates, surrogates, two that
#: XML forbids, and the mark of byte order, on which matplotlib's PDF breaks.
_UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]")
_MARKDOWN = re.compile(r"[\\`*_{}\[\]#|~$&]|<(?=[A-Za-z/!?])")
_LATEX = {
    **{sign: f"\\{sign}" for sign in "#$%&_{}"}, "\\": r"\textbackslash{}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    **{sign: f"{{{sign}}}" for sign in "[]"},  # an option of the \\ before them, otherwise
    "–": "--", "†": r"\textdagger{}", "‡": r"\textdaggerdbl{}", "×": r"$\times$", "±": r"$\pm$",
}  # fmt: skip
#: What a spreadsheet takes for a formula: a text that begins so and is no number, with or without a mark of ours.
_FORMULA = re.compile(r"(?![+-]\d*\.?\d+[†×]?\Z)'*[=+\-@\t\r\n＝＋－＠]")


def printable(text: str) -> str:
    r"""`text` with what cannot be shown as U+FFFD; tabs and line feeds stay.

    >>> printable("a\x1b[2Jb")
    'a�[2Jb'
    """
    return _UNSHOWN.sub("\ufffd", text)


def one_line(text: str) -> str:
    """`text` as `printable`, with single spaces between its words."""
    return printable(" ".join(text.split()))


def html_text(text: str) -> str:
    """`text` for the content or a quoted attribute of an HTML element."""
    return html.escape(printable(text))


def markdown_text(text: str) -> str:
    r"""`text` for a line or a cell of a GitHub table.

    >>> markdown_text("a|b <b> < 5")
    'a\\|b \\<b> < 5'
    """
    return _MARKDOWN.sub(r"\\\g<0>", one_line(text))


def latex_text(text: str) -> str:
    r"""`text` for a line or a cell of LaTeX; letters beyond ASCII stay, and need an engine that knows them.

    >>> latex_text(r"\input{x} 5 %")
    '\\textbackslash{}input\\{x\\} 5 \\%'
    """
    return "".join(_LATEX.get(sign, sign) for sign in one_line(text))


def spreadsheet_cell(value: Any) -> Any:
    """A cell of a CSV file: a text that a spreadsheet would take for a formula gets an apostrophe in front.

    So does one that has apostrophes before such a sign, so that `cell_text` gives every text back (but for half
    characters, which no file can hold). Numbers, and texts that are numbers, stay.

    >>> [spreadsheet_cell(value) for value in ("=1+1", "'=1", "-0.5", -0.5)]
    ["'=1+1", "''=1", '-0.5', -0.5]
    """
    if not isinstance(value, str):
        return value
    return HALF_LETTER.sub("\ufffd", f"'{value}" if _FORMULA.match(value) else value)


def cell_text(cell: str) -> str:
    """The text that `spreadsheet_cell` wrote.

    >>> [cell_text(cell) for cell in ("'=1+1", "''=1", "'tis")]
    ['=1+1', "'=1", "'tis"]
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


def csv_text(frame: pd.DataFrame, float_format: str | None = None) -> str:
    """A table as a CSV file with a header, each text as `spreadsheet_cell`."""
    frame = frame.rename(columns=spreadsheet_cell)
    for column in frame.select_dtypes(exclude="number"):
        frame[column] = frame[column].map(spreadsheet_cell)
    how = {"index": False, "float_format": float_format, "lineterminator": "\n"}
    text = frame.to_csv(**how)
    # Python before 3.13 does not quote a lone carriage return, which ends a line for readers
    return frame.to_csv(**how, quoting=csv.QUOTE_NONNUMERIC) if "\r" in text else text
