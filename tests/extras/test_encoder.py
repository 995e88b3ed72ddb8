"""`fico_utils.load_encoder`: pictures as a person sees them, texts of any length, folders as people have them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from PIL import Image

from fico_utils import InputError, load_encoder
from tests.models import tiny

SIDE = 16
TOWERS = {
    "clip": ("CLIPVisionModelWithProjection", "CLIPTextModelWithProjection"),
    "siglip": ("SiglipVisionModel", "SiglipTextModel"),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    return {kind: tiny.save(root / kind, kind) for kind in tiny.KINDS}


@pytest.fixture(scope="module")
def encoders(folders):
    return {kind: load_encoder(folder) for kind, folder in folders.items()}


def random_pictures(n: int, seed: int = 0) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(3, 50, (n, 2))
    return [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


def random_texts(n: int, longest: int = 9, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(tiny.WORDS, rng.integers(0, longest))) for _ in range(n)]


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_one_by_one_is_as_in_a_batch(kind, encoders):
    encoder, pictures, texts = encoders[kind], random_pictures(40), random_texts(70)
    for encode, items in ((encoder.encode_images, pictures), (encoder.encode_texts, texts)):
        together, alone = encode(items), np.concatenate([encode([item]) for item in items])
        assert together.dtype == np.float32
        assert together.shape == (len(items), encode(items[0]).shape[1])
        np.testing.assert_allclose(together, alone, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
        assert np.ptp(together @ together.T) > 0.05  # they are not all alike


@pytest.mark.parametrize("kind", ["clip", "siglip", "siglip2"])
def test_pictures_are_the_models_own_features(kind, folders, encoders):
    network = transformers.AutoModel.from_pretrained(folders[kind]).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folders[kind], backend="pil")
    pictures = random_pictures(5)
    with torch.no_grad():
        features = network.get_image_features(**processor(images=pictures, return_tensors="pt")).pooler_output
    np.testing.assert_allclose(encoders[kind].encode_images(pictures), F.normalize(features, dim=-1), atol=2e-5)


def test_of_blip2_the_first_query_stands_for_a_picture(encoders, capsys):
    encoder, pictures = encoders["blip-2"], random_pictures(4)
    cut = torch.from_numpy(encoder.preparation.cut(pictures))
    with torch.no_grad():
        np.testing.assert_allclose(encoder.encode_images(pictures), encoder.encode_image(cut)[:, 0], atol=1e-6)
    assert "3 vectors a picture" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ pictures


def as_seen(name: str, folder: Path) -> tuple[Path, np.ndarray]:
    """A file of some kind, and the plain RGB pixels of what a viewer shows."""
    half = np.zeros((SIDE, SIDE, 3), np.uint8)
    half[: SIDE // 4, : SIDE // 2] = (250, 10, 10)  # no turn and no mirror leaves it as it is
    grey = np.add.outer(np.arange(SIDE), 7 * np.arange(SIDE)).astype(np.uint8)
    hole = np.where(np.arange(SIDE)[:, None] < 5, 0, 255).astype(np.uint8) * np.ones((1, SIDE), np.uint8)
    on_white = np.where(hole[..., None] == 0, 255, half)
    path, plain, options = folder / f"{name}.png", half, {}
    if name.startswith("exif"):
        exif = Image.Exif()
        exif[0x0112] = int(name[-1])
        turned = {"1": half, "2": half[:, ::-1], "3": half[::-1, ::-1], "4": half[::-1], "5": half.transpose(1, 0, 2),
                  "6": np.rot90(half, -1), "7": np.rot90(half, 2).transpose(1, 0, 2), "8": np.rot90(half)}  # fmt: skip
        picture, plain, options = Image.fromarray(half), turned[name[-1]], {"exif": exif}
    elif name == "palette":
        picture = Image.fromarray(half).quantize(4)
        plain = np.asarray(picture.convert("RGB"))
    elif name == "see-through palette":
        picture = Image.new("P", (SIDE, SIDE))
        picture.putdata((hole == 0).astype(int).ravel().tolist())
        picture.putpalette([10, 200, 10, 0, 0, 0] + [0] * 762)
        plain, options = np.where(hole[..., None] == 0, 255, np.uint8([10, 200, 10])), {"transparency": 1}
    elif name == "rgba":
        picture, plain = Image.fromarray(np.dstack([half, hole])), on_white
    elif name == "half transparent":
        picture = Image.fromarray(np.dstack([0 * half, np.full_like(hole, 102)]))  # 0.4 of black on white
        plain = np.full_like(half, 153)
    elif name == "grey":
        picture, plain = Image.fromarray(grey), np.dstack([grey] * 3)
    elif name == "grey alpha":
        picture = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(hole)])
        plain = np.dstack([np.where(hole == 0, 255, grey)] * 3)
    elif name == "one bit":
        picture, plain = Image.fromarray(hole).convert("1"), np.dstack([hole] * 3)
    elif name == "16 bits":
        picture, plain = Image.fromarray(grey.astype(np.uint16) * 257), np.dstack([grey] * 3)
    elif name == "16 bits, turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        picture, options = Image.fromarray(grey.astype(np.uint16) * 257), {"exif": exif}
        plain = np.dstack([np.rot90(grey, -1)] * 3)
    elif name == "cmyk":
        path, picture = folder / "cmyk.tif", Image.fromarray(half).convert("CMYK")
    picture.save(path, **options)
    return path, np.ascontiguousarray(plain).astype(np.uint8)


@pytest.mark.parametrize(
    "name",
    [
        *(f"exif {n}" for n in range(1, 9)),
        *("palette", "see-through palette", "rgba", "half transparent", "grey", "grey alpha", "one bit", "16 bits"),
        *("16 bits, turned", "cmyk"),
    ],
)
def test_a_picture_is_encoded_as_it_is_seen(name, encoders, tmp_path):
    """By its path, and opened by Pillow, which it leaves open."""
    path, plain = as_seen(name, tmp_path)
    expected = encoders["siglip"].encode_images([Image.fromarray(plain)])
    with Image.open(path) as opened:
        got = encoders["siglip"].encode_images([path, str(path), opened])
        opened.load()
    np.testing.assert_allclose(got, np.repeat(expected, 3, axis=0), atol=1e-5)


def test_a_picture_that_cannot_be_read_is_named(encoders, tmp_path):
    good, broken, text = tmp_path / "good.jpg", tmp_path / "broken.jpg", tmp_path / "text.jpg"
    random_pictures(1)[0].resize((90, 80)).save(good)
    broken.write_bytes(good.read_bytes()[:900])
    text.write_text("no picture")
    for bad, said in (
        (broken, "broken.jpg cannot be read"), (Image.open(broken), "broken.jpg cannot be read"),
        (text, "text.jpg cannot be read"), (tmp_path / "x.jpg", "there is no picture"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said) as caught:
            encoders["clip"].encode_images([good, bad])
        assert "\n" not in str(caught.value)


# --------------------------------------------------------------------------------------------------- texts


@pytest.mark.parametrize("kind", ["clip", "siglip", "blip"])
def test_a_long_caption_is_cut_before_its_end_and_that_is_said(kind, encoders, capsys):
    words = list(np.random.default_rng(1).choice(tiny.WORDS, 30))
    long, kept = " ".join(words), " ".join(words[:10])  # 12 tokens with start and end
    got = encoders[kind].encode_texts([long, kept, "a dog"])
    assert "1 of 3 captions are longer than the 12 tokens" in capsys.readouterr().err
    np.testing.assert_allclose(got[0], got[1], atol=1e-6)
    encoders[kind].encode_texts([kept, "a dog"])
    assert capsys.readouterr().err == ""


def without_padding_token(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    settings = json.loads((to / "tokenizer_config.json").read_text())
    settings.pop("pad_token")
    (to / "tokenizer_config.json").write_text(json.dumps(settings))
    return to


@pytest.mark.parametrize("kind", ["clip", "blip", "blip-2"])
def test_a_tokenizer_without_padding_token_will_do(kind, folders, encoders, tmp_path):
    encoder = load_encoder(without_padding_token(folders[kind], tmp_path / "bare"))
    assert encoder.tokenizer.pad_token_id is None
    texts = random_texts(9)
    np.testing.assert_array_equal(encoder.encode_texts(texts), encoders[kind].encode_texts(texts))


def test_siglip_reads_its_padding_and_needs_the_token(folders, tmp_path):
    folder = without_padding_token(folders["siglip"], tmp_path / "bare")
    with pytest.raises(InputError, match="the tokenizer has no padding token; set pad_token"):
        load_encoder(folder)


def test_a_padding_token_above_the_end_is_no_end(folders, encoders, tmp_path):
    """Of configurations whose end is 2, as OpenAI's were, transformers takes the state at the largest id."""
    folder = shutil.copytree(folders["clip"], tmp_path / "clip")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["pad_token"] = tiny.WORDS[-1]  # the largest id of all
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    texts = ["a dog", "the cat of the house on the left"]
    encoder = load_encoder(folder)
    alone = np.concatenate([encoder.encode_texts([text]) for text in texts])
    np.testing.assert_allclose(encoder.encode_texts(texts), alone, atol=1e-6)


