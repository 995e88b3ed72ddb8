"""A checkpoint that open_clip saved, as the CLIP of transformers that computes the same, if it is a plain one.

Names and defaults are those of open_clip's ``model.py``, ``transformer.py`` and ``transform.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, PreTrainedTokenizerFast

from fico_utils.errors import InputError
from fico_utils.extras.corpora.reading import first_line, read_json_object
from fico_utils.extras.pretrained.files import load_network, load_part, load_weights

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
#: Section of the configuration -> what is read of it, with open_clip's default.
_READ: dict[str, dict[str, Any]] = {
    "model_cfg": {"embed_dim": None, "quick_gelu": False},
    "vision_cfg": {"width": 768, "layers": 12, "head_width": 64, "mlp_ratio": 4, "patch_size": 16, "image_size": 224},
    "text_cfg": {"width": 512, "layers": 12, "heads": 8, "mlp_ratio": 4, "context_length": 77, "vocab_size": 49408},
    "preprocess_cfg": {
        "size": None, "mean": CLIPImageProcessorPil.image_mean, "std": CLIPImageProcessorPil.image_std,
        "interpolation": "bicubic", "resize_mode": "shortest",
    },
}  # fmt: skip
#: What changes nothing in a plain CLIP, and what must have one of these values. Anything else must be off.
_IGNORED = {
    *("vision_cfg", "text_cfg", "custom_text", "init_logit_scale", "init_logit_bias", "patch_dropout", "output_tokens"),
    *("timm_pool", "timm_proj", "attn_pooler_queries", "attn_pooler_heads", "bos_id", "eos_id", "mode", "fill_color"),
    *("hf_tokenizer_name", "hf_model_pretrained", "hf_proj_type", "hf_pooler_type"),
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
_REMEDY = (
    "take a copy of the model that transformers saved, where there is one, or encode with open_clip, save the "
    "embeddings with numpy.save and give them to evaluate"
)


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
    try:
        given = {**read, **{name: read["model_cfg"][name] for name in ("vision_cfg", "text_cfg")}}
        config, processor = _configure(**{name: _settle(path, name, given.get(name) or {}) for name in _READ})
    except InputError:
        raise
    except Exception as error:  # whatever else stands in a stranger's file
        raise InputError(f"{path} is no configuration of open_clip ({first_line(error)}): get it again") from None
    state = _translate(load_weights(folder, WEIGHTS))
    network = load_network(CLIPModel, folder, dtype, config=config, state_dict=state)
    unknown = sorted(set(state) - set(network.state_dict()))
    if unknown:
        raise InputError(f"{folder / WEIGHTS} holds {unknown[0]!r}, which a plain CLIP does not have; {_REMEDY}")
    vocabulary = str(folder / "tokenizer.json")
    return network, processor, load_part(folder, "tokenizer", PreTrainedTokenizerFast, tokenizer_file=vocabulary)


def _settle(path: Path, section: str, given: dict[str, Any]) -> dict[str, Any]:
    """What is read of a section, defaults filled in; InputError where it asks for more than a plain CLIP."""
    settled = dict(_READ[section])
    for key, value in given.items():
        if isinstance(value, list) and key.endswith("size") and len(set(value)) == 1:
            value = value[0]  # a square by both of its sides
        known = key in _IGNORED or (key in settled and (key in ("mean", "std") or not isinstance(value, list)))
        if value and not (value in _PLAIN[key] if key in _PLAIN else known):
            raise InputError(
                f"{path} asks for {key} {value!r} in {section}, which only open_clip's own code builds; {_REMEDY}"
            )
        if key in settled and value is not None:
            settled[key] = value
    return settled


def _configure(
    model_cfg: dict[str, Any], vision_cfg: dict[str, Any], text_cfg: dict[str, Any], preprocess_cfg: dict[str, Any]
) -> tuple[CLIPConfig, Any]:
    """The configuration of transformers' CLIP, and its image processor."""

    def tower(given: dict[str, Any], heads: int) -> dict[str, Any]:
        return {
            "hidden_size": given["width"], "intermediate_size": int(given["width"] * given["mlp_ratio"]),
            "num_hidden_layers": given["layers"], "num_attention_heads": heads,
            "hidden_act": "quick_gelu" if model_cfg["quick_gelu"] else "gelu",
        }  # fmt: skip

    vision, text = (
        tower(vision_cfg, vision_cfg["width"] // vision_cfg["head_width"]),
        tower(text_cfg, text_cfg["heads"]),
    )
    vision |= {"image_size": vision_cfg["image_size"], "patch_size": vision_cfg["patch_size"]}
    # of the end 2, transformers takes the state at the largest id of a text, as open_clip does
    text |= {"max_position_embeddings": text_cfg["context_length"], "bos_token_id": 0, "eos_token_id": 2}
    text["vocab_size"] = text_cfg["vocab_size"]
    side = preprocess_cfg["size"] or vision_cfg["image_size"]
    square = {"height": side, "width": side}
    processor = CLIPImageProcessorPil(
        size=square if preprocess_cfg["resize_mode"] == "squash" else {"shortest_edge": side},
        crop_size=square,
        resample=2 if preprocess_cfg["interpolation"] == "bilinear" else 3,  # as Pillow numbers them
        image_mean=preprocess_cfg["mean"],
        image_std=preprocess_cfg["std"],
    )
    return CLIPConfig(projection_dim=int(model_cfg["embed_dim"]), vision_config=vision, text_config=text), processor


def _translate(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names and in the shapes of transformers' CLIP; what no embedding depends on is left out."""
    out = {}
    for there, tensor in state.items():
        name = there.removeprefix("text.")  # of a network that has its text tower apart
        begin = next((b for b in _BEGINNINGS if name.startswith(b)), "")
        name = _BEGINNINGS.get(begin, "") + name[len(begin) :]
        for old, new in _INSIDE.items():
            name = name.replace(old, new)
        if ".in_proj_" in name:
            parts = zip("qkv", tensor.chunk(3), strict=True)
            out |= {name.replace("in_proj_", f"{part}_proj."): piece.contiguous() for part, piece in parts}
        elif name not in ("attn_mask", "logit_bias"):
            out[name] = tensor.T.contiguous() if begin in ("visual.proj", "text_projection") else tensor
    return out
