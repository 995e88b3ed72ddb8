"""VSRN, visual semantic reasoning (Li et al., ICCV 2019): one vector a picture, made by reasoning over its regions.

In residual graph blocks every region gathers from all others, by affinities theta(v) phi(v)^T / R; a GRU then reads
the regions, and another the caption. In training a captioner must also be able to say the caption from the regions.

As in the original, regions are normalised across the *regions* (its helper takes the wrong axis), the hinge is a sum
and the captions' likelihood a mean over the batch, and the captioner must say padding after the last word.

Scaled down: widths, epochs, batch. Other differences: differences.csv.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from fico_utils.models.contract import Batch, MuonRecipe, RetrievalModel, restores
from fico_utils.models.layers import each_image, linear_layer, trim_padding, word_mask
from fico_utils.models.losses import hinge_loss
from fico_utils.models.serving import Embeds
from fico_utils.registry import System

VERSION = 1  # raised when the meaning of what is trained changes
ROWS = (
    System(
        id="vsrn", name="VSRN", paper_names=("VSRN",), order=7, model="Vsrn", serving=Embeds("cosine"),
        family="fg", approach="Global", attention="None", shade=1, marker="v", line="--",
    ),
)  # fmt: skip
#: Steps that the memories begin with: the regions of a picture, and the words of most captions.
N_REGIONS, WORDS = 36, 12


@dataclass(frozen=True)
class VsrnConfig:
    """Sizes, where regions are normalised, and the weights of the losses."""

    d_region: int
    n_words: int  # of the vocabulary
    d: int = 256  # joint width; 2048 originally
    d_word: int = 128  # 300 originally
    blocks: int = 4  # graph blocks
    axis: int = 1  # of the region norm in (B, R, d): 1 across regions, as the original's code, -1 across channels
    normalise_regions: bool = False  # that norm before the graph blocks too (the original's MS-COCO setting)
    batch_norm: bool = False  # one on the picture's vector (the original's Flickr30K setting)
    d_caption: int = 128  # width of the captioner; 512 originally
    dropout: float = 0.2  # of the captioner
    margin: float = 0.2
    captioning: float = 0.25  # weight of the captions' likelihood; 1 originally, with batches of 128
    original: bool | tuple[str, ...] = False  # differences that are undone


@torch.no_grad()
def lengthen_memory(gru: nn.GRU, steps: float) -> None:
    """Let a GRU begin with a memory of so many steps: its update gate starts where a state loses 1/e of itself in them.

    As it is made it keeps half of its state at each step, so the last of 36 regions speaks for the picture. On
    picto_diverse six passes of training reached a mean validation recall of 0.47 without this and 0.68 with it.
    """
    hidden = gru.hidden_size
    gru.bias_ih_l0[hidden : 2 * hidden] += math.log(max(steps - 1.0, 1.0))


class GraphBlock(nn.Module):
    """Regions (B, R, d) plus what each gathers from all of them; the identity at initialisation."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.project = nn.Linear(d, 3 * d)  # theta, phi and g
        self.out = nn.Linear(d, d)
        self.norm = nn.BatchNorm1d(d)
        nn.init.zeros_(self.norm.weight)

    def forward(self, regions: Tensor) -> Tensor:
        theta, phi, values = self.project(regions).chunk(3, -1)
        gathered = self.out(theta @ phi.transpose(1, 2) @ values / regions.shape[1])
        return regions + self.norm(gathered.flatten(0, 1)).view_as(regions)


