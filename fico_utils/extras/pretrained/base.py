"""What pretrained dual encoders have in common: prepared pictures, tokens, unit vectors, one device.

Pictures are cut to size on the CPU, as whole numbers, and normalised on the device.
Tokens are the tokenizer's ids plus one, so that 0 is padding whatever the vocabulary, as everywhere here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fico_utils.data.corpus import Corpus
from fico_utils.errors import InputError
from fico_utils.extras.corpora.pictures import file_images
from fico_utils.files import key_of
from fico_utils.models.contract import FusionModel
from fico_utils.models.layers import word_mask
from fico_utils.models.training import Inputs


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


class Pretrained(FusionModel):
    """A pretrained network with its image processor and tokenizer; a subclass says how `_embed_image` and `_embed_text`
    make embeddings of the states of the vision tower and of tokens.

    `key` is that of the files it was loaded from and the precision it computes in. With the measure ``rerank`` it has
    a matching head, and `image_context`, `text_context` and `match` work.
    """

    image_input, text_input = "pixels", "tokens"
    architecture: ClassVar[str]
    longest: ClassVar[int] = 1 << 20  # tokens that are read of a caption at most, if the network can read so many
    measures: ClassVar[tuple[str, ...]] = ("cosine",)  # how its embeddings may be compared: `registry.System.measure`

    def __init__(self, network: nn.Module, processor: Any, tokenizer: Any, key: str) -> None:
        super().__init__(network.config)
        self.network, self.tokenizer, self.key = network, tokenizer, key
        self.preparation = Preparation(processor)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What its vision tower computes in; parts of BLIP-2 stay in float32 whatever was asked for."""
        return next(self.network.vision_model.parameters()).dtype

    @property
    def text_config(self) -> Any:
        """Configuration of the tower that reads text."""
        return self.network.config.text_config

    @property
    def max_words(self) -> int:
        """Tokens of the longest caption that it reads, specials included."""
        return min(self.longest, int(self.text_config.max_position_embeddings))

    def tokens(self, captions: Sequence[str]) -> np.ndarray:
        """Ids plus one, 0 where padded: (n, L) int32; longer captions are cut."""
        return self._tokens(captions, padding="longest", padding_side="right")

    def _tokens(self, captions: Sequence[str], **padding: Any) -> np.ndarray:
        if self.tokenizer.pad_token_id is None:
            raise InputError("the tokenizer has no padding token; set pad_token in its tokenizer_config.json")
        read = self.tokenizer(
            list(captions), truncation=True, max_length=self.max_words, return_tensors="np",
            return_attention_mask=True, **padding,
        )  # fmt: skip
        ids = read["input_ids"]
        if ids.max() >= self.text_config.vocab_size:
            raise InputError(
                f"the tokenizer gives the id {ids.max()} and the network knows {self.text_config.vocab_size} words; "
                "get the tokenizer of the same checkpoint"
            )
        words = read["attention_mask"] if padding["padding"] == "longest" else 1  # SigLIP reads its padding too
        return ((ids + 1) * words).astype(np.int32)

    def inputs(self, corpus: Corpus) -> Inputs:
        """What it reads of a corpus; pictures are read when they are asked for."""
        pictures = Pictures(corpus, self.preparation)
        tokens = {self.text_input: self.tokens(corpus.captions)}
        key = key_of(corpus.key, pictures.key, self.key)
        return Inputs({self.image_input: pictures}, tokens, corpus.caption_image, key)

    def _ids(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The tokenizer's ids (B, L) and the mask (B, L) int64, on the device, without columns of padding alone."""
        tokens = tokens[:, : max(1, int(word_mask(tokens).sum(1).max()))].to(self.device, torch.int64)
        mask = word_mask(tokens)
        return torch.where(mask, tokens - 1, self.tokenizer.pad_token_id), mask.long()

    def _pixels(self, features: Tensor) -> dict[str, Tensor]:
        """What the vision tower takes, from what `Pictures` gives."""
        pixels = self.preparation.pixels(features.to(self.device))
        return {n: t.to(self.dtype) if t.is_floating_point() else t for n, t in pixels.items()}

    def encode_image(self, features: Tensor) -> Tensor:
        return unit_vectors(self._embed_image(self.vision(features)))

    def encode_text(self, features: Tensor) -> Tensor:
        return unit_vectors(self._embed_text(features))

    def vision(self, features: Tensor) -> Tensor:
        """States (B, T, width) of the vision tower, on its device and in its precision."""
        return self.network.vision_model(**self._pixels(features)).last_hidden_state

    def image_context(self, features: Tensor) -> Tensor:
        if "rerank" not in self.measures:
            raise InputError(
                f"{type(self.network).__name__} has no head that reads picture and caption together; "
                "compare its embeddings with measure cosine"
            )
        return self.vision(features).float().cpu()

    def text_context(self, features: Tensor) -> Tensor:
        """The tokens (B, L) themselves: the matching head embeds them anew."""
        return features


def unit_vectors(embeddings: Tensor) -> Tensor:
    """Unit vectors float32 on the CPU, normalised in float32 whatever the network computed in."""
    return F.normalize(embeddings.float(), dim=-1).cpu()
