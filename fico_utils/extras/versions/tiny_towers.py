"""Golden cases of the features that pretrained towers give: small networks with random weights read a few items."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from fico_utils.data.text import Vocabulary
from fico_utils.extras.pretrained.base import Pictures, Preparation
from fico_utils.extras.towers import features

TEXTS = ("a red cat", "two small dogs and the sun", "the sun")
_PROCESSOR = {"do_rescale": True, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}


def tower_pictures() -> dict[str, np.ndarray]:
    from PIL import Image
    from transformers import EfficientNetConfig

    from fico_utils.extras.towers.lite import EfficientNetLite

    torch.manual_seed(0)
    small = {"in_channels": (32, *(8,) * 6), "out_channels": (8,) * 7, "num_block_repeats": (1,) * 7}
    config = EfficientNetConfig(
        width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280, hidden_act="relu6", **small
    )
    config.depthwise_padding = []
    shades = np.random.default_rng(0).integers(0, 256, (2, 8, 6, 3), np.uint8).repeat(16, 1).repeat(16, 2)

    def cut(images: list, **_: Any) -> dict[str, np.ndarray]:
        return {"pixel_values": np.stack([np.asarray(image).transpose(2, 0, 1) for image in images])}

    processor = SimpleNamespace(**_PROCESSOR)
    preparation = Preparation(processor)
    preparation.processor = cut
    pictures = Pictures(2, lambda rows: [Image.fromarray(shades[row]) for row in rows], preparation)
    network = EfficientNetLite(config).eval()
    for part in network.modules():  # with the numbers that they begin with, nothing of a picture is left at the end
        if isinstance(part, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(part.weight)
        elif isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(part.weight)
    seen = features.see_pictures(network, pictures)
    return {"patches": seen["patches"][:, ::5, ::80], "global": seen["global"][:, ::40]}


def tower_regions() -> dict[str, np.ndarray]:
    cells = np.random.default_rng(0).standard_normal((4, 9, 6)) * np.arange(1, 7)
    return {"regions": features.reduce_cells(cells, *features.fit_reduction(cells))}


def tower_words() -> dict[str, np.ndarray]:
    from transformers import BertConfig, BertModel

    vocabulary = Vocabulary(TEXTS, least=1)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2}
    network = BertModel(BertConfig(vocab_size=len(vocabulary), **sizes)).eval()

    def tokenizer(texts: list[str], **_: Any) -> dict[str, torch.Tensor]:
        tokens = torch.from_numpy(vocabulary.encode(texts)).long()
        return {"input_ids": tokens, "attention_mask": (tokens != 0).long()}

    return {"words": features.read_words(network, tokenizer, TEXTS)}
