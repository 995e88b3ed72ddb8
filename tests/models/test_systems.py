"""Each system on toy sizes: what it must do whatever its size."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from fico_utils.models.beit3 import Beit3, Beit3Config
from fico_utils.models.layers import binarise
from fico_utils.models.losses import contrastive, hinge_loss, same_image
from fico_utils.models.scan import Scan, ScanConfig
from fico_utils.models.ucch import Ucch, UcchConfig

B, R, D, L, WORDS = 6, 9, 12, 8, 30


def batch(seed: int = 0) -> dict[str, torch.Tensor]:
    """Six pairs, captions of different lengths, pairs 0 and 1 of the same image."""
    g = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, WORDS, (B, L), generator=g)
    for row, length in enumerate((8, 5, 3, 7, 4, 6)):
        tokens[row, length:] = 0
    image = torch.tensor([0, 0, 1, 2, 3, 4])
    return {
        "regions": torch.randn(5, R, D, generator=g)[image],
        "patches": torch.randn(5, R, D, generator=g)[image],
        "global": torch.randn(5, D, generator=g)[image],
        "tokens": tokens,
        "doc2vec": torch.randn(B, 10, generator=g),
        "image": image,
    }


def make(name: str, **over):
    torch.manual_seed(0)
    if name == "beit3":
        return Beit3(Beit3Config(D, WORDS, n_patches=R, max_words=L, width=16, heads=2, dropout=0.0, **over))
    if name == "scan":
        return Scan(ScanConfig(D, WORDS, d=8, d_word=6, **over))
    return Ucch(UcchConfig(D, 10, n_images=5, bits=16, hidden=20, n_keys=7, **over))


@pytest.mark.parametrize("name", ["beit3", "scan"])
def test_pad_columns_change_nothing(name):
    model, tokens = make(name).eval(), batch()["tokens"][:, :5]
    if name == "beit3":
        assert torch.allclose(model.encode_text(tokens), model.encode_text(F.pad(tokens, (0, 3))), atol=1e-6)
        return
    regions = model.encode_image(batch()["regions"])
    scores = [model.similarity(regions, model.encode_text(t)) for t in (tokens, F.pad(tokens, (0, 3)))]
    assert torch.allclose(*scores, atol=1e-6)


# -------------------------------------------------------------------------------------------------- SCAN


def explicit_score(regions, words, config):
    """SCAN's score of one picture and one caption from the definition, with its context vectors (R, d), (L, d)."""
    queries, context = (words, regions) if config.attention == "t2i" else (regions, words)
    raw = F.leaky_relu(context @ queries.T, 0.1)  # (c, q)
    raw = raw / raw.norm(dim=1, keepdim=True)  # each context item across the queries
    weights = (config.smooth * raw.T).softmax(1)  # (q, c)
    cosine = F.cosine_similarity(queries, weights @ context, dim=1)
    return cosine.mean() if config.pooling == "mean" else (config.lse * cosine).exp().sum().log() / config.lse


@pytest.mark.parametrize("attention", ["t2i", "i2t"])
@pytest.mark.parametrize("pooling", ["mean", "lse"])
def test_scan_gram_form_equals_explicit_contexts(attention, pooling):
    model, data = make("scan", attention=attention, pooling=pooling).eval(), batch()
    regions, words = model.encode_image(data["regions"]), model.encode_text(data["tokens"])
    scores = model.similarity(regions, words)
    for i in range(B):
        for j in range(B):
            length = int((data["tokens"][j] != 0).sum())
            expected = explicit_score(regions[i], words[j, :length], model.config)
            assert scores[i, j].item() == pytest.approx(expected.item(), abs=2e-5)


def test_scan_attention_is_a_distribution_over_regions():
    model, data = make("scan").eval(), batch()
    weights = model.attend(model.encode_image(data["regions"])[0], model.encode_text(data["tokens"])[0])
    assert weights.shape == (L, R)
    assert torch.allclose(weights.sum(1), torch.ones(L))


def test_scan_of_one_picture_or_one_word_keeps_its_shape():
    model, data = make("scan").eval(), batch()
    regions, words = model.encode_image(data["regions"][:1]), model.encode_text(data["tokens"][:1, :1])
    assert model.similarity(regions, words).shape == (1, 1)


# ------------------------------------------------------------------------------------------------ BEiT-3


