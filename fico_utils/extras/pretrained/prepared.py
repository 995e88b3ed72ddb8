"""Pictures as pretrained networks want them: cut to size on the CPU, as whole numbers, and normalised on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fico_utils.data.corpus import Corpus
from fico_utils.errors import InputError
from fico_utils.extras.corpora.pictures import file_images


class Preparation:
    """An image processor of transformers, in its Pillow form, in two halves: one cuts, one normalises."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        scale = getattr(processor, "rescale_factor", 1 / 255) if processor.do_rescale else 1.0
        mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ([0.0] * 3, [1.0] * 3)
        # (x * scale - mean) / std in one multiplication and one addition
        self.gain, self.shift = scale / torch.tensor(std), -torch.tensor(mean) / torch.tensor(std)

    def cut(self, pictures: list) -> np.ndarray:
        """Whole numbers (b, 3, H, W); or, where pictures keep their shape, patches (b, 1 + P, 3 p p) int16.

        The first of those patches begins with how many rows and columns of them are real.
        """
        cut = self.processor(images=pictures, do_rescale=False, do_normalize=False, return_tensors="np")
        values = cut["pixel_values"]
        if "spatial_shapes" not in cut:
            return values
        packed = np.zeros((len(values), values.shape[1] + 1, values.shape[2]), np.int16)
        packed[:, 0, :2], packed[:, 1:] = cut["spatial_shapes"], values
        return packed

    def pixels(self, values: Tensor) -> dict[str, Tensor]:
        """What a vision tower takes, float32 on the device of `values`, from what `cut` made."""
        gain, shift = self.gain.to(values.device), self.shift.to(values.device)
        if values.ndim == 4:
            return {"pixel_values": values.float().mul_(gain[:, None, None]).add_(shift[:, None, None])}
        shapes, patches = values[:, 0, :2].long(), values[:, 1:].float()
        mask = torch.arange(patches.shape[1], device=values.device) < shapes.prod(1, keepdim=True)
        pixels = patches.shape[2] // len(gain)  # of a patch; its channels stand side by side
        patches = patches.mul_(gain.repeat(pixels)).add_(shift.repeat(pixels)) * mask[..., None]
        return {"pixel_values": patches, "pixel_attention_mask": mask.int(), "spatial_shapes": shapes}


class Pictures(Sequence):
    """Pictures of a corpus, cut to size when asked for: ``pictures[i:j]`` as `Preparation.cut` returns them.

    Files are read in their own size; pictures that are arrays already are taken as they are.
    """

    #: Whole numbers: nothing has to be read to know that they are finite.
    dtype = np.dtype(np.int16)

    def __init__(self, corpus: Corpus, preparation: Preparation) -> None:
        if corpus.images is None:
            raise InputError(f"Corpus {corpus.name!r} has no pictures; read it with its image folder to encode them")
        self.preparation, self.images, self.n = preparation, corpus.images, corpus.n_img
        try:
            self.files, self.index = file_images(corpus)
        except InputError:
            self.files = None

    def __len__(self) -> int:
        return self.n

    @property
    def key(self) -> str:
        """Content key of the files; empty where there are none, and the corpus's own key says all."""
        return "" if self.files is None else self.files.key

    def __getitem__(self, rows: Any) -> np.ndarray:
        from PIL import Image

        chosen = np.atleast_1d(np.arange(self.n)[rows])
        if self.files is None:
            return self.preparation.cut([Image.fromarray(picture) for picture in self.images[chosen]])
        return self.preparation.cut([self.files.original(int(row)) for row in self.index[chosen]])
