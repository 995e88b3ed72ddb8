"""Pretrained encoders on toy checkpoints that were saved and are loaded through the real from_pretrained."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from PIL import Image

from fico_utils.data.corpus import Corpus
from fico_utils.errors import InputError
from fico_utils.extras.pretrained import encoders as pretrained
from fico_utils.extras.pretrained.files import files_key
from fico_utils.models import encoding
from tests.models import tiny


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    return {kind: tiny.save(root / kind, kind) for kind in tiny.KINDS}


@pytest.fixture(scope="module")
def corpus():
    return tiny.corpus()


@pytest.fixture(scope="module")
def models(checkpoints):
    return {kind: pretrained.load_encoder(str(folder), device="cpu") for kind, folder in checkpoints.items()}


def bare(folder, corpus: Corpus, kind: str):
    """The network, pixels and tokens as transformers' own classes make them, with nothing of ours between."""
    made = getattr(transformers, pretrained.KINDS[kind].architecture).from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    pixels = processor(images=[Image.fromarray(p) for p in corpus.images], return_tensors="pt")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    longest = 12
    padding = "max_length" if kind.startswith("siglip") else True
    words = tokenizer(corpus.captions, padding=padding, truncation=True, max_length=longest, return_tensors="pt")
    return made, pixels, words


@pytest.mark.parametrize("kind", ["clip", "siglip", "siglip2"])
def test_dual_encoders_give_the_models_own_features(kind, checkpoints, corpus, models):
    made, pixels, words = bare(checkpoints[kind], corpus, kind)
    if kind != "clip":
        words = {"input_ids": words["input_ids"]}  # SigLIP reads its padding, and has no mask
    with torch.no_grad():
        img = F.normalize(made.get_image_features(**pixels).pooler_output, dim=-1)
        txt = F.normalize(
            made.get_text_features(**{n: words[n] for n in words if n != "token_type_ids"}).pooler_output, dim=-1
        )
    got = encoding.encode(models[kind], models[kind].inputs(corpus), batch_size=4)
    np.testing.assert_allclose(got["img"], img, atol=2e-5)
    np.testing.assert_allclose(got["txt"], txt, atol=2e-5)
    assert got["img"].dtype == got["txt"].dtype == np.float32
    assert np.ptp(got["img"] @ got["txt"].T) > 0.05  # the toy's vectors are not all alike


