"""Golden cases of the systems and of what they share: trained for a few steps and served, in tiny sizes.

A system's inputs are those that its model class declares, in the sizes that its configuration names; other sizes of
the configuration are cut to at most `WIDTH`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from fico_utils import registry
from fico_utils.models import encoding as serving
from fico_utils.models import model_class
from fico_utils.models import query2label as generator
from fico_utils.models import training as loop
from fico_utils.models.contract import MuonRecipe, TrainingRecipe
from fico_utils.producers import stated_by

Arrays = Mapping[str, np.ndarray]
#: Images, captions of each, regions of each (a square), words of the vocabulary, longest caption, largest width.
N_IMG, CAPTIONS, CELLS, WORDS, LONGEST, WIDTH = 8, 3, 9, 30, 8, 16
SIZES = {
    "d_region": 12, "d_patch": 12, "d_global": 12, "d_text": 10, "n_words": WORDS, "n_images": N_IMG, "n_labels": 5,
    "n_regions": CELLS, "n_patches": CELLS, "bits": 32, "dropout": 0.0,
}  # fmt: skip
#: Producer -> the rows of the tables that its weights serve.
SYSTEMS: dict[str, list] = {}
for _row in registry.SYSTEMS.values():
    SYSTEMS.setdefault(stated_by(_row.trained), []).append(_row)


def tiny_inputs() -> loop.Inputs:
    """Every input that a model may declare, of a few images and captions that belong together."""
    rng = np.random.default_rng(0)
    caption_image = np.repeat(np.arange(N_IMG), CAPTIONS)
    topic = rng.standard_normal((N_IMG, 12))
    cells = (topic[:, None] + rng.standard_normal((N_IMG, CELLS, 12))).astype(np.float32)
    tokens = rng.integers(4, WORDS, (len(caption_image), LONGEST)).astype(np.int32)
    tokens[:, :2] = 4 + caption_image[:, None]
    for row, length in enumerate(rng.integers(3, LONGEST + 1, len(tokens))):
        tokens[row, length:] = 0
    labels = np.eye(5, dtype=np.uint8)[np.arange(N_IMG) % 5]
    labels[:, 0] = np.arange(N_IMG) % 2
    image = {"regions": cells, "patches": cells, "global": topic.astype(np.float32), "labels": labels}
    text = {
        "tokens": tokens,
        "doc2vec": (topic[caption_image, :10] + rng.standard_normal((len(tokens), 10))).astype(np.float32),
        "rephrased": np.stack([tokens, np.roll(tokens, 1, 1)], 1),
        "adversarial": np.stack([np.roll(tokens, k * CAPTIONS, 0) for k in (1, 2, 3, 4)], 1),
    }
    return loop.Inputs(image, text, caption_image, "golden")


def tiny_model(model_class: type, recipe: TrainingRecipe | None = None) -> Any:
    """An untrained model of a class, seeded, in tiny sizes."""
    sizes = {}
    for entry in fields(model_class.Config):
        default = WIDTH if entry.default is MISSING else entry.default
        if entry.name in SIZES:
            sizes[entry.name] = SIZES[entry.name]
        elif isinstance(default, tuple):
            sizes[entry.name] = tuple(min(WIDTH, size) for size in default)
        elif type(default) is int:
            sizes[entry.name] = min(WIDTH, default)
    torch.manual_seed(0)
    model = model_class(model_class.Config(**sizes))
    model.recipe = replace(recipe or model.recipe, batch_size=4)
    return model


def _fitted(model: Any, scores: Sequence[float] = (0.5, 0.5), **options: Any) -> dict[str, np.ndarray]:
    """The loss terms of each epoch of a training that validates with given scores.

    Draws by weight take the largest weight meanwhile: two builds of torch do not draw alike.
    """
    given, options = iter(scores), {"seed": 0, "epochs": len(scores), **options}
    with patch("torch.multinomial", lambda weights, n, *_: weights.argsort(1, descending=True)[:, :n]):
        log = loop.fit(model, tiny_inputs(), validate=lambda _: next(given), **options)
    terms = [name for name in log[0] if name not in ("epoch", "score", "seconds")]
    return {f"terms.{name}": np.array([row[name] for row in log]) for name in terms}


def trained_and_served(producer: str) -> Arrays:
    """Loss terms of a few steps, then what a system stores and how it scores, by each of its rows in the tables."""
    rows, data = SYSTEMS[producer], tiny_inputs()
    model = tiny_model(model_class(rows[0].id))
    out = _fitted(model)
    out |= {side: array[:6] for side, array in serving.encode(model.eval(), data).items()}
    for row in rows:
        way = "codes." if row.serving.hashed else "rerank." if row.serving.reranks else "late."
        way = "" if row.serving.reads_pairs and not row.serving.reranks else way
        kept = row.serving.stored_scores(model, data, N_IMG)
        if row.serving.hashed or "sim_i2t" in kept:
            out |= {f"{way}{name}": array for name, array in kept.items()}
    return out


def training() -> Arrays:
    """Loss and best weights after a few epochs by three recipes, the order of pairs, and schedules."""
    adam = TrainingRecipe(4, 0.01, weight_decay=0.1, warmup=0.2, schedule="cosine", clip=0.5)
    muon = MuonRecipe(4, 0.01, weight_decay=0.1, captions=2, schedule="step")
    out = {}
    for system, recipe, images in (("ucch", adam, None), ("ucch", muon, 6), ("dadh", None, None)):
        model = tiny_model(model_class(system), recipe)
        name, recipe = type(model.recipe).__name__, model.recipe
        terms = _fitted(model, (0.1, 0.9, 0.3), images=images)
        out[f"{name}.loss"] = terms["terms.loss"]
        out[f"{name}.best"] = np.concatenate([p.detach().numpy().ravel()[:50] for p in model.parameters()])
        out[f"{name}.order"] = np.concatenate(loop.draw_steps(tiny_inputs().caption_image, recipe, 3, 1, images))
        out[f"{name}.rate"] = np.array([loop.schedule_factor(recipe, step, 10) for step in range(10)])
    return out


def encoding() -> Arrays:
    """What an untrained system of each way of serving stores, and how it scores."""
    out, data = {}, tiny_inputs()
    for system in ("ucch", "scan", "blip2", "xvlm"):
        model, row = tiny_model(model_class(system)).eval(), registry.system(system)
        out |= {f"{system}.{side}": array for side, array in serving.encode(model, data, batch_size=5).items()}
        kept = row.serving.stored_scores(model, data, 3)
        out |= {f"{'codes.' if row.serving.hashed else ''}{system}.{name}": array for name, array in kept.items()}
    return out


def query2label() -> Arrays:
    """The label generator after a few steps: loss and logits."""
    model = tiny_model(generator.Query2Label)
    terms = _fitted(model)
    return {**terms, "logits": serving.encode_side(model.eval().encode_image, tiny_inputs().image["patches"])}


def labels() -> Arrays:
    """The threshold that validation chooses, and the labels that are written."""
    rng = np.random.default_rng(0)
    true = (rng.random((30, 6)) < 0.3).astype(np.uint8)
    scores = np.clip(0.5 * true + rng.random((30, 6)) * 0.7, 0, 1)
    scores[3] = 0.01
    threshold = generator.best_threshold(scores, true)
    reached = np.array([threshold, generator.micro_f1(scores >= threshold, true)])
    return {"threshold": reached, "labels": generator.labels_above(scores, threshold)}
