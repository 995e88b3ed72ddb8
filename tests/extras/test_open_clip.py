"""Folders that open_clip wrote, against its network written down again in plain torch."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file

from fico_utils import InputError, load_encoder
from fico_utils.extras.pretrained.open_clip import CONFIG, WEIGHTS
from tests.models import tiny

WORDS = (*("<pad>", "<unk>"), *tiny.WORDS, *("<start>", "<end>"))  # the end has the largest id, as everywhere
VISION = {"width": 24, "layers": 3, "head_width": 8, "mlp_ratio": 2.5, "patch_size": 8, "image_size": 16}
TEXT = {"width": 20, "layers": 2, "heads": 2, "context_length": 9, "vocab_size": len(WORDS)}
PICTURES = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25], "interpolation": "bicubic", "resize_mode": "shortest"}
EMBEDDED = 12


def random_weights(custom_text: bool) -> dict[str, torch.Tensor]:
    """Weights under open_clip's names, all of them random."""
    random, text = torch.Generator().manual_seed(0), "text." if custom_text else ""
    shapes: dict[str, tuple[int, ...]] = {"logit_scale": ()}
    for prefix, width, layers, ratio in ((f"{text}", 20, 2, 4), ("visual.", 24, 3, 2.5)):
        for n in range(layers):
            block, wide = f"{prefix}transformer.resblocks.{n}.", int(width * ratio)
            shapes |= {f"{block}attn.in_proj_weight": (3 * width, width), f"{block}attn.in_proj_bias": (3 * width,)}
            shapes |= {f"{block}attn.out_proj.weight": (width, width), f"{block}attn.out_proj.bias": (width,)}
            shapes |= {f"{block}mlp.c_fc.weight": (wide, width), f"{block}mlp.c_fc.bias": (wide,)}
            shapes |= {f"{block}mlp.c_proj.weight": (width, wide), f"{block}mlp.c_proj.bias": (width,)}
            shapes |= {f"{block}{ln}.{part}": (width,) for ln in ("ln_1", "ln_2") for part in ("weight", "bias")}
    for norm, width in (("visual.ln_pre", 24), ("visual.ln_post", 24), (f"{text}ln_final", 20)):
        shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    shapes |= {"visual.class_embedding": (24,), "visual.positional_embedding": (5, 24), "visual.proj": (24, EMBEDDED)}
    shapes |= {"visual.conv1.weight": (24, 3, 8, 8), f"{text}token_embedding.weight": (len(WORDS), 20)}
    shapes |= {f"{text}positional_embedding": (9, 20), f"{text}text_projection": (20, EMBEDDED)}
    return {name: 0.4 * torch.randn(shape, generator=random) for name, shape in shapes.items()}


def save_folder(folder: Path, *, custom_text: bool = False, **over) -> Path:
    """A checkpoint of open_clip; `over` changes entries of model_cfg, vision_cfg, text_cfg and preprocess_cfg."""
    folder.mkdir(exist_ok=True)
    model = {"embed_dim": EMBEDDED, **over.get("model_cfg", {}), **({"custom_text": True} if custom_text else {})}
    model |= {"vision_cfg": VISION | over.get("vision_cfg", {}), "text_cfg": TEXT | over.get("text_cfg", {})}
    config = {"model_cfg": model, "preprocess_cfg": PICTURES | over.get("preprocess_cfg", {})}
    (folder / CONFIG).write_text(json.dumps(config))
    save_file(random_weights(custom_text), folder / WEIGHTS)
    made = tiny.tokenizer().backend_tokenizer.to_str()
    read = json.loads(made)
    read["model"]["vocab"] = {word: n for n, word in enumerate(WORDS)}
    for token in read["added_tokens"]:
        token["id"] = WORDS.index(token["content"])
    for token in read["post_processor"]["special_tokens"].values():
        token["ids"] = [WORDS.index(token["id"])]
    read["model"]["unk_token"] = "<unk>"
    (folder / "tokenizer.json").write_text(json.dumps(read))
    return folder


