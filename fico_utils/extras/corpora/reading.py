"""What the readers of other people's files share: UTF-8 text, captions, paths that stay inside, JSON, CSV.

Every error says which file is wrong, and where in it.
"""

from __future__ import annotations

import csv
import io
import json
import os
import reprlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.escaping import HALF_LETTER, cell_text
from fico_utils.files import note

if TYPE_CHECKING:
    import pandas as pd

#: Words of the longest caption taken for one; real ones have some tens (COCO's longest fifty).
MAX_WORDS = 1000
#: Columns of a table, which take a millisecond each; and cells of one that has ten times as many as fields in it.
MAX_COLUMNS, MAX_CELLS = 4000, 20_000
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120


def show_value(value: Any) -> str:
    """A value out of somebody's file for a sentence: as Python writes it, cut where it is long or deep."""
    return _SHORT.repr(value)


#: Bytes of the longest file name and of the longest path that every system takes.
NAME_BYTES, PATH_BYTES = 255, 4095


def show_text(text: Any, length: int = 200) -> str:
    r"""A stranger's text as part of a sentence: on one line, escaped where it is no print, cut in the middle if long.

    >>> show_text("a\x1b[31m" + "b" * 300, 20)
    'a\\x1b[31m...bbbbbbbbb'
    """
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text)[: 10 * length])
    half = length // 2 - 1
    return text if len(text) <= length else f"{text[:half]}...{text[-half:]}"


def first_line(error: Exception) -> str:
    """The first line of what another library says is wrong, or the kind of its error where it says nothing."""
    lines = str(error).strip().splitlines()
    return show_text(lines[0].rstrip(".:")) if lines else type(error).__name__


def check_name(path: str | Path) -> Path:
    """A path to hand to the system; InputError where no file can have that name."""
    parts = os.fsencode(path).replace(b"\\", b"/").split(b"/")
    if max(map(len, parts)) > NAME_BYTES or len(os.fsencode(path)) > PATH_BYTES or "\0" in str(path):
        raise InputError(
            f"{show_text(path)} is no name of a file: it has {len(str(path))} characters, expected at most "
            f"{NAME_BYTES} between two /, and no NUL"
        )
    return Path(path)


def find_file(path: str | Path) -> Path:
    """The path of a file that is there; InputError where none is, or it may not be opened."""
    try:
        if check_name(path).is_file():
            open(path, "rb").close()
            return Path(path)
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}): give a file that may be read") from None
    raise InputError(f"there is no file {path}")


def read_utf8(path: str | Path) -> str:
    """The text of a file, without a byte order mark; InputError where it is missing or is not UTF-8, with the line."""
    path = find_file(path)
    data = path.read_bytes()
    note("read", path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path} line {line} holds byte 0x{data[error.start]:02x}, which is not UTF-8 there: save the file as UTF-8"
        ) from None


def read_lines(path: str | Path) -> list[str]:
    """The lines of a UTF-8 file, without their ends; a last empty line is none."""
    text = read_utf8(path).replace("\r\n", "\n")
    return text.removesuffix("\n").split("\n") if text else []


def clean_caption(text: Any, where: str) -> str:
    """A caption with single spaces between its words; refuses one without words or with more than `MAX_WORDS`.

    `where`, such as ``captions.csv line 7``, begins the sentence of the error.

    >>> clean_caption(" A dog  runs.\\n", "line 1")
    'A dog runs.'
    """
    if not isinstance(text, str) or HALF_LETTER.search(text):
        raise InputError(f"{where}: the caption is {show_value(text)}, expected a text")
    words = text.split()
    if not words:
        raise InputError(f"{where}: the caption is empty; write one, or leave the line out")
    if len(words) > MAX_WORDS:
        raise InputError(
            f"{where}: the caption has {len(words)} words, expected at most {MAX_WORDS}; "
            "is this a document, or a file with other line ends?"
        )
    return " ".join(words)


def path_inside(folder: str | Path, name: Any, where: str) -> str:
    """The path of ``name`` below ``folder``; InputError where it would lie elsewhere.

    >>> path_inside("images", "val2014/a.jpg", "entry 1")
    'images/val2014/a.jpg'
    """
    parts = name.split("/") if isinstance(name, str) else [""]
    if "" in parts or "." in parts or ".." in parts or "\\" in name or "\0" in name:
        raise InputError(
            f"{where}: file name {show_value(name)} does not lie inside {folder}; expected one such as 'a.jpg'"
        )
    return f"{folder}/{name}"


def parse_json(text: str, where: str | Path, keys: Iterable[str] | None = None) -> Any:
    """The value that a JSON text writes; with `keys`, of every object in it only what stands under them.

    What else an object holds is dropped as soon as that object is read: COCO's outlines take ten times the rest.
    """
    wanted = None if keys is None else frozenset(keys)

    def keep_wanted(entry: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in entry.items() if key in wanted}

    try:
        return json.loads(text, object_hook=None if keys is None else keep_wanted)
    except (ValueError, RecursionError, MemoryError) as error:
        remedy = "name it .jsonl if each line is an object" if "Extra data" in str(error) else "get it again"
        raise InputError(f"{where} is truncated or no JSON ({first_line(error)}): {remedy}") from None


