"""One way through the data: scenes flow in blocks past the same feature stages, to whoever observes them.

A block of scenes is drawn once, its features are made once, when somebody first reads them, and every observer sees it:
clocks (`encoding`), growing galleries, and what two-step searches keep of their items. Memory is that of one block.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils import registry
from fico_utils.data.pictoscenes import SPLIT_START, captions_of, make_corpus, spec_of
from fico_utils.errors import InputError
from fico_utils.files import content_digest, key_of

if TYPE_CHECKING:
    from fico_utils.artifacts import Units
    from fico_utils.data.features import Backbone
    from fico_utils.data.text import Vocabulary
    from fico_utils.models.contract import RetrievalModel

#: Captions of a scene that a stream takes, as the paper's 1K/5K ... 1M/5M.
CAPTIONS = 5
#: Seconds between two writings of what observers have seen: what a killed walk loses at most, and a block.
SAVE_EVERY_S = 10.0
#: ``source(start, stop)``: ``pixels`` and ``captions``, five a scene, of scenes `start` to `stop` - 1.
Source = Callable[[int, int], dict[str, Any]]


@dataclass(frozen=True)
class Scenes:
    """PictoScenes pairs drawn as they are needed, no two alike: ``scenes(start, stop)`` gives a block of them.

    Only a drawn corpus (picto_diverse, picto_people) has no end; another one is an InputError.
    """

    corpus: str
    seed: int = 0

    def __post_init__(self) -> None:
        spec_of(self.corpus)

    @property
    def largest(self) -> int:
        """Scenes there are."""
        return SPLIT_START["val"]

    def __call__(self, start: int, stop: int) -> dict[str, Any]:
        """``pixels`` uint8 (n, 96, 96, 3) and ``captions``, a list of 5 n, of scenes `start` to `stop` - 1."""
        part = make_corpus(self.corpus, {"test": stop - start}, self.seed, first=start)
        captions = [caption.text for scene in part.scenes for caption in captions_of(scene)[:CAPTIONS]]
        return {"pixels": part.images[:], "captions": captions}


@dataclass(frozen=True)
class Stage:
    """A step on the way from a scene to what is kept of it: a feature extractor, or the encoder of a system.

    Attributes
    ----------
    name : str, what stands in the column `system`.
    sides : ``image`` or ``text`` or both -> (what it reads, its work). The work takes a block of that; an extractor's
        returns features by name, an encoder's yields what is kept batch by batch.
    settings : JSON-able, what its time depends on.
    content : key of what its results depend on, weights included.
    makes : names of the features it makes; none for an encoder.
    """

    name: str
    sides: Mapping[str, tuple[str, Callable[[Any], Any]]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    content: str = ""
    makes: tuple[str, ...] = ()

    @property
    def reads(self) -> set[str]:
        """Names of what it reads."""
        return {name for name, _ in self.sides.values()}


def feature_stages(
    backbone: Backbone, vocabulary: Vocabulary, doc2vec: tuple[dict[str, np.ndarray], int, int] | None = None
) -> tuple[Stage, ...]:
    """The feature extractors as stages: ``backbone``, ``tokens`` and, where given, ``doc2vec``.

    The backbone turns pixels into ``regions`` (or ``patches``, the same under another name) and ``global``. `doc2vec`
    is (weights, seed, epochs); gensim infers in one thread.
    """
    from fico_utils.data import features, text

    def see(pixels: np.ndarray) -> dict[str, np.ndarray]:
        seen = features.visual_features(backbone, pixels)
        return {**seen, "patches": seen["regions"]}

    def read(captions: list[str]) -> dict[str, np.ndarray]:
        return {"tokens": vocabulary.encode(captions)}

    made, digest = ("regions", "global", "patches"), weights_digest(backbone.state_dict())
    stages = [
        Stage("backbone", {"image": ("pixels", see)}, {"width": backbone.width}, digest, made),
        Stage("tokens", {"text": ("captions", read)}, {}, key_of(vocabulary.words), ("tokens",)),
    ]
    if doc2vec is not None:
        weights, seed, epochs = doc2vec

        def infer(captions: list[str]) -> dict[str, np.ndarray]:
            return {"doc2vec": text.doc2vec(weights, captions, seed=seed, epochs=epochs)}

        content = key_of(weights_digest(weights), seed, epochs)
        stages.append(Stage("doc2vec", {"text": ("captions", infer)}, {"epochs": epochs}, content, ("doc2vec",)))
    return tuple(stages)


def system_stage(system: str, model: RetrievalModel, batch: int = 256) -> Stage:
    """A system's encoder as a stage: from features to what it keeps, float32 or packed hash codes.

    What it costs does not depend on whether the model has learnt; `batch` is the number of items of a forward pass.
    """
    import torch

    from fico_utils.models.training import as_tensor

    serving = registry.system(system).serving
    model.eval()

    def work(encode: Callable) -> Callable[[np.ndarray], Iterator[np.ndarray]]:
        @torch.inference_mode()
        def by_batch(features: np.ndarray) -> Iterator[np.ndarray]:
            for start in range(0, len(features), batch):
                yield serving.kept_form(encode(as_tensor(features[start : start + batch])).numpy())

        return by_batch

    sides = {
        "image": (model.image_input, work(model.encode_image)),
        "text": (model.text_input, work(model.encode_text)),
    }
    settings = {"model": {k: v for k, v in model.settings.items() if k != "recipe"}, "batch": batch}
    return Stage(system, sides, settings, weights_digest(model.weights()))


def weights_digest(weights: Mapping[str, Any]) -> str:
    """Digest of named arrays or tensors."""
    return content_digest({name: np.asarray(array) for name, array in weights.items()})


class Block:
    """Scenes `start` to `stop` - 1, with the features that were made of them so far.

    Each of the `extractors` runs when a feature of it is first read, and at most once.
    """

    def __init__(self, number: int, start: int, stop: int, drawn: Mapping[str, Any], extractors: Sequence[Stage]):
        self.number, self.start, self.stop = number, start, stop
        self._features, self._kept = dict(drawn), {}
        self._makers = {name: stage for stage in extractors for name in stage.makes}

    def __getitem__(self, name: str) -> Any:
        """A feature of the block's scenes or captions."""
        if name not in self._features:
            assert name in self._makers, f"no extractor makes {name!r}"
            for reads, work in self._makers[name].sides.values():
                self.hold(work(self[reads]))
        return self._features[name]

    def hold(self, features: Mapping[str, Any]) -> None:
        """Take features that were made elsewhere."""
        self._features |= features

    def embed(self, encoder: Stage) -> dict[str, np.ndarray]:
        """What a system keeps of the block: ``img`` (n, ...) and ``txt`` (5 n, ...)."""
        if encoder.name not in self._kept:
            sides = {short: encoder.sides[side] for short, side in (("img", "image"), ("txt", "text"))}
            kept = {short: np.concatenate(list(work(self[reads]))) for short, (reads, work) in sides.items()}
            self._kept[encoder.name] = kept
        return self._kept[encoder.name]


