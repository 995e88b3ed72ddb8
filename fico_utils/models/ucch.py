"""UCCH, unsupervised contrastive cross-modal hashing (Hu et al., TPAMI 2023).

Two small networks map global features to bits. Every image is its own class, told from the binary keys of a memory
bank; a ranking loss over the batch turns easy negatives down by a shift instead of leaving them out.

Scaled down: hidden width, keys. Other differences: differences.csv.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fico_utils.models.contract import Batch, RetrievalModel, TrainingRecipe, restores
from fico_utils.models.layers import binarise, linear_layers
from fico_utils.models.losses import same_image
from fico_utils.models.serving import Embeds
from fico_utils.registry import System

VERSION = 1  # raised when the meaning of what is trained changes
ROWS = (
    System(
        id="ucch", name="UCCH", paper_names=("UCCH",), order=11, model="Ucch", serving=Embeds("hamming"), bits=64,
        family="cg", approach="Dual Hash", attention="None", shade=2, marker="h", line="-.",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class UcchConfig:
    """Sizes and the weights of the two losses."""

    d_global: int
    d_text: int
    n_images: int  # of the training split: rows of the memory
    bits: int = 64
    hidden: int = 512  # 8192 originally
    n_keys: int = 4096  # negatives drawn from the memory; at most `n_images`
    temperature: float = 0.9  # T of the publication
    momentum: float = 0.4  # delta
    margin: float = 0.2  # m
    beta: float = 0.7  # weight of the memory loss
    shift: float = 0.1  # how far easy negatives are turned down
    original: bool | tuple[str, ...] = False  # differences that are undone


class Ucch(RetrievalModel):
    """Global features (B, d_global) and Doc2Vec (B, d_text) -> real codes (B, bits), binarised by sign."""

    image_input, text_input = "global", "doc2vec"
    training_only = ("memory",)
    recipe = TrainingRecipe(batch_size=256, lr=1e-3, weight_decay=1e-6, clip=1.0)
    Config = UcchConfig

    def __init__(self, config: UcchConfig) -> None:
        super().__init__(config)
        c = config
        self.image_net, self.text_net = (
            nn.Sequential(*linear_layers(*sizes)[:-1], nn.Tanh())
            for sizes in ((c.d_global, c.hidden, c.hidden, c.bits), (c.d_text, c.hidden, c.bits))
        )
        s = 1 / math.sqrt(c.bits / 3)
        self.register_buffer("memory", F.normalize(torch.sign(2 * s * torch.randn(c.n_images, c.bits) - s)))
        self.warm_up = True

    @property
    def selection(self) -> dict[str, str]:
        by_labels = {"metrics": "map@N", "no_relevant": "skip"}
        return by_labels if restores(self.config.original, "checkpoint") else super().selection

    def start_epoch(self, epoch: int) -> None:
        self.warm_up = epoch < 1

    def encode_image(self, features: Tensor) -> Tensor:
        return F.normalize(self.image_net(features), dim=-1)

    def encode_text(self, features: Tensor) -> Tensor:
        return F.normalize(self.text_net(features), dim=-1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        image, text = self.encode_image(batch["global"]), self.encode_text(batch["doc2vec"])
        keys = self._keys(image, text, batch["image"])
        memory = self._memory_loss(image, keys) + self._memory_loss(text, keys)
        ranking = self._ranking(image @ text.T, batch["image"])
        if self.training:
            self._remember(image, text, batch["image"])
        beta = self.config.beta
        return {"loss": beta * memory + (1 - beta) * ranking, "memory": memory, "ranking": ranking}

    @torch.no_grad()
    def _keys(self, image: Tensor, text: Tensor, index: Tensor) -> Tensor:
        """Binary keys (B + K, bits): each pair's own, then the negatives; in the warm-up, the batch's alone."""
        if self.warm_up:
            keys = (image + text) / 2
        else:
            drawn = torch.randint(len(self.memory), (min(self.config.n_keys, len(self.memory)),), device=image.device)
            keys = torch.cat([self.memory[index], self.memory[drawn]])
        return binarise(keys).to(image.dtype)

    def _memory_loss(self, codes: Tensor, keys: Tensor) -> Tensor:
        """Cross entropy of telling each pair's own key from the negatives, mean over the batch."""
        logits = codes @ keys.T / (self.config.temperature * math.sqrt(self.config.bits))
        own = torch.arange(len(codes), device=codes.device)
        if not self.warm_up:  # the other pairs' own keys are no negatives, only the drawn ones are
            others = torch.zeros_like(logits, dtype=torch.bool)
            others[:, : len(codes)] = ~torch.eye(len(codes), dtype=torch.bool, device=codes.device)
            logits = logits.masked_fill(others, float("-inf"))
        return F.cross_entropy(logits, own)

    def _ranking(self, scores: Tensor, index: Tensor) -> Tensor:
        """Contrastive loss whose easy negatives (below the positive by the margin) are shifted down."""
        c = self.config
        if not restores(c.original, "same image"):
            scores = scores.masked_fill(same_image(index), -1e4)
        positive = scores.diagonal()

        def side(s: Tensor) -> Tensor:
            kept = torch.where(s >= positive[:, None] - c.margin, s, s - c.shift)
            return (torch.logsumexp(kept, 1) - positive + c.margin).mean()

        return side(scores) + side(scores.T)

    @torch.no_grad()
    def _remember(self, image: Tensor, text: Tensor, index: Tensor) -> None:
        """Move the pairs' memory rows towards their fused outputs; in the warm-up, overwrite them."""
        delta = 0.0 if self.warm_up else self.config.momentum
        fused = F.normalize((image + text) / 2, dim=-1)
        self.memory[index] = F.normalize(delta * self.memory[index] + (1 - delta) * fused, dim=-1)