class Captioner(nn.Module):
    """Regions (B, R, d) and a caption (B, L) -> log-likelihood of each next word given the words before it."""

    def __init__(self, config: VsrnConfig) -> None:
        super().__init__()
        d = config.d_caption
        self.reduce = nn.Linear(config.d, d)
        self.encoder = nn.GRU(d, d, batch_first=True)
        self.word = nn.Embedding(config.n_words, config.d_word)
        self.decoder = nn.GRUCell(config.d_word + d, d)
        self.of_region, self.of_state = nn.Linear(d, d), nn.Linear(d, d, bias=False)
        self.attention = nn.Linear(d, 1, bias=False)
        self.out = nn.Linear(d, config.n_words)
        self.dropout = nn.Dropout(config.dropout)
        # what the decoder reads loses numbers, or what it has said
        self.drop_read, self.drop_said = self.dropout, nn.Identity()
        if not restores(config.original, "dropout"):
            self.drop_read, self.drop_said = self.drop_said, self.drop_read

    def forward(self, regions: Tensor, tokens: Tensor) -> Tensor:
        """Logits (B, L, n_words) of the token after each of `tokens`, all of which are given (teacher forcing)."""
        seen, state = self.encoder(self.dropout(self.reduce(regions)))
        state, keys, states = state[0], self.of_region(seen), []
        for word in self.word(tokens).unbind(1):
            weights = self.attention(torch.tanh(keys + self.of_state(state)[:, None])).softmax(1)  # (B, R, 1)
            state = self.decoder(self.drop_read(torch.cat([word, (weights * seen).sum(1)], 1)), state)
            states.append(state)
        return self.out(self.drop_said(torch.stack(states, 1)))

    def loss(self, regions: Tensor, tokens: Tensor) -> Tensor:
        """Negative log-likelihood of captions and the padding after each, summed over tokens, mean over the batch."""
        tokens = trim_padding(tokens)
        following = F.pad(tokens[:, 1:], (0, 1))
        present = word_mask(tokens)
        logits = self(regions, tokens)
        return F.cross_entropy(logits[present], following[present], reduction="sum") / len(tokens)


class Vsrn(RetrievalModel):
    """Regions (B, R, d_region) and tokens (B, L) -> unit vectors (B, d); the order of the regions counts."""

    image_input, text_input = "regions", "tokens"
    training_only = ("captioner.",)
    recipe = MuonRecipe(batch_size=64, lr=1e-3, warmup=0.1, schedule="cosine", clip=2.0, captions=5)
    Config = VsrnConfig

    @classmethod
    def original_sizes(cls, corpus: str) -> dict[str, dict[str, Any]]:
        norms = {"normalise_regions": corpus == "mscoco", "batch_norm": corpus != "mscoco"}
        return {"norms": norms, "captioning": {"captioning": 1.0}}

    def __init__(self, config: VsrnConfig) -> None:
        super().__init__(config)
        c = config
        self.region = linear_layer(c.d_region, c.d, nn.init.xavier_uniform_)
        self.graph = nn.Sequential(*(GraphBlock(c.d) for _ in range(c.blocks)))
        self.reader = nn.GRU(c.d, c.d, batch_first=True)
        self.norm = nn.BatchNorm1d(c.d) if c.batch_norm else nn.Identity()
        self.word = nn.Embedding(c.n_words, c.d_word)
        nn.init.uniform_(self.word.weight, -0.1, 0.1)
        self.text = nn.GRU(c.d_word, c.d, batch_first=True)
        lengthen_memory(self.reader, N_REGIONS)
        lengthen_memory(self.text, WORDS)
        self.captioner = Captioner(c)

    def reason(self, regions: Tensor) -> Tensor:
        """Regions (B, R, d) after the graph blocks, normalised along the configured axis."""
        regions = self.region(regions)
        if self.config.normalise_regions:
            regions = F.normalize(regions, dim=self.config.axis)
        return F.normalize(self.graph(regions), dim=self.config.axis)

    def read(self, reasoned: Tensor) -> Tensor:
        """Unit vectors (B, d) of pictures, from what `reason` returns."""
        return F.normalize(self.norm(self.reader(reasoned)[1][0]), dim=-1)

    def encode_image(self, regions: Tensor) -> Tensor:
        return self.read(self.reason(regions))

    def encode_text(self, tokens: Tensor) -> Tensor:
        tokens = trim_padding(tokens)
        lengths = word_mask(tokens).sum(1).cpu()
        packed = pack_padded_sequence(self.word(tokens), lengths, batch_first=True, enforce_sorted=False)
        return F.normalize(self.text(packed)[1][0], dim=-1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        first, place = each_image(batch["image"])
        reasoned = self.reason(batch["regions"][first])
        pictures, margin = self.read(reasoned), self.config.margin
        if restores(self.config.original, "negatives"):
            hinge = hinge_loss(pictures @ self.encode_text(batch["tokens"][first]).T, None, margin)
        else:
            scores = pictures[place] @ self.encode_text(batch["tokens"]).T
            # as large as with one caption an image
            hinge = hinge_loss(scores, batch["image"], margin, "violating") * len(first) / len(place)
        caption = self.captioner.loss(reasoned, batch["tokens"][first])
        return {"loss": hinge + self.config.captioning * caption, "hinge": hinge, "caption": caption}
