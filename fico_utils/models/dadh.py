"""DADH, deep adversarial discrete hashing: codes made from category labels (Bai et al., ICMR 2020).

Triplets weighted by shared labels order the batch across modalities; two critics push text features and codes towards
those of images; target codes, solved in closed form from the labels after each epoch, pull both codes. Pictures with
equal labels get equal codes: instance recall near chance is the method, not a fault.

Scaled down: widths (8192, 4096, 2048 originally), epochs. Weights as released in effect: triplets count 121-fold,
quantisation 1.1-fold. Other differences: differences.csv.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from fico_utils.models.contract import AdversarialRecipe, Batch, RetrievalModel, restores
from fico_utils.models.layers import binarise, linear_layers
from fico_utils.models.losses import triplet_loss
from fico_utils.models.serving import Embeds
from fico_utils.registry import System

VERSION = 1  # raised when the meaning of what is trained changes
ROWS = (
    System(
        id="dadh", name="DADH", paper_names=("DADH",), order=12, model="Dadh", serving=Embeds("hamming"), bits=64,
        family="cg", approach="Dual Hash", attention="None", shade=3, marker="*", line=":",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class DadhConfig:
    """Sizes and the weights of the losses."""

    d_global: int
    d_text: int
    n_images: int  # of the training split: rows of the targets
    n_labels: int
    bits: int = 64
    hidden: tuple[int, ...] = (512, 256, 128)  # widths before the bits; the critic of features sees the last
    triplet: float = 121.0  # weight of the triplets: 10 x 10 x 1.1 x 1.1
    quantisation: float = 1.1
    adversary: float = 1.0
    margin: float = 0.4  # of the triplets
    ridge: float = 1.0  # lambda of the closed-form targets
    mu: float = 1e-5  # mu of the closed-form targets
    penalty: float = 10.0  # weight of the gradient penalty on the critics
    original: bool | tuple[str, ...] = False  # differences that are undone


class Dadh(RetrievalModel):
    """Global features (B, d_global) and Doc2Vec (B, d_text) -> real codes (B, bits) in (-1, 1), binarised by sign."""

    image_input, text_input = "global", "doc2vec"
    image_extra = ("labels",)
    training_only = ("feature_critic.", "code_critic.", "targets", "codes", "labels")
    recipe = AdversarialRecipe(batch_size=128, lr=2e-3, weight_decay=5e-4, schedule="cosine", adversary_lr=5e-4)
    Config = DadhConfig
    later = ("original",)

    def __init__(self, config: DadhConfig) -> None:
        super().__init__(config)
        c = config
        features = c.hidden[-1]
        self.standardise = nn.BatchNorm1d(c.d_global, affine=False)
        self.image_net, self.text_net = (
            nn.Sequential(*linear_layers(width, *c.hidden, norm=True)) for width in (c.d_global, c.d_text)
        )
        self.image_hash, self.text_hash = (nn.Sequential(nn.Linear(features, c.bits), nn.Tanh()) for _ in range(2))
        # one logit each, larger for an image's
        self.feature_critic, self.code_critic = (
            nn.Sequential(*linear_layers(*sizes, 1, initialise=nn.init.kaiming_normal_)[:-1])
            for sizes in ((features, features // 2, features // 4), (c.bits, features // 4))
        )
        self.register_buffer("targets", binarise(torch.randn(c.n_images, c.bits)).float())
        self.register_buffer("codes", torch.zeros(c.n_images, c.bits))
        self.register_buffer("labels", torch.zeros(c.n_images, c.n_labels))

    @property
    def selection(self) -> dict[str, str]:
        return {"metrics": "map@N"} if restores(self.config.original, "checkpoint") else super().selection

    def adversary(self) -> list[nn.Parameter]:
        return [*self.feature_critic.parameters(), *self.code_critic.parameters()]

    def encode_image(self, features: Tensor) -> Tensor:
        return self.image_hash(self.image_net(self.standardise(features)))

    def encode_text(self, features: Tensor) -> Tensor:
        return self.text_hash(self.text_net(features))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Features and codes of both sides, for the pairs with a label: what all losses share."""
        labels = batch["labels"].float()
        kept = labels.any(1)
        image, text = self.image_net(self.standardise(batch["global"])), self.text_net(batch["doc2vec"])
        outputs = {"image_features": image, "text_features": text, "labels": labels, "image": batch["image"]}
        outputs |= {"image_codes": self.image_hash(image), "text_codes": self.text_hash(text)}
        # the adversary of codes teaches the hash layer alone
        outputs["text_codes_alone"] = self.text_hash(text.detach())
        outputs = {name: tensor[kept] for name, tensor in outputs.items()}
        if self.training:
            rows = outputs["image"]
            self.codes[rows] = (outputs["image_codes"] + outputs["text_codes"]).detach()
            self.labels[rows] = outputs["labels"]
        return outputs

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Solve the target codes from the labels: a ridge regression of the old ones, then signs."""
        c, labels = self.config, self.labels
        gram = labels.T @ labels + c.ridge * torch.eye(c.n_labels, device=labels.device)
        projection = torch.linalg.solve(gram, labels.T @ self.targets)
        solved = binarise(labels @ projection + 0.5 * c.mu * self.codes).float()
        # an image that was not seen yet, or has no label, keeps what it has
        self.targets.copy_(torch.where(labels.any(1, keepdim=True), solved, self.targets))

    def adversary_loss(self, outputs: dict[str, Tensor]) -> Tensor:
        o = {name: tensor.detach() for name, tensor in outputs.items()}
        on_features = self._judge(self.feature_critic, o["image_features"], o["text_features"])
        return on_features + self._judge(self.code_critic, o["image_codes"], o["text_codes"])

    def _judge(self, judge: nn.Module, image: Tensor, text: Tensor) -> Tensor:
        """Cross entropy of telling images' (1) from captions' (0), and how far the slope between them is from 1."""
        share = torch.rand_like(image)
        between = (share * image + (1 - share) * text).requires_grad_()
        (slope,) = torch.autograd.grad(judge(between).sum(), between, create_graph=True)
        penalty = (slope.norm(dim=1) - 1).square()
        return _mean(F.softplus(-judge(image))) + _mean(F.softplus(judge(text))) + self.config.penalty * _mean(penalty)

    def loss(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        c, o = self.config, outputs
        image, text = o["image_codes"], o["text_codes"]
        cosine = F.normalize(image, dim=1) @ F.normalize(text, dim=1).T
        ordered = triplet_loss(cosine, o["labels"], c.margin) + triplet_loss(cosine.T, o["labels"], c.margin)
        targets = self.targets[o["image"]]
        quantised = (targets - image).square().sum() + (targets - text).square().sum()
        fooled = _mean(F.softplus(-_frozen(self.feature_critic, o["text_features"])))
        fooled = fooled + _mean(F.softplus(-_frozen(self.code_critic, o["text_codes_alone"])))
        terms = {"triplet": c.triplet * ordered, "quantisation": c.quantisation * quantised}
        terms["adversary"] = c.adversary * fooled
        return {"loss": sum(terms.values()), **terms}


def _frozen(judge: nn.Module, x: Tensor) -> Tensor:
    """The judge's logits, differentiable in `x` but not in the judge."""
    return functional_call(judge, {name: p.detach() for name, p in judge.named_parameters()}, (x,))


def _mean(x: Tensor) -> Tensor:
    """The mean, 0 of nothing."""
    return x.sum() / max(1, x.numel())
