"""Bad input on the way through training: files of others, labels that are missing, one image only, a loss of NaN."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import fico_utils
from fico_utils.errors import InputError
from fico_utils.experiment import features, weights
from fico_utils.models import training
from fico_utils.models.adv import Adv, AdvConfig
from fico_utils.models.beit3 import Beit3, Beit3Config
from fico_utils.models.blip2 import Blip2, Blip2Config
from fico_utils.models.blocks import Recipe
from fico_utils.models.imram import Imram, ImramConfig
from fico_utils.models.scan import Scan, ScanConfig
from fico_utils.models.ucch import Ucch, UcchConfig
from fico_utils.models.vsrn import Vsrn, VsrnConfig
from fico_utils.models.xvlm import Xvlm, XvlmConfig
from fico_utils.workspace import read_arrays, read_metadata, write_arrays

N_IMG, R, D, L, WORDS = 12, 4, 6, 7, 20
FUSION = {"n_patches": R, "max_words": L, "width": 8, "heads": 2, "d_embed": 4}
SYSTEMS = {
    "xvlm": lambda: Xvlm(XvlmConfig(D, WORDS, n_text_layers=1, n_fusion_layers=1, **FUSION)),
    "blip2": lambda: Blip2(Blip2Config(D, WORDS, n_queries=2, **FUSION)),
    "beit3": lambda: Beit3(Beit3Config(D, WORDS, n_patches=R, max_words=L, width=8, depth=1, heads=2)),
    "scan": lambda: Scan(ScanConfig(D, WORDS, d=5, d_word=4)),
    "imram": lambda: Imram(ImramConfig(D, WORDS, d=5, d_word=4)),
    "vsrn": lambda: Vsrn(VsrnConfig(D, WORDS, d=5, d_word=4, d_caption=4, blocks=1, batch_norm=True)),
    "adv": lambda: Adv(AdvConfig(D, WORDS, n_regions=R, bits=4, width=4, heads=2, ffn=4, d_word=4, channels=4)),
}


def made(system: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return SYSTEMS[system]()


def tokens(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Rows ``[start] words [end] 0`` of different lengths."""
    rows = rng.integers(4, WORDS, (*shape, L))
    for row, length in zip(rows.reshape(-1, L), rng.integers(3, L + 1, rows.size // L), strict=True):
        row[0], row[length - 1], row[length:] = 1, 2, 0
    return rows


def cells(n_img: int) -> training.Inputs:
    """Two captions an image, with their rewritings."""
    rng = np.random.default_rng(0)
    n = 2 * n_img
    text = {"tokens": tokens(rng, n), "rephrased": tokens(rng, n, 2), "adversarial": tokens(rng, n, 3)}
    grid = rng.standard_normal((n_img, R, D)).astype(np.float16)
    return training.Inputs({"regions": grid, "patches": grid}, text, np.repeat(np.arange(n_img), 2), f"toy-{n_img}")


def vectors(key: str = "toy") -> training.Inputs:
    rng = np.random.default_rng(0)
    caption_image = np.repeat(np.arange(N_IMG), 2)
    image = {"global": rng.standard_normal((N_IMG, D)).astype(np.float16)}
    return training.Inputs(image, {"doc2vec": image["global"][caption_image].astype(np.float32)}, caption_image, key)


def hashing(**over) -> Ucch:
    torch.manual_seed(0)
    return Ucch(UcchConfig(D, D, n_images=N_IMG, **{"bits": 8, "hidden": 10, "n_keys": 6} | over))


def finite(model: torch.nn.Module) -> bool:
    return all(torch.isfinite(t).all() for t in model.state_dict().values() if t.is_floating_point())


# ------------------------------------------------------------------------------------- checkpoints of others


@pytest.mark.parametrize(
    ("model", "data", "options"),
    [
        (lambda: hashing(bits=16), vectors, {}),
        (hashing, lambda: vectors("another corpus"), {}),
        (hashing, vectors, {"seed": 1}),
        (hashing, vectors, {"epochs": 3}),
    ],
    ids=["configuration", "corpus", "seed", "epochs"],
)
def test_a_checkpoint_of_another_training_is_not_continued(tmp_path, model, data, options):
    training.fit(hashing(), vectors(), seed=0, epochs=2, validate=lambda _: 0.0, folder=tmp_path)
    options = {"seed": 0, "epochs": 2} | options
    ours, fresh = model(), model()
    log = training.fit(ours, data(), validate=lambda _: 0.0, folder=tmp_path, **options)
    expected = training.fit(fresh, data(), validate=lambda _: 0.0, **options)
    assert [row["loss"] for row in log] == [row["loss"] for row in expected]
    for a, b in zip(ours.state_dict().values(), fresh.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("epoch,loss\n1,0.5\n"),
        lambda path: save_file({"a": np.zeros(3)}, path, metadata={"format": "pt"}),
    ],
    ids=["truncated", "empty", "text", "foreign"],
)
def test_a_file_that_is_no_checkpoint_of_ours_is_one_sentence(tmp_path, spoil):
    training.fit(hashing(), vectors(), seed=0, epochs=1, validate=lambda _: 0.0, folder=tmp_path)
    path = tmp_path / "last.safetensors"
    spoil(path)
    with pytest.raises(InputError, match=r"not a whole safetensors file of ours.*delete it and run again"):
        training.fit(hashing(), vectors(), seed=0, epochs=1, validate=lambda _: 0.0, folder=tmp_path)
    run = fico_utils.setup("mini", 0, str(tmp_path))
    run.path("models").mkdir(parents=True)
    path.rename(run.path("models", "toy.safetensors"))
    with pytest.raises(InputError, match="delete it and run again"):
        weights.weights(run, "toy", {}, ("models/ucch.py",), dict, live=False)


def build() -> dict[str, np.ndarray]:
    return {"a": np.ones(3, np.float32)}


def test_a_profile_is_served_by_its_own_folder_where_two_ship_the_same_settings(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / "shipped")
    for number, profile in enumerate(("mini", "standard")):
        made = {"a": np.full(3, number, np.float32)}
        write_arrays(tmp_path / "shipped" / profile / "toy.safetensors", made, {"settings": {"bits": 8}})
    found = {p: weights.shipped("toy", {"bits": 8}, p)["a"][0] for p in ("mini", "standard", "full")}
    assert found == {"mini": 0, "standard": 1, "full": 0}
    assert weights.shipped("toy", {"bits": 16}, "mini") is None


@pytest.mark.parametrize("changed", [{"bits": 16}, {"train": ["another corpus"]}], ids=["configuration", "corpus"])
def test_weights_of_another_configuration_or_corpus_are_made_anew(tmp_path, monkeypatch, changed, capsys):
    """Wherever they lie: in the run under the name asked for, or where shipped ones lie."""
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / "shipped")
    run, settings = fico_utils.setup("mini", 0, str(tmp_path)), {"bits": 8, "train": ["a corpus"]}
    weights.weights(run, "toy", settings | changed, ("models/ucch.py",), lambda: {"a": np.zeros(3, np.float32)}, True)
    path, shipped = run.path("models", "toy.safetensors"), tmp_path / "shipped" / "mini" / "toy.safetensors"
    shipped.parent.mkdir(parents=True)
    shipped.write_bytes(path.read_bytes())
    arrays = weights.weights(run, "toy", settings, ("models/ucch.py",), build, live=False)
    assert arrays["a"].tolist() == [1, 1, 1]
    assert read_metadata(path)["settings"] == settings
    assert weights.origin(run, "toy") == "trained"
    assert "training it now" in capsys.readouterr().out


