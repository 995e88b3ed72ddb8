"""Golden cases of the loop of training and of encoding on a tiny linear model, and of the systems on tiny inputs.

Every system is trained for a few steps and then served. Its inputs are those that its model class declares, in the
sizes that its configuration names; other sizes of the configuration are cut to at most `WIDTH`. A class may say
otherwise in a mapping ``tiny``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fico_utils import registry
from fico_utils.golden import golden
from fico_utils.models import encoding, model_class, query2label, training
from fico_utils.models.contract import AdversarialRecipe, FusionModel, MuonRecipe, TrainingRecipe
from fico_utils.models.losses import contrastive
from fico_utils.producers import stated_by

#: Images, captions of each, regions of each (a square), words of the vocabulary, longest caption, largest width.
N_IMG, CAPTIONS, CELLS, WORDS, LONGEST, WIDTH = 8, 3, 9, 30, 8, 16
SIZES = {
    "d_region": 12, "d_patch": 12, "d_global": 12, "d_text": 10, "n_words": WORDS, "n_images": N_IMG, "n_labels": 5,
    "n_regions": CELLS, "n_patches": CELLS, "bits": 32, "dropout": 0.0,
}  # fmt: skip


class _Linear(FusionModel):
    """Two linear maps into one space, with a contrastive loss, and an adversary where one is asked for."""

    image_input, text_input = "global", "doc2vec"
    adds_cosine = True

    def __init__(self, recipe: TrainingRecipe, adversarial: bool = False) -> None:
        super().__init__(None)
        torch.manual_seed(0)
        self.image, self.text, self.judge = nn.Linear(6, 4), nn.Linear(5, 4), nn.Linear(4, 1)
        self.recipe, self.adversarial = recipe, adversarial

    def encode_image(self, features: Tensor) -> Tensor:
        return F.normalize(self.image(features), dim=-1)

    def encode_text(self, features: Tensor) -> Tensor:
        return F.normalize(self.text(features), dim=-1)

    def image_context(self, features: Tensor) -> Tensor:
        return features[:, None]

    text_context = image_context

    def match(self, image: Tensor, text: Tensor) -> Tensor:
        return (self.image(image[:, 0]) * self.text(text[:, 0])).sum(1)

    def adversary(self) -> list:
        return list(self.judge.parameters()) if self.adversarial else []

    def adversary_loss(self, outputs: dict[str, Tensor]) -> Tensor:
        image = self.judge(self.encode_image(outputs["global"]).detach())
        text = self.judge(self.encode_text(outputs["doc2vec"]).detach())
        return F.softplus(-image).mean() + F.softplus(text).mean()

    def loss(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        image, text = self.encode_image(outputs["global"]), self.encode_text(outputs["doc2vec"])
        loss = contrastive(10 * image @ text.T, outputs["image"])
        fooled = self.judge(text).mean() if self.adversarial else 0.0
        return {"loss": loss + fooled, "contrast": loss}


def _linear_inputs() -> training.Inputs:
    rng = np.random.default_rng(0)
    caption_image = np.repeat(np.arange(12), np.tile([1, 2, 4], 4))
    image = rng.standard_normal((12, 6)).astype(np.float16)
    text = (image[caption_image, :5] + 0.5 * rng.standard_normal((len(caption_image), 5))).astype(np.float32)
    return training.Inputs({"global": image}, {"doc2vec": text}, caption_image, "golden")


@golden("training", 1e-2)
def trained_by_recipes() -> dict[str, np.ndarray]:
    """Loss and weights after a few epochs under three recipes, the order of pairs, and schedules."""
    common = {"batch_size": 5, "lr": 0.01, "weight_decay": 0.1}
    recipes = {
        "adam": TrainingRecipe(**common, warmup=0.2, schedule="cosine", clip=0.5),
        "muon": MuonRecipe(**common, captions=2, schedule="step"),
        "adversary": AdversarialRecipe(**common, adversary_lr=0.02),
    }
    out, data = {}, _linear_inputs()
    for name, recipe in recipes.items():
        model, scores = _Linear(recipe, name == "adversary"), iter([0.1, 0.9, 0.3, 0.2])
        options = {"images": 6 if name == "muon" else None, "label": name}
        log = training.fit(model, data, seed=1, epochs=4, validate=lambda m, s=scores: next(s), **options)
        out[f"{name}.loss"] = np.array([row["loss"] for row in log])
        out[f"{name}.best"] = np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])
        steps = training.draw_steps(data.caption_image, recipe, 3, 1, options["images"])
        out[f"{name}.order"] = np.concatenate(steps)
        out[f"{name}.rate"] = np.array([training.schedule_factor(recipe, step, 10) for step in range(10)])
    return out


@golden("encoding", 1e-4)
def encoded() -> dict[str, np.ndarray]:
    """Embeddings, codes, similarities and reranked scores of an untrained model."""
    model, data = _Linear(TrainingRecipe(4, 0.1)).eval(), _linear_inputs()
    stored = encoding.encode(model, data, batch_size=5)
    sim = encoding.late_scores(model, **stored, rows=5)
    codes = {f"codes.{side}": encoding.hash_codes(array) for side, array in stored.items()}
    return {**stored, **codes, "late": sim, **encoding.rerank(model, data, sim, 3)}


def tiny_inputs() -> training.Inputs:
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
    return training.Inputs(image, text, caption_image, "golden")


def tiny_model(model_class: type) -> Any:
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
    model = model_class(model_class.Config(**sizes | dict(getattr(model_class, "tiny", {}))))
    model.recipe = replace(model.recipe, batch_size=4)
    return model


def _fit_tiny(model: Any, producer: str) -> list[dict[str, float]]:
    return training.fit(model, tiny_inputs(), seed=0, epochs=2, validate=lambda m: 0.5, label=producer)


def trained_and_served(producer: str) -> dict[str, np.ndarray]:
    """Loss terms of a few steps, then what a system stores and how it scores, by each of its rows in the tables."""
    rows = [row for row in registry.systems().values() if stated_by(row.trained) == producer]
    model, data = tiny_model(model_class(rows[0].id)), tiny_inputs()
    with _likeliest_draws():
        log = _fit_tiny(model, producer)
    terms = [name for name in log[0] if name not in ("epoch", "score", "seconds")]
    out = {f"terms.{name}": np.array([row[name] for row in log]) for name in terms}
    out |= {side: array[:6] for side, array in encoding.encode(model.eval(), data).items()}
    for row in rows:
        way = "codes." if row.serving.hashed else "rerank." if row.serving.reranks else "late."
        way = "" if row.serving.reads_pairs and not row.serving.reranks else way
        kept = row.serving.stored_scores(model, data, N_IMG)
        if row.serving.hashed or "sim_i2t" in kept:
            out |= {f"{way}{name}": array for name, array in kept.items()}
    return out


@contextmanager
def _likeliest_draws() -> Iterator[None]:
    """Draws by weight take the largest weight meanwhile: two builds of torch do not draw alike."""
    drawn = torch.multinomial
    torch.multinomial = lambda weights, n, *_: weights.argsort(1, descending=True)[:, :n]
    try:
        yield
    finally:
        torch.multinomial = drawn


for _producer in {stated_by(row.trained) for row in registry.systems().values() if row.trained}:
    golden(_producer, 3e-2)(partial(trained_and_served, _producer))


@golden("query2label", 1e-2)
def label_generator() -> dict[str, np.ndarray]:
    """The label generator after a few steps: loss and logits."""
    model = tiny_model(query2label.Query2Label)
    log = _fit_tiny(model, "query2label")
    logits = encoding.encode_side(model.eval().encode_image, tiny_inputs().image["patches"])
    return {"terms.loss": np.array([row["loss"] for row in log]), "logits": logits}


@golden("labels", 1e-6)
def written_labels() -> dict[str, np.ndarray]:
    """The threshold that validation chooses, and the labels that are written."""
    rng = np.random.default_rng(0)
    true = (rng.random((30, 6)) < 0.3).astype(np.uint8)
    scores = np.clip(0.5 * true + rng.random((30, 6)) * 0.7, 0, 1)
    scores[3] = 0.01
    threshold = query2label.best_threshold(scores, true)
    reached = np.array([threshold, query2label.micro_f1(scores >= threshold, true)])
    return {"threshold": reached, "labels": query2label.labels_above(scores, threshold)}
