"""Classic features against the definitions: VGG-19 written out once more, and transformers' own outputs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from PIL import Image
from safetensors.torch import save_file

from fico_utils.errors import InputError
from fico_utils.models import classic
from fico_utils.models.classic import VGG19, load_backbone, load_vgg19, visual_features
from tests.models import tiny

#: torchvision's names of VGG-19's convolutions, and after which of them the picture is halved.
CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
HALVED = (2, 7, 16, 25, 34)
#: Output channels as published, in multiples of 64.
CHANNELS = (1, 1, 2, 2, 4, 4, 4, 4, 8, 8, 8, 8, 8, 8, 8, 8)


def vgg_state(width: int = 2, hidden: int = 12) -> dict[str, torch.Tensor]:
    """Random weights by torchvision's names, thin; the last layer included."""
    g = torch.Generator().manual_seed(0)
    state, wide = {}, 3
    for number, times in zip(CONVOLUTIONS, CHANNELS, strict=True):
        state[f"features.{number}.weight"] = torch.randn(times * width, wide, 3, 3, generator=g) / (2 * wide**0.5)
        state[f"features.{number}.bias"] = torch.randn(times * width, generator=g) / 10
        wide = times * width
    for number, (out, into) in {"0": (hidden, 49 * wide), "3": (hidden, hidden), "6": (10, hidden)}.items():
        state[f"classifier.{number}.weight"] = torch.randn(out, into, generator=g) / into**0.5
        state[f"classifier.{number}.bias"] = torch.randn(out, generator=g) / 10
    return state


def fc7(state: dict[str, torch.Tensor], pictures: torch.Tensor) -> torch.Tensor:
    """VGG-19 up to its second fully connected layer, layer by layer."""
    x = pictures
    for number in CONVOLUTIONS:
        x = F.relu(F.conv2d(x, state[f"features.{number}.weight"], state[f"features.{number}.bias"], padding=1))
        if number in HALVED:
            x = F.max_pool2d(x, 2)
    x = x.flatten(1)
    for number in ("0", "3"):
        x = F.relu(F.linear(x, state[f"classifier.{number}.weight"], state[f"classifier.{number}.bias"]))
    return x


@pytest.fixture(scope="module")
def corpus():
    return tiny.corpus(n=3, height=230, width=300)


def prepared(corpus) -> torch.Tensor:
    """Shorter side 256, centre 224, ImageNet's mean and spread: written with Pillow and numpy alone."""
    out = []
    for picture in corpus.images:
        image = Image.fromarray(picture)
        scale = 256 / min(image.size)
        image = image.resize([int(s * scale) for s in image.size], Image.Resampling.BILINEAR)
        left, top = (image.width - 224) // 2, (image.height - 224) // 2
        values = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32) / 255
        out.append((values - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225])
    return torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_vgg19_equals_the_layers_written_out(tmp_path, corpus, ending):
    state = vgg_state()
    path = tmp_path / f"vgg19.{ending}"
    save_file(state, path) if ending == "safetensors" else torch.save(state, path)
    extractor = load_vgg19(path)
    got = visual_features(extractor, corpus, tmp_path / "x.safetensors", progress=False)
    expected = fc7(state, prepared(corpus)).numpy()
    assert got["global"].shape == (3, 12)
    assert (expected > 0).any()
    assert (got["global"] >= 0).all()
    np.testing.assert_allclose(got["global"], expected, rtol=0.01, atol=0.01 * expected.max())


def test_vgg19_has_the_published_sizes():
    with torch.device("meta"):
        model = VGG19()
    shapes = {n: tuple(t.shape) for n, t in model.state_dict().items()}
    assert sum(t.numel() for t in model.parameters()) == 143_667_240 - 4_097_000  # less the layer of ImageNet's classes
    assert shapes["features.34.weight"] == (512, 512, 3, 3)
    assert shapes["classifier.0.weight"] == (4096, 25088)
    assert set(shapes) == {n for n in vgg_state() if not n.startswith("classifier.6.")}


class Evil:
    """What a pickle may do when it is loaded."""

    def __reduce__(self):
        return (open, ("/tmp/never", "w"))


