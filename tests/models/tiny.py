"""Small pretrained models on disk: random weights, the published file layout, a vocabulary of a few words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from fico_utils.data.corpus import Corpus

WORDS = (
    *("a", "the", "cat", "dog", "sun", "tree", "house", "car", "red", "green", "blue", "small", "large"),
    *("left", "of", "right", "two", "on", "under", "and"),
)
SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")
TOWER = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
#: Embeddings of random towers are nearly parallel at the usual spread of 0.02; no test of an order would mean much.
SPREAD = {"initializer_range": 0.3}
KINDS = ("clip", "siglip", "siglip2", "blip", "blip-2")


def tokenizer(padding_side: str = "right") -> transformers.PreTrainedTokenizerFast:
    """Words to ids: the specials first, then `WORDS`; every caption has a start and an end."""
    vocabulary = {word: i for i, word in enumerate((*SPECIAL, *WORDS))}
    made = Tokenizer(WordLevel(vocabulary, "<unk>"))
    made.normalizer, made.pre_tokenizer = Lowercase(), Whitespace()
    made.post_processor = TemplateProcessing(single="<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", 2)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<start>", eos_token="<end>", unk_token="<unk>",
        padding_side=padding_side,
    )  # fmt: skip


def network(kind: str, **over) -> torch.nn.Module:
    """A random network of a kind, with the sizes of a toy."""
    torch.manual_seed(0)
    text = {"vocab_size": len(SPECIAL) + len(WORDS), "max_position_embeddings": 12, **TOWER, **SPREAD}
    vision = {"image_size": 16, "patch_size": 8, **TOWER, **SPREAD}
    if kind == "clip":
        # an end that is the first of its id, as in every checkpoint since its configuration was mended
        text |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "projection_dim": 6}
        config = transformers.CLIPConfig(
            text_config=text, vision_config={**vision, "projection_dim": 6}, projection_dim=6
        )
        return transformers.CLIPModel(config)
    if kind == "siglip":
        text |= {"projection_size": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
        return transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision))
    if kind == "siglip2":
        text |= {"projection_size": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
        vision = {"patch_size": 8, "num_patches": 9, **TOWER}
        return transformers.Siglip2Model(transformers.Siglip2Config(text_config=text, vision_config=vision))
    if kind == "blip":
        text |= {"bos_token_id": len(SPECIAL) + len(WORDS), "pad_token_id": 0, "encoder_hidden_size": 16}
        text |= {"vocab_size": len(SPECIAL) + len(WORDS) + 2, "is_decoder": True, **over}  # [DEC], [ENC] at the end
        config = transformers.BlipConfig(text_config=text, vision_config=vision, image_text_hidden_size=6)
        return transformers.BlipForImageTextRetrieval(config)
    qformer = {**text, "encoder_hidden_size": 16, "use_qformer_text_input": True, "cross_attention_frequency": 2}
    config = transformers.Blip2Config(
        vision_config=vision, qformer_config=qformer, text_config={"model_type": "opt", **TOWER},
        num_query_tokens=3, image_text_hidden_size=6, image_token_index=None,
    )  # fmt: skip
    made = transformers.Blip2ForImageTextRetrieval(config)
    with torch.no_grad():
        made.query_tokens.normal_(std=0.5)  # new ones are zeros, all alike
    return made


PROCESSORS = {
    "clip": ("CLIPImageProcessor", {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}}),
    "siglip": ("SiglipImageProcessor", {"size": {"height": 16, "width": 16}}),
    "siglip2": ("Siglip2ImageProcessor", {"patch_size": 8, "max_num_patches": 9}),
    "blip": ("BlipImageProcessor", {"size": {"height": 16, "width": 16}}),
    "blip-2": ("BlipImageProcessor", {"size": {"height": 16, "width": 16}}),
}


def save(folder: Path, kind: str, **over) -> Path:
    """A checkpoint folder of a kind, as ``save_pretrained`` writes it."""
    network(kind, **over).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    name, settings = PROCESSORS[kind]
    settings = {"image_processor_type": name, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.25], **settings}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def corpus(n: int = 7, height: int = 20, width: int = 26, seed: int = 0) -> Corpus:
    """Noise pictures, two or three captions each of different lengths, all in the test split."""
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    return from_lists(
        "noise",
        [f"n{i}" for i in range(n)],
        [[" ".join(rng.choice(WORDS, rng.integers(2, 9))) + f" {i}{j}" for j in range(2 + i % 2)] for i in range(n)],
        pictures,
        ["test"] * n,
    )


def from_lists(name: str, image_ids: list[str], captions: list[list[str]], images, split: list[str]) -> Corpus:
    """A corpus from one list of captions an image."""
    index = np.repeat(np.arange(len(captions)), [len(texts) for texts in captions])
    return Corpus(name, image_ids, [text for texts in captions for text in texts], index, split, images=images)
