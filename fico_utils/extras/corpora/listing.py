"""What a text file says of a corpus: its images and captions, out of each format in which people publish them.

A table (comma, tab or bar), JSON lines, a JSON list as ALBEF and BLIP use it, COCO's ``captions_*.json`` and Karpathy's
JSON all become entries (image, captions, split, where), and `collect` makes one `Listing` of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
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
#: Image, one caption or a list of them, split and place in the file. An empty list says that there is such an image.
Entry = tuple[str, Any, str | None, str]


@dataclass(frozen=True, eq=False)
class Listing:
    """A corpus as its files say it.

    Parameters
    ----------
    images : list of str, n_img, unique: the path below ``images/``, or as the file writes it, with /
    captions : list of str, n_txt, in the order of the file, with single spaces; one that is there twice stays twice
    caption_image : ndarray (n_txt,) int64, the position of each caption's image; an image may have no caption
    splits : list, n_img, of str, or of None where nothing says it
    labels, label_names : ndarray (n_img, n_labels) uint8, multi-hot, or None; and the names of its columns
    regions : SCAN's arrays, (n_img, regions, width), memory-mapped, or None
    paths : list of str, n_img, the files of the pictures, or None
    """

    images: list[str]
    captions: list[str]
    caption_image: np.ndarray
    splits: list[str | None]
    labels: np.ndarray | None = None
    label_names: tuple[str, ...] = ()
    regions: Any = None
    paths: list[str] | None = None

    def choose(self, split: str | None, leave_out: Collection[str], place: str | Path) -> Listing:
        """The images of one split, or all, without those that `leave_out` names; captions keep their order.

        InputError where there is no such split in `place`, or nothing remains.
        """
        if split is not None and split not in self.splits:
            there = ", ".join(dict.fromkeys(filter(None, self.splits)))
            raise InputError(f"{place} has no split {split!r}; " + (f"it has {there}" if there else "leave split out"))
        wanted = [split in (None, part) for part in self.splits]
        rows = [row for row, image in enumerate(self.images) if wanted[row] and image not in leave_out]
        if not rows:
            raise InputError(f"{place} has no image that is not in problems.csv, expected one at least: get it again")
        position = np.full(len(self.images), -1)
        position[rows] = np.arange(len(rows))
        kept = np.flatnonzero(position[self.caption_image] >= 0)
        return replace(
            self,
            images=[self.images[row] for row in rows],
            captions=[self.captions[row] for row in kept],
            caption_image=position[self.caption_image[kept]],
            splits=[self.splits[row] for row in rows],
            labels=None if self.labels is None else self.labels[rows],
            paths=None if self.paths is None else [self.paths[row] for row in rows],
        )


def read_listing(
    path: str | Path,
    image_column: str | None = None,
    caption_column: str | None = None,
    folder: str | Path | None = None,
) -> Listing:
    """The `Listing` of a file, by its ending and content; of a table, the separator is found in the header.

    `image_column` and `caption_column` name the columns, or keys, that are called neither `IMAGE_NAMES` nor
    `CAPTION_NAMES`. Below `folder`, where it is given, all images must lie.

    InputError names what is wrong first, with its line, or its place in a list counted from 0.
    """
    names = (
        IMAGE_NAMES if image_column is None else (image_column,),
        CAPTION_NAMES if caption_column is None else (caption_column,),
    )
    suffix = Path(path).suffix.lower()
    if suffix == ".json":
        return collect(path, _json_entries(path, *names), folder)
    if suffix == ".jsonl":
        numbered = ((f"{path} line {n}", line) for n, line in enumerate(reading.read_lines(path), 1) if line.strip())
        records = ((where, reading.parse_json(line, where)) for where, line in numbered)
        return collect(path, _record_entries(records, *names), folder)
    if suffix in (".csv", ".tsv", ".txt"):
        return collect(path, _table_entries(path, *names), folder)
    raise InputError(f"{path} is no .json, .jsonl, .csv, .tsv or .txt file: give one of these, or the folder around it")


def collect(path: str | Path, entries: Iterable[Entry], folder: str | Path | None = None) -> Listing:
    """The `Listing` of the entries of a file, see `read_listing`; an image that is named again is the same image."""
    row_of: dict[str, int] = {}
    captions, index, splits = [], [], []
    for image, texts, split, where in entries:
        if texts == [] and image in row_of:
            raise InputError(f"{where}: image {image!r} is in the file already, expected each image once")
        row = row_of.setdefault(image, len(row_of))
        if row == len(splits):
            splits.append(split)
            if folder is not None:
                path_inside(folder, image, where)
        if splits[row] != split:
            raise InputError(f"{where}: image {image!r} is in {split} here and in {splits[row]} before: keep one split")
        for text in texts if isinstance(texts, list) else [texts]:
            captions.append(clean_caption(text, where))
            index.append(row)
    if not captions:
        raise InputError(f"{path} has no captions, expected one at least: is it a file of another kind?")
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


def _field(record: Any, names: Sequence[str], what: str, where: str) -> Any:
    """What stands in a record under the first of some names that it has."""
    if not isinstance(record, dict):
        raise InputError(f"{where} is {show_value(record)}, expected an object such as {{{names[0]!r}: ...}}")
    for name in names:
        if name in record:
            return record[name]
    remedy = f", or name it with {what}_column" if len(names) > 1 else ""
    raise InputError(f"{where} has no {what}; expected it under {', '.join(names)}{remedy}")


def _split_of(split: Any, where: str) -> str | None:
    """A split as it is called here; None for nothing."""
    if not isinstance(split, str | None) or HALF_LETTER.search(split or ""):
        raise InputError(f"{where}: the split is {show_value(split)}, expected a text such as 'test'")
    return JOINS.get(split, split) or None


def _record_entries(
    records: Iterable[tuple[str, Any]], images: Sequence[str], captions: Sequence[str]
) -> Iterator[Entry]:
    """Entries of records that hold an image and its caption, or a list of captions."""
    for where, record in records:
        name = plain_name(_field(record, images, "image", where), where)
        yield name, _field(record, captions, "caption", where), _split_of(record.get("split"), where), where


def _table_entries(path: str | Path, images: Sequence[str], captions: Sequence[str]) -> Iterator[Entry]:
    """Entries of a table.

    In one line of Flickr30K's published table a bar is missing, so that the number of the caption and the caption
    stand in one field; they are taken apart.
    """
    table = reading.read_table(path, separators=",\t|")
    names = list(table.frame.columns)
    column_of = {name.lower(): name for name in reversed(names)} | {name: name for name in names}
    where = f"{path} with the columns {', '.join(names)}"
    image, caption = _field(column_of, images, "image", where), _field(column_of, captions, "caption", where)
    texts, before = table.frame[caption], table.frame[names[names.index(caption) - 1]]
    joined = before.str.fullmatch(r"\s*\d+\s+\S.*") & (texts == "")
    if joined.any() and (joined | before.str.fullmatch(r"\s*\d+\s*")).all():
        texts = texts.where(~joined, before.str.replace(r"^\s*\d+", "", regex=True))
    splits = table.frame[column_of["split"]] if "split" in column_of else [None] * len(texts)
    for n, (name, text, split) in enumerate(zip(table.frame[image], texts, splits, strict=True)):
        where = table.where(n)
        yield plain_name(name, where), text, _split_of(split, where), where


def _json_entries(path: str | Path, images: Sequence[str], captions: Sequence[str]) -> Iterator[Entry]:
    content = reading.read_json(path, (*KEYS, *images, *captions))
    if isinstance(content, list):
        records = ((f"{path} entry {n}", record) for n, record in enumerate(content))
        return _record_entries(records, images, captions)
    if isinstance(content, dict) and "annotations" in content:
        return _coco_entries(path, content, images, captions)
    return karpathy_entries(path, content, images)


def _coco_entries(path: str | Path, content: dict, images: Sequence[str], captions: Sequence[str]) -> Iterator[Entry]:
    """Entries of COCO's ``captions_*.json``: the images, then the captions, each with the id of its image."""
    found: dict[str, tuple[str, str | None]] = {}
    for where, image in _listed(path, content, "images"):
        key = show_value(_field(image, ("id",), "id", where))
        if key in found:
            raise InputError(f"{where} has the id {key} of another image, expected one of its own: get the file again")
        found[key] = plain_name(_field(image, images, "image", where), where), _split_of(image.get("split"), where)
        yield found[key][0], [], found[key][1], where
    for where, note in _listed(path, content, "annotations"):
        key = show_value(_field(note, ("image_id",), "image", where))
        if key not in found:
            raise InputError(f"{where} is of image {key}, which the list 'images' does not have: get the file again")
        name, split = found[key]
        yield name, _field(note, captions, "caption", where), split, where


def karpathy_entries(path: str | Path, content: Any, images: Sequence[str] = IMAGE_NAMES) -> Iterator[Entry]:
    """Entries of Karpathy's JSON: each image, with its folder where that is given, then its sentences."""
    for where, entry in _listed(path, content, "images"):
        name, folder = plain_name(_field(entry, images, "image", where), where), entry.get("filepath")
        if folder:
            folder = plain_name(folder, where).rstrip("/")
            name = folder if f"/{folder}".endswith(f"/{name}") else f"{folder}/{name}"
        split = _split_of(entry.get("split"), where)
        yield name, [], split, where
        for place, sentence in _listed(f"{where} ({name!r})", entry, "sentences"):
            yield name, _field(sentence, ("raw",), "caption", place), split, place


def _listed(holder_name: str | Path, holder: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Place and value of each entry of a list in an object."""
    entries = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(entries, list):
        raise InputError(
            f"{holder_name} has no list {name!r}; expected Karpathy's JSON (images with sentences), COCO's (images and "
            "annotations), or a list of entries with image and caption"
        )
    return ((f"{holder_name} {name.removesuffix('s')} {n}", entry) for n, entry in enumerate(entries))
