"""What pretrained dual encoders have in common: prepared pictures, tokens, unit vectors, one device.

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
from fico_utils.extras.pretrained.prepared import Pictures, Preparation
from fico_utils.files import key_of
from fico_utils.models.contract import FusionModel
from fico_utils.models.losses import word_mask
from fico_utils.models.training import Inputs


class Pretrained(FusionModel):
    """A pretrained network with its image processor and tokenizer; a subclass says how `_embed_image` and `_embed_text`
    make embeddings of the states of the vision tower and of tokens.

    Attributes
    ----------
    network : PreTrainedModel
    key : str, of the files it was loaded from and the precision it computes in.
    fuses : bool, it has a matching head: `image_context`, `text_context` and `match` work.
    longest : int, tokens that are read of a caption at most, where it is fewer than the network can read.
    measures : tuple of str, how its embeddings may be compared (`registry.System.measure`).
    """

    image_input, text_input = "pixels", "tokens"
    architecture: ClassVar[str]
    fuses: ClassVar[bool] = False
    longest: ClassVar[int] = 1 << 20
    measures: ClassVar[tuple[str, ...]] = ("cosine",)

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
        return unit(self._embed_image(self.vision(features)))

    def encode_text(self, features: Tensor) -> Tensor:
        return unit(self._embed_text(features))

    def vision(self, features: Tensor) -> Tensor:
        """States (B, T, width) of the vision tower, on its device and in its precision."""
        return self.network.vision_model(**self._pixels(features)).last_hidden_state

    def image_context(self, features: Tensor) -> Tensor:
        self._needs_head()
        return self.vision(features).float().cpu()

    def text_context(self, features: Tensor) -> Tensor:
        """The tokens (B, L) themselves: the matching head embeds them anew."""
        self._needs_head()
        return features

    def _needs_head(self) -> None:
        if not self.fuses:
            raise InputError(
                f"{type(self.network).__name__} has no head that reads picture and caption together; "
                "compare its embeddings with measure cosine"
            )


def unit(embeddings: Tensor) -> Tensor:
    """Unit vectors float32 on the CPU, normalised in float32 whatever the network computed in."""
    return F.normalize(embeddings.float(), dim=-1).cpu()
