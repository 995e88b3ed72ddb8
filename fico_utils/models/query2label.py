"""Query2Label, the label generator (Liu et al., 2021): every category is a learned query that looks at the picture.

The decoder has no self-attention, as in the released code: the categories do not see each other. The asymmetric loss
biases the scores, so `best_threshold` chooses a threshold on validation. FiCo-ITR labels Flickr30K with it.

Scaled down: width (2048), input (patches of a small backbone), epochs. Other differences: differences.csv.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fico_utils.models.contract import Batch, RetrievalModel, TrainingRecipe, restores
from fico_utils.models.losses import asymmetric_loss

VERSIONS = {"query2label": 1, "labels": 1}


@dataclass(frozen=True)
class Query2LabelConfig:
    """Sizes and the shape of the loss."""

    d_patch: int
    n_labels: int
    n_patches: int = 36
    width: int = 128
    heads: int = 4
    n_decoder_layers: int = 2
    dropout: float = 0.0
    focus_positive: float = 0.0  # of `asymmetric_loss`, as released
    focus_negative: float = 2.0
    clip: float = 0.0
    original: bool | tuple[str, ...] = False  # differences that are undone


class QueryLayer(nn.Module):
    """One decoder layer without self-attention: queries (B, C, width) attend to a memory (B, R, width)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.ffn = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.norm_attention, self.norm_ffn = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, state: Tensor, queries: Tensor, memory: Tensor, positions: Tensor) -> Tensor:
        gathered, _ = self.attention(state + queries, memory + positions, memory, need_weights=False)
        state = self.norm_attention(state + self.dropout(gathered))
        return self.norm_ffn(state + self.dropout(self.ffn(state)))


class Query2Label(RetrievalModel):
    """Patches (B, R, d_patch) -> logits (B, n_labels); it reads no captions."""

    image_input, text_input = "patches", ""
    image_extra = ("labels",)
    recipe = TrainingRecipe(batch_size=64, lr=3e-3, weight_decay=1e-2, warmup=0.2, schedule="cosine", clip=1.0)
    Config = Query2LabelConfig
    later = ("original",)

    def __init__(self, config: Query2LabelConfig) -> None:
        super().__init__(config)
        c = config
        self.narrow = nn.Linear(c.d_patch, c.width)
        self.positions = nn.Parameter(torch.randn(c.n_patches, c.width) * 0.02)
        self.encoder = nn.TransformerEncoderLayer(c.width, c.heads, 4 * c.width, c.dropout, batch_first=True)
        self.categories = nn.Parameter(torch.randn(c.n_labels, c.width))
        self.layers = nn.ModuleList(QueryLayer(c.width, c.heads, c.dropout) for _ in range(c.n_decoder_layers))
        self.norm = nn.LayerNorm(c.width)
        self.weight = nn.Parameter(torch.empty(c.n_labels, c.width))
        self.bias = nn.Parameter(torch.zeros(c.n_labels))
        nn.init.xavier_uniform_(self.weight)

    def encode_image(self, features: Tensor) -> Tensor:
        """Logits (B, n_labels) of patches."""
        memory = self.encoder(self.narrow(features) + self.positions)
        queries = self.categories.expand(len(memory), -1, -1)
        state = torch.zeros_like(queries)
        for layer in self.layers:
            state = layer(state, queries, memory, self.positions)
        return (self.norm(state) * self.weight).sum(-1) + self.bias

    def loss(self, outputs: Batch) -> dict[str, Tensor]:
        c = self.config
        logits = self.encode_image(outputs["patches"])
        floor = 1e-5 if restores(c.original, "clamp") else 0.0
        loss = asymmetric_loss(logits, outputs["labels"], c.focus_positive, c.focus_negative, c.clip, floor)
        return {"loss": 1000 / c.n_labels * loss if restores(c.original, "scale") else loss}


def best_threshold(scores: np.ndarray, labels: np.ndarray) -> float:
    """The threshold with the best micro-averaged F1 on sigmoids and labels (n, n_labels) of a validation split."""
    candidates = np.linspace(0.05, 0.95, 91)
    return float(candidates[int(np.argmax([micro_f1(scores >= t, labels) for t in candidates]))])


def micro_f1(predicted: np.ndarray, labels: np.ndarray) -> float:
    """F1 over all decisions of two multi-hot arrays (n, n_labels); 0 where nothing is labelled or predicted."""
    both, either = np.logical_and(predicted, labels).sum(), np.sum(predicted, dtype=int) + np.sum(labels, dtype=int)
    return float(2 * both / either) if either else 0.0


def labels_above(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Multi-hot labels (n, n_labels) uint8 of scores; a picture below the threshold everywhere gets its best label."""
    labels = scores >= threshold
    empty = ~labels.any(1)
    labels[empty, scores[empty].argmax(1)] = True
    return labels.astype(np.uint8)
