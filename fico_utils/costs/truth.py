"""What is true of the drawn scenes of a gallery, made again from their numbers: labels, and which caption fits which.

A wrong answer is not always wrong: "a red cat" written for one scene may be true of another. On photographs nobody
knows; PictoScenes keeps the scene graph, and a scene is a function of its number, so the truth of a gallery of any size
takes no memory.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from fico_utils.costs.stages import CAPTIONS
from fico_utils.data.picto_captions import Caption, captions_of
from fico_utils.data.picto_scene import Scene, make_scene, spec_of
from fico_utils.data.picto_truth import true_rows
from fico_utils.data.pictoscenes import labels_of
from fico_utils.errors import InputError

#: Pairs whose truth is looked up at once.
PAIRS = 512


@lru_cache(maxsize=4096)
def _scene(corpus: str, index: int, seed: int) -> Scene:
    return make_scene(corpus, index, seed)


@lru_cache(maxsize=4096)
def _captions(corpus: str, index: int, seed: int) -> list[Caption]:
    return captions_of(_scene(corpus, index, seed))[:CAPTIONS]


class Truth:
    """The truth of a stream of scenes such as `stages.Scenes`: caption c is the caption c % 5 of scene c // 5.

    Parameters
    ----------
    corpus : str, picto_diverse or picto_people; no other corpus knows its truth.
    seed : int
    """

    def __init__(self, corpus: str, seed: int = 0) -> None:
        spec_of(corpus)
        self.corpus, self.seed = corpus, seed

    def labels(self, start: int, stop: int) -> np.ndarray:
        """Multi-hot labels uint8 (stop - start, n_labels) of scenes `start` to `stop` - 1."""
        return labels_of([make_scene(self.corpus, i, self.seed) for i in range(start, stop)])

    def true(self, captions: np.ndarray, scenes: np.ndarray) -> np.ndarray:
        """Whether caption ``captions[i]`` is true of scene ``scenes[i]``, bool (n,)."""
        if len(captions) != len(scenes):
            raise InputError(f"{len(captions)} captions and {len(scenes)} scenes were given; expected pairs")
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