def test_weights_made_by_other_code_are_made_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / "shipped")
    run = fico_utils.setup("mini", 0, str(tmp_path))
    weights.weights(run, "toy", {}, ("models/scan.py",), lambda: {"a": np.zeros(3, np.float32)}, live=True)
    assert weights.weights(run, "toy", {}, ("models/ucch.py",), build, live=True)["a"].tolist() == [1, 1, 1]


def test_a_truncated_shipped_file_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / "shipped")
    run, path = fico_utils.setup("mini", 0, str(tmp_path)), tmp_path / "shipped" / "mini" / "toy.safetensors"
    write_arrays(path, build(), {"settings": {"bits": 8}})
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match=r"toy\.safetensors is not a whole safetensors file"):
        weights.weights(run, "toy", {"bits": 8}, ("models/ucch.py",), build, live=False)


def test_weights_that_are_not_finite_are_not_kept(tmp_path):
    run = fico_utils.setup("mini", 0, str(tmp_path))
    with pytest.raises(InputError, match="weights a of toy are not finite"):
        weights.weights(run, "toy", {}, ("models/ucch.py",), lambda: {"a": np.float32([1, np.inf])}, live=True)
    assert not run.path("models", "toy.safetensors").exists()


def test_only_weights_beyond_half_precision_stay_as_they_are(tmp_path):
    run, large = fico_utils.setup("mini", 0, str(tmp_path)), np.float32([0.1, 1e6])  # infinite in half precision
    made = weights.weights(run, "toy", {}, ("models/ucch.py",), lambda: {"small": large[:1], "large": large}, live=True)
    kept = read_arrays(run.path("models", "toy.safetensors"))
    assert {n: a.dtype for n, a in kept.items()} == {"small": np.float16, "large": np.float32}
    assert made["large"].tolist() == large.tolist()
    assert made["small"].tolist() == [np.float16(0.1)]


# ------------------------------------------------------------------------------------------- missing labels


def test_a_supervised_system_on_a_corpus_without_labels_is_refused(tmp_path, monkeypatch):
    from fico_utils.data.pictoscenes import make_corpus

    whole = make_corpus("picto_diverse", {"train": 6, "val": 3, "test": 3})
    bare = dataclasses.replace(whole, labels=None, label_names=())
    monkeypatch.setattr(features, "part", lambda run, name, split: bare.subset(split))
    run = fico_utils.setup("mini", 0, str(tmp_path))
    with pytest.raises(InputError, match=r"'picto_diverse' has no labels; a supervised system needs them"):
        features.labels(run, "picto_diverse", "train")


