"""What is timed on the way from a scene to its embedding: feature extractors, and the encoders of systems.

The paper leaves the extractor's time out for the systems that read prepared features (SCAN, VSRN, IMRAM, the hashing
systems) and has it inside for those that read pictures. Here every system reads what an extractor made, and the
extractors are timed apart from them, in the phase ``features``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils import registry
from fico_utils.data.pictoscenes import SPLIT_START, spec_of, unique_pairs
from fico_utils.errors import InputError
from fico_utils.workspace import key_of

if TYPE_CHECKING:
    from fico_utils.data.features import Backbone
    from fico_utils.data.text import Vocabulary
    from fico_utils.models.contract import RetrievalModel

#: Captions of a scene that a stream takes, as the paper's 1K/5K ... 1M/5M.
CAPTIONS = 5


@dataclass(frozen=True)
class Scenes:
    """PictoScenes pairs drawn as they are needed, no two alike: ``scenes(start, stop)`` gives a block of them.

    Attributes
    ----------
    corpus : str, picto_diverse or picto_people.
    seed : int
    """

    corpus: str
    seed: int = 0

    def __post_init__(self) -> None:
        spec_of(self.corpus)  # another corpus is refused now: only drawn scenes have no end

    @property
    def largest(self) -> int:
        """Scenes there are."""
        return SPLIT_START["val"]

    def __call__(self, start: int, stop: int) -> dict[str, Any]:
        """``pixels`` uint8 (n, 96, 96, 3) and ``captions``, a list of 5 n, of scenes `start` to `stop` - 1."""
        pictures, captions = unique_pairs(self.corpus, start, stop, self.seed, CAPTIONS)
        return {"pixels": pictures[:], "captions": captions}


@dataclass(frozen=True)
class Stage:
    """A step whose time is measured: a feature extractor, or the encoder of a system.

    Attributes
    ----------
    name : str, what stands in the column `system`.
    sides : dict, ``image`` or ``text`` or both -> (what it reads, its work). The work takes a block of that; an
        extractor's returns features by name, an encoder's yields embeddings batch by batch.
    key : str, of what its time depends on.
    makes : tuple of str, names of the features it makes; none for an encoder.
    codes : bool, it yields packed hash codes, which can be kept.
    """

    name: str
    sides: dict[str, tuple[str, Callable[[Any], Any]]]
    key: str
    makes: tuple[str, ...] = ()
    codes: bool = False

    @property
    def phase(self) -> str:
        """``features`` or ``encode``."""
        return "features" if self.makes else "encode"


def digest(arrays: Mapping[str, Any]) -> str:
    """SHA-256 of named arrays or tensors."""
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        total.update(name.encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def extractors(
    backbone: Backbone, vocabulary: Vocabulary, doc2vec: tuple[dict[str, np.ndarray], int, int] | None = None
) -> list[Stage]:
    """The feature extractors as stages: ``backbone``, ``tokens`` and, where given, ``doc2vec``.

    Parameters
    ----------
    backbone : Backbone, pixels to ``regions``, ``global`` and ``patches``. The patches of a run come from a second
        backbone of the same architecture, so of the same cost; here one stands for both.
    vocabulary : Vocabulary, captions to ``tokens``.
    doc2vec : (weights, seed, epochs) or None, captions to ``doc2vec``; one thread, as gensim infers.
    """
    from fico_utils.data import features, text

    def see(pixels: np.ndarray) -> dict[str, np.ndarray]:
        found = features.visual_features(backbone, pixels)
        return {**found, "patches": found["regions"]}

    stages = [
        Stage(
            "backbone",
            {"image": ("pixels", see)},
            key_of("backbone", digest(backbone.state_dict())),
            ("regions", "global", "patches"),
        ),
        Stage(
            "tokens",
            {"text": ("captions", lambda captions: {"tokens": vocabulary.encode(captions)})},
            key_of("tokens", vocabulary.words),
            ("tokens",),
        ),
    ]
    if doc2vec is not None:
        weights, seed, epochs = doc2vec

        def infer(captions: list[str]) -> dict[str, np.ndarray]:
            return {"doc2vec": text.doc2vec(weights, captions, seed=seed, epochs=epochs)}

        key = key_of("doc2vec", digest(weights), seed, epochs)
        stages.append(Stage("doc2vec", {"text": ("captions", infer)}, key, ("doc2vec",)))
    return stages


def encoder(system: str, model: RetrievalModel, batch: int = 256, keep: bool = True) -> Stage:
    """A system's encoder as a stage: from features to what it stores, float32 or packed hash codes.

    Parameters
    ----------
    system : str, id of the registry.
    model : RetrievalModel, trained or not: what it costs does not depend on it.
    batch : int, items of a forward pass.
    keep : bool, its codes may be kept, where the stream keeps codes.

    Raises
    ------
    InputError
        A batch below 1.
    """
    if batch < 1:
        raise InputError(f"a batch size of {batch} was given; expected at least 1")
    import torch

    from fico_utils.models.encoding import hash_codes
    from fico_utils.models.training import as_tensor

    hashed = registry.system(system).measure == "hamming"
    model.eval()

    def work(encode: Callable) -> Callable[[np.ndarray], Iterator[np.ndarray]]:
        @torch.inference_mode()
        def by_batch(features: np.ndarray) -> Iterator[np.ndarray]:
            for start in range(0, len(features), batch):
                embeddings = encode(as_tensor(features[start : start + batch])).numpy()
                yield hash_codes(embeddings) if hashed else embeddings

        return by_batch

    sides = {
        "image": (model.image_input, work(model.encode_image)),
        "text": (model.text_input, work(model.encode_text)),
    }
    return Stage(system, sides, key_of(model_key(system, model), batch), codes=hashed and keep)


def model_key(system: str, model: RetrievalModel) -> str:
    """Key of a system's settings and weights."""
    return key_of(system, model.settings, digest(model.weights()))
