"""Corpora of PictoScenes: how scenes become a `Corpus` that is drawn when it is read, and a stream without end."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fico_utils.artifacts import Recipe
from fico_utils.data.corpus import SPLITS, Corpus
from fico_utils.data.pictoscenes.captions import captions_of
from fico_utils.data.pictoscenes.draw import SceneImages
from fico_utils.data.pictoscenes.scene import SPLIT_START, Scene, make_scene, n_captions, spec_of
from fico_utils.data.pictoscenes.tables import GRID, LABEL_NAMES, LABEL_OF
from fico_utils.errors import InputError
from fico_utils.registry import CorpusInfo
from fico_utils.workspace import Run


def labels_of(scenes) -> np.ndarray:
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
    for value, what in ((seed, "seed"), (first, "first")):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
            raise InputError(f"{what}={value!r} is not a whole number of 0 or more; give one, 0 for instance.")
    limit = SPLIT_START["val"] - int(first)
    for split, size in split_sizes.items():
        if split not in SPLITS:
            raise InputError(f"There is no split {split!r}: choose from {', '.join(SPLITS)}.")
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or not 0 <= size <= limit:
            raise InputError(f"Split {split!r} was given the size {size!r}; expected a whole number from 0 to {limit}.")
    if not any(split_sizes.values()):
        raise InputError(f"split_sizes={split_sizes!r} asks for no scene; give at least one split a size above 0.")
    return DrawnCorpus(name, {s: int(split_sizes[s]) for s in SPLITS if split_sizes.get(s)}, int(seed), int(first))


class SceneList(Sequence):
    """Scenes of a corpus by their indices, each made when it is first asked for; `made` keeps them."""

    def __init__(self, corpus: str, indices: list[int], seed: int, made: dict[int, Scene]):
        self.corpus, self.indices, self.seed, self.made = corpus, indices, seed, made

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, row):
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        index = self.indices[row]
        if index not in self.made:
            self.made[index] = make_scene(self.corpus, index, self.seed)
        return self.made[index]


class DrawnCorpus(Corpus):
    """An embedded corpus, as `make_corpus` returns it: a `Corpus` whose scenes are made when they are first needed.

    Its key says how it is made, so neither the key nor the numbers of images and captions need a scene. `sizes` has
    the number of scenes of every split that has any.
    """

    label_names = LABEL_NAMES

    def __init__(self, name: str, sizes: dict[str, int], seed: int = 0, first: int = 0):
        indices = [SPLIT_START[split] + first + i for split, size in sizes.items() for i in range(size)]
        scenes = SceneList(name, indices, seed, {})
        images = SceneImages(scenes)
        self.__dict__.update(name=name, sizes=sizes, seed=seed, first=first, scenes=scenes, images=images, _parts={})

    @functools.cached_property
    def key(self) -> str:
        """Key of the recipe, 16 hex digits, for which nothing is drawn; of several splits it is made of their keys."""
        if len(self.sizes) > 1:
            parts = tuple(self.subset(split).key for split in self.sizes)
            return Recipe("pictoscenes", {"corpus": self.name}, self.seed, parts).key
        ((split, size),) = self.sizes.items()
        settings = {"corpus": self.name, "split": split, "scenes": size}
        return Recipe("pictoscenes", settings | ({"first": self.first} if self.first else {}), self.seed).key

    @functools.cached_property
    def image_ids(self) -> list[str]:
        return [f"{self.name}-{self.seed}-{index:08d}" for index in self.scenes.indices]

    @functools.cached_property
    def captions(self) -> list[str]:
        if len(self.sizes) > 1:  # so that a split is written once
            return [caption for split in self.sizes for caption in self.subset(split).captions]
        return [caption.text for scene in self.scenes for caption in captions_of(scene)]

    @functools.cached_property
    def caption_image(self) -> np.ndarray:
        counts = [n_captions(self.name, index) for index in self.scenes.indices]
        return np.repeat(np.arange(len(counts)), counts)

    @functools.cached_property
    def split(self) -> np.ndarray:
        return np.repeat(list(self.sizes), list(self.sizes.values()))

    @functools.cached_property
    def labels(self) -> np.ndarray:
        return labels_of(self.scenes)

    @property
    def n_img(self) -> int:
        return len(self.scenes)

    @property
    def n_txt(self) -> int:
        return len(self.caption_image)

    def subset(self, split: str) -> Corpus:
        """One split, not drawn either; raises InputError for a split that the corpus does not have."""
        if split not in self.sizes:
            return super().subset(split)
        if split not in self._parts:
            part = DrawnCorpus(self.name, {split: self.sizes[split]}, self.seed, self.first)
            part.scenes.made = self.scenes.made  # a scene is made once
            self._parts[split] = part
        return self._parts[split]


@dataclass(frozen=True)
class DrawnReader:
    """Draws an embedded corpus; `read` and `regions` are what a run asks of every reader."""

    info: CorpusInfo

    def read(self, run: Run) -> DrawnCorpus:
        """The corpus in the sizes of the run's profile; InputError where it gives none."""
        name = self.info.id
        sizes = tuple((split, run[f"n_{split}"].get(name)) for split in SPLITS)
        if None in dict(sizes).values():
            remedy = "add it to n_train, n_val and n_test"
            raise InputError(f"profile {run.profile} gives no size for corpus {name!r}; {remedy}")
        return _cached_corpus(name, sizes)

    def regions(self, _run: Run) -> None:
        """It brings no region features."""


@functools.lru_cache(maxsize=8)
def _cached_corpus(name: str, sizes: tuple[tuple[str, int], ...]) -> DrawnCorpus:
    return make_corpus(name, dict(sizes))


def unique_pairs(name: str, start: int, stop: int, seed: int = 0, captions: int = 5) -> tuple[SceneImages, list[str]]:
    """Pictures of scenes `start` to `stop` - 1, drawn on demand, and the first captions of each, scene by scene.

    A slice of a stream of up to ten million scenes, no two alike; the first are those of the test split. InputError
    for an unknown corpus, or a slice that is empty or leaves the range.
    """
    spec_of(name)
    if not 0 <= start < stop <= SPLIT_START["val"]:
        expected = f"expected a start from 0 and a larger end, up to {SPLIT_START['val']}"
        raise InputError(f"scenes {start} to {stop} of {name} were asked for; {expected}")
    scenes = [make_scene(name, i, seed) for i in range(start, stop)]
    return SceneImages(scenes), [c.text for scene in scenes for c in captions_of(scene)[:captions]]


def cell_targets(scenes) -> dict[str, np.ndarray]:
    """Category, colour and size of what stands in each of the 36 cells, int64 (n, 36); -1: no centre there.

    Values index CATEGORY_NAMES, COLOUR_NAMES and SIZE_NAMES; cells go row by row.
    """
    targets = {field: np.full((len(scenes), GRID * GRID), -1, np.int64) for field in ("category", "colour", "size")}
    for row, scene in enumerate(scenes):
        for thing in scene.things:
            for field, target in targets.items():
                target[row, thing.cell] = getattr(thing, field)
    return targets
