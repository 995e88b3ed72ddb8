"""What the vision-language systems share: the sizes and layers of X-VLM and BLIP-2, and the temperature."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fico_utils.errors import InputError
from fico_utils.models.contract import FusionModel, MuonRecipe

#: How X-VLM and BLIP-2 learn, each with a weight decay of its own.
FUSION_RECIPE = MuonRecipe(
    batch_size=64, lr=1e-3, betas=(0.9, 0.98), warmup=0.1, schedule="cosine", clip=1.0, captions=3
)

#: Ridges of the heads on pretrained towers, pictures and captions, as shares of the mean variance: `solve_heads`.
RIDGES = (0.3, 0.1)


@dataclass(frozen=True)
class FusionConfig:
    """Sizes of a vision tower and of the text layers that read what it sees."""

    d_patch: int
    n_words: int  # of the vocabulary
    n_patches: int = 36  # the cells of a square grid, row by row
    max_words: int = 40  # of the longest caption, specials included
    width: int = 128  # of every layer; originally 768 for text, and for vision 1024 (X-VLM) or 1408 (BLIP-2)
    heads: int = 4  # 12 originally
    n_vision_layers: int = 1  # Swin-B (X-VLM) or 39 (BLIP-2) originally
    d_embed: int = 128  # 256 originally
    dropout: float = 0.1
    fusion_epoch: int = 0  # first epoch in which the head that reads pairs learns
    d_states: int = 0  # of a pretrained text tower, whose states (B, L, d_states) then stand in place of the tokens
    fusion_alone: bool = False  # from fusion_epoch on the head learns alone, on what validation chose of the rest
    original: bool | tuple[str, ...] = False  # differences that are undone

    def projection(self) -> nn.Module:
        """What makes an embedding of a state (..., width); where `solve_heads` speaks, its directions are kept."""
        return nn.Identity() if self.d_states else nn.Linear(self.width, self.d_embed)

    @property
    def text_layers(self) -> dict[str, Any]:
        """Arguments of a configuration of transformers for the layers that read text."""
        return {
            "vocab_size": 1 if self.d_states else self.n_words,
            "max_position_embeddings": self.max_words,
            "hidden_size": self.width,
            "intermediate_size": 4 * self.width,
            "num_attention_heads": self.heads,
            "hidden_dropout_prob": self.dropout,
            "attention_probs_dropout_prob": 0.0,  # dropping whole words of a short caption costs more than it brings
            "initializer_range": initial_spread(self.width),
        }


class Temperature(nn.Module):
    """What cosines are divided by: a clamped scalar whose logarithm is learnt ten times as fast as everything else.

    The originals come to retrieval with a temperature that long pre-training has brought down. From 0.07, where all of
    them began, a training as short as ours takes it to 0.05 at the common rate: the softmax stays too flat to tell near
    misses apart, and the hard negatives that are drawn from it are easy ones.
    """

    SPEED = 10.0

    def __init__(self, low: float = 0.0, high: float = math.inf) -> None:
        super().__init__()
        self.low, self.high = low, high
        self.log = nn.Parameter(torch.tensor(math.log(0.07) / self.SPEED))

    def forward(self) -> Tensor:
        return (self.SPEED * self.log).exp().clamp(self.low, self.high)


class TowerHead(nn.Module):
    """What a row with pretrained towers says of a whole item: vectors (..., width) of its pooled features (..., wide).

    A linear map that `solve_heads` has found speaks first. What the row's own layers say of the item (..., width) is
    added by a gain that starts at 0, so that a training on few pictures begins with what the towers know.
    """

    def __init__(self, wide: int, width: int) -> None:
        super().__init__()
        self.register_buffer("map", torch.zeros(wide, width))
        self.register_buffer("shift", torch.zeros(width))
        self.gain = nn.Parameter(torch.zeros(()))

    def say(self, pooled: Tensor) -> Tensor:
        """Of the map alone; each number is about 1."""
        return math.sqrt(len(self.shift)) * F.normalize(F.normalize(pooled, dim=-1) @ self.map + self.shift, dim=-1)

    def add(self, said: Tensor, own: Tensor) -> Tensor:
        """Of both: what `say` gave, and what the row's own layers give."""
        return said + self.gain * F.layer_norm(own, own.shape[-1:])

    def forward(self, pooled: Tensor, own: Tensor) -> Tensor:
        return self.add(self.say(pooled), own)


