"""Golden cases of the systems: each is trained for a few steps on tiny inputs and then served, whatever it is.

The inputs are those that a model class declares, in sizes that its configuration names; other sizes of its
configuration are cut to at most `WIDTH`. A class may say otherwise in a mapping ``tiny``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields, replace
from functools import partial
from typing import Any

import numpy as np

from fico_utils import registry
from fico_utils.golden import Case, golden, register_case
from fico_utils.producers import stated_by, system_producers

#: Images, captions of each, regions of each (a square), words of the vocabulary, longest caption, largest width.
N_IMG, CAPTIONS, CELLS, WORDS, LONGEST, WIDTH = 8, 3, 9, 30, 8, 16
SIZES = {
    "d_region": 12, "d_patch": 12, "d_global": 12, "d_text": 10, "n_words": WORDS, "n_images": N_IMG, "n_labels": 5,
    "n_regions": CELLS, "n_patches": CELLS, "bits": 32, "dropout": 0.0,
}  # fmt: skip


def tiny_inputs() -> Any:
    """Every input that a model may declare, of a few images and captions that belong together."""
    from fico_utils.models.training import Inputs

    rng = np.random.default_rng(0)
    caption_image = np.repeat(np.arange(N_IMG), CAPTIONS)
    topic = rng.standard_normal((N_IMG, 12))
    cells = (topic[:, None] + rng.standard_normal((N_IMG, CELLS, 12))).astype(np.float32)
    tokens = rng.integers(4, WORDS, (len(caption_image), LONGEST)).astype(np.int32)
    tokens[:, :2] = 4 + caption_image[:, None]
    for row, length in enumerate(rng.integers(3, LONGEST + 1, len(tokens))):
        tokens[row, length:] = 0
    image = {
        "regions": cells,
        "patches": cells,
        "global": topic.astype(np.float32),
        "labels": np.eye(5, dtype=np.uint8)[np.arange(N_IMG) % 5] | np.eye(5, dtype=np.uint8)[[0] * N_IMG],
    }
    text = {
        "tokens": tokens,
        "doc2vec": (topic[caption_image, :10] + rng.standard_normal((len(tokens), 10))).astype(np.float32),
        "rephrased": np.stack([tokens, np.roll(tokens, 1, 1)], 1),
        "adversarial": np.stack([np.roll(tokens, k * CAPTIONS, 0) for k in (1, 2, 3, 4)], 1),
    }
    image["labels"][:, 0] = np.arange(N_IMG) % 2
    return Inputs(image, text, caption_image, "golden")


def tiny_model(model_class: type, **sizes: Any) -> Any:
    """An untrained model of a class, seeded, in tiny sizes."""
    import torch

    given = {}
    for entry in fields(model_class.Config):
        if entry.name in SIZES:
            given[entry.name] = SIZES[entry.name]
        elif isinstance(entry.default, tuple):
            given[entry.name] = tuple(min(WIDTH, size) for size in entry.default)
        elif type(entry.default) is int:
            given[entry.name] = min(WIDTH, entry.default)
        elif entry.default is MISSING:
            given[entry.name] = WIDTH
    torch.manual_seed(0)
    model = model_class(model_class.Config(**given | dict(getattr(model_class, "tiny", {})) | sizes))
    model.recipe = replace(model.recipe, batch_size=4)
    return model


def trained_and_served(producer: str) -> dict[str, np.ndarray]:
    """Loss terms of a few steps, then what a system stores and how it scores, by each of its rows in the tables."""
    from fico_utils.models import model_class
    from fico_utils.models.training import fit

    rows = [row for row in registry.systems().values() if stated_by(row.trained) == producer]
    model, data = tiny_model(model_class(rows[0].id)), tiny_inputs()
    with likeliest_draws():
        log = fit(model, data, seed=0, epochs=2, validate=lambda m: 0.5, label=producer)
    terms = [name for name in log[0] if name not in ("epoch", "score", "seconds")]
    out = {f"terms.{name}": np.array([row[name] for row in log]) for name in terms}
    for row in rows:
        out |= _served(row.serving, model.eval(), data)
    return out


@contextmanager
def likeliest_draws() -> Iterator[None]:
    """Draws by weight take the largest weight meanwhile: two builds of torch do not draw alike."""
    import torch

    drawn = torch.multinomial
    torch.multinomial = lambda weights, n, *_: weights.argsort(1, descending=True)[:, :n]
    try:
        yield
    finally:
        torch.multinomial = drawn


def _served(serving: Any, model: Any, data: Any) -> dict[str, np.ndarray]:
    """What one row of the tables keeps of a split: the first embeddings, and codes or scores as it is served."""
    from fico_utils.models import encoding

    out = {side: array[:6] for side, array in encoding.encode(model, data).items()}
    kept = serving.stored_scores(model, data, N_IMG)
    if serving.hashed:
        return out | {f"codes.{side}": array for side, array in kept.items()}
    if "sim_i2t" not in kept:
        return out
    way = "rerank." if serving.reranks else "" if serving.reads_pairs else "late."
    return out | {f"{way}{direction}": array for direction, array in kept.items()}


for _producer in system_producers():
    register_case(_producer, Case(partial(trained_and_served, _producer), 3e-2))


@golden("query2label", 1e-2)
def query2label() -> dict[str, np.ndarray]:
    """The label generator after a few steps: loss and logits."""
    from fico_utils.models.encoding import encode_side
    from fico_utils.models.query2label import Query2Label
    from fico_utils.models.training import fit

    model, data = tiny_model(Query2Label), tiny_inputs()
    log = fit(model, data, seed=0, epochs=2, validate=lambda m: 0.5, label="query2label")
    logits = encode_side(model.eval().encode_image, data.image["patches"])
    return {"terms.loss": np.array([row["loss"] for row in log]), "logits": logits}


@golden("labels", 1e-6)
def labels() -> dict[str, np.ndarray]:
    """The threshold that validation chooses, and the labels that are written."""
    from fico_utils.models.query2label import best_threshold, micro_f1, written

    rng = np.random.default_rng(0)
    true = (rng.random((30, 6)) < 0.3).astype(np.uint8)
    scores = np.clip(0.5 * true + rng.random((30, 6)) * 0.7, 0, 1)
    scores[3] = 0.01
    threshold = best_threshold(scores, true)
    return {
        "threshold": np.array([threshold, micro_f1(scores >= threshold, true)]),
        "labels": written(scores, threshold),
    }
