"""A checkpoint that open_clip saved, as the CLIP of transformers that computes the same, if it is a plain one.

Names and defaults are those of open_clip's ``model.py``, ``transformer.py`` and ``transform.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from fico_utils.errors import InputError
from fico_utils.extras.corpora.reading import first_line, read_json_object
from fico_utils.extras.pretrained.files import load_network, load_part, load_weights

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
#: Section of the configuration -> what does not change the architecture. Anything else must be off, or as in `_PLAIN`.
_KNOWN = {
    "model_cfg": "embed_dim vision_cfg text_cfg quick_gelu custom_text init_logit_scale init_logit_bias",
    "vision_cfg": "width layers mlp_ratio head_width patch_size image_size patch_dropout output_tokens timm_pool timm_proj "
    "attn_pooler_queries attn_pooler_heads",
    "text_cfg": "width layers mlp_ratio heads context_length vocab_size bos_id eos_id output_tokens hf_tokenizer_name "
    "hf_model_pretrained hf_proj_type hf_pooler_type",
    "preprocess_cfg": "size mode mean std interpolation fill_color",
}
_PLAIN = {
    "pool_type": ("tok", "argmax"), "pos_embed_type": ("learnable",), "proj_type": ("linear",),
    "resize_mode": ("shortest", "squash"),
}  # fmt: skip
#: How names of weights begin there and here, and what stands inside them.
_BEGINNINGS = {
    "visual.transformer.resblocks.": "vision_model.encoder.layers.",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.": "vision_model.embeddings.patch_embedding.",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.": "vision_model.pre_layrnorm.",
    "visual.ln_post.": "vision_model.post_layernorm.",
    "visual.proj": "visual_projection.weight",
    "transformer.resblocks.": "text_model.encoder.layers.",
    "token_embedding.": "text_model.embeddings.token_embedding.",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.": "text_model.final_layer_norm.",
    "text_projection": "text_projection.weight",
}
_INSIDE = {
    ".ln_1.": ".layer_norm1.", ".ln_2.": ".layer_norm2.", ".attn.": ".self_attn.",
    ".mlp.c_fc.": ".mlp.fc1.", ".mlp.c_proj.": ".mlp.fc2.",
}  # fmt: skip


def is_open_clip(folder: Path) -> bool:
    """Whether open_clip wrote a folder; one that transformers can read as it is counts as theirs."""
    whole = (folder / "config.json").is_file() and any(folder.glob("model*.safetensors"))
    return (folder / CONFIG).is_file() and not whole


def load_open_clip(folder: Path, dtype: torch.dtype) -> tuple[nn.Module, Any, Any]:
    """The network of a folder that open_clip wrote, its image processor and its tokenizer.

    InputError where files are missing or broken, or the network is no plain CLIP: what it asks for is named.
    """
    path = folder / CONFIG
    read = read_json_object(path)
    model = read.get("model_cfg")
    sections = {"model_cfg": model, "preprocess_cfg": read.get("preprocess_cfg", {})}
    if isinstance(model, dict):
        sections |= {name: model.get(name) for name in ("vision_cfg", "text_cfg")}
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise InputError(f"{path} has no {name}; expected the configuration that open_clip saves: get it again")
        for key, value in section.items():
            if value and key not in _KNOWN[name].split() and value not in _PLAIN.get(key, ()):
                raise _refuse(path, name, key, value)
    for name, key in (("vision_cfg", "layers"), ("vision_cfg", "image_size"), ("preprocess_cfg", "size")):
        value = sections[name].get(key, 0)
        if isinstance(value, list) and (
            key == "layers" or len(set(value)) > 1
        ):  # a ResNet; a picture that is no square
            raise _refuse(path, name, key, value)
    try:
        config, processor = _configuration(sections), _image_processor(sections)
    except Exception as error:
        raise InputError(f"{path} is no configuration of open_clip ({first_line(error)}): get it again") from None
    state = _translated(load_weights(folder, WEIGHTS))
    network = load_network(transformers.CLIPModel, folder, dtype, config, state)
    unknown = sorted(set(state) - set(network.state_dict()))
    if unknown:
        raise InputError(f"{folder / WEIGHTS} holds {unknown[0]!r}, which a plain CLIP does not have; {_HELP}")
    make = transformers.PreTrainedTokenizerFast
    return network, processor, load_part(folder, "tokenizer", make, tokenizer_file=str(folder / "tokenizer.json"))


_HELP = (
    "take a copy of the model that was saved by transformers, where there is one, or encode with open_clip, save the "
    "embeddings with numpy.save and give them to evaluate"
)


def _refuse(path: Path, section: str, key: str, value: Any) -> InputError:
    return InputError(f"{path} asks for {key} {value!r} in {section}, which only open_clip's own code builds; {_HELP}")


def _configuration(sections: dict[str, dict]) -> transformers.CLIPConfig:
    model, vision, text = sections["model_cfg"], sections["vision_cfg"], sections["text_cfg"]
    act = {"hidden_act": "quick_gelu" if model.get("quick_gelu") else "gelu"}

    def tower(given: dict[str, Any], width: int, heads: int) -> dict[str, Any]:
        return {
            "hidden_size": width, "intermediate_size": int(width * given.get("mlp_ratio", 4.0)),
            "num_hidden_layers": given.get("layers", 12), "num_attention_heads": heads, **act,
        }  # fmt: skip

    width, width_text = vision.get("width", 768), text.get("width", 512)
    return transformers.CLIPConfig(
        projection_dim=model["embed_dim"],
        vision_config={
            **tower(vision, width, width // vision.get("head_width", 64)),
            "image_size": _side(vision.get("image_size", 224)),
            "patch_size": _side(vision.get("patch_size", 16)),
        },
        text_config={
            **tower(text, width_text, text.get("heads", 8)),
            "max_position_embeddings": text.get("context_length", 77),
            "vocab_size": text.get("vocab_size", 49408),
            "bos_token_id": 0, "eos_token_id": 2,  # of 2, transformers takes the state at the largest id, as open_clip
        },
    )  # fmt: skip


def _image_processor(sections: dict[str, dict]) -> Any:
    given = {name: value for name, value in sections["preprocess_cfg"].items() if value is not None}
    side = _side(given.get("size", sections["vision_cfg"].get("image_size", 224)))
    square = {"height": side, "width": side}
    squash = given.get("resize_mode") == "squash"
    return transformers.CLIPImageProcessorPil(
        size=square if squash else {"shortest_edge": side},
        crop_size=square,
        resample=2 if given.get("interpolation") == "bilinear" else 3,  # of Pillow
        image_mean=given.get("mean", transformers.CLIPImageProcessorPil.image_mean),
        image_std=given.get("std", transformers.CLIPImageProcessorPil.image_std),
    )


def _side(size: int | list[int]) -> int:
    return size[0] if isinstance(size, list) else size


def _translated(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names and in the shapes of transformers' CLIP; what only training reads is left out."""
    out = {}
    for there, tensor in state.items():
        name = there.removeprefix("text.")  # of a network that has its text tower apart
        begin = next((b for b in _BEGINNINGS if name.startswith(b)), "")
        name = _BEGINNINGS.get(begin, "") + name[len(begin) :]
        for old, new in _INSIDE.items():
            name = name.replace(old, new)
        if ".in_proj_" in name:
            out |= {
                name.replace("in_proj_", f"{x}_proj."): part for x, part in zip("qkv", tensor.chunk(3), strict=True)
            }
        elif name not in ("attn_mask", "logit_bias"):
            out[name] = tensor.T if begin in ("visual.proj", "text_projection") else tensor
    return {name: tensor.contiguous() for name, tensor in out.items()}