class Reference:
    """open_clip's forward pass, from its description."""

    def __init__(self, weights: dict[str, torch.Tensor], quick: bool) -> None:
        self.w = {name.removeprefix("text."): tensor for name, tensor in weights.items()}
        self.act = (lambda x: x * torch.sigmoid(1.702 * x)) if quick else F.gelu

    def norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def blocks(self, prefix: str, x: torch.Tensor, layers: int, heads: int, causal: bool) -> torch.Tensor:
        for n in range(layers):
            block = f"{prefix}transformer.resblocks.{n}."
            joined = self.norm(f"{block}ln_1", x) @ self.w[f"{block}attn.in_proj_weight"].T
            parts = (joined + self.w[f"{block}attn.in_proj_bias"]).chunk(3, -1)
            q, k, v = (part.unflatten(-1, (heads, -1)).transpose(0, 1) for part in parts)
            scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
            if causal:
                scores += torch.full(scores.shape[1:], -torch.inf).triu(1)
            x = x + self.linear(f"{block}attn.out_proj", (scores.softmax(-1) @ v).transpose(0, 1).flatten(1))
            wide = self.act(self.linear(f"{block}mlp.c_fc", self.norm(f"{block}ln_2", x)))
            x = x + self.linear(f"{block}mlp.c_proj", wide)
        return x

    def image(self, pixels: np.ndarray) -> np.ndarray:
        """Unit vector of pixels (16, 16, 3) that were cut to size."""
        x = torch.from_numpy(((pixels / 255.0 - PICTURES["mean"]) / PICTURES["std"]).transpose(2, 0, 1).astype("f4"))
        x = F.conv2d(x[None], self.w["visual.conv1.weight"], stride=8)[0].flatten(1).T
        x = torch.cat([self.w["visual.class_embedding"][None], x]) + self.w["visual.positional_embedding"]
        x = self.blocks("visual.", self.norm("visual.ln_pre", x), 3, 3, causal=False)
        return F.normalize(self.norm("visual.ln_post", x[0]) @ self.w["visual.proj"], dim=0).numpy()

    def text(self, caption: str) -> np.ndarray:
        """Unit vector of a caption of known words: cut to 9 tokens with start and end, then padded with 0."""
        ids = [WORDS.index(w) for w in ("<start>", *caption.split()[:7], "<end>")]
        ids += [0] * (9 - len(ids))
        x = self.w["token_embedding.weight"][ids] + self.w["positional_embedding"]
        x = self.norm("ln_final", self.blocks("", x, 2, 2, causal=True))
        return F.normalize(x[int(np.argmax(ids))] @ self.w["text_projection"], dim=0).numpy()


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("custom_text", [False, True])
def test_a_plain_clip_is_what_open_clip_computes(quick, custom_text, tmp_path):
    folder = save_folder(tmp_path, custom_text=custom_text, model_cfg={"quick_gelu": quick})
    encoder, reference = load_encoder(folder), Reference(load_file(folder / WEIGHTS), quick)
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    texts = [" ".join(rng.choice(tiny.WORDS, n)) for n in (1, 3, 7, 8, 20)]
    images = np.stack([reference.image(p) for p in pictures])
    np.testing.assert_allclose(encoder.encode_images(map(Image.fromarray, pictures)), images, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(texts), np.stack([reference.text(t) for t in texts]), atol=1e-5)
    other = np.stack([Reference(load_file(folder / WEIGHTS), not quick).image(p) for p in pictures])
    assert np.abs(other - images).max() > 1e-3  # the activation matters to these weights


@pytest.mark.parametrize(("mode", "interpolation"), [("shortest", "bicubic"), ("squash", "bilinear")])
def test_pictures_are_cut_as_its_configuration_says(mode, interpolation, tmp_path):
    folder = save_folder(
        tmp_path, preprocess_cfg={"resize_mode": mode, "interpolation": interpolation, "size": [16, 16]}
    )
    reference = Reference(load_file(folder / WEIGHTS), quick=False)
    rng = np.random.default_rng(1)
    picture = Image.fromarray(rng.integers(0, 256, (32, 40, 3), dtype=np.uint8)).resize((80, 64))
    method = Image.Resampling[interpolation.upper()]
    if mode == "squash":
        cut = picture.resize((16, 16), method)
    else:
        cut = picture.resize((20, 16), method).crop((2, 0, 18, 16))
    got = load_encoder(folder).encode_images([picture])[0]
    np.testing.assert_allclose(got, reference.image(np.asarray(cut)), atol=1e-5)


