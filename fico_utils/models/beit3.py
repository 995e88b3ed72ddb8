"""BEiT-3 as a dual encoder (Wang et al., CVPR 2023): two transformer towers and one contrastive loss.

The paper's multiway transformer is two towers that share no weight in the released code, which we build: pre-norm
blocks with sub-LayerNorm (an extra norm before each output projection), which no class of transformers has.

Scaled down: width, depth, epochs; image tokens are the patch features of a pre-trained backbone. Other
differences: differences.csv.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fico_utils.models.contract import Batch, MuonRecipe, RetrievalModel, restores
from fico_utils.models.layers import each_image, encode_by_length, narrow_states, word_mask
from fico_utils.models.losses import contrastive
from fico_utils.models.serving import Embeds
from fico_utils.models.vlp import Temperature, TowerHead, solve_heads
from fico_utils.registry import System

VERSION = 1  # raised when the meaning of what is trained changes
ROWS = (
    System(
        id="beit3", name="BEiT-3", paper_names=("BEIT-3",), order=3, model="Beit3", serving=Embeds("cosine"),
        family="vlp", approach="Dual", attention="None", shade=1, marker="o",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Beit3Config:
    """Sizes of both towers; 768, 12 and 12 of the original base model."""

    d_patch: int
    n_words: int  # of the vocabulary
    n_patches: int = 36
    max_words: int = 40  # of the longest caption, specials included
    width: int = 192
    depth: int = 2
    heads: int = 4
    dropout: float = 0.1
    original: bool | tuple[str, ...] = False  # differences that are undone
    d_states: int = 0  # of a pretrained text tower, whose states (B, L, d_states) then stand in place of the tokens


class Block(nn.Module):
    """A pre-norm transformer block with sub-LayerNorm: (B, T, width) -> (B, T, width)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_ffn = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.sub_attention, self.project = nn.LayerNorm(width), nn.Linear(width, width)
        self.widen = nn.Linear(width, 4 * width)
        self.sub_ffn, self.narrow = nn.LayerNorm(4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, keys: Tensor | None) -> Tensor:
        b, t, width = x.shape
        q, k, v = self.qkv(self.norm_attention(x)).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        context = F.scaled_dot_product_attention(q, k, v, attn_mask=keys)
        context = context.transpose(1, 2).reshape(b, t, width)
        x = x + self.dropout(self.project(self.sub_attention(context)))
        return x + self.dropout(self.narrow(self.sub_ffn(F.gelu(self.widen(self.norm_ffn(x))))))


class Tower(nn.Module):
    """Embedded tokens (B, T, width), the first of them the CLS -> one unit vector (B, width).

    Where the row reads pretrained towers, the pooled features (B, wide) of the items are given beside their tokens.
    """

    def __init__(self, config: Beit3Config, n_positions: int, wide: int) -> None:
        super().__init__()
        width = config.width
        self.whole = TowerHead(wide, width) if config.d_states else None
        self.positions = nn.Parameter(torch.empty(n_positions, width))
        self.blocks = nn.ModuleList(Block(width, config.heads, config.dropout) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, width, bias=False)
        nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, x: Tensor, pooled: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.positions[: x.shape[1]]
        keys = None
        if mask is not None:
            x = x * mask[..., None]
            keys = mask[:, None, None, :]
        for block in self.blocks:
            x = block(x, keys)
        own = self.head(self.norm(x[:, 0]))
        return F.normalize(self.whole(pooled, own) if self.whole else own, dim=-1)


class Beit3(RetrievalModel):
    """Patches (B, R, d_patch) and tokens (B, L) -> unit vectors (B, width); cosine; one symmetric matrix."""

    image_input, text_input = "patches", "tokens"
    recipe = MuonRecipe(batch_size=64, lr=5e-4, weight_decay=0.05, warmup=0.1, schedule="cosine", clip=1.0, captions=3)
    Config = Beit3Config

    def __init__(self, config: Beit3Config) -> None:
        super().__init__(config)
        self.patch = nn.Linear(config.d_patch, config.width)
        self.cls = nn.Parameter(torch.zeros(1, 1, config.width))
        if config.d_states:
            self.word = narrow_states(config.d_states, config.width, config.dropout)
        else:
            self.word = nn.Embedding(config.n_words, config.width, padding_idx=0)
        self.image_tower = Tower(config, config.n_patches + 1, config.d_patch)
        self.text_tower = Tower(config, config.max_words, config.d_states)
        self.temperature = Temperature() if restores(config.original, "temperature") else Temperature(low=0.01)
        unscaled = restores(config.original, "word scale")
        self.scale = 1.0 if config.d_states or unscaled else math.sqrt(config.width)
        if not config.d_states:
            nn.init.normal_(self.word.weight, std=config.width**-0.5 if unscaled else 0.02)

    def begin(self, image: dict[str, np.ndarray], text: dict[str, np.ndarray], caption_image: np.ndarray) -> None:
        if self.config.d_states:
            heads = self.image_tower.whole, self.text_tower.whole
            solve_heads(*heads, image["patches"], text["tokens"], caption_image)

    def encode_image(self, patches: Tensor) -> Tensor:
        cls = self.cls.expand(len(patches), -1, -1)
        return self.image_tower(torch.cat([cls, self.patch(patches)], 1), patches.mean(1))

    def encode_text(self, tokens: Tensor) -> Tensor:
        # the start token, always first, is the CLS of a caption; of states, the first is those of the whole sentence
        def read(words: Tensor) -> Tensor:
            return self.text_tower(self.scale * self.word(words), words[:, 0], word_mask(words))

        return encode_by_length(read, tokens)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        first, place = each_image(batch["image"])
        image, text = self.encode_image(batch["patches"][first])[place], self.encode_text(batch["tokens"])
        logits = image @ text.T / self.temperature()
        return {"loss": contrastive(logits, None if restores(self.config.original, "same image") else batch["image"])}
