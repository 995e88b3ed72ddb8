"""What is true of the drawn scenes of a gallery, whatever its size: labels, and which caption fits which scene.

A scene and its graph are made again from its number; a caption written for one scene may be true of another.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from fico_utils.costs.blocks import CAPTIONS
from fico_utils.data.pictoscenes import Caption, captions_of, labels_of, make_scene, spec_of, true_rows
from fico_utils.files import key_of

#: k of R@k as a gallery grows.
RECALL_AT = (1, 5, 10)
#: Pairs whose truth is looked up at once.
PAIRS = 512


_scene = lru_cache(maxsize=4096)(make_scene)


@lru_cache(maxsize=4096)
def _captions(corpus: str, index: int, seed: int) -> list[Caption]:
    return captions_of(_scene(corpus, index, seed))[:CAPTIONS]


class Truth:
    """The truth of `blocks.Scenes` of a drawn corpus: caption c is the caption c % 5 of scene c // 5."""

    def __init__(self, corpus: str, seed: int = 0) -> None:
        spec_of(corpus)
        self.corpus, self.seed, self.key = corpus, seed, key_of(corpus, seed)  # the key is of the scenes it knows

    def labels(self, start: int, stop: int) -> np.ndarray:
        """Multi-hot labels uint8 (stop - start, n_labels) of scenes `start` to `stop` - 1."""
        return labels_of([make_scene(self.corpus, i, self.seed) for i in range(start, stop)])

    def true(self, captions: np.ndarray, scenes: np.ndarray) -> np.ndarray:
        """Whether caption ``captions[i]`` is true of scene ``scenes[i]``, bool (n,)."""
        assert len(captions) == len(scenes), f"{len(captions)} captions and {len(scenes)} scenes are no pairs"
        out = np.zeros(len(captions), bool)
        for start in range(0, len(captions), PAIRS):
            part = slice(start, start + PAIRS)
            numbers, place = np.unique(scenes[part], return_inverse=True)
            known = [_scene(self.corpus, int(s), self.seed) for s in numbers]
            rows = true_rows([self._caption(int(c)) for c in captions[part]], known)
            out[part] = [p in r for p, r in zip(place, rows, strict=True)]
        return out

    def fitting(self, captions: np.ndarray, start: int, stop: int) -> np.ndarray:
        """Of how many of the scenes `start` to `stop` - 1 each caption is true, int64 (n,)."""
        scenes = [make_scene(self.corpus, i, self.seed) for i in range(start, stop)]
        rows = true_rows([self._caption(int(c)) for c in captions], scenes)
        return np.array([len(r) for r in rows], np.int64)

    def _caption(self, caption: int) -> Caption:
        return _captions(self.corpus, caption // CAPTIONS, self.seed)[caption % CAPTIONS]


class Ceiling:
    """What a perfect retriever reaches: it knows what is true, and has to guess among all scenes that fit a caption.

    The captions of the first `n_query` scenes ask.
    """

    def __init__(self, n_query: int, truth: Truth) -> None:
        assert n_query > 0, "at least one scene asks"
        self.truth, self.n_query, self._asked = truth, n_query, np.arange(CAPTIONS * n_query, dtype=np.int64)
        self._fitting, self.n_img = np.zeros(len(self._asked), np.int64), 0

    def add(self, start: int, stop: int) -> None:
        """Let the gallery grow by scenes `start` to `stop` - 1."""
        self._fitting += self.truth.fitting(self._asked, start, stop)
        self.n_img = stop

    def values(self) -> dict[str, float]:
        """R@k of captions at the size reached, by quantity."""
        assert self.n_img >= self.n_query, f"the gallery has {self.n_img} scenes and {self.n_query} ask"
        return {f"recall_t2i@{k}": float(np.minimum(1, k / self._fitting).mean()) for k in RECALL_AT}

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What the scenes so far have left: (JSON-able content, arrays), from which `restore` goes on."""
        return {"n_img": self.n_img}, {"fitting": self._fitting}

    def restore(self, content: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Take up the `state` of a ceiling of the same queries."""
        self.n_img, self._fitting = content["n_img"], arrays["fitting"].copy()
