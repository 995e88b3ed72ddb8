"""Vocabulary, Doc2Vec, backbone."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from fico_utils.data import features
from fico_utils.data.pictoscenes import make_corpus
from fico_utils.data.text import END, PAD, START, UNKNOWN, Vocabulary, doc2vec, train_doc2vec, words
from fico_utils.provenance import PROJECT

CAPTIONS = ["A red cat.", "A red dog!", "a blue cat", "The cat's sun, left of the red dog."] * 5


def test_vocabulary_counts_training_words_only():
    vocabulary = Vocabulary(CAPTIONS, least=10)
    assert vocabulary.words[4:] == ("a", "red", "cat", "dog", "the")
    tokens = vocabulary.encode(["red zebra", "cat"])
    assert tokens.tolist() == [[START, 5, UNKNOWN, END], [START, 6, END, PAD]]
    assert vocabulary.decode(tokens[0]) == "red"


def test_a_long_caption_is_cut_and_keeps_its_end():
    tokens = Vocabulary(CAPTIONS, least=1).encode(["red " * 100], longest=10)
    assert tokens.shape == (1, 10)
    assert tokens[0, -1] == END


def test_words_keep_apostrophes_and_drop_the_rest():
    assert words("The cat's SUN, (left)-of 2 dogs.") == ["the", "cat's", "sun", "left", "of", "2", "dogs"]


def test_doc2vec_of_a_caption_does_not_depend_on_the_others():
    weights = train_doc2vec(CAPTIONS, seed=0, epochs=2, dims=12)
    whole = doc2vec(weights, CAPTIONS[:4], seed=0, epochs=3)
    assert whole.shape == (4, 12)
    assert np.array_equal(doc2vec(weights, [CAPTIONS[2]], seed=0, epochs=3)[0], whole[2])
    assert not np.array_equal(doc2vec(weights, [CAPTIONS[2]], seed=1, epochs=3)[0], whole[2])


def test_doc2vec_is_the_same_in_another_process():
    captions = ["a red cat", "a blue dog", "the red sun"] * 4
    found = doc2vec(train_doc2vec(captions, seed=0, epochs=2, dims=8), captions[:2], seed=0, epochs=2)
    code = (
        f"from fico_utils.data.text import *; c = {captions}; "
        "print(doc2vec(train_doc2vec(c, seed=0, epochs=2, dims=8), c[:2], seed=0, epochs=2).tobytes().hex())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == found.tobytes().hex()


SCRIPT = """
from fico_utils.data import text
text.BLOCK = 3
captions = [f"a {a} {b}" for a in ("red", "blue", "green") for b in ("cat", "dog", "sun")]
weights = text.train_doc2vec(captions * 4, seed=0, epochs=2, dims=8)
alone = text.doc2vec(weights, captions, seed=0, epochs=2)
text.BLOCK = len(captions)
assert (alone == text.doc2vec(weights, captions, seed=0, epochs=2, workers=3)).all()
text.BLOCK = 1
assert (alone == text.doc2vec(weights, captions, seed=0, epochs=2, workers=3)).all()
assert text.doc2vec(weights, [], seed=0, epochs=2).shape == (0, 8)
"""


def test_threads_change_no_number_and_a_script_needs_no_guard(tmp_path):
    """With processes that spawn, a script without ``if __name__ == "__main__"`` ran itself again and hung for ever."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script], cwd=PROJECT, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def scenes():
    return make_corpus("picto_diverse", {"train": 48})


def test_backbone_learns_from_cells_and_gives_36_regions(scenes):
    targets = features.scene_targets(scenes.scenes)
    model, log = features.train_backbone(scenes.images, targets, seed=0, epochs=3)
    assert log[-1]["loss"] < log[0]["loss"]
    found = features.visual_features(model, scenes.images, batch_size=20)
    assert found["regions"].shape == (48, features.N_REGIONS, features.WIDTH)
    assert found["global"].shape == (48, 2 * features.WIDTH)
    assert found["regions"].dtype == np.float16
    again = features.visual_features(model, scenes.images, batch_size=48)
    assert np.allclose(found["regions"], again["regions"], atol=1e-2)


def test_backbone_training_repeats(scenes):
    targets = features.scene_targets(scenes.scenes)
    states = [features.train_backbone(scenes.images, targets, seed=1, epochs=1)[0].state_dict() for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*(s.values() for s in states), strict=True))


def test_empty_cells_carry_no_attribute_loss(scenes):
    targets = features.scene_targets(scenes.scenes)
    assert ((targets["colour"] >= 0) == (targets["category"] >= 0)).all()
    assert targets["background"].min() >= 0