def test_blip_and_blip2_give_the_models_own_similarity(checkpoints, corpus, models):
    for kind in ("blip", "blip-2"):
        made, pixels, words = bare(checkpoints[kind], corpus, kind)
        inputs = {"pixel_values": pixels["pixel_values"], "input_ids": words["input_ids"]}
        inputs["attention_mask"] = words["attention_mask"]
        with torch.no_grad():
            if kind == "blip":
                expected = made(**inputs, use_itm_head=False).itm_score
            else:
                # its own forward pairs as many pictures as captions; captions are cut into parts of that size
                parts = [slice(i, i + corpus.n_img) for i in range(0, corpus.n_txt, corpus.n_img)]
                expected = torch.cat(
                    [
                        made(
                            inputs["pixel_values"], inputs["input_ids"][p], inputs["attention_mask"][p]
                        ).logits_per_image
                        for p in parts
                    ],
                    1,
                )
        model = models[kind]
        got = encoding.encode(model, model.inputs(corpus), batch_size=5)
        np.testing.assert_allclose(encoding.late_scores(model, **got), expected, atol=2e-5)
        assert np.allclose(np.linalg.norm(got["img"], axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize("kind", ["blip", "blip-2"])
def test_rerank_adds_the_cosine_to_the_matching_head(kind, checkpoints, corpus, models):
    made, pixels, words = bare(checkpoints[kind], corpus, kind)
    model = models[kind]
    inputs = model.inputs(corpus)
    sim = encoding.late_scores(model, **encoding.encode(model, inputs))
    got = encoding.rerank(model, inputs, sim, 3, batch_size=8)
    assert (np.isfinite(got["sim_i2t"]).sum(1) == 3).all()
    assert (np.isfinite(got["sim_t2i"]).sum(1) == 3).all()
    ids = words["input_ids"].clone()
    if kind == "blip":
        ids[:, 0] = made.config.text_config.vocab_size - 1  # [ENC], as in the original's evaluation
    flag = {"use_itm_head": True} if kind == "blip" else {"use_image_text_matching_head": True}
    for image, text in np.argwhere(np.isfinite(got["sim_i2t"]))[::3]:
        length = int(words["attention_mask"][text].sum())
        with torch.no_grad():
            out = made(
                pixel_values=pixels["pixel_values"][image : image + 1],
                input_ids=ids[text : text + 1, :length],
                attention_mask=torch.ones(1, length, dtype=torch.int64),
                **flag,
            )
        logit = (out.itm_score if kind == "blip" else out.logits_per_image)[0, 1]
        assert got["sim_i2t"][image, text] == pytest.approx(float(logit) + sim[image, text], abs=5e-5)
        if np.isfinite(got["sim_t2i"][text, image]):
            assert got["sim_t2i"][text, image] == pytest.approx(got["sim_i2t"][image, text], abs=1e-5)


def test_a_vocabulary_without_the_encode_token_keeps_its_first(tmp_path, corpus):
    words = len(tiny.SPECIAL) + len(tiny.WORDS)
    folder = tiny.save(tmp_path / "plain", "blip", vocab_size=words, bos_token_id=1)
    made, pixels, read = bare(folder, corpus, "blip")
    model = pretrained.load_encoder(str(folder), device="cpu")
    text = torch.from_numpy(model.tokens(corpus.captions[:1]))
    image = model.image_context(torch.from_numpy(model.inputs(corpus).image["pixels"][:1]))
    length = text.shape[1]
    with torch.no_grad():
        expected = made(read["input_ids"][:1, :length], pixels["pixel_values"][:1], True).itm_score[0, 1]
    assert float(model.match(image, text)[0]) == pytest.approx(float(expected), abs=5e-5)


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_pixels_are_those_of_the_image_processor(kind, checkpoints, corpus, models):
    _, pixels, _ = bare(checkpoints[kind], corpus, kind)
    cut = models[kind].inputs(corpus).image["pixels"][:]
    assert cut.dtype.kind in "iu"
    got = models[kind].preparation.pixels(torch.from_numpy(cut))
    assert set(got) == set(pixels)
    for name, expected in pixels.items():
        assert torch.allclose(got[name].float(), expected.float(), atol=1e-5), name


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_half_precision_stays_close(kind, checkpoints, corpus, models):
    exact = encoding.encode(models[kind], models[kind].inputs(corpus))
    for dtype, tolerance in (("float16", 0.02), ("bfloat16", 0.12)):
        model = pretrained.load_encoder(str(checkpoints[kind]), dtype=dtype, device="cpu")
        assert model.dtype == getattr(torch, dtype)
        rough = encoding.encode(model, model.inputs(corpus))
        for side in exact:
            assert rough[side].dtype == np.float32
            np.testing.assert_allclose(rough[side], exact[side], atol=tolerance)
        assert model.key != models[kind].key
        if "rerank" in model.measures:
            sim = encoding.late_scores(model, **rough)
            assert (
                np.isfinite(encoding.rerank(model, model.inputs(corpus), sim, 2)["sim_t2i"]).sum() == 2 * corpus.n_txt
            )


def test_padding_and_case_change_nothing(models):
    clip = models["clip"]
    alone = clip.encode_text(torch.from_numpy(clip.tokens(["a red cat"])))
    beside = clip.encode_text(torch.from_numpy(clip.tokens(["A Red CAT", "the dog under a tree on the left"])))
    assert torch.allclose(alone[0], beside[0], atol=1e-6)
    assert models["siglip"].tokens(["a"]).shape == (1, 12)
    assert clip.tokens(["a"]).shape == (1, 3)


def test_a_long_caption_is_cut_and_keeps_its_end(models):
    tokens = models["clip"].tokens(["cat " * 5000, "a dog"])
    assert tokens.shape == (2, 12)
    assert tokens[0, -1] == 2 + 1  # the end, plus one
    assert np.isfinite(models["clip"].encode_text(torch.from_numpy(tokens)).numpy()).all()


def test_clip_cannot_rerank(models, corpus):
    clip = models["clip"]
    with pytest.raises(InputError, match="no head that reads picture and caption together"):
        encoding.rerank(clip, clip.inputs(corpus), np.zeros((corpus.n_img, corpus.n_txt), np.float32), 2)


# ------------------------------------------------------------------------------------------------ bad input


def one_sentence(error: InputError) -> str:
    text = str(error)
    assert "\n" not in text
    return text


def test_a_missing_folder_says_what_to_put_there(tmp_path):
    with pytest.raises(InputError, match="there is no folder") as caught:
        pretrained.load_encoder(str(tmp_path / "nowhere" / "else"))
    assert "hf download" in one_sentence(caught.value)


def test_hub_off_and_nothing_here(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError) as caught:
        pretrained.load_encoder("someone/clip-never-published")
    said = one_sentence(caught.value)
    assert "HF_HUB_OFFLINE=1" in said
    assert str(tmp_path / "models--someone--clip-never-published") in said
    assert "hf download someone/clip-never-published" in said


def test_a_hub_copy_is_found_without_the_hub(monkeypatch, tmp_path, checkpoints, models):
    """The cache's own layout: refs/main names a commit, snapshots/<commit> holds the files."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--someone--clip"
    commit = "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(checkpoints["clip"], repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    assert pretrained.load_encoder("someone/clip", device="cpu").key == models["clip"].key


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "clap", "architectures": ["ClapModel"]}, "holds a ClapModel"),
        ({"model_type": "blip", "architectures": ["BlipForConditionalGeneration"]}, "BlipForConditionalGeneration"),
        ({"model_type": "clip", "architectures": ["CLIPVisionModel"]}, "CLIPVisionModel"),
        ({"architectures": ["CLIPModel"]}, "names no model_type"),
        ([], r"holds \[\], expected a JSON object"),
    ],
)
def test_an_unknown_class_of_model(tmp_path, config, said):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=said) as caught:
        pretrained.load_encoder(str(tmp_path))
    one_sentence(caught.value)


def broken(checkpoints, tmp_path, kind="clip"):
    return shutil.copytree(checkpoints[kind], tmp_path / "broken")


def test_truncated_weights(checkpoints, tmp_path):
    folder = broken(checkpoints, tmp_path)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-100])
    with pytest.raises(InputError, match=r"network of .* cannot be made from its files"):
        pretrained.load_encoder(str(folder))


def test_pickled_weights_are_not_loaded(checkpoints, tmp_path):
    folder = broken(checkpoints, tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="a pickle and never loaded"):
        pretrained.load_encoder(str(folder))


def test_an_index_that_leaves_its_folder(checkpoints, tmp_path):
    folder = broken(checkpoints, tmp_path)
    (folder / "model.safetensors").rename(tmp_path / "other.safetensors")
    index = {"metadata": {}, "weight_map": {"logit_scale": "../other.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="its own folder only"):
        pretrained.load_encoder(str(folder))


def test_weights_of_half_a_model(checkpoints, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = broken(checkpoints, tmp_path)
    state = {n: t for n, t in load_file(folder / "model.safetensors").items() if not n.startswith("text_model")}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lacks \d+ weights of a CLIPModel"):
        pretrained.load_encoder(str(folder))


def test_weights_of_another_size(checkpoints, tmp_path):
    folder = broken(checkpoints, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["projection_dim"] = 8
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="cannot be made from its files") as caught:
        pretrained.load_encoder(str(folder))
    one_sentence(caught.value)


@pytest.mark.parametrize("name", ["preprocessor_config.json", "tokenizer.json"])
def test_a_folder_without_its_processor_or_tokenizer(checkpoints, tmp_path, name):
    folder = broken(checkpoints, tmp_path)
    for file in folder.glob(name[:9] + "*"):
        file.unlink()
    with pytest.raises(InputError) as caught:
        pretrained.load_encoder(str(folder))
    one_sentence(caught.value)


def test_a_tokenizer_of_another_model(checkpoints, tmp_path, corpus):
    folder = broken(checkpoints, tmp_path)
    read = json.loads((folder / "tokenizer.json").read_text())
    read["model"]["vocab"]["cat"] = 5000
    (folder / "tokenizer.json").write_text(json.dumps(read))
    with pytest.raises(InputError, match="tokenizer of the same checkpoint"):
        pretrained.load_encoder(str(folder), device="cpu").tokens(["a cat"])


def test_code_that_comes_with_a_checkpoint_is_not_run(checkpoints, tmp_path, models):
    folder = broken(checkpoints, tmp_path)
    witness = tmp_path / "ran"
    (folder / "modeling_own.py").write_text(f"open({str(witness)!r}, 'w')\nclass Own: pass\n")
    for name in ("config.json", "preprocessor_config.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text())
        content["auto_map"] = dict.fromkeys(("AutoModel", "AutoImageProcessor"), "modeling_own.Own")
        content["auto_map"]["AutoTokenizer"] = ["modeling_own.Own", "modeling_own.Own"]
        (folder / name).write_text(json.dumps(content))
    try:
        pretrained.load_encoder(str(folder), device="cpu")
    except InputError as error:
        one_sentence(error)
    assert not witness.exists()


@pytest.mark.parametrize(
    ("options", "said"), [({"dtype": "int8"}, "dtype is 'int8'"), ({"device": "cuda:77"}, "cannot be used")]
)
def test_bad_options(checkpoints, options, said):
    with pytest.raises(InputError, match=said) as caught:
        pretrained.load_encoder(str(checkpoints["clip"]), **options)
    one_sentence(caught.value)


def test_a_corpus_without_pictures(models):
    with pytest.raises(InputError, match="no pictures"):
        models["clip"].inputs(Corpus("bare", ["a"], ["a cat"], [0], ["test"]))


def test_the_key_follows_the_files(checkpoints, tmp_path):
    folder = broken(checkpoints, tmp_path)
    assert files_key(folder) == files_key(checkpoints["clip"])
    with open(folder / "model.safetensors", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    assert files_key(folder) != files_key(checkpoints["clip"])
