"""What two systems share: the model contract, pooling, contrastive and hinge losses, binarisation.

Shapes: B pairs in a batch, R regions, L words, d joint width. A batch is a dict of tensors: the system's image input
and text input by name, and ``image`` (B,), the index of each pair's image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Recipe:
    """How a system is trained: what `training.fit` needs to know of it.

    Attributes
    ----------
    batch_size : int, pairs a step.
    lr, weight_decay : float, Adam (AdamW where the decay is not 0).
    betas : tuple of float.
    warmup : float, share of all steps over which the rate rises linearly.
    schedule : str, ``cosine`` to 0, ``step`` (x 0.1 after half of the steps), or ``constant``.
    clip : float, largest norm of the gradient; 0 for none.
    """

    batch_size: int
    lr: float
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: float = 0.0
    schedule: str = "constant"
    clip: float = 0.0


class RetrievalModel(nn.Module):
    """What `training.fit` and `training.encode` ask of a system.

    Class attributes
    ----------------
    image_input, text_input : str, names of the features it reads.
    recipe : Recipe
    """

    image_input: ClassVar[str]
    text_input: ClassVar[str]
    recipe: ClassVar[Recipe]

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    @property
    def settings(self) -> dict[str, Any]:
        """The whole configuration, JSON-able: it travels with the weights."""
        return {**asdict(self.config), "recipe": asdict(self.recipe)}

    def weights(self) -> dict[str, Tensor]:
        """What encoding needs: the parameters and buffers, without the state that only training reads."""
        return self.state_dict()

    def start_epoch(self, epoch: int) -> None:
        """Called before each epoch, for schedules inside a loss."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Scalar loss terms of a batch; ``loss`` is the one that is minimised."""
        raise TypeError(f"{type(self).__name__} defines no loss")

    def encode_image(self, features: Tensor) -> Tensor:
        """Embeddings (B, ...) of image features (B, ...)."""
        raise TypeError(f"{type(self).__name__} defines no encode_image")

    def encode_text(self, features: Tensor) -> Tensor:
        """Embeddings (B, ...) of text features (B, ...)."""
        raise TypeError(f"{type(self).__name__} defines no encode_text")


# ------------------------------------------------------------------------------------------------ losses


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
