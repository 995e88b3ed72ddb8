"""Codes that are learned from somebody's own pairs: one linear head a side, trained so that pairs agree in their bits.

The heads begin as ITQ's rotation, each side about its own mean, and are trained by the product's own `fit` and its
contrastive loss; what the sampled queries ask for is never seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fico_utils.models.contract import Batch, RetrievalModel, TrainingRecipe
from fico_utils.models.losses import contrastive
from fico_utils.models.training import Inputs, fit

#: Items whose pairs choose the epoch and are not learned from, at most; epochs.
HELD_OUT, EPOCHS = 1000, 6


@dataclass(frozen=True)
class HeadsConfig:
    """Sizes, and the sharpness of the softmax over a batch."""

    dim: int
    bits: int
    temperature: float = 0.07


class CodeHeads(RetrievalModel):
    """Vectors (B, dim) of items and of what asks for them -> real codes (B, bits), binarised by sign."""

    image_input = text_input = "vectors"
    recipe = TrainingRecipe(batch_size=512, lr=1e-3, schedule="cosine", clip=1.0)
    Config = HeadsConfig

    def __init__(self, config: HeadsConfig) -> None:
        super().__init__(config)
        self.items, self.asking = (nn.Linear(config.dim, config.bits) for _ in range(2))

    def encode_image(self, features: Tensor) -> Tensor:
        return self._code(self.items(features))

    def encode_text(self, features: Tensor) -> Tensor:
        return self._code(self.asking(features))

    def _code(self, bits: Tensor) -> Tensor:
        # signs, whose gradient is that of tanh; bits are about 1 / sqrt(bits) large, as vectors have unit length
        soft = torch.tanh(bits * self.config.bits**0.5)
        return F.normalize(soft + (torch.sign(soft) - soft).detach(), dim=-1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        items, asking = self.encode_image(batch["items"]), self.encode_text(batch["asking"])
        return {"loss": contrastive(items @ asking.T / self.config.temperature, batch["image"])}


class PairInputs(Inputs):
    """Both sides have features of one name in `Inputs`; here they keep names of their own."""

    def batch(self, model: RetrievalModel, captions: np.ndarray) -> Batch:
        images = self.caption_image[captions]
        sides = {"items": self.image["vectors"][images], "asking": self.text["vectors"][captions]}
        return {n: torch.from_numpy(a) for n, a in sides.items()} | {"image": torch.from_numpy(images)}


def learn_heads(
    items: np.ndarray, asking: np.ndarray, pairs: np.ndarray, rotation: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Weights ``items.weight`` (bits, d) and ``items.bias`` (bits,), and those of ``asking``; see `head_codes`.

    `items` (n, d) and `asking` (m, d) are unit vectors, `pairs` (n_pairs, 2) rows of both, of two items at least, and
    `rotation` (bits, d) is where they begin.
    """
    rng = np.random.default_rng(seed)
    pairs = pairs[rng.permutation(len(pairs))]
    numbers, place = np.unique(pairs[:, 0], return_inverse=True)
    held = place < min(HELD_OUT, max(1, len(numbers) // 10))
    if len(np.unique(place[~held])) < 2:
        held[:] = False
    model = CodeHeads(HeadsConfig(items.shape[1], len(rotation)))
    with torch.no_grad():
        for head, vectors in ((model.items, items), (model.asking, asking)):
            head.weight.copy_(torch.from_numpy(rotation))
            head.bias.copy_(torch.from_numpy(-rotation @ vectors.mean(axis=0)))
    train = pairs[~held]
    numbers, place = np.unique(train[:, 0], return_inverse=True)
    inputs = PairInputs({"vectors": items[numbers]}, {"vectors": asking[train[:, 1]]}, place.astype(np.int64), "")
    judged = pairs[held] if held.any() else train[:HELD_OUT]

    @torch.no_grad()
    def found_first(model: CodeHeads) -> float:
        codes = model.encode_image(torch.from_numpy(items[judged[:, 0]]))
        scores = (codes @ model.encode_text(torch.from_numpy(asking[judged[:, 1]])).T).numpy()
        return float((scores.argmax(axis=0) == np.arange(len(judged))).mean())

    fit(model, inputs, seed=seed, epochs=EPOCHS, validate=found_first, label="learned codes")
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def head_codes(head: dict[str, np.ndarray], side: str, vectors: np.ndarray) -> np.ndarray:
    """Packed codes (n, bits / 8) of vectors (n, d) of one side, ``items`` or ``asking``."""
    return np.packbits(vectors @ head[f"{side}.weight"].T + head[f"{side}.bias"] > 0, axis=1)
