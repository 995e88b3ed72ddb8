"""One fit, one encode, one score: what they promise whatever the system."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch

from fico_utils import artifacts
from fico_utils.artifacts import Store
from fico_utils.errors import InputError
from fico_utils.files import read_arrays, write_arrays
from fico_utils.models import encoding, model_class, training
from fico_utils.models.contract import MuonRecipe, TrainingRecipe
from fico_utils.models.scan import Scan, ScanConfig
from fico_utils.models.ucch import Ucch, UcchConfig

N_IMG = 12


def pairs(key: str = "toy") -> training.Inputs:
    rng = np.random.default_rng(0)
    caption_image = np.sort(np.concatenate([np.arange(N_IMG), rng.integers(0, N_IMG, 20)]))
    image = {"global": rng.standard_normal((N_IMG, 6)).astype(np.float16)}
    text = {"doc2vec": (image["global"][caption_image, :5] + 0.1).astype(np.float32)}
    return training.Inputs(image, text, caption_image, key)


def model() -> Ucch:
    torch.manual_seed(0)
    return Ucch(UcchConfig(6, 5, n_images=N_IMG, bits=8, hidden=10, n_keys=6))


def first_weight(m) -> float:
    return -float(next(m.parameters()).detach().abs().sum())


def test_every_image_is_drawn_once_an_epoch():
    data = pairs()
    drawn = training.draw_pairs(data.caption_image, np.random.default_rng(1))
    assert sorted(data.caption_image[drawn]) == list(range(N_IMG))
    assert not np.array_equal(drawn, training.draw_pairs(data.caption_image, np.random.default_rng(2)))


def test_some_captions_of_every_image_are_drawn_side_by_side():
    caption_image = np.repeat(np.arange(40), np.tile([1, 2, 5, 7], 10))
    drawn = training.draw_pairs(caption_image, np.random.default_rng(0), 3)
    images = caption_image[drawn]
    assert len(np.unique(drawn)) == len(drawn)
    assert np.array_equal(np.bincount(images), np.tile([1, 2, 3, 3], 10))
    assert (np.diff(images) != 0).sum() == 39
    assert not np.array_equal(images[np.sort(np.unique(images, return_index=True)[1])], np.arange(40))
    recipe = TrainingRecipe(batch_size=16, lr=1e-3, captions=3)
    steps = training.draw_steps(caption_image, recipe, 0, 0)
    assert [len(np.unique(caption_image[s])) for s in steps] == [16, 16, 8]
    assert sorted(np.concatenate(steps)) == sorted(training.draw_pairs(caption_image, np.random.default_rng([0, 0]), 3))


def test_an_epoch_of_a_part_shows_every_image_before_any_again():
    caption_image, recipe = np.repeat(np.arange(40), 5), TrainingRecipe(batch_size=4, lr=1e-3, captions=3)
    shown = []
    for epoch in range(6):
        steps = training.draw_steps(caption_image, recipe, 0, epoch, images=10)
        assert [len(np.unique(caption_image[s])) for s in steps] == [4, 4, 2]
        captions = np.concatenate(steps)
        assert len(np.unique(captions)) == 30
        shown.append(set(caption_image[captions].tolist()))
    assert set.union(*shown[:4]) == set(range(40))
    assert shown[4:] != shown[:2], "the next turn has an order of its own"
    assert not shown[4] & shown[5]
    uneven = [training.draw_steps(caption_image, recipe, 0, epoch, images=15) for epoch in range(2)]
    first, second = (set(caption_image[np.concatenate(steps)].tolist()) for steps in uneven)
    assert len(first) == len(second) == 15
    assert not first & second
    for images in (None, 40, 99):
        for mine, whole in zip(
            training.draw_steps(caption_image, recipe, 0, 3, images),
            training.draw_steps(caption_image, recipe, 0, 3),
            strict=True,
        ):
            assert np.array_equal(mine, whole)


def test_fit_counts_the_steps_of_the_images_it_shows(monkeypatch):
    shares = []
    monkeypatch.setattr(training, "schedule_factor", lambda recipe, step, total: shares.append((step, total)) or 1.0)
    small = model()
    small.recipe = TrainingRecipe(batch_size=2, lr=1e-3)
    training.fit(small, pairs(), seed=0, epochs=3, validate=first_weight, images=4)
    assert shares == [(step, 6) for step in range(6)]


@pytest.mark.parametrize("by_muon", [False, True])
def test_a_killed_training_goes_on_and_ends_the_same(tmp_path, by_muon):
    whole, resumed, again = model(), model(), model()
    if by_muon:
        for m in (whole, resumed, again):
            m.recipe = MuonRecipe(**asdict(m.recipe), muon_lr=0.01)
    log = training.fit(whole, pairs(), seed=3, epochs=4, validate=first_weight)

    calls, units = [], Store(tmp_path).units("models", "toy", artifacts.Recipe("ucch"))

    def interrupted(m):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return first_weight(m)

    with pytest.raises(KeyboardInterrupt):
        training.fit(resumed, pairs(), seed=3, epochs=4, validate=interrupted, units=units)
    log_again = training.fit(again, pairs(), seed=3, epochs=4, validate=first_weight, units=units)
    assert [r["loss"] for r in log_again] == pytest.approx([r["loss"] for r in log])
    for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_finished_training_is_not_repeated(tmp_path):
    units, calls = Store(tmp_path).units("models", "toy", artifacts.Recipe("ucch")), []
    training.fit(model(), pairs(), seed=0, epochs=2, validate=first_weight, units=units)
    training.fit(model(), pairs(), seed=0, epochs=2, validate=lambda m: calls.append(1) or 0.0, units=units)
    assert not calls


def test_the_best_epoch_on_validation_is_kept():
    scores, states = iter([0.1, 0.9, 0.3]), []

    def validate(m):
        states.append({n: t.clone() for n, t in m.state_dict().items()})
        return next(scores)

    trained = model()
    log = training.fit(trained, pairs(), seed=0, epochs=3, validate=validate)
    assert [r["score"] for r in log] == [0.1, 0.9, 0.3]
    for name, tensor in trained.state_dict().items():
        assert torch.equal(tensor, states[1][name])


@pytest.mark.parametrize(
    ("image", "text", "sentence"),
    [
        (
            np.full((N_IMG, 6), np.nan, np.float32),
            np.zeros((32, 5)),
            r"image features 'global' hold NaN or infinity in row 0",
        ),
        (np.zeros((N_IMG, 6)), np.zeros((31, 5)), r"text features 'doc2vec' have 31 rows; expected one for each of 32"),
    ],
)
def test_features_that_do_not_fit_are_refused(image, text, sentence):
    with pytest.raises(InputError, match=sentence):
        training.Inputs({"global": image}, {"doc2vec": text}, pairs().caption_image, "toy")


def test_a_loss_that_is_not_a_number_stops_and_says_where():
    data = pairs()
    data.image["global"][5] = np.inf  # spoilt after it was checked
    with pytest.raises(FloatingPointError, match=r"epoch 1, batch 1"):
        training.fit(model(), data, seed=0, epochs=1, validate=first_weight)


def test_no_epoch_is_refused():
    with pytest.raises(InputError, match="0 epochs"):
        training.fit(model(), pairs(), seed=0, epochs=0, validate=first_weight)


def test_schedules():
    cosine = TrainingRecipe(1, 1.0, warmup=0.1, schedule="cosine")
    rates = [training.schedule_factor(cosine, step, 100) for step in range(100)]
    assert rates[0] < rates[9] <= 1.0
    assert max(rates) == pytest.approx(1.0, abs=0.1)
    assert rates[-1] < 0.01
    step = TrainingRecipe(1, 1.0, schedule="step")
    assert [training.schedule_factor(step, s, 10) for s in (0, 4, 5, 9)] == [1.0, 1.0, 0.1, 0.1]


def test_hash_codes_are_packed_signs():
    h = np.random.default_rng(0).standard_normal((5, 16)).astype(np.float32)
    assert np.array_equal(np.unpackbits(encoding.hash_codes(h), axis=1), (h >= 0).astype(np.uint8))


def test_attention_scores_do_not_depend_on_blocks_and_keep_the_order_of_captions():
    torch.manual_seed(0)
    scan = Scan(ScanConfig(7, 20, d=8, d_word=6)).eval()
    rng = np.random.default_rng(0)
    tokens = rng.integers(4, 20, (31, 9))
    for row, length in zip(tokens, rng.integers(2, 10, 31), strict=True):
        row[length:] = 0
    data = training.Inputs(
        {"regions": rng.standard_normal((13, 4, 7)).astype(np.float32)}, {"tokens": tokens}, np.arange(31) % 13, "toy"
    )
    encoded = encoding.encode(scan, data, batch_size=5)
    with torch.inference_mode():
        expected = scan.similarity(*(torch.from_numpy(encoded[s]) for s in ("img", "txt"))).numpy()
    for block in (1, 1000, 1 << 22):
        assert np.allclose(encoding.attention_scores(scan, **encoded, block=block, progress=False), expected, atol=1e-5)


def test_an_unknown_system_is_refused():
    with pytest.raises(InputError, match="unknown system"):
        model_class("word2vec")


def test_arrays_of_a_checkpoint_round_trip(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float16).reshape(2, 3), "b": np.array(3, np.int64)}
    write_arrays(tmp_path / "x.safetensors", arrays, {"key": "k"})
    found = read_arrays(tmp_path / "x.safetensors")
    assert all(np.array_equal(found[n], a) and found[n].dtype == a.dtype for n, a in arrays.items())
