"""Golden cases: what each producer makes of a tiny fixed input, as named arrays.

A case is a function of the producer's name; the arrays recorded when its version was stated lie in ``golden/``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from fico_utils import registry
from fico_utils.costs.attention import Pairs, attention_rows
from fico_utils.costs.blocks import Stage
from fico_utils.costs.clock import Timing
from fico_utils.costs.encoding import encoding_rows
from fico_utils.costs.indexes import Settings
from fico_utils.costs.search import search_sweep
from fico_utils.costs.storage import code_bits, index_on_top, storage_rows, stored_sample
from fico_utils.data import features, text
from fico_utils.data import pictoscenes as scenes
from fico_utils.data import rewriting as words
from fico_utils.evaluation import Plan, Rules, evaluate, observe, score_source
from fico_utils.extras.galleries.growing import Growing, gallery_rows
from fico_utils.extras.galleries.setups import Searchable, setup_rows
from fico_utils.extras.galleries.truth import Ceiling, Truth
from fico_utils.extras.pretrained.example_clip import save_example
from fico_utils.extras.versions import tiny_models, tiny_towers
from fico_utils.models import model_class
from fico_utils.results.observed import place_rows, tie_rows

Arrays = Mapping[str, np.ndarray]
CAPTIONS = (
    "A large red cat is left of two small blue houses.",
    "There are several trees and one green car on a grey ground.",
    "The sun stands above a tiny yellow dog.",
    "Two dogs sit near a big tree in the snow.",
    "An orange fish is below the moon.",
    "A small dog and a red car are on the grass.",
)
CORPORA = ("picto_diverse", "picto_people")
#: Columns that name a row of scores or of costs.
NAMING = ("system", "task", "direction", "metric", "k", "phase", "quantity", "scale_img", "scale_txt", "unit", "status")
#: Quantities whose values are times, or depend on the machine.
MEASURED = ("seconds", "exponent", "peak_bytes")
ONCE, SMALL = Timing(repeats=1, threads=1), Settings(bits=16, n_list=4, n_probe=2)


def as_bytes(lines: Iterable[str]) -> np.ndarray:
    """Text as an array of bytes, one line each."""
    return np.frombuffer("\n".join(lines).encode(), np.uint8)


def row_arrays(rows: Any, columns: Sequence[str] = ("value",), prefix: str = "") -> Arrays:
    """The names of rows, sorted, and their numbers in some columns, of those that are the same on every machine."""
    rows = rows if isinstance(rows, list) else rows.to_dict("records")
    named = {" ".join(str(row[c]) for c in NAMING if c in row): row for row in rows}
    assert len(named) == len(rows), "rows are told apart by their names"
    fixed = [named[name] for name in sorted(named) if not named[name].get("quantity", "").startswith(MEASURED)]
    numbers = [[np.nan if row[c] is None else row[c] for c in columns] for row in fixed]
    values = np.array(numbers, np.float64)
    return {f"{prefix}rows": as_bytes(sorted(named)), f"{prefix}values": values if len(columns) > 1 else values.ravel()}


def _plain_pictures(n: int) -> np.ndarray:
    """Pictures (n, 96, 96, 3) uint8 of coloured cells, which do not depend on the renderer."""
    cells = np.random.default_rng(0).integers(0, 256, (n, 6, 6, 3), dtype=np.uint8)
    return cells.repeat(16, 1).repeat(16, 2)


def _numbers_in(value: object) -> list[float]:
    """All numbers of a nested tuple, in order."""
    if isinstance(value, tuple | list):
        return [number for part in value for number in _numbers_in(part)]
    return [float(value)] if isinstance(value, int | float | np.number) else []


def pictoscenes() -> Arrays:
    out = {}
    for name in CORPORA:
        corpus = scenes.make_corpus(name, {"train": 3, "val": 2, "test": 4})
        out |= {
            f"{name}.captions": as_bytes(corpus.captions),
            f"{name}.caption_image": corpus.caption_image,
            f"{name}.labels": corpus.labels,
            f"{name}.scenes": np.array(_numbers_in(tuple(corpus.scenes))),
            f"{name}.cells": features.scene_targets(corpus.scenes)["category"],
            f"{name}.perfect": scenes.perfect_similarity(corpus),
        }
    return out


def drawing() -> Arrays:
    pictures = {name: scenes.make_corpus(name, {"test": 3}).images[:][:, ::2, ::2] for name in CORPORA}
    return {f"pictures.{name}": np.ascontiguousarray(array) for name, array in pictures.items()}


def rewriting() -> Arrays:
    both = {kind: getattr(words, kind)(list(CAPTIONS), 2, 0) for kind in ("rephrased", "adversarial")}
    return {kind: as_bytes(caption for row in rows for caption in row) for kind, rows in both.items()}


def vocabulary() -> Arrays:
    made = text.Vocabulary(CAPTIONS, least=2)
    return {"words": as_bytes(made.words), "tokens": made.encode([*CAPTIONS, "A zebra."])}


def doc2vec() -> Arrays:
    weights = text.train_doc2vec(CAPTIONS * 4, seed=0, epochs=3, dims=8)
    names = weights["words"].tobytes().decode().split("\n")
    order = np.argsort(names)
    return {"words": as_bytes(sorted(names)), **{name: weights[name][order] for name in ("counts", "output")}}


def doc2vec_vectors() -> Arrays:
    names = sorted({word for caption in CAPTIONS for word in text.words(caption)})
    output = np.random.default_rng(0).standard_normal((len(names), 8)).astype(np.float32)
    counts = np.arange(len(names), 0, -1, dtype=np.int64) + 5
    weights = {"output": output, "counts": counts, "words": as_bytes(names)}
    return {"vectors": text.doc2vec(weights, CAPTIONS, seed=0, epochs=5)}


def backbone() -> Arrays:
    targets = features.scene_targets(scenes.make_corpus("picto_diverse", {"train": 8}).scenes)
    options = {"seed": 0, "epochs": 2, "batch_size": 4}
    model, log = features.train_backbone(_plain_pictures(8), targets, **options)
    predicted = model.predict(model(features.to_tensor(_plain_pictures(1))).detach())
    loss = np.array([row["loss"] for row in log])
    return {"loss": loss, **{name: logits.detach().numpy() for name, logits in predicted.items()}}


def visual_features() -> Arrays:
    torch.manual_seed(0)
    made = features.visual_features(features.Backbone().eval(), _plain_pictures(2))
    return {"regions": made["regions"][:, ::5, ::8], "global": made["global"][:, ::8]}


def example_clip() -> Arrays:
    with tempfile.TemporaryDirectory() as folder:
        corpus = scenes.make_corpus("picto_people", {"train": 6}).subset("train")
        saved = save_example(Path(folder) / "clip", corpus, seed=0, epochs=1)
        arrays = load_file(saved / "model.safetensors")
    return {name: array[:8] for name, array in arrays.items() if name.endswith("projection.weight")}


def _collection() -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]:
    """Images (12, 16), captions (36, 16), labels (12, 4), codes; whole numbers, so that scores tie on any machine."""
    rng = np.random.default_rng(0)
    images = rng.integers(-3, 4, (12, 16)).astype(np.float64)
    texts = images.repeat(3, 0) + rng.integers(-4, 5, (36, 16))
    images[7], texts[5] = images[2], texts[4]
    labels = (rng.random((12, 4)) < 0.4).astype(np.uint8)
    return images, texts, labels, [np.packbits(side > 0, axis=1) for side in (images, texts)]


def scoring() -> Arrays:
    images, texts, labels, codes = _collection()
    similarity = images @ texts.T
    similarity[similarity < np.median(similarity)] = -np.inf
    asked = {m: ((images, texts), {"measure": m, "curve": True}) for m in ("cosine", "inner_product", "euclidean")}
    for ties in ("expected", "optimistic", "pessimistic", "index"):
        asked[f"hamming.{ties}"] = codes, {"measure": "hamming", "bits": 16, "ties": ties}
    asked["ranked"] = (), {"similarity": similarity, "map_at": (3,)}
    out = {}
    for name, (sides, options) in asked.items():
        table = evaluate(*sides, labels=labels, recall_at=(1, 5), **options)
        out |= row_arrays(table, ("value", "chance", "n_query"), f"{name}.")
    return out


def intervals() -> Arrays:
    _, _, labels, codes = _collection()
    table = evaluate(*codes, labels=labels, measure="hamming", bits=16, recall_at=(1, 5), intervals=True)
    return row_arrays(table, ("ci_low", "ci_high"), "hashed.")


def places() -> Arrays:
    images, texts, labels, codes = _collection()
    source, metrics = score_source(*codes, measure="hamming", bits=16), "recall@1,5 map@10"
    sources = {"beit3": score_source(images, texts), "ucch": source}
    seen = {system: observe(scores, None, labels, Plan(metrics)) for system, scores in sources.items()}
    tied = observe(source, None, labels, Plan(metrics, Rules("optimistic")))
    placed = place_rows(seen, repeats=100)
    out = row_arrays(placed, ("value", "ci_low", "ci_high", "chance", "n_query"), "places.")
    return out | row_arrays(tie_rows(tied, metrics), ("value", "chance", "n_query"), "ties.")


def _with_five_captions(system: str) -> tuple[Any, np.ndarray, np.ndarray]:
    """A tiny model, and its inputs of images and of captions, five an image."""
    model, data = tiny_models.tiny_model(model_class(system)).eval(), tiny_models.tiny_inputs()
    order = np.arange(40) % len(data.caption_image)
    return model, data.image[model.image_input], data.text[model.text_input][order]


def storage() -> Arrays:
    rows = []
    for system in ("ucch", "scan", "beit3", "xvlm"):  # one of each way to be served
        model, images, texts = _with_five_captions(system)
        sample = stored_sample(system, *registry.system(system).serving.encode(model, images[:4], texts[:20]))
        bits = code_bits(system, sample["img_emb"])
        on_top = tuple(index_on_top(sample[side], bits) for side in ("img_emb", "txt_emb"))
        rows += storage_rows(**sample, bits=bits, index=on_top, system=system)
    return row_arrays(rows)


def attention_time() -> Arrays:
    rows = []
    for system in ("scan", "xvlm"):
        model, images, texts = _with_five_captions(system)
        items = registry.system(system).serving.encode(model, images, texts)
        pairs = Pairs(system, model, lambda items=items: items, 2)
        options = {"timing": ONCE, "extrapolate_to": [(100, 500)], "system": system}
        rows += attention_rows(pairs, [(4, 20), (8, 40)], **options)
    return row_arrays(rows)


def search_time() -> Arrays:
    options = {"ks": [1, 10], "settings": SMALL, "timing": ONCE}
    return row_arrays(search_sweep([(20, 200), (40, 400)], dim=32, n_train=300, **options))


def deployment() -> Arrays:
    rng = np.random.default_rng(0)
    items = rng.standard_normal((120, 16)).astype(np.float32)
    asked = items[:30] + 0.5 * rng.standard_normal((30, 16)).astype(np.float32)
    codes = Searchable.of_arrays(*(np.packbits(side > 0, axis=1) for side in (items, asked)))
    systems = {"dense": {"beit3": Searchable.of_arrays(items, asked)}, "codes": {"ucch": codes}}
    return row_arrays(setup_rows([60, 120], np.arange(30), **systems, depths=(20,), settings=SMALL, timing=ONCE))


def _idle_stages(system: str) -> list:
    """A backbone, a tokenizer and an encoder that hand on what they get."""
    see = Stage("backbone", {"image": ("pixels", lambda x: {"regions": x})}, makes=("regions",))
    read = Stage("tokens", {"text": ("captions", lambda x: {"tokens": x})}, makes=("tokens",))
    sides = {"image": ("regions", lambda x: iter([x])), "text": ("tokens", lambda x: iter([x]))}
    return [([see, read], [Stage(system, sides)])]


def _stream(start: int, stop: int) -> dict[str, np.ndarray]:
    """A slice of a stream of twelve images and sixty captions."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(-3, 4, (12, 8)).astype(np.float32)
    captions = pixels.repeat(5, 0) + rng.integers(-3, 4, (60, 8)).astype(np.float32)
    return {"pixels": pixels[start:stop], "captions": captions[5 * start : 5 * stop]}


