"""Anybody's own corpus: a folder with ``images/``, ``captions.csv``, and, if wanted, ``labels.csv``, ``splits.csv``."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from fico_utils.data.corpus import SPLITS, Corpus
from fico_utils.errors import InputError
from fico_utils.escaping import csv_text
from fico_utils.extras.corpora.pictures import FileImages, keep_images
from fico_utils.extras.corpora.reading import Table, clean_caption, path_inside, read_table
from fico_utils.files import atomic_path, write_text

FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}


def stratified_split(labels: np.ndarray, fractions: dict[str, float], seed: int = 0) -> np.ndarray:
    """Split names, (n_img,) str, that divide every label in the given fractions as evenly as can be.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML PKDD 2011): of the labels with images left, take
    the rarest; give each of its images to the split that still wants most of this label, among equals the one that
    wants most images, among equals one by chance.

    `labels` are multi-hot (n_img, n_labels); images without any label are divided at the end. The shares in
    `fractions`, by split, are positive and add up to 1.

    >>> import numpy as np
    >>> sorted(stratified_split(np.eye(2)[[0, 0, 1, 1]], {"train": 0.5, "test": 0.5}).tolist())
    ['test', 'test', 'train', 'train']
    """
    shares = np.array(list(fractions.values()), float)
    assert (shares > 0).all(), "fractions are positive"
    assert abs(shares.sum() - 1) < 1e-6, "fractions add up to 1"
    has, rng = labels.astype(bool), np.random.default_rng(seed)
    wanted, wanted_of_label = shares * len(has), shares[:, None] * has.sum(0)
    split, remaining = np.full(len(has), -1), has.sum(0)
    while True:
        open_labels = np.flatnonzero(remaining)
        label = open_labels[np.argmin(remaining[open_labels])] if len(open_labels) else None
        rows = np.flatnonzero((split < 0) & has[:, label]) if label is not None else np.flatnonzero(split < 0)
        for row in rng.permutation(rows):
            need = wanted_of_label[:, label] if label is not None else wanted
            best = np.flatnonzero(need == need.max())
            best = best[wanted[best] == wanted[best].max()]
            chosen = best[rng.integers(len(best))]
            split[row] = chosen
            wanted[chosen] -= 1
            wanted_of_label[chosen] -= has[row]
            remaining -= has[row]
        if label is None:
            return np.array(list(fractions))[split]


def read_folder(
    folder: str | Path, name: str | None = None, *, size: int = 224, leave_out: Collection[str] | None = ()
) -> Corpus:
    """The corpus in a folder, by default of the folder's name; pictures are read when asked for, as whole squares.

    ========== ================================ =====================================================================
    file       columns                          rows
    ========== ================================ =====================================================================
    captions   ``image,caption``                one a caption; an image may have any number, from one
    labels     ``image,label``                  one a label; an image may have any number, also none
       or      ``image,NAME,NAME,...``          one an image, 0 or 1 for each label
    splits     ``image,split``                  one an image: train, val or test
    ========== ================================ =====================================================================

    ``image`` is a file below ``images/`` and is the image's id. Files are UTF-8, their first line names the columns.
    The apostrophe with which a spreadsheet marks a text that begins with = + - @ is no part of it (`escaping`).
    Images come in the order in which ``captions.csv`` first names them. Where there is no ``splits.csv``, a stratified
    split (0.8, 0.1, 0.1) is made. `size` is that of `FileImages`, `leave_out` is that of `keep_images`.

    InputError names the first thing that is wrong, with its file and line.
    """
    folder = Path(folder)
    if not (folder / "images").is_dir():
        raise InputError(f"{folder} has no folder images, expected images/ and captions.csv (image,caption) in it")
    table = read_table(folder / "captions.csv", ("image", "caption"))
    row_of: dict[str, int] = {}
    captions: dict[tuple[str, str], int] = {}
    paths = []
    for row, (image, text) in enumerate(zip(table.frame["image"], table.frame["caption"], strict=True)):
        where = table.where(row)
        if image not in row_of:
            paths.append(path_inside(folder / "images", image, where))
            row_of[image] = len(row_of)
        text = clean_caption(text, where)
        if (image, text) in captions:
            raise InputError(f"{where}: image {image!r} has this caption already, expected each once")
        captions[image, text] = row_of[image]
    if not captions:
        raise InputError(f"{table.path} has no rows, expected one for each caption")
    labels, names = _labels(folder / "labels.csv", row_of)
    split = _splits(folder / "splits.csv", row_of)
    if split is None:
        split = stratified_split(np.zeros((len(row_of), 1)) if labels is None else labels, FRACTIONS)
    name, texts, index = name or folder.resolve().name, [text for _, text in captions], list(captions.values())
    corpus = Corpus(name, list(row_of), texts, index, split, labels, names, FileImages(paths, size))
    return keep_images(corpus, folder / "images", leave_out)


def _image_rows(table: Table, row_of: dict[str, int], each_once: bool) -> list[int]:
    """The image of each row, which must have a caption; and, if asked for, each image must stand in one row."""
    lines: dict[str, int] = {}
    for row, image in enumerate(table.frame["image"]):
        if image not in row_of:
            raise InputError(f"{table.where(row)}: image {image!r} is not in captions.csv; expected one of its images")
        if each_once and image in lines:
            raise InputError(
                f"{table.where(row)}: image {image!r} stands in line {lines[image]} already, expected once"
            )
        lines[image] = table.lines[row]
    absent = [image for image in row_of if image not in lines]
    if each_once and absent:
        raise InputError(
            f"{table.path} has no row for image {absent[0]!r} ({len(absent)} such images), expected one for each"
        )
    return [row_of[image] for image in table.frame["image"]]


def _labels(path: Path, row_of: dict[str, int]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    if not path.is_file():
        return None, ()
    table = read_table(path, ("image",))
    if list(table.frame.columns) == ["image", "label"]:
        rows, given = _image_rows(table, row_of, each_once=False), table.frame["label"].str.strip()
        for row in np.flatnonzero(given == "")[:1]:
            raise InputError(f"{table.where(row)}: the label is empty; name it, or leave the line out")
        names = sorted(set(given))
        columns, values = np.searchsorted(names, given.to_numpy(str)), 1
    else:
        names = [column for column in table.frame.columns if column != "image"]
        values, columns, rows = table.marks(names), slice(None), _image_rows(table, row_of, each_once=True)
    labels = np.zeros((len(row_of), len(names)), np.uint8)
    labels[rows, columns] = values
    return labels, tuple(names)


def _splits(path: Path, row_of: dict[str, int]) -> np.ndarray | None:
    if not path.is_file():
        return None
    table = read_table(path, ("image", "split"))
    given = table.frame["split"].to_numpy(str)
    for row in np.flatnonzero(~np.isin(given, SPLITS))[:1]:
        raise InputError(f"{table.where(row)}: the split is {str(given[row])!r}, expected {', '.join(SPLITS)}")
    return given[np.argsort(_image_rows(table, row_of, each_once=True))]


def write_rows(path: Path, columns: tuple[str, ...], rows: list[tuple]) -> None:
    """Write a CSV file, atomically."""
    import pandas as pd

    write_text(path, csv_text(pd.DataFrame(rows, columns=list(columns))))


def write_folder(folder: str | Path, captions: list[tuple], labels: list[tuple] | None, splits: list[tuple]) -> None:
    """Write ``captions.csv``, ``labels.csv`` and ``splits.csv`` from rows (image, value), captions last."""
    for name, rows in (("label", labels), ("split", splits), ("caption", captions)):
        if rows is not None:
            write_rows(Path(folder) / f"{name}s.csv", ("image", name), rows)


def export_folder(corpus: Corpus, folder: str | Path) -> Path:
    """The folder corpus just written from a corpus with pictures: each as a PNG, its captions, labels and splits."""
    from PIL import Image

    folder = Path(folder)
    names = [f"{image_id}.png" for image_id in corpus.image_ids]
    for row, name in enumerate(names):
        with atomic_path(path_inside(folder / "images", name, f"image {row}")) as temporary:
            Image.fromarray(corpus.images[row : row + 1][0]).save(temporary)
    captions, labels = [(names[i], text) for i, text in zip(corpus.caption_image, corpus.captions, strict=True)], None
    if corpus.labels is not None:
        labels = [(names[row], corpus.label_names[column]) for row, column in np.argwhere(corpus.labels)]
    splits = list(zip(names, corpus.split.tolist(), strict=True))
    write_folder(folder, list(dict.fromkeys(captions)), labels, splits)
    return folder
