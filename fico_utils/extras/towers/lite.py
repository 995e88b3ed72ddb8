"""EfficientNet-Lite: the EfficientNet of transformers without squeeze-and-excitation, with a stem and head that stay.

The Lite variants (Liu, 2020) are ImageNet classifiers made for phones: ReLU6 in place of swish, and in place of the
whole table that EfficientNet scales, the first and the last stage keep their depth and the stem and the head their
width. All of that but the missing squeeze-and-excitation can be said in the configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor, nn
from transformers import EfficientNetConfig, EfficientNetModel

#: Variant -> pixels a side of its pictures, widths and depths of its seven stages.
VARIANTS = {
    "lite0": (224, (16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1)),
    "lite2": (260, (16, 24, 48, 88, 120, 208, 352), (1, 3, 3, 4, 4, 5, 1)),
}
STEM, HEAD = 32, 1280
#: What the published state dicts call a part -> what transformers calls it; within a block, then outside of all.
_IN_BLOCK = {
    "_expand_conv": "expansion.expand_conv", "_bn0": "expansion.expand_bn",
    "_depthwise_conv": "depthwise_conv.depthwise_conv", "_bn1": "depthwise_conv.depthwise_norm",
    "_project_conv": "projection.project_conv", "_bn2": "projection.project_bn",
}  # fmt: skip
_OUTSIDE = {
    "_conv_stem": "embeddings.convolution", "_bn0": "embeddings.batchnorm",
    "_conv_head": "encoder.top_conv", "_bn1": "encoder.top_bn",
}  # fmt: skip
_CLASSIFIER = "_fc."


class EfficientNetLite(EfficientNetModel):
    """Pictures (B, 3, H, W) -> ``last_hidden_state`` (B, 1280, H / 32, W / 32), rounded up, and its mean."""

    def __init__(self, config: EfficientNetConfig) -> None:
        super().__init__(config)
        for block in self.encoder.blocks:
            block.squeeze_excite = nn.Identity()


def lite_config(variant: str) -> EfficientNetConfig:
    """The configuration of a variant of `VARIANTS`."""
    size, widths, depths = VARIANTS[variant]
    config = EfficientNetConfig(
        width_coefficient=1.0, depth_coefficient=1.0, image_size=size, in_channels=(STEM, *widths[:-1]),
        out_channels=widths, num_block_repeats=depths, hidden_act="relu6", hidden_dim=HEAD,
    )  # fmt: skip
    config.depthwise_padding = list(_evenly_padded(config))
    config.architectures = [EfficientNetLite.__name__]
    return config


def _evenly_padded(config: EfficientNetConfig) -> Iterator[int]:
    """Blocks that halve a map of an odd side: TensorFlow, which trained the weights, then pads all sides alike."""
    side, block = -(-config.image_size // 2), 0
    for stride, depth in zip(config.strides, config.num_block_repeats, strict=True):
        if stride == 2 and side % 2:
            yield block
        side, block = -(-side // stride), block + depth


def convert_weights(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a published state dict by the names of transformers, without those of the classifier."""

    def renamed(name: str) -> str:
        match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if match and match[2] in _IN_BLOCK:
            return f"encoder.blocks.{match[1]}.{_IN_BLOCK[match[2]]}.{match[3]}"
        part, _, rest = name.rpartition(".")
        return f"{_OUTSIDE.get(part, part)}.{rest}"

    return {renamed(name): tensor for name, tensor in published.items() if not name.startswith(_CLASSIFIER)}
