"""ADV, near-binary codes of 64 or 2048 bits, robust by adversarial captions (Li, Mu, Zhuang et al., ICME 2021).

"Adversarial" means captions, there is no discriminator: those said in other words are pulled to the picture, those with
one thing wrong pushed below it. A softmax over the bits, less its lower median, then tanh, makes every code balanced.

Scaled down: widths; a trained embedding for the frozen BERT; rewritings by rules (data/rewriting.py), some a step.
Other differences: differences.csv.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fico_utils.models.contract import Batch, RetrievalModel, TrainingRecipe, restores
from fico_utils.models.layers import trim_padding, word_mask
from fico_utils.models.losses import angular_loss, hinge_loss
from fico_utils.models.serving import Embeds
from fico_utils.registry import System

VERSION = 1  # raised when the meaning of what is trained changes
ROWS = (
    System(
        id="adv_2048", name="ADV 2048-bit", paper_names=("ADV2048bit",), order=9, model="Adv",
        serving=Embeds("hamming"), bits=2048,
        family="cg", approach="Dual", attention="None", shade=0, marker="P",
    ),
    System(
        id="adv_64", name="ADV 64-bit", paper_names=("ADV64bit",), order=10, model="Adv",
        serving=Embeds("hamming"), bits=64,
        family="cg", approach="Dual", attention="None", shade=1, marker="X", line="--",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class AdvConfig:
    """Sizes, slopes and the weight of every loss term; a weight of 0 switches its term off."""

    d_region: int
    n_words: int  # of the vocabulary
    n_regions: int = 36
    bits: int = 64  # even
    width: int = 128  # of the image side's transformer layer; 256 originally, with 16 heads and 2048
    heads: int = 4
    ffn: int = 256
    d_word: int = 64  # 768 originally
    channels: int = 128  # outputs of each convolution; 512 originally
    dropout: float = 0.0
    slope: float = 1.0  # both sides' tanh rises with slope x bits; originally 10 (text) and 100 (image)
    margin: float = 0.2  # of the hinge
    adversary_margin: float = 0.5  # of captions with one thing wrong
    angular: float = 0.5  # weights of the terms beside the hinge
    norm: float = 0.01
    rephrase: float = 0.5
    adversary: float = 0.5
    decay_epochs: int = 5  # after so many the angular weight falls to a tenth, after the fourth time to 0
    adversary_epoch: int = 0  # first epoch in which rewritten captions count
    n_rephrased: int = 1  # rewritten captions drawn for each pair in a step
    n_adversarial: int = 2
    original: bool | tuple[str, ...] = False  # differences that are undone


#: How near to a caption one with something wrong may come, as the release has it for short codes.
ALLOWED = 0.8


def reads_short_codes(config: AdvConfig) -> bool:
    """Whether a model is the release's for short codes, which screen: it has one of its own for them, of 256 bits."""
    return config.bits <= 256 and restores(config.original, "short codes")


def _standardise(config: AdvConfig, width: int) -> nn.Module:
    """What (N, width) passes before the layer of bits: mean 0 and variance 1 over the batch."""
    return nn.Identity() if restores(config.original, "standardisation") else nn.BatchNorm1d(width, affine=False)


class TextCnn(nn.Module):
    """Tokens (B, L) -> logits of the bits (B, bits): convolutions of widths 1, 2, 3, their maxima, a linear layer."""

    def __init__(self, config: AdvConfig) -> None:
        super().__init__()
        self.word = nn.Embedding(config.n_words, config.d_word, padding_idx=0)
        self.convolutions = nn.ModuleList(nn.Linear(k * config.d_word, config.channels) for k in (1, 2, 3))
        self.dropout = nn.Dropout(config.dropout)
        self.norm = _standardise(config, 3 * config.channels)
        self.bits = nn.Linear(3 * config.channels, config.bits)

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        x = self.word(F.pad(tokens, (0, 2)))
        mask = word_mask(tokens)[..., None]
        maxima = []
        for k, convolution in enumerate(self.convolutions, 1):
            windows = torch.cat([x[:, i : i + length] for i in range(k)], -1)
            maxima.append((F.relu(convolution(windows)) * mask).amax(1))
        return self.bits(self.dropout(self.norm(torch.cat(maxima, -1))))


class RegionEncoder(nn.Module):
    """Regions (B, R, d_region) -> the mean over regions of their shares of the bits (B, bits).

    Logits are averaged where `reads_short_codes`.
    """

    def __init__(self, config: AdvConfig) -> None:
        super().__init__()
        self.project = nn.Linear(config.d_region, config.width)
        positions = torch.zeros(config.n_regions, config.width)
        self.positions = None if restores(config.original, "positions") else nn.Parameter(positions)
        self.shares = not reads_short_codes(config)
        self.layer = nn.TransformerEncoderLayer(
            config.width, config.heads, config.ffn, config.dropout, activation="gelu", batch_first=True
        )
        self.norm = _standardise(config, config.width)
        self.bits = nn.Linear(config.width, config.bits)

    def forward(self, regions: Tensor) -> Tensor:
        x = self.project(regions)
        if self.positions is not None:
            x = x + self.positions
        x = self.norm(self.layer(x).flatten(0, 1)).unflatten(0, x.shape[:2])
        logits = self.bits(x)
        return (logits.softmax(-1) if self.shares else logits).mean(1)


