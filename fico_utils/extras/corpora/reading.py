"""What the readers of other people's files share: UTF-8 text, captions, paths that stay inside, JSON, CSV.

Every error says which file is wrong, and where in it.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.escaping import cell_text

if TYPE_CHECKING:
    import pandas as pd

#: Words of the longest caption taken for one; real ones have some tens (COCO's longest fifty).
MAX_WORDS = 1000


def first_line(error: Exception) -> str:
    """The first line of what another library says is wrong, or the kind of its error where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__


def read_utf8(path: str | Path) -> str:
    """The text of a file, without a byte order mark; InputError where it is missing or is not UTF-8, with the line."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    data = path.read_bytes()
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
    if not isinstance(text, str):
        raise InputError(f"{where}: the caption is {text!r}, expected a text")
    words = text.split()
    if not words:
        raise InputError(f"{where}: the caption is empty; write one, or leave the line out")
    if len(words) > MAX_WORDS:
        raise InputError(
            f"{where}: the caption has {len(words)} words, expected at most {MAX_WORDS}; "
            "is this a document, or a file with other line ends?"
        )
    return re.sub("[\ud800-\udfff]", "\ufffd", " ".join(words))  # halves of characters, which JSON may hold


def path_inside(folder: str | Path, name: Any, where: str) -> str:
    """The path of ``name`` below ``folder``; InputError where it would lie elsewhere.

    >>> path_inside("images", "val2014/a.jpg", "entry 1")
    'images/val2014/a.jpg'
    """
    parts = name.split("/") if isinstance(name, str) else [""]
    if "" in parts or "." in parts or ".." in parts or "\\" in name or "\0" in name:
        raise InputError(f"{where}: file name {name!r} does not lie inside {folder}; expected one such as 'a.jpg'")
    return f"{folder}/{name}"


def read_json_object(path: str | Path, keys: Iterable[str] | None = None) -> dict[str, Any]:
    """The JSON object in a file; with `keys`, of it and of every object in it only what stands under them.

    What else an object holds is dropped as soon as that object is read: COCO's outlines take ten times the rest.

    InputError where there is no such file, or it is not UTF-8, truncated, or no JSON object.
    """
    text, wanted = read_utf8(path), None if keys is None else frozenset(keys)

    def keep_wanted(entry: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in entry.items() if key in wanted}

    try:
        content = json.loads(text, object_hook=None if keys is None else keep_wanted)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{path} is truncated or no JSON object: get it again")
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
            raise InputError(f"{self.where(row)}: {columns[column]} is {str(values[row, column])!r}, expected 0 or 1")
        return (values == "1").astype(np.uint8)


def read_table(path: str | Path, columns: tuple[str, ...] = ()) -> Table:
    """A UTF-8 CSV file with a header that has `columns` at least; quoted fields may run over several lines.

    InputError where there is no such file, or it is not UTF-8, or lacks its header or a column, or a row is longer.
    """
    import pandas as pd

    path, text = Path(path), read_utf8(path)
    try:
        frame = pd.read_csv(
            io.StringIO(text), dtype=str, keep_default_na=False, na_filter=False, skip_blank_lines=False
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = str(error).strip().splitlines()[0].removeprefix("Error tokenizing data. C error: ")
        raise InputError(f"{path} cannot be read as CSV ({reason}): quote fields that hold a comma") from None
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes surplus fields for row names
        raise InputError(f"{path} has rows longer than its header: quote fields that hold a comma")
    frame.columns = [str(name).strip() for name in frame.columns]
    frame = frame.map(cell_text)
    if not set(columns) <= set(frame.columns):
        raise InputError(f"{path} has columns {', '.join(frame.columns)}, expected {', '.join(columns)}")
    breaks = sum((frame[name].str.count("\n").to_numpy() for name in frame.columns), np.zeros(len(frame), np.int64))
    return Table(path, frame, 2 + np.arange(len(frame)) + np.cumsum(breaks) - breaks)
