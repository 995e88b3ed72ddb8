"""Codes that are learned from somebody's own pairs: one linear head a side, trained so that pairs agree in their bits.

The heads begin as ITQ's rotation, each side about its own mean; then the product's own `fit` trains them with its
contrastive loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fico_utils.models.contract import Batch, RetrievalModel, TrainingRecipe
from fico_utils.models.layers import binarise
from fico_utils.models.losses import contrastive
from fico_utils.models.training import Inputs, as_tensor, fit

#: Items whose pairs choose the epoch and are not learned from, at most; steps in all epochs together, at least.
HELD_OUT, STEPS = 1000, 800


@dataclass(frozen=True)
class HeadsConfig:
    """Sizes, and the sharpness of the softmax over a batch."""

    dim: int
    bits: int
    temperature: float = 0.07


class CodeHeads(RetrievalModel):
    """Vectors (B, dim) of items and of what asks for them -> codes (B, bits) of -1 and 1, over the root of bits."""

    image_input, text_input = "items", "asking"
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
        # signs, with the gradient of tanh; bits are about 1 / sqrt(bits) large, as vectors have unit length
        soft = torch.tanh(bits * self.config.bits**0.5)
        return F.normalize(soft + (binarise(soft) - soft).detach(), dim=-1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        scores = self.encode_image(batch["items"]) @ self.encode_text(batch["asking"]).T
        return {"loss": contrastive(scores / self.config.temperature, batch["image"])}


def learn_heads(
    items: np.ndarray, asking: np.ndarray, pairs: np.ndarray, rotation: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Weights ``items.weight`` (bits, d) and ``items.bias`` (bits,), and those of ``asking``; see `head_codes`.

    `items` (n, d) and `asking` (m, d) are unit vectors, `pairs` (n_pairs, 2) rows of both, of some twenty items at
    least, and `rotation` (bits, d) is where they begin.
    """
    turn = np.random.default_rng(seed).permutation(len(items))
    held = turn[pairs[:, 0]] < min(HELD_OUT, len(items) // 10)
    model, judged = CodeHeads(HeadsConfig(items.shape[1], len(rotation))), pairs[held]
    for head, vectors in ((model.items, items), (model.asking, asking)):
        head.weight.data = torch.from_numpy(rotation.copy())
        head.bias.data = torch.from_numpy(-rotation @ vectors.mean(axis=0))
    train = Inputs({"items": items}, {"asking": asking[pairs[~held, 1]]}, pairs[~held, 0], "")

    @torch.no_grad()
    def found_first(model: CodeHeads) -> float:
        codes = model.encode_image(as_tensor(items[judged[:, 0]])), model.encode_text(as_tensor(asking[judged[:, 1]]))
        return float(((codes[0] @ codes[1].T).argmax(0).numpy() == np.arange(len(judged))).mean())

    epochs = -(-STEPS // -(-len(items) // model.recipe.batch_size))
    fit(model, train, seed=seed, epochs=epochs, validate=found_first, label="learned codes")
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def head_codes(head: dict[str, np.ndarray], side: str, vectors: np.ndarray) -> np.ndarray:
    """Packed codes (n, bits / 8) of vectors (n, d) of one side, ``items`` or ``asking``: where x W' + b > 0."""
    return np.packbits(vectors @ head[f"{side}.weight"].T + head[f"{side}.bias"] > 0, axis=1)
