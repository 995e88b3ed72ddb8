"""Anybody's own corpus: a folder with ``images/``, ``captions.csv``, and, if wanted, ``labels.csv``, ``splits.csv``.

========== ================================ =========================================================================
file       columns                          rows
========== ================================ =========================================================================
captions   ``image,caption``                one a caption; an image may have any number, from one
labels     ``image,label``                  one a label; an image may have any number, also none
   or      ``image,NAME,NAME,...``          one an image, 0 or 1 for each label
splits     ``image,split``                  one an image: train, val or test
========== ================================ =========================================================================

``image`` is a file below ``images/`` and is the image's id. Files are UTF-8, their first line names the columns. Images
come in the order in which ``captions.csv`` first names them.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fico_utils.data.corpus import SPLITS, Corpus
from fico_utils.errors import InputError
from fico_utils.extras.corpora.lists import stratified_split
from fico_utils.extras.corpora.pictures import FileImages, image_files
from fico_utils.extras.corpora.reading import caption, inside, read_utf8

if TYPE_CHECKING:
    import pandas as pd

FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}


@dataclass(frozen=True)
class Table:
    """A CSV file, all of it text, whose rows know their lines.

    Attributes
    ----------
    path : Path
    frame : DataFrame of str; an empty field is ''.
    lines : ndarray (rows,) int, the line on which each row begins; quoted fields may run over several.
    """

    path: Path
    frame: pd.DataFrame
    lines: np.ndarray

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self.frame.columns)

    def where(self, row: int) -> str:
        """File and line of a row, as sentences about it begin."""
        return f"{self.path} line {self.lines[row]}"


def read_table(path: str | Path, columns: tuple[str, ...] = ()) -> Table:
    """A CSV file as text.

    Parameters
    ----------
    path : UTF-8, comma separated, with a header.
    columns : names that it must have.

    Raises
    ------
    InputError
        No such file, not UTF-8, no header, a row of another length, or a missing column.
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
    absent = [name for name in columns if name not in frame.columns]
    if absent:
        raise InputError(f"{path} has columns {', '.join(frame.columns)}, expected {', '.join(columns)}")
    breaks = sum((frame[name].str.count("\n").to_numpy() for name in frame.columns), np.zeros(len(frame), np.int64))
    return Table(path, frame, 2 + np.arange(len(frame)) + np.cumsum(breaks) - breaks)


def read_folder(
    folder: str | Path, name: str | None = None, *, size: int = 224, fit: str = "pad", seed: int = 0,
    leave_out: bool | Collection[str] | None = False,
) -> Corpus:  # fmt: skip
    """The corpus in a folder; pictures are read when asked for.

    Parameters
    ----------
    folder : path.
    name : str, by default the folder's own.
    size, fit : see `FileImages`.
    seed : int, of the stratified split (0.8, 0.1, 0.1) that is made where there is no ``splits.csv``.
    leave_out : bool, leave out images whose file is missing, with their captions, instead of refusing the corpus; or
        the ids of the images to leave out; or None, to keep even those without a file.

    Raises
    ------
    InputError
        The first thing that is wrong, with its file and line.
    """
    folder = Path(folder)
    if not (folder / "images").is_dir():
        raise InputError(f"{folder} has no folder images, expected images/ and captions.csv (image,caption) in it")
    name = name or folder.resolve().name
    table = read_table(folder / "captions.csv", ("image", "caption"))
    row_of: dict[str, int] = {}
    texts, index, paths, seen = [], [], [], set()
    for row, (image, text) in enumerate(zip(table.frame["image"], table.frame["caption"], strict=True)):
        where = table.where(row)
        if image not in row_of:
            paths.append(inside(folder / "images", image, where))
            row_of[image] = len(row_of)
        text = caption(text, where)
        if (image, text) in seen:
            raise InputError(f"{where}: image {image!r} has this caption already, expected each once")
        seen.add((image, text))
        texts.append(text)
        index.append(row_of[image])
    if not texts:
        raise InputError(f"{table.path} has no rows, expected one for each caption")
    rows = image_files(name, folder / "images", list(row_of), paths, leave_out)
    labels, names = _labels(folder / "labels.csv", row_of)
    split = _splits(folder / "splits.csv", row_of)
    if split is None:
        split = stratified_split(np.zeros((len(row_of), 1)) if labels is None else labels, FRACTIONS, seed)
    corpus = Corpus(name, list(row_of), texts, index, split, labels, names, FileImages(paths, size, fit))
    return corpus if len(rows) == corpus.n_img else corpus.select(rows)


