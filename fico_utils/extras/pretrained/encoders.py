"""Pretrained dual encoders through transformers: CLIP, SigLIP, SigLIP 2, BLIP and BLIP-2, as systems like our own.

What `load_encoder` returns encodes pictures and texts; it answers `encoding.encode` and, where it has a head that reads
a picture and a caption together (BLIP, BLIP-2), `encoding.rerank`.

Choices of the originals that the port in transformers leaves to the caller: SigLIP reads captions padded to full
length, without a mask; BLIP and BLIP-2 read 35 tokens; BLIP's matching head wants the token that says "encode" first;
both add the cosine to the match.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from PIL import Image
from torch import Tensor, nn

from fico_utils.errors import InputError
from fico_utils.extras.pretrained.base import Pretrained, unit_vectors
from fico_utils.extras.pretrained.files import (
    files_key,
    find_folder,
    load_network,
    load_part,
    load_processor,
    load_tokenizer,
    load_weights,
    read_config,
)
from fico_utils.extras.pretrained.open_clip import is_open_clip, load_open_clip
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

    def tokens(self, captions: Sequence[str], padding: str | bool = "max_length") -> np.ndarray:
        """Ids plus one (n, L) int32, padded to full length: padding is read like words, and the last place speaks."""
        if self.tokenizer.pad_token_id is None:
            raise InputError("the tokenizer has no padding token; set pad_token in its tokenizer_config.json")
        return super().tokens(captions, padding)


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


#: The same -> the classes of its towers, where each was saved in a folder of its own.
TOWERS = {
    "clip": ("CLIPVisionModelWithProjection", "CLIPTextModelWithProjection"),
    "siglip": ("SiglipVisionModel", "SiglipTextModel"),
}


def load_encoder(
    folder: str | PathLike | Sequence[str | PathLike],
    device: str = "cpu",
    *,
    revision: str = "",
    dtype: str = "float32",
) -> Pretrained:
    """A pretrained dual encoder, whose ``encode_images`` and ``encode_texts`` give unit vectors (n, d) float32.

    `folder` was written by ``save_pretrained`` (CLIP, SigLIP, BLIP, BLIP-2) or by open_clip (``open_clip_config.json``,
    ``open_clip_model.safetensors``, ``tokenizer.json``), or is a hub id; or it is two folders, of the vision tower and
    of the text tower, which may lie as ``vision`` and ``text`` in one. `device` is such as ``cpu`` or ``cuda:1``; a
    GPU where there is one, if it is empty. `revision` is a branch, tag or commit of the hub; `dtype` is what it
    computes in: float32, float16 or bfloat16.

    InputError where precision or device are unknown, or files are missing, pickled, truncated, or of a class of model
    that cannot be built here.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype is {dtype!r}; expected one of {', '.join(DTYPES)}")
    places = [folder] if isinstance(folder, str | PathLike) else list(folder)
    if len(places) not in (1, 2):
        raise InputError(f"{len(places)} folders are given; expected one, or two: of the vision and of the text tower")
    folders = [find_folder(str(place), revision) for place in places]
    pair = [folders[0] / "vision", folders[0] / "text"]
    if len(folders) == 1 and all(map(Path.is_dir, pair)) and not (folders[0] / "config.json").is_file():
        folders = pair
    key = key_of(*map(files_key, folders), dtype)
    if is_open_clip(folders[0]):
        kind, parts = Clip, load_open_clip(folders[0], DTYPES[dtype])
    else:
        kind, network = (_join_towers if len(folders) == 2 else _load_whole)(*folders, DTYPES[dtype])
        parts = network, load_processor(folders[0]), load_tokenizer(folders[-1])
    return load_part(folders[0], "encoder", _try_encoder, kind, *parts, key).move_to(device)


def _try_encoder(kind: type[Pretrained], network: nn.Module, processor: Any, tokenizer: Any, key: str) -> Pretrained:
    """An encoder that has encoded a picture and a word, and has read them together where it can, as its files say."""
    encoder = kind(network, processor, tokenizer, key).eval()
    picture = torch.from_numpy(encoder.preparation.cut([Image.new("RGB", (8, 8))]))
    word = torch.from_numpy(encoder.tokens(["a"]))
    with torch.inference_mode():
        encoder.encode_image(picture)
        encoder.encode_text(word)
        if "rerank" in kind.measures:
            encoder.match(encoder.image_context(picture), word)
    return encoder


def _load_whole(folder: Path, dtype: torch.dtype) -> tuple[type[Pretrained], nn.Module]:
    """The class and the network of a folder that holds both towers."""
    config = read_config(folder)
    kind = KINDS.get(config["model_type"])
    given = (config.get("architectures") or [kind.architecture if kind else config["model_type"]])[0]
    if kind is None or given != kind.architecture:
        known = ", ".join(k.architecture for k in KINDS.values())
        raise InputError(f"{folder} holds a {given}, which is no image-text dual encoder known here; expected {known}")
    return kind, load_network(getattr(transformers, kind.architecture), folder, dtype)


def _join_towers(vision: Path, text: Path, dtype: torch.dtype) -> tuple[type[Pretrained], nn.Module]:
    """The class and the network of two towers that were saved each in a folder of its own."""
    configs = [read_config(folder) for folder in (vision, text)]
    classes = tuple((config.get("architectures") or [config["model_type"]])[0] for config in configs)
    kind = next((KINDS[name] for name, towers in TOWERS.items() if towers == classes), None)
    if kind is None:
        known = ", or ".join(" with ".join(towers) for towers in TOWERS.values())
        raise InputError(f"{vision} holds a {classes[0]} and {text} a {classes[1]}; expected {known}")
    state = {}
    for folder, tower, head in ((vision, "vision_model.", "visual_proj"), (text, "text_model.", "text_proj")):
        weights = load_weights(folder)  # of CLIP they have their names in the whole, of SigLIP those inside the tower
        state |= {n if n.startswith((tower, head)) else tower + n: tensor for n, tensor in weights.items()}
    network_class, width = getattr(transformers, kind.architecture), configs[0].get("projection_dim", 512)
    config = network_class.config_class(vision_config=configs[0], text_config=configs[1], projection_dim=width)
    return kind, load_network(network_class, vision, dtype, config=config, state_dict=state)
