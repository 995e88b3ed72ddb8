"""Golden cases of what all systems share: the loop of training, and encoding, on a model of two linear maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fico_utils.golden import golden


@dataclass(frozen=True)
class LinearConfig:
    """Widths of both inputs and of the embedding."""

    d_image: int = 6
    d_text: int = 5
    d: int = 4


def linear_model(recipe: Any, adversarial: bool = False) -> Any:
    """Two linear maps into one space, with a contrastive loss, and an adversary where one is asked for."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from fico_utils.models.contract import FusionModel
    from fico_utils.models.losses import contrastive

    class Linear(FusionModel):
        image_input, text_input = "global", "doc2vec"
        adds_cosine = True

        def __init__(self, config: LinearConfig) -> None:
            super().__init__(config)
            self.image, self.text = nn.Linear(config.d_image, config.d), nn.Linear(config.d_text, config.d)
            self.judge = nn.Linear(config.d, 1)

        def encode_image(self, features: Any) -> Any:
            return F.normalize(self.image(features), dim=-1)

        def encode_text(self, features: Any) -> Any:
            return F.normalize(self.text(features), dim=-1)

        def image_context(self, features: Any) -> Any:
            return features[:, None]

        def text_context(self, features: Any) -> Any:
            return features[:, None]

        def match(self, image: Any, text: Any) -> Any:
            return (self.image(image[:, 0]) * self.text(text[:, 0])).sum(1)

        def adversary(self) -> list:
            return list(self.judge.parameters()) if adversarial else []

        def adversary_loss(self, outputs: Any) -> Any:
            told = self.judge(self.encode_image(outputs["global"]).detach())
            return (
                F.softplus(-told).mean() + F.softplus(self.judge(self.encode_text(outputs["doc2vec"]).detach())).mean()
            )

        def loss(self, outputs: Any) -> dict[str, Any]:
            image, text = self.encode_image(outputs["global"]), self.encode_text(outputs["doc2vec"])
            loss = contrastive(10 * image @ text.T, outputs["image"])
            fooled = self.judge(text).mean() if adversarial else 0.0
            return {"loss": loss + fooled, "contrast": loss}

    torch.manual_seed(0)
    model = Linear(LinearConfig())
    model.recipe = recipe
    return model


def linear_inputs() -> Any:
    """Pairs for `linear_model`."""
    from fico_utils.models.training import Inputs

    rng = np.random.default_rng(0)
    caption_image = np.repeat(np.arange(12), np.tile([1, 2, 4], 4))
    image = rng.standard_normal((12, 6)).astype(np.float16)
    text = (image[caption_image, :5] + 0.5 * rng.standard_normal((len(caption_image), 5))).astype(np.float32)
    return Inputs({"global": image}, {"doc2vec": text}, caption_image, "golden")


@golden("training", 1e-2)
def training() -> dict[str, np.ndarray]:
    """Loss and weights after a few epochs under three recipes, the order of pairs, and schedules."""
    from fico_utils.models import training as loop
    from fico_utils.models.contract import AdversarialRecipe, TrainingRecipe
    from fico_utils.models.muon import MuonRecipe

    common = {"batch_size": 5, "lr": 0.01, "weight_decay": 0.1}
    recipes = {
        "adam": TrainingRecipe(**common, warmup=0.2, schedule="cosine", clip=0.5),
        "muon": MuonRecipe(**common, captions=2, schedule="step"),
        "adversary": AdversarialRecipe(**common, adversary_lr=0.02),
    }
    out, data = {}, linear_inputs()
    for name, recipe in recipes.items():
        model = linear_model(recipe, name == "adversary")
        scores = iter([0.1, 0.9, 0.3, 0.2])
        images = 6 if name == "muon" else None
        log = loop.fit(model, data, seed=1, epochs=4, validate=lambda m, s=scores: next(s), images=images, label=name)
        out[f"{name}.loss"] = np.array([row["loss"] for row in log])
        out[f"{name}.best"] = np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])
        steps = loop.batches(data.caption_image, recipe, 3, 1, images)
        out[f"{name}.order"] = np.concatenate(steps)
        out[f"{name}.rate"] = np.array([loop.schedule(recipe, step, 10) for step in range(10)])
    return out


@golden("encoding", 1e-4)
def encoding() -> dict[str, np.ndarray]:
    """Embeddings, codes, similarities and reranked scores of an untrained model."""
    from fico_utils.models import encoding as encoder
    from fico_utils.models.contract import TrainingRecipe

    model, data = linear_model(TrainingRecipe(4, 0.1)).eval(), linear_inputs()
    stored = encoder.encode(model, data, batch_size=5)
    sim = encoder.late_scores(model, **stored, rows=5)
    codes = {f"codes.{side}": encoder.hash_codes(array) for side, array in stored.items()}
    return {**stored, **codes, "late": sim, **encoder.rerank(model, data, sim, 3)}