def _image_rows(table: Table, row_of: dict[str, int], once: bool) -> list[int]:
    """The image of each row; refuses an image that has no caption and, if asked to, one that comes twice."""
    images, lines = [], {}
    for row, image in enumerate(table.frame["image"]):
        if image not in row_of:
            raise InputError(f"{table.where(row)}: image {image!r} is not in captions.csv; expected one of its images")
        if once and image in lines:
            raise InputError(
                f"{table.where(row)}: image {image!r} stands in line {lines[image]} already, expected once"
            )
        lines[image] = table.lines[row]
        images.append(row_of[image])
    return images


def _labels(path: Path, row_of: dict[str, int]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    if not path.is_file():
        return None, ()
    table = read_table(path, ("image",))
    if table.columns == ["image", "label"]:
        images = _image_rows(table, row_of, once=False)
        for row in np.flatnonzero(table.frame["label"].str.strip() == "")[:1]:
            raise InputError(f"{table.where(row)}: the label is empty; name it, or leave the line out")
        names = tuple(sorted(set(table.frame["label"].str.strip())))
        labels = np.zeros((len(row_of), len(names)), np.uint8)
        labels[images, np.searchsorted(names, table.frame["label"].str.strip().to_numpy(str))] = 1
        return labels, names
    names = tuple(column for column in table.columns if column != "image")
    images, values = _image_rows(table, row_of, once=True), table.frame[list(names)].to_numpy(str)
    for row, column in np.argwhere((values != "0") & (values != "1"))[:1]:
        raise InputError(f"{table.where(row)}: {names[column]} is {str(values[row, column])!r}, expected 0 or 1")
    if len(images) < len(row_of):
        absent = next(image for image, row in row_of.items() if row not in set(images))
        raise InputError(
            f"{path} has {len(images)} rows for {len(row_of)} images, none for {absent!r}; expected one each"
        )
    labels = np.zeros((len(row_of), len(names)), np.uint8)
    labels[images] = values == "1"
    return labels, names


def _splits(path: Path, row_of: dict[str, int]) -> list[str] | None:
    if not path.is_file():
        return None
    table = read_table(path, ("image", "split"))
    images, given = _image_rows(table, row_of, once=True), table.frame["split"].tolist()
    for row, part in itertools.compress(enumerate(given), [part not in SPLITS for part in given]):
        raise InputError(f"{table.where(row)}: the split is {part!r}, expected {', '.join(SPLITS)}")
    split = [""] * len(row_of)
    for image, part in zip(images, given, strict=True):
        split[image] = part
    if "" in split:
        absent = list(row_of)[split.index("")]
        raise InputError(
            f"{path} has no row for image {absent!r} ({split.count('')} such images), expected one for each"
        )
    return split


def write_folder(folder: str | Path, captions: list[tuple], labels: list[tuple] | None, splits: list[tuple]) -> None:
    """Write ``captions.csv``, ``labels.csv`` and ``splits.csv`` from rows (image, value): atomic, captions last."""
    import pandas as pd

    from fico_utils.files import atomic_path

    for name, column, rows in (
        ("labels", "label", labels),
        ("splits", "split", splits),
        ("captions", "caption", captions),
    ):
        if rows is None:
            continue
        with atomic_path(Path(folder) / f"{name}.csv") as temporary:
            pd.DataFrame(rows, columns=["image", column]).to_csv(temporary, index=False, lineterminator="\n")


def export_folder(corpus: Corpus, folder: str | Path) -> Path:
    """The folder corpus just written from a corpus with pictures: each as a PNG, its captions, labels and splits."""
    from PIL import Image

    from fico_utils.files import atomic_path

    folder = Path(folder)
    names = [f"{image_id}.png" for image_id in corpus.image_ids]
    for row, name in enumerate(names):
        with atomic_path(inside(folder / "images", name, f"image {row}")) as temporary:
            Image.fromarray(corpus.images[row : row + 1][0]).save(temporary)
    captions = [(names[i], text) for i, text in zip(corpus.caption_image, corpus.captions, strict=True)]
    marks = () if corpus.labels is None else np.argwhere(corpus.labels)
    labels = [(names[row], corpus.label_names[column]) for row, column in marks]
    write_folder(
        folder,
        list(dict.fromkeys(captions)),
        None if corpus.labels is None else labels,
        list(zip(names, corpus.split.tolist(), strict=True)),
    )
    return folder
