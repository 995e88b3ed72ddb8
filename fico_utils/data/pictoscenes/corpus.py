"""Corpora of PictoScenes: how scenes become a `Corpus` that is drawn when it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from fico_utils.artifacts import Recipe
from fico_utils.data.corpus import SPLITS, Corpus
from fico_utils.data.pictoscenes.captions import captions_of
from fico_utils.data.pictoscenes.draw import SceneImages
from fico_utils.data.pictoscenes.scene import SPLIT_START, Scene, make_scene, n_captions, spec_of
from fico_utils.data.pictoscenes.tables import LABEL_NAMES, LABEL_OF
from fico_utils.errors import InputError
from fico_utils.registry import CorpusInfo
from fico_utils.workspace import Run


def labels_of(scenes: Sequence[Scene]) -> np.ndarray:
    """Multi-hot labels of scenes, uint8 (n, 64), columns as LABEL_NAMES."""
    labels = np.zeros((len(scenes), len(LABEL_NAMES)), np.uint8)
    for row, scene in zip(labels, scenes, strict=True):
        row[[LABEL_OF[thing.category] for thing in scene.things]] = 1
    return labels


def make_corpus(name: str, split_sizes: dict[str, int], seed: int = 0, first: int = 0) -> DrawnCorpus:
    """An embedded corpus with the given number of scenes in each split, in the order train, val, test.

    Pictures, scenes, captions and labels are made when they are first asked for (about 0.3 ms a scene, pictures apart).

    `first` says where in each split's range to start: a stream of new scenes takes first = 0, n, 2 n, ... InputError
    for an unknown corpus or split, or a size that is no whole number or beyond the split's range.

    >>> corpus = make_corpus("picto_people", {"train": 2, "test": 1})
    >>> corpus.image_ids
    ['picto_people-0-20000000', 'picto_people-0-20000001', 'picto_people-0-00000000']
    """
    spec_of(name)
    for what, value in (("seed", seed), ("first", first)):
        if not _is_count(value):
            raise InputError(f"{what}={value!r} is not a whole number of 0 or more; give one, 0 for instance.")
    limit = SPLIT_START["val"] - int(first)
    for split, size in split_sizes.items():
        if split not in SPLITS:
            raise InputError(f"There is no split {split!r}: choose from {', '.join(SPLITS)}.")
        if not _is_count(size) or size > limit:
            raise InputError(f"Split {split!r} was given the size {size!r}; expected a whole number from 0 to {limit}.")
    if not any(split_sizes.values()):
        raise InputError(f"split_sizes={split_sizes!r} asks for no scene; give at least one split a size above 0.")
    return DrawnCorpus(name, {s: int(split_sizes[s]) for s in SPLITS if split_sizes.get(s)}, int(seed), int(first))


def _is_count(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= 0


@lru_cache(maxsize=16)
def drawn_corpus(name: str, train: int = 0, val: int = 0, test: int = 0) -> DrawnCorpus:
    """The embedded corpus of these sizes and seed 0: one object a process, so that its scenes are made once."""
    return make_corpus(name, {"train": train, "val": val, "test": test})


class DrawnCorpus(Corpus):
    """An embedded corpus, as `make_corpus` returns it: a `Corpus` whose scenes are made when they are first needed.

    Its key says how it is made, so neither the key nor the numbers of images and captions need a scene. `sizes` has
    the number of scenes of every split that has any.
    """

    label_names = LABEL_NAMES

    def __init__(self, name: str, sizes: dict[str, int], seed: int = 0, first: int = 0):
        self.__dict__.update(name=name, sizes=sizes, seed=seed, first=first, images=SceneImages(self))

    @cached_property
    def _parts(self) -> dict[str, DrawnCorpus]:
        """The corpus of each split that has scenes."""
        if len(self.sizes) == 1:
            return dict.fromkeys(self.sizes, self)
        return {split: DrawnCorpus(self.name, {split: n}, self.seed, self.first) for split, n in self.sizes.items()}

    def subset(self, split: str) -> Corpus:
        """One split, not drawn either; raises InputError for a split that the corpus does not have."""
        return self._parts[split] if split in self._parts else super().subset(split)

    @cached_property
    def key(self) -> str:
        """Key of the recipe, 16 hex digits, for which nothing is drawn; of several splits it is made of their keys."""
        if len(self.sizes) > 1:
            parts = tuple(part.key for part in self._parts.values())
            return Recipe("pictoscenes", {"corpus": self.name}, self.seed, parts).key
        ((split, size),) = self.sizes.items()
        settings = {"corpus": self.name, "split": split, "scenes": size}
        return Recipe("pictoscenes", settings | ({"first": self.first} if self.first else {}), self.seed).key

    @cached_property
    def indices(self) -> list[int]:
        """The index of every scene."""
        return [SPLIT_START[split] + self.first + i for split, size in self.sizes.items() for i in range(size)]

    @cached_property
    def scenes(self) -> list[Scene]:
        if len(self.sizes) > 1:  # so that a scene is made once
            return [scene for part in self._parts.values() for scene in part.scenes]
        return [make_scene(self.name, index, self.seed) for index in self.indices]

    @cached_property
    def image_ids(self) -> list[str]:
        return [f"{self.name}-{self.seed}-{index:08d}" for index in self.indices]

    @cached_property
    def captions(self) -> list[str]:
        return [caption.text for scene in self.scenes for caption in captions_of(scene)]

    @cached_property
    def caption_image(self) -> np.ndarray:
        counts = [n_captions(self.name, index) for index in self.indices]
        return np.repeat(np.arange(len(counts)), counts)

    @cached_property
    def split(self) -> np.ndarray:
        return np.repeat(list(self.sizes), list(self.sizes.values()))

    @cached_property
    def labels(self) -> np.ndarray:
        return labels_of(self.scenes)

    @property
    def n_img(self) -> int:
        return len(self.indices)

    @property
    def n_txt(self) -> int:
        return len(self.caption_image)


@dataclass(frozen=True)
class DrawnReader:
    """Draws an embedded corpus; `read` and `regions` are what a run asks of every reader."""

    info: CorpusInfo

    def read(self, run: Run) -> DrawnCorpus:
        """The corpus in the sizes of the run's profile; InputError where it gives none."""
        name = self.info.id
        sizes = {split: run[f"n_{split}"].get(name) for split in SPLITS}
        if None in sizes.values():
            remedy = "add it to n_train, n_val and n_test"
            raise InputError(f"profile {run.profile} gives no size for corpus {name!r}; {remedy}")
        return drawn_corpus(name, **sizes)

    def regions(self, _run: Run) -> None:
        """It brings no region features."""
