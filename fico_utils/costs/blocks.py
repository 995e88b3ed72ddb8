"""One way through the data: scenes flow in blocks past the same feature stages, to whoever observes them.

Observers are clocks (`encoding`), growing galleries, and what two-step searches keep. Memory is that of one block.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

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

    Only a drawn corpus (picto_diverse, picto_people) has scenes without end; another one is an InputError.
    """

    corpus: str
    seed: int = 0
    largest: ClassVar[int] = SPLIT_START["val"]  # scenes that there are

    def __post_init__(self) -> None:
        spec_of(self.corpus)

    def __call__(self, start: int, stop: int) -> dict[str, Any]:
        """``pixels`` uint8 (n, 96, 96, 3) and ``captions``, a list of 5 n, of scenes `start` to `stop` - 1."""
        part = make_corpus(self.corpus, {"test": stop - start}, self.seed, first=start)
        captions = [caption.text for scene in part.scenes for caption in captions_of(scene)[:CAPTIONS]]
        return {"pixels": part.images[:], "captions": captions}


@dataclass(frozen=True)
class Stage:
    """A step on the way from a scene to what is kept of it: a feature extractor, or the encoder of a system.

    `sides` are ``image`` or ``text`` or both, each with (what it reads, its work). The work takes a block of that; an
    extractor's returns features by name, an encoder's yields what is kept batch by batch.
    """

    name: str  # what stands in the column `system`
    sides: Mapping[str, tuple[str, Callable[[Any], Any]]]
    settings: Mapping[str, Any] = field(default_factory=dict)  # JSON-able, what its time depends on
    content: str = ""  # key of what its results depend on, weights included
    makes: tuple[str, ...] = ()  # names of the features it makes; none for an encoder

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
    stages = (
        Stage("backbone", {"image": ("pixels", see)}, {"width": backbone.width}, digest, made),
        Stage("tokens", {"text": ("captions", read)}, {}, key_of(vocabulary.words), ("tokens",)),
    )
    if doc2vec is None:
        return stages
    weights, seed, epochs = doc2vec

    def infer(captions: list[str]) -> dict[str, np.ndarray]:
        return {"doc2vec": text.doc2vec(weights, captions, seed=seed, epochs=epochs)}

    content = key_of(weights_digest(weights), seed, epochs)
    return *stages, Stage("doc2vec", {"text": ("captions", infer)}, {"epochs": epochs}, content, ("doc2vec",))


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

    image, text = (model.image_input, work(model.encode_image)), (model.text_input, work(model.encode_text))
    settings = {"model": size_settings(model), "batch": batch}
    return Stage(system, {"image": image, "text": text}, settings, weights_digest(model.weights()))


def size_settings(model: RetrievalModel) -> dict[str, Any]:
    """What of a model's settings its costs depend on: all but how it is trained."""
    return {name: value for name, value in model.settings.items() if name != "recipe"}


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
        """Take features that were made of the block."""
        self._features |= features

    def embed(self, encoder: Stage) -> dict[str, np.ndarray]:
        """What a system keeps of the block: ``img`` (n, ...) and ``txt`` (5 n, ...)."""
        if encoder.name not in self._kept:
            sides = ((short, *encoder.sides[side]) for short, side in (("img", "image"), ("txt", "text")))
            kept = {short: np.concatenate(list(work(self[reads]))) for short, reads, work in sides}
            self._kept[encoder.name] = kept
        return self._kept[encoder.name]


class Observer:
    """Sees every block once, in order, and keeps what it knows as the last of its `units`; without units, in memory.

    A subclass has ``see(block)``, which counts the blocks in `done`, and ``known()``, which gives a JSON-able content
    and arrays to be written; `content` and `arrays` are those that were written before.
    """

    def __init__(self, units: Units | None = None) -> None:
        self.done, self.content, self.arrays, self._units = 0, {}, {}, units
        if units is not None and (numbers := units.numbers()):
            self.done = numbers[-1]
            self.arrays, self.content = units.read(self.done)
        self._written = self.done

    def save(self) -> None:
        """Write what is known; nothing where no block was seen since."""
        if self.done > self._written:
            content, arrays = self.known()
            if self._units is not None:
                self._units.write(self.done, arrays, content, keep=1)
            self._written = self.done


def block_spans(sizes: Sequence[int], block: int = 1000) -> list[tuple[int, int]]:
    """Ranges of scenes that make up the largest size, none above `block`, with an end at each size.

    >>> block_spans([100, 250], 100)
    [(0, 100), (100, 200), (200, 250)]
    """
    if not sizes or min(sizes) < 1 or block < 1:
        raise InputError(f"sizes {list(sizes)} in blocks of {block} were asked for; expected sizes from 1")
    ends = pairwise([0, *sorted(set(sizes))])
    return [(i, min(i + block, stop)) for start, stop in ends for i in range(start, stop, block)]


def walk_blocks(
    source: Source, spans: Sequence[tuple[int, int]], groups: Sequence[tuple[Sequence[Stage], Sequence[Observer]]]
) -> None:
    """Let every observer see the blocks that it has not seen yet, in order; each block is drawn once.

    `spans` are the scenes of each block, see `block_spans`, and `groups` are (extractors, observers) that read the same
    features. The observers are saved every few seconds, and in the end, whatever happens.
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
