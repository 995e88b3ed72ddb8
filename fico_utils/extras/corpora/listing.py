"""What a text file says of a corpus: its images and captions, out of each format in which people publish them.

A table (comma, tab, bar or semicolon), JSON lines, a JSON list as ALBEF and BLIP use it, COCO's ``captions_*.json`` and
Karpathy's JSON all become entries (image, captions, split, where), and `collect` makes one `Listing` of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.extras.corpora import reading
from fico_utils.extras.corpora.reading import HALF_LETTER, clean_caption, path_inside, show_value

#: What the image and the caption may be called, the first that is there counts; Flickr30K's table says image_name.
IMAGE_NAMES = ("image", "file_name", "filename", "filepath", "image_name")
CAPTION_NAMES = ("caption", "title", "text", "comment")
#: Karpathy's ``restval`` joins train, as in every paper since; every other split is called here as it is in the file.
JOINS = {"restval": "train"}
#: What else is read of a JSON file; COCO's outlines and scores are not.
KEYS = (
    *("dataset", "images", "cocoid", "filepath", "filename", "split", "sentences", "raw"),
    *("annotations", "id", "image_id"),
)
Names = tuple[str, ...]
#: Image, one caption or a list of them, split and place in the file. An empty list says that there is such an image.
Entry = tuple[str, Any, Any, str]


@dataclass(frozen=True, eq=False)
class Listing:
    """A corpus as its files say it."""

    images: list[str]  # n_img, unique: the path below ``images/``, or as the file writes it, with /
    captions: list[str]  # n_txt, in the order of the file, with single spaces; what stands there twice stays twice
    caption_image: np.ndarray  # (n_txt,) int64, the position of each caption's image; an image may have no caption
    splits: list[str | None]  # n_img, None where nothing says it
    labels: np.ndarray | None = None  # (n_img, n_labels) uint8, multi-hot
    label_names: Names = ()
    regions: Any = None  # SCAN's arrays (n_img, regions, width), memory-mapped
    paths: list[str] | None = None  # n_img, the files of the pictures

    def choose(self, split: str | None, leave_out: Collection[str], place: str | Path) -> Listing:
        """The images of one split, or of all, without those that `leave_out` names; captions keep their order.

        InputError where `place` has no such split, or nothing remains.
        """
        if split is not None and split not in self.splits:
            there = ", ".join(dict.fromkeys(filter(None, self.splits))) or "none: leave split out"
            raise InputError(f"{place} has no split {show_value(split)}; those that it has are {there}")
        named = enumerate(zip(self.images, self.splits, strict=True))
        rows = [row for row, (image, part) in named if split in (None, part) and image not in leave_out]
        if not rows:
            raise InputError(f"{place} has no image that problems.csv does not list, expected one: get its pictures")
        texts, given = np.flatnonzero(np.isin(self.caption_image, rows)), ("images", "splits", "paths")
        return replace(
            self,
            captions=[self.captions[text] for text in texts],
            caption_image=np.searchsorted(rows, self.caption_image[texts]),
            labels=None if self.labels is None else self.labels[rows],
            **{name: [getattr(self, name)[row] for row in rows] for name in given if getattr(self, name)},
        )


def read_listing(
    path: str | Path, image_column: str | None = None, caption_column: str | None = None, below: Path | None = None
) -> Listing:
    """The `Listing` of a file, by its ending and content.

    `image_column` and `caption_column` name the columns of a table, or the keys of an object, that are called neither
    `IMAGE_NAMES` nor `CAPTION_NAMES`; `below` is that of `collect`.

    InputError names what is wrong first, with its line, or its place in a list counted from 0.
    """
    names = (
        IMAGE_NAMES if image_column is None else (image_column,),
        CAPTION_NAMES if caption_column is None else (caption_column,),
    )
    suffix = Path(path).suffix.lower()
    if suffix == ".json":
        entries = _json_entries(path, *names)
    elif suffix == ".jsonl":
        lines = ((f"{path} line {n}", line) for n, line in enumerate(reading.read_lines(path), 1) if line.strip())
        entries = _record_entries(((where, reading.parse_json(line, where)) for where, line in lines), *names)
    elif suffix in (".csv", ".tsv", ".txt"):
        entries = _table_entries(path, *names)
    else:
        raise InputError(f"{path} is none of .json, .jsonl, .csv, .tsv and .txt: give such a file, or its folder")
    return collect(path, entries, below)


def collect(path: str | Path, entries: Iterable[Entry], below: Path | None = None) -> Listing:
    """The `Listing` of the entries of a file; an image that is named again is the same image.

    Where the folder `below` is given, all images must lie in it, and may be named from the folder around it.
    """
    row_of: dict[str, int] = {}
    captions, index, splits = [], [], []
    around = "" if below is None or (below / below.name).is_dir() else f"{below.name}/"
    for name, texts, split, where in entries:
        known = isinstance(name, str) and name in row_of
        image = name if known else plain_name(name, where).removeprefix(around)
        if not isinstance(split, str | None) or HALF_LETTER.search(split or ""):
            raise InputError(f"{where}: the split is {show_value(split)}, expected a text such as 'test'")
        split = JOINS.get(split, split) or None
        if image not in row_of:
            if below is not None:
                path_inside(below, image, where)
            row_of[image] = len(row_of)
            splits.append(split)
        elif texts == [] or split != splits[row_of[image]]:
            raise InputError(f"{where}: image {show_value(image)} is there before, expected it once and in one split")
        for text in texts if isinstance(texts, list) else [texts]:
            captions.append(clean_caption(text, where))
            index.append(row_of[image])
    if not captions:
        raise InputError(f"{path} has no rows or entries with a caption, expected one: is it a file of another kind?")
    return Listing(list(row_of), captions, np.array(index, np.int64), splits)


def plain_name(name: Any, where: str) -> str:
    r"""The name of an image's file with / between folders; InputError where it is no text or climbs to other folders.

    >>> plain_name(".\\val2014\\a.jpg", "line 1")
    'val2014/a.jpg'
    """
    plain = name.strip().replace("\\", "/").removeprefix("./") if isinstance(name, str) else ""
    if not plain or ".." in plain.split("/") or "\0" in plain or HALF_LETTER.search(plain):
        raise InputError(
            f"{where}: file name {show_value(name)} does not lie inside its folder; expected one such as 'a.jpg'"
        )
    return plain


def _field(record: Any, names: Names, what: str, where: str) -> Any:
    """What stands in a record under the first of some names that it has."""
    if not isinstance(record, dict):
        raise InputError(f"{where} is {show_value(record)}, expected an object such as {{{names[0]!r}: ...}}")
    for name in names:
        if name in record:
            return record[name]
    remedy = f", or name it with {what}_column" if len(names) > 1 else ""
    raise InputError(f"{where} has no {what}; expected it under {', '.join(names)}{remedy}")


def _listed(where: str | Path, holder: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Place and value of each entry of a list in an object."""
    entries = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(entries, list):
        raise InputError(
            f"{where} has no list {name!r}; expected Karpathy's JSON (images with sentences), COCO's (images and "
            "annotations), or a list of entries with image and caption"
        )
    return ((f"{where} {name.removesuffix('s')} {n}", entry) for n, entry in enumerate(entries))