def encoding_time() -> Arrays:
    options = {"block": 3, "extrapolate_to": [100], "timing": ONCE, "corpus": "golden"}
    return row_arrays(encoding_rows(_stream, _idle_stages("scan"), [4, 8], **options))


def gallery() -> Arrays:
    truth, compare = Truth("picto_people"), partial(registry.system("beit3").serving.compare, None)
    options = {"ceiling": Ceiling(3, truth), "block": 4}
    growing = {"beit3": Growing(3, compare, truth)}
    return row_arrays(gallery_rows(_stream, _idle_stages("beit3"), growing, truth, [6, 12], **options))


#: Producer -> its case, and how far real numbers may lie from the recorded ones, see `largest_difference`.
CASES: dict[str, tuple[Callable[[], Arrays], float]] = {
    case.__name__: (case, tolerance)
    for tolerance, cases in {
        1e-6: (pictoscenes, scoring, encoding_time, attention_time, tiny_models.labels),
        1e-4: (drawing, rewriting, vocabulary, intervals, places, storage, gallery, tiny_models.encoding),
        1e-2: (
            *(doc2vec, doc2vec_vectors, visual_features, search_time, deployment, tiny_models.query2label),
            *(tiny_towers.tower_pictures, tiny_towers.tower_regions, tiny_towers.tower_words),
        ),
        2e-2: (backbone, example_clip),
        3e-2: (tiny_models.training,),
    }.items()
    for case in cases
}
CASES |= {system: (partial(tiny_models.trained_and_served, system), 3e-2) for system in tiny_models.SYSTEMS}