def solve_heads(
    image: TowerHead, text: TowerHead, patches: np.ndarray, states: np.ndarray, caption_image: np.ndarray
) -> None:
    """Set the maps of both heads by canonical correlation analysis of the training pairs, each side with a ridge.

    The directions in which pictures and captions go together most come first, each as long as their correlation. On
    the 1 881 pictures of openclipart this finds in a second more than forty passes of gradient descent did.

    Parameters
    ----------
    patches, states : ndarray (n_img, R, wide) and (n_txt, L, wide), what the towers see and read; the mean of the first
        over the patches, and the first of the second, are the pooled features, which are brought to unit length.
    caption_image : ndarray (n_txt,), the image of each caption.
    """
    seen = patches.mean(1, dtype=np.float64)[caption_image]
    sides = []
    for pooled, ridge in ((seen, RIDGES[0]), (states[:, 0].astype(np.float64), RIDGES[1])):
        pooled = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        centred = pooled - (mean := pooled.mean(0))
        spread = centred.T @ centred / len(centred)
        spread += ridge * np.trace(spread) / len(spread) * np.eye(len(spread))
        values, axes = np.linalg.eigh(spread)
        sides.append((mean, centred, axes / np.sqrt(values) @ axes.T))
    (mean, seen, whiten), (text_mean, read, text_whiten) = sides
    left, correlation, right = np.linalg.svd(whiten @ (seen.T @ read / len(read)) @ text_whiten, full_matrices=False)
    for head, centre, white, axes in ((image, mean, whiten, left), (text, text_mean, text_whiten, right.T)):
        n = min(len(correlation), len(head.shift))
        found = (white @ axes * correlation)[:, :n]
        head.map[:, :n], head.shift[:n] = torch.from_numpy(found).float(), torch.from_numpy(-centre @ found).float()


class PhasedFusion(FusionModel):
    """What X-VLM and BLIP-2 share of how they learn.

    With ``fusion_alone`` the fusion head learns in a phase of its own, on encoders that stay as their best validation
    score left them: each row is chosen by its own score, and fusion cannot cost the row without it anything. Its
    negatives are drawn by the softmax of the scaled cosines, so that it learns what these do not know: the final score
    is the sum of both.
    """

    def begin(self, image: dict[str, np.ndarray], text: dict[str, np.ndarray], caption_image: np.ndarray) -> None:
        if self.config.d_states:
            solve_heads(self.whole_image, self.whole_text, image["patches"], text["tokens"], caption_image)

    def phase(self, epoch: int) -> int:
        return int(self.config.fusion_alone and epoch >= self.config.fusion_epoch)

    @property
    def cosine_weight(self) -> float:
        return 1 / self.temperature().item() if self.config.fusion_alone else super().cosine_weight


def initial_spread(width: int) -> float:
    """Standard deviation of the initial weights of a layer so wide: what 0.02 is to the 768 of BERT and ViT.

    With 0.02 a narrow layer adds next to nothing to what it is given, and the matching loss stays at chance for long.
    """
    return 0.02 * math.sqrt(768 / width)


@torch.no_grad()
def widen_attention(stack: nn.Module, gain: float = 2.5) -> None:
    """Let what attention gathers count from the start: values and outputs of a stack's attention begin `gain` as wide.

    A layer whose norm comes last keeps what stands in a position and adds what it gathered, at these widths a tenth of
    it. The first position, which speaks for a caption, then begins as nearly one vector for all captions. Two passes of
    contrastive training reached a mean validation recall of 0.53 with this, near variants without it 0.39 (one seed).
    """
    for name, weight in stack.named_parameters():
        if name.endswith(("value.weight", "attention.output.dense.weight")):
            weight.mul_(gain)


class PatchViT(nn.Module):
    """Patches (B, R, d_patch) -> tokens (B, R + 1, width), the CLS first: a ViT; InputError where R is no square."""

    def __init__(self, config: FusionConfig) -> None:
        from transformers import ViTConfig, ViTModel  # BEiT-3 needs none of it

        super().__init__()
        c, self.side = config, math.isqrt(config.n_patches)
        if self.side**2 != c.n_patches:
            raise InputError(f"the vision tower was given {c.n_patches} patches; expected a square grid, such as 36")
        sizes = ViTConfig(
            num_channels=c.d_patch, image_size=self.side, patch_size=1, hidden_size=c.width,
            intermediate_size=4 * c.width, num_hidden_layers=c.n_vision_layers, num_attention_heads=c.heads,
            hidden_dropout_prob=c.dropout, initializer_range=initial_spread(c.width),
        )  # fmt: skip
        self.vit = ViTModel(sizes, add_pooling_layer=False)

    def forward(self, patches: Tensor) -> Tensor:
        grid = patches.transpose(1, 2).unflatten(2, (self.side, self.side))
        return self.vit(pixel_values=grid).last_hidden_state