@pytest.mark.parametrize(
    ("texts", "said"), [(["a", float("nan")], "text 1 to encode is nan"), ([], "nothing is given to encode")]
)
def test_what_is_no_text(encoders, texts, said):
    with pytest.raises(InputError, match=said):
        encoders["clip"].encode_texts(texts)


# ------------------------------------------------------------------------------------------------- folders


def save_towers(root: Path, kind: str, folder: Path) -> tuple[Path, Path]:
    """The towers of a checkpoint in folders of their own, as transformers saves them."""
    whole = tiny.network(kind)
    weights = whole.state_dict()
    for name, config, tower_class, files in zip(
        ("vision", "text"), (whole.config.vision_config, whole.config.text_config), TOWERS[kind],
        ("preprocessor*", "tokenizer*"), strict=True,
    ):  # fmt: skip
        tower = getattr(transformers, tower_class)(config)
        tower.load_state_dict({n: weights[n if n in weights else f"{name}_model.{n}"] for n in tower.state_dict()})
        tower.save_pretrained(root / name)
        for file in folder.glob(files):
            shutil.copy(file, root / name)
    return root / "vision", root / "text"


@pytest.mark.parametrize("kind", TOWERS)
def test_two_folders_of_towers_are_the_whole(kind, folders, encoders, tmp_path):
    vision, text = save_towers(tmp_path, kind, folders[kind])
    pictures, texts = random_pictures(3), random_texts(5)
    for given in ([vision, str(text)], tmp_path):
        encoder = load_encoder(given)
        np.testing.assert_array_equal(encoder.encode_images(pictures), encoders[kind].encode_images(pictures))
        np.testing.assert_array_equal(encoder.encode_texts(texts), encoders[kind].encode_texts(texts))
        assert encoder.key != encoders[kind].key
    with pytest.raises(InputError, match=r"text holds a .* and .*vision a") as caught:
        load_encoder([text, vision])
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="3 folders are given"):
        load_encoder([vision, text, text])


