"""The learnt temperature of the contrastive losses (BEiT-3, X-VLM, BLIP-2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Temperature(nn.Module):
    """What cosines are divided by: a scalar whose logarithm is learnt, ten times as fast as everything else.

    The originals come to retrieval with a temperature that long pre-training has brought down. From 0.07, where all of
    them began, a training as short as ours takes it to 0.05 at the common rate: the softmax stays too flat to tell near
    misses apart, and the hard negatives that are drawn from it are easy ones.

    Parameters
    ----------
    low, high : float, bounds it is clamped to.
    initial : float
    """

    SPEED = 10.0

    def __init__(self, low: float = 0.0, high: float = math.inf, initial: float = 0.07) -> None:
        super().__init__()
        self.low, self.high = low, high
        self.log = nn.Parameter(torch.tensor(math.log(initial) / self.SPEED))

    def forward(self) -> Tensor:
        return (self.SPEED * self.log).exp().clamp(self.low, self.high)
