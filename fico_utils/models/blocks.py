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

from fico_utils.errors import InputError

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Recipe:
    """How a system is trained: what `training.fit` needs to know of it.

    Attributes
    ----------
    batch_size : int, images a step.
    captions : int, of each image in a step, drawn anew in every epoch.
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
    captions: int = 1


@dataclass(frozen=True)
class AdversarialRecipe(Recipe):
    """The recipe of a system that trains an adversary beside itself: one adversary step before each of its own.

    Attributes
    ----------
    adversary_lr, adversary_decay : float, AdamW of the adversary.
    adversary_betas : tuple of float.
    """

    adversary_lr: float = 5e-5
    adversary_decay: float = 1e-4
    adversary_betas: tuple[float, float] = (0.5, 0.9)


class RetrievalModel(nn.Module):
    """What `training.fit` and `encoding.encode` ask of a system.

    Class attributes
    ----------------
    image_input, text_input : str, names of the features it encodes.
    image_extra, text_extra : tuple of str, what only its training reads: an array by image (``labels``) or by caption
        (``rephrased``, ``adversarial``).
    recipe : Recipe
    """

    image_input: ClassVar[str]
    text_input: ClassVar[str]
    image_extra: ClassVar[tuple[str, ...]] = ()
    text_extra: ClassVar[tuple[str, ...]] = ()
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

    def start_epoch(self, epoch: int) -> bool | None:
        """Called before each epoch, for schedules inside a loss; true where it is so different that the moments of
        the optimisers, which still hold the gradients of what was learnt before, start anew."""

    def end_epoch(self) -> None:
        """Called after each epoch, before validation, for what is solved over the whole training split."""

    def adversary(self) -> Sequence[nn.Parameter]:
        """Parameters of an adversary; they take their own step on `adversary_loss` before each step of the rest."""
        return ()

    def forward(self, batch: Batch) -> dict[str, Any]:
        """What the losses read of a batch: the batch itself, unless two losses share a pass."""
        return batch

    def adversary_loss(self, outputs: dict[str, Any]) -> Tensor:
        """Scalar that the adversary minimises; it sees the rest of the model detached."""
        raise TypeError(f"{type(self).__name__} has no adversary")

    def loss(self, outputs: dict[str, Any]) -> dict[str, Tensor]:
        """Scalar loss terms of a batch; ``loss`` is the one that is minimised."""
        raise TypeError(f"{type(self).__name__} defines no loss")

    def encode_image(self, features: Tensor) -> Tensor:
        """Embeddings (B, ...) of image features (B, ...)."""
        raise TypeError(f"{type(self).__name__} defines no encode_image")

    def encode_text(self, features: Tensor) -> Tensor:
        """Embeddings (B, ...) of text features (B, ...)."""
        raise TypeError(f"{type(self).__name__} defines no encode_text")


class FusionModel(RetrievalModel):
    """A dual encoder with a head that reads a picture and a caption together and scores again what was ranked first.

    Class attributes
    ----------------
    adds_cosine : bool, the final score is the match plus the cosine of the dual encoder (BLIP-2), not the match alone.
    """

    adds_cosine: ClassVar[bool] = False

    def image_context(self, features: Tensor) -> Tensor:
        """What the fusion reads of pictures: (B, T, width), from their features."""
        raise TypeError(f"{type(self).__name__} defines no image_context")

    def text_context(self, features: Tensor) -> Tensor:
        """What the fusion reads of captions: (B, L, width), zero where padded, or the tokens (B, L) themselves."""
        raise TypeError(f"{type(self).__name__} defines no text_context")

    def match(self, image: Tensor, text: Tensor) -> Tensor:
        """Logits (P,) that pairs of contexts (P, T, width) and (P, L, ...) belong together, not calibrated."""
        raise TypeError(f"{type(self).__name__} defines no match")

    def similarity(self, image: Tensor, text: Tensor) -> Tensor:
        """Cosines (n, m) of the dual encoder's embeddings."""
        return image @ text.T


# ------------------------------------------------------------------------------------------------ losses


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