@pytest.mark.parametrize(
    ("files", "said"),
    [("preprocessor*", "has no image processor; expected one of"), ("tokenizer*", "has no tokenizer; expected one of")],
)
def test_files_that_are_missing_are_named(files, said, folders, tmp_path):
    folder = shutil.copytree(folders["clip"], tmp_path / "part")
    for file in folder.glob(files):
        file.unlink()
    with pytest.raises(InputError, match=said) as caught:
        load_encoder(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("preprocessor_config.json", {"image_std": {}}),
        ("preprocessor_config.json", {"image_mean": [0.5] * 16}),
        ("preprocessor_config.json", {"size": {"height": 2**40, "width": 20}}),
        ("tokenizer_config.json", {"model_max_length": [16]}),
    ],
)
def test_a_preparation_that_does_not_work_is_refused_with_its_folder(name, wrong, folders, tmp_path):
    """Each of them once ended in a traceback, when the first picture or text was encoded."""
    folder = shutil.copytree(folders["clip"], tmp_path / "clip")
    settings = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(settings | wrong))
    with pytest.raises(InputError, match=f"the (encoder|tokenizer) of {folder} cannot be made from its files"):
        load_encoder(folder)


def test_a_network_that_cannot_compute_is_refused_when_it_is_loaded(folders, tmp_path):
    """Once it ended in a traceback, at the first picture."""
    folder = shutil.copytree(folders["clip"], tmp_path / "clip")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    wrong = {"size": {"height": 24, "width": 24}, "crop_size": {"height": 24, "width": 24}}  # the network reads 16
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | wrong))
    with pytest.raises(InputError, match=f"the encoder of {folder} cannot be made from its files"):
        load_encoder(folder)


def test_more_layers_than_weights_are_refused_before_they_are_built(folders, tmp_path):
    """Once they took the time and the memory of the process."""
    folder = shutil.copytree(folders["clip"], tmp_path / "clip")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] = 2**24
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="num_hidden_layers 16777216; expected at most 1000"):
        load_encoder(folder)
