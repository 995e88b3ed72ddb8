"""SCAN, stacked cross attention (Lee et al., ECCV 2018), through the exact Gram form.

Every word attends over the regions of a picture (t2i), or every region over the words (i2t); fragment and attended
context are compared by cosine and pooled. The context vectors are never built: with raw dots S and the Gram matrix G of
the context fragments, ``<q, ctx> = sum_x a_x S_xq`` and ``|ctx|^2 = a^T G a``, so memory falls from B*B*L*d to B*B*L*R.

Scaled down: widths, epochs; one t2i model with mean pooling, as in FiCo-ITR. Other differences: differences.csv.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from fico_utils.models.contract import Batch, RetrievalModel, TrainingRecipe, restores
from fico_utils.models.layers import linear_layer, narrow_states, split_by_length, trim_padding, word_mask
from fico_utils.models.losses import hinge_loss
from fico_utils.models.serving import Attends
from fico_utils.registry import System

VERSION = 1  # raised when the meaning of what is trained changes
ROWS = (
    System(
        id="scan", name="SCAN", paper_names=("SCAN",), order=8, model="Scan", serving=Attends(),
        family="fg", approach="Local+Global", attention="Cross-Attn", shade=2, marker=">", line="-.",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class ScanConfig:
    """Sizes and the variant of attention."""

    d_region: int
    n_words: int  # of the vocabulary
    d: int = 256  # joint width; 1024 originally
    d_word: int = 128  # 300 originally
    attention: str = "t2i"  # words attend over regions, or i2t
    pooling: str = "mean"  # or lse
    smooth: float = 9.0  # inverse temperature of the softmax: 9 for t2i, 4 for i2t
    lse: float = 6.0  # inverse temperature of the pooling
    margin: float = 0.2
    original: bool | tuple[str, ...] = False  # differences that are undone
    d_states: int = 0  # of a pretrained text tower, whose states (B, L, d_states) then stand in place of the tokens


class WordEncoder(nn.Module):
    """Tokens (B, L) -> unit word vectors (B, L, d): a bidirectional GRU whose two directions are averaged."""

    def __init__(self, n_words: int, d_word: int, d: int, d_states: int = 0) -> None:
        super().__init__()
        self.word = narrow_states(d_states, d_word, 0.0) if d_states else nn.Embedding(n_words, d_word)
        self.gru = nn.GRU(d_word, d, batch_first=True, bidirectional=True)
        if not d_states:
            nn.init.uniform_(self.word.weight, -0.1, 0.1)

    def forward(self, tokens: Tensor) -> Tensor:
        lengths = word_mask(tokens).sum(1).cpu()
        packed = pack_padded_sequence(self.word(tokens), lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=tokens.shape[1])
        forward, backward = states.chunk(2, -1)
        return F.normalize((forward + backward) / 2, dim=-1)


# Cross attention is laid out as (n, C, Q, m): n contexts of C fragments, m captions or pictures of Q queries. Dots and
# the Gram product are then plain matrix products, and every sum runs over an outer axis.


def dot_products(context: Tensor, queries: Tensor) -> Tensor:
    """Raw dots (n, C, Q, m) of context (n, C, d) with queries (m, Q, d)."""
    (n, c, d), (m, q, _) = context.shape, queries.shape
    return (context.reshape(n * c, d) @ queries.transpose(0, 1).reshape(q * m, d).T).view(n, c, q, m)


def gram_matrix(context: Tensor) -> Tensor:
    """Dots (n, C, C) of the fragments (n, C, d) of each context among themselves."""
    return context @ context.transpose(1, 2)


def attention_weights(dots: Tensor, smooth: float, present: Tensor | None = None) -> Tensor:
    """Softmax weights (n, C, Q, m) over the context, short of their denominator, from `dot_products`.

    Each context fragment is normalised across the queries first; each query then weighs the fragments. Dots are 0 where
    a query is padding; `present` (n, C) is 0 where a fragment is padding, None where all are there.
    """
    gated = F.leaky_relu(dots, 0.1)
    scale = smooth * gated.square().sum(2, keepdim=True).add(1e-12).rsqrt()
    weights = (gated * scale).exp()
    return weights if present is None else weights * present[..., None, None]


def context_cosine(weights: Tensor, dots: Tensor, products: Tensor) -> Tensor:
    """Cosines (n, Q, m) of each query with the context vector it attends to, without that vector.

    From `attention_weights`, `dot_products` of the unit fragments and their `gram_matrix`; a factor common to a query's
    weights changes nothing.
    """
    n, c, q, m = weights.shape
    norm = (torch.bmm(products, weights.view(n, c, q * m)).view_as(weights) * weights).sum(1)
    return (weights * dots).sum(1) * norm.clamp_min(1e-8).rsqrt()


class Scan(RetrievalModel):
    """Regions (B, R, d_region) and tokens (B, L) -> unit fragments (B, R, d) and (B, L, d), zero where padded."""

    image_input, text_input = "regions", "tokens"
    recipe = TrainingRecipe(batch_size=32, lr=1e-3, warmup=0.1, schedule="cosine", clip=2.0)
    Config = ScanConfig

    def __init__(self, config: ScanConfig) -> None:
        super().__init__(config)
        self.region = linear_layer(config.d_region, config.d, nn.init.xavier_uniform_)
        self.words = WordEncoder(config.n_words, config.d_word, config.d, config.d_states)

    def encode_image(self, regions: Tensor) -> Tensor:
        return F.normalize(self.region(regions), dim=-1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Word vectors as wide as `tokens`, so that batches can be stacked; a pad word is the zero vector."""
        trimmed = trim_padding(tokens)
        words = self.words(trimmed) * word_mask(trimmed)[..., None]
        return F.pad(words, (0, 0, 0, tokens.shape[1] - trimmed.shape[1]))

    def similarity(self, regions: Tensor, words: Tensor) -> Tensor:
        """Scores (n, m), larger is closer, of all pictures (n, R, d) with all captions (m, L, d), as encoded."""
        mask = word_mask(words)
        parts, back = split_by_length(mask)
        scores = [self._scores(regions, words[rows, :longest], mask[rows, :longest]) for rows, longest in parts]
        return torch.cat(scores, 1)[:, back]

    def _scores(self, regions: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """Scores (n, m) of fragments (n, R, d) and (m, L, d) with their mask (m, L), L the longest caption's."""
        if self.config.attention == "t2i":
            dots = dot_products(regions, words)
            weights = attention_weights(dots, self.config.smooth)
            return self._pool(context_cosine(weights, dots, gram_matrix(regions)), mask.T)
        dots = dot_products(words, regions)  # the caption is the context: everything transposed, (m, L, R, n)
        weights = attention_weights(dots, self.config.smooth, mask)
        return self._pool(context_cosine(weights, dots, gram_matrix(words)), mask.new_ones(regions.shape[1], 1)).T

    def attend(self, regions: Tensor, words: Tensor) -> Tensor:
        """Where each word of one caption (L, d) looks: weights (L, R) over one picture's regions, rows sum to 1."""
        gated = F.leaky_relu(words @ regions.T, 0.1)
        return (self.config.smooth * F.normalize(gated, dim=0)).softmax(1)

    def _pool(self, cosine: Tensor, mask: Tensor) -> Tensor:
        """Scores (n, m) from cosines (n, Q, m) over the queries that are there, by their mask (Q, m) or (Q, 1)."""
        if self.config.pooling == "lse":
            exps = (self.config.lse * cosine).exp() * mask
            return exps.sum(1).log() / self.config.lse
        return (cosine * mask).sum(1) / mask.sum(0)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        scores = self.similarity(self.encode_image(batch["regions"]), self.encode_text(batch["tokens"]))
        image = None if restores(self.config.original, "same image") else batch["image"]
        return {"loss": hinge_loss(scores, image, self.config.margin)}
