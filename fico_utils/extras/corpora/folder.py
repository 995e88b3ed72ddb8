"""Anybody's own corpus: a folder with ``images/``, ``captions.csv``, and, if wanted, ``labels.csv``, ``splits.csv``."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np

from fico_utils.data.corpus import SPLITS, Corpus
from fico_utils.errors import InputError
from fico_utils.escaping import csv_text
from fico_utils.extras.corpora.listing import Listing, plain_name, read_listing
from fico_utils.extras.corpora.pictures import PROBLEMS, FileImages, keep_images
from fico_utils.extras.corpora.reading import Table, path_inside, read_table, rows_by_id, show_value
from fico_utils.files import atomic_path, write_text

FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}
#: The files of a folder that may hold its captions; the first that is there counts.
CAPTION_FILES = ("captions.csv", "captions.tsv", "metadata.jsonl", "images/metadata.jsonl")
#: Problems that leave no picture; a greyscale one is read.
FATAL = PROBLEMS[:-1]


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
    The captions may stand in another of `CAPTION_FILES`, under other names, see `read_listing`. Images come in the
    order in which it first names them. Where there is no ``splits.csv``, a stratified split (0.8, 0.1, 0.1) is made.
    `size` is that of `FileImages`, `leave_out` is that of `keep_images`.
    The apostrophe with which a spreadsheet marks a text that begins with = + - @ is no part of it (`escaping`).

    InputError names the first thing that is wrong, with its file and line.
    """
    listing, name = list_folder(folder), name or Path(folder).resolve().name
    labels, split = listing.labels, listing.splits
    if not (Path(folder) / "splits.csv").is_file():
        split = stratified_split(np.zeros((len(split), 1)) if labels is None else labels, FRACTIONS)
    texts, index, pictures = listing.captions, listing.caption_image, FileImages(listing.paths, size)
    corpus = Corpus(name, listing.images, texts, index, split, labels, listing.label_names, pictures)
    return keep_images(corpus, Path(folder) / "images", leave_out)


def caption_file(folder: str | Path) -> Path:
    """Where a folder has its captions: the first of `CAPTION_FILES` that is there, or else the first."""
    paths = [Path(folder) / name for name in CAPTION_FILES]
    return next((path for path in paths if path.is_file()), paths[0])


def list_folder(folder: str | Path, image_column: str | None = None, caption_column: str | None = None) -> Listing:
    """What the files of a folder say, see `read_folder`; whether there are such pictures is not asked."""
    folder = Path(folder)
    if not (folder / "images").is_dir():
        raise InputError(f"{folder} has no folder images, expected images/ and captions.csv (image,caption) in it")
    listing = read_listing(caption_file(folder), image_column, caption_column, folder / "images")
    row_of = {image: row for row, image in enumerate(listing.images)}
    labels, names = _labels(folder / "labels.csv", row_of)
    splits, paths = _splits(folder / "splits.csv", row_of), [f"{folder / 'images'}/{image}" for image in row_of]
    splits = listing.splits if splits is None else splits.tolist()
    return replace(listing, splits=splits, labels=labels, label_names=names, paths=paths)


def read_problems(folder: str | Path, kinds: Collection[str] = PROBLEMS) -> list[tuple[str, str]]:
    """Image and problem of each row of ``problems.csv`` with such a problem; none where there is no such file."""
    path = Path(folder) / "problems.csv"
    if not path.is_file():
        return []
    frame = read_table(path, ("image", "problem")).frame
    return [row for row in zip(frame["image"], frame["problem"], strict=True) if row[1] in kinds]


def _image_names(table: Table, row_of: dict[str, int]) -> list[str]:
    """The image of each row of a table, which must have a caption."""
    images = [plain_name(image, table.where(row)) for row, image in enumerate(table.frame["image"])]
    images = [image if image in row_of else image.removeprefix("images/") for image in images]
    for row, image in enumerate(images):
        if image not in row_of:
            raise InputError(
                f"{table.where(row)}: image {show_value(image)} is not in captions.csv; expected one of its images"
            )
    return images


def _labels(path: Path, row_of: dict[str, int]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    if not path.is_file():
        return None, ()
    table = read_table(path, ("image",))
    images = _image_names(table, row_of)
    if list(table.frame.columns) == ["image", "label"]:
        given = table.frame["label"].str.strip()
        for row in np.flatnonzero(given == "")[:1]:
            raise InputError(f"{table.where(row)}: the label is empty; name it, or leave the line out")
        names = sorted(set(given))
        labels = np.zeros((len(row_of), len(names)), np.uint8)
        labels[[row_of[image] for image in images], np.searchsorted(names, given.to_numpy(str))] = 1
        return labels, tuple(names)
    names = [column for column in table.frame.columns if column != "image"]
    return table.marks(names)[rows_by_id(images, row_of, path, table.where)], tuple(names)


def _splits(path: Path, row_of: dict[str, int]) -> np.ndarray | None:
    if not path.is_file():
        return None
    table = read_table(path, ("image", "split"))
    given = table.frame["split"].to_numpy(str)
    for row in np.flatnonzero(~np.isin(given, SPLITS))[:1]:
        raise InputError(
            f"{table.where(row)}: the split is {show_value(str(given[row]))}, expected {', '.join(SPLITS)}"
        )
    return given[rows_by_id(_image_names(table, row_of), row_of, path, table.where)]


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
    write_folder(folder, captions, labels, splits)
    return folder
