"""Precomputed region features in the layout of SCAN (Lee et al., ECCV 2018), which VSRN and IMRAM use too.

A folder holds for each split ``{split}_ims.npy`` (n, 36, 2048) float32, ``{split}_caps.txt`` with one caption a line,
an image's captions together, and often ``{split}_ids.txt``. The array holds each image once, or once for each caption;
it is mapped, never loaded, and an image stored several times is served once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fico_utils.data.corpus import Corpus
from fico_utils.errors import InputError
from fico_utils.extras.corpora.arrays import read_array
from fico_utils.extras.corpora.listing import Listing
from fico_utils.extras.corpora.reading import clean_caption, read_lines, show_value
from fico_utils.extras.scoring.forms import each_image_once

#: Names of a split's files, and what the split is called here.
SPLIT_NAMES = {"train": "train", "dev": "val", "val": "val", "test": "test"}
#: MS-COCO's whole test split, of which ``test`` is a part.
WHOLE_TEST = "testall"
#: Captions of an image.
PER_IMAGE = 5


class JoinedArrays:
    """Arrays (n, ...) of one width, one below the other; joined[i], joined[i:j], joined[integers] read only these."""

    def __init__(self, arrays: Sequence[np.ndarray]):
        self.rows = [row for array in arrays for row in np.asarray(array)]
        self.shape, self.dtype = (len(self.rows), *arrays[0].shape[1:]), arrays[0].dtype

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows):
        chosen = np.arange(len(self))[rows]
        if chosen.ndim == 0:
            return self.rows[chosen]
        return np.array([self.rows[row] for row in chosen], self.dtype).reshape(-1, *self.shape[1:])

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)


def read_scan_arrays(name: str, folder: str | Path) -> tuple[Corpus, dict[str, np.ndarray]]:
    """The corpus `name` of a folder, without pictures and labels, and the mapped regions (n_img, 36, 2048) by split.

    InputError where a file is missing or truncated, counts do not fit together, copies differ, or a caption is empty.
    """
    listing, regions = _read_splits(Path(folder), _find_splits(folder))
    return Corpus(name, listing.images, listing.captions, listing.caption_image, listing.splits), regions


def list_scan_arrays(folder: str | Path, split: str | None = None) -> Listing:
    """What a folder says of one split, or of all but ``testall``, with the regions in the order of the images.

    InputError as of `read_scan_arrays`, or where there is no such split.
    """
    splits = [WHOLE_TEST] if split == WHOLE_TEST else _find_splits(folder)
    chosen = [name for name in splits if split in (None, name, SPLIT_NAMES.get(name))]
    if not chosen:
        raise InputError(f"{folder} has no split {show_value(split)}; those that it has are {', '.join(splits)}")
    listing, regions = _read_splits(Path(folder), chosen)
    arrays = list(regions.values())
    if len({array.shape[1:] for array in arrays}) > 1:
        raise InputError(f"{folder} has arrays of unequal widths in {', '.join(chosen)}: ask for one split")
    return replace(listing, regions=arrays[0] if len(arrays) == 1 else JoinedArrays(arrays))


def _find_splits(folder: str | Path) -> list[str]:
    """The splits that a folder has, as its files call them, without ``testall``."""
    splits = [split for split in SPLIT_NAMES if (Path(folder) / f"{split}_ims.npy").is_file()]
    if not splits:
        raise InputError(
            f"{folder} has no file train_ims.npy, dev_ims.npy, val_ims.npy or test_ims.npy; testall is read when it is "
            "asked for as the split"
        )
    if {"dev", "val"} <= set(splits):
        raise InputError(f"{folder} has both dev_ims.npy and val_ims.npy, expected one of them")
    return splits


def _read_splits(folder: Path, splits: Sequence[str]) -> tuple[Listing, dict[str, np.ndarray]]:
    """Splits one after the other, and the array of each."""
    ids, texts, parts, regions = [], [], [], {}
    for split in splits:
        name = SPLIT_NAMES.get(split, split)
        split_ids, split_texts, regions[name] = _read_split(folder, split)
        ids += split_ids
        texts += split_texts
        parts += [name] * len(split_ids)
    return Listing(ids, texts, np.repeat(np.arange(len(ids)), PER_IMAGE), parts), regions


def _read_split(folder: Path, split: str) -> tuple[list[str], list[str], np.ndarray]:
    place, captions = folder / f"{split}_ims.npy", folder / f"{split}_caps.txt"
    texts = [clean_caption(line, f"{captions} line {n}") for n, line in enumerate(read_lines(captions), 1)]
    array = read_array(place)
    if array.ndim not in (2, 3) or array.dtype.kind != "f" or not array.size:
        raise InputError(f"{place} holds {array.dtype} {array.shape}, expected features (images, regions, width)")
    copies = PER_IMAGE if len(texts) == len(array) else 1
    if len(texts) * copies != PER_IMAGE * len(array) or len(array) % copies:
        raise InputError(
            f"{place} has {len(array)} rows and {captions} {len(texts)} lines, expected {PER_IMAGE} lines a row, "
            f"or one where each image is stored {PER_IMAGE} times"
        )
    array = each_image_once(array, copies, place)
    return _read_ids(folder / f"{split}_ids.txt", split, len(array)), texts, array


def _read_ids(path: Path, split: str, n_img: int) -> list[str]:
    """Ids of the images: a line for each image, or for each of its captions; made up where there is no file."""
    if not path.is_file():
        return [f"{split}-{row}" for row in range(n_img)]
    ids = [line.strip() for line in read_lines(path)]
    if len(ids) not in (n_img, n_img * PER_IMAGE):
        raise InputError(f"{path} has {len(ids)} lines for {n_img} images, expected one an image or one a caption")
    copies = len(ids) // n_img
    for row in range(0, len(ids), copies):
        if len(set(ids[row : row + copies])) > 1:
            raise InputError(f"{path} lines {row + 1} to {row + copies} name several images, expected one")
    return ids[::copies]