def test_beit3_towers_share_no_parameter():
    model, data = make("beit3"), batch()
    model.encode_image(data["regions"]).sum().backward()
    touched = {n for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    model.encode_text(data["tokens"]).sum().backward()
    assert not touched & {n for n, p in model.named_parameters() if p.grad is not None}


def test_beit3_temperature_is_clamped_unless_original():
    data = batch()
    for original, same in ((False, True), (True, False)):
        model = make("beit3", original=original).eval()
        with torch.no_grad():
            model.temperature.log.fill_(math.log(1 / 100) / model.temperature.SPEED)
            at_limit = model.loss(data)["loss"]
            model.temperature.log.fill_(math.log(1 / 500) / model.temperature.SPEED)
            assert torch.allclose(model.loss(data)["loss"], at_limit) is same


# -------------------------------------------------------------------------------------------------- UCCH


def test_ucch_memory_is_overwritten_in_the_warm_up_and_then_moves():
    model, data = make("ucch"), batch()
    model.train().start_epoch(0)
    model.loss(data)
    with torch.no_grad():
        fused = F.normalize((model.encode_image(data["global"]) + model.encode_text(data["doc2vec"])) / 2, dim=-1)
    assert torch.allclose(model.memory[data["image"][2:]], fused[2:], atol=1e-6)
    model.start_epoch(1)
    before = model.memory.clone()
    model.loss(data)
    assert torch.allclose(model.memory.norm(dim=1), torch.ones(5), atol=1e-6)
    model.eval().loss(data)
    after = model.memory.clone()
    model.loss(data)
    assert torch.equal(after, model.memory)  # nothing is remembered outside training
    assert before.shape == after.shape


def test_ucch_memory_logits_are_bounded_by_the_temperature():
    model, data = make("ucch"), batch()
    model.start_epoch(1)
    keys = model._keys(model.encode_image(data["global"]), model.encode_text(data["doc2vec"]), data["image"])
    assert set(keys.unique().tolist()) <= {-1.0, 1.0}
    assert not keys.requires_grad
    logits = model.encode_image(data["global"]) @ keys.T / (model.config.temperature * math.sqrt(model.config.bits))
    assert logits.abs().max() <= 1 / model.config.temperature + 1e-6


def test_ucch_memory_is_no_weight():
    model = make("ucch")
    assert "memory" in model.state_dict()
    assert "memory" not in model.weights()


# ------------------------------------------------------------------------------------------ shared losses


def test_hinge_by_hand():
    scores = torch.tensor([[0.9, 0.8, 0.1], [0.2, 0.5, 0.6], [0.0, 0.1, 0.3]])
    # rows: max(.1, 0) = .1 ; max(0, .3) = .3 ; max(0, 0) = 0 ; columns: 0 ; .5 ; .5
    assert hinge_loss(scores, None).item() == pytest.approx(0.1 + 0.3 + 0.0 + 0.0 + 0.5 + 0.5)
    same = torch.tensor([0, 0, 1])  # pairs 0 and 1 are one image: (0, 1) and (1, 0) are no negatives
    assert hinge_loss(scores, same).item() == pytest.approx(0.0 + 0.3 + 0.0 + 0.0 + 0.0 + 0.5)


def test_contrastive_ignores_captions_of_the_same_image():
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    image = torch.tensor([0, 0, 1, 2])
    changed = logits.clone()
    changed[0, 1], changed[1, 0] = 50.0, 50.0
    assert torch.allclose(contrastive(logits, image), contrastive(changed, image))
    assert not torch.allclose(contrastive(logits, None), contrastive(changed, None))
    expected = (F.cross_entropy(logits, torch.arange(4)) + F.cross_entropy(logits.T, torch.arange(4))) / 2
    assert torch.allclose(contrastive(logits, torch.arange(4)), expected)


def test_same_image_leaves_the_diagonal_out():
    assert same_image(torch.tensor([3, 3, 5])).tolist() == [[False, True, False], [True, False, False], [False] * 3]


def test_binarise_gives_zero_a_side():
    h = torch.tensor([-0.1, 0.0, 0.2])
    assert binarise(h).tolist() == [-1, 1, 1]
    assert binarise(h, zero=-1).tolist() == [-1, -1, 1]
    assert binarise(h).dtype == torch.int8
