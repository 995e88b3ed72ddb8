"""What a user of `evaluate` gave: scores to be made, and who is relevant to whom, checked against each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.relevance import image_text_tasks
from fico_utils.evaluation.similarity import ScoreSource, score_source
from fico_utils.evaluation.tasks import Task
from fico_utils.registry import FOLDS, SET_TASKS, load_entry

#: Arguments of `score_source` and of `image_text_tasks`.
SCORED = (
    "images", "texts", "queries", "gallery", "similarity", "similarity_t2i", "unranked", "measure", "bits",
    "allow_zero",
)  # fmt: skip
RELEVANT = ("caption_image", "labels", "text_labels", "relevance", "distractors")


@dataclass(frozen=True)
class Given:
    """The arguments of `evaluate` that say what is ranked, see there; and what is made of them.

    That needs them in one form, which `fico_utils.extras.scoring.forms` gives them.
    """

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
    measure: str | None = None
    bits: int | None = None
    allow_zero: bool = False

    @property
    def is_pair(self) -> bool:
        """Whether a query set asks a gallery, in one direction."""
        sets = (self.queries, self.gallery, self.query_labels, self.gallery_labels)
        return self.leave_out_self or any(x is not None for x in sets)

    @cached_property
    def source(self) -> ScoreSource:
        """Where scores come from."""
        return score_source(**{name: getattr(self, name) for name in SCORED})

    @cached_property
    def tasks(self) -> list[Task]:
        """Who asks whom, one task a direction."""
        if self.is_pair:
            return load_entry(SET_TASKS)(self)
        n = self.source.shape
        if self.similarity is not None and self.similarity_t2i is None and n[0] != n[1]:
            if self.caption_image is not None:
                turned = np.shape(self.caption_image) == (n[0],)
            else:
                turned = self.relevance is None and n[1] < n[0] and n[0] % n[1] == 0
            if turned:
                raise InputError(
                    f"similarity has shape {n}, captions by images, expected images by captions: transpose it "
                    "(or give it as similarity_t2i beside similarity)"
                )
        return image_text_tasks(*n, **{name: getattr(self, name) for name in RELEVANT})

    def folds(self, number: int) -> Iterable[Given]:
        """The input of each of some consecutive parts of the images; InputError where it has none."""
        return [self] if number == 1 else load_entry(FOLDS)(self, number)
