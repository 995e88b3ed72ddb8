"""Precomputed region features in the layout of SCAN (Lee et al., ECCV 2018), which VSRN and IMRAM use too.

A folder holds for each split ``{split}_ims.npy`` (n, 36, 2048) float32, ``{split}_caps.txt`` with one caption a line,
an image's captions together, and often ``{split}_ids.txt``. The array holds each image once, or once for each caption;
it is mapped, never loaded, and an image stored several times is served once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fico_utils.data.corpus import Corpus
from fico_utils.errors import InputError
from fico_utils.extras.corpora.arrays import read_array
from fico_utils.extras.corpora.reading import caption, read_lines

#: Names of a split's files, and what the split is called here.
SPLIT_NAMES = {"train": "train", "dev": "val", "val": "val", "test": "test"}
#: Numbers of stored copies that are compared at a time.
COMPARED = 2**24


@dataclass(frozen=True)
class ScanArrays:
    """A corpus and its features.

    Attributes
    ----------
    corpus : Corpus, the splits in the order asked for; it has no pictures and no labels.
    regions : dict from split to ndarray (n_img, 36, 2048), a read-only map in the order of ``corpus.subset(split)``.
    """

    corpus: Corpus
    regions: dict[str, np.ndarray]


def read_scan_arrays(
    name: str, folder: str | Path, splits: tuple[str, ...] | None = None, *, per_image: int = 5, verify: bool = True
) -> ScanArrays:
    """The corpus and mapped features of a folder in SCAN's layout.

    Parameters
    ----------
    name : str, of the corpus.
    folder : path.
    splits : names as in the files (``train``, ``dev`` or ``val``, ``test``); by default those that are there.
    per_image : int, captions of an image.
    verify : bool, where images are stored once a caption, compare all copies (reads the file once).

    Raises
    ------
    InputError
        A missing or truncated file, counts that do not fit together, copies that differ, an empty caption.
    """
    folder = Path(folder)
    if splits is None:
        splits = tuple(split for split in SPLIT_NAMES if (folder / f"{split}_ims.npy").is_file())
        if not splits:
            raise InputError(f"{folder} has no file train_ims.npy, dev_ims.npy, val_ims.npy or test_ims.npy")
    unknown = [split for split in splits if split not in SPLIT_NAMES]
    if unknown or len({SPLIT_NAMES[split] for split in splits if split in SPLIT_NAMES}) < len(splits):
        raise InputError(f"splits {', '.join(splits)}: expected different ones of train, dev (or val), test")
    ids, texts, counts, parts, regions = [], [], [], [], {}
    for split in splits:
        own_ids, own_texts, array = _read_split(folder, split, per_image, verify)
        ids += own_ids
        texts += own_texts
        counts += [per_image] * len(own_ids)
        parts += [SPLIT_NAMES[split]] * len(own_ids)
        regions[SPLIT_NAMES[split]] = array
    return ScanArrays(Corpus(name, ids, texts, np.repeat(np.arange(len(ids)), counts), parts), regions)


def _read_split(folder: Path, split: str, per_image: int, verify: bool) -> tuple[list[str], list[str], np.ndarray]:
    place, captions = folder / f"{split}_ims.npy", folder / f"{split}_caps.txt"
    texts = [caption(line, f"{captions} line {n}") for n, line in enumerate(read_lines(captions), 1)]
    array = read_array(place)
    if array.ndim not in (2, 3) or array.dtype.kind != "f" or not array.size:
        raise InputError(f"{place} holds {array.dtype} {array.shape}, expected features (images, regions, width)")
    if len(texts) not in (len(array), per_image * len(array)):
        raise InputError(
            f"{place} has {len(array)} rows and {captions} {len(texts)} lines, expected {per_image} lines a row, "
            f"or one where each image is stored {per_image} times"
        )
    copies = 1 if len(texts) == per_image * len(array) else per_image
    if len(array) % copies:
        raise InputError(f"{place} has {len(array)} rows, expected each image {copies} times")
    if verify and copies > 1:
        _check_copies(place, array, copies)
    ids = _read_ids(folder / f"{split}_ids.txt", split, len(array) // copies, per_image)
    return ids, texts, array[::copies]


def _check_copies(place: Path, array: np.ndarray, copies: int) -> None:
    step = max(1, COMPARED // (copies * int(np.prod(array.shape[1:])))) * copies
    for start in range(0, len(array), step):
        part = array[start : start + step]
        part = part.reshape(-1, copies, *part.shape[1:])
        different = np.flatnonzero((part != part[:, :1]).reshape(len(part), -1).any(1))
        for image in different[:1]:
            first = start + int(image) * copies
            raise InputError(
                f"{place}: rows {first} to {first + copies - 1} differ, expected one image stored {copies} times; "
                "are its captions not together?"
            )


def _read_ids(path: Path, split: str, n_img: int, per_image: int) -> list[str]:
    """Ids of the images: a line for each image, or for each of its captions; made up where there is no file."""
    if not path.is_file():
        return [f"{split}-{row}" for row in range(n_img)]
    ids = [line.strip() for line in read_lines(path)]
    if len(ids) not in (n_img, n_img * per_image):
        raise InputError(f"{path} has {len(ids)} lines for {n_img} images, expected one an image or one a caption")
    if len(ids) == n_img:
        return ids
    for row in range(0, len(ids), per_image):
        if len(set(ids[row : row + per_image])) > 1:
            raise InputError(f"{path} lines {row + 1} to {row + per_image} name several images, expected one")
    return ids[::per_image]
