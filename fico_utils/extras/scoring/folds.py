"""Folds: consecutive parts of the images with their captions, each scored alone, as in the 1K test of MS-COCO."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.given import Given
from fico_utils.evaluation.relevance import caption_index, read_pairs


def split_folds(given: Given, number: int) -> Iterator[Given]:
    """The input of each of some consecutive parts of the images with their captions, made one after the other.

    InputError where the input cannot be scored in parts, before any is made.
    """
    n = given.source.shape
    if given.is_pair or given.distractors:
        raise InputError(
            "folds are parts of images with their captions: leave out folds, or the query set or distractors"
        )
    if given.relevance is not None and given.caption_image is None:
        raise InputError("folds need to know of which image a caption is: give caption_image beside relevance")
    if isinstance(given.relevance, Mapping):
        raise InputError("folds and a relevance by name are both given: leave folds out, or give pairs")
    if number < 1 or n[0] % number:
        raise InputError(f"folds is {number}, which does not divide {n[0]} images into equal parts: give a divisor")
    index, pairs = caption_index(given.caption_image, *n), None
    if given.relevance is not None:
        pairs, grades = read_pairs(given.relevance, *n, ("image", "caption"))
        pairs = np.column_stack([pairs, np.ones(len(pairs)) if grades is None else grades])
    return (_take_part(given, images, captions, index, pairs) for images, captions in fold_parts(number, n[0], index))


def _take_part(given: Given, images: slice, captions: np.ndarray, index: np.ndarray, pairs: np.ndarray | None) -> Given:
    """Some consecutive images with their captions."""
    kept: dict[str, Any] = {"caption_image": index[captions] - images.start}
    for name, rows in (("images", images), ("labels", images), ("texts", captions), ("text_labels", captions)):
        if (array := getattr(given, name)) is not None:
            kept[name] = (array.tocsr() if hasattr(array, "tocsr") else np.asarray(array))[rows]
    if given.similarity is not None:
        kept["similarity"] = np.asarray(given.similarity)[images][:, captions]
    if given.similarity_t2i is not None:
        kept["similarity_t2i"] = np.asarray(given.similarity_t2i)[captions][:, images]
    if pairs is not None:
        place = np.full(index.size, -1)
        place[captions] = np.arange(captions.size)
        here = (pairs[:, 0] >= images.start) & (pairs[:, 0] < images.stop) & (place[pairs[:, 1].astype(int)] >= 0)
        inside = pairs[here]
        kept["relevance"] = np.column_stack(
            [inside[:, 0] - images.start, place[inside[:, 1].astype(int)], inside[:, 2]]
        )
    return replace(given, **kept)


def fold_parts(folds: int, n_img: int, index: np.ndarray) -> list[tuple[slice, np.ndarray]]:
    """The images and the captions of each of some consecutive parts of the images, which divide into so many.

    >>> fold_parts(2, 4, np.array([0, 2, 2, 3]))[1]
    (slice(2, 4, None), array([1, 2, 3]))
    """
    size = n_img // folds
    return [(slice(a, a + size), np.flatnonzero((index >= a) & (index < a + size))) for a in range(0, n_img, size)]