def read_json_object(path: str | Path, keys: Iterable[str] | None = None) -> dict[str, Any]:
    """The object in a JSON file, see `parse_json`; InputError where there is no such file, or no object in it."""
    content = parse_json(read_utf8(path), path, keys)
    if not isinstance(content, dict):
        raise InputError(f"{path} holds {show_value(content)}, expected a JSON object: is it of another kind?")
    return content


@dataclass(frozen=True)
class Table:
    """A CSV file, all of it text (an empty field is ''), and the lines (n_rows,) on which its rows begin."""

    path: Path
    frame: pd.DataFrame
    lines: np.ndarray

    def where(self, row: int) -> str:
        """File and line of a row, as sentences about it begin."""
        return f"{self.path} line {self.lines[row]}"

    def marks(self, columns: list[str]) -> np.ndarray:
        """The columns as uint8 (n_rows, n_columns); InputError where a field is neither 0 nor 1."""
        values = self.frame[columns].to_numpy(str)
        for row, column in np.argwhere((values != "0") & (values != "1"))[:1]:
            name, value = show_text(columns[column]), show_value(str(values[row, column]))
            raise InputError(f"{self.where(row)}: {name} is {value}, expected 0 or 1")
        return (values == "1").astype(np.uint8)


def read_table(path: str | Path, columns: tuple[str, ...] = (), separators: str = ",") -> Table:
    """A UTF-8 CSV file with a header that has `columns` at least; quoted fields may run over several lines.

    Of the `separators`, the one that the header has most of counts. Between tabs or bars a quotation mark is often just
    one, so that it quotes only where all of them do.

    InputError where there is no such file, or it is not UTF-8, or lacks its header or a column, or a row is longer.
    """
    import pandas as pd

    path, text = Path(path), read_utf8(path)
    header = text.partition("\n")[0]
    separator = max(separators, key=header.count)
    columns_there, lines = header.count(separator) + 1, text.count("\n") + 1
    if columns_there > MAX_COLUMNS:
        raise InputError(
            f"{path} has {columns_there} columns, expected at most {MAX_COLUMNS}: write labels as rows of image,label"
        )
    if columns_there * lines > max(MAX_CELLS, 10 * (text.count(separator) + lines)):  # which pandas would fill up
        raise InputError(
            f"{path} has a header of {columns_there} columns, and most of its rows have far fewer: write a field for "
            "each column"
        )
    options = {"sep": separator, "quoting": csv.QUOTE_MINIMAL if _quotes(text, separator) else csv.QUOTE_NONE}
    try:
        frame = pd.read_csv(
            io.StringIO(text), dtype=str, keep_default_na=False, na_filter=False, skip_blank_lines=False, **options
        )
    except Exception as error:  # whatever pandas makes of a stranger's text
        reason = first_line(error).removeprefix("Error tokenizing data. C error: ")
        raise InputError(f"{path} cannot be read as CSV ({reason}): quote fields that hold a comma") from None
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes surplus fields for row names
        raise InputError(f"{path} has rows longer than its header: quote fields that hold a comma")
    # as lists, since pandas takes a millisecond for each column
    names, rows = [str(name).strip() for name in frame.columns], frame.to_numpy(object).tolist()
    rows = [[cell_text(cell) for cell in row] for row in rows]
    frame = pd.DataFrame(rows, columns=names, dtype=object)
    if not frame.columns.is_unique or not set(columns) <= set(frame.columns):
        expected = ", ".join((*columns, "each name once"))
        raise InputError(f"{path} has columns {show_text(', '.join(frame.columns))}, expected {expected}")
    breaks = np.array([sum(cell.count("\n") for cell in row) for row in rows], np.int64)
    return Table(path, frame, 2 + np.arange(len(frame)) + np.cumsum(breaks) - breaks)


def rows_by_id(ids: Iterable[str], wanted: Iterable[str], path: str | Path, where: Callable[[int], str]) -> list[int]:
    """For each wanted image its row among the `ids` of a table; InputError where an image has two rows, or none.

    `where` says in words where a row stands.
    """
    row_of: dict[str, int] = {}
    for row, image in enumerate(ids):
        if row_of.setdefault(image, row) != row:
            first = where(row_of[image])
            raise InputError(f"{where(row)}: image {show_value(image)} stands in {first} already, expected once")
    absent = [image for image in wanted if image not in row_of]
    if absent:
        raise InputError(
            f"{path} has no row for image {show_value(absent[0])} ({len(absent)} such images), expected one for each: "
            "is it of another corpus?"
        )
    return [row_of[image] for image in wanted]


def _quotes(text: str, separator: str) -> bool:
    """Whether the quotation marks of a table quote fields; a CSV file is taken at its word."""
    try:
        return separator == "," or bool(list(csv.reader(io.StringIO(text), delimiter=separator, strict=True)))
    except csv.Error:
        return False
