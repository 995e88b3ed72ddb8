"""Image features: a small convolutional backbone gives every picture 36 region vectors and one global vector.

Bottom-up attention, which SCAN, VSRN and IMRAM read, is a detector trained on the objects and attributes of Visual
Genome. This backbone is trained the same way in small: every cell of a 6 x 6 grid names the object standing in it, its
colour and its size, and the picture its background. The cells of its last feature map are the regions, in reading
order; their mean and maximum are the global vector that the hashing systems read.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fico_utils.data.pictoscenes import BACKGROUND_NAMES, CATEGORY_NAMES, COLOUR_NAMES, SIZE_NAMES, Scene
from fico_utils.progress import show_progress

VERSIONS = {"backbone": 1, "visual_features": 1}
#: Height and width of the pictures that the backbone reads, vectors it makes of one, their width.
SIDE, N_REGIONS, WIDTH = 96, 36, 192
_NAMES = {"category": CATEGORY_NAMES, "colour": COLOUR_NAMES, "size": SIZE_NAMES, "background": BACKGROUND_NAMES}
#: How many values each label of a cell takes, and the picture's background.
CLASSES = {label: len(names) for label, names in _NAMES.items()}


class Backbone(nn.Module):
    """Pictures (B, 3, 96, 96) in [-1, 1] -> feature maps (B, width, 6, 6); `CLASSES` are what it learns to name."""

    width = WIDTH

    def __init__(self) -> None:
        super().__init__()
        early, middle, width = WIDTH // 6, WIDTH // 3, WIDTH

        def conv(wide: int, narrow: int, stride: int = 1, kernel: int = 3) -> list[nn.Module]:
            return [nn.Conv2d(wide, narrow, kernel, stride, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()]

        self.body = nn.Sequential(
            *conv(3, early, 4, kernel=6), *conv(early, early), *conv(early, middle, 2), *conv(middle, middle),
            *conv(middle, width, 2),
        )  # fmt: skip
        # One more category than there are: an empty cell.
        self.heads = nn.ModuleDict({n: nn.Linear(width, count + (n == "category")) for n, count in CLASSES.items()})

    def forward(self, pictures: Tensor) -> Tensor:
        return self.body(pictures.contiguous(memory_format=torch.channels_last))

    def predict(self, maps: Tensor) -> dict[str, Tensor]:
        """Logits of feature maps: (B, 36, n) for each cell label, (B, n) for the background."""
        cells = maps.flatten(2).transpose(1, 2)
        return {n: head(cells.mean(1) if n == "background" else cells) for n, head in self.heads.items()}


def scene_targets(scenes: Sequence[Scene]) -> dict[str, np.ndarray]:
    """Labels that teach the backbone, int64: values index the names that `CLASSES` counts.

    ``category``, ``colour`` and ``size`` of what stands in each cell, row by row (n, 36), -1: no centre there; and the
    ``background`` (n,).
    """
    targets = {field: np.full((len(scenes), N_REGIONS), -1, np.int64) for field in ("category", "colour", "size")}
    for row, scene in enumerate(scenes):
        for thing in scene.things:
            for field, target in targets.items():
                target[row, thing.cell] = getattr(thing, field)
    return {**targets, "background": np.array([scene.background for scene in scenes], np.int64)}


def to_tensor(pictures: np.ndarray) -> Tensor:
    """Pictures (B, H, W, 3) uint8 -> (B, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def train_backbone(
    images: Sequence, targets: dict[str, np.ndarray], *, seed: int, epochs: int, batch_size: int = 24, lr: float = 4e-3
) -> tuple[Backbone, list[dict[str, float]]]:
    """A trained backbone and its log, one row an epoch.

    ``images[indices]`` gives uint8 (b, H, W, 3); `targets` are those of `scene_targets`.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = Backbone().to(memory_format=torch.channels_last)
    pictures = images[: len(images)]  # rendered or read once, not once an epoch
    steps = epochs * -(-len(images) // batch_size)
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.15)
    log = []
    with show_progress(description="backbone", total=steps) as bar:
        for epoch in range(epochs):
            total = 0.0
            order = rng.permutation(len(images))
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                shown = {name: torch.from_numpy(target[rows]) for name, target in targets.items()}
                loss = _loss(model, to_tensor(pictures[rows]), shown)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                schedule.step()
                total += loss.item() * len(rows)
                bar.update()
            log.append({"epoch": epoch + 1, "loss": total / len(order)})
            bar.set_postfix(loss=f"{log[-1]['loss']:.3f}")
    return model.eval(), log


def _loss(model: Backbone, pictures: Tensor, targets: dict[str, Tensor]) -> Tensor:
    """Cross entropy of all labels, summed over cells, mean over pictures; an empty cell has no attributes."""
    loss = torch.zeros(())
    for name, logits in model.predict(model(pictures)).items():
        target = targets[name]
        if name == "category":
            target = torch.where(target < 0, CLASSES["category"], target)
        loss = loss + F.cross_entropy(logits.flatten(0, -2), target.flatten(), reduction="sum", ignore_index=-1)
    return loss / len(pictures)


@torch.inference_mode()
def visual_features(model: Backbone, images: Sequence, batch_size: int = 64) -> dict[str, np.ndarray]:
    """Features of pictures: ``regions`` (n, 36, D) and ``global`` (n, 2 D), float16.

    ``images[i:j]`` gives uint8 (b, H, W, 3); pictures are rendered or read batch by batch.
    """
    regions = np.empty((len(images), N_REGIONS, model.width), np.float16)
    for start in range(0, len(images), batch_size):
        maps = model(to_tensor(images[start : start + batch_size]))
        regions[start : start + batch_size] = maps.flatten(2).transpose(1, 2).numpy()
    return {"regions": regions, "global": global_features(regions)}


def global_features(regions: np.ndarray, block: int = 256) -> np.ndarray:
    """Mean and maximum over the regions of each image, (n, 2 D) float16; a block of images is read at a time."""
    out = np.empty((len(regions), 2 * regions.shape[-1]), np.float16)
    for start in range(0, len(regions), block):
        part = np.asarray(regions[start : start + block], np.float32).reshape(-1, *regions.shape[1:])
        out[start : start + block] = np.concatenate([part.mean(1), part.max(1)], 1)
    return out