@pytest.mark.parametrize(
    ("over", "named"),
    [
        (
            {"vision_cfg": {"timm_model_name": "vit_base_patch16_siglip_224"}},
            "timm_model_name 'vit_base_patch16_siglip",
        ),
        ({"vision_cfg": {"layers": [3, 4, 6, 3]}}, r"layers \[3, 4, 6, 3\] in vision_cfg"),
        ({"vision_cfg": {"image_size": [16, 32]}}, r"image_size \[16, 32\]"),
        ({"vision_cfg": {"attentional_pool": True}}, "attentional_pool True"),
        ({"vision_cfg": {"pool_type": "avg"}}, "pool_type 'avg'"),
        ({"text_cfg": {"hf_model_name": "xlm-roberta-base"}}, "hf_model_name 'xlm-roberta-base'"),
        ({"text_cfg": {"no_causal_mask": True}}, "no_causal_mask True in text_cfg"),
        ({"text_cfg": {"norm_kwargs": {"eps": 1e-6}}}, "norm_kwargs"),
        ({"model_cfg": {"multimodal_cfg": {"width": 8}}}, "multimodal_cfg"),
        ({"preprocess_cfg": {"resize_mode": "longest"}}, "resize_mode 'longest' in preprocess_cfg"),
    ],
)
def test_what_only_open_clip_builds_is_named_with_a_way_out(over, named, tmp_path):
    with pytest.raises(InputError, match=named) as caught:
        load_encoder(save_folder(tmp_path, **over))
    said = str(caught.value)
    assert "\n" not in said
    assert "encode with open_clip, save the embeddings with numpy.save and give them to evaluate" in said


def test_what_is_off_or_usual_changes_nothing(tmp_path):
    plain = load_encoder(save_folder(tmp_path / "plain"))
    vision = {
        "timm_model_name": None,
        "timm_pool": "avg",
        "pool_type": "tok",
        "attentional_pool": False,
        "patch_dropout": 0.5,
    }
    text = {"hf_tokenizer_name": "openai/clip", "no_causal_mask": False, "pool_type": "argmax", "proj_type": "linear"}
    other = load_encoder(save_folder(tmp_path / "told", vision_cfg=vision, text_cfg=text))
    np.testing.assert_array_equal(plain.encode_texts(["a dog"]), other.encode_texts(["a dog"]))


def test_files_that_are_missing_broken_or_of_another_network(tmp_path):
    folder = save_folder(tmp_path / "a")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"has no tokenizer; expected one of tokenizer\.json"):
        load_encoder(folder)
    folder = save_folder(tmp_path / "b")
    (folder / WEIGHTS).rename(folder / "open_clip_pytorch_model.bin")
    with pytest.raises(
        InputError, match=r"only open_clip_pytorch_model\.bin, which is a pickle and never loaded.*save_file"
    ):
        load_encoder(folder)
    folder = save_folder(tmp_path / "c", vision_cfg={"layers": 2})
    with pytest.raises(InputError, match=r"holds 'vision_model\.encoder\.layers\.2\..*a plain CLIP does not have"):
        load_encoder(folder)
    folder = save_folder(tmp_path / "d", vision_cfg={"layers": 4})
    with pytest.raises(InputError, match="lacks 16 weights of a CLIPModel"):
        load_encoder(folder)
    for text in (
        "{}",
        '{"model_cfg": {"vision_cfg": 3, "text_cfg": {}}}',
        '{"model_cfg": {"vision_cfg": {}, "text_cfg": {}}}',
    ):
        (folder / CONFIG).write_text(text)
        with pytest.raises(InputError, match="is no configuration of open_clip"):
            load_encoder(folder)


def test_what_transformers_saved_in_the_same_folder_comes_first(tmp_path):
    folder = tiny.save(tmp_path / "both", "clip")
    expected = load_encoder(folder).encode_texts(["a dog"])
    (folder / CONFIG).write_text("{}")
    np.testing.assert_array_equal(load_encoder(folder).encode_texts(["a dog"]), expected)
