"""X-VLM and X-VLM NF (Zeng et al., ICML 2022): two encoders, and fusion layers that read the best candidates again.

A vision transformer and the lower layers of a BERT are trained contrastively (ITC). The upper layers of the BERT also
attend to the vision tokens and say whether picture and caption belong together (ITM, with negatives drawn by
similarity); at query time they re-score the first k candidates by the logit of "belongs". NF, no fusion, stops after
the cosine. Of the multi-grained pre-training that names the model, retrieval fine-tuning uses nothing.

All layers are those of transformers: `ViTModel` and two `BertModel`, the second with cross-attention, its
self-attention kept bidirectional.

Scaled down: widths, depths, epochs, batch. The vision tower is a hybrid: a shallow ViT on the cells of a trained
convolutional backbone, where the original has a Swin-B at 384 pixels; the mean of its tokens stands first, as there.
Different on purpose: gradients are clipped, the rate falls as a cosine (theirs linearly), and attention has no dropout;
the learning rate is that of training from scratch, linear maps learn by Muon, and the temperature learns faster than
the rest (`Temperature`); it is clamped to [0.001, 0.5] as in the original's pre-training (`original=True` leaves it
free, as its fine-tuning does). Each step pairs an image, encoded once, with three of its captions, which are no
negatives of each other. The original asks of an image to be as near to each of its captions (`original=True`): where
some say much and some hardly anything, as here, those that say nothing then come first in every picture's ranking.
Fine-tuning begins with encoders that know each other; here they learn alone first (`fusion_epoch`), for a head that
reads states without meaning learns nothing from its negatives. Then it reads one of an image's captions, as in the
original: fusion is most of a step's time, and so it sees more images in as many minutes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertConfig, BertModel, ViTConfig, ViTModel

from fico_utils.errors import InputError
from fico_utils.models.contract import Batch, FusionModel
from fico_utils.models.losses import (
    Temperature,
    by_length,
    contrastive,
    each_image,
    hard_negatives,
    soft_contrastive,
    trim,
    word_mask,
)
from fico_utils.models.muon import MuonRecipe
from fico_utils.models.serving import Embeds, Reranks
from fico_utils.registry import System

#: Raised when the meaning of what is trained changes: equal settings and seed, other weights.
VERSION = 1
ROWS = (
    System(
        id="xvlm", name="X-VLM", paper_names=("X-VLM",), order=4, model="Xvlm", serving=Reranks(),
        family="vlp", approach="Dual+Fusion", attention="Fusion Rerank", shade=2, marker="D",
    ),
    System(
        id="xvlm_nf", name="X-VLM NF", paper_names=("X-VLMNF",), order=5, model="Xvlm", serving=Embeds("cosine"),
        family="vlp", approach="Dual", attention="None", shade=2, marker="D", line="--", hollow=True, weights="xvlm",
    ),
)  # fmt: skip

VERSION = 1


@dataclass(frozen=True)
class XvlmConfig:
    """Sizes of the three stacks.

    Attributes
    ----------
    d_patch, n_patches : int, image input (n_patches, d_patch), the cells of a square grid, row by row.
    n_words, max_words : int, vocabulary and longest caption, specials included.
    width, heads : int, of every layer; 1024 for vision and 768 for text originally, 12 heads.
    n_vision_layers, n_text_layers, n_fusion_layers : int; Swin-B, 6 and 6 originally.
    d_embed : int, width of the embeddings; 256 originally.
    dropout : float
    fusion_epoch : int, first epoch in which the fusion layers learn; the two encoders learn alone before it.
    original : bool, the temperature is free, and contrastive targets are shared by the captions of an image.
    """

    d_patch: int
    n_words: int
    n_patches: int = 36
    max_words: int = 40
    width: int = 128
    heads: int = 4
    n_vision_layers: int = 1
    n_text_layers: int = 2
    n_fusion_layers: int = 2
    d_embed: int = 128
    dropout: float = 0.1
    fusion_epoch: int = 0
    original: bool = False


def spread(width: int) -> float:
    """Standard deviation of the initial weights of a layer so wide: what 0.02 is to the 768 of BERT and ViT.

    With 0.02 a narrow layer adds next to nothing to what it is given, and the matching loss stays at chance for long.
    """
    return 0.02 * math.sqrt(768 / width)


@torch.no_grad()
def listen(stack: nn.Module, gain: float = 2.5) -> None:
    """Let what attention gathers count from the start: values and outputs of a stack's attention begin `gain` as wide.

    A layer whose norm comes last keeps what stands in a position and adds what it gathered, at these widths a tenth of
    it. The first position, which speaks for a caption, then begins as nearly one vector for all captions. Two passes of
    contrastive training reached a mean validation recall of 0.53 with this; near variants without it, not the same
    model otherwise, 0.39 (one seed).
    """
    for name, weight in stack.named_parameters():
        if name.endswith(("value.weight", "attention.output.dense.weight")):
            weight.mul_(gain)


class PatchViT(nn.Module):
    """Patches (B, R, d_patch) -> tokens (B, R + 1, width), the CLS first: a ViT whose patches are single cells.

    Parameters
    ----------
    d_patch, n_patches : int, the cells of a square grid.
    width, depth, heads, dropout : of the transformer.

    Raises
    ------
    InputError
        The patches do not fill a square.
    """

    def __init__(self, d_patch: int, n_patches: int, width: int, depth: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.side = math.isqrt(n_patches)
        if self.side**2 != n_patches:
            raise InputError(f"the vision tower was given {n_patches} patches; expected a square grid, such as 36")
        config = ViTConfig(
            num_channels=d_patch,
            image_size=self.side,
            patch_size=1,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            hidden_dropout_prob=dropout,
            initializer_range=spread(width),
        )
        self.vit = ViTModel(config, add_pooling_layer=False)

    def forward(self, patches: Tensor) -> Tensor:
        grid = patches.transpose(1, 2).unflatten(2, (self.side, self.side))
        return self.vit(pixel_values=grid).last_hidden_state


class Xvlm(FusionModel):
    """Patches (B, R, d_patch) and tokens (B, L) -> unit vectors (B, d_embed); cosine, then the match of the best."""

    image_input, text_input = "patches", "tokens"
    recipe = MuonRecipe(
        batch_size=64,
        lr=1e-3,
        weight_decay=0.01,
        betas=(0.9, 0.98),
        warmup=0.1,
        schedule="cosine",
        clip=1.0,
        captions=3,
    )
    Config = XvlmConfig

    def __init__(self, config: XvlmConfig) -> None:
        super().__init__(config)
        c = config
        self.vision = PatchViT(c.d_patch, c.n_patches, c.width, c.n_vision_layers, c.heads, c.dropout)
        bert = {
            "vocab_size": c.n_words,
            "max_position_embeddings": c.max_words,
            "type_vocab_size": 1,
            "hidden_size": c.width,
            "intermediate_size": 4 * c.width,
            "num_attention_heads": c.heads,
            "hidden_dropout_prob": c.dropout,
            "attention_probs_dropout_prob": 0.0,  # dropping whole words of a short caption costs more than it brings
            "initializer_range": spread(c.width),
        }
        self.text = BertModel(BertConfig(num_hidden_layers=c.n_text_layers, **bert), add_pooling_layer=False)
        crossed = BertConfig(num_hidden_layers=c.n_fusion_layers, is_decoder=True, add_cross_attention=True, **bert)
        self.fusion = BertModel(crossed, add_pooling_layer=False).encoder  # it goes on from the states of `text`
        listen(self.text)
        listen(self.fusion)
        self.image_projection = nn.Linear(c.width, c.d_embed)
        self.text_projection = nn.Linear(c.width, c.d_embed)
        self.itm = nn.Sequential(
            nn.Linear(c.width, 2 * c.width), nn.LayerNorm(2 * c.width), nn.GELU(), nn.Linear(2 * c.width, 2)
        )
        self.temperature = Temperature() if c.original else Temperature(0.001, 0.5)
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        self.fusing = epoch >= self.config.fusion_epoch

    def image_context(self, features: Tensor) -> Tensor:
        """Vision tokens (B, 1 + R, width) of patches, their mean first."""
        tokens = self.vision(features)[:, 1:]
        return torch.cat([tokens.mean(1, keepdim=True), tokens], 1)

    def text_context(self, features: Tensor) -> Tensor:
        """Word states (B, L, width) of tokens (B, L), zero where padded."""
        parts, back = by_length(word_mask(features).sum(1))
        states = []
        for part in parts:
            words = trim(features[part])
            mask = word_mask(words)
            hidden = self.text(words, attention_mask=mask).last_hidden_state * mask[..., None]
            states.append(F.pad(hidden, (0, 0, 0, features.shape[1] - words.shape[1])))
        return torch.cat(states)[back]

    def embed_image(self, context: Tensor) -> Tensor:
        """Unit vectors (B, d_embed) from `image_context`."""
        return F.normalize(self.image_projection(context[:, 0]), dim=-1)

    def embed_text(self, context: Tensor) -> Tensor:
        """Unit vectors (B, d_embed) from `text_context`: the start token speaks for the caption."""
        return F.normalize(self.text_projection(context[:, 0]), dim=-1)

    def encode_image(self, features: Tensor) -> Tensor:
        return self.embed_image(self.image_context(features))

    def encode_text(self, features: Tensor) -> Tensor:
        return self.embed_text(self.text_context(features))

    def match(self, image: Tensor, text: Tensor) -> Tensor:
        return self._fuse(image, text)[:, 1]

    def _fuse(self, image: Tensor, text: Tensor) -> Tensor:
        """Logits (P, 2), of "does not belong" and "belongs", of pairs of contexts (P, T, width) and (P, L, width)."""
        mask = text.any(-1)  # a word's state is never all zero
        lengths = mask.sum(1)
        parts, back = by_length(lengths)
        first = []
        for part in parts:
            longest = int(lengths[part].max())
            # the mask is always given: without one, layers with cross-attention attend causally
            keys = mask[part, None, None, :longest]
            states = self.fusion(text[part, :longest], attention_mask=keys, encoder_hidden_states=image[part])
            first.append(states.last_hidden_state[:, 0])
        return self.itm(torch.cat(first)[back])

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        first, place = each_image(batch["image"])
        image, text = self.image_context(batch["patches"][first])[place], self.text_context(trim(batch["tokens"]))
        logits = self.similarity(self.embed_image(image), self.embed_text(text)) / self.temperature()
        itc = (soft_contrastive if self.config.original else contrastive)(logits, batch["image"])
        if not self.fusing:
            return {"loss": itc, "itc": itc, "itm": torch.zeros(())}
        captions, pictures = hard_negatives(logits, batch["image"], floor=1e-5)
        pictures, captions = torch.cat([first, pictures[first], first]), torch.cat([first, first, captions[first]])
        itm = F.cross_entropy(self._fuse(image[pictures], text[captions]), (pictures == captions).long())
        return {"loss": itc + itm, "itc": itc, "itm": itm}
