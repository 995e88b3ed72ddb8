"""Query2Label, the label generator (Liu et al., 2021): every category is a learned query that looks at the picture.

A transformer encoder layer reads the patches; in two decoder layers each category's query attends to them, and a linear
layer of its own turns what it found into one logit. The decoder has no self-attention, as in the released code: the
categories do not see each other, and permuting them permutes the logits. FiCo-ITR labels Flickr30K with it.

The loss is binary cross entropy whose easy negatives count less: positives are weighted by (1 - p)^g+, negatives by
p^g- after p is lowered by `clip`, and no gradient runs through the weights. With g+ = g- = clip = 0 it is plain cross
entropy. Asymmetric losses bias the scores, so 0.5 is no neutral threshold: `best_threshold` chooses it on validation.

Scaled down: width (2048), input (patches of a small backbone for a feature map at 448 pixels), epochs. The original
adds sine positions to the keys; learned ones do the same on 36 cells. They also enter the values. Moving averages of
the weights and dropout are left out; the loss is summed over the categories, not divided by their number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fico_utils.models.contract import Batch, RetrievalModel, TrainingRecipe

VERSIONS = {"query2label": 1, "labels": 1}


@dataclass(frozen=True)
class Query2LabelConfig:
    """Sizes and the shape of the loss.

    Attributes
    ----------
    d_patch, n_patches : int, image input (n_patches, d_patch).
    n_labels : int
    width, heads, n_decoder_layers : int
    dropout : float
    focus_positive, focus_negative, clip : float, g+, g- and the margin of the asymmetric loss; 0, 2 and 0 as released.
    """

    d_patch: int
    n_labels: int
    n_patches: int = 36
    width: int = 128
    heads: int = 4
    n_decoder_layers: int = 2
    dropout: float = 0.0
    focus_positive: float = 0.0
    focus_negative: float = 2.0
    clip: float = 0.0


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
        found, _ = self.attention(state + queries, memory + positions, memory, need_weights=False)
        state = self.norm_attention(state + self.dropout(found))
        return self.norm_ffn(state + self.dropout(self.ffn(state)))


class Query2Label(RetrievalModel):
    """Patches (B, R, d_patch) -> logits (B, n_labels); it reads no captions."""

    image_input, text_input = "patches", ""
    image_extra = ("labels",)
    recipe = TrainingRecipe(batch_size=64, lr=3e-3, weight_decay=1e-2, warmup=0.2, schedule="cosine", clip=1.0)
    Config = Query2LabelConfig

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
        return {"loss": asymmetric(logits, outputs["labels"], c.focus_positive, c.focus_negative, c.clip)}


def asymmetric(
    logits: Tensor, labels: Tensor, focus_positive: float = 0.0, focus_negative: float = 2.0, clip: float = 0.0
) -> Tensor:
    """Asymmetric binary cross entropy (Ben-Baruch et al., ICCV 2021), summed over labels, mean over the batch.

    Parameters
    ----------
    logits, labels : Tensor (B, n_labels), the labels 0 or 1.
    """
    p = logits.sigmoid()
    lowered = (p - clip).clamp_min(0)
    positive, negative = labels * F.logsigmoid(logits), (1 - labels) * F.logsigmoid(-logits)
    if clip > 0:
        negative = (1 - labels) * (1 - lowered).clamp_min(1e-5).log()
    with torch.no_grad():
        weight = torch.where(labels > 0, (1 - p) ** focus_positive, lowered**focus_negative)
    return -((positive + negative) * weight).sum(1).mean()


def best_threshold(scores: np.ndarray, labels: np.ndarray) -> float:
    """The threshold on scores in [0, 1] with the best micro-averaged F1.

    Parameters
    ----------
    scores : ndarray (n, n_labels), sigmoids.
    labels : ndarray (n, n_labels), 0 or 1, of a validation split.
    """
    candidates = np.linspace(0.05, 0.95, 91)
    return float(candidates[int(np.argmax([micro_f1(scores >= t, labels) for t in candidates]))])


def micro_f1(predicted: np.ndarray, labels: np.ndarray) -> float:
    """F1 over all decisions of two multi-hot arrays (n, n_labels); 0 where nothing is labelled or predicted."""
    both, either = np.logical_and(predicted, labels).sum(), np.sum(predicted, dtype=int) + np.sum(labels, dtype=int)
    return float(2 * both / either) if either else 0.0


def written(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Multi-hot labels (n, n_labels) uint8 of scores; a picture below the threshold everywhere gets its best label."""
    labels = scores >= threshold
    empty = ~labels.any(1)
    labels[empty, scores[empty].argmax(1)] = True
    return labels.astype(np.uint8)
