"""Weights, checkpoints and bad input of a training: damaged files, missing labels, one image only, a loss of NaN."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import fico_utils
from fico_utils.artifacts import Recipe, Store, Units
from fico_utils.errors import InputError
from fico_utils.experiment import label_sources, weights
from fico_utils.files import read_arrays, write_arrays
from fico_utils.models import contract, training
from fico_utils.models.adv import Adv, AdvConfig
from fico_utils.models.beit3 import Beit3, Beit3Config
from fico_utils.models.blip2 import Blip2, Blip2Config
from fico_utils.models.imram import Imram, ImramConfig
from fico_utils.models.scan import Scan, ScanConfig
from fico_utils.models.ucch import Ucch, UcchConfig
from fico_utils.models.vsrn import Vsrn, VsrnConfig
from fico_utils.models.xvlm import Xvlm, XvlmConfig

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


def units_in(folder: Path) -> Units:
    return Store(folder).units("models", "toy", Recipe("ucch"))


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
def test_a_damaged_checkpoint_is_named_and_training_starts_over(tmp_path, capsys, spoil):
    units, options = units_in(tmp_path), {"seed": 0, "epochs": 2, "validate": lambda _: 0.0}
    expected = training.fit(hashing(), vectors(), units=units, **options)
    spoil(units.path(1))
    log = training.fit(hashing(), vectors(), units=units, **options)
    assert [row["loss"] for row in log] == [row["loss"] for row in expected]
    said = capsys.readouterr().err
    assert units.path(1).name in said
    assert "this unit is made again" in said


# --------------------------------------------------------------------------------------------------- weights


def build() -> tuple[dict[str, np.ndarray], list[dict]]:
    return {"a": np.ones(3, np.float32)}, [{"epoch": 1, "loss": 0.5}]


def never() -> tuple[dict[str, np.ndarray], list[dict]]:
    raise AssertionError("nothing should be trained here")


def ship(folder: Path, recipe: Recipe, arrays: dict[str, np.ndarray]) -> Path:
    path = folder / "toy.safetensors"
    write_arrays(path, arrays, Store(folder).header(recipe, arrays))
    return path


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run beside an empty folder of shipped weights."""
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / "shipped")
    return fico_utils.setup("mini", 0, str(tmp_path))


RECIPE = Recipe("ucch", {"bits": 8}, 0, ("a corpus",))


def test_a_profile_is_served_by_its_own_folder_where_two_ship_one_recipe(run, tmp_path):
    for number, profile in enumerate(("mini", "standard")):
        ship(tmp_path / "shipped" / profile, RECIPE, {"a": np.full(3, number, np.float32)})
    served = {p: dataclasses.replace(run, profile=p) for p in ("mini", "standard", "full")}
    numbers = {p: weights.find_weights(r, "toy", RECIPE).arrays()["a"][0] for p, r in served.items()}
    assert numbers == {"mini": 0, "standard": 1, "full": 0}
    assert weights.find_weights(run, "toy", Recipe("ucch", {"bits": 16}, 0, ("a corpus",))) is None


@pytest.mark.parametrize(
    "other",
    [
        Recipe("ucch", {"bits": 16}, 0, ("a corpus",)),
        Recipe("ucch", {"bits": 8}, 1, ("a corpus",)),
        Recipe("ucch", {"bits": 8}, 0, ("another corpus",)),
        Recipe("scan", {"bits": 8}, 0, ("a corpus",)),
    ],
    ids=["configuration", "seed", "corpus", "system"],
)
def test_weights_of_another_recipe_are_made_anew(run, tmp_path, other, capsys):
    """Wherever they lie: in the run under the name asked for, or where shipped ones lie."""
    first = weights.train_weights(run, "toy", other, lambda: ({"a": np.zeros(3, np.float32)}, []), True)
    ship(tmp_path / "shipped" / "mini", other, {"a": np.zeros(3, np.float32)})
    made = weights.train_weights(run, "toy", RECIPE, build, live=False)
    assert made.arrays()["a"].tolist() == [1, 1, 1]
    assert made.header["recipe"] == RECIPE.described
    assert made.origin == "trained"
    assert made.log == [{"epoch": 1, "loss": 0.5}]
    assert made.digest != first.digest
    assert "they are trained now" in capsys.readouterr().out


def test_what_ships_serves_unless_training_is_asked_for(run, tmp_path):
    ship(tmp_path / "shipped" / "mini", RECIPE, {"a": np.zeros(3, np.float16)})
    assert weights.train_weights(run, "toy", RECIPE, never, live=False).origin == "shipped"
    assert weights.train_weights(run, "toy", RECIPE, build, live=True).origin == "trained"
    assert weights.train_weights(run, "toy", RECIPE, never, live=True).arrays()["a"].tolist() == [1, 1, 1]
    reads_shipped = dataclasses.replace(run, shipped="mini")
    assert weights.find_weights(reads_shipped, "toy", RECIPE).arrays()["a"].tolist() == [0, 0, 0]


def test_a_second_training_of_one_recipe_waits_and_takes_the_first(run):
    """As two jobs of a cluster may ask for the same weights."""
    built = []

    def train():
        weights.train_weights(run, "toy", RECIPE, lambda: built.append(1) or build(), live=True)

    threads = [threading.Thread(target=train) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert built == [1]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 95))
