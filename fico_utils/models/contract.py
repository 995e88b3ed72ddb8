"""The contract of a model: what training, encoding and serving ask of a system.

Shapes: B pairs in a batch, R regions, L words, d joint width. A batch is a dict of tensors: the system's image input
and text input by name, and ``image`` (B,), the index of each pair's image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class TrainingRecipe:
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
class AdversarialRecipe(TrainingRecipe):
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
    recipe : TrainingRecipe
    """

    image_input: ClassVar[str]
    text_input: ClassVar[str]
    image_extra: ClassVar[tuple[str, ...]] = ()
    text_extra: ClassVar[tuple[str, ...]] = ()
    recipe: ClassVar[TrainingRecipe]

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
