"""What a user of `evaluate` gave: scores to be made, and who is relevant to whom, checked against each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.relevance import caption_index, image_text_tasks, query_gallery_tasks, read_pairs
from fico_utils.evaluation.similarity import ScoreSource, score_source
from fico_utils.evaluation.tasks import Task
from fico_utils.registry import SCORED_FORMS, load_entry

#: Arguments that are about images and captions, and have no meaning of a query set.
NOT_OF_SETS = ("caption_image", "labels", "text_labels", "images_repeated", "similarity_t2i", "caption_image_ids")
#: Arguments of `score_source` and of `image_text_tasks`.
SCORED = (
    "images", "texts", "queries", "gallery", "similarity", "similarity_t2i", "unranked", "measure", "bits",
    "allow_zero",
)  # fmt: skip
RELEVANT = ("caption_image", "labels", "text_labels", "relevance", "distractors")


@dataclass(frozen=True)
class Given:
    """The arguments of `evaluate` that say what is ranked, as they were given; see there."""

    images: Any = None
    texts: Any = None
    queries: Any = None
    gallery: Any = None
    similarity: Any = None
    similarity_t2i: Any = None
    unranked: float | None = None
    caption_image: Any = None
    image_ids: Any = None
    caption_image_ids: Any = None
    caption_ids: Any = None
    images_repeated: int | None = None
    distractors: bool = False
    leave_out_self: bool = False
    relevance: Any = None
    labels: Any = None
    text_labels: Any = None
    query_labels: Any = None
    gallery_labels: Any = None
    measure: str = "cosine"
    bits: int | None = None
    allow_zero: bool = False

    @property
    def is_pair(self) -> bool:
        """Whether a query set asks a gallery, in one direction."""
        sets = (self.queries, self.gallery, self.query_labels, self.gallery_labels)
        return self.leave_out_self or any(x is not None for x in sets)

    def read(self) -> Given:
        """The same in the forms that are scored: one matrix, images stored once, positions for names; one gallery."""
        given = load_entry(SCORED_FORMS)(self)
        if not self.is_pair:
            return given
        for name in NOT_OF_SETS:
            if getattr(given, name) is not None:
                raise InputError(
                    f"{name} is given with a query set, which has labels of its own or relevance: leave it out"
                )
        alone = given.leave_out_self and given.gallery is None and given.similarity is None
        return replace(given, gallery=given.queries) if alone else given

    def source(self) -> ScoreSource:
        """Where scores come from."""
        return score_source(**{name: getattr(self, name) for name in SCORED})

    def tasks(self, n: tuple[int, int]) -> list[Task]:
        """Who asks whom, for so many images and captions, or queries and items."""
        if self.is_pair:
            return query_gallery_tasks(*n, self.query_labels, self.gallery_labels, self.relevance, self.leave_out_self)
        self._check_orientation(n)
        return image_text_tasks(*n, **{name: getattr(self, name) for name in RELEVANT})

    def _check_orientation(self, n: tuple[int, int]) -> None:
        """Refuse a matrix of captions by images."""
        if self.similarity is None or self.similarity_t2i is not None or n[0] == n[1]:
            return
        if self.caption_image is not None:
            turned = np.shape(self.caption_image) == (n[0],)
        else:
            turned = self.relevance is None and n[1] < n[0] and n[0] % n[1] == 0
        if turned:
            raise InputError(
                f"similarity has shape {n}, captions by images, expected images by captions: transpose it "
                "(or give it as similarity_t2i beside similarity)"
            )

    def folds(self, number: int, n: tuple[int, int]) -> list[Given]:
        """The input of each of some consecutive parts of the images with their captions."""
        if number == 1:
            return [self]
        if self.is_pair or self.distractors:
            raise InputError(
                "folds are parts of images with their captions: leave out folds, or the query set or distractors"
            )
        if self.relevance is not None and self.caption_image is None:
            raise InputError("folds need to know of which image a caption is: give caption_image beside relevance")
        index, pairs = caption_index(self.caption_image, *n), None
        if self.relevance is not None:
            if isinstance(self.relevance, Mapping):
                raise InputError("folds and a relevance by name are both given: leave folds out, or give pairs")
            pairs, grades = read_pairs(self.relevance, *n, ("image", "caption"))
            pairs = np.column_stack([pairs, np.ones(len(pairs)) if grades is None else grades])
        return [self._part(images, captions, index, pairs) for images, captions in fold_parts(number, n[0], index)]

    def _part(self, images: slice, captions: np.ndarray, index: np.ndarray, pairs: np.ndarray | None) -> Given:
        """Some consecutive images with their captions."""
        kept: dict[str, Any] = {"caption_image": index[captions] - images.start}
        for name, rows in (("images", images), ("labels", images), ("texts", captions), ("text_labels", captions)):
            if (array := getattr(self, name)) is not None:
                kept[name] = (array.tocsr() if hasattr(array, "tocsr") else np.asarray(array))[rows]
        if self.similarity is not None:
            kept["similarity"] = np.asarray(self.similarity)[images][:, captions]
        if self.similarity_t2i is not None:
            kept["similarity_t2i"] = np.asarray(self.similarity_t2i)[captions][:, images]
        if pairs is not None:
            place = np.full(index.size, -1)
            place[captions] = np.arange(captions.size)
            here = (pairs[:, 0] >= images.start) & (pairs[:, 0] < images.stop) & (place[pairs[:, 1].astype(int)] >= 0)
            inside = pairs[here]
            kept["relevance"] = np.column_stack(
                [inside[:, 0] - images.start, place[inside[:, 1].astype(int)], inside[:, 2]]
            )
        return replace(self, **kept)


def fold_parts(folds: int, n_img: int, index: np.ndarray) -> list[tuple[slice, np.ndarray]]:
    """The images and the captions of each of some consecutive parts of the images; InputError where they do not divide.

    >>> fold_parts(2, 4, np.array([0, 2, 2, 3]))[1]
    (slice(2, 4, None), array([1, 2, 3]))
    """
    if folds < 1 or n_img % folds:
        raise InputError(f"folds is {folds}, which does not divide {n_img} images into equal parts: give a divisor")
    size = n_img // folds
    return [(slice(a, a + size), np.flatnonzero((index >= a) & (index < a + size))) for a in range(0, n_img, size)]
