"""The rerank of dual + fusion systems: which candidates are read again, and what their score becomes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fico_utils.errors import InputError
from fico_utils.evaluation import evaluate
from fico_utils.models import encoding, training
from fico_utils.models.blip2 import Blip2, Blip2Config
from fico_utils.models.xvlm import Xvlm, XvlmConfig

N_IMG, R, D, L, WORDS = 6, 4, 6, 8, 20
SIZES = {"n_patches": R, "max_words": L, "width": 16, "heads": 2, "d_embed": 8, "dropout": 0.0}
MODELS = {
    "xvlm": lambda: Xvlm(XvlmConfig(D, WORDS, n_text_layers=1, n_fusion_layers=1, **SIZES)),
    "blip2": lambda: Blip2(Blip2Config(D, WORDS, n_queries=3, **SIZES)),
}


@pytest.fixture(scope="module")
def data() -> training.Inputs:
    """Six images; captions of different lengths, one to four an image, in no order."""
    rng = np.random.default_rng(0)
    caption_image = rng.permutation(np.repeat(np.arange(N_IMG), [1, 2, 3, 4, 2, 1]))
    tokens = rng.integers(4, WORDS, (len(caption_image), L))
    for row, length in zip(tokens, rng.integers(2, L + 1, len(tokens)), strict=True):
        row[length:] = 0
    patches = rng.standard_normal((N_IMG, R, D)).astype(np.float32)
    return training.Inputs({"patches": patches}, {"tokens": tokens}, caption_image, "toy")


@pytest.fixture(scope="module", params=list(MODELS))
def model(request):
    torch.manual_seed(0)
    made = MODELS[request.param]()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return made.eval()


@pytest.fixture(scope="module")
def dual(model, data) -> np.ndarray:
    """Scores (n_img, n_txt) of the dual encoder."""
    return encoding.late_scores(model, **encoding.encode(model, data))


@torch.inference_mode()
def pair_by_pair(model, data, dual) -> np.ndarray:
    """The final score of every pair, each read alone."""
    out = np.empty_like(dual)
    for i, patches in enumerate(data.image["patches"]):
        image = model.image_context(torch.from_numpy(patches[None]))
        for j, row in enumerate(data.text["tokens"]):
            text = model.text_context(torch.from_numpy(row[row != 0][None]))
            out[i, j] = model.match(image, text).item() + (dual[i, j] if model.adds_cosine else 0)
    return out


def test_the_dual_encoder_of_several_vectors_scores_by_the_best_of_them(model, data, dual):
    encoded = encoding.encode(model, data)
    images = encoded["img"] if encoded["img"].ndim == 3 else encoded["img"][:, None]
    assert np.allclose(dual, np.einsum("nqd,md->nmq", images, encoded["txt"]).max(-1), atol=1e-5)
    assert np.allclose(encoding.late_scores(model, **encoded, rows=4), dual, atol=1e-6)


@pytest.mark.parametrize("k", [12, 13, 10_000])
def test_as_deep_as_the_gallery_both_directions_agree_and_every_pair_is_read(model, data, dual, k):
    """A depth above the gallery is its whole length, in the direction where it is."""
    both = encoding.rerank(model, data, dual, k)
    assert both["sim_i2t"].shape == both["sim_t2i"].T.shape == dual.shape
    assert np.isfinite(both["sim_t2i"]).all()
    read = np.isfinite(both["sim_i2t"])
    assert read.sum(1).tolist() == [min(k, dual.shape[1])] * N_IMG
    assert np.allclose(both["sim_i2t"][read], both["sim_t2i"].T[read], atol=1e-4)
    assert np.allclose(both["sim_t2i"].T, pair_by_pair(model, data, dual), atol=1e-4)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_the_first_k_of_each_query_are_read_and_no_other(model, data, dual, k):
    both, expected = encoding.rerank(model, data, dual, k), pair_by_pair(model, data, dual)
    for scores, first, final in ((both["sim_i2t"], dual, expected), (both["sim_t2i"], dual.T, expected.T)):
        read = np.isfinite(scores)
        assert (scores[~read] == -np.inf).all()
        order = np.argsort(-first, axis=1)[:, :k]
        assert read.sum(1).tolist() == [k] * len(scores)
        assert np.take_along_axis(read, order, 1).all()
        assert np.allclose(scores[read], final[read], atol=1e-4)
    assert (np.isfinite(both["sim_i2t"]) != np.isfinite(both["sim_t2i"].T)).any()


def test_batches_change_nothing(model, data, dual):
    whole = encoding.rerank(model, data, dual, 4)
    for batch_size in (1, 7):
        parts = encoding.rerank(model, data, dual, 4, batch_size=batch_size)
        for side in whole:
            assert np.array_equal(np.isfinite(parts[side]), np.isfinite(whole[side]))
            assert np.allclose(parts[side], whole[side], atol=1e-4)


def test_blip2_adds_the_cosine_and_xvlm_does_not(model, data, dual):
    changed = dual + 10.0  # the same order
    after, before = (encoding.rerank(model, data, sim, 3)["sim_i2t"] for sim in (changed, dual))
    read = np.isfinite(before)
    assert np.array_equal(read, np.isfinite(after))
    assert read.sum() == 3 * N_IMG
    assert np.allclose(after[read] - before[read], 10.0 if isinstance(model, Blip2) else 0.0, atol=1e-3)


def test_recall_is_defined_as_deep_as_the_rerank_and_map_of_all_is_not(model, data, dual):
    both = encoding.rerank(model, data, dual, 3)
    labels = np.eye(N_IMG, dtype=np.uint8)
    table = evaluate(
        None, None, similarity=both["sim_i2t"], similarity_t2i=both["sim_t2i"],
        caption_image=data.caption_image, labels=labels, recall_at=(1, 3, 5), map_at=(3, "N"),
    )  # fmt: skip
    status = table.set_index(["direction", "metric", "k"]).status
    for direction in ("i2t", "t2i"):
        assert [status[direction, "recall", k] for k in ("1", "3", "5")] == ["ok", "ok", "undefined"]
        assert [status[direction, "map", k] for k in ("3", "N")] == ["ok", "undefined"]


@pytest.mark.parametrize("k", [0, -1])
def test_no_depth_is_refused(model, data, dual, k):
    with pytest.raises(InputError, match=f"the depth of the rerank is {k}; expected at least 1"):
        encoding.rerank(model, data, dual, k)
