"""Pretrained dual encoders through transformers: CLIP, SigLIP, SigLIP 2, BLIP and BLIP-2, as systems like our own.

What `load_encoder` returns answers `encoding.encode` and, where it has a head that reads a picture and a caption
together (BLIP, BLIP-2), `encoding.rerank`.

Choices of the originals that the port in transformers leaves to the caller: SigLIP reads captions padded to full
length, without a mask; BLIP and BLIP-2 read 35 tokens; BLIP's matching head wants the token that says "encode" first;
both add the cosine to the match.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from fico_utils.errors import InputError
from fico_utils.extras.pretrained.base import Pretrained, unit_vectors
from fico_utils.extras.pretrained.files import files_key, find_folder, load_parts, read_config
from fico_utils.files import key_of

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class Clip(Pretrained):
    """CLIP (Radford et al. 2021); its text tower is causal, so padding after the end changes nothing."""

    architecture = "CLIPModel"

    def encode_image(self, features: Tensor) -> Tensor:
        return unit_vectors(self.network.get_image_features(**self._pixels(features)).pooler_output)

    def _embed_text(self, features: Tensor) -> Tensor:
        return self.network.get_text_features(input_ids=self._ids(features)[0]).pooler_output


class Siglip(Clip):
    """SigLIP (Zhai et al. 2023), and SigLIP 2 of fixed resolution, which says it is one."""

    architecture = "SiglipModel"

    def tokens(self, captions: Sequence[str]) -> np.ndarray:
        """Ids plus one (n, L) int32, padded to full length: padding is read like words, and the last place speaks."""
        return self._tokens(captions, padding="max_length")


class Siglip2(Siglip):
    """SigLIP 2 NaFlex (Tschannen et al. 2025): pictures keep their shape, as up to 256 patches."""

    architecture = "Siglip2Model"


class Blip(Pretrained):
    """BLIP (Li et al. 2022), fine-tuned for retrieval: ITC embeddings, and the ITM head over the vision tokens."""

    architecture = "BlipForImageTextRetrieval"
    adds_cosine, longest = True, 35
    measures = ("cosine", "rerank")

    def _embed_image(self, context: Tensor) -> Tensor:
        return self.network.vision_proj(context[:, 0])

    def _embed_text(self, features: Tensor) -> Tensor:
        ids, mask = self._ids(features)
        return self.network.text_proj(self.network.text_encoder(ids, attention_mask=mask).last_hidden_state[:, 0])

    def match(self, image: Tensor, text: Tensor) -> Tensor:
        ids, mask = self._ids(text)
        config = self.text_config
        if config.bos_token_id == config.vocab_size - 2:  # [DEC] and [ENC] end the vocabulary; [ENC] replaces [CLS]
            ids[:, 0] = config.vocab_size - 1
        image = image.to(self.device, self.dtype)
        states = self.network.text_encoder(
            ids, attention_mask=mask, encoder_hidden_states=image, encoder_attention_mask=mask.new_ones(image.shape[:2])
        )
        return self.network.itm_head(states.last_hidden_state[:, 0])[:, 1].float().cpu()


class Blip2(Pretrained):
    """BLIP-2 (Li et al. 2023) for retrieval: an embedding a query (n, n_queries, d), the largest cosine counts."""

    architecture = "Blip2ForImageTextRetrieval"
    adds_cosine, longest = True, 35
    measures = ("late", "rerank")

    @property
    def text_config(self) -> Any:
        return self.network.config.qformer_config

    def _embed_image(self, context: Tensor) -> Tensor:
        queries = self.network.query_tokens.expand(len(context), -1, -1)
        states = self.network.qformer(query_embeds=queries, encoder_hidden_states=context).last_hidden_state
        return _through(self.network.vision_projection, states)

    def _embed_text(self, features: Tensor) -> Tensor:
        ids, mask = self._ids(features)
        embedded = self.network.embeddings(input_ids=ids)
        states = self.network.qformer(query_embeds=embedded, query_length=0, attention_mask=mask).last_hidden_state
        return _through(self.network.text_projection, states[:, 0])

    def similarity(self, image: Tensor, text: Tensor) -> Tensor:
        return reduce(torch.maximum, (query @ text.T for query in image.unbind(1)))

    def match(self, image: Tensor, text: Tensor) -> Tensor:
        ids, mask = self._ids(text)
        queries = self.network.query_tokens.expand(len(ids), -1, -1)
        n = queries.shape[1]
        states = self.network.qformer(
            query_embeds=self.network.embeddings(input_ids=ids, query_embeds=queries),
            query_length=n,
            attention_mask=F.pad(mask, (n, 0), value=1),
            encoder_hidden_states=image.to(self.device, self.dtype),
        ).last_hidden_state
        return _through(self.network.itm_head, states[:, :n]).float().mean(1)[:, 1].cpu()


def _through(layer: nn.Linear, states: Tensor) -> Tensor:
    """A layer's output, of states that may be of another precision."""
    return layer(states.to(layer.weight.dtype))


#: ``model_type`` in config.json -> class.
KINDS: dict[str, type[Pretrained]] = {
    "clip": Clip, "siglip": Siglip, "siglip2": Siglip2, "blip": Blip, "blip-2": Blip2,
}  # fmt: skip


def load_encoder(path: str, *, revision: str = "", dtype: str = "float32", device: str = "") -> Pretrained:
    """A pretrained dual encoder, ready to encode, from a folder that ``save_pretrained`` wrote or from a hub id.

    `revision` is a branch, tag or commit of the hub; `dtype` is what it computes in: float32, float16 or bfloat16;
    `device` is such as ``cpu``, ``cuda:1``, and a GPU where there is one, if it is empty.

    InputError where precision or device are unknown, or files are missing, pickled, truncated, or of another class of
    model.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype is {dtype!r}; expected one of {', '.join(DTYPES)}")
    folder = find_folder(path, revision)
    config = read_config(folder)
    kind = KINDS.get(config["model_type"])
    given = (config.get("architectures") or [kind.architecture if kind else config["model_type"]])[0]
    if kind is None or given != kind.architecture:
        known = ", ".join(k.architecture for k in KINDS.values())
        raise InputError(f"{folder} holds a {given}, which is no image-text dual encoder known here; expected {known}")
    parts = load_parts(getattr(transformers, kind.architecture), folder, DTYPES[dtype], device)
    return kind(*parts, key_of(files_key(folder), dtype)).eval()
