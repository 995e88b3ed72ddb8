"""Corpus: pictures, captions, which caption belongs to which picture, labels and splits; it checks itself."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NoReturn

import numpy as np

from fico_utils.errors import InputError

SPLITS = ("train", "val", "test")


class ImageView:
    """Chosen pictures of a sequence: view[i], view[slice], view[integer array] read only what they need."""

    def __init__(self, images, index: np.ndarray):
        self.images, self.index = images, np.asarray(index, np.int64)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def shape(self) -> tuple:
        return (len(self.index), *self.images.shape[1:])

    @property
    def key(self) -> str:
        """Key of all pictures of the sequence; empty where it has none."""
        return getattr(self.images, "key", "")

    def __getitem__(self, rows):
        chosen = self.index[rows]
        return self.images[int(chosen) if np.ndim(chosen) == 0 else chosen]


@dataclass(frozen=True, eq=False)
class Corpus:
    """Pictures with captions, labels and splits; checked when made.

    Parameters
    ----------
    image_ids : list of str, n_img, unique
    captions : list of str, n_txt
    caption_image : ndarray (n_txt,) int64, the index of each caption's image
    split : ndarray (n_img,) str, each one of train, val, test
    labels, label_names : ndarray (n_img, n_labels) uint8, multi-hot, or None; and the names of its columns
    images : sequence, images[i:j] and images[integer array] give uint8 (b, height, width, 3); None: no pictures
    scenes : list of Scene, n_img, of the embedded corpora only: the known truth

    Raises
    ------
    InputError
        One sentence naming the first row that is wrong.

    Examples
    --------
    >>> corpus = Corpus("two", ["a", "b"], ["a cat", "a dog"], [0, 1], ["train", "test"])
    >>> corpus.subset("test").captions
    ['a dog']
    """

    name: str
    image_ids: list[str]
    captions: list[str]
    caption_image: np.ndarray
    split: np.ndarray
    labels: np.ndarray | None = None
    label_names: tuple[str, ...] = ()
    images: Any = None
    scenes: list | None = None

    def __post_init__(self):
        """Bring the fields to their types, where nothing is lost by it, then validate."""
        fields = self.__dict__  # the class is frozen
        fields |= {
            "image_ids": list(self.image_ids),
            "captions": list(self.captions),
            "caption_image": np.asarray(self.caption_image),
            "split": np.asarray(self.split, str),
            "label_names": tuple(self.label_names),
        }
        if self.labels is not None:
            try:
                fields["labels"] = np.asarray(self.labels)
            except ValueError:
                row = next(row for row, values in enumerate(self.labels) if len(values) != len(self.labels[0]))
                self._refuse(f"labels row {row} is not as long as row 0; give one value for each label.")
        self.validate()
        fields["caption_image"] = self.caption_image.astype(np.int64)
        if self.labels is not None:
            fields["labels"] = self.labels.astype(np.uint8)

    @property
    def n_img(self) -> int:
        """Number of pictures."""
        return len(self.image_ids)

    @property
    def n_txt(self) -> int:
        """Number of captions."""
        return len(self.captions)

    def validate(self) -> None:
        """Raise InputError naming the first row that is wrong."""
        for problem in chain(self._image_problems(), self._caption_problems(), self._label_problems()):
            self._refuse(problem)

    def _refuse(self, problem: str) -> NoReturn:
        raise InputError(f"Corpus {self.name!r}: {problem}")

    def _image_problems(self) -> Iterator[str]:
        n_img, ids = self.n_img, self.image_ids
        if not n_img:
            yield "there are no images; a corpus needs at least one."
        first = {}
        for row, image_id in enumerate(ids):
            if not isinstance(image_id, str) or not image_id.strip():
                yield f"the id of image row {row} is {image_id!r}; every image needs a text of its own as id."
            if first.setdefault(image_id, row) != row:
                yield f"image rows {first[image_id]} and {row} share the id {image_id!r}; ids must be unique."
        if self.split.shape != (n_img,):
            yield f"split has shape {self.split.shape} for {n_img} images; give one name for each image."
        for row in np.flatnonzero(~np.isin(self.split, SPLITS)):
            yield f"image row {row} ({ids[row]!r}) has split {str(self.split[row])!r}; use {', '.join(SPLITS)}."
        for what, sequence in (("images", self.images), ("scenes", self.scenes)):
            if sequence is not None and len(sequence) != n_img:
                yield f"{len(sequence)} {what} for {n_img} image ids; give one for each."

    def _caption_problems(self) -> Iterator[str]:
        n_img, n_txt, index = self.n_img, self.n_txt, self.caption_image
        if index.shape != (n_txt,):
            yield f"caption_image has shape {index.shape} for {n_txt} captions; give one image index for each."
        if index.dtype.kind == "f":
            whole = np.isfinite(index) & (np.floor(index) == index)
        else:
            whole = np.array([type(value) is int for value in index.tolist()], bool)
        for row in np.flatnonzero(~whole):
            yield f"caption row {row} points to image {index[row]}; caption_image must hold whole numbers."
        for row in np.flatnonzero((index < 0) | (index >= n_img)):
            yield f"caption row {row} points to image {index[row]}, but image rows are 0 to {n_img - 1}."
        for row, caption in enumerate(self.captions):
            if not isinstance(caption, str) or not caption.strip():
                remedy = "every caption must be a text with words: write one or leave the caption out."
                yield f"caption row {row} is {caption!r}; {remedy}"
        for row in np.flatnonzero(np.bincount(index.astype(np.int64), minlength=n_img) == 0):
            yield f"image row {row} ({self.image_ids[row]!r}) has no caption; write one or leave the image out."

    def _label_problems(self) -> Iterator[str]:
        labels, names = self.labels, self.label_names
        if labels is None:
            if names:
                yield f"{len(names)} label names but no labels; give both or neither."
            return
        if labels.ndim != 2 or len(labels) != self.n_img:
            yield f"labels have shape {labels.shape}, expected ({self.n_img}, n_labels): one row an image."
        if labels.shape[1] != len(names):
            yield f"labels have {labels.shape[1]} columns but there are {len(names)} label names; give one each."
        if labels.dtype.kind not in "biuf":
            yield f"labels are of type {labels.dtype}; give a matrix of 0 and 1."
        for row, column in np.argwhere(~((labels == 0) | (labels == 1))):  # NaN too is neither
            problem = f"have {labels[row, column]} for {names[column]!r}; labels must be 0 or 1."
            yield f"labels of image row {row} ({self.image_ids[row]!r}) {problem}"

    @functools.cached_property
    def key(self) -> str:
        """Content hash, 64 hex digits: name, ids, splits, captions, their images, labels and label names."""
        digest = hashlib.sha256()
        for texts in ([self.name], self.image_ids, self.split.tolist(), self.captions, self.label_names):
            digest.update(f"{len(texts)}\n".encode())
            digest.update("".join(f"{len(text)}:{text}" for text in texts).encode())
        digest.update(self.caption_image.astype("<i8").tobytes())
        digest.update(b"none" if self.labels is None else np.ascontiguousarray(self.labels).tobytes())
        return digest.hexdigest()

    def subset(self, split: str) -> Corpus:
        """The images of one split with their captions, re-indexed; InputError where the corpus does not have it."""
        if split not in self.split:
            present = ", ".join(name for name in SPLITS if name in self.split)
            self._refuse(f"there is no split {split!r}; it has {present}.")
        return self.select(np.flatnonzero(self.split == split))

    def select(self, rows: Sequence[int]) -> Corpus:
        """The images `rows` in this order with their captions, re-indexed; captions keep their old order."""
        rows = np.asarray(rows, np.int64)
        if not len(rows) or rows.min() < 0 or rows.max() >= self.n_img:
            self._refuse(f"rows to select must be between 0 and {self.n_img - 1}, at least one.")
        position = np.full(self.n_img, -1, np.int64)
        position[rows] = np.arange(len(rows))
        kept = np.flatnonzero(position[self.caption_image] >= 0)
        return Corpus(
            self.name,
            [self.image_ids[row] for row in rows],
            [self.captions[row] for row in kept],
            position[self.caption_image[kept]],
            self.split[rows],
            None if self.labels is None else self.labels[rows],
            self.label_names,
            None if self.images is None else ImageView(self.images, rows),
            None if self.scenes is None else [self.scenes[row] for row in rows],
        )
