"""IMRAM, iterative matching with recurrent attention memory (Chen et al., CVPR 2020), on SCAN's fragments.

Fragments attend over the other side K times. After each step a gated memory writes what was found into the query: with
q the query and c its context, g = sigmoid(W_g [q; c]) and o = tanh(W_o [q; c]) give the next query g q + (1 - g) o.
The score adds up the steps' mean cosines of contexts with the *first* queries. The context vectors are never built:
cosines come from SCAN's Gram form, and the gate's W c is sum_x a_x (W x). All of it is exact.

Scaled down: widths, batches, epochs. Other differences: differences.csv.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fico_utils.models.contract import restores
from fico_utils.models.layers import split_by_length, word_mask
from fico_utils.models.scan import Scan, attention_weights, context_cosine, gram_matrix
from fico_utils.models.serving import Attends
from fico_utils.registry import System

VERSION = 1  # raised when the meaning of what is trained changes
ROWS = (
    System(
        id="imram", name="IMRAM", paper_names=("IMRAM",), order=6, model="Imram", serving=Attends(),
        family="fg", approach="Local+Global", attention="Cross-Attn", shade=0, marker="^",
    ),
)  # fmt: skip
#: Which branches each mode adds up.
MODES = {"text": ("text",), "image": ("image",), "full": ("text", "image")}
#: First bias of g: it keeps 0.95 of a query, so that training starts near SCAN and not from second queries at random.
OPEN = 3.0
#: Largest number of gate inputs held at once, or one context's where that is more: 4 MiB, about the cache.
GATES = 1 << 20


@dataclass(frozen=True)
class ImramConfig:
    """Sizes, the number of steps, and which side asks."""

    d_region: int
    n_words: int  # of the vocabulary
    d: int = 128  # joint width; 1024 originally
    d_word: int = 128  # 300 originally
    mode: str = "text"  # words attend over regions; or image, or full
    steps: int = 2  # K; with one step there is no gate and the score is SCAN's
    smooth: float = 9.0  # inverse temperature of the softmax
    normalise: bool = False  # unit length for each query after the gate; both scripts of the original turn it off
    margin: float = 0.2  # of the summed score
    original: bool | tuple[str, ...] = False  # differences that are undone
    d_states: int = 0  # of a pretrained text tower, as of SCAN


class Side(NamedTuple):
    """The fragments of n captions or pictures, as one branch reads them."""

    vectors: Tensor  # (n, F, d), unit length, zero where padded
    read: Tensor  # (n, F, 2 d), what they add to the input of the gate; (n, F, 0) where there is none
    present: Tensor  # (n, F), 1 where there is a fragment and 0 where there is padding

    def take(self, rows: Tensor | slice, width: int | None = None) -> Side:
        """Some rows, cut to a number of fragments."""
        return Side(*(tensor[rows, :width] for tensor in self))


class Memory(nn.Module):
    """One branch: K steps of attention of `queries` over `context`, with a gated memory between them."""

    def __init__(self, config: ImramConfig) -> None:
        super().__init__()
        self.config = config
        self.gate = nn.Linear(2 * config.d, 2 * config.d) if config.steps > 1 else None  # [q; c] -> inputs of g, o
        if self.gate is not None and not restores(config.original, "gate"):
            nn.init.constant_(self.gate.bias[: config.d], OPEN)

    def _gate(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weights (2 d, d) of the query and of the context, and bias (2 d,); those of o doubled, see `_update`."""
        double = self.gate.bias.new_ones(2, self.config.d)
        double[1] = 2
        of_query, of_context = (self.gate.weight * double.view(-1, 1)).chunk(2, 1)
        return of_query, of_context, self.gate.bias * double.view(-1)

    def side(self, vectors: Tensor, present: Tensor, context: bool) -> Side:
        """Fragments (n, F, d) with their part of the gate's input; the bias goes with the queries."""
        if self.gate is None:
            return Side(vectors, vectors[..., :0], present)
        of_query, of_context, bias = self._gate()
        return Side(vectors, vectors @ of_context.T if context else F.linear(vectors, of_query, bias), present)

    def forward(self, context: Side, queries: Side) -> Tensor:
        """Scores (n, m) of n contexts with m captions or pictures that ask, summed over the steps."""
        m, q, d = queries.vectors.shape
        # one query a column, (d, Q m), so that every product below is one plain matrix product a context
        columns = [t.permute(2, 1, 0).reshape(-1, q * m) for t in (queries.vectors, queries.read)]
        if torch.is_grad_enabled():  # everything is held for the gradient anyway
            return self._scores(context, *columns, queries.present.T)
        rows = max(1, GATES // (2 * d * q * m))
        starts = range(0, len(context.vectors), rows)
        return torch.cat([self._scores(context.take(slice(i, i + rows)), *columns, queries.present.T) for i in starts])

    def _scores(self, context: Side, query: Tensor, read: Tensor, asking: Tensor) -> Tensor:
        """Scores (n, m) from queries (d, Q m), what they add to the gate (2 d, Q m), and their mask (Q, m)."""
        n, c, d = context.vectors.shape
        shape, products = (n, c, *asking.shape), gram_matrix(context.vectors)
        present = None if context.present.all() else context.present
        dots = first = (context.vectors.reshape(n * c, d) @ query).view(shape)
        score: Tensor | float = 0.0
        for step in range(1, self.config.steps + 1):
            weights = attention_weights(dots, self.config.smooth, present)
            cosine = context_cosine(weights, first, products)
            score = score + (cosine * asking).sum(1) / asking.sum(0)
            if step < self.config.steps:
                attended = (weights / weights.sum(1, keepdim=True)).view(n, c, -1)
                query = self._update(query, torch.baddbmm(read, context.read.transpose(1, 2), attended))
                if step + 1 < self.config.steps:
                    of_query, _, bias = self._gate()
                    read = torch.baddbmm(bias[:, None], of_query.expand(n, -1, -1), query)
                # a pad word is left with what the bias made of it; its dots are the only way back in
                dots = torch.bmm(context.vectors, query).view(shape) * asking
        return score

    def _update(self, query: Tensor, hidden: Tensor) -> Tensor:
        """Next queries (n, d, Q m) from queries of that shape or (d, Q m), and the gate's input (n, 2 d, Q m).

        tanh(x) = 2 sigmoid(2 x) - 1, at a third of the time; the 2 x is in the weights.
        """
        kept, new = hidden.sigmoid_().chunk(2, 1)
        query = torch.lerp(new.mul(2).sub_(1), query, kept)
        return F.normalize(query, dim=1) if self.config.normalise else query


class Imram(Scan):
    """Regions (B, R, d_region) and tokens (B, L) -> SCAN's unit fragments; scored in K steps."""

    Config = ImramConfig

    @classmethod
    def original_sizes(cls, corpus: str) -> dict[str, dict[str, Any]]:
        return {"softmax": {"smooth": 11.0 if corpus == "mscoco" else 9.0}}

    def __init__(self, config: ImramConfig) -> None:
        super().__init__(config)
        self.memories = nn.ModuleDict({branch: Memory(config) for branch in MODES[config.mode]})

    def similarity(self, regions: Tensor, words: Tensor) -> Tensor:
        """Scores (n, m) of every picture with every caption, as `Scan.similarity`; in -K..K a branch."""
        mask = word_mask(words)
        present, (parts, back) = mask.to(words.dtype), split_by_length(mask)
        scores: Tensor | float = 0.0
        for branch, memory in self.memories.items():
            asking = branch == "text"
            pictures = memory.side(regions, present.new_ones(regions.shape[:2]), context=asking)
            captions = memory.side(words, present, context=not asking)
            if asking:
                scores = scores + torch.cat([memory(pictures, captions.take(*part)) for part in parts], 1)
            else:
                scores = scores + torch.cat([memory(captions.take(*part), pictures) for part in parts]).T
        return scores[:, back]