def test_a_shipped_file_with_one_changed_byte_does_not_serve(run, tmp_path, place):
    path = ship(tmp_path / "shipped" / "mini", RECIPE, {"a": np.arange(24, dtype=np.float32)})
    raw = bytearray(path.read_bytes())
    raw[-1 - place] ^= 1
    path.write_bytes(bytes(raw))
    with pytest.raises(InputError, match=r"does not serve; restore it with: git checkout -- .*/toy\.safetensors"):
        weights.find_weights(run, "toy", RECIPE)


def test_weights_that_are_not_finite_are_not_kept(run):
    with pytest.raises(InputError, match="weights a of toy are not finite"):
        weights.train_weights(run, "toy", RECIPE, lambda: ({"a": np.float32([1, np.inf])}, []), live=True)
    assert run.store.files("models") == []


def test_only_weights_beyond_half_precision_stay_as_they_are(run):
    large = np.float32([0.1, 1e6])  # infinite in half precision
    made = weights.train_weights(run, "toy", RECIPE, lambda: ({"small": large[:1], "large": large}, []), live=True)
    assert {n: a.dtype for n, a in read_arrays(made.path).items()} == {"small": np.float16, "large": np.float32}
    assert made.arrays()["large"].tolist() == large.tolist()
    assert made.arrays()["small"].tolist() == [np.float16(0.1)]


# ------------------------------------------------------------------------------------------- missing labels


def test_a_supervised_system_on_a_corpus_without_labels_is_refused(tmp_path, monkeypatch):
    from fico_utils.data.corpus import Corpus
    from fico_utils.data.pictoscenes import make_corpus

    drawn = make_corpus("picto_diverse", {"train": 6}).subset("train")
    bare = Corpus("bare", drawn.image_ids, drawn.captions, drawn.caption_image, drawn.split)
    monkeypatch.setattr(label_sources, "part", lambda run, name, split: bare)
    run = fico_utils.setup("mini", 0, str(tmp_path))
    with pytest.raises(InputError, match=r"'picto_diverse' has no labels; a supervised system needs them"):
        label_sources.labels(run, "picto_diverse", "train")


# --------------------------------------------------------------------------------------------- one image only


@pytest.mark.parametrize("system", ["xvlm", "blip2"])
def test_fusion_with_one_image_only_is_refused(system):
    with pytest.raises(InputError, match="captions of one image only; expected at least two images"):
        training.fit(made(system), cells(1), seed=0, epochs=1, validate=lambda _: 0.0)
    model, data = made(system), cells(3)
    batch = data.batch(model, np.array([0, 1, 0, 1]))  # four pairs, all of image 0
    with pytest.raises(AssertionError, match="a batch of 4 pairs shows one image only"):
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

    recipe = contract.TrainingRecipe(batch_size=4, lr=1e-3)
    changes = 99

    def start_epoch(self, epoch: int) -> bool:
        super().start_epoch(epoch)
        return epoch == self.changes


@pytest.mark.parametrize(("changes", "counted"), [(99, 3), (2, 1), (1, 2)])
def test_moments_start_anew_where_the_loss_becomes_another(tmp_path, changes, counted):
    torch.manual_seed(0)
    model = Changing(UcchConfig(D, D, n_images=N_IMG, bits=8, hidden=10, n_keys=6))
    model.changes = changes
    units = units_in(tmp_path)
    training.fit(model, vectors(), seed=0, epochs=3, validate=lambda _: 0.0, units=units)
    steps = {float(a) for n, a in units.read(2)[0].items() if n.endswith(".step")}
    assert steps == {counted * -(-N_IMG // 4)}


# ------------------------------------------------------------------------------------------- a loss of NaN


class Spoilt(Ucch):
    """UCCH whose loss is not a number in one batch of one epoch."""

    recipe = contract.TrainingRecipe(batch_size=4, lr=1e-3)
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
    options, units = {"seed": 0, "epochs": 4, "validate": lambda _: 0.0}, units_in(tmp_path)
    with pytest.raises(FloatingPointError, match=r"the loss of Spoilt is nan in epoch 3, batch 2.*checkpoint is kept"):
        training.fit(spoilt((2, 2)), vectors(), units=units, **options)
    assert units.numbers() == [1]
    saved, content = units.read(1)
    assert len(content["log"]) == 2
    assert all(np.isfinite(a).all() for a in saved.values())

    resumed, whole = spoilt((9, 9)), spoilt((9, 9))
    log = training.fit(resumed, vectors(), units=units, **options)
    expected = training.fit(whole, vectors(), **options)
    assert [row["loss"] for row in log] == pytest.approx([row["loss"] for row in expected])
    for a, b in zip(resumed.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_loss_of_nan_in_the_first_epoch_leaves_nothing_behind(tmp_path):
    with pytest.raises(FloatingPointError, match="epoch 1, batch 3"):
        training.fit(spoilt((0, 3)), vectors(), seed=0, epochs=2, validate=lambda _: 0.0, units=units_in(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_log_and_its_checkpoint_tell_the_same(tmp_path):
    units = units_in(tmp_path)
    log = training.fit(hashing(), vectors(), seed=0, epochs=2, validate=lambda _: 0.5, units=units)
    assert units.numbers() == [1], "one checkpoint, the last"
    assert json.loads(json.dumps(log)) == units.read(1)[1]["log"]