def _record_entries(records: Iterable[tuple[str, Any]], images: Names, captions: Names) -> Iterator[Entry]:
    """Entries of objects that hold an image and its caption, or a list of captions."""
    for where, record in records:
        image = _field(record, images, "image", where)
        yield image, _field(record, captions, "caption", where), record.get("split"), where


def _table_entries(path: str | Path, images: Names, captions: Names) -> Iterator[Entry]:
    """Entries of a table.

    Flickr30K's published one lacks a bar in one line, so that a caption stands behind its number, in the field before.
    """
    table = reading.read_table(path, separators="\t|,;")
    names = list(table.frame.columns)
    column_of = {name.lower(): name for name in reversed(names)} | {name: name for name in names}
    where = f"{path} with the columns {reading.show_text(', '.join(names))}"
    image, caption = _field(column_of, images, "image", where), _field(column_of, captions, "caption", where)
    texts, before = table.frame[caption], table.frame[names[names.index(caption) - 1]]
    joined = before.str.fullmatch(r"\s*\d+\s+\S.*") & (texts == "")
    if joined.any() and (joined | before.str.fullmatch(r"\s*\d+\s*")).all():
        texts = texts.where(~joined, before.str.replace(r"^\s*\d+", "", regex=True))
    splits = table.frame[column_of["split"]] if "split" in column_of else [None] * len(texts)
    places = map(table.where, range(len(texts)))
    return zip(table.frame[image], texts, splits, places, strict=True)


def _json_entries(path: str | Path, images: Names, captions: Names) -> Iterator[Entry]:
    content = reading.parse_json(reading.read_utf8(path), path, (*KEYS, *images, *captions))
    if isinstance(content, list):
        records = ((f"{path} entry {n}", record) for n, record in enumerate(content))
        return _record_entries(records, images, captions)
    if isinstance(content, dict) and "annotations" in content:
        return _coco_entries(path, content, images, captions)
    return karpathy_entries(path, content, images)


def _coco_entries(path: str | Path, content: Any, images: Names, captions: Names) -> Iterator[Entry]:
    """Entries of COCO's ``captions_*.json``: the images, then the captions, each with the id of its image."""
    found: dict[str, tuple[Any, Any]] = {}
    for where, image in _listed(path, content, "images"):
        key = show_value(_field(image, ("id",), "id", where))
        if key in found:
            raise InputError(f"{where} has the id {key} of another image, expected one of its own: get the file again")
        found[key] = _field(image, images, "image", where), image.get("split")
        yield found[key][0], [], found[key][1], where
    for where, note in _listed(path, content, "annotations"):
        key = show_value(_field(note, ("image_id",), "image", where))
        if key not in found:
            raise InputError(f"{where} is of image {key}, which the list 'images' does not have: get the file again")
        yield found[key][0], _field(note, captions, "caption", where), found[key][1], where


def karpathy_entries(path: str | Path, content: Any, images: Names = IMAGE_NAMES) -> Iterator[Entry]:
    """Entries of Karpathy's JSON: each image, below its ``filepath`` where that is said, then its sentences."""
    for where, entry in _listed(path, content, "images"):
        image, folder = plain_name(_field(entry, images, "image", where), where), entry.get("filepath")
        if folder and not f"/{folder}".endswith(f"/{image}"):
            image = f"{plain_name(folder, where).rstrip('/')}/{image}"
        yield image, [], entry.get("split"), where
        for place, sentence in _listed(f"{where} ({show_value(image)})", entry, "sentences"):
            yield image, _field(sentence, ("raw",), "caption", place), entry.get("split"), place
