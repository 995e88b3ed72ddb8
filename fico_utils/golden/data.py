"""Golden cases of what is drawn, written and read: PictoScenes, rewriting, text and image features."""

from __future__ import annotations

import numpy as np
import torch

from fico_utils.data import features, rewriting, text
from fico_utils.data.pictoscenes import make_corpus, perfect_similarity
from fico_utils.golden import as_bytes, golden

CAPTIONS = (
    "A large red cat is left of two small blue houses.",
    "There are several trees and one green car on a grey ground.",
    "The sun stands above a tiny yellow dog.",
    "Two dogs sit near a big tree in the snow.",
    "An orange fish is below the moon.",
    "A small dog and a red car are on the grass.",
)
CORPORA = ("picto_diverse", "picto_people")


def _numbers(value: object) -> list[float]:
    """All numbers of a nested tuple, in order."""
    if isinstance(value, tuple | list):
        return [number for part in value for number in _numbers(part)]
    return [float(value)] if isinstance(value, int | float | np.number) else []


@golden("pictoscenes", 1e-6)
def pictoscenes() -> dict[str, np.ndarray]:
    """Scenes, captions, labels and truth of a few scenes of both corpora."""
    out = {}
    for name in CORPORA:
        corpus = make_corpus(name, {"train": 3, "val": 2, "test": 4})
        out |= {
            f"{name}.captions": as_bytes(*corpus.captions),
            f"{name}.caption_image": corpus.caption_image,
            f"{name}.labels": corpus.labels,
            f"{name}.scenes": np.array(_numbers(tuple(corpus.scenes))),
            f"{name}.cells": features.scene_targets(corpus.scenes)["category"],
            f"{name}.perfect": perfect_similarity(corpus),
        }
    return out


@golden("drawing")
def drawing() -> dict[str, np.ndarray]:
    """Pictures of a few scenes of both corpora."""
    pictures = {name: make_corpus(name, {"test": 3}).images[:][:, ::2, ::2] for name in CORPORA}
    return {f"pictures.{name}": np.ascontiguousarray(array) for name, array in pictures.items()}


@golden("rewriting")
def rewritten() -> dict[str, np.ndarray]:
    """Captions in other words, and with one thing wrong."""
    both = {kind: getattr(rewriting, kind)(list(CAPTIONS), 2, 0) for kind in ("rephrased", "adversarial")}
    return {kind: as_bytes(*(caption for row in rows for caption in row)) for kind, rows in both.items()}


@golden("vocabulary")
def vocabulary() -> dict[str, np.ndarray]:
    """A vocabulary and the token ids of captions."""
    words = text.Vocabulary(CAPTIONS, least=2)
    return {"words": as_bytes(*words.words), "tokens": words.encode([*CAPTIONS, "A zebra."])}


@golden("doc2vec", 1e-2)
def doc2vec() -> dict[str, np.ndarray]:
    """A Doc2Vec of a few captions, its words in alphabetical order."""
    weights = text.train_doc2vec(CAPTIONS * 4, seed=0, epochs=3, dims=8)
    names = weights["words"].tobytes().decode().split("\n")
    order = np.argsort(names)
    ordered = {name: weights[name][order] for name in ("counts", "output")}
    return {"words": as_bytes(*(names[i] for i in order)), **ordered}


@golden("doc2vec_vectors", 1e-2)
def doc2vec_vectors() -> dict[str, np.ndarray]:
    """Vectors of captions by given weights."""
    names = sorted({word for caption in CAPTIONS for word in text.words(caption)})
    output = np.random.default_rng(0).standard_normal((len(names), 8)).astype(np.float32)
    counts = np.arange(len(names), 0, -1, dtype=np.int64) + 5
    weights = {"output": output, "counts": counts, "words": as_bytes(*names)}
    return {"vectors": text.doc2vec(weights, CAPTIONS, seed=0, epochs=5)}


@golden("backbone", 2e-2)
def backbone() -> dict[str, np.ndarray]:
    """The losses of a backbone in a few steps."""
    targets = features.scene_targets(make_corpus("picto_diverse", {"train": 8}).scenes)
    options = {"seed": 0, "epochs": 2, "batch_size": 4}
    model, log = features.train_backbone(_plain_pictures(8), targets, **options)
    maps = model(features.to_tensor(_plain_pictures(1))).detach()
    predicted = {name: logits.detach().numpy() for name, logits in model.predict(maps).items()}
    return {"loss": np.array([row["loss"] for row in log]), **predicted}


@golden("visual_features", 1e-2)
def visual_features() -> dict[str, np.ndarray]:
    """Features of pictures by an untrained backbone."""
    torch.manual_seed(0)
    made = features.visual_features(features.Backbone().eval(), _plain_pictures(2))
    return {"regions": made["regions"][:, ::5, ::8], "global": made["global"][:, ::8]}


def _plain_pictures(n: int) -> np.ndarray:
    """Pictures (n, 96, 96, 3) uint8 of coloured cells, which do not depend on the renderer."""
    cells = np.random.default_rng(0).integers(0, 256, (n, 6, 6, 3), dtype=np.uint8)
    return cells.repeat(16, 1).repeat(16, 2)