class Progress:
    """What an observer knows after `done` blocks, kept as the last unit of its recipe; without units, in memory.

    `content` is the JSON-able part of it and `arrays` the rest.
    """

    def __init__(self, units: Units | None) -> None:
        self.done, self.content, self.arrays, self._units = 0, {}, {}, units
        numbers = units.numbers() if units else []
        if numbers:
            self.done = numbers[-1]
            self.arrays, self.content = units.read(self.done)
        self._written = self.done

    @property
    def grew(self) -> bool:
        """Whether blocks were seen since it was last written."""
        return self.done > self._written

    def save(self, content: Any, arrays: Mapping[str, np.ndarray] | None = None) -> None:
        """Write what is known now; nothing where no block was seen since."""
        if self.grew and self._units is not None:
            self._units.write(self.done, arrays or {}, content, keep=1)
        self._written = self.done


def block_spans(sizes: Sequence[int], block: int = 1000) -> list[tuple[int, int]]:
    """Ranges of scenes that make up the largest size, none above `block`, with an end at each size.

    >>> block_spans([100, 250], 100)
    [(0, 100), (100, 200), (200, 250)]
    """
    if not sizes or min(sizes) < 1 or block < 1:
        raise InputError(f"sizes {list(sizes)} in blocks of {block} were asked for; expected sizes from 1")
    spans, start = [], 0
    for size in sorted(set(sizes)):
        while start < size:
            spans.append((start, min(start + block, size)))
            start = spans[-1][1]
    return spans


def walk_blocks(
    source: Source, spans: Sequence[tuple[int, int]], groups: Sequence[tuple[Sequence[Stage], Sequence[Any]]]
) -> None:
    """Let every observer see the blocks that it has not seen yet, in order; each block is drawn once.

    Parameters
    ----------
    spans : scenes of each block, see `block_spans`.
    groups : (extractors, observers) that read the same features. An observer has ``done``, the number of blocks that it
        has seen, ``see(block)``, and ``save()``, called every few seconds and in the end, whatever happens.
    """
    saved, everybody = time.monotonic(), [o for _, observers in groups for o in observers]
    try:
        for number, (start, stop) in enumerate(spans):
            if not any(o.done == number for o in everybody):
                continue
            drawn = None  # the block before must not stand beside this one
            drawn = source(start, stop)
            for extractors, observers in groups:
                block = Block(number, start, stop, drawn, extractors)
                for observer in observers:
                    if observer.done == number:
                        observer.see(block)
                del block
            if time.monotonic() - saved > SAVE_EVERY_S:
                for observer in everybody:
                    observer.save()
                saved = time.monotonic()
    finally:
        for observer in everybody:
            observer.save()


def first_features(
    source: Source, extractors: Sequence[Stage], reads: set[str], n: int, width: int = 0
) -> dict[str, np.ndarray]:
    """Features of the first `n` scenes, and of their five captions each, by name.

    Token ids (5 n, L) are padded to the longest caption of all, and to `width` at least.
    """
    parts: dict[str, list[np.ndarray]] = {name: [] for name in reads}
    for number, (start, stop) in enumerate(block_spans([n])):
        block = Block(number, start, stop, source(start, stop), extractors)
        for name, arrays in parts.items():
            arrays.append(block[name])
    if "tokens" in parts:
        width = max([width, *(part.shape[1] for part in parts["tokens"])])
        parts["tokens"] = [np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts["tokens"]]
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}
