"""Small parts that several systems share: words and their padding, pairs of one image, codes, plain layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn


def word_mask(words: Tensor) -> Tensor:
    """Which positions hold a word: (B, L) bool. Padding is id 0 of tokens (B, L), and zero among vectors (B, L, d)."""
    return words != 0 if words.ndim == 2 else words.any(-1)


def trim_padding(tokens: Tensor) -> Tensor:
    """Tokens (B, L) without the columns that are padding in every row."""
    return tokens[:, : int(word_mask(tokens).sum(1).max())]


def split_by_length(mask: Tensor) -> tuple[list[tuple[Tensor, int]], Tensor]:
    """Up to four parts of the rows of a `word_mask`, each of like length, so that little of a part is padding.

    Returns
    -------
    parts : list of (rows, length of the longest).
    back : Tensor (B,) int64, where each row stands in the parts, one after the other.
    """
    lengths = mask.sum(1)
    order = lengths.argsort(stable=True)
    parts = order.chunk(min(4, len(lengths.unique())))
    return [(rows, int(lengths[rows].max())) for rows in parts], order.argsort()


def encode_by_length(encoder: Callable[..., Tensor], words: Tensor, *beside: Tensor) -> Tensor:
    """What `encoder` gives for words (B, L, ...) and the rows `beside` them, computed in parts of like length."""
    parts, back = split_by_length(word_mask(words))
    return torch.cat([encoder(words[rows, :n], *(tensor[rows] for tensor in beside)) for rows, n in parts])[back]


def each_image(image: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs that show an image for the first time, and each pair's place among them: an image is encoded once.

    Pairs of one image stand side by side in `image` (B,), or count as several images.

    >>> each_image(torch.tensor([7, 7, 3]))
    (tensor([0, 2]), tensor([0, 0, 1]))
    """
    new = torch.cat([image.new_ones(1, dtype=torch.bool), image[1:] != image[:-1]])
    return new.nonzero()[:, 0], new.cumsum(0) - 1


def binarise(h: Tensor, zero: int = 1) -> Tensor:
    """Hash codes in {-1, +1}, int8, of real outputs (..., bits); an exact 0 becomes `zero`."""
    positive = h >= 0 if zero > 0 else h > 0
    return torch.where(positive, 1, -1).to(torch.int8)


def linear_layer(wide: int, narrow: int, initialise: Callable[[Tensor], Tensor] | None = None) -> nn.Linear:
    """A linear layer; with `initialise`, its weights are drawn by it and its biases are 0."""
    layer = nn.Linear(wide, narrow)
    if initialise:
        initialise(layer.weight)
        nn.init.zeros_(layer.bias)
    return layer


def linear_layers(
    *sizes: int, norm: bool = False, initialise: Callable[[Tensor], Tensor] | None = None
) -> list[nn.Module]:
    """Layers of `linear_layer`, each with ReLU after it, and batch norm before that where `norm` says so."""
    parts: list[nn.Module] = []
    for wide, narrow in pairwise(sizes):
        parts += [linear_layer(wide, narrow, initialise), *([nn.BatchNorm1d(narrow)] if norm else []), nn.ReLU()]
    return parts


def narrow_states(wide: int, width: int, dropout: float) -> nn.Module:
    """What makes word vectors (B, L, width) of the states (B, L, wide) of a text tower, each number about 1."""
    narrow = nn.Linear(wide, width)
    nn.init.normal_(narrow.weight, std=1 / math.sqrt(wide))
    return nn.Sequential(nn.LayerNorm(wide), nn.Dropout(dropout), narrow)