def test_bad_vgg19_files(tmp_path):
    state = vgg_state()
    with pytest.raises(InputError, match=r"there is no file .*vgg19-dcbb9e9d\.pth"):
        load_vgg19(tmp_path / "none.pth")
    torch.save(state, tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:-500])
    save_file(state, tmp_path / "cut.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "cut.safetensors").read_bytes()[:-500])
    torch.save({"evil": Evil()}, tmp_path / "evil.pth")
    for name in ("cut.pth", "cut.safetensors", "evil.pth"):
        with pytest.raises(InputError, match="truncated or no") as caught:
            load_vgg19(tmp_path / name)
        assert "\n" not in str(caught.value)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match="holds no state dict"):
        load_vgg19(tmp_path / "list.pth")
    del state["features.10.bias"]
    save_file(state, tmp_path / "less.safetensors")
    with pytest.raises(InputError, match="holds no VGG-19") as caught:
        load_vgg19(tmp_path / "less.safetensors")
    assert "\n" not in str(caught.value)
    state = vgg_state()
    state["features.5.weight"][0] = float("nan")
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(InputError, match=r"features\.5\.weight holds NaN"):
        load_vgg19(tmp_path / "nan.safetensors")


# ------------------------------------------------------------------------------------------------ backbones


def save_backbone(folder, kind: str):
    torch.manual_seed(0)
    sizes = {**tiny.TOWER, "image_size": 16, "patch_size": 8, **tiny.SPREAD}
    if kind == "vit":
        model = transformers.ViTModel(transformers.ViTConfig(**sizes))
    elif kind == "vit without pooler":
        model = transformers.ViTModel(transformers.ViTConfig(**sizes), add_pooling_layer=False)
    elif kind == "dinov2 with registers":
        config = transformers.Dinov2WithRegistersConfig(**sizes, num_register_tokens=3)
        model = transformers.Dinov2WithRegistersModel(config)
    elif kind == "resnet":
        config = transformers.ResNetConfig(embedding_size=4, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic")
        model = transformers.ResNetModel(config)
    elif kind == "swin":
        config = transformers.SwinConfig(
            image_size=16, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4
        )
        model = transformers.SwinModel(config)
    else:
        tiny.save(folder, "clip")
        return folder
    model.save_pretrained(folder)
    settings = {"image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16}}
    settings |= {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def own_outputs(folder, corpus):
    """What transformers itself makes of the pictures."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    pixels = processor(images=[Image.fromarray(p) for p in corpus.images], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        return getattr(model, "vision_model", model)(pixel_values=pixels)


#: Model -> tokens before the patches (None: maps), and the kinds of features that it has.
BACKBONES = {
    "vit": (1, ("pooled", "cls", "patches")),
    "dinov2 with registers": (4, ("pooled", "cls", "patches")),
    "resnet": (None, ("pooled", "patches")),
    "swin": (0, ("pooled", "patches")),
    "clip": (1, ("pooled", "cls", "patches")),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_give_their_own_outputs(tmp_path, name):
    extra, kinds = BACKBONES[name]
    folder, small = save_backbone(tmp_path / "m", name), tiny.corpus(n=4)
    own = own_outputs(folder, small)
    states = own.last_hidden_state
    patches = states.flatten(2).transpose(1, 2) if extra is None else states[:, extra:]
    expected = {"pooled": own.pooler_output.flatten(1), "cls": states[:, 0], "patches": patches}
    for kind in classic.KINDS:
        extractor = load_backbone(str(folder), kind, device="cpu")
        path = tmp_path / f"{kind}.safetensors"
        if kind not in kinds:
            with pytest.raises(InputError, match="ask for pooled or patches"):
                visual_features(extractor, small, path, progress=False)
            continue
        got = visual_features(extractor, small, path, progress=False)
        (key,) = got
        assert key == ("regions" if kind == "patches" else "global")
        assert got[key].shape == tuple(expected[kind].shape)
        np.testing.assert_allclose(got[key], expected[kind], atol=0.01, rtol=0.01)


def test_a_pooler_without_weights_is_not_invented(tmp_path):
    folder = save_backbone(tmp_path / "m", "vit without pooler")
    with pytest.raises(InputError, match=r"lacks 2 weights of a ViTModel, such as pooler\.dense"):
        load_backbone(str(folder), "pooled")
    assert load_backbone(str(folder), "cls").name == "global"


def test_other_bad_input(tmp_path):
    folder = save_backbone(tmp_path / "m", "vit")
    with pytest.raises(InputError, match="features of kind 'mean'"):
        load_backbone(str(folder), "mean")
    with pytest.raises(InputError, match="memory_mib is 0"):
        visual_features(load_backbone(str(folder)), tiny.corpus(n=2), tmp_path / "x.safetensors", memory_mib=0)
    torch.manual_seed(0)
    bert = transformers.BertModel(transformers.BertConfig(vocab_size=9, **tiny.TOWER))
    bert.save_pretrained(tmp_path / "bert")
    with pytest.raises(InputError, match="reads no pictures"):
        load_backbone(str(tmp_path / "bert"))
