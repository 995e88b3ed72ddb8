"""The contract of a model: what training, encoding and serving ask of a system.

A batch is a dict of tensors, one row a pair: the system's inputs by name, and ``image`` (B,), the index of each pair's
image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

Batch = dict[str, Tensor]


def restores(original: bool | Sequence[str], difference: str) -> bool:
    """Whether ``original`` of a configuration, true or a list of names, undoes a difference of `originals` by its name.

    >>> restores(True, "targets"), restores(["negatives"], "targets"), restores(False, "targets")
    (True, False, False)
    """
    return original is True or (original is not False and difference in original)


@dataclass(frozen=True)
class TrainingRecipe:
    """How a system is trained by `training.fit`: Adam, or AdamW where the decay is not 0."""

    batch_size: int  # images a step
    lr: float
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: float = 0.0  # share of all steps over which the rate rises linearly
    schedule: str = "constant"  # or cosine, to 0; or step, x 0.1 after half of the steps; or thirds, after each third
    clip: float = 0.0  # largest norm of the gradient; 0 for none
    captions: int = 1  # of each image in a step, drawn anew in every epoch


@dataclass(frozen=True)
class AdversarialRecipe(TrainingRecipe):
    """The recipe of a system with an adversary, which takes a step of AdamW before each step of the system."""

    adversary_lr: float = 5e-5
    adversary_decay: float = 1e-4
    adversary_betas: tuple[float, float] = (0.5, 0.9)


@dataclass(frozen=True)
class MuonRecipe(TrainingRecipe):
    """The recipe of a system whose linear maps learn by `muon.Muon` at `muon_lr`, all else by AdamW at `lr`."""

    muon_lr: float = 2e-3


class RetrievalModel(nn.Module):
    """What `training.fit` and `encoding.encode` ask of a system; a subclass defines `loss` and both encoders."""

    image_input: ClassVar[str]  # names of the features that it encodes
    text_input: ClassVar[str]
    image_extra: ClassVar[tuple[str, ...]] = ()  # what only its training reads, an array by image: ``labels``
    text_extra: ClassVar[tuple[str, ...]] = ()  # or by caption: ``rephrased``, ``adversarial``
    training_only: ClassVar[tuple[str, ...]] = ()  # beginnings of the names of weights that encoding does not need
    recipe: TrainingRecipe  # of the class; of a model where its configuration restores the original's
    #: Sizes that came after weights had shipped: a configuration where they are 0 or false has the settings, and so the
    #: key, of one that does not have them.
    later: ClassVar[tuple[str, ...]] = ("d_states", "fusion_alone")

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    @property
    def settings(self) -> dict[str, Any]:
        """The whole configuration, JSON-able: it travels with the weights."""
        config = {name: value for name, value in asdict(self.config).items() if value or name not in self.later}
        return {**config, "recipe": asdict(self.recipe)}

    @classmethod
    def original_sizes(cls, corpus: str) -> dict[str, dict[str, Any]]:
        """Difference -> fields of the configuration that restore it, on a corpus of the paper or one beside it."""
        return {}

    @property
    def selection(self) -> dict[str, str]:
        """What chooses a checkpoint, as keywords of `evaluate`: the mean of these metrics on the validation split."""
        return {"metrics": "recall@1,5,10"}

    @property
    def chosen_by_labels(self) -> bool:
        """Whether `selection` is at category level."""
        return "map" in self.selection["metrics"]

    def weights(self) -> dict[str, Tensor]:
        """What encoding needs: the parameters and buffers, without the state that only training reads."""
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith(self.training_only)}

    def begin(self, image: dict[str, np.ndarray], text: dict[str, np.ndarray], caption_image: np.ndarray) -> None:
        """Called before the first epoch with the training split, for what is solved over all of it at once.

        Parameters
        ----------
        image, text : arrays (n_img, ...) and (n_txt, ...) by name, as `training.Inputs` holds them.
        caption_image : ndarray (n_txt,) int64, the image of each caption.
        """

    def phase(self, epoch: int) -> int:
        """Number of the phase of training that an epoch is in: each goes on from the best epoch of the one before.

        The weights that serve are the best of the last phase, since what one phase scores is not what another does.
        """
        return 0

    def start_epoch(self, epoch: int) -> bool | None:
        """Called before each epoch, for schedules inside a loss; true where the optimisers' moments start anew."""

    def end_epoch(self) -> None:
        """Called after each epoch, before validation, for what is solved over the whole split."""

    def adversary(self) -> Sequence[nn.Parameter]:
        """Parameters of an adversary; they take their own step on `adversary_loss` before each step of the rest."""
        return ()

    def forward(self, batch: Batch) -> dict[str, Any]:
        """What the losses read of a batch: the batch itself, unless two losses share a pass."""
        return batch

    def adversary_loss(self, outputs: dict[str, Any]) -> Tensor:
        """Scalar that the adversary minimises; it sees the rest of the model detached."""
        raise NotImplementedError

    def loss(self, outputs: dict[str, Any]) -> dict[str, Tensor]:
        """Scalar loss terms of a batch; ``loss`` is the one that is minimised."""
        raise NotImplementedError

    def encode_image(self, features: Tensor) -> Tensor:
        """Embeddings (B, ...) of image features (B, ...)."""
        raise NotImplementedError

    def encode_text(self, features: Tensor) -> Tensor:
        """Embeddings (B, ...) of text features (B, ...)."""
        raise NotImplementedError


class FusionModel(RetrievalModel):
    """A dual encoder with a head that reads a picture and a caption together and scores again what was ranked first.

    A subclass defines `match` and what both sides give it to read: ``image_context``, (B, T, width) of image features,
    and ``text_context``, (B, L, width) of text features, zero where padded, or the tokens (B, L) themselves; and
    ``embed_image`` and ``embed_text``, the embeddings of these contexts.
    """

    adds_cosine: ClassVar[bool] = False  # whether the final score is the match plus the cosine of the dual encoder

    @property
    def cosine_weight(self) -> float:
        """What the cosine of the dual encoder counts beside the match in the final score; 0 is the match alone."""
        return float(self.adds_cosine)

    def learn_alone(self, *parts: str) -> None:
        """Let only the weights learn whose names begin with one of `parts`."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith(parts))

    def match(self, image: Tensor, text: Tensor) -> Tensor:
        """Logits (P,) that pairs of contexts (P, T, width) and (P, L, ...) belong together, not calibrated."""
        raise NotImplementedError

    def encode_image(self, features: Tensor) -> Tensor:
        return self.embed_image(self.image_context(features))

    def encode_text(self, features: Tensor) -> Tensor:
        return self.embed_text(self.text_context(features))

    def similarity(self, image: Tensor, text: Tensor) -> Tensor:
        """Cosines (n, m) of the dual encoder's embeddings."""
        return image @ text.T