# --------------------------------------------------------------------------------------------- one image only


@pytest.mark.parametrize("system", ["xvlm", "blip2"])
def test_fusion_with_one_image_only_is_refused(system):
    with pytest.raises(InputError, match="captions of one image only; expected at least two images"):
        training.fit(made(system), cells(1), seed=0, epochs=1, validate=lambda _: 0.0)
    model, data = made(system), cells(3)
    batch = data.batch(model, np.array([0, 1, 0, 1]))  # four pairs, all of image 0
    with pytest.raises(InputError, match="a batch of 4 pairs shows one image only"):
        model.loss(batch)


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_an_image_that_is_left_over_alone_takes_no_step(system, monkeypatch):
    """With 5 images in batches of 4 the last batch holds one: no negative, and no variance for a batch norm."""
    model = made(system)
    monkeypatch.setattr(type(model), "recipe", dataclasses.replace(model.recipe, batch_size=4))
    sizes, batch = [], training.Inputs.batch
    monkeypatch.setattr(
        training.Inputs, "batch", lambda self, m, captions: sizes.append(len(captions)) or batch(self, m, captions)
    )
    log = training.fit(model, cells(5), seed=0, epochs=2, validate=lambda _: 0.0)
    assert sizes == 2 * [4 * min(model.recipe.captions, 2)]  # an image has two captions
    assert all(np.isfinite(list(row.values())).all() for row in log)
    assert finite(model)


# ---------------------------------------------------------------------------------------------- another loss


class Changing(Ucch):
    """UCCH that says at one epoch that its loss became another."""

    recipe = Recipe(batch_size=4, lr=1e-3)
    changes = 99

    def start_epoch(self, epoch: int) -> bool:
        super().start_epoch(epoch)
        return epoch == self.changes


@pytest.mark.parametrize(("changes", "counted"), [(99, 3), (2, 1), (1, 2)])
def test_moments_start_anew_where_the_loss_becomes_another(tmp_path, changes, counted):
    torch.manual_seed(0)
    model = Changing(UcchConfig(D, D, n_images=N_IMG, bits=8, hidden=10, n_keys=6))
    model.changes = changes
    training.fit(model, vectors(), seed=0, epochs=3, validate=lambda _: 0.0, folder=tmp_path)
    steps = {float(a) for n, a in read_arrays(tmp_path / "last.safetensors").items() if n.endswith(".step")}
    assert steps == {counted * -(-N_IMG // 4)}


# ------------------------------------------------------------------------------------------- a loss of NaN


class Spoilt(Ucch):
    """UCCH whose loss is not a number in one batch of one epoch."""

    recipe = Recipe(batch_size=4, lr=1e-3)
    epoch, spoilt, count = 0, (1, 2), 0

    def start_epoch(self, epoch: int) -> None:
        super().start_epoch(epoch)
        self.epoch, self.count = epoch, 0

    def loss(self, batch):
        self.count += 1
        terms = super().loss(batch)
        if (self.epoch, self.count) == self.spoilt:
            terms["loss"] = terms["loss"] * float("nan")
        return terms


def spoilt(where: tuple[int, int]) -> Spoilt:
    torch.manual_seed(0)
    model = Spoilt(UcchConfig(D, D, n_images=N_IMG, bits=8, hidden=10, n_keys=6))
    model.spoilt = where
    return model


def test_a_loss_of_nan_keeps_the_last_good_checkpoint_from_which_training_goes_on(tmp_path):
    options = {"seed": 0, "epochs": 4, "validate": lambda _: 0.0}
    with pytest.raises(FloatingPointError, match=r"the loss of Spoilt is nan in epoch 3, batch 2.*checkpoint is kept"):
        training.fit(spoilt((2, 2)), vectors(), folder=tmp_path, **options)
    saved = read_arrays(tmp_path / "last.safetensors")
    assert len(read_metadata(tmp_path / "last.safetensors")["log"]) == 2
    assert all(np.isfinite(a).all() for a in saved.values())
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3

    resumed, whole = spoilt((9, 9)), spoilt((9, 9))
    log = training.fit(resumed, vectors(), folder=tmp_path, **options)
    expected = training.fit(whole, vectors(), **options)
    assert [row["loss"] for row in log] == pytest.approx([row["loss"] for row in expected])
    for a, b in zip(resumed.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_loss_of_nan_in_the_first_epoch_leaves_nothing_behind(tmp_path):
    with pytest.raises(FloatingPointError, match="epoch 1, batch 3"):
        training.fit(spoilt((0, 3)), vectors(), seed=0, epochs=2, validate=lambda _: 0.0, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_log_and_its_checkpoint_tell_the_same(tmp_path):
    log = training.fit(hashing(), vectors(), seed=0, epochs=2, validate=lambda _: 0.5, folder=tmp_path)
    assert json.loads(json.dumps(log)) == read_metadata(tmp_path / "last.safetensors")["log"]
