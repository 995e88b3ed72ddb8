"""The small CLIP of notebook 07: it learns, and what it leaves is an ordinary checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
import transformers

from fico_utils.data.pictoscenes import make_corpus
from fico_utils.evaluation import evaluate
from fico_utils.extras.pretrained.encoders import load_encoder
from fico_utils.extras.pretrained.example_clip import save_example
from fico_utils.models import encoding


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    corpus = make_corpus("picto_people", {"train": 60})
    return save_example(tmp_path_factory.mktemp("clip"), corpus, seed=0, epochs=40), corpus


def test_it_learns_its_training_pairs(made):
    folder, corpus = made
    model = load_encoder(str(folder), device="cpu")
    found = encoding.encode(model, model.inputs(corpus))
    scores = evaluate(found["img"], found["txt"], caption_image=corpus.caption_image, recall_at=(1,))
    value = scores[scores.metric == "recall"].set_index("direction")["value"]
    assert value["i2t"] > 0.3  # chance is 0.08
    assert value["t2i"] > 0.2  # chance is 0.02


def test_what_it_leaves_is_an_ordinary_checkpoint(made):
    folder, corpus = made
    network = transformers.CLIPModel.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    words = tokenizer(corpus.captions[0])["input_ids"]
    assert (words[0], words[-1]) == (network.config.text_config.bos_token_id, network.config.text_config.eos_token_id)
    assert sorted(p.name for p in folder.iterdir() if p.suffix != ".jinja") == [
        "config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert sum(p.numel() for p in network.parameters()) < 1_000_000
    assert np.isfinite(network.logit_scale.item())
