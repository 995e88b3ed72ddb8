"""What the losses of several systems share: contrastive and hinge losses, negatives, the temperature, and small parts.

Shapes: B pairs in a batch, L words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fico_utils.errors import InputError


def each_image(image: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs that show an image for the first time, and each pair's place among them: an image is encoded once.

    Parameters
    ----------
    image : Tensor (B,), image of each pair; pairs of one image stand side by side, or count as several.

    >>> each_image(torch.tensor([7, 7, 3]))
    (tensor([0, 2]), tensor([0, 0, 1]))
    """
    new = torch.cat([image.new_ones(1, dtype=torch.bool), image[1:] != image[:-1]])
    return new.nonzero()[:, 0], new.cumsum(0) - 1


def same_image(image: Tensor) -> Tensor:
    """Which pairs of a batch share an image: (B, B) bool, the diagonal left out."""
    mask = image[:, None] == image[None, :]
    return mask & ~torch.eye(len(image), dtype=torch.bool, device=image.device)


def hardest_hinge(scores: Tensor, image: Tensor | None, margin: float = 0.2) -> Tensor:
    """Hinge loss with the hardest in-batch negative, summed over the batch (VSE++, Faghri et al. 2018).

    Parameters
    ----------
    scores : Tensor (B, B), images in rows, captions in columns; the diagonal holds the pairs.
    image : Tensor (B,) or None, image of each pair: captions of the same image are no negatives.
        None restores the original behaviour, which treats them as negatives.
    """
    positive = scores.diagonal()
    no_negative = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    if image is not None:
        no_negative = no_negative | same_image(image)
    by_image = (margin + scores - positive[:, None]).clamp_min(0).masked_fill(no_negative, 0)
    by_caption = (margin + scores - positive[None, :]).clamp_min(0).masked_fill(no_negative, 0)
    return by_image.amax(1).sum() + by_caption.amax(0).sum()


def contrastive(logits: Tensor, image: Tensor | None) -> Tensor:
    """Symmetric cross entropy with diagonal targets (CLIP, Radford et al. 2021), mean over the batch.

    Parameters
    ----------
    logits : Tensor (B, B), already scaled.
    image : as in `hardest_hinge`.
    """
    if image is not None:
        logits = logits.masked_fill(same_image(image), float("-inf"))
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def soft_contrastive(logits: Tensor, image: Tensor, smoothing: float = 0.0) -> Tensor:
    """Symmetric cross entropy whose targets are shared by all pairs of one image (ITC of X-VLM and BLIP-2), mean.

    Parameters
    ----------
    logits : Tensor (B, B), or a pair of them, image-to-text and text-to-image, already scaled.
    image : Tensor (B,), image of each pair; rows with equal ids are all positives.
    smoothing : float, share of the target spread evenly over the batch.
    """
    by_image, by_text = logits if isinstance(logits, tuple) else (logits, logits.T)
    target = (image[:, None] == image[None, :]).float()
    target = target / target.sum(1, keepdim=True)
    target = (1 - smoothing) * target + smoothing / len(image)
    return (F.cross_entropy(by_image, target) + F.cross_entropy(by_text, target)) / 2


@torch.no_grad()
def hard_negatives(logits: Tensor, image: Tensor, floor: float = 0.0) -> tuple[Tensor, Tensor]:
    """One negative text for each image and one negative image for each text, drawn by similarity, never of one image.

    Parameters
    ----------
    logits : Tensor (B, B), images in rows, already scaled.
    image : Tensor (B,), image of each pair.
    floor : float, added to the sampling weights before pairs of the same image are struck out.

    Returns
    -------
    texts, images : Tensor (B,) int64, positions in the batch.

    Raises
    ------
    InputError
        All pairs of the batch show one image.
    """
    same = image[:, None] == image[None, :]
    if same.all():
        raise InputError(
            f"a batch of {len(image)} pairs shows one image only; hard negatives need two; use a larger batch or corpus"
        )

    def draw(scores: Tensor) -> Tensor:
        # the softmax runs over the allowed pairs alone, so a row always has weight left
        weights = scores.masked_fill(same, float("-inf")).softmax(1) + floor
        return torch.multinomial(weights.masked_fill(same, 0), 1).squeeze(1)

    return draw(logits), draw(logits.T)


class Temperature(nn.Module):
    """What cosines are divided by: a scalar whose logarithm is learnt, ten times as fast as everything else.

    The originals come to retrieval with a temperature that long pre-training has brought down. From 0.07, where all of
    them began, a training as short as ours takes it to 0.05 at the common rate: the softmax stays too flat to tell near
    misses apart, and the hard negatives that are drawn from it are easy ones.

    Parameters
    ----------
    low, high : float, bounds it is clamped to.
    initial : float
    """

    SPEED = 10.0

    def __init__(self, low: float = 0.0, high: float = math.inf, initial: float = 0.07) -> None:
        super().__init__()
        self.low, self.high = low, high
        self.log = nn.Parameter(torch.tensor(math.log(initial) / self.SPEED))

    def forward(self) -> Tensor:
        return (self.SPEED * self.log).exp().clamp(self.low, self.high)


# ------------------------------------------------------------------------------------------- small parts


def binarise(h: Tensor, zero: int = 1) -> Tensor:
    """Hash codes in {-1, +1}, int8, of real outputs (..., bits); an exact 0 becomes `zero`."""
    positive = h >= 0 if zero > 0 else h > 0
    return torch.where(positive, 1, -1).to(torch.int8)


def word_mask(tokens: Tensor) -> Tensor:
    """Which positions hold a word: (B, L) bool; padding is id 0."""
    return tokens != 0


def by_length(lengths: Tensor, parts: int = 4) -> tuple[Sequence[Tensor], Tensor]:
    """Rows of a batch in parts of like length, so that little of a part is padding, and how to put them back.

    Returns
    -------
    parts : sequence of Tensor, indices; together every row once.
    back : Tensor, where each row stands in the parts laid end to end.
    """
    order = lengths.argsort(stable=True)
    return order.chunk(parts), order.argsort()


def trim(tokens: Tensor) -> Tensor:
    """Tokens (B, L) without the columns that are padding in every row."""
    return tokens[:, : int(word_mask(tokens).sum(1).max())]
