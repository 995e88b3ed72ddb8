"""What a user of `evaluate` gave: scores to be made, and who is relevant to whom, checked against each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.relevance import image_text_tasks
from fico_utils.evaluation.similarity import ScoreSource, score_source
from fico_utils.evaluation.tasks import Task
from fico_utils.registry import FOLDS, SCORED_FORMS, SET_TASKS, load_entry

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
        """The same in the forms that are scored: one matrix, images stored once, positions in place of names."""
        return load_entry(SCORED_FORMS)(self)

    def source(self) -> ScoreSource:
        """Where scores come from."""
        return score_source(**{name: getattr(self, name) for name in SCORED})

    def tasks(self, n: tuple[int, int]) -> list[Task]:
        """Who asks whom, for so many images and captions, or queries and items."""
        if self.is_pair:
            return load_entry(SET_TASKS)(self, *n)
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

    def folds(self, number: int, n: tuple[int, int]) -> Iterable[Given]:
        """The input of each of some consecutive parts of the images; InputError where it has none."""
        return [self] if number == 1 else load_entry(FOLDS)(self, number, n)
