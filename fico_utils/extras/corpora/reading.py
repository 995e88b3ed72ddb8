"""What the readers of other people's files share: UTF-8 text, captions, paths that stay inside, JSON piece by piece.

Every function says which file and where in it something is wrong.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fico_utils.errors import InputError

#: Words of the longest caption taken for one; real ones have some tens (COCO's longest fifty).
MAX_WORDS = 1000
#: Characters of a JSON file that are read at a time, and those that one element of an array may take.
CHUNK, LARGEST = 2**22, 2**26


def read_utf8(path: str | Path) -> str:
    """The text of a file, without a byte order mark.

    Raises
    ------
    InputError
        No such file, or bytes that are not UTF-8, with their line.
    """
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


def caption(text: Any, where: str, sentence: int | None = None) -> str:
    """A caption with single spaces between its words; refuses one without words or with more than `MAX_WORDS`.

    Parameters
    ----------
    text : str
    where : str, such as ``captions.csv line 7``, which begins the sentence of the error.
    sentence : int, its number at that place, where there are several.

    >>> caption(" A dog  runs.\\n", "line 1")
    'A dog runs.'
    """
    words = text.split() if isinstance(text, str) else []
    if 0 < len(words) <= MAX_WORDS:
        return " ".join(words)
    where += "" if sentence is None else f" sentence {sentence}"
    if not isinstance(text, str):
        raise InputError(f"{where}: the caption is {text!r}, expected a text")
    if not words:
        raise InputError(f"{where}: the caption is empty; write one, or leave the line out")
    raise InputError(
        f"{where}: the caption has {len(words)} words, expected at most {MAX_WORDS}; "
        "is this a document, or a file with other line ends?"
    )


def captions(texts: list[Any], where: str) -> list[str]:
    """`caption` of each text of one place; a message counts them from 0."""
    try:
        cleaned = [" ".join(text.split()) for text in texts]
    except AttributeError:
        cleaned = [""]
    if all(0 < len(text) < 2 * MAX_WORDS for text in cleaned):  # a word takes two characters, so no text has too many
        return cleaned
    return [caption(text, where, number) for number, text in enumerate(texts)]


def inside(folder: str | Path, name: Any, where: str) -> str:
    """The path of ``name`` below ``folder``; InputError where it would lie elsewhere.

    >>> inside("images", "val2014/a.jpg", "entry 1")
    'images/val2014/a.jpg'
    """
    parts = name.split("/") if isinstance(name, str) else [""]
    if "" in parts or "." in parts or ".." in parts or "\\" in name or "\0" in name:
        raise InputError(f"{where}: file name {name!r} does not lie inside {folder}; expected one such as 'a.jpg'")
    return f"{folder}/{name}"


def missing_files(paths: Iterable[str]) -> list[int]:
    """Positions of the paths at which no file lies; each folder is listed once, so 100 000 take a tenth of a second."""
    listed: dict[str, set[str]] = {}
    missing = []
    for position, path in enumerate(paths):
        folder, name = os.path.split(path)
        if folder not in listed:
            listed[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if name not in listed[folder]:
            missing.append(position)
    return missing


def json_items(path: str | Path) -> Iterator[tuple[str, Any]]:
    """The content of a JSON object in a file, in pieces: (key, element) for each of an array, else (key, value).

    Only one element is held at a time, so that a file of gigabytes takes no more memory than a small one.

    Raises
    ------
    InputError
        No such file, not UTF-8, truncated, or no JSON object.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from _Pieces(file).items()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 ({error.reason}): save it as UTF-8") from None
    except json.JSONDecodeError:
        raise InputError(f"{path} is truncated or no JSON object: get it again") from None


class _Pieces:
    """A JSON object read from a file in chunks; ``at`` is the place in the text held."""

    def __init__(self, file):
        self.file, self.text, self.at = file, "", 0
        self.decode = json.JSONDecoder().raw_decode

    def more(self) -> None:
        """Hold one chunk more, and let go of what was read."""
        chunk = self.file.read(CHUNK)
        if not chunk or len(self.text) - self.at > LARGEST:
            raise json.JSONDecodeError("truncated", "", 0)
        self.text, self.at = self.text[self.at :] + chunk, 0

    def next(self) -> str:
        """The next character that is no space; stays before it."""
        while True:
            while self.at < len(self.text):
                if not self.text[self.at].isspace():
                    return self.text[self.at]
                self.at += 1
            self.more()

    def take(self, expected: str) -> str:
        """The next character, which must be one of ``expected``; goes past it."""
        found = self.next()
        if found not in expected:
            raise json.JSONDecodeError("unexpected", found, 0)
        self.at += 1
        return found

    def value(self) -> Any:
        """The value that begins here; goes past it. One that ends with the text held may go on in the next chunk."""
        self.next()
        while True:
            try:
                value, end = self.decode(self.text, self.at)
                if end < len(self.text):
                    self.at = end
                    return value
            except json.JSONDecodeError:
                pass
            self.more()

    def items(self) -> Iterator[tuple[str, Any]]:
        """All pieces of the object."""
        self.take("{")
        if self.next() == "}":
            return
        while True:
            key = self.value()
            self.take(":")
            if self.next() == "[":
                self.take("[")
                if self.next() == "]":
                    self.take("]")
                else:
                    yield key, self.value()
                    while self.take(",]") == ",":
                        yield key, self.value()
            else:
                yield key, self.value()
            if self.take(",}") == "}":
                return