def near_binary(shares: Tensor, slope: float) -> Tensor:
    """Codes (..., bits) of shares that the bits have of 1: tanh of how far each lies above their lower median."""
    above = shares - (shares.median(-1, keepdim=True).values + 1e-8)  # the median bit itself is negative
    return torch.tanh(slope * above)


def balance_codes(codes: Tensor, order: Tensor) -> Tensor:
    """Codes with the upper half by `order` positive, the others negative, none of them 0: ready to be stored by sign.

    In exact arithmetic the codes are so already; shares that differ by less than a float can hold, or tie, are not.
    """
    ranked = order.argsort(dim=-1, descending=True, stable=True)
    size = codes.abs().clamp_min(torch.finfo(codes.dtype).tiny)
    sign = torch.full_like(codes, -1.0).scatter_(-1, ranked[..., : codes.shape[-1] // 2], 1.0)
    return size * sign


class Adv(RetrievalModel):
    """Regions (B, R, d_region) and tokens (B, L) -> codes (B, bits) in (-1, 1), half of them positive, none 0."""

    image_input, text_input = "regions", "tokens"
    text_extra = ("rephrased", "adversarial")
    recipe = TrainingRecipe(batch_size=128, lr=1e-3, warmup=0.05, schedule="cosine", clip=2.0)
    Config = AdvConfig

    def __init__(self, config: AdvConfig) -> None:
        super().__init__(config)
        self.image_net = RegionEncoder(config)
        self.text_net = TextCnn(config)
        scaled = config.slope * config.bits
        self.short = reads_short_codes(config)
        theirs = (10.0 if self.short else 100.0, 10.0)
        self.image_slope, self.text_slope = theirs if restores(config.original, "slopes") else (scaled, scaled)
        if restores(config.original, "rate"):
            self.recipe = replace(self.recipe, lr=1e-4, warmup=0.0, schedule="thirds")
        if restores(config.original, "clipping"):
            self.recipe = replace(self.recipe, clip=0.0)
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        c = self.config
        self.angular_weight = c.angular * 0.1 ** (epoch // c.decay_epochs) if epoch <= 4 * c.decay_epochs else 0.0
        self.rewritten = epoch >= c.adversary_epoch

    def encode_image(self, regions: Tensor) -> Tensor:
        shares = self.image_net(regions)
        return balance_codes(near_binary(shares, self.image_slope), shares)

    def encode_text(self, tokens: Tensor) -> Tensor:
        logits = self.text_net(trim_padding(tokens))
        return balance_codes(near_binary(logits.softmax(-1), self.text_slope), logits)

    def _text(self, tokens: Tensor) -> Tensor:
        """Unit codes (..., bits) of tokens (..., L)."""
        shares = self.text_net(trim_padding(tokens.flatten(0, -2))).softmax(-1)
        return F.normalize(near_binary(shares, self.text_slope), dim=-1).unflatten(0, tokens.shape[:-1])

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        c, index = self.config, None if restores(self.config.original, "same image") else batch["image"]
        image = F.normalize(near_binary(self.image_net(batch["regions"]), self.image_slope), dim=-1)
        text = self._text(batch["tokens"])
        scores, meant = image @ text.T, text if self.short else image
        terms = {"hinge": hinge_loss(scores, index, c.margin, "hardest" if restores(c.original, "hinge") else "tenth")}
        if self.angular_weight:
            terms["angular"] = self.angular_weight * angular_loss(image, text, index)
        if c.norm:
            matrices = [weight for weight in self.image_net.parameters() if weight.ndim > 1]
            if restores(c.original, "norm"):  # queries, keys and values have a matrix each
                joint = self.image_net.layer.self_attn.in_proj_weight
                matrices = [part for weight in matrices for part in (weight.chunk(3) if weight is joint else [weight])]
            norms = [weight.norm() for weight in matrices]
            terms["norm"] = c.norm * torch.stack(norms).sum()
        if c.rephrase and self.rewritten:
            same = self._text(self._drawn(batch["rephrased"], c.n_rephrased))
            terms["rephrase"] = c.rephrase * (1 - (meant[:, None] * same).sum(-1)).sum()
        if c.adversary and self.rewritten:
            wrong = self._text(self._drawn(batch["adversarial"], c.n_adversarial))
            above = (meant[:, None] * wrong).sum(-1)
            above = above - ALLOWED if self.short else above - scores.diagonal()[:, None] + c.adversary_margin
            terms["adversary"] = c.adversary * above.clamp_min(0).sum()
        return {"loss": sum(terms.values()), **terms}

    def _drawn(self, rewritten: Tensor, n: int) -> Tensor:
        """Some of the rewritings (B, all, L) of each caption, as many as asked for: other ones in every step."""
        if not self.training:
            return rewritten[:, :n]
        return rewritten[:, torch.randperm(rewritten.shape[1], device=rewritten.device)[:n]]
